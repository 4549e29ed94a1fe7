"""Server-sent events by the WHATWG's rules: bytes in, however they are cut, whole events out; it knows no protocol."""

from __future__ import annotations

from typing import Any

BOM = b"\xef\xbb\xbf"
_LF, _CR = 0x0A, 0x0D
"""As numbers: bytes are searched for a number at a tenth of what a search for a bytes object costs."""
EVENT_BYTES = 64 << 20
"""The longest event: an image in base64 fits, a flood does not."""


class EventTooLong(Exception):  # noqa: N818 - a finding about a stream
    """An event that grew past the reader's limit before it was whole."""


class Event:
    """One event: its name (empty if none was given), its data, and ``raw``: the event as it is passed on.

    ``raw`` has the fields as they came, without comments and with LF line ends. ``value`` is the data as parsed by
    whoever read it.
    """

    __slots__ = ("data", "name", "raw", "value")

    def __init__(self, name: bytes, data: bytes, raw: bytes) -> None:
        self.name = name
        self.data = data
        self.raw = raw
        self.value: Any = None

    def __repr__(self) -> str:
        return f"Event({self.name!r}, {self.data!r})"


class EventReader:
    """Reads one stream. Feed it chunks; each call returns the events that became whole with that chunk.

    One leading BOM is dropped; lines end in LF, CR or CRLF, also when a chunk ends between CR and LF; comments and
    blocks without data are no events; what is not ended by a blank line at the stream's end is none either.
    """

    __slots__ = ("_at_start", "_buffer", "_limit", "_skip_lf")

    def __init__(self, limit: int = EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._at_start = True
        self._skip_lf = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that ``chunk`` completes. Raises EventTooLong."""
        if self._skip_lf or _CR in chunk:
            chunk = self._with_lf(chunk)
        buffer = self._buffer
        if self._at_start:
            buffer += chunk
            if len(buffer) < len(BOM) and BOM.startswith(buffer):
                return []
            self._at_start = False
            if buffer.startswith(BOM):
                del buffer[: len(BOM)]
            chunk = bytes(buffer)
            buffer.clear()
        if not buffer:
            # The common case: the chunk is one whole event, and goes on as it is.
            event = _whole(chunk)
            if event is not None:
                return [event]
        # Only where old and new bytes meet can a blank line begin in the old ones.
        seen = max(len(buffer) - 1, 0)
        buffer += chunk
        end = buffer.rfind(b"\n\n", seen)
        if end < 0:
            if len(buffer) > self._limit:
                raise EventTooLong(f"an event of more than {self._limit} bytes")
            return []
        blocks = bytes(buffer[:end]).split(b"\n\n")
        del buffer[: end + 2]
        return [event for block in blocks if (event := _event(block, block + b"\n\n")) is not None]

    def _with_lf(self, chunk: bytes) -> bytes:
        """Return ``chunk`` with LF line ends; a CR at its end counts at once, an LF after it is then skipped."""
        if not chunk:
            return chunk
        if self._skip_lf and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._skip_lf = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _whole(chunk: bytes) -> Event | None:
    """Return the event if ``chunk`` is a data line, or an event and a data line, and the blank line, and no more."""
    end, first = len(chunk) - 2, chunk.find(_LF)
    if first < 0 or chunk[-1] != _LF:
        return None
    if first == end:
        return Event(b"", chunk[6:end], chunk) if chunk.startswith(b"data: ") else None
    if chunk.find(_LF, first + 1) == end and chunk.startswith(b"event: ") and chunk.startswith(b"data: ", first + 1):
        return Event(chunk[7:first], chunk[first + 7 : end], chunk)
    return None


def _event(block: bytes, raw: bytes) -> Event | None:
    """Return the event of a block of lines, or None if it has no data; ``raw`` is the block with its blank line."""
    name, data, kept = b"", [], []
    for line in block.split(b"\n"):
        if not line or line[0] == 0x3A:  # blank, or a comment
            continue
        kept.append(line)
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    if not data:
        return None
    return Event(name, b"\n".join(data), b"\n".join(kept) + b"\n\n")
