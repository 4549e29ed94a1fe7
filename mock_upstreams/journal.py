"""The upstreams' record of every attempt that reached them, in the fields of harness.history's spans: the ground truth.

What an attempt's reading says is what was really sent: the lawful answer if it went out whole and untouched, and
otherwise what the bytes that went out say.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

import orjson

from mock_upstreams.normal import blank
from mock_upstreams.parts import Exchange
from mock_upstreams.player import Ending, Tape
from mock_upstreams.reading import read_answer
from mock_upstreams.spool import Spool

NOTICE_US = 2_000
"""How late a departure is taken to be noticed where the connection cannot tell: what happens at one instant happens in
no fixed order among the connections."""

CREDENTIALS = frozenset({"authorization", "x-api-key", "anthropic-api-key", "api-key", "x-goog-api-key", "cookie"})
_NOT_KEPT = frozenset({"host"})
"""Tells a port, which no record does; the upstream is named anyway."""


@dataclass(slots=True)
class Attempt:
    """One request that reached an upstream. ``number`` counts the run's attempts by arrival, from 1."""

    number: int
    start_s: float
    exchange: Exchange
    credential: str
    headers: Mapping[str, str]
    request_sha: str
    faults: str = ""
    """Names of the faults that were applied, joined by ``+``."""
    lawful: bool = True
    """What is sent is a whole answer as far as those faults are concerned, and not the provider's own refusal."""
    touched: bool = False
    detail: str = ""
    tape: Tape = field(default_factory=Tape)


class _Newest:
    """The last so many lines."""

    def __init__(self, keep: int) -> None:
        self._lines: deque[bytes] = deque(maxlen=keep)
        self._count = 0
        """How many lines there were, those that are gone included."""

    def add(self, line: bytes) -> None:
        self._lines.append(line)
        self._count += 1

    def lines(self, after: int) -> Iterator[bytes]:
        gone = self._count - len(self._lines)
        return iter(tuple(self._lines)[max(0, after - gone) :])


class Journal:
    """The attempts and faults of one run; every span is turned into bytes as it ends, and leaves the memory when many.

    Of all that ended; or of the last ``keep`` spans alone.
    """

    def __init__(self, zero_s: float, keep: int | None = None) -> None:
        self._zero_s = zero_s
        self._ended: Spool | _Newest = Spool() if keep is None else _Newest(keep)
        self._open: dict[int, Attempt] = {}
        self._count = 0

    @property
    def count(self) -> int:
        """How many attempts there were."""
        return self._count

    @property
    def open(self) -> int:
        """How many attempts are under way."""
        return len(self._open)

    def us(self, at_s: float) -> int:
        """Return an instant of the loop's clock in microseconds since the run's zero."""
        return round((at_s - self._zero_s) * 1e6)

    def arrive(self, start_s: float, exchange: Exchange, credential: str = "", request_sha: str = "") -> Attempt:
        """Open an attempt."""
        self._count += 1
        attempt = Attempt(self._count, start_s, exchange, credential, exchange.headers, request_sha)
        self._open[self._count] = attempt
        return attempt

    def struck(self, attempt: Attempt, injection: str, fault: str, at_s: float) -> None:
        """Note that an injection struck ``attempt``."""
        exchange = attempt.exchange
        span = {
            "span": "fault",
            "injection": injection,
            "fault": fault,
            "upstream": exchange.upstream,
            "attempt": attempt_id(exchange),
            "call": exchange.call,
            "at": self.us(at_s),
        }
        self._ended.add(_line(span))

    def end(self, attempt: Attempt, ending: Ending, end_s: float) -> None:
        """Close ``attempt``."""
        self._open.pop(attempt.number, None)
        if ending == "left":
            gone_s = attempt.tape.left_s
            span = self._span(attempt, "left", end_s if gone_s is None else gone_s)
        else:
            span = self._span(attempt, "served" if ending == "whole" and attempt.lawful else "fault", end_s)
        self._ended.add(_line(span))

    def lines(self, now_s: float, after: int = 0) -> Iterator[bytes]:
        """Return every span of this instant as a line of JSON; those under way as ``open`` until now.

        The first ``after`` of those that ended are left out.
        """
        under_way = [_line(self._span(attempt, "open", now_s)) for attempt in self._open.values()]
        return chain(self._ended.lines(after), under_way)

    def _span(self, attempt: Attempt, ended: str, end_s: float) -> dict[str, Any]:
        exchange, tape = attempt.exchange, attempt.tape
        start, end = self.us(attempt.start_s), self.us(end_s)
        attached, left = end, None
        if ended == "left":
            known_us = end - NOTICE_US if tape.attached_s is None else self.us(tape.attached_s)
            attached = max(start, min(known_us, end))
            left = (attached, end)
        return {
            "span": "attempt",
            "id": attempt_id(exchange),
            "call": exchange.call,
            "ordinal": attempt.number,
            "upstream": exchange.upstream,
            "provider": exchange.provider,
            "surface": exchange.surface,
            "model": exchange.model,
            "stream": exchange.stream,
            "start": start,
            "head": None if tape.head_s is None else self.us(tape.head_s),
            "first_chunk": None if tape.first_chunk_s is None else self.us(tape.first_chunk_s),
            "attached": attached,
            "end": end,
            "ended": ended,
            "fault": attempt.faults,
            "left": left,
            "status": tape.status,
            "bytes": sum(map(len, tape.sent)),
            "chunks": len(tape.sent),
            "reading": _reading(attempt, ended),
            "credential": attempt.credential,
            "headers": attempt.headers,
            "request_sha": attempt.request_sha,
            "detail": attempt.detail,
        }


def attempt_id(exchange: Exchange) -> str:
    """Return the attempt's id: upstream, call, and the how many-th attempt of that call it is there."""
    return f"{exchange.upstream}:{exchange.call or '-'}:{exchange.ordinal}"


def kept_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], str]:
    """Return request headers with digests for credentials, as they may be recorded, and the first of those digests."""
    kept: dict[str, str] = {}
    credential = ""
    for header in headers:
        name, value, digest = _kept(header)
        if not name:
            continue
        credential = credential or digest
        kept[name] = f"{kept[name]}, {value}" if name in kept else value
    return kept, credential


@lru_cache(maxsize=1024)
def _kept(header: tuple[bytes, bytes]) -> tuple[str, str, str]:
    """Return a header's name, empty if it is not kept, its value, and its digest if it is a credential.

    Most headers of a call are those of the one before.
    """
    name = header[0].decode("latin-1")
    if name in _NOT_KEPT:
        return "", "", ""
    if name in CREDENTIALS:
        digest = _digest(header[1])
        return name, digest, digest
    return name, header[1].decode("latin-1"), ""


def _digest(value: bytes) -> str:
    """Return the first 16 hex digits of the sha256 of a credential, ``Bearer`` aside; empty for an empty one."""
    secret = value[7:].strip() if value[:7].lower() == b"bearer " else value.strip()
    return hashlib.sha256(secret).hexdigest()[:16] if secret else ""


def _reading(attempt: Attempt, ended: str) -> dict[str, Any]:
    """Return what was said: as meant if all of it went out untouched, and otherwise as the bytes have it."""
    if ended == "served" and not attempt.touched:
        return attempt.exchange.served
    tape = attempt.tape
    if not tape.sent:
        return blank()
    reading = read_answer(attempt.exchange.surface, tape.content_type, b"".join(tape.sent))
    if ended != "served":
        reading["terminal"] = False
    return reading


def _line(span: Mapping[str, Any]) -> bytes:
    return orjson.dumps(span, option=orjson.OPT_APPEND_NEWLINE)
