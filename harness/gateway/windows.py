"""A sliding log: how much was admitted within the last window, to the microsecond; time is passed in."""

from __future__ import annotations

from collections import deque

from harness.contract import Limits, UserRate


class Entry:
    """One admission in a log: when, and how much it counts. ``amount`` is the log's to change."""

    __slots__ = ("amount", "at_us")

    def __init__(self, at_us: int, amount: int) -> None:
        self.at_us = at_us
        self.amount = amount


class SlidingLog:
    """Admits ``limit`` per half-open window: an entry counts until its age reaches ``window_us``, then no more.

    Instants passed in never go back. Each operation is O(1) amortised but ``wait_us``, which walks what must expire.
    """

    __slots__ = ("_entries", "_used", "limit", "window_us")

    def __init__(self, limit: int, window_us: int) -> None:
        self.limit = limit
        self.window_us = window_us
        self._entries: deque[Entry] = deque()
        self._used = 0

    def used(self, now_us: int) -> int:
        """Return how much counts at ``now_us``; may exceed the limit when entries were settled upwards."""
        entries = self._entries
        oldest = now_us - self.window_us
        while entries and entries[0].at_us <= oldest:
            self._used -= entries.popleft().amount
        return self._used

    def remaining(self, now_us: int) -> int:
        """Return how much still fits, never below zero."""
        return max(0, self.limit - self.used(now_us))

    def fits(self, now_us: int, amount: int) -> bool:
        """Say whether ``amount`` more fits."""
        return self.used(now_us) + amount <= self.limit

    def take(self, now_us: int, amount: int) -> Entry:
        """Count ``amount`` from ``now_us`` on and return its entry; whether it fits is asked before."""
        entry = Entry(now_us, amount)
        self._entries.append(entry)
        self._used += amount
        return entry

    def settle(self, now_us: int, entry: Entry, amount: int) -> None:
        """Make ``entry`` count ``amount`` at its own instant; one that has left the window counts nothing any more."""
        if now_us - entry.at_us < self.window_us:
            self._used += amount - entry.amount
            entry.amount = amount

    def wait_us(self, now_us: int, amount: int) -> int:
        """Return how long until ``amount`` fits if nothing else comes; the whole window if it never can."""
        excess = self.used(now_us) + amount - self.limit
        if excess <= 0:
            return 0
        for entry in self._entries:
            excess -= entry.amount
            if excess <= 0:
                return entry.at_us + self.window_us - now_us
        return self.window_us


def retry_after_s(wait_us: int, limits: Limits | UserRate) -> int:
    """Return a wait in whole seconds, rounded up, within the bounds that the contract sets to Retry-After."""
    return min(max(-(-wait_us // 1_000_000), limits.retry_after_min_s), limits.retry_after_max_s)
