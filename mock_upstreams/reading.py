"""Reads an answer back from the bytes that an upstream sent, into the normal form of docs/normal-form.md.

The journal needs it where a fault or a departure made the answer another one than was meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

import orjson

from mock_upstreams.normal import blank, digest, error_of, fold, tidy
from mock_upstreams.reading_chat import ChatReader
from mock_upstreams.reading_images import ImagesReader
from mock_upstreams.reading_messages import MessagesReader
from mock_upstreams.reading_responses import ResponsesReader

_LINE_END = re.compile(r"\r\n|\n|\r")


class Reader(Protocol):
    """Takes the events of one stream, or one JSON object, of one surface."""

    def event(self, data: dict[str, Any] | None) -> str:
        """Take an event (None: not a JSON object) and return its kind; "" leaves it out of the sequence."""
        ...

    def done(self) -> str:
        """Take data that is ``[DONE]`` and return its kind."""
        ...

    def whole(self, data: dict[str, Any]) -> None:
        """Take a JSON answer without an error in it."""
        ...

    def reading(self) -> dict[str, Any]:
        """Return what was read, without its sequence."""
        ...


class _CountReader:
    """count_tokens: one JSON object, all of it items."""

    def __init__(self) -> None:
        self._body: dict[str, Any] = {}
        self._terminal = False

    def event(self, data: dict[str, Any] | None) -> str:
        return "malformed" if data is None else str(data.get("type", "other"))

    def done(self) -> str:
        return "malformed"

    def whole(self, data: dict[str, Any]) -> None:
        self._body, self._terminal = data, True

    def reading(self) -> dict[str, Any]:
        return {**blank(), "terminal": self._terminal, "items": digest(tidy(self._body))}


_READERS: dict[str, type[Reader]] = {
    "chat": ChatReader,
    "messages": MessagesReader,
    "responses": ResponsesReader,
    "count_tokens": _CountReader,
    "images": ImagesReader,
}


_NAMED = ("messages",)
"""Surfaces whose clients drop an event whose name is not its type."""


def read_answer(surface: str, content_type: str, body: bytes) -> dict[str, Any]:
    """Return the reading of ``body``, sent as ``content_type`` on ``surface``; the blank one if it says nothing."""
    reader = _READERS[surface]()
    if "text/event-stream" in content_type:
        named = surface in _NAMED
        kinds = [kind for name, data in sse_events(body) if (kind := _take(reader, name if named else None, data))]
        return {**reader.reading(), "sequence": fold(kinds)}
    data = _object(body)
    if data is None:
        return blank()
    if data.get("error"):
        return {**blank(), **error_of(data["error"]), "sequence": "json"}
    reader.whole(data)
    return {**reader.reading(), "sequence": "json"}


def sse_events(body: bytes) -> Iterator[tuple[str, str]]:
    """Yield name (empty if it has none) and data of each complete server-sent event in ``body``."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    data: list[str] = []
    name = ""
    for line in _LINE_END.split(text)[:-1]:
        if not line:
            if data:
                yield name, "\n".join(data)
            data, name = [], ""
            continue
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))
        elif field == "event":
            name = value.removeprefix(" ")


def _take(reader: Reader, name: str | None, data: str) -> str:
    """Let ``reader`` take an event and return its kind; ``name`` is None where clients ask for none."""
    if data == "[DONE]":
        return reader.done()
    kind = reader.event(_object(data))
    return kind if name in (None, kind) or kind in ("", "malformed") else "unnamed"


def _object(text: str | bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
