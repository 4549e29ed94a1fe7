"""Calls as a limiter can have met them: when at the earliest and at the latest, and whether it let them in; no I/O."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

US = 1_000_000
EDGE_S = 1e-6
"""Stamps are whole microseconds: the instant itself is that much before or after."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One call: the limiter decided on it in [earliest, latest], in microseconds of one clock.

    ``admitted`` is None where nobody can say: it may count, and nothing is told from what became of it.
    """

    id: str
    earliest: int
    latest: int
    admitted: bool | None


@dataclass(frozen=True, slots=True)
class Case:
    """An observation in seconds, widened by what the limiter's own clock may lose."""

    id: str
    lo: float
    hi: float
    admitted: bool | None


class Ends:
    """Intervals, counted by their ends: at least so many lie within a span of time, at most so many touch it."""

    __slots__ = ("_his", "_los")

    def __init__(self, cases: Iterable[Case]) -> None:
        kept = list(cases)
        self._los = sorted(case.lo for case in kept)
        self._his = sorted(case.hi for case in kept)

    def __len__(self) -> int:
        return len(self._los)

    def within(self, start: float, stop: float) -> int:
        """Return at least how many lie in [start, stop]."""
        return max(0, bisect_right(self._his, stop) - bisect_left(self._los, start))

    def before(self, start: float, stop: float) -> int:
        """Return at least how many lie in [start, stop), its end left out."""
        return max(0, bisect_left(self._his, stop) - bisect_left(self._los, start))

    def touching(self, start: float, stop: float) -> int:
        """Return how many have a point in [start, stop]."""
        return max(0, bisect_right(self._los, stop) - bisect_left(self._his, start))


class Seen:
    """A history of observations, in order, and the three ways in which calls can count.

    ``sure``: those certainly admitted; ``maybe``: those possibly admitted; ``asked``: all of them. ``clock_s`` is how
    coarse the limiter's own clock may be: it may take a call to have come that much earlier than it did.
    """

    def __init__(self, observations: Sequence[Observation], clock_s: float = 0.0) -> None:
        zero_us = min((one.earliest for one in observations), default=0)
        self.cases = sorted(
            (
                Case(
                    one.id,
                    (one.earliest - zero_us) / US - clock_s - EDGE_S,
                    (max(one.latest, one.earliest) - zero_us) / US + EDGE_S,
                    one.admitted,
                )
                for one in observations
            ),
            key=lambda case: (case.lo, case.hi),
        )
        self.sure = Ends(case for case in self.cases if case.admitted)
        self.maybe = Ends(case for case in self.cases if case.admitted is not False)
        self.asked = Ends(self.cases)
        self.start_s = self.cases[0].lo if self.cases else 0.0
        self.span_s = max((case.hi for case in self.cases), default=0.0) - self.start_s

    @property
    def judged(self) -> list[Case]:
        """The cases that a limiter has to explain."""
        return [case for case in self.cases if case.admitted is not None]

    def most_within(self, window_s: float) -> int:
        """Return the most calls that can have come within one window, whatever became of them."""
        return max((self.asked.touching(case.lo - window_s, case.hi) for case in self.cases), default=0)
