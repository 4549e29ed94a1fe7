"""The caller's side of the Responses API: what a request says, and what a response or its typed events mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.clients.reader import OWN, JsonReader, StreamReader, first_text, text_of, tidied
from harness.contract import Contract
from harness.scenario import Call

_THINKING = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
_ARGUMENTS = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_TOOLS: Mapping[str, str] = {"function_call": "arguments", "custom_tool_call": "input"}
"""The types of items that are tool calls, and the member that holds what they are called with."""


def body(call: Call, prompt: str, contract: Contract) -> dict[str, Any]:
    """Return the body of a Responses request with one text input."""
    value: dict[str, Any] = {"model": call.model, "input": prompt}
    if call.max_tokens is not None:
        value["max_output_tokens"] = call.max_tokens
    if call.stream:
        value["stream"] = True
    return value


class ResponsesJson(JsonReader):
    """Reads a response."""

    __slots__ = ()

    def whole(self, value: dict[str, Any]) -> Any:
        self.model = first_text(value.get("model"))
        self.finish_reason = value.get("status")
        self.usage = value.get("usage")
        for item in value["output"]:
            kind = item.get("type")
            if kind == "message":
                said = (part for part in item.get("content") or () if part.get("type") == "output_text")
                self.text.extend(text_of(part["text"]) for part in said)
            elif kind == "reasoning":
                parts = (*(item.get("summary") or ()), *(item.get("content") or ()))
                self.thinking.extend(text_of(part["text"]) for part in parts)
                self.signature.append(first_text(item.get("encrypted_content")) or "")
            elif kind in _TOOLS:
                self.tools.append({"id": item["call_id"], "name": item["name"], "arguments": item[_TOOLS[kind]]})
        return [tidied(item) for item in value["output"]]


class ResponsesStream(StreamReader):
    """Reads the typed events of a response up to ``response.completed`` or ``response.incomplete``."""

    __slots__ = ("_calls", "_items", "_output")

    def __init__(self) -> None:
        super().__init__()
        self._items: list[dict[str, Any]] = []
        self._output: list[Any] | None = None
        self._calls: dict[int, _ToolCall] = {}

    def event(self, value: dict[str, Any]) -> str:
        kind = text_of(value["type"])
        if kind.endswith(".delta"):
            self._delta(kind, value)
        elif kind == "response.output_item.added":
            self._added(value["output_index"], value["item"])
        elif kind == "response.output_item.done":
            self._done(value["output_index"], value["item"])
        elif kind == "error":
            self._broken(value)
            if "message" not in value:
                return "foreign_error"  # this protocol's is flat: a client finds nothing in another's
        elif "response" in value:
            self._response(kind, value["response"])
        return "unnumbered" if "sequence_number" not in value and kind.startswith("response.") else kind

    def rest(self) -> Any:
        self.tools = [call.tool() for call in self._calls.values()]
        return self._items if self._output in (None, self._items) else [*self._items, self._output]

    def _delta(self, kind: str, value: Mapping[str, Any]) -> None:
        piece = value["delta"]
        if kind == "response.output_text.delta":
            self.text.append(text_of(piece))
        elif kind in _THINKING:
            self.thinking.append(text_of(piece))
        elif kind in _ARGUMENTS:
            self._calls.setdefault(value["output_index"], _ToolCall({})).fragments.append(text_of(piece))
        if piece:
            self.content()

    def _added(self, index: int, item: Mapping[str, Any]) -> None:
        if item.get("type") in _TOOLS:
            self._calls[index] = _ToolCall(item)
            self.content()

    def _done(self, index: int, item: Mapping[str, Any]) -> None:
        self._items.append(tidied(item))
        self.content()
        if item.get("type") == "reasoning":
            self.signature.append(first_text(item.get("encrypted_content")) or "")
        elif item.get("type") in _TOOLS:
            call = self._calls.setdefault(index, _ToolCall(item))
            if not call.fragments:
                call.fragments.append(text_of(item.get(_TOOLS[item["type"]]) or ""))

    def _response(self, kind: str, response: Mapping[str, Any]) -> None:
        self.model = (
            first_text(response.get("model"), self.model) if kind in _ENDS or self.model is None else self.model
        )
        if OWN in response:
            self._own(response[OWN], kind)
        if kind not in _ENDS:
            return
        self.finish_reason = response.get("status")
        self.usage = response.get("usage")
        if kind == "response.failed":
            error = response.get("error") or {}
            self._broken(error)
        else:
            self.terminal = True
            output = response.get("output")
            self._output = [tidied(item) for item in output] if isinstance(output, list) else None

    def _broken(self, error: Mapping[str, Any]) -> None:
        """Read an error that is flat, as this surface has it, or an error object all the same."""
        if isinstance(error.get("error"), dict):
            self._error(error)
            return
        self.failed = True
        self.error_type = first_text(error.get("code"), error.get("type"))
        self.error_message = first_text(error.get("message"))


class _ToolCall:
    """A tool call put together from the events of its item; ``item`` is what the first of them says."""

    __slots__ = ("fragments", "id", "name")

    def __init__(self, item: Mapping[str, Any]) -> None:
        self.id: str = item.get("call_id") or ""
        self.name: str = item.get("name") or ""
        self.fragments: list[str] = []

    def tool(self) -> dict[str, Any]:
        """Return the call as a reading's tools have it."""
        return {"id": self.id, "name": self.name, "arguments": "".join(self.fragments)}
