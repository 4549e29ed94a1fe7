"""Anthropic: messages, streamed and whole, and count_tokens; headers, rate limits told and errors of both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from mock_upstreams.answer import Answer, Tokens, Wish
from mock_upstreams.normal import blank, canonical, digest, tidy
from mock_upstreams.parts import Chunk, Exchange
from mock_upstreams.providers.base import (
    QUOTA_REQUESTS,
    QUOTA_TOKENS,
    Dialect,
    Headers,
    Problem,
    Prompt,
    answer_of,
)

_KINDS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request is not valid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "The requested resource could not be found."),
    408: ("timeout_error", "The request timed out."),
    409: ("conflict_error", "The request conflicts with the resource's current state."),
    413: ("request_too_large", "Request exceeds the maximum allowed number of bytes."),
    422: ("invalid_request_error", "The request could not be processed."),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "The request timed out."),
    529: ("overloaded_error", "Overloaded"),
}

_GROWING = ("text", "thinking", "signature")
_TOKEN_LIMITS = tuple(
    (f"anthropic-ratelimit-{kind}-reset", f"anthropic-ratelimit-{kind}-limit", f"anthropic-ratelimit-{kind}-remaining")
    for kind in ("tokens", "input-tokens", "output-tokens")
)


class Anthropic(Dialect):
    """Headers and errors of both Anthropic surfaces."""

    provider = "anthropic"
    ping = Chunk(b'event: ping\ndata: {"type": "ping"}\n\n', "ping")

    def headers(self, exchange: Exchange) -> Headers:
        answer = answer_of(exchange)
        requests, tokens, window_s = answer.quota
        reset = _rfc3339(answer.created + math.ceil(window_s))
        left = str(max(0, QUOTA_TOKENS - tokens))
        limits: list[tuple[str, str]] = [
            ("anthropic-ratelimit-requests-limit", str(QUOTA_REQUESTS)),
            ("anthropic-ratelimit-requests-remaining", str(max(0, QUOTA_REQUESTS - requests))),
            ("anthropic-ratelimit-requests-reset", reset),
        ]
        for name, limit, remaining in _TOKEN_LIMITS:
            limits += ((limit, str(QUOTA_TOKENS)), (remaining, left), (name, reset))
        return (
            ("request-id", f"req_{answer.slug}"),
            ("anthropic-organization-id", "mock-upstreams"),
            *limits,
        )

    def error_body(self, exchange: Exchange, problem: Problem) -> dict[str, Any]:
        kind, message = _KINDS.get(problem.status, _KINDS[500 if problem.status >= 500 else 400])
        error = {"type": kind, "message": problem.message or message}
        return {"type": "error", "error": error, "request_id": f"req_{answer_of(exchange).slug}"}

    def error_headers(self, exchange: Exchange, problem: Problem, retry_after_s: float | None) -> Headers:
        told = dict(self.headers(exchange))
        if problem.status == 429:
            told["anthropic-ratelimit-requests-remaining"] = "0"
            if retry_after_s is not None:
                again = answer_of(exchange).created + math.ceil(retry_after_s)
                told["anthropic-ratelimit-requests-reset"] = _rfc3339(again)
        if retry_after_s is not None:
            told["retry-after"] = str(math.ceil(retry_after_s))
        return tuple(told.items())

    def error_event(self, exchange: Exchange, problem: Problem, *, failed: bool = False) -> Chunk:
        value = self.error_body(exchange, problem)
        del value["request_id"]
        return _event(value, "error")


class Messages(Anthropic):
    """POST /v1/messages."""

    surface = "messages"
    content = frozenset({"content_block_delta"})

    def problem(self, body: Mapping[str, Any]) -> Problem | None:
        found = _prompt_problem(body)
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
        chunks = [_event({"type": "message_start", "message": empty}, "message_start")]
        for index, (block, deltas) in enumerate(_answered(answer)):
            opened = {**block, **{name: "" for name in _GROWING if name in block}}
            if "input" in block:
                opened["input"] = {}
            start = {"type": "content_block_start", "index": index, "content_block": opened}
            chunks.append(_event(start, "content_block_start"))
            if index == 0:
                chunks.append(self.ping)
            for kind, member, texts in deltas:
                chunks += _deltas(index, kind, member, texts)
            chunks.append(_event({"type": "content_block_stop", "index": index}, "content_block_stop"))
        told = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
        ended = {
            "type": "message_delta",
            "delta": {"stop_reason": _stop(answer), "stop_sequence": None},
            "usage": {name: usage[name] for name in (*told, "output_tokens_details")},
        }
        chunks.append(_event(ended, "message_delta"))
        chunks.append(_event({"type": "message_stop"}, "message_stop"))
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


class CountTokens(Anthropic):
    """POST /v1/messages/count_tokens."""

    surface = "count_tokens"
    content = frozenset()

    def problem(self, body: Mapping[str, Any]) -> Problem | None:
        return _prompt_problem(body)

    def wish(self, body: Mapping[str, Any]) -> Wish:
        return Wish()

    def prompt(self, body: Mapping[str, Any], raw: bytes) -> Prompt | None:
        return None

    def usage(self, tokens: Tokens) -> dict[str, Any]:
        return {"input_tokens": tokens.input + tokens.cached + tokens.written}

    def body(self, exchange: Exchange, answer: Answer) -> dict[str, Any]:
        return self.usage(answer.tokens)

    def events(self, exchange: Exchange, answer: Answer) -> list[Chunk]:
        return [_event(self.body(exchange, answer), "other")]

    def said(self, exchange: Exchange, answer: Answer, *, streamed: bool) -> dict[str, Any]:
        return {**blank(), "terminal": True, "items": digest(self.body(exchange, answer))}


def _event(value: Mapping[str, Any], name: str) -> Chunk:
    return Chunk(b"event: " + name.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n", name)


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


def _prompt_problem(body: Mapping[str, Any]) -> Problem | None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        return Problem(
            400, "model: Field required" if not body.get("model") else "model: Input should be a valid string"
        )
    turns = body.get("messages")
    if not isinstance(turns, list):
        word = "Field required" if turns is None else "Input should be a valid list"
        return Problem(400, f"messages: {word}")
    if not turns:
        return Problem(400, "messages: at least one message is required")
    for n, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
            return Problem(400, f"messages.{n}.role: Field required")
    return None


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


@lru_cache(maxsize=64)
def _rfc3339(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


MESSAGES = Messages()
COUNT_TOKENS = CountTokens()
