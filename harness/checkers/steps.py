"""Sums of amounts over time, each counted on a half-open interval: every limit's arithmetic; it knows no limit."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from itertools import accumulate


class StepSum:
    """Amounts in force over [start, stop), summed at any instant."""

    __slots__ = ("_begun", "_ended", "_sums", "_times")

    def __init__(self) -> None:
        # Apart, for they come in order as often as not, and two lists that are in order are soon sorted into one.
        self._begun: defaultdict[int, int] = defaultdict(int)
        self._ended: defaultdict[int, int] = defaultdict(int)
        self._times: list[int] = []
        self._sums: list[int] = []

    def add(self, start: int, stop: int, amount: int = 1) -> None:
        """Count ``amount`` from ``start`` until just before ``stop``; nothing if that is no time at all."""
        if stop > start and amount:
            self._begun[start] += amount
            self._ended[stop] += amount
            if self._sums:
                self._sums = []

    def at(self, instant: int) -> int:
        """Return the sum at ``instant``."""
        if not self._sums:
            self._build()
        return self._sums[bisect_right(self._times, instant)]

    def most(self, first: int, last: int) -> int:
        """Return the greatest sum at any instant of [first, last]."""
        return self.at(first) if first == last else max(self._between(first, last))

    def least(self, first: int, last: int) -> int:
        """Return the least sum at any instant of [first, last]."""
        return self.at(first) if first == last else min(self._between(first, last))

    def peak(self) -> tuple[int, int]:
        """Return the greatest sum ever and the first instant of it; (0, 0) if nothing was added."""
        self._build()
        if not self._times:
            return 0, 0
        top = max(self._sums[1:])
        return top, self._times[self._sums.index(top, 1) - 1]

    def periods(self, least: int) -> list[tuple[int, int]]:
        """Return the maximal intervals [start, stop) throughout which the sum is ``least`` or more, in order."""
        self._build()
        found: list[tuple[int, int]] = []
        since: int | None = None
        for instant, total in zip(self._times, self._sums[1:], strict=True):
            if since is None and total >= least:
                since = instant
            elif since is not None and total < least:
                found.append((since, instant))
                since = None
        return found

    def _between(self, first: int, last: int) -> list[int]:
        self._build()
        low, high = bisect_right(self._times, first), bisect_right(self._times, last)
        return [self._sums[low], *self._sums[low + 1 : high + 1]]

    def _build(self) -> None:
        """Make ``_sums``: what is summed up before the first of ``_times``, and from each of them on."""
        if not self._sums:
            changes = dict(self._begun)
            for instant, amount in self._ended.items():
                changes[instant] = changes.get(instant, 0) - amount
            self._times = sorted(changes)
            self._sums = list(accumulate(map(changes.__getitem__, self._times), initial=0))
