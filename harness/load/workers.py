"""All generators of a load, wherever they run: told when to begin and to stop, and how far they are; starts none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class Worker(Protocol):
    """One generator of a load."""

    index: int
    """Which share of the calls is its own."""
    told: Mapping[str, Any]
    """The last that it said of how far it is."""
    done: bool
    lost_us: int | None
    """When it was found to have ended before it was done."""
    clock: int
    """0: its stamps are of this machine's monotonic clock; else the number of a clock that compares with no other."""
    may_go_on: bool
    """Whether it may send calls although it was found to be lost."""

    @property
    def pid(self) -> int | None:
        """Its process, if it is one of this machine's that the harness started."""

    def go(self, zero_us: int) -> None:
        """Let it start: the load's zero is that instant of this machine's monotonic clock."""

    def stop(self) -> None:
        """Let it send no more, and end soon."""

    async def until_done(self, now_us: Callable[[], int]) -> None:
        """Return when it is done or lost."""


class Workers:
    """All generators of a load."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.all = tuple(workers)

    @property
    def lost(self) -> int:
        """How many ended before they were done."""
        return sum(worker.lost_us is not None for worker in self.all)

    def progress(self) -> dict[str, Any]:
        """Return what all of them said last, summed up."""
        told = [worker.told for worker in self.all if worker.told]
        outcomes: dict[str, int] = {}
        for one in told:
            for name, count in one["outcomes"].items():
                outcomes[name] = outcomes.get(name, 0) + count
        return {
            "sent": sum(one["sent"] for one in told),
            "ended": sum(one["ended"] for one in told),
            "outcomes": outcomes,
            "late_us": max((one["late_us"] for one in told), default=0),
            "cpu_s": sum(one["cpu_s"] for one in told),
            "starved": sum(one["starved"] for one in told),
            "lost": self.lost,
            "pids": [worker.pid for worker in self.all if worker.pid is not None],
        }

    def go(self, zero_us: int) -> None:
        """Let them start: the load's zero is that instant of the monotonic clock."""
        for worker in self.all:
            worker.go(zero_us)

    def stop(self) -> None:
        """Let them send no more, and end soon."""
        for worker in self.all:
            worker.stop()

    async def ended(self, now_us: Callable[[], int]) -> None:
        """Return when each of them is done or lost; if cancelled, those that are not done are given up as lost."""
        try:
            await asyncio.gather(*(worker.until_done(now_us) for worker in self.all))
        finally:
            for worker in self.all:
                if not worker.done:
                    worker.lost_us = now_us() if worker.lost_us is None else worker.lost_us
