"""Sums of amounts over time, each counted on a half-open interval: every limit's arithmetic; it knows no limit."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from itertools import accumulate


class StepSum:
    """Amounts in force over [start, stop), summed at any instant."""

    __slots__ = ("_deltas", "_sums", "_times")

    def __init__(self) -> None:
        self._deltas: defaultdict[int, int] = defaultdict(int)
        self._times: list[int] = []
        self._sums: list[int] = []

    def add(self, start: int, stop: int, amount: int = 1) -> None:
        """Count ``amount`` from ``start`` until just before ``stop``; nothing if that is no time at all."""
        if stop > start and amount:
            self._deltas[start] += amount
            self._deltas[stop] -= amount
            if self._times:
                self._times = []

    def at(self, instant: int) -> int:
        """Return the sum at ``instant``."""
        self._build()
        index = bisect_right(self._times, instant)
        return self._sums[index - 1] if index else 0

    def most(self, first: int, last: int) -> int:
        """Return the greatest sum at any instant of [first, last]."""
        return max(self._between(first, last))

    def least(self, first: int, last: int) -> int:
        """Return the least sum at any instant of [first, last]."""
        return min(self._between(first, last))

    def peak(self) -> tuple[int, int]:
        """Return the greatest sum ever and the first instant of it; (0, 0) if nothing was added."""
        self._build()
        if not self._sums:
            return 0, 0
        top = max(self._sums)
        return top, self._times[self._sums.index(top)]

    def periods(self, least: int) -> list[tuple[int, int]]:
        """Return the maximal intervals [start, stop) throughout which the sum is ``least`` or more, in order."""
        self._build()
        found: list[tuple[int, int]] = []
        since: int | None = None
        for instant, total in zip(self._times, self._sums, strict=True):
            if since is None and total >= least:
                since = instant
            elif since is not None and total < least:
                found.append((since, instant))
                since = None
        return found

    def _between(self, first: int, last: int) -> list[int]:
        self._build()
        low, high = bisect_right(self._times, first), bisect_right(self._times, last)
        before = self._sums[low - 1] if low else 0
        return [before, *self._sums[low:high]]

    def _build(self) -> None:
        if not self._times:
            self._times = sorted(self._deltas)
            self._sums = list(accumulate(self._deltas[instant] for instant in self._times))
