"""The four measurements: subjects in, raw values block by block out; what they mean is said elsewhere.

Everything is interleaved: within a round (or a block) each subject has its turn, in an order drawn from the seed, so
that what the machine does meanwhile strikes all of them alike. A block in which others kept the machine busy is
measured again, whatever it showed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from statistics import fmean
from typing import TypeVar

from harness.bench.caller import Caller, Timing
from harness.bench.machine import Usage, Watch, cpu_s
from harness.bench.plan import CHUNKS, CONTROL, DIRECT, Order
from harness.bench.subjects import Subject
from harness.bench.subjects.mock import forget
from harness.target import TargetError

WARM_CALLS = 20
WARM_S = 0.5
Progress = Callable[[str], None]
T = TypeVar("T")


@dataclass(slots=True)
class Leg:
    """One of those who take turns: a subject, who calls it, and the numbers that make its calls distinct."""

    subject: Subject
    caller: Caller
    numbers: count[int] = field(default_factory=count)

    def request(self, *, stream: bool = False) -> bytes:
        """Return the next call."""
        return self.subject.request(f"b{next(self.numbers):07d}", stream=stream)


@dataclass(slots=True)
class Loop:
    """One closed loop: calls answered, seconds, CPU seconds of the subject (None: not told)."""

    calls: int
    seconds: float
    cpu_s: float | None


@dataclass(slots=True)
class Raw:
    """What was measured, by the names of the legs: times in rounds, loops by their connections in blocks."""

    latency: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, list[float]] = field(default_factory=dict)
    gap: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[tuple[str, int], list[Loop]] = field(default_factory=dict)
    chunks: dict[str, list[Loop]] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    """How busy others were in the blocks of each measurement that stand."""
    again: dict[str, int] = field(default_factory=dict)
    """How many blocks of each were measured again."""
    failed: dict[str, tuple[int, str]] = field(default_factory=dict)


class Bench:
    """Measures ``subjects`` as ``order`` says; the first of them is the mock itself."""

    def __init__(self, order: Order, subjects: Sequence[Subject], progress: Progress) -> None:
        self._order = order
        self._progress = progress
        self._legs = {one.name: Leg(one, Caller(one.name, one.host, one.port)) for one in subjects}
        mock = subjects[0]
        self._forget = forget(mock)
        self._mock = Caller(mock.name, mock.host, mock.port)
        self._roots = tuple(root for one in subjects for root in one.roots)
        self._usages: dict[str, list[Usage]] = {}
        self.raw = Raw()

    async def run(self) -> Raw:
        """Measure all that was ordered. Raises TargetError for a subject that answers no call, or ceases to answer."""
        measures = {"latency": self._latency, "streams": self._streams, "calls": self._calls, "chunks": self._chunks}
        try:
            await self._warm_up()
            for name in self._order.measures:
                await measures[name]()
                usages = self._usages[name]
                others, stolen = fmean(one.others_cores for one in usages), fmean(one.stolen_share for one in usages)
                self.raw.usage[name] = Usage(others, stolen)
        finally:
            for leg in self._legs.values():
                if leg.caller.failed:
                    self.raw.failed[leg.subject.name] = (leg.caller.failed, leg.caller.first_failure)
                leg.caller.close()
            self._mock.close()
        return self.raw

    async def _warm_up(self) -> None:
        """Call everybody some times, so that no first call is measured. Raises TargetError if one does not answer."""
        for leg in self._legs.values():
            self._progress(f"warming up {leg.subject.name}")
            for _ in range(WARM_CALLS):
                if await leg.caller.call(leg.request()) is None:
                    raise TargetError(f"{leg.subject.name} does not answer calls", cause=leg.caller.first_failure)
            if await leg.caller.call(leg.request(stream=True), CHUNKS) is None:
                raise TargetError(f"{leg.subject.name} does not answer streams", cause=leg.caller.first_failure)
            await leg.caller.closed_loop(max(self._order.connections), min(WARM_S, self._order.seconds), leg.request)

    async def _latency(self) -> None:
        for timings in await self._rounds("latency", self._order.pairs):
            _keep(self.raw.latency, timings, lambda timing: timing.whole_us)

    async def _streams(self) -> None:
        for timings in await self._rounds("streams", self._order.stream_pairs, CHUNKS):
            _keep(self.raw.first, timings, lambda timing: timing.first_us)
            _keep(self.raw.gap, timings, lambda timing: timing.stream_us / CHUNKS)

    async def _calls(self) -> None:
        for connections in self._order.connections:
            for loops in await self._turns("calls", connections):
                for name, loop in loops.items():
                    self.raw.calls.setdefault((name, connections), []).append(loop)

    async def _chunks(self) -> None:
        for loops in await self._turns("chunks", max(self._order.connections), stream=True):
            for name, loop in loops.items():
                self.raw.chunks.setdefault(name, []).append(loop)

    async def _loop(self, leg: Leg, connections: int, *, stream: bool) -> Loop:
        await self._mock.call(self._forget)
        roots = leg.subject.roots
        before_s = cpu_s(roots)
        calls, seconds = await leg.caller.closed_loop(
            connections, self._order.seconds, lambda: leg.request(stream=stream), CHUNKS if stream else 0
        )
        return Loop(calls, seconds, cpu_s(roots) - before_s if roots else None)

    async def _rounds(self, name: str, rounds: int, chunks: int = 0) -> list[dict[str, Timing | None]]:
        """Return of each round a timing of each gateway, the mock and the mock again, called in that round's order."""
        legs = {one: leg for one, leg in self._legs.items() if one == DIRECT or not leg.subject.answers}
        legs[CONTROL] = self._legs[DIRECT]
        blocks = min(self._order.blocks, rounds)

        async def block(turn: int) -> list[dict[str, Timing | None]]:
            await self._mock.call(self._forget)
            self._progress(f"{name}, block {turn + 1} of {blocks}")
            timings: list[dict[str, Timing | None]] = []
            for number in range(rounds // blocks):
                drawn = self._drawn(legs, f"{name}/{turn}/{number}")
                request = {one: leg.request(stream=bool(chunks)) for one, leg in drawn.items()}
                timings.append({one: await leg.caller.call(request[one], chunks) for one, leg in drawn.items()})
            return timings

        return [timings for kept in await self._blocks(name, blocks, block) for timings in kept]

    async def _turns(self, name: str, connections: int, *, stream: bool = False) -> list[dict[str, Loop]]:
        """Return of each block a loop of each leg, one after the other in that block's order."""

        async def block(turn: int) -> dict[str, Loop]:
            loops = {}
            for one, leg in self._drawn(self._legs, f"{name}/{connections}/{turn}").items():
                self._progress(f"{name}/{connections} {one}, block {turn + 1} of {self._order.blocks}")
                loops[one] = await self._loop(leg, connections, stream=stream)
            return loops

        return await self._blocks(name, self._order.blocks, block)

    def _drawn(self, legs: Mapping[str, Leg], key: str) -> dict[str, Leg]:
        order = list(legs)
        Random(f"{self._order.seed}/{key}").shuffle(order)
        return {one: legs[one] for one in order}

    async def _blocks(self, name: str, blocks: int, measure: Callable[[int], Awaitable[T]]) -> list[T]:
        """Return what ``measure`` gives in so many blocks; one that others disturbed does not stand.

        No more than as many are measured again: on a machine that is never quiet the last ones stand, and say so.
        """
        kept: list[T] = []
        usages = self._usages.setdefault(name, [])
        spare = blocks
        for turn in count():
            if len(kept) == blocks:
                break
            watch = Watch(self._roots)
            found = await measure(turn)
            usage = watch.usage()
            if usage.disturbs and spare:
                spare -= 1
            else:
                kept.append(found)
                usages.append(usage)
        self.raw.again[name] = self.raw.again.get(name, 0) + blocks - spare
        return kept


def _keep(into: dict[str, list[float]], timings: Mapping[str, Timing | None], read: Callable[[Timing], float]) -> None:
    """Add a round's values, unless one of its calls failed: pairs stay pairs."""
    whole = {name: timing for name, timing in timings.items() if timing is not None}
    if len(whole) == len(timings):
        for name, timing in whole.items():
            into.setdefault(name, []).append(read(timing))


__all__ = ["Bench", "Loop", "Raw"]
