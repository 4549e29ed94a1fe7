"""Tells from what a limiter admitted and refused which kind it is, and claims only what was proved; no I/O.

A family is ruled out when no limiter of it, whatever its parameters and whenever exactly each call came within its
interval, decides as was seen. The answer is what is left, and for the rest the observations that ruled it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.load.families import (
    FAMILIES,
    Box,
    Family,
    FixedWindow,
    Range,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
)
from harness.load.observations import Case, Observation, Seen

FINEST = 1e-3
"""A box of parameters this small that is not ruled out keeps its family: of a window, a thousandth."""
COARSE = 0.02
"""How finely the parameters of a family that is kept are told."""
MOST_BOXES = 100_000
"""A search that needed more is given up: the family is kept, for it was not ruled out."""
CLOCKS_S = (0.001, 1.0)
"""How coarse the limiter's own clock may be: milliseconds, and where nothing fits them, whole seconds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one family: the ranges of its parameters that were not ruled out, or what ruled all of them out.

    ``against`` are ids of observations: each parameter of the family contradicts at least one of them. ``whole`` is
    False where the search was given up, so that being kept says less.
    """

    family: str
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
    fits = next(search.left(FINEST), None) is not None
    whole = search.boxes <= MOST_BOXES
    if not fits:
        against = tuple(sorted({case.id for case in search.against}, key=_in_order(family.seen)))
        return Finding(family.name, family.about, False, {}, against)
    kept = list(_Search(family).left(COARSE))
    ranges = {
        parameter.name: (min(box[n][0] for box in kept), max(box[n][1] for box in kept))
        for n, parameter in enumerate(family.parameters)
    }
    return Finding(family.name, family.about, True, ranges, (), whole)


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

    def left(self, finest: float) -> Iterator[Box]:
        """Yield each box that was not ruled out and is too small to split; ``against`` are what ruled out the rest."""
        stack = [self._space]
        while stack:
            box = stack.pop()
            self.boxes += 1
            if self._ruled_out(box):
                continue
            widest, number = max((self._family.weight(box, n), n) for n in range(len(box)))
            if widest <= finest or self.boxes > MOST_BOXES:
                yield box
                continue
            for half in self._family.parameters[number].halves(box[number]):
                stack.append((*box[:number], half, *box[number + 1 :]))

    def _ruled_out(self, box: Box) -> bool:
        for place, case in enumerate(self._judged):
            if not self._family.possible(box, case):
                self.against.add(case)
                # What ruled out one box rules out the next most often.
                self._judged.insert(0, self._judged.pop(place))
                return True
        return False
