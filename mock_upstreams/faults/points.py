"""Where in a reply a fault strikes, and the small edits of parts that faults share; it contains no fault itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import orjson

from mock_upstreams.faults.registry import Unit, is_event_stream
from mock_upstreams.parts import Chunk, Part, Pause, Reply, Start
from mock_upstreams.providers import DIALECTS, Dialect

Seconds = Annotated[float, Unit("seconds", 0, 1e6, 2.0)]
Chunks = Annotated[int, Unit("body chunks", 0, 1e6, 3)]
Content = Annotated[int, Unit("chunks with content", 0, 1e6, 2)]
Count = Annotated[int, Unit("tokens", 0, 2**53, 1000)]
Images = Annotated[int, Unit("images", 1, 1e6, 1)]
Bytes = Annotated[int, Unit("bytes", 1, 1e6, 7)]
Status = Annotated[int, Unit("HTTP status", 200, 599, 503)]
Share = Annotated[float, Unit("share of the whole", 0.01, 0.99, 0.5)]
Spread = Annotated[float, Unit("relative", 0, 10, 0.5)]
Every = Annotated[int, Unit("body chunks", 1, 1e6, 1)]


def dialect_of(reply: Reply) -> Dialect:
    """Return the dialect of the exchange that ``reply`` answers."""
    return DIALECTS[reply.exchange.surface]


def broken(
    reply: Reply, chunks: int | None, content: int | None, *, inside: bool = False
) -> tuple[list[Part], list[Part]]:
    """Return the reply's parts before and after the point at which a fault strikes.

    In a stream that is after ``chunks`` body chunks (0: the head alone), or after ``content`` chunks that carry text,
    reasoning or arguments (0: just before the first), whichever comes first; without either after the first content;
    always before the last chunk, so that the fault does strike. ``inside`` moves it into the middle of the next chunk.
    An unstreamed body is struck in its middle; only ``chunks=0`` stands before it.
    """
    parts = list(reply)
    places = [n for n, part in enumerate(parts) if isinstance(part, Chunk)]
    if not places:
        return parts, []
    if not is_event_stream(parts):
        place = places[-1]
        if chunks == 0:
            return _flushed(parts[:place]), parts[place:]
        return _halved(parts, place)
    place = _place(parts, places, dialect_of(reply), chunks, 1 if chunks is None and content is None else content)
    following = next(n for n in places if n >= place)
    if inside:
        return _halved(parts, following)
    return _flushed(parts[:place]), parts[place:]


def _place(
    parts: Sequence[Part], places: Sequence[int], dialect: Dialect, chunks: int | None, content: int | None
) -> int:
    """Return the index of the part before which the fault strikes."""
    if chunks == 0:
        return places[0]
    carried = 0
    for seen, place in enumerate(places[:-1], 1):
        part = parts[place]
        carries = isinstance(part, Chunk) and part.event in dialect.content
        if content == 0 and carries:
            return place
        carried += carries
        if seen == chunks or (carried == content and carries):
            return place + 1
    return places[-1]


def _flushed(parts: list[Part]) -> list[Part]:
    """Return ``parts``, their head flushed if no chunk carries it."""
    if any(isinstance(part, Chunk) for part in parts):
        return parts
    return [replace(part, flush=True) if isinstance(part, Start) else part for part in parts]


def _halved(parts: list[Part], place: int) -> tuple[list[Part], list[Part]]:
    chunk = parts[place]
    assert isinstance(chunk, Chunk)
    middle = len(chunk.data) // 2
    first, second = Chunk(chunk.data[:middle]), Chunk(chunk.data[middle:], chunk.event)
    return [*parts[:place], first], [second, *parts[place + 1 :]]


def after(after_s: float) -> list[Part]:
    """Return a pause of ``after_s``, or nothing."""
    return [Pause(after_s)] if after_s > 0 else []


def headed(start: Start, **changes: bytes | None) -> Start:
    """Return ``start`` with headers set, or left out where the value is None; ``_`` in a name stands for ``-``."""
    named = {name.replace("_", "-").encode(): value for name, value in changes.items()}
    kept = [(name, value) for name, value in start.headers if name not in named]
    return replace(start, headers=(*((n, v) for n, v in named.items() if v is not None), *kept))


def edited(reply: Reply, change: Callable[[Chunk, Any], Any]) -> list[Part]:
    """Return the reply's parts with the JSON of each chunk changed, lengths kept right.

    ``change`` takes a chunk and its JSON (None if it has none) and returns the JSON that shall stand there, the very
    same object for no change, or ``...`` to drop the chunk.
    """
    parts: list[Part] = []
    grown = 0
    for part in reply:
        if not isinstance(part, Chunk):
            parts.append(part)
            continue
        value = json_of(part)
        new = change(part, value)
        grown -= len(part.data)
        if new is not ...:
            parts.append(part if new is value else with_json(part, new))
            grown += len(parts[-1].data)  # type: ignore[union-attr]  # a chunk, either way
    return [_longer(part, grown) if isinstance(part, Start) else part for part in parts]


def _longer(start: Start, by: int) -> Start:
    """Return ``start`` with the content length that it told ``by`` bytes longer; a lie about the length stays one."""
    told = next((value for name, value in start.headers if name == b"content-length"), None)
    return start if told is None or not by else headed(start, content_length=b"%d" % (int(told) + by))


def json_of(chunk: Chunk) -> Any:
    """Return the JSON that ``chunk`` carries, as a whole body or as an event of one data line; None if it does not."""
    text = chunk.data
    if chunk.event != "json":
        _, found, text = text.partition(b"data: ")
        if not found:
            return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def with_json(chunk: Chunk, value: Any) -> Chunk:
    """Return ``chunk`` carrying ``value`` instead."""
    if chunk.event == "json":
        return Chunk(orjson.dumps(value), "json")
    front, found, _ = chunk.data.partition(b"data: ")
    return Chunk(front + found + orjson.dumps(value) + b"\n\n", chunk.event)


def measured(parts: Iterable[Part]) -> list[Part]:
    """Return ``parts`` with the content length, where one is told, that of the chunks."""
    kept = list(parts)
    size = b"%d" % sum(len(part.data) for part in kept if isinstance(part, Chunk))
    return [
        headed(part, content_length=size)
        if isinstance(part, Start) and any(name == b"content-length" for name, _ in part.headers)
        else part
        for part in kept
    ]
