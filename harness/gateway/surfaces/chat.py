"""OpenAI's chat completions: the codec of requests, answers and chunks; for its limits see base.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.gateway.sse import Event
from harness.gateway.surfaces.base import (
    Body,
    Declined,
    Kind,
    Malformed,
    StreamState,
    Surface,
    encode,
    expect_list,
    parsed,
    refuse,
    required,
)

DONE = b"[DONE]"


class Chat(Surface):
    """POST chat/completions."""

    name = "chat"
    dialect = "openai"
    upstream_path = "/v1/chat/completions"
    output_fields = ("max_completion_tokens", "max_tokens")

    def check(self, body: Body) -> None:
        super().check(body)
        expect_list(body, "messages")
        options = body.get("stream_options")
        if options is not None and type(options) is not dict:
            raise refuse("stream_options must be an object")

    def upstream_body(self, body: Body, upstream_model: str) -> bytes:
        """As every surface; and a stream is asked for its usage, which it is billed from."""
        sent = {**body, "model": upstream_model}
        sent.pop("hypereal", None)
        if self.streams(body):
            sent["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return encode(sent)

    def verify(self, answer: Any) -> dict[str, Any]:
        if type(answer) is not dict:
            raise Malformed("the answer is no JSON object")
        if answer.get("error"):
            raise Declined
        for choice in required(answer, "choices", list):
            if type(choice) is not dict or type(choice.get("message")) is not dict:
                raise Malformed("a choice has no message")
        return answer

    def read(self, event: Event, state: StreamState) -> Kind:
        if event.data == DONE:
            return "terminal"
        if not event.data:
            return "noise"
        chunk = parsed(event)
        if chunk.get("error"):
            return "error"
        choices = chunk.get("choices")
        if type(choices) is not list:
            raise Malformed("a chunk has no list of choices")
        if "model" in chunk:
            state.rename(event, chunk)
        content = finish = False
        for choice in choices:
            if type(choice) is not dict or type(delta := choice.get("delta")) is not dict:
                raise Malformed("a choice has no delta")
            for field, value in delta.items():
                if value and field != "role":
                    content = True
                    break
            finish = finish or choice.get("finish_reason") is not None
        usage = chunk.get("usage")
        if usage is not None:
            state.usage = usage
            # Some providers repeat a running usage in every chunk: only the last tells what the call used.
            if finish or not choices:
                return "usage"
        return "content" if content or finish else "preamble"

    def usage_holder(self, event: Event) -> dict[str, Any] | None:
        chunk: dict[str, Any] | None = event.value
        return chunk if chunk is not None and chunk.get("usage") is not None else None

    def gather(self, events: Sequence[Event]) -> dict[str, Any]:
        answer: dict[str, Any] = {"object": "chat.completion", "choices": []}
        choices: dict[int, dict[str, Any]] = {}
        for event in events:
            if event.value is None:
                continue
            for field, value in event.value.items():
                if field not in ("choices", "object") and value is not None:
                    answer[field] = value
            for part in event.value["choices"]:
                index = part.get("index", 0)
                choice = choices.setdefault(
                    index, {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
                )
                _merge(choice["message"], part["delta"])
                _merge(choice, {field: value for field, value in part.items() if field not in ("index", "delta")})
        for choice in choices.values():
            for call in choice["message"].get("tool_calls") or ():
                call.pop("index", None)  # the place of a fragment in a stream, unknown to a whole answer
        answer["choices"] = [choices[index] for index in sorted(choices)]
        return answer


_WHOLE = ("role", "id", "type", "index", "finish_reason")
"""Fields of a delta that come whole: a later one stands in place of an earlier one."""


def _merge(into: dict[str, Any], delta: Body) -> None:
    """Add a delta to what was gathered: texts and lists grow, objects merge, parts of a list with an index meet."""
    for field, value in delta.items():
        known = into.get(field)
        if value is None:
            continue
        if isinstance(value, str) and isinstance(known, str) and field not in _WHOLE:
            into[field] = known + value
        elif isinstance(value, dict):
            _merge(into.setdefault(field, {}), value) if isinstance(known, dict | None) else into.update({field: value})
        elif isinstance(value, list):
            into[field] = _merged(known if isinstance(known, list) else [], value)
        else:
            into[field] = value


def _merged(known: list[Any], parts: list[Any]) -> list[Any]:
    """Return the list with ``parts`` added: into the element of the same index, or at its end."""
    by_index = {part["index"]: part for part in known if isinstance(part, dict) and "index" in part}
    for part in parts:
        if not isinstance(part, dict) or "index" not in part:
            known.append(part)
            continue
        element = by_index.get(part["index"])
        if element is None:
            element = by_index[part["index"]] = {}
            known.append(element)
        _merge(element, part)
    return known
