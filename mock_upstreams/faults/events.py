"""Faults of a stream's events: broken, doubled, displaced ones; and framing that is lawful but seldom seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from random import Random

from mock_upstreams.faults.points import (
    Bytes,
    Chunks,
    Content,
    Every,
    Seconds,
    after,
    broken,
    dialect_of,
    json_of,
)
from mock_upstreams.faults.registry import fault
from mock_upstreams.parts import Chunk, Part, Reply

BOM = b"\xef\xbb\xbf"
_BARE_LF = re.compile(rb"(?<!\r)\n")


@fault(on="stream")
def malformed_event(
    reply: Reply, rng: Random, *, chunks: Chunks | None = None, content: Content | None = None
) -> Iterator[Part]:
    """Send one event whose JSON stops in its middle (the last that has any, if none comes later), then go on."""
    before, rest = broken(reply, chunks, content)
    parts = [*before, *rest]
    spoilable = [
        n for n, part in enumerate(parts) if isinstance(part, Chunk) and part.data.startswith((b"data: {", b"event: "))
    ]
    place = next((n for n in spoilable if n >= len(before)), spoilable[-1] if spoilable else None)
    for n, part in enumerate(parts):
        if n == place and isinstance(part, Chunk):
            yield Chunk(part.data[: _middle_of_data(part.data)] + b"\n\n", part.event)
        else:
            yield part


@fault(on="stream", lawful=True)
def duplicate_event(
    reply: Reply, rng: Random, *, chunks: Chunks | None = None, content: Content | None = None
) -> Iterator[Part]:
    """Send the last event before that point (the first of all if there is none) twice."""
    before, rest = broken(reply, chunks, content)
    yield from before
    again = next((part for part in (*reversed(before), *rest) if isinstance(part, Chunk)), None)
    if again is not None:
        yield again
    yield from rest


@fault(on="stream", lawful=True)
def events_out_of_order(reply: Reply, rng: Random, *, content: Content = 0) -> Iterator[Part]:
    """Swap two content events that follow each other, after so many others (at the latest the last two)."""
    parts = list(reply)
    dialect = dialect_of(reply)
    places = [n for n, part in enumerate(parts) if isinstance(part, Chunk) and part.event in dialect.content]
    if len(places) > 1:
        first = min(content, len(places) - 2)
        a, b = places[first], places[first + 1]
        parts[a], parts[b] = parts[b], parts[a]
    yield from parts


@fault(on="stream", lawful=True)
def crlf(reply: Reply, rng: Random) -> Iterator[Part]:
    """End every line with CRLF instead of LF."""
    before = b""
    for part in reply:
        if isinstance(part, Chunk):
            ended = _BARE_LF.sub(b"\r\n", before + part.data)[len(before) :]
            before = part.data[-1:] if part.data[-1:] == b"\r" else b""
            yield Chunk(ended, part.event)
        else:
            yield part


@fault(on="stream", lawful=True, fragments=True)
def split_crlf(reply: Reply, rng: Random, *, gap_s: Seconds = 0.001) -> Iterator[Part]:
    """End every line with CRLF instead of LF, and split every chunk between each CR and its LF."""
    for part in crlf.run(reply, rng):
        if isinstance(part, Chunk):
            cuts = [n + 1 for n, byte in enumerate(part.data) if byte == 0x0D]
            yield from _pieces(part, cuts, gap_s)
        else:
            yield part


@fault(on="stream", lawful=True)
def bom(reply: Reply, rng: Random) -> Iterator[Part]:
    """Begin the stream with a byte order mark."""
    begun = False
    for part in reply:
        if isinstance(part, Chunk) and not begun:
            begun = True
            yield Chunk(BOM + part.data, part.event)
        else:
            yield part


@fault(on="stream", lawful=True)
def comments(reply: Reply, rng: Random, *, every: Every = 1) -> Iterator[Part]:
    """Put a comment before every so many chunks."""
    yield from _before_every(reply, every, Chunk(b": keep-alive\n\n", "ping"))


@fault(on="stream", lawful=True)
def pings(reply: Reply, rng: Random, *, every: Every = 1) -> Iterator[Part]:
    """Put the provider's own keep-alive before every so many chunks."""
    yield from _before_every(reply, every, dialect_of(reply).ping)


@fault(on="stream", lawful=True)
def multi_line_data(reply: Reply, rng: Random) -> Iterator[Part]:
    """Spread each event's JSON over three data lines."""
    for part in reply:
        if isinstance(part, Chunk) and json_of(part) is not None:
            end = b"\r\n" if part.data.endswith(b"\r\n") else b"\n"
            front, _, text = part.data.partition(b"data: ")
            text = text.rstrip(b"\r\n")
            lines = (b"data: " + text[:1], b"data: " + text[1:-1], b"data: " + text[-1:])
            yield Chunk(front + end.join(lines) + 2 * end, part.event)
        else:
            yield part


@fault(on="stream", lawful=True)
def long_event(reply: Reply, rng: Random, *, content: Content = 0, size: Bytes = 70_000) -> Iterator[Part]:
    """Make one content event, after so many others, that many bytes longer, by blanks where JSON takes them."""
    seen = 0
    for part in reply:
        if isinstance(part, Chunk) and part.event in dialect_of(reply).content:
            if seen == content:
                part = Chunk(part.data.replace(b"data: {", b"data: {" + b" " * size, 1), part.event)
            seen += 1
        yield part


@fault(on="stream", lawful=True, fragments=True)
def split_utf8(reply: Reply, rng: Random, *, gap_s: Seconds = 0.001) -> Iterator[Part]:
    """Split every chunk inside its ``data:`` field name, and inside its characters of several bytes."""
    for part in reply:
        if not isinstance(part, Chunk):
            yield part
            continue
        at = part.data.find(b"data:")
        cuts = [at + 2] if at >= 0 else []
        cuts += [n for n, byte in enumerate(part.data) if byte & 0b1100_0000 == 0b1000_0000]
        yield from _pieces(part, cuts, gap_s)


@fault(lawful=True, fragments=True)
def slow_drip(reply: Reply, rng: Random, *, size: Bytes = 7, gap_s: Seconds = 0.001) -> Iterator[Part]:
    """Send the body a few bytes at a time, with a gap after each."""
    for part in reply:
        if isinstance(part, Chunk):
            yield from _pieces(part, list(range(size, len(part.data), size)), gap_s)
        else:
            yield part


def _pieces(chunk: Chunk, cuts: list[int], gap_s: float) -> Iterator[Part]:
    bounds = [0, *sorted(cuts), len(chunk.data)]
    pieces = [chunk.data[a:b] for a, b in pairwise(bounds) if b > a]
    for n, piece in enumerate(pieces):
        last = n == len(pieces) - 1
        yield Chunk(piece, chunk.event if last else "")
        if not last:
            yield from after(gap_s)


def _before_every(reply: Reply, every: int, extra: Chunk) -> Iterator[Part]:
    seen = 0
    for part in reply:
        if isinstance(part, Chunk):
            if seen % every == 0:
                yield extra
            seen += 1
        yield part


def _middle_of_data(data: bytes) -> int:
    at = data.index(b"data: ") + len(b"data: ")
    return at + (len(data) - at) // 2
