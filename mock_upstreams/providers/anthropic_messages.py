"""Anthropic messages: answers, streamed and whole, and what a request of it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from mock_upstreams.answer import Answer, Tokens, Wish
from mock_upstreams.normal import blank, canonical, digest, tidy
from mock_upstreams.parts import Chunk, Exchange
from mock_upstreams.providers.anthropic import Anthropic, prompt_problem
from mock_upstreams.providers.base import Problem, Prompt, named_event

_GROWING = ("text", "thinking", "signature")


class Messages(Anthropic):
    """POST /v1/messages."""

    surface = "messages"
    content = frozenset({"content_block_delta"})

    def problem(self, body: Mapping[str, Any]) -> Problem | None:
        found = prompt_problem(body)
        if found:
            return found
        most = body.get("max_tokens")
        if most is None:
            return Problem(400, "max_tokens: Field required")
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            return Problem(400, "max_tokens: Input should be a valid integer greater than or equal to 1")
        if not isinstance(body.get("stream"), bool | None):
            return Problem(400, "stream: Input should be a valid boolean")
        return None

    def wish(self, body: Mapping[str, Any]) -> Wish:
        choice = body.get("tool_choice")
        choice = choice if isinstance(choice, Mapping) else {}
        tools = body.get("tools")
        names = [t.get("name") for t in tools if isinstance(t, Mapping)] if isinstance(tools, list) else []
        known = tuple(name for name in names if isinstance(name, str))
        named = choice.get("name")
        thinking = body.get("thinking")
        return Wish(
            schema=_schema(body),
            tools=(named,) if isinstance(named, str) else known,
            forced=choice.get("type") in ("any", "tool"),
            told=_told(body["messages"][-1]),
            thinks=isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive"),
            parallel=choice.get("disable_parallel_tool_use") is not True,
        )

    def prompt(self, body: Mapping[str, Any], raw: bytes) -> Prompt | None:
        """Cache at breakpoints: what stands before and in a block that has ``cache_control``."""
        if b'"cache_control"' not in raw:
            return None
        pieces: list[Any] = []
        breaks: list[int] = []
        for block in _blocks(body):
            pieces.append(_bare(block))
            if _has_breakpoint(block):
                breaks.append(len(pieces))
        if isinstance(body.get("cache_control"), Mapping):
            breaks.append(len(pieces))
        return Prompt(pieces, breaks, 1)

    def usage(self, tokens: Tokens) -> dict[str, Any]:
        return {
            "input_tokens": tokens.input,
            "cache_creation_input_tokens": tokens.written,
            "cache_read_input_tokens": tokens.cached,
            "cache_creation": {"ephemeral_5m_input_tokens": tokens.written, "ephemeral_1h_input_tokens": 0},
            "output_tokens": tokens.output,
            "output_tokens_details": {"thinking_tokens": tokens.reasoning},
            "service_tier": "standard",
            "inference_geo": "global",
        }

    def body(self, exchange: Exchange, answer: Answer) -> dict[str, Any]:
        return {
            "id": f"msg_{answer.slug}",
            "type": "message",
            "role": "assistant",
            "model": exchange.model,
            "content": [block for block, _ in _answered(answer)],
            "stop_reason": _stop(answer),
            "stop_sequence": None,
            "stop_details": None,
            "usage": self.usage(answer.tokens),
        }

    def events(self, exchange: Exchange, answer: Answer) -> list[Chunk]:
        """message_start with the input's usage, the blocks, message_delta with the cumulative usage, message_stop."""
        usage = self.usage(answer.tokens)
        empty = {**self.body(exchange, answer), "content": [], "stop_reason": None}
        empty["usage"] = {**usage, "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 0}}
        chunks = [named_event({"type": "message_start", "message": empty})]
        for index, (block, deltas) in enumerate(_answered(answer)):
            opened = {**block, **{name: "" for name in _GROWING if name in block}}
            if "input" in block:
                opened["input"] = {}
            start = {"type": "content_block_start", "index": index, "content_block": opened}
            chunks.append(named_event(start))
            if index == 0:
                chunks.append(self.ping)
            for kind, member, texts in deltas:
                chunks += _deltas(index, kind, member, texts)
            chunks.append(named_event({"type": "content_block_stop", "index": index}))
        told = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
        ended = {
            "type": "message_delta",
            "delta": {"stop_reason": _stop(answer), "stop_sequence": None},
            "usage": {name: usage[name] for name in (*told, "output_tokens_details")},
        }
        chunks.append(named_event(ended))
        chunks.append(named_event({"type": "message_stop"}))
        return chunks

    def said(self, exchange: Exchange, answer: Answer, *, streamed: bool) -> dict[str, Any]:
        blocks = [block for block, _ in _answered(answer)]
        return {
            **blank(),
            "text": answer.text,
            "thinking": answer.thinking,
            "signature": answer.signature,
            "tools": [
                {"id": b["id"], "name": b["name"], "arguments": canonical(b["input"]).decode()}
                for b in blocks
                if b["type"] == "tool_use"
            ],
            "finish": _stop(answer),
            "usage": self.usage(answer.tokens),
            "terminal": True,
            "model": exchange.model,
            "items": digest([tidy(block) for block in blocks]),
        }


def _deltas(index: int, kind: str, member: str, texts: tuple[str, ...]) -> list[Chunk]:
    front = (
        f"event: content_block_delta\ndata: "
        f'{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}","{member}":'
    ).encode()
    dumps = orjson.dumps
    return [Chunk(b"%b%b}}\n\n" % (front, dumps(text)), "content_block_delta") for text in texts]


_Deltas = tuple[tuple[str, str, tuple[str, ...]], ...]


def _answered(answer: Answer) -> Iterator[tuple[dict[str, Any], _Deltas]]:
    """Yield the answer's blocks, each with the kinds of deltas that make it grow."""
    if answer.thoughts:
        block = {"type": "thinking", "thinking": answer.thinking, "signature": answer.signature}
        grown = ("thinking_delta", "thinking", answer.thoughts)
        yield block, (grown, ("signature_delta", "signature", (answer.signature,)))
    if answer.redacted:
        yield {"type": "redacted_thinking", "data": answer.redacted}, ()
    if answer.unknown is not None:
        yield {"type": "mock_block", "payload": answer.unknown}, ()
    if answer.pieces:
        yield {"type": "text", "text": answer.text}, (("text_delta", "text", answer.pieces),)
    for tool in answer.tools:
        block = {"type": "tool_use", "id": f"toolu_{tool.id}", "name": tool.name}
        block["input"] = orjson.loads(tool.arguments)
        yield block, (("input_json_delta", "partial_json", ("", *tool.fragments)),)


def _stop(answer: Answer) -> str:
    return "tool_use" if answer.tools else "end_turn"


def _told(turn: Mapping[str, Any]) -> bool:
    content = turn.get("content")
    return isinstance(content, list) and any(isinstance(b, Mapping) and b.get("type") == "tool_result" for b in content)


def _blocks(body: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the prompt's blocks in the order in which the cache sees them: tools, system, messages."""
    yield body["model"]
    tools = body.get("tools")
    yield from tools if isinstance(tools, list) else ()
    system = body.get("system")
    yield from system if isinstance(system, list) else (system,)
    for turn in body["messages"]:
        content = turn.get("content")
        yield turn["role"]
        yield from content if isinstance(content, list) else (content,)


def _has_breakpoint(block: Any) -> bool:
    return isinstance(block, Mapping) and isinstance(block.get("cache_control"), Mapping)


def _bare(block: Any) -> Any:
    """Return ``block`` without its marker: a breakpoint that moved on does not change the prefix."""
    return {k: v for k, v in block.items() if k != "cache_control"} if _has_breakpoint(block) else block


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the JSON Schema that ``output_config.format`` (or the older ``output_format``) asks for, or None."""
    config = body.get("output_config")
    wanted = config.get("format") if isinstance(config, Mapping) else body.get("output_format")
    if not isinstance(wanted, Mapping) or wanted.get("type") != "json_schema":
        return None
    schema = wanted.get("schema")
    return schema if isinstance(schema, Mapping) else {}


MESSAGES = Messages()
