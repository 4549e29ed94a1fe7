"""Anthropic's messages and count_tokens: the codec of requests, answers and events; for its limits see base.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from harness.gateway.sse import Event
from harness.gateway.surfaces.base import (
    Body,
    Declined,
    Kind,
    Malformed,
    StreamState,
    Surface,
    expect_list,
    parsed,
    required,
)


class Messages(Surface):
    """POST messages."""

    name = "messages"
    dialect = "anthropic"
    upstream_path = "/v1/messages"
    output_fields = ("max_tokens",)
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'

    def check(self, body: Body) -> None:
        super().check(body)
        expect_list(body, "messages")

    def verify(self, answer: Any) -> dict[str, Any]:
        if type(answer) is not dict:
            raise Malformed("the answer is no JSON object")
        if answer.get("type") == "error" or answer.get("error"):
            raise Declined
        if answer.get("type") != "message":
            raise Malformed("the answer is no message")
        required(answer, "content", list)
        return answer

    def read(self, event: Event, state: StreamState) -> Kind:
        if not event.data:
            return "noise"
        value = parsed(event)
        match required(value, "type", str):
            case "content_block_delta":
                delta = required(value, "delta", dict)
                said = any(part for field, part in delta.items() if field != "type")
                return "content" if said else "preamble"
            case "content_block_stop":
                # A block may be whole in its start (redacted thinking, a search's result): its stop is content.
                return "content"
            case "content_block_start":
                required(value, "content_block", dict)
                return "preamble"
            case "message_start":
                message = required(value, "message", dict)
                if "model" in message:
                    state.rename(event, message)
                state.opening = message.get("usage")
                return "preamble"
            case "message_delta":
                required(value, "delta", dict)
                if isinstance(value.get("usage"), dict):
                    state.usage = _final_usage(state, value["usage"])
                return "usage"
            case "message_stop":
                return "terminal"
            case "error":
                return "error"
            case "ping":
                return "noise"
        return "preamble"

    def usage_holder(self, event: Event) -> dict[str, Any] | None:
        value: dict[str, Any] | None = event.value
        return value if value is not None and value.get("type") == "message_delta" else None

    def gather(self, events: Sequence[Event]) -> dict[str, Any]:
        message: dict[str, Any] = {}
        blocks: dict[int, dict[str, Any]] = {}
        arguments: dict[int, str] = {}
        for event in events:
            value = event.value
            match value["type"]:
                case "message_start":
                    message = dict(value["message"])
                case "content_block_start":
                    blocks[value["index"]] = dict(value["content_block"])
                case "content_block_delta":
                    index, delta = value["index"], value["delta"]
                    if delta.get("type") == "input_json_delta":
                        arguments[index] = arguments.get(index, "") + delta["partial_json"]
                    else:
                        _grow(blocks.setdefault(index, {}), delta)
                case "message_delta":
                    message.update(value["delta"])
                    message["usage"] = {**message.get("usage", {}), **(value.get("usage") or {})}
        for index, text in arguments.items():
            blocks.setdefault(index, {})["input"] = orjson.loads(text) if text else {}
        message["content"] = [blocks[index] for index in sorted(blocks)]
        return message

    def error_event(self, error: Body, state: StreamState | None) -> bytes:
        return b"event: error\ndata: " + orjson.dumps(error) + b"\n\n"


def _final_usage(state: StreamState, usage: Body) -> dict[str, Any]:
    """Return the usage that a message_delta completes: its figures are cumulative and stand in place of earlier ones.

    What message_start told of the input holds where the delta is silent; its output count is a mere beginning.
    """
    known = state.usage
    if known is None and isinstance(state.opening, dict):
        known = {field: value for field, value in state.opening.items() if field != "output_tokens"}
    return {**(known or {}), **{field: value for field, value in usage.items() if value is not None}}


def _grow(block: dict[str, Any], delta: Body) -> None:
    for field, value in delta.items():
        if field == "type":
            continue
        if field == "citation":
            block["citations"] = [*(block.get("citations") or []), value]
        elif isinstance(value, str):
            block[field] = (block.get(field) or "") + value
        else:
            block[field] = value


class CountTokens(Messages):
    """POST messages/count_tokens: an uncharged pass-through."""

    name = "count_tokens"
    upstream_path = "/v1/messages/count_tokens"
    charged = False

    def streams(self, body: Body) -> bool:
        return False

    def verify(self, answer: Any) -> dict[str, Any]:
        if type(answer) is not dict:
            raise Malformed("the answer is no JSON object")
        if answer.get("type") == "error" or answer.get("error"):
            raise Declined
        required(answer, "input_tokens", int)
        return answer
