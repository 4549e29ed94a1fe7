"""Worker threads, as gateways have them for what blocks; simulation has none, and it registers no mutant."""

from __future__ import annotations

import asyncio
import time  # noqa: TID251 - a thread on sockets really waits; in simulation there is none
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from harness.gateway.components import Components
from harness.gateway.sqlite_store import SqliteStore

MOST = 32
"""Threads at most: as many round trips are under way at once."""


class Threads:
    """The threads of one gateway. In simulation there are none, and what they were to do is done at once."""

    def __init__(self, parts: Components) -> None:
        on_sockets = isinstance(parts.store, SqliteStore)
        self._pool = ThreadPoolExecutor(MOST, "mutant") if on_sockets else None

    def do(self, work: Callable[[], object], *, round_trip_s: float = 0.0) -> None:
        """Have ``work`` done in a thread, after a round trip to somewhere, whatever the loop does meanwhile."""
        if self._pool is None:
            work()
        else:
            self._pool.submit(_after, round_trip_s, work)

    def tell(self, told: Callable[[], object], *, round_trip_s: float = 0.0) -> None:
        """Have a thread tell the loop to do something, after a round trip and in a later turn of the loop."""
        if self._pool is None:
            told()
        else:
            loop = asyncio.get_running_loop()
            self._pool.submit(_after, round_trip_s, lambda: loop.call_soon_threadsafe(told))

    async def ask(self, round_trip_s: float) -> None:
        """Await a thread that takes a round trip for its answer."""
        if self._pool is not None:
            await asyncio.get_running_loop().run_in_executor(self._pool, time.sleep, round_trip_s)

    def wait(self, round_trip_s: float) -> None:
        """Take, inside of what a thread does, as long as a round trip takes."""
        if self._pool is not None:
            time.sleep(round_trip_s)


def _after(round_trip_s: float, work: Callable[[], object]) -> None:
    if round_trip_s:
        time.sleep(round_trip_s)
    work()
