"""One exchange as its caller saw it: facts, filled as they happen, and the span that they become; it sends nothing.

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

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson

from harness.clients.reader import Reader
from harness.clients.surfaces import reader_for
from harness.history import CallOutcome, Reading, span_line
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
    """One request and what came of it: facts, filled as they happen, and read when it is over."""

    __slots__ = (
        "broke", "call", "clock_us", "end", "first_byte", "head_only", "headers", "instants", "left", "raw", "sent",
        "status",
    )  # fmt: skip

    def __init__(self, call: Call, clock_us: Callable[[], int]) -> None:
        self.call = call
        self.clock_us = clock_us
        self.sent = clock_us()
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_only = False
        self.first_byte: int | None = None
        self.end: int | None = None
        self.raw: list[bytes] = []
        self.instants: list[int] = []
        """When each piece of the body came."""
        self.broke = ""
        self.left: CallOutcome | None = None

    def head(self, status: int, headers: list[tuple[bytes, bytes]], *, head_only: bool = False) -> None:
        """Take the head of the answer, which has just come."""
        self.first_byte = self.clock_us()
        self.status = status
        self.headers = headers
        self.head_only = head_only

    def chunk(self, data: bytes) -> None:
        """Take a piece of the body, which has just come."""
        self.instants.append(self.clock_us())
        self.raw.append(data)

    def facts(self) -> tuple[Any, ...]:
        """Return what came of it as plain values, of which each costs; ``of`` makes it again of them."""
        return (
            self.sent,
            self.status,
            b"\n".join([text for header in self.headers for text in header]),  # none holds a newline
            self.head_only,
            self.first_byte,
            self.end if self.end is not None else self.clock_us(),
            self.raw,
            self.instants,
            self.broke,
            self.left,
        )

    @classmethod
    def of(cls, call: Call, facts: tuple[Any, ...]) -> Exchange:
        """Return the exchange of ``call`` that had these ``facts``."""
        made = cls(call, lambda: 0)
        made.sent, made.status, head, made.head_only, made.first_byte, made.end = facts[:6]
        texts = head.split(b"\n")
        made.headers = list(zip(texts[::2], texts[1::2], strict=False))  # there is one text where no header is
        made.raw, made.instants, made.broke, made.left = facts[6:]
        return made

    def finished(
        self, key: str, request_bytes: int, credentials: tuple[str, ...]
    ) -> tuple[dict[str, Any], bytes, bytes]:
        """Return the fields of the call's span and its line, no credential in them, and the body as it came."""
        span = self._span(key)
        answer = b"".join(self.raw)
        span["answer_bytes"] = len(answer)
        span["request_bytes"] = request_bytes
        return *_blotted(span, credentials), answer

    def outcome_of_head(self) -> CallOutcome:
        """Return what became of the call as far as its body need not be read for it: ok, if all else is well."""
        if self.left is not None:
            return self.left
        if self.status is None:
            return "cut"
        if self.status == 503 or 400 <= self.status < 500:
            return "refused"
        return "error" if self.status >= 300 else "ok"

    def _span(self, key: str) -> dict[str, Any]:
        call = self.call
        headers = _kept(self.headers)
        reader = self._reader(headers)
        for at_us, data in zip(self.instants, self.raw, strict=True):
            reader.feed(data, at_us)
        reading = reader.finish(clean=not self.broke and self.left is None)
        return {
            "id": call.id,
            "account": call.account,
            "key": key,
            "surface": call.surface,
            "model": call.model,
            "stream": call.stream,
            "sent": self.sent,
            "first_byte": self.first_byte,
            "first_content": reader.first_content,
            "end": self.end if self.end is not None else self.clock_us(),
            "outcome": self._outcome(reading, reader),
            "status": self.status,
            "headers": headers,
            "reading": dict(zip(_READING, _reading_values(reading), strict=True)),
            "chunks": self.instants[:CHUNKS_KEPT],
            "pings": reader.pings,
            "claims": reader.claims,
            "request_sha": "",
            "answer_sha": "",
            "answer_bytes": 0,
            "detail": self._detail(reader),
        }

    def _reader(self, headers: Mapping[str, str]) -> Reader:
        if self.status is None:
            return Reader()
        reader = reader_for(self.call.surface, headers.get("content-type", ""), head_only=self.head_only)
        encoding = headers.get("content-encoding", "identity")
        if encoding != "identity":
            reader.notes.append(f"content-encoding {encoding}, and identity was asked for")
        return reader

    def _outcome(self, reading: Reading, reader: Reader) -> CallOutcome:
        told = self.outcome_of_head()
        if told != "ok":
            return told
        if reader.failed:
            return "error"
        return "ok" if reading.terminal and not self.broke and not reader.malformed else "cut"

    def _detail(self, reader: Reader) -> str:
        notes = [self.broke, *reader.notes] if self.broke else reader.notes
        beyond = len(self.raw) - CHUNKS_KEPT
        if beyond > 0:
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


def _blotted(span: dict[str, Any], credentials: tuple[str, ...]) -> tuple[dict[str, Any], bytes]:
    """Return ``span`` and its line, credentials in it replaced, and what is nested too deeply to be written left out.

    Where one was replaced the claims say ``leaked``: for header values nobody else can tell any more.
    """
    try:
        line = span_line("call", span)
    except TypeError:
        span["reading"]["usage"], span["reading"]["tools"], span["claims"] = None, [], {}
        line = span_line("call", span)
    seen = [secret for secret in credentials if len(secret) >= _SECRET_MIN and _quoted(secret) in line]
    if not seen:
        return span, line
    text = orjson.dumps(span)
    for secret in sorted(seen, key=len, reverse=True):
        text = text.replace(_quoted(secret), BLOT.encode())
    blotted: dict[str, Any] = orjson.loads(text)
    blotted["claims"]["leaked"] = True
    blotted["detail"] = "; ".join(filter(None, (blotted["detail"], "the answer held the caller's credential")))
    return blotted, span_line("call", blotted)


def _quoted(secret: str) -> bytes:
    return orjson.dumps(secret)[1:-1]
