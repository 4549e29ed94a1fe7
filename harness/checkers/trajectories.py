"""Where each circuit stood, as far as the upstreams' journal alone can tell, and who else says so; it judges nothing.

No breaker is replayed here (harness/checkers/circuits.py does that, by the contract's words). What is told rests on two
kinds of sight: a call that reached a path, which was then not open; and a call that reached a later target of its chain
without having been at the path, which was then not closed. Of the contract only three numbers are taken: no circuit is
back before its cool-down, none lets more than the permitted probes through while half open, and none closes after fewer
successes than it asks for. Where the sights do not tell, every mode is possible.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple, get_args

from harness.checkers.causes import listeners
from harness.checkers.circuit_states import Mode, Path
from harness.checkers.circuits import Circuit
from harness.checkers.failover import text_calls
from harness.contract import Breaker, Contract
from harness.history import AttemptSpan, History

Modes = frozenset[Mode]
ANY: Modes = frozenset(get_args(Mode))
CLOSED: Modes = frozenset({"closed"})
HALF_OPEN: Modes = frozenset({"half_open"})
OPEN: Modes = frozenset({"open"})
PASSABLE = CLOSED | HALF_OPEN
SHUT = OPEN | HALF_OPEN


class Sight(NamedTuple):
    """A call that a path got (``through``), or that passed it over, at some instant of [lo, hi]."""

    lo: int
    hi: int
    through: bool


class Stretch(NamedTuple):
    """From ``since`` to ``until`` the circuit stood in one of ``modes``, at each instant."""

    since: int
    until: int
    modes: Modes


def inferred(history: History, contract: Contract, slack_us: int) -> dict[Path, list[Stretch]]:
    """Return each path's trajectory from the run's zero to the journal's end, without gaps.

    ``slack_us`` is how long a request may be on its way to an upstream.
    """
    fresh = history.plan.mode != "remote"
    end = max((attempt.end for attempt in history.attempts), default=0)
    found = {}
    for path, (sights, attempts) in _seen(history, contract, slack_us).items():
        witness = _Witness(contract.breaker, attempts, slack_us, fresh)
        found[path] = joined([*witness.stretches(sights, end)])
    return found


def demanded(circuit: Circuit, end: int) -> list[Stretch]:
    """Return the modes that the contract allows a path's circuit over time, to ``end``."""
    made = []
    known = min(end, circuit.lost)
    times = [max(0, time) for time in circuit.times] or [0]
    for number, (since, until) in enumerate(pairwise([*times, max(known, times[-1])])):
        views = circuit.views[number] if circuit.views else circuit.at(since)
        turns = sorted({since, until, *(view.reopens for view in views if since < view.reopens < until)})
        for first, last in pairwise(turns):
            made.append(Stretch(first, last, frozenset(view.mode_at(first) for view in views)))
    if known < end:
        made.append(Stretch(known, end, ANY))
    return joined(made)


def modes_during(stretches: Sequence[Stretch], first: int, last: int) -> Modes:
    """Return the modes in which a circuit can have been at some instant of [first, last]."""
    met = [one.modes for one in stretches if one.since <= last and first <= one.until]
    outside = not stretches or first < stretches[0].since or last > stretches[-1].until
    return ANY if outside else frozenset().union(*met)


