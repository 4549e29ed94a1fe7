"""The limiters that there are, each asked whether any of its kind could have done what was seen; no I/O.

A family answers for a whole box of its parameters at once, and for every instant inside the observations' intervals:
``possible`` is False only where none of those limiters, at none of those instants, can have decided so. So what is
ruled out is ruled out for every parameter and for every alignment; what is kept was merely not ruled out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, inf, log2, sqrt
from typing import Literal

from harness.load.observations import Case, Seen

Range = tuple[float, float]
Box = tuple[Range, ...]
"""A range for each of a family's parameters."""
FEWEST_S = 1e-3
"""The shortest window or emission interval that is looked for."""
LEAST_ROOM = 1e-6
MANY_WINDOWS = 3
"""Where a box leaves it open in which of more than so many windows a call was, its phase says nothing yet."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a family, by the name under which it is told; a count is whole, a time is split by ratio."""

    name: str
    kind: Literal["count", "seconds", "level", "share"]

    def width(self, found: Range) -> float:
        """Return how wide a range of this parameter is, for what it is."""
        low, high = found
        if self.kind == "seconds":
            return log2(high / low)
        return (high - low) / (1.0 if self.kind == "share" else max(1.0, low))

    def halves(self, found: Range) -> tuple[Range, Range]:
        """Return a range in two."""
        low, high = found
        if self.kind == "count":
            middle = (low + high) // 2
            return (low, middle), (middle + 1, high)
        middle = sqrt(low * high) if self.kind == "seconds" else (low + high) / 2
        return (low, middle), (middle, high)


LIMIT = Parameter("limit", "count")
WINDOW = Parameter("window", "seconds")
PHASE = Parameter("phase", "share")
ROOM = Parameter("room", "share")
BURST = Parameter("burst", "level")
INTERVAL = Parameter("interval", "seconds")


class Family:
    """A kind of limiter, over all its parameters, and what was seen of one of them."""

    name = ""
    kind = ""
    about = ""
    parameters: tuple[Parameter, ...] = (LIMIT, WINDOW)

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def space(self) -> Box:
        """Return the whole box of parameters that could be told from what was seen: longer windows never end in it."""
        return tuple(
            {
                "count": (1, max(1, len(self.seen.maybe))),
                "seconds": (FEWEST_S, max(2 * self.seen.span_s, 2 * FEWEST_S)),
                "level": (1.0, len(self.seen.maybe) + 1.0),
                "share": (0.0, 1.0),
            }[parameter.kind]
            for parameter in self.parameters
        )

    def weight(self, box: Box, number: int) -> float:
        """Return how much the width of one parameter's range blurs what the box foretells."""
        parameter = self.parameters[number]
        width = parameter.width(box[number])
        # What a window's length leaves open adds up from window to window.
        return width * max(1.0, self.seen.span_s / box[number][1]) if parameter.kind == "seconds" else width

    def possible(self, box: Box, case: Case) -> bool:
        """Say whether any limiter of the box can have decided on ``case`` as it was."""
        raise NotImplementedError


class SlidingLog(Family):
    """Admits what leaves at most ``limit`` in each half-open window that ends now."""

    name = "sliding log"
    kind = "sliding log"
    about = "each admission counts for one window from its own instant on"

    def possible(self, box: Box, case: Case) -> bool:
        (_, limit), (shortest, longest) = box
        if case.admitted:
            # All in here lie in one window, however long it is: the last of them was one too many.
            return self.seen.sure.within(_after(case.hi - shortest), case.hi) <= limit
        return self.seen.maybe.touching(case.lo - longest, case.hi) >= box[0][0]


class CountingLog(Family):
    """A sliding log in which refused calls count as well: who keeps asking is kept out."""

    name = "sliding log that counts refusals"
    kind = "sliding log"
    about = "every call, refused ones too, counts for one window from its own instant on"

    def possible(self, box: Box, case: Case) -> bool:
        (fewest, limit), (shortest, longest) = box
        if case.admitted:
            return self.seen.asked.before(_after(case.hi - shortest), case.lo) < limit
        return self.seen.asked.touching(case.lo - longest, case.hi) - 1 >= fewest


