"""One possible state of a circuit breaker, and what may follow from each event by the contract; it replays no record.

Where the contract leaves open whether an outcome counts, an event has several possible outcomes.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

from harness.contract import Breaker
from harness.history import AttemptSpan

Mode = Literal["closed", "open", "half_open"]
Outcome = Literal["success", "failure", "ignored"]
Path = tuple[str, str]


class Event(NamedTuple):
    """An attempt that started, or ended with one of ``outcomes``."""

    at: int
    attempt: AttemptSpan
    outcomes: frozenset[Outcome]
    slow: frozenset[bool]

    @property
    def is_start(self) -> bool:
        return not self.outcomes


class View(NamedTuple):
    """What matters of one possible state.

    ``since``: when it took its mode; ``reopens``: when it cools down, if it is open; ``probes``: when each was let
    through; ``calls`` and ``failed``: of its window; ``trips``: how often it opened since it was last closed.
    """

    mode: Mode
    since: int
    reopens: int
    probes: tuple[int, ...]
    calls: int
    failed: int
    trips: int

    def mode_at(self, at: int) -> Mode:
        """Return the mode at ``at``: a cool-down that is over makes it half open."""
        return "half_open" if self.mode == "open" and at >= self.reopens else self.mode

    def denies(self, at: int, rules: Breaker) -> bool:
        """Say whether a call at ``at`` is not let through."""
        if self.mode == "open":
            return at < self.reopens
        alive = sum(1 for start in self.probes if start > at - rules.permit_timeout_ms * 1000)
        return self.mode == "half_open" and alive >= rules.probes


def trips(calls: int, failed: int, rules: Breaker) -> bool:
    """Say whether so many failures among so many calls open a circuit."""
    return calls >= rules.min_calls and failed * 100 >= rules.failure_percent * calls


def trips_slow(calls: int, slow: int, rules: Breaker) -> bool:
    """Say whether so many slow calls among so many open a circuit."""
    return rules.slow_ms is not None and calls >= rules.min_calls and slow * 100 >= rules.slow_percent * calls


def cooldown_us(opened: int, rules: Breaker, *, capped: bool = True) -> int:
    """Return how long the ``opened``-th opening since the last closing lasts."""
    cooldown_ms: int = rules.cooldown_ms * rules.cooldown_factor ** max(0, opened - 1)
    return 1000 * (min(cooldown_ms, rules.cooldown_cap_ms) if capped else cooldown_ms)


class State:
    """One possible state of a circuit, by the contract's words."""

    def __init__(self, rules: Breaker) -> None:
        self.rules = rules
        self.mode: Mode = "closed"
        self.generation = 0
        self.window: deque[tuple[int, bool, bool]] = deque()
        self.since = 0
        self.trips = 0
        self.probes: dict[str, int] = {}
        self.successes = 0
        self.permits: dict[str, int] = {}

    def copied(self) -> State:
        """Return a state that goes its own way from here."""
        made = copy.copy(self)
        made.window, made.probes, made.permits = self.window.copy(), dict(self.probes), dict(self.permits)
        return made

    def key(self) -> object:
        """Return what tells this state from others."""
        kept = (tuple(self.window), frozenset(self.probes.items()), frozenset(self.permits.items()))
        return (self.mode, self.generation, self.since, self.trips, self.successes, kept)

    def view(self) -> View:
        """Return what matters of it from now on."""
        failed = sum(one[1] for one in self.window)
        probes = tuple(self.probes.values())
        return View(self.mode, self.since, self.reopens(), probes, len(self.window), failed, self.trips)

    def reopens(self) -> int:
        """Return when the cool-down ends: each opening since the last closing lasts longer, to the cap."""
        if self.mode != "open":
            return 0
        return self.since + cooldown_us(self.trips, self.rules)

    def start(self, attempt: AttemptSpan, at: int) -> bool:
        """Let an attempt through; False if that breaks the rules (the state then stays as it is)."""
        self._cool(at)
        if self.mode == "half_open":
            lost = at - self.rules.permit_timeout_ms * 1000
            self.probes = {probe: start for probe, start in self.probes.items() if start > lost}
        if self.view().denies(at, self.rules):
            return False
        if self.mode == "half_open":
            self.probes[attempt.id] = at
        self.permits[attempt.id] = self.generation
        return True

    def end(self, event: Event, *, unlawful: bool = False) -> Iterator[State]:
        """Yield every state that may follow from the end of an attempt; ``unlawful``: its start broke the rules."""
        if event.attempt.start == event.at and event.attempt.id not in self.permits and not unlawful:
            return  # it cannot have ended before it started
        self._cool(event.at)
        permit = self.permits.pop(event.attempt.id, None)
        valid = permit == self.generation
        for outcome in sorted(event.outcomes):
            for slow in sorted(event.slow):
                if outcome == "ignored" or self.mode == "open" or (self.mode == "half_open" and not valid):
                    made = self.copied()
                    if made.mode == "half_open":
                        made.probes.pop(event.attempt.id, None)
                    yield made
                elif self.mode == "closed":
                    yield self.copied()._counted(outcome == "failure", slow, event.at)
                    if not valid:  # let through before the circuit last changed: whether it counts is left open
                        yield self.copied()
                else:
                    late = event.at - self.probes.get(event.attempt.id, 0) >= self.rules.permit_timeout_ms * 1000
                    yield self.copied()._probed(event.attempt.id, outcome == "failure" or slow, event.at)
                    if late:
                        yield self.copied()

    def _cool(self, at: int) -> None:
        if self.mode == "open" and at >= self.reopens():
            self._turn("half_open", self.reopens())

    def _counted(self, failed: bool, slow: bool, at: int) -> State:
        self.window.append((at, failed, slow))
        while self.window[0][0] <= at - self.rules.window_ms * 1000:
            self.window.popleft()
        failures, slows = sum(one[1] for one in self.window), sum(one[2] for one in self.window)
        if trips(len(self.window), failures, self.rules) or trips_slow(len(self.window), slows, self.rules):
            self._turn("open", at)
        return self

    def _probed(self, attempt: str, failed: bool, at: int) -> State:
        if self.probes.pop(attempt, None) is None:
            return self
        if failed:
            self._turn("open", at)
            return self
        self.successes += 1
        if self.successes >= self.rules.successes_to_close:
            self._turn("closed", at)
        return self

    def _turn(self, mode: Mode, at: int) -> None:
        self.mode = mode
        self.since = at
        self.generation += 1
        self.window.clear()
        self.probes = {}
        self.successes = 0
        if mode == "open":
            self.trips += 1
        elif mode == "closed":
            self.trips = 0


FRESH = View("closed", 0, 0, (), 0, 0, 0)
