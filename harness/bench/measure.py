"""The four measurements: subjects in, raw values block by block out; what they mean is said elsewhere.

Everything is interleaved: within a round (or a block) each subject has its turn, in an order drawn from the seed, so
that what the machine does meanwhile strikes all of them alike.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

from harness.bench.caller import Caller, Timing
from harness.bench.machine import Usage, Watch, cpu_s
from harness.bench.plan import CHUNKS, CONTROL, DIRECT, Order
from harness.bench.subjects import Subject
from harness.bench.subjects.mock import forget
from harness.target import TargetError

WARM_CALLS = 20
WARM_S = 0.5
Progress = Callable[[str], None]


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
        self.raw = Raw()

    async def run(self) -> Raw:
        """Measure all that was ordered. Raises TargetError for a subject that answers no call, or ceases to answer."""
        measures = {"latency": self._latency, "streams": self._streams, "calls": self._calls, "chunks": self._chunks}
        try:
            await self._warm_up()
            for name in self._order.measures:
                self._progress(name)
                watch = Watch(root for leg in self._legs.values() for root in leg.subject.roots)
                await measures[name]()
                self.raw.usage[name] = watch.usage()
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
        async for legs in self._rounds("latency", self._order.pairs):
            timings = {name: await leg.caller.call(leg.request()) for name, leg in legs.items()}
            _keep(self.raw.latency, timings, lambda timing: timing.whole_us)

    async def _streams(self) -> None:
        async for legs in self._rounds("streams", self._order.stream_pairs):
            timings = {name: await leg.caller.call(leg.request(stream=True), CHUNKS) for name, leg in legs.items()}
            _keep(self.raw.first, timings, lambda timing: timing.first_us)
            _keep(self.raw.gap, timings, lambda timing: timing.stream_us / CHUNKS)

    async def _calls(self) -> None:
        for connections in self._order.connections:
            async for name, leg in self._turns(f"calls/{connections}", self._legs):
                loop = await self._loop(leg, connections, stream=False)
                self.raw.calls.setdefault((name, connections), []).append(loop)

    async def _chunks(self) -> None:
        async for name, leg in self._turns("chunks", self._legs):
            loop = await self._loop(leg, max(self._order.connections), stream=True)
            self.raw.chunks.setdefault(name, []).append(loop)

    async def _loop(self, leg: Leg, connections: int, *, stream: bool) -> Loop:
        await self._mock.call(self._forget)
        roots = leg.subject.roots
        before_s = cpu_s(roots)
        calls, seconds = await leg.caller.closed_loop(
            connections, self._order.seconds, lambda: leg.request(stream=stream), CHUNKS if stream else 0
        )
        return Loop(calls, seconds, cpu_s(roots) - before_s if roots else None)

    async def _rounds(self, name: str, rounds: int) -> AsyncIterator[Mapping[str, Leg]]:
        """Yield in each round the gateways, the mock and the mock again, in that round's order."""
        legs = {one: leg for one, leg in self._legs.items() if one == DIRECT or not leg.subject.answers}
        legs[CONTROL] = self._legs[DIRECT]
        for number in range(rounds):
            if number % max(1, rounds // 10) == 0:
                await self._mock.call(self._forget)
                self._progress(f"{name} {number} of {rounds}")
            order = list(legs)
            Random(f"{self._order.seed}/{name}/{number}").shuffle(order)
            yield {one: legs[one] for one in order}

    async def _turns(self, name: str, legs: Mapping[str, Leg]) -> AsyncIterator[tuple[str, Leg]]:
        """Yield each leg once in each block, in that block's order."""
        for block in range(self._order.blocks):
            order = list(legs)
            Random(f"{self._order.seed}/{name}/{block}").shuffle(order)
            for one in order:
                self._progress(f"{name} {one}, block {block + 1} of {self._order.blocks}")
                yield one, legs[one]


def _keep(into: dict[str, list[float]], timings: Mapping[str, Timing | None], read: Callable[[Timing], float]) -> None:
    """Add a round's values, unless one of its calls failed: pairs stay pairs."""
    whole = {name: timing for name, timing in timings.items() if timing is not None}
    if len(whole) == len(timings):
        for name, timing in whole.items():
            into.setdefault(name, []).append(read(timing))


__all__ = ["Bench", "Loop", "Raw"]
