"""The gateway's clocks, both from the running loop: microseconds since the run's zero, and wall time; nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Clock:
    """Time as the loop tells it; ``zero_s`` is the loop's instant of the run's zero, ``epoch_s`` its wall time.

    A clock may be made before any loop runs; it is that of the loop in which it is first read, and of no other.
    """

    __slots__ = ("_epoch_s", "_loop_s", "_zero_s")

    def __init__(self, zero_s: float, epoch_s: int) -> None:
        self._zero_s = zero_s
        self._epoch_s = epoch_s
        self._loop_s: Callable[[], float] = self._first_s

    def now_us(self) -> int:
        """Return whole microseconds since the run's zero."""
        return round((self._loop_s() - self._zero_s) * 1e6)

    def wall_us(self) -> int:
        """Return the wall time in whole microseconds since 1970: what outlives a restart is stamped with it."""
        return self._epoch_s * 1_000_000 + self.now_us()

    def wall_s(self) -> float:
        """Return the wall time in seconds since 1970."""
        return self._epoch_s + self._loop_s() - self._zero_s

    def _first_s(self) -> float:
        # A call reads the clock a dozen times, and to ask for the running loop costs a system call.
        self._loop_s = asyncio.get_running_loop().time
        return self._loop_s()
