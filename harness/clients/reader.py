"""Readers of answers: bytes in as they arrive, a reading in the normal form out; surfaces say what their fields mean.

What an answer means is written in docs/normal-form.md. The gateway and the mocks have readers of their own, on purpose.
Beside the reading stand ``claims``: what the gateway said of itself in the body. They are the members of every
``hypereal`` block (``billing``, ``insurance``), ``where`` those stood (kinds of events, or ``json``), and of an error
object ``code``, ``available_models``, and ``envelope``, the ``type`` that stands beside it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import repeat
from typing import Any

import orjson

from harness.clients.sse import Comment, SSEParser
from harness.history import Reading

OWN = "hypereal"
"""The gateway's own member of an answer: claims, and no part of any reading."""
_OWN_MEMBER = b'"hypereal"'
_BLOCKS = ("billing", "insurance")
_NUMBERS = ("credits_charged", "balance_before", "balance_after", "latency_ms", "threshold_ms", "credits_compensated")
"""What checkers calculate with: what is no number there was not told."""
_NUMERIC = frozenset({int, float, bool})
_ILL_SHAPED = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class Reader:
    """What a client makes of one answer: fed as it arrives, finished once, when it ends. This one reads nothing."""

    __slots__ = (
        "claims", "error_message", "error_type", "failed", "finish_reason", "first_content", "malformed", "model",
        "notes", "pings", "signature", "terminal", "text", "thinking", "tools", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.first_content: int | None = None
        self.pings: list[int] = []
        self.claims: dict[str, Any] = {}
        self.notes: list[str] = []
        self.malformed = 0
        self.failed = False
        self.terminal = False
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.signature: list[str] = []
        self.tools: list[Mapping[str, Any]] = []
        self.finish_reason: str | None = None
        self.usage: Mapping[str, Any] | None = None
        self.model: str | None = None
        self.error_type: str | None = None
        self.error_message: str | None = None

    def feed(self, data: bytes, at_us: int) -> None:
        """Take the next bytes, which arrived at ``at_us``."""

    def finish(self, clean: bool) -> Reading:
        """Return the reading; ``clean``: the answer ended as its framing says, and was not broken off."""
        return self._reading("", None)

    def _reading(self, sequence: str, rest: Any) -> Reading:
        usage, items = self.usage, ""
        if usage is not None and usage.__class__ is not dict:
            self.malformed += 1
            self.notes.append("the usage is no object")
            usage = None
        try:
            usage = bare(usage)
            items = digest(rest) if rest else ""
        except TypeError:
            self.malformed += 1
            self.notes.append("the answer is nested too deeply to be recorded")
        return Reading(
            text="".join(self.text),
            thinking="".join(self.thinking),
            signature="".join(self.signature),
            tools=tuple(self.tools),
            finish=first_text(self.finish_reason),
            usage=usage,
            terminal=self.terminal and not self.failed,
            sequence=sequence,
            model=self.model,
            error_type=self.error_type,
            error_message=self.error_message,
            items=items,
        )

    def _own(self, block: Any, where: str) -> None:
        """Keep what a ``hypereal`` block claims."""
        self.claims.update(block if isinstance(block, dict) else {OWN: block})
        for name in _BLOCKS:
            if name in self.claims:
                self.claims[name] = _sound(self.claims[name])
        told = self.claims.get("where")
        self.claims["where"] = f"{told} {where}" if told else where

    def _error(self, value: Mapping[str, Any]) -> None:
        """Read the error object of ``value``."""
        error = value.get("error")
        self.failed = True
        if not isinstance(error, dict):
            self.error_message = error if isinstance(error, str) else None
            return
        self.error_type = first_text(error.get("type"), error.get("code"))
        self.error_message = first_text(error.get("message"))
        for name in ("code", "available_models"):
            if error.get(name) is not None:
                self.claims[name] = error[name]
        if isinstance(value.get("type"), str):
            self.claims["envelope"] = value["type"]


class JsonReader(Reader, ABC):
    """Reads one JSON object, when it is whole."""

    __slots__ = ("_last", "_raw")

    def __init__(self) -> None:
        super().__init__()
        self._raw: list[bytes] = []
        self._last = 0

    def feed(self, data: bytes, at_us: int) -> None:
        self._raw.append(data)
        self._last = at_us

    def finish(self, clean: bool) -> Reading:
        try:
            value = orjson.loads(b"".join(self._raw))
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            self.notes.append("the body is not a JSON object" if self._raw else "the body is empty")
            return self._reading("", None)
        if OWN in value:
            self._own(value[OWN], "json")
        if value.get("error") is not None:
            self._error(value)
            return self._reading("json", None)
        self.terminal = True
        try:
            rest = self.whole(value)
        except _ILL_SHAPED:
            self.malformed += 1
            self.notes.append("the JSON body is not in the surface's shape")
            return self._reading("json", None)
        if any(self.text) or any(self.thinking) or self.tools:
            self.first_content = self._last
        return self._reading("json", rest)

    @abstractmethod
    def whole(self, value: dict[str, Any]) -> Any:
        """Read an answer that is no error; return what its ``items`` are the digest of."""


class StreamReader(Reader, ABC):
    """Reads server-sent events as they come."""

    __slots__ = ("_kinds", "_now", "_parser")
    end_mark: bytes | None = None
    """Data that ends a stream and is no JSON."""
    named = False
    """Whether clients of the surface drop an event whose ``event:`` field does not say its type."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = SSEParser()
        self._kinds: list[list[Any]] = [["", 0]]
        self._now = 0

    def feed(self, data: bytes, at_us: int) -> None:
        self._now = at_us
        for item in self._parser.feed(data):
            if item.__class__ is Comment:
                self.pings.append(at_us)
                continue
            kind = self._kind(item.data)  # type: ignore[union-attr]  # the comments are gone
            if kind is None:
                self.pings.append(at_us)
                continue
            if self.named and item.type != kind and kind != "malformed":  # type: ignore[union-attr]  # as above
                kind = "foreign_error" if kind == "error" else "unnamed"
            last = self._kinds[-1]
            if last[0] == kind:
                last[1] += 1
            else:
                self._kinds.append([kind, 1])

    def finish(self, clean: bool) -> Reading:
        if clean and self._parser.discarded:
            self.notes.append("an unterminated event at the end")
        try:
            rest = self.rest()
        except _ILL_SHAPED:
            self.malformed += 1
            rest = None
        if self.malformed:
            self.notes.append(f"malformed events: {self.malformed}")
        sequence = " ".join(kind if count == 1 else f"{kind}*{count}" for kind, count in self._kinds[1:])
        return self._reading(sequence, rest)

    @abstractmethod
    def event(self, value: dict[str, Any]) -> str | None:
        """Read one event and return its kind; None for a ping."""

    def rest(self) -> Any:
        """Return what the stream's ``items`` are the digest of."""
        return None

    def content(self) -> None:
        """Say that the event being read carries content."""
        if self.first_content is None:
            self.first_content = self._now

    def _kind(self, data: bytes) -> str | None:
        if data == self.end_mark:
            self.terminal = True
            return "done"
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            value = _loads_replaced(data)
        if value.__class__ is not dict:
            self.malformed += 1
            return "malformed"
        try:
            kind = self.event(value)
        except _ILL_SHAPED:
            self.malformed += 1
            kind = "malformed"
        if OWN in value:
            self._own(value[OWN], kind or "ping")
        return kind


def _loads_replaced(data: bytes) -> Any:
    """Parse ``data`` decoded as an event stream is, with U+FFFD for what is not UTF-8; None if that is no JSON."""
    try:
        return orjson.loads(data.decode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return None


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of ``value``. Raises TypeError if it is nested too deeply."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of ``bare(value)``. Raises TypeError if it is nested too deeply."""
    text = canonical(value)
    if _OWN_MEMBER in text:
        text = canonical(_without_own(value))
    return hashlib.sha256(text).hexdigest()


def tidied(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``value`` without the members that are null, ``""``, ``[]`` or ``{}``, and without the gateway's own."""
    return {name: told for name, told in value.items() if (told or type(told) in _NUMERIC) and name != OWN}


def _sound(block: Any) -> Any:
    """Return a block of claims without members that are no numbers where numbers belong; none at all if it is none."""
    if block.__class__ is not dict:
        return {}
    if _NUMERIC.issuperset(map(type, map(block.get, _NUMBERS, repeat(0)))):
        return block
    return {name: told for name, told in block.items() if name not in _NUMBERS or type(told) in _NUMERIC}


def bare(value: Any) -> Any:
    """Return ``value`` without the gateway's own members, however deep they stand. Raises TypeError if too deep."""
    return _without_own(value) if _OWN_MEMBER in orjson.dumps(value) else value


def _without_own(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_own(member) for name, member in value.items() if name != OWN}
    return [_without_own(member) for member in value] if isinstance(value, list) else value


def text_of(value: Any) -> str:
    """Return ``value`` if it is text. Raises TypeError if not."""
    if not isinstance(value, str):
        raise TypeError(f"not text: {value!r:.80}")
    return value


def first_text(*values: Any) -> str | None:
    """Return the first of ``values`` that is text, or None."""
    for value in values:
        if isinstance(value, str):
            return value
    return None
