"""The normal form of a chat completion, streamed or whole; see docs/normal-form.md."""

from __future__ import annotations

from typing import Any

from mock_upstreams.normal import blank, digest, error_of, tidy


class ChatReader:
    """Reads the events of one chat stream, or one chat completion."""

    def __init__(self) -> None:
        self._read = blank()
        self._message: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}

    def done(self) -> str:
        self._read["terminal"] = True
        return "done"

    def event(self, data: dict[str, Any] | None) -> str:
        if data is None:
            return "malformed"
        if data.get("error") is not None:
            self._read |= error_of(data["error"])
            return "error"
        self._frame(data)
        choice = _first_choice(data)
        if choice is None:
            return "usage" if data.get("usage") is not None else "other"
        delta = choice.get("delta") or {}
        self._delta(delta)
        if choice.get("finish_reason") is not None:
            self._read["finish"] = choice["finish_reason"]
            return "finish"
        if delta.get("tool_calls"):
            return "tool"
        if delta.get("reasoning_content") or delta.get("reasoning"):
            return "reasoning"
        return "content" if delta.get("content") else "role"

    def whole(self, data: dict[str, Any]) -> None:
        self._frame(data)
        self._read["terminal"] = True
        choice = _first_choice(data)
        if choice is not None:
            self._read["finish"] = choice.get("finish_reason")
            self._delta(choice.get("message") or {})

    def reading(self) -> dict[str, Any]:
        message = dict(self._message)
        calls = [self._calls[index] for index in sorted(self._calls)]
        if calls:
            message["tool_calls"] = calls
        tools = [_tool(call) for call in calls]
        return {**self._read, "tools": tools, "items": digest(tidy(message))}

    def _frame(self, data: dict[str, Any]) -> None:
        if self._read["model"] is None and data.get("model"):
            self._read["model"] = data["model"]
        if data.get("usage") is not None:
            self._read["usage"] = data["usage"]

    def _delta(self, delta: dict[str, Any]) -> None:
        self._read["text"] += delta.get("content") or ""
        self._read["thinking"] += delta.get("reasoning_content") or delta.get("reasoning") or ""
        for name, value in delta.items():
            if name in ("role", "tool_calls") or value is None:
                continue
            before = self._message.get(name)
            self._message[name] = before + value if isinstance(before, str) and isinstance(value, str) else value
        for place, call in enumerate(delta.get("tool_calls") or []):
            self._join(call.get("index", place), call)

    def _join(self, index: int, fragment: dict[str, Any]) -> None:
        if "custom" in fragment:
            self._calls[index] = {key: value for key, value in fragment.items() if key != "index"}
            return
        function = fragment.get("function") or {}
        call = self._calls.setdefault(index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call["id"] = call["id"] or fragment.get("id") or ""
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def _tool(call: dict[str, Any]) -> dict[str, str]:
    said = call.get("function") or call.get("custom") or {}
    arguments = said.get("arguments", said.get("input", ""))
    return {"id": call.get("id", ""), "name": said.get("name", ""), "arguments": arguments}


def _first_choice(data: dict[str, Any]) -> dict[str, Any] | None:
    choices = data.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
