"""OpenAI chat completions: answers, streamed and whole, and what a request of it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from mock_upstreams.answer import Answer, Tokens, Wish
from mock_upstreams.normal import blank, digest
from mock_upstreams.parts import Chunk, Exchange
from mock_upstreams.providers.base import Problem, field_problem
from mock_upstreams.providers.openai import OpenAI, chosen_tools, padding, sse

_DONE = Chunk(b"data: [DONE]\n\n", "done")
_FINGERPRINT = "fp_mock"

_WISHING = frozenset({"response_format", "tools", "tool_choice", "parallel_tool_calls"})
"""What a request asks for more than text by; most of them have none of it."""
_PLAIN, _TOLD = Wish(), Wish(told=True)


class Chat(OpenAI):
    """POST /v1/chat/completions. Reasoning is told as ``reasoning_content``, as compatible providers do."""

    surface = "chat"
    content = frozenset({"content", "reasoning", "tool"})

    def problem(self, body: Mapping[str, Any]) -> Problem | None:
        if not body.get("model"):
            return Problem(400, "you must provide a model parameter")
        found = field_problem(body, "model", str, "a string") or field_problem(body, "messages", list, "an array")
        if found:
            return found
        for n, message in enumerate(body["messages"]):
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                return Problem(400, f"Missing required parameter: 'messages[{n}].role'.", f"messages[{n}].role")
        return field_problem(body, "stream", bool, "a boolean") if body.get("stream") else None

    def wish(self, body: Mapping[str, Any]) -> Wish:
        told = body["messages"][-1].get("role") in ("tool", "function")
        if _WISHING.isdisjoint(body):
            return _TOLD if told else _PLAIN
        names, forced = chosen_tools(body)
        return Wish(
            schema=_schema(body.get("response_format")),
            tools=names,
            forced=forced,
            told=told,
            parallel=body.get("parallel_tool_calls") is not False,
        )

    def turns(self, body: Mapping[str, Any]) -> Sequence[Any]:
        return body["messages"]  # type: ignore[no-any-return]  # a list, as ``problem`` made sure

    def usage(self, tokens: Tokens) -> dict[str, Any]:
        return _usage(tokens)

    def body(self, exchange: Exchange, answer: Answer) -> dict[str, Any]:
        message = {"role": "assistant", "refusal": None, "annotations": [], "content": None, **_message(answer)}
        return {
            "id": f"chatcmpl-{answer.slug}",
            "object": "chat.completion",
            "created": answer.created,
            "model": exchange.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}],
            "usage": self.usage(answer.tokens),
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
        }

    def events(self, exchange: Exchange, answer: Answer) -> list[Chunk]:
        """Role, reasoning, text, tool calls, finish, usage if asked for (no choices), and the closing [DONE]."""
        with_usage = _includes_usage(exchange)
        frame = {
            "id": f"chatcmpl-{answer.slug}",
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": exchange.model,
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
        }
        front = b"data: " + orjson.dumps(frame)[:-1] + b',"choices":[{"index":0,"delta":'
        closing = b',"logprobs":null,"finish_reason":null}]'
        last = b',"usage":null' if with_usage else b""
        back = closing + last + padding(exchange.body) + b"}\n\n"
        role = {"role": "assistant", "content": "", "refusal": None}
        if answer.unknown is not None:
            role["mock_extra"] = answer.unknown  # type: ignore[assignment]  # a member no client knows
        chunks = [Chunk(front + orjson.dumps(role) + back, "role")]
        dumps = orjson.dumps
        ahead, behind = front + b'{"reasoning_content":', b"}" + back
        chunks += [Chunk(ahead + dumps(thought) + behind, "reasoning") for thought in answer.thoughts]
        ahead = front + b'{"content":'
        chunks += [Chunk(ahead + dumps(text) + behind, "content") for text in answer.pieces]
        for index, tool in enumerate(answer.tools):
            opened: dict[str, Any] = {"index": index, "id": f"call_{tool.id}", "type": "function"}
            opened["function"] = {"name": tool.name, "arguments": ""}
            chunks.append(Chunk(front + dumps({"tool_calls": [opened]}) + back, "tool"))
            for fragment in tool.fragments:
                more = {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}
                chunks.append(Chunk(front + dumps(more) + back, "tool"))
        finish = b'{},"logprobs":null,"finish_reason":"' + _finish(answer).encode() + b'"}]' + last + b"}\n\n"
        chunks.append(Chunk(front + finish, "finish"))
        if with_usage:
            chunks.append(sse({**frame, "choices": [], "usage": self.usage(answer.tokens)}, "usage"))
        chunks.append(_DONE)
        return chunks

    def said(self, exchange: Exchange, answer: Answer, *, streamed: bool) -> dict[str, Any]:
        message = _message(answer)
        said = blank()
        said["text"] = message.get("content", "")
        said["thinking"] = message.get("reasoning_content", "")
        said["tools"] = [{"id": f"call_{t.id}", "name": t.name, "arguments": t.arguments} for t in answer.tools]
        said["finish"] = _finish(answer)
        if not streamed or _includes_usage(exchange):
            said["usage"] = self.usage(answer.tokens)
        said["terminal"] = True
        said["model"] = exchange.model
        said["items"] = digest(message)
        return said

    def error_event(self, exchange: Exchange, problem: Problem, *, failed: bool = False) -> Chunk:
        return sse(self.error_body(exchange, problem), "error")


@lru_cache(maxsize=64)
def _usage(tokens: Tokens) -> dict[str, Any]:
    """Return usage as a chat has it. An answer's is told and noted: it is one object, and nobody changes it."""
    prompt = tokens.input + tokens.cached + tokens.written
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens.output,
        "total_tokens": prompt + tokens.output,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cached,
            "cache_write_tokens": tokens.written,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _message(answer: Answer) -> dict[str, Any]:
    """Return the message without what is empty of it."""
    message: dict[str, Any] = {}
    if answer.pieces:
        message["content"] = answer.text
    if answer.thoughts:
        message["reasoning_content"] = answer.thinking
    if answer.tools:
        message["tool_calls"] = [
            {"id": f"call_{t.id}", "type": "function", "function": {"name": t.name, "arguments": t.arguments}}
            for t in answer.tools
        ]
    if answer.unknown is not None:
        message["mock_extra"] = answer.unknown
    return message


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.tools else "stop"


def _includes_usage(exchange: Exchange) -> bool:
    options = exchange.body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _schema(response_format: Any) -> Mapping[str, Any] | None:
    """Return the JSON Schema that the request asks for; an empty one for any JSON object; None for plain text."""
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_schema":
        inner = response_format.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, dict) else None
        return schema if isinstance(schema, dict) else {}
    return {} if response_format.get("type") == "json_object" else None


CHAT = Chat()
