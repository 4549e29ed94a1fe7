"""Tells from what a limiter admitted and refused which kind it is, and claims only what was proved; no I/O.

A family is ruled out when no limiter of it, whatever its parameters and whenever exactly each call came within its
interval, decides as was seen. The answer is what is left, and for the rest the observations that ruled it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf

from harness.load.families import (
    FAMILIES,
    Box,
    Family,
    FirstCallWindow,
    FixedWindow,
    Range,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
)
from harness.load.observations import Case, Observation, Seen

FINEST = 1e-3
"""A box of parameters this small that is not ruled out keeps its family: of a window, a thousandth."""
MOST_BOXES = 20_000
"""A search that needed more is given up: the family is kept, for it was not ruled out."""
TOLD_BOXES = 400
"""Into how many boxes the parameters of a family that is kept are split, to tell their ranges."""
TRIM_BOXES = 100
"""Into how many each of those is split at most that would make a range longer."""
CLOCKS_S = (0.001, 1.0)
"""How coarse the limiter's own clock may be: milliseconds, and where nothing fits them, whole seconds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one family, a variety of its kind: its ranges not ruled out, or what ruled them all out.

    ``against`` are ids of observations: each parameter of the family contradicts at least one of them. ``whole`` is
    False where the search was given up, so that being kept says less.
    """

    family: str
    kind: str
    about: str
    fits: bool
    ranges: dict[str, Range]
    against: tuple[str, ...]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Identification:
    """Every family's finding; ``clock_s`` is how coarse the limiter's clock was taken to be."""

    findings: tuple[Finding, ...]
    clock_s: float
    admitted: int
    refused: int

    @property
    def kept(self) -> tuple[Finding, ...]:
        """The families that were not ruled out."""
        return tuple(finding for finding in self.findings if finding.fits)


def identify(observations: Sequence[Observation], clocks_s: Sequence[float] = CLOCKS_S) -> Identification:
    """Return which families explain ``observations``, by the finest of the clocks by which any of them does."""
    found = _identified(observations, clocks_s[0])
    for clock_s in clocks_s[1:]:
        if found.kept:
            break
        coarser = _identified(observations, clock_s)
        found = coarser if coarser.kept else found
    return found


def _identified(observations: Sequence[Observation], clock_s: float) -> Identification:
    seen = Seen(observations, clock_s)
    verdicts = [case.admitted for case in seen.judged]
    findings = tuple(finding(family(seen)) for family in FAMILIES)
    return Identification(findings, clock_s, verdicts.count(True), verdicts.count(False))


def finding(family: Family) -> Finding:
    """Return whether any limiter of ``family`` explains what it was given, and which."""
    search = _Search(family)
    if not search.any_left():
        against = tuple(sorted({case.id for case in search.against}, key=_in_order(family.seen)))
        return Finding(family.name, family.kind, family.about, False, {}, against)
    kept = search.kept()
    ranges = {
        parameter.name: (min(box[n][0] for box in kept), max(box[n][1] for box in kept))
        for n, parameter in enumerate(family.parameters)
    }
    return Finding(family.name, family.kind, family.about, True, ranges, (), search.boxes <= MOST_BOXES)


def _in_order(seen: Seen) -> Callable[[str], int]:
    places = {case.id: n for n, case in enumerate(seen.cases)}
    return places.__getitem__


class _Search:
    """Splits a family's parameters into boxes until each is ruled out or too small to matter."""

    def __init__(self, family: Family, space: Box | None = None, judged: Sequence[Case] | None = None) -> None:
        self._family = family
        self._space = family.space() if space is None else space
        self._judged = list(family.seen.judged if judged is None else judged)
        self.against: set[Case] = set()
        self.boxes = 0

    def any_left(self, most: int = MOST_BOXES) -> bool:
        """Say whether any box was not ruled out: it is too small to split, or ``most`` were looked at."""
        stack = [self._space]
        while stack:
            box = stack.pop()
            self.boxes += 1
            if self._ruled_out(box):
                continue
            widest, number = self._widest(box)
            if widest <= FINEST or self.boxes > most:
                return True
            stack.extend(self._halves(box, number))
        return False

    def kept(self) -> list[Box]:
        """Return boxes that hold every limiter of the family that was not ruled out: the widest are split first."""
        heap = [(-inf, 0, self._space)]
        done: list[Box] = []
        for order in count(1, 2):
            if not heap or order > TOLD_BOXES:
                break
            _, _, box = heappop(heap)
            widest, number = self._widest(box)
            if widest <= FINEST:
                done.append(box)
                continue
            for n, half in enumerate(self._halves(box, number)):
                if not self._ruled_out(half):
                    heappush(heap, (-self._widest(half)[0], order + n, half))
        return self._trimmed(done + [box for _, _, box in heap])

    def _trimmed(self, boxes: list[Box]) -> list[Box]:
        """Return ``boxes`` without those at the ends of a parameter's range that a longer look rules out after all."""
        for number in range(len(self._space)):
            for end, reverse in ((0, False), (1, True)):
                boxes.sort(key=lambda box: box[number][end], reverse=reverse)
                while len(boxes) > 1 and not _Search(self._family, boxes[0], self._judged).any_left(TRIM_BOXES):
                    del boxes[0]
        return boxes

    def _widest(self, box: Box) -> tuple[float, int]:
        return max((self._family.weight(box, n), n) for n in range(len(box)))

    def _halves(self, box: Box, number: int) -> Iterator[Box]:
        for half in self._family.parameters[number].halves(box[number]):
            yield (*box[:number], half, *box[number + 1 :])

    def _ruled_out(self, box: Box) -> bool:
        for place, case in enumerate(self._judged):
            if not self._family.possible(box, case):
                self.against.add(case)
                # What ruled out one box rules out the next most often.
                self._judged.insert(0, self._judged.pop(place))
                return True
        return False


