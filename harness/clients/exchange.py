"""One exchange as its caller saw it, filled as it happens, and the span that it becomes; it sends and judges nothing.

What became of a call, first match wins:

========  ==============================================================================================
aborted   the client left, by the call's plan, before the answer's end was read
open      the call was still going on when its client's patience was over
cut       no answer came at all
refused   status 4xx or 503
error     any other status above 299; an error object in the body; an error event in the stream
ok        a whole body or a terminal event, every event readable, and the clean end of the framing
cut       the rest: the transport broke, or the answer ended cleanly without being whole
========  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson

from harness.clients.reader import Reader
from harness.clients.request import Request
from harness.clients.surfaces import reader_for
from harness.history import CallOutcome, Reading
from harness.scenario import Call

CHUNKS_KEPT = 512
"""How many instants of arrival one span keeps; its detail tells how many more there were."""
BLOT = "[credential]"
"""What stands in a span where the answer gave the caller's credential back."""
_SECRET_MIN = 8
"""Credentials shorter than this are a scenario's nonsense, and likely to be part of honest text."""
_DROPPED = frozenset({"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"})
_READING = tuple(Reading.__dataclass_fields__)
_reading_values = attrgetter(*_READING)


class Exchange:
    """One request and what came of it, filled as it happens."""

    __slots__ = (
        "broke", "call", "chunks", "clock_us", "end", "first_byte", "headers", "left", "raw", "reader", "status",
    )  # fmt: skip

    def __init__(self, call: Call, clock_us: Callable[[], int]) -> None:
        self.call = call
        self.clock_us = clock_us
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.reader = Reader()
        self.first_byte: int | None = None
        self.end: int | None = None
        self.chunks: list[int] = []
        self.raw: list[bytes] = []
        self.broke = ""
        self.left: CallOutcome | None = None

    def head(self, status: int, headers: Iterable[tuple[bytes, bytes]], *, head_only: bool = False) -> None:
        """Take the head of the answer, which has just come."""
        self.first_byte = self.clock_us()
        self.status = status
        self.headers = _kept(headers)
        self.reader = reader_for(self.call.surface, self.headers.get("content-type", ""), head_only=head_only)
        encoding = self.headers.get("content-encoding", "identity")
        if encoding != "identity":
            self.reader.notes.append(f"content-encoding {encoding}, and identity was asked for")

    def chunk(self, data: bytes) -> None:
        """Take a piece of the body, which has just come."""
        now = self.clock_us()
        self.raw.append(data)
        if len(self.chunks) < CHUNKS_KEPT:
            self.chunks.append(now)
        self.reader.feed(data, now)

    def finished(self, request: Request, key: str, sent: int) -> tuple[dict[str, Any], bytes]:
        """Return the fields of the call's span, no credential in them, and the body as it came."""
        span = self._span(key, sent)
        answer = b"".join(self.raw)
        span["answer_bytes"] = len(answer)
        span["request_bytes"] = len(request.body)
        return _blotted(span, request.credentials), answer

    def _span(self, key: str, sent: int) -> dict[str, Any]:
        call, reader = self.call, self.reader
        reading = reader.finish(clean=not self.broke and self.left is None)
        return {
            "id": call.id,
            "account": call.account,
            "key": key,
            "surface": call.surface,
            "model": call.model,
            "stream": call.stream,
            "sent": sent,
            "first_byte": self.first_byte,
            "first_content": reader.first_content,
            "end": self.end if self.end is not None else self.clock_us(),
            "outcome": self._outcome(reading),
            "status": self.status,
            "headers": self.headers,
            "reading": dict(zip(_READING, _reading_values(reading), strict=True)),
            "chunks": self.chunks,
            "pings": reader.pings,
            "claims": reader.claims,
            "request_sha": "",
            "answer_sha": "",
            "answer_bytes": 0,
            "detail": self._detail(),
        }

    def _outcome(self, reading: Reading) -> CallOutcome:
        if self.left is not None:
            return self.left
        if self.status is None:
            return "cut"
        if self.status == 503 or 400 <= self.status < 500:
            return "refused"
        if self.status >= 300 or self.reader.failed:
            return "error"
        return "ok" if reading.terminal and not self.broke and not self.reader.malformed else "cut"

    def _detail(self) -> str:
        notes = [self.broke, *self.reader.notes] if self.broke else self.reader.notes
        beyond = len(self.raw) - len(self.chunks)
        if beyond:
            notes = [*notes, f"{beyond} more chunks"]
        return "; ".join(notes)


def _kept(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by lower-case name, without those of framing and date; repeated ones joined by commas."""
    kept: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = _name(raw_name), raw_value.decode("latin-1")
        if name not in _DROPPED:
            kept[name] = f"{kept[name]}, {value}" if name in kept else value
    return kept


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def _blotted(span: dict[str, Any], credentials: tuple[str, ...]) -> dict[str, Any]:
    """Return ``span`` with every credential in it replaced, and without what is nested too deeply to be written.

    Where one was replaced the claims say ``leaked``: for header values nobody else can tell any more.
    """
    try:
        text = orjson.dumps(span)
    except TypeError:
        span["reading"]["usage"], span["reading"]["tools"], span["claims"] = None, [], {}
        text = orjson.dumps(span)
    seen = [secret for secret in credentials if len(secret) >= _SECRET_MIN and _quoted(secret) in text]
    if not seen:
        return span
    for secret in sorted(seen, key=len, reverse=True):
        text = text.replace(_quoted(secret), BLOT.encode())
    blotted: dict[str, Any] = orjson.loads(text)
    blotted["claims"]["leaked"] = True
    blotted["detail"] = "; ".join(filter(None, (blotted["detail"], "the answer held the caller's credential")))
    return blotted


def _quoted(secret: str) -> bytes:
    return orjson.dumps(secret)[1:-1]
