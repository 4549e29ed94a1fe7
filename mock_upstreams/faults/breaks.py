"""Faults of the connection: hanging, silence, resets, closes and ends before the answer is whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

from mock_upstreams.faults.points import Chunks, Content, Seconds, after, broken
from mock_upstreams.faults.registry import fault
from mock_upstreams.parts import Cut, Part, Pause, Reply, Reset


@fault(replaces=True)
def hang_before_headers(reply: Reply, rng: Random) -> Iterator[Part]:
    """Accept the request and never answer anything."""
    yield Pause(math.inf)


@fault
def hang_after_headers(reply: Reply, rng: Random) -> Iterator[Part]:
    """Send the head and never a byte of the body."""
    before, _ = broken(reply, 0, None)
    yield from before
    yield Pause(math.inf)


@fault(lawful=True)
def silence(
    reply: Reply, rng: Random, *, seconds: Seconds, chunks: Chunks | None = None, content: Content | None = None
) -> Iterator[Part]:
    """Fall silent in the middle for so long, then go on as if nothing had been."""
    before, rest = broken(reply, chunks, content)
    yield from before
    yield Pause(seconds)
    yield from rest


@fault
def stall(reply: Reply, rng: Random, *, chunks: Chunks | None = None, content: Content | None = None) -> Iterator[Part]:
    """Fall silent in the middle for ever, the connection open."""
    before, _ = broken(reply, chunks, content)
    yield from before
    yield Pause(math.inf)


@fault(replaces=True)
def reset_before_headers(reply: Reply, rng: Random, *, after_s: Seconds = 0.0) -> Iterator[Part]:
    """Reset the connection (RST) instead of answering."""
    yield from after(after_s)
    yield Reset()


@fault(replaces=True)
def cut_before_headers(reply: Reply, rng: Random, *, after_s: Seconds = 0.0) -> Iterator[Part]:
    """Close the connection (FIN) instead of answering."""
    yield from after(after_s)
    yield Cut()


@fault
def reset_after(
    reply: Reply,
    rng: Random,
    *,
    chunks: Chunks | None = None,
    content: Content | None = None,
    inside: bool = False,
) -> Iterator[Part]:
    """Reset the connection (RST) in the middle of the answer."""
    before, _ = broken(reply, chunks, content, inside=inside)
    yield from before
    yield Reset()


@fault
def cut_after(
    reply: Reply,
    rng: Random,
    *,
    chunks: Chunks | None = None,
    content: Content | None = None,
    inside: bool = False,
) -> Iterator[Part]:
    """Close the connection (FIN) in the middle of the answer, without the end that its framing promised."""
    before, _ = broken(reply, chunks, content, inside=inside)
    yield from before
    yield Cut()


@fault(on="stream")
def truncate(
    reply: Reply,
    rng: Random,
    *,
    chunks: Chunks | None = None,
    content: Content | None = None,
    inside: bool = False,
) -> Iterator[Part]:
    """End the stream cleanly before its terminal event."""
    before, _ = broken(reply, chunks, content, inside=inside)
    yield from before
