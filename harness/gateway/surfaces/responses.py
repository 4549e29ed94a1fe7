"""OpenAI's Responses API: the codec of requests, answers and typed events; for its limits see base.py."""

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
    parsed,
    refuse,
    required,
)

_PREAMBLE = frozenset(
    {
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
    }
)
_TERMINAL = frozenset({"response.completed", "response.incomplete"})


class Responses(Surface):
    """POST responses."""

    name = "responses"
    dialect = "openai"
    upstream_path = "/v1/responses"
    output_fields = ("max_output_tokens",)

    def check(self, body: Body) -> None:
        super().check(body)
        if not isinstance(body.get("input"), str | list | None):
            raise refuse("input must be a string or a list")
        if body.get("input") is None and body.get("prompt") is None:
            raise refuse("input is missing")

    def verify(self, answer: Any) -> dict[str, Any]:
        if type(answer) is not dict:
            raise Malformed("the answer is no JSON object")
        if answer.get("error") or answer.get("status") == "failed":
            raise Declined
        if answer.get("object") != "response":
            raise Malformed("the answer is no response")
        required(answer, "output", list)
        return answer

    def read(self, event: Event, state: StreamState) -> Kind:
        if not event.data:
            return "noise"
        if event.data == b"[DONE]":
            return "preamble"  # not of this protocol, but harmless: it goes on as it came
        value = parsed(event)
        type_ = required(value, "type", str)
        number = value.get("sequence_number")
        if type(number) is int:
            state.sequence = number
        if type_ in ("error", "response.failed"):
            return "error"
        if type_ in ("ping", "keepalive"):
            return "noise"
        response = value.get("response")
        if response is not None:
            if type(response) is not dict:
                raise Malformed("response is no object")
            if "model" in response:
                state.rename(event, response)
        if type_ in _TERMINAL:
            state.usage = required(value, "response", dict).get("usage")
            return "terminal"
        return "preamble" if type_ in _PREAMBLE else "content"

    def usage_holder(self, event: Event) -> dict[str, Any] | None:
        value = event.value
        if value is None or value["type"] not in _TERMINAL:
            return None
        response: dict[str, Any] = value["response"]
        return response

    def gather(self, events: Sequence[Event]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        items: dict[int, Any] = {}
        for event in events:
            value = event.value
            if value is None:
                continue
            if value["type"] in _TERMINAL:
                answer = value["response"]
            elif value["type"] == "response.output_item.done":
                items[value.get("output_index", len(items))] = value.get("item")
        if not answer.get("output"):
            answer["output"] = [items[index] for index in sorted(items)]
        return answer

    def error_event(self, error: Body, state: StreamState | None) -> bytes:
        """The flat ``error`` event of this API, with the error object beside it, which SDKs look for as well."""
        told = error["error"]
        event = {
            "type": "error",
            "code": told["code"],
            "message": told["message"],
            "param": None,
            "sequence_number": state.sequence + 1 if state is not None else 0,
            "error": told,
            "request_id": error["request_id"],
        }
        return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"