def at_odds(one: Sequence[Stretch], other: Sequence[Stretch]) -> Iterator[tuple[int, int]]:
    """Yield when two trajectories cannot both be true."""
    for mine in one:
        for yours in other:
            since, until = max(mine.since, yours.since), min(mine.until, yours.until)
            if since < until and not mine.modes & yours.modes:
                yield since, until


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Return stretches of some length, those that follow each other with the same modes as one."""
    made: list[Stretch] = []
    for one in stretches:
        if one.since >= one.until:
            continue
        if made and made[-1].modes == one.modes:
            made[-1] = Stretch(made[-1].since, one.until, one.modes)
        else:
            made.append(one)
    return made


def _seen(history: History, contract: Contract, slack_us: int) -> dict[Path, tuple[list[Sight], list[AttemptSpan]]]:
    """Return the sights of each path by time, and its attempts."""
    states = listeners(history)
    found: dict[Path, tuple[list[Sight], list[AttemptSpan]]] = {}
    for one in text_calls(history, contract):
        if one.model is None:
            continue
        roles = [target.role for target in one.model.chain]
        reached = [attempt for attempt in one.attempts if attempt.upstream in roles]
        for attempt in reached:
            sights, attempts = found.setdefault((one.model.id, attempt.upstream), ([], []))
            sights.append(Sight(attempt.start - slack_us, attempt.start, True))
            attempts.append(attempt)
        been = {attempt.upstream for attempt in reached}
        for place, role in enumerate(roles):
            later = next((a for a in reached if roles.index(a.upstream) > place), None)
            if role in been or later is None or states.get(role, "open") != "open":
                continue
            before = max((a.end for a in reached if a.start < later.start), default=later.start)
            sight = Sight(min(before, later.start) - slack_us, later.start, False)
            found.setdefault((one.model.id, role), ([], []))[0].append(sight)
    for sights, attempts in found.values():
        sights.sort(key=lambda sight: (sight.hi, sight.lo))
        attempts.sort(key=lambda attempt: attempt.start)
    return found


class _Witness:
    """Goes through one path's sights by time, and says after each what is known of its circuit."""

    def __init__(self, rules: Breaker, attempts: Sequence[AttemptSpan], slack_us: int, fresh: bool) -> None:
        self._rules = rules
        self._starts = [attempt.start for attempt in attempts]
        self._attempts = attempts
        self._ends = sorted(attempt.end for attempt in attempts)
        self._slack_us = slack_us
        self._now = CLOSED if fresh else ANY
        self._last: Sight | None = Sight(0, 0, True) if fresh else None
        """The last sight; a gateway that has just been started is as good as one."""
        self._probing_since = 0
        """When a path that had been shut got a call again."""

    def stretches(self, sights: Sequence[Sight], end: int) -> Iterator[Stretch]:
        """Yield what the sights tell, one after the other, from zero to ``end``."""
        at, here = 0, self._now
        for group in _groups(sights):
            lo, hi = min(sight.lo for sight in group), max(sight.hi for sight in group)
            kinds = {sight.through for sight in group}
            sight = Sight(lo, hi, group[-1].through)
            between, now = self._mixed(sight) if len(kinds) > 1 else self._told(sight)
            if self._last is not None and self._last.lo < at:
                yield Stretch(self._last.lo, at, here | between)  # before or after that sight's instant
            yield Stretch(at, lo, between)
            at, here = max(at, hi), between | now if len(group) == 1 or lo == hi else ANY
            self._now, self._last = now, sight
        still = self._now if self._last is None or not self._ended(self._last.lo, end) else ANY
        if self._last is not None and self._last.lo < at:
            yield Stretch(self._last.lo, at, here | still)
        yield Stretch(at, end, still if still == CLOSED else ANY)

    def _told(self, sight: Sight) -> tuple[Modes, Modes]:
        """Return the modes since the last sight, and those at this one."""
        if sight.through:
            return self._through(sight)
        shut = OPEN if self._in_flight(sight) < self._rules.probes else SHUT
        last, now = self._last, self._now
        if last is None:
            return ANY, shut
        if not self._ended(last.lo, sight.hi) and now & HALF_OPEN:  # nothing happened that could have changed it
            return (HALF_OPEN if last.through else now), now & shut or shut
        if not last.through:
            return (OPEN if now == OPEN else ANY), shut
        return (CLOSED | OPEN if now == CLOSED else ANY), shut

    def _through(self, sight: Sight) -> tuple[Modes, Modes]:
        last, now = self._last, self._now
        if last is None:
            return ANY, PASSABLE
        if not last.through:
            self._probing_since = sight.lo if now == OPEN else self._probing_since
            return (SHUT, HALF_OPEN) if now == OPEN else (ANY, PASSABLE)
        ended = self._ended(last.lo, sight.hi)
        if ended and sight.hi - ended[0] + 2 * self._slack_us >= self._rules.cooldown_ms * 1000:
            self._probing_since = sight.lo
            return ANY, PASSABLE  # it may have opened at one of these ends, and cooled down since
        if now == HALF_OPEN and len(self._ended(self._probing_since, sight.hi)) >= self._rules.successes_to_close:
            now = PASSABLE
        if now == PASSABLE and self._probes_out(sight) > self._rules.probes:
            return PASSABLE, CLOSED
        return now, now

    def _mixed(self, sight: Sight) -> tuple[Modes, Modes]:
        """Return what calls that got through and calls that did not tell at one instant: that it is half open."""
        if sight.lo < sight.hi or self._ended(sight.lo, sight.hi):
            return ANY, ANY
        self._probing_since = sight.lo
        return (SHUT if self._now == OPEN else ANY), HALF_OPEN

    def _ended(self, first: int, last: int) -> Sequence[int]:
        """Return the ends of attempts that the gateway can have learned of in [first, last]."""
        return self._ends[bisect_left(self._ends, first - self._slack_us) : bisect_right(self._ends, last)]

    def _in_flight(self, sight: Sight) -> int:
        """Return how many calls of the path can have been under way at a sight."""
        started = self._attempts[: bisect_right(self._starts, sight.hi)]
        return sum(1 for attempt in started if attempt.end + self._slack_us >= sight.lo)

    def _probes_out(self, sight: Sight) -> int:
        """Return how many calls were certainly under way at a sight that would be probes, were it half open."""
        alive = max(self._probing_since, sight.hi - self._rules.permit_timeout_ms * 1000)
        started = self._attempts[bisect_left(self._starts, alive) : bisect_right(self._starts, sight.lo)]
        return sum(1 for attempt in started if attempt.attached > sight.hi)


def _groups(sights: Sequence[Sight]) -> Iterator[list[Sight]]:
    """Yield sights whose instants overlap together: their order is not known."""
    reach, number = -1, 0
    numbered = []
    for sight in sights:
        number += sight.lo > reach
        reach = max(reach, sight.hi)
        numbered.append((number, sight))
    for _, group in groupby(numbered, key=lambda one: one[0]):
        yield [sight for _, sight in group]
