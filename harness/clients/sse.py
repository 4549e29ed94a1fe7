"""An incremental reader of server-sent events after the WHATWG standard: bytes in, events out; it reads no JSON.

One leading byte order mark is dropped; lines end in LF, CR or CRLF, also split between chunks; an event that no empty
line ended is discarded, and ``discarded`` then says so. Data stays bytes: the caller decodes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_LF, _CR = 0x0A, 0x0D
"""As numbers: bytes are searched for a number at a tenth of what a search for a bytes object costs."""


class Event(NamedTuple):
    """A dispatched event: its type (empty if none was given), its data lines joined by LF, the chunk that ended it."""

    type: str
    data: bytes
    chunk: int


class Comment(NamedTuple):
    """A comment line: what stands after the colon, and the chunk that ended it."""

    text: bytes
    chunk: int


class SSEParser:
    """Parses one stream. ``chunk`` numbers of what comes out count the calls of ``feed`` from 0."""

    __slots__ = ("_after_cr", "_data", "_head", "_idle", "_partial", "_type", "chunk", "last_event_id", "retry_ms")

    def __init__(self) -> None:
        self.chunk = -1
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._head: bytes | None = b""  # until the stream is known to start with a byte order mark, or not
        self._after_cr = False
        self._partial: list[bytes] = []
        self._type = b""
        self._data: list[bytes] = []
        self._idle = False

    def feed(self, data: bytes) -> Sequence[Event | Comment]:
        """Return what ``data`` completed, in order."""
        self.chunk += 1
        if self._idle or self._head == b"":
            # What servers mostly send is one whole event a chunk: no state is needed for it.
            event = _whole(data, self.chunk)
            if event is not None:
                self._head = None
                self._idle = True
                return (event,)
        found = self._lines(self._without_bom(data))
        self._idle = not (self._head is not None or self._after_cr or self._partial or self._type or self._data)
        return found

    @property
    def discarded(self) -> bool:
        """Whether the stream, if it ended now, would leave an unterminated line or event behind."""
        return bool(self._head or self._partial or self._type or self._data)

    def _without_bom(self, data: bytes) -> bytes:
        if self._head is None:
            return data
        data = self._head + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._head = data
            return b""
        self._head = None
        return data.removeprefix(_BOM)

    def _lines(self, data: bytes) -> list[Event | Comment]:
        found: list[Event | Comment] = []
        if not data:
            return found
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *rest = data.split(b"\n")
        if first:
            self._partial.append(first)
        if rest:
            last = rest.pop()
            self._line(b"".join(self._partial), found)
            self._partial = [last] if last else []
            for line in rest:
                self._line(line, found)
        return found

    def _line(self, line: bytes, found: list[Event | Comment]) -> None:
        if not line:
            if self._data:
                found.append(Event(_text(self._type), b"\n".join(self._data), self.chunk))
                self._data = []
            self._type = b""
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"":
            found.append(Comment(value, self.chunk))
        elif field == b"event":
            self._type = value
        elif field == b"id":
            if b"\0" not in value:
                self.last_event_id = _text(value)
        elif field == b"retry" and value.isdigit() and len(value) < 20:
            self.retry_ms = int(value)


def _whole(data: bytes, chunk: int) -> Event | None:
    """Return the event if ``data`` is exactly ``data: x LF LF`` or ``event: t LF data: x LF LF``."""
    end = len(data) - 2
    first = data.find(_LF)
    if first < 0 or data[-1] != _LF or _CR in data:
        return None
    if first == end:
        return Event("", data[6:end], chunk) if data.startswith(b"data: ") else None
    if data.find(_LF, first + 1) == end and data.startswith(b"event: ") and data.startswith(b"data: ", first + 1):
        return Event(_text(data[7:first]), data[first + 7 : end], chunk)
    return None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