@dataclass(frozen=True, slots=True)
class OverAdmission:
    """Which kinds of limiter of a stated limit can have let in what was let in, whenever each call came."""

    limit: int
    window_s: float
    possible: tuple[str, ...]
    impossible: tuple[str, ...]
    against: tuple[str, ...]

    @property
    def proved(self) -> bool:
        """Whether more was let in than any limiter of that limit lets in, for every alignment of its windows."""
        return not self.possible


def explains(
    kind: type[Family], observations: Sequence[Observation], clock_s: float, limit: int, window_s: float
) -> bool:
    """Say whether a limiter of that kind and of just those figures can have decided as was seen.

    What ``identify`` tells are ranges of each figure by itself: not every pair of them was left.
    """
    return _search_at(kind(Seen(observations, clock_s)), limit, window_s).any_left()


def _search_at(family: Family, limit: int, window_s: float, judged: Sequence[Case] | None = None) -> _Search:
    """Return the search among the limiters of ``family`` that have these figures, whatever their further ones."""
    fixed: dict[str, Range] = {
        "limit": (limit, limit),
        "window": (window_s, window_s),
        "burst": (limit, limit),
        "interval": (window_s / limit, window_s / limit),
    }
    space = tuple(
        fixed.get(parameter.name, whole) for parameter, whole in zip(family.parameters, family.space(), strict=True)
    )
    return _Search(family, space, judged)


def over_admission(observations: Sequence[Observation], limit: int, window_s: float) -> OverAdmission:
    """Return whether more than ``limit`` per ``window_s`` was let in, judged by what was let in alone.

    Two limits' worth within an instant proves nothing by itself: a fixed window's end may lie between. It is proved
    when a sliding log, fixed windows of every phase, a bucket of that burst and rate and two counters all let in less.
    """
    seen = Seen(observations, CLOCKS_S[0])
    admitted = [case for case in seen.judged if case.admitted]
    possible, impossible, against = [], [], set[Case]()
    for kind in (SlidingLog, FixedWindow, FirstCallWindow, TokenBucket, SlidingCounter):
        family = kind(seen)
        search = _search_at(family, limit, window_s, admitted)
        if search.any_left():
            possible.append(family.name)
        else:
            impossible.append(family.name)
            against |= search.against
    ids = tuple(sorted({case.id for case in against}, key=_in_order(seen)))
    return OverAdmission(limit, window_s, tuple(possible), tuple(impossible), ids)