class FixedWindow(Family):
    """Admits ``limit`` in each window of a clock, and forgets them all as the next begins."""

    name = "fixed window"
    kind = "fixed window"
    about = "a counter that is set to zero at fixed instants, one window apart"
    parameters: tuple[Parameter, ...] = (LIMIT, WINDOW, PHASE)

    def possible(self, box: Box, case: Case) -> bool:
        first, last = self._windows(box, case)
        if case.admitted:
            return self._room(box, case, first, last)
        fewest = box[0][0]
        if last - first > MANY_WINDOWS:
            return self.seen.maybe.touching(case.lo - box[1][1], case.hi) >= fewest
        return any(self._touching(box, number, case.hi) >= fewest for number in range(first, last + 1))

    def _room(self, box: Box, case: Case, first: int, last: int) -> bool:
        """Say whether what was admitted up to ``case`` fits the windows that it was in, and the one before them."""
        return all(
            self.seen.sure.within(self._edge(box, number)[1], case.hi) <= (last - number + 1) * box[0][1]
            for number in (first, first - 1)
        )

    def _edge(self, box: Box, number: int) -> Range:
        """Return when the window of that number begins: the earliest and the latest of the box."""
        (shortest, longest), (early, late) = box[1:3]
        low, high = number + early, number + late
        return (
            self.seen.start_s + low * (shortest if low >= 0 else longest),
            self.seen.start_s + high * (longest if high >= 0 else shortest),
        )

    def _windows(self, box: Box, case: Case) -> tuple[int, int]:
        """Return the numbers of the first and the last window in which a call can have come."""
        (shortest, longest), (early, late) = box[1:3]
        low, high = case.lo - self.seen.start_s, case.hi - self.seen.start_s
        return floor(low / (longest if low >= 0 else shortest) - late), floor(high / shortest - early)

    def _touching(self, box: Box, number: int, until: float) -> int:
        """Return how many can have been admitted in a window up to then."""
        return self.seen.maybe.touching(self._edge(box, number)[0], min(until, self._edge(box, number + 1)[1]))


