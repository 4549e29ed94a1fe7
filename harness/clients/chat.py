"""The caller's side of OpenAI chat completions: what a request says, and what an answer or a stream of chunks means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.clients.reader import JsonReader, StreamReader, first_text, tidied
from harness.contract import Contract
from harness.scenario import Call


def body(call: Call, prompt: str, contract: Contract) -> dict[str, Any]:
    """Return the body of a chat completions request with one user turn."""
    value: dict[str, Any] = {"model": call.model, "messages": [{"role": "user", "content": prompt}]}
    if call.max_tokens is not None:
        value["max_tokens"] = call.max_tokens
    if call.stream:
        value["stream"] = True
    return value


class ChatJson(JsonReader):
    """Reads a chat.completion."""

    __slots__ = ()

    def whole(self, value: dict[str, Any]) -> Any:
        self.model = first_text(value.get("model"))
        self.usage = value.get("usage")
        choice = value["choices"][0]
        self.finish_reason = choice.get("finish_reason")
        message = _Message()
        message.join(choice["message"])
        self.text = message.content
        self.thinking.append(_reasoning(choice["message"]))
        self.tools = message.tools()
        return message.whole()


class ChatStream(StreamReader):
    """Reads chat.completion.chunks up to ``[DONE]``."""

    __slots__ = ("_message", "_named")
    end_mark = b"[DONE]"

    def __init__(self) -> None:
        super().__init__()
        self._named: str | None = None
        self._message = _Message()
        self.text = self._message.content

    def event(self, value: dict[str, Any]) -> str:
        named = value.get("model")
        if named != self._named:
            self._name(first_text(named))
        kind = "other"
        if value.get("usage") is not None:
            self.usage = value["usage"]
            kind = "usage"
        if value.get("choices"):
            kind = self._choice(value["choices"][0])
        if value.get("error") is not None:
            self._error(value)
            kind = "error"
        return kind

    def rest(self) -> Any:
        self.tools = self._message.tools()
        return self._message.whole()

    def _name(self, named: str | None) -> None:
        """Take the model id of a chunk that names another one than the chunk before."""
        self._named = named
        known = self.model.split(" ") if self.model else []
        if named is not None and named not in known:
            self.model = " ".join([*known, named])

    def _choice(self, choice: Mapping[str, Any]) -> str:
        delta = choice.get("delta") or {}
        self._message.join(delta)
        kind = "content" if delta.get("content") else "role"
        thought = _reasoning(delta)
        if thought:
            self.thinking.append(thought)
            kind = "reasoning"
        if delta.get("tool_calls"):
            kind = "tool"
        if kind != "role":
            self.content()
        if choice.get("finish_reason") is not None:
            self.finish_reason = choice["finish_reason"]
            kind = "finish"
        return kind


class _Message:
    """An assistant's message put together from deltas; a whole one is its own and only delta."""

    __slots__ = ("_calls", "_joined", "_replaced", "content")

    def __init__(self) -> None:
        self.content: list[str] = []
        self._joined: dict[str, list[str]] = {"content": self.content}
        self._replaced: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}

    def join(self, delta: Mapping[str, Any]) -> None:
        """Add a delta: texts are joined, tool calls joined by index, other members replaced."""
        for name, member in delta.items():
            if member.__class__ is str:
                pieces = self._joined.get(name)
                if pieces is None:
                    pieces = self._joined[name] = []
                pieces.append(member)
            elif name == "tool_calls":
                for place, fragment in enumerate(member or ()):
                    self._call(fragment.get("index", place), fragment)
            elif member is not None:
                self._replaced[name] = member

    def tools(self) -> list[Mapping[str, Any]]:
        """Return the tool calls as a reading has them."""
        called = [(call.get("id", ""), call.get("function") or call["custom"]) for call in self._in_order()]
        return [
            {"id": id_, "name": said.get("name", ""), "arguments": said.get("arguments", said.get("input", ""))}
            for id_, said in called
        ]

    def whole(self) -> dict[str, Any]:
        """Return the message without its role, tidied."""
        message = self._replaced.copy()
        for name, pieces in self._joined.items():
            if name != "role":
                message[name] = pieces[0] if len(pieces) == 1 else "".join(pieces)
        message["tool_calls"] = self._in_order()
        return tidied(message)

    def _in_order(self) -> list[dict[str, Any]]:
        return [self._calls[index] for index in sorted(self._calls)] if self._calls else []

    def _call(self, index: int, fragment: Mapping[str, Any]) -> None:
        if "custom" in fragment:
            self._calls[index] = {name: member for name, member in fragment.items() if name != "index"}
            return
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call["id"] = call["id"] or fragment.get("id") or ""
        function, said = call["function"], fragment.get("function") or {}
        function["name"] += said.get("name") or ""
        function["arguments"] += said.get("arguments") or ""


def _reasoning(message: Mapping[str, Any]) -> str:
    """Return the reasoning text of a message or delta, under either of its two names."""
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    return thought if isinstance(thought, str) else ""
