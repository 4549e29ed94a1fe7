"""The normal form of a Responses API answer, streamed or whole; see docs/normal-form.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mock_upstreams.normal import blank, digest, error_of, tidy

_TEXT = "response.output_text.delta"
_THINKING = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_ARGUMENTS = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_CALLS = ("function_call", "custom_tool_call")


class ResponsesReader:
    """Reads the events of one responses stream, or one response object."""

    def __init__(self) -> None:
        self._read = blank()
        self._items: list[Any] = []
        self._output: list[Any] | None = None
        self._calls: dict[int, dict[str, str]] = {}

    def done(self) -> str:
        return "malformed"

    def event(self, data: dict[str, Any] | None) -> str:
        kind = data.get("type") if data is not None else None
        if data is None or not isinstance(kind, str):
            return "malformed"
        response = data.get("response")
        if isinstance(response, dict):
            self._read["model"] = self._read["model"] or response.get("model")
            if kind in _ENDS:
                self._end(response, terminal=kind != "response.failed")
                output = response.get("output") if kind != "response.failed" else None
                self._output = [tidy(item) for item in output] if isinstance(output, list) else None
        if kind == "error":
            self._read |= error_of({**data, "type": data.get("code") or "error"})
        elif kind == _TEXT:
            self._read["text"] += data.get("delta") or ""
        elif kind in _THINKING:
            self._read["thinking"] += data.get("delta") or ""
        elif kind in _ARGUMENTS:
            call = self._calls.setdefault(data.get("output_index", 0), {"id": "", "name": "", "arguments": ""})
            call["arguments"] += data.get("delta") or ""
        elif kind == "response.output_item.added":
            self._open(data.get("output_index", 0), data.get("item") or {})
        elif kind == "response.output_item.done":
            self._close(data.get("output_index", 0), data.get("item") or {})
        return "unnumbered" if kind.startswith("response.") and "sequence_number" not in data else kind

    def whole(self, data: dict[str, Any]) -> None:
        self._read["model"] = data.get("model")
        self._end(data, terminal=True)
        for index, item in enumerate(data.get("output") or []):
            if isinstance(item, dict):
                self._open(index, item)
                self._close(index, item)
                self._read["text"] += "".join(_texts(item, "message", "content", "output_text"))
                self._read["thinking"] += "".join(_texts(item, "reasoning", "summary", "summary_text"))
                self._read["thinking"] += "".join(_texts(item, "reasoning", "content", "reasoning_text"))

    def reading(self) -> dict[str, Any]:
        tools = list(self._calls.values())
        items = [tidy(item) for item in self._items]
        if self._output is not None and self._output != items:
            items.append(self._output)
        return {**self._read, "tools": tools, "items": digest(items)}

    def _end(self, response: dict[str, Any], *, terminal: bool) -> None:
        self._read["finish"] = response.get("status")
        self._read["usage"] = response.get("usage")
        self._read["model"] = response.get("model") or self._read["model"]
        self._read["terminal"] = terminal
        if response.get("error"):
            error = response["error"]
            self._read |= error_of({**error, "type": error.get("code")} if isinstance(error, dict) else error)

    def _open(self, index: int, item: dict[str, Any]) -> None:
        if item.get("type") in _CALLS:
            self._calls[index] = {"id": item.get("call_id") or "", "name": item.get("name") or "", "arguments": ""}

    def _close(self, index: int, item: dict[str, Any]) -> None:
        self._items.append(item)
        if item.get("type") == "reasoning":
            self._read["signature"] += item.get("encrypted_content") or ""
        if item.get("type") in _CALLS:
            call = self._calls.setdefault(
                index, {"id": item.get("call_id") or "", "name": item.get("name") or "", "arguments": ""}
            )
            call["arguments"] = call["arguments"] or item.get("arguments") or item.get("input") or ""


def _texts(item: dict[str, Any], kind: str, member: str, part_type: str) -> Iterator[str]:
    if item.get("type") == kind:
        for part in item.get(member) or []:
            if isinstance(part, dict) and part.get("type") == part_type:
                yield part.get("text") or ""
