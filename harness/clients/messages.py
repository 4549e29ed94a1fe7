"""The caller's side of Anthropic messages: what a request says, and what a message or its stream of events means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from harness.clients.reader import OWN, JsonReader, StreamReader, canonical, first_text, text_of, tidied
from harness.contract import Contract
from harness.scenario import Call

_UNKNOWN_MODEL_TOKENS = 1024


def body(call: Call, prompt: str, contract: Contract) -> dict[str, Any]:
    """Return the body of a messages request with one user turn.

    The surface demands ``max_tokens``: a call that names none asks for the model's own default, which is what a
    gateway reserves for a body without the field.
    """
    value = count_body(call, prompt, contract)
    value["max_tokens"] = call.max_tokens if call.max_tokens is not None else _default_tokens(call, contract)
    if call.stream:
        value["stream"] = True
    return value


def count_body(call: Call, prompt: str, contract: Contract) -> dict[str, Any]:
    """Return the body of a count_tokens request with one user turn."""
    return {"model": call.model, "messages": [{"role": "user", "content": prompt}]}


def _default_tokens(call: Call, contract: Contract) -> int:
    for tier in ("enterprise", "general") if call.tier == "managed" else ("general", "enterprise"):
        model = contract.model(tier, call.model)
        if model is not None:
            return model.default_output_tokens
    return _UNKNOWN_MODEL_TOKENS


class MessagesJson(JsonReader):
    """Reads a message."""

    __slots__ = ()

    def whole(self, value: dict[str, Any]) -> Any:
        self.model = first_text(value.get("model"))
        self.finish_reason = value.get("stop_reason")
        self.usage = value.get("usage")
        blocks: Sequence[Mapping[str, Any]] = value["content"]
        for block in blocks:
            self.text.append(first_text(block.get("text")) or "")
            self.thinking.append(first_text(block.get("thinking")) or "")
            self.signature.append(first_text(block.get("signature")) or "")
            if _is_tool(block):
                arguments = canonical(block["input"]).decode()
                self.tools.append({"id": block["id"], "name": block["name"], "arguments": arguments})
        return [tidied(block) for block in blocks]


class MessagesStream(StreamReader):
    """Reads the events of a message up to ``message_stop``."""

    __slots__ = ("_blocks",)
    named = True

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, _Block] = {}

    def event(self, value: dict[str, Any]) -> str | None:
        kind = text_of(value["type"])
        if kind == "content_block_delta":
            self._delta(value["index"], value["delta"])
        elif kind == "ping":
            return None
        elif kind == "content_block_start":
            self._start(value["index"], value["content_block"])
        elif kind == "message_start":
            self._message(value["message"])
        elif kind == "message_delta":
            self.finish_reason = value["delta"].get("stop_reason") or self.finish_reason
            self._count(value.get("usage"))
        elif kind == "message_stop":
            self.terminal = True
        elif kind == "error":
            self._error(value)
        return kind

    def rest(self) -> Any:
        self.tools = [block.tool() for block in self._blocks.values() if _is_tool(block.value)]
        return [tidied(block.whole()) for block in self._blocks.values()]

    def _message(self, message: Mapping[str, Any]) -> None:
        self.model = self.model or first_text(message.get("model"))
        self.finish_reason = message.get("stop_reason") or self.finish_reason
        self._count(message.get("usage"))
        if OWN in message:
            self._own(message[OWN], "message_start")

    def _count(self, usage: Mapping[str, Any] | None) -> None:
        if usage is not None:
            told = {name: count for name, count in usage.items() if count is not None}
            self.usage = usage if self.usage is None else {**self.usage, **told}

    def _start(self, index: int, block: Mapping[str, Any]) -> None:
        self._blocks[index] = _Block(block)
        for name, pieces in (("text", self.text), ("thinking", self.thinking), ("signature", self.signature)):
            if block.get(name):
                pieces.append(text_of(block[name]))
        if len(tidied(block)) > 1:  # more than its type: a tool's name, redacted thinking, a text that is there at once
            self.content()

    def _delta(self, index: int, delta: Mapping[str, Any]) -> None:
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = _Block({})
        kind = delta["type"]
        if kind == "text_delta":
            piece = text_of(delta["text"])
            self.text.append(piece)
            block.join("text", piece)
        elif kind == "thinking_delta":
            piece = text_of(delta["thinking"])
            self.thinking.append(piece)
            block.join("thinking", piece)
        elif kind == "signature_delta":
            piece = text_of(delta["signature"])
            self.signature.append(piece)
            block.join("signature", piece)
        elif kind == "input_json_delta":
            piece = text_of(delta["partial_json"])
            block.fragments.append(piece)
        else:
            piece = kind
            block.extend(delta)
        if piece:
            self.content()


class _Block:
    """A content block put together from its start and its deltas."""

    __slots__ = ("fragments", "joined", "value")

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.value = {**value}
        self.joined: dict[str, list[str]] = {}
        self.fragments: list[str] = []

    def join(self, name: str, piece: str) -> None:
        """Add ``piece`` to the text of member ``name``."""
        self.joined.setdefault(name, []).append(piece)

    def extend(self, delta: Mapping[str, Any]) -> None:
        """Take a delta of any other type: a citation is appended, texts are joined, other values replace."""
        if delta["type"] == "citations_delta":
            self.value["citations"] = [*(self.value.get("citations") or ()), delta["citation"]]
            return
        for name, member in delta.items():
            if name != "type":
                if isinstance(member, str):
                    self.join(name, member)
                else:
                    self.value[name] = member

    def input(self) -> tuple[Any, str]:
        """Return the tool's input and its arguments as text: fragments that are no JSON stay text."""
        written = "".join(self.fragments)
        if not written:
            given = self.value.get("input")
            return given, canonical(given).decode()
        try:
            parsed = orjson.loads(written)
        except orjson.JSONDecodeError:
            return written, written
        return parsed, canonical(parsed).decode()

    def tool(self) -> dict[str, Any]:
        """Return the block as a reading's tools have it."""
        return {"id": self.value["id"], "name": self.value["name"], "arguments": self.input()[1]}

    def whole(self) -> dict[str, Any]:
        """Return the block as an unstreamed message has it."""
        value = dict(self.value)
        for name, pieces in self.joined.items():
            value[name] = (first_text(value.get(name)) or "") + "".join(pieces)
        if self.fragments:
            value["input"] = self.input()[0]
        return value


def _is_tool(block: Mapping[str, Any]) -> bool:
    return "id" in block and "name" in block and "input" in block