class SlidingCounter(FixedWindow):
    """Admits while this window's count, and the last one's in the share of it that slides, leave room.

    What must be left of the limit for one more is between nothing (the estimate is rounded down) and a whole call.
    """

    name = "sliding counter"
    kind = "sliding counter"
    about = "two counters: this window's, and a shrinking share of the last one's"
    parameters = (LIMIT, WINDOW, PHASE, ROOM)

    def space(self) -> Box:
        *others, (_, most) = super().space()
        return (*others, (LEAST_ROOM, most))

    def possible(self, box: Box, case: Case) -> bool:
        (fewest, limit), (_, longest), _, (little, much) = box
        first, last = self._windows(box, case)
        if case.admitted:
            if first != last:
                return self._room(box, case, first, last)
            begin = self._edge(box, first)
            last_window = self.seen.sure.before(self._edge(box, first - 1)[1], begin[0])
            share = self._left(box, first, case.hi)[0]
            return self.seen.sure.within(begin[1], case.hi) - 1 + last_window * share + little <= limit
        if last - first > MANY_WINDOWS:
            return self.seen.maybe.touching(case.lo - 2 * longest, case.hi) >= fewest
        return any(self._estimate(box, number, case) + much > fewest for number in range(first, last + 1))

    def _estimate(self, box: Box, number: int, case: Case) -> float:
        """Return the most that the limiter can have counted when ``case`` came in that window."""
        last_window = self._touching(box, number - 1, inf)
        return self._touching(box, number, case.hi) + last_window * self._left(box, number, case.lo)[1]

    def _left(self, box: Box, number: int, at: float) -> Range:
        """Return which share of the window of that number is left at an instant, at least and at most."""
        (shortest, longest), (early, late) = box[1:3]
        passed = at - self.seen.start_s
        low = number + 1 + early - max(passed / shortest, passed / longest)
        high = number + 1 + late - min(passed / shortest, passed / longest)
        return min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A window that some call opened: when the last one was over at the latest, and when this began and ends."""

    free: float
    start: float
    end: Range


class FirstCallWindow(Family):
    """Admits ``limit`` in a window that begins with the first call after the last one was over."""

    name = "fixed window from the first call"
    kind = "fixed window"
    about = "a counter that lives for one window from the call that made it (Redis INCR and EXPIRE)"

    def __init__(self, seen: Seen) -> None:
        super().__init__(seen)
        self._widest = max((case.hi - case.lo for case in seen.cases), default=0.0)
        self._of: Range | None = None
        self._opened: list[_Opened] = []

    def possible(self, box: Box, case: Case) -> bool:
        (fewest, limit), window = box
        if not case.admitted and self.seen.maybe.touching(case.lo - window[1], case.hi) < fewest:
            return False
        if window[1] > 2 * window[0] or window[0] < self._widest / 4:
            return True  # when each window was opened is too open to say anything
        for opened in self._windows(window):
            if case.admitted and opened.free <= case.lo and case.hi < opened.end[0]:
                return self.seen.sure.within(opened.free, case.hi) <= limit
            if not case.admitted and case.hi >= opened.start and case.lo <= opened.end[1]:
                touching = self.seen.maybe.touching(opened.start, min(case.hi, opened.end[1]))
                if touching >= fewest:
                    return True
        return bool(case.admitted)

    def _windows(self, window: Range) -> list[_Opened]:
        """Return the windows one after the other, each as early and as late as it can have been."""
        if self._of == window:
            return self._opened
        self._of, self._opened = window, []
        ended = (-inf, -inf)
        while True:
            starts = [max(case.lo, ended[0]) for case in self.seen.cases if case.hi >= ended[0]]
            if not starts:
                return self._opened
            start = min(starts)
            latest = min((case.hi for case in self.seen.cases if case.lo >= ended[1]), default=inf)
            end = (start + window[0], latest + window[1])
            self._opened.append(_Opened(ended[1], start, end))
            ended = end


class TokenBucket(Family):
    """Admits while a bucket of ``burst`` tokens, one more every ``interval``, has a whole one; it is full at first.

    GCRA is the same limiter by another name: its emission interval is ``interval``, its tolerance burst - 1 of them.
    """

    name = "token bucket"
    kind = "token bucket"
    about = "a bucket of tokens that fills up steadily; GCRA decides the same (T = interval, tau = (burst - 1) T)"
    parameters = (BURST, INTERVAL)

    def __init__(self, seen: Seen) -> None:
        super().__init__(seen)
        self._facts: dict[Case, list[tuple[float, int]]] = {}

    def possible(self, box: Box, case: Case) -> bool:
        (least, most), (fast, slow) = box
        facts = self._facts.get(case)
        if facts is None:
            facts = self._facts[case] = self._spent(case) if case.admitted else self._taken(case)
        if case.admitted:
            return all(most + passed / fast >= count for passed, count in facts)
        return any(least + passed / slow < 1 + count for passed, count in facts)

    def _spent(self, case: Case) -> list[tuple[float, int]]:
        """Return spans of time up to ``case``, as long as they can have been, and how many were admitted in each."""
        begins = [one.lo for one in self.seen.cases if one.admitted and one.lo <= case.hi]
        return [(case.hi - begin, self.seen.sure.within(begin, case.hi)) for begin in begins]

    def _taken(self, case: Case) -> list[tuple[float, int]]:
        """Return spans of time up to ``case``, as short as they can have been, and the most admitted in each."""
        before = [one for one in self.seen.cases if one.admitted is not False and one.lo <= case.hi]
        return [(max(0.0, case.lo - one.hi), self.seen.maybe.touching(one.lo, case.hi)) for one in before]


def _after(at: float) -> float:
    """Return the next instant after ``at`` that stamps can tell from it."""
    return at + 1e-9


FAMILIES: tuple[type[Family], ...] = (
    SlidingLog,
    FixedWindow,
    FirstCallWindow,
    TokenBucket,
    SlidingCounter,
    CountingLog,
)
