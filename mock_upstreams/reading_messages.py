"""The normal form of an Anthropic message, streamed or whole; see docs/normal-form.md."""

from __future__ import annotations

from typing import Any

import orjson

from mock_upstreams.normal import blank, canonical, digest, error_of, tidy

_JOINED = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


class MessagesReader:
    """Reads the events of one messages stream, or one message."""

    def __init__(self) -> None:
        self._read = blank()
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, str] = {}

    def done(self) -> str:
        return "malformed"

    def event(self, data: dict[str, Any] | None) -> str:
        kind = data.get("type") if data is not None else None
        if data is None or not isinstance(kind, str):
            return "malformed"
        match kind:
            case "ping":
                return ""
            case "error":
                self._read |= error_of(data.get("error"))
            case "message_start":
                self._message(data.get("message") or {})
            case "content_block_start":
                self._open(data.get("index", 0), data.get("content_block") or {})
            case "content_block_delta":
                self._delta(data.get("index", 0), data.get("delta") or {})
            case "message_delta":
                reason = (data.get("delta") or {}).get("stop_reason")
                self._read["finish"] = reason or self._read["finish"]
                self._count(data.get("usage"))
            case "message_stop":
                self._read["terminal"] = True
        return kind

    def whole(self, data: dict[str, Any]) -> None:
        self._message(data)
        self._read["terminal"] = True

    def reading(self) -> dict[str, Any]:
        blocks = [self._block(index) for index in self._blocks]
        tools = [
            {"id": block["id"], "name": block["name"], "arguments": self._arguments(block)}
            for block in blocks
            if {"id", "name", "input"} <= block.keys()
        ]
        return {**self._read, "tools": tools, "items": digest([tidy(block) for block in blocks])}

    def _message(self, message: dict[str, Any]) -> None:
        self._read["model"] = self._read["model"] or message.get("model")
        self._read["finish"] = message.get("stop_reason") or self._read["finish"]
        self._count(message.get("usage"))
        for index, block in enumerate(message.get("content") or []):
            self._open(index, block)

    def _count(self, usage: dict[str, Any] | None) -> None:
        if usage is None:
            return
        before = self._read["usage"]
        counted = {name: value for name, value in usage.items() if value is not None}
        self._read["usage"] = usage if before is None else {**before, **counted}

    def _open(self, index: int, block: dict[str, Any]) -> None:
        self._blocks[index] = dict(block)
        self._inputs.pop(index, None)
        for name in ("text", "thinking", "signature"):
            self._read[name] += block.get(name) or ""

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks.setdefault(index, {})
        kind = delta.get("type", "")
        if kind in _JOINED:
            name = _JOINED[kind]
            said = delta.get(name) or ""
            block[name] = (block.get(name) or "") + said
            self._read[name] += said
        elif kind == "input_json_delta":
            self._inputs[index] = self._inputs.get(index, "") + (delta.get("partial_json") or "")
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta.get("citation")]
        else:
            for name, value in delta.items():
                if name != "type":
                    before = block.get(name)
                    block[name] = before + value if isinstance(before, str) and isinstance(value, str) else value

    def _block(self, index: int) -> dict[str, Any]:
        block = self._blocks[index]
        joined = self._inputs.get(index)
        if not joined:
            return block
        try:
            return {**block, "input": orjson.loads(joined)}
        except orjson.JSONDecodeError:
            return {**block, "input": joined}

    @staticmethod
    def _arguments(block: dict[str, Any]) -> str:
        given = block["input"]
        return given if isinstance(given, str) else canonical(given).decode()
