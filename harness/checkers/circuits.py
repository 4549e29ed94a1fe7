"""How each model path's circuit breaker must have stood, replayed from the upstreams' record alone; it judges nothing.

The replay keeps every state that the contract allows: where two things happened in one microsecond all their orders are
followed, and where the contract leaves open whether an outcome counts, both. What holds in all states is certain. Where
stamps are not exact, or there are too many states, the replay is lost: from then on everything is possible.
"""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from harness.checkers.admissions import NEVER, crashed_us, slack_us
from harness.checkers.causes import failure_of, listeners
from harness.checkers.wire import Seen, seen
from harness.contract import Breaker, Contract
from harness.history import AttemptSpan, History

Mode = Literal["closed", "open", "half_open"]
Outcome = Literal["success", "failure", "ignored"]
Path = tuple[str, str]
MOST_STATES = 64
_MOST_ORDERS = 400


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
    """What matters of one possible state: its mode, when it cools down if it is open, its probes' starts, its window."""

    mode: Mode
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


class State:
    """One possible state of a circuit, by the contract's words."""

    def __init__(self, rules: Breaker) -> None:
        self.rules = rules
        self.mode: Mode = "closed"
        self.generation = 0
        self.window: deque[tuple[int, bool, bool]] = deque()
        self.opened = 0
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
        return (self.mode, self.generation, self.opened, self.trips, self.successes, kept)

    def view(self) -> View:
        """Return what matters of it from now on."""
        failed = sum(one[1] for one in self.window) if len(self.window) < 256 else -1
        return View(self.mode, self.reopens(), tuple(self.probes.values()), len(self.window), failed, self.trips)

    def reopens(self) -> int:
        """Return when the cool-down ends: each opening since the last closing lasts longer, to the cap."""
        if self.mode != "open":
            return 0
        rules, cooldown_ms = self.rules, self.rules.cooldown_ms
        for _ in range(self.trips - 1):
            cooldown_ms = min(cooldown_ms * rules.cooldown_factor, rules.cooldown_cap_ms)
        return self.opened + min(cooldown_ms, rules.cooldown_cap_ms) * 1000

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

    def end(self, event: Event) -> Iterator[State]:
        """Yield every state that may follow from the end of an attempt."""
        self._cool(event.at)
        permit = self.permits.pop(event.attempt.id, None)
        valid = permit == self.generation
        for outcome in sorted(event.outcomes):
            for slow in sorted(event.slow):
                if outcome == "ignored" or self.mode == "open" or (self.mode == "half_open" and not valid):
                    if self.mode == "half_open":
                        self.probes.pop(event.attempt.id, None)
                    yield self.copied()
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
            self._turn("half_open", at)

    def _counted(self, failed: bool, slow: bool, at: int) -> State:
        self.window.append((at, failed, slow))
        while self.window[0][0] <= at - self.rules.window_ms * 1000:
            self.window.popleft()
        if (failed or slow) and len(self.window) >= self.rules.min_calls and self.overloaded(self.window):
            self._turn("open", at)
        return self

    def overloaded(self, window: Iterable[tuple[int, bool, bool]]) -> bool:
        """Say whether the shares of failed or slow calls reach a threshold."""
        kept, rules = list(window), self.rules
        failed, slow = sum(one[1] for one in kept), sum(one[2] for one in kept)
        if failed * 100 >= rules.failure_percent * len(kept):
            return True
        return rules.slow_ms is not None and slow * 100 >= rules.slow_percent * len(kept)

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
        self.generation += 1
        self.window.clear()
        self.probes = {}
        self.successes = 0
        if mode == "open":
            self.opened = at
            self.trips += 1
        elif mode == "closed":
            self.trips = 0


@dataclass(slots=True, eq=False)
class Circuit:
    """One path's replay: its events, and after each instant the views of all possible states.

    ``broken`` are the starts that no possible state allows, with the views of before.
    """

    path: Path
    rules: Breaker
    events: list[Event] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    views: list[tuple[View, ...]] = field(default_factory=list)
    broken: list[tuple[Event, tuple[View, ...]]] = field(default_factory=list)
    lost: int = NEVER

    def at(self, instant: int) -> tuple[View, ...]:
        """Return the views of all states possible at ``instant``, before and after what happened in it."""
        low, high = bisect_left(self.times, instant), bisect_right(self.times, instant)
        return tuple(
            dict.fromkeys(view for views in self.views[max(0, low - 1) : high] or [(_FRESH,)] for view in views)
        )

    def during(self, first: int, last: int) -> Iterator[tuple[int, View]]:
        """Yield the instants of [first, last] at which anything may change, each with the views possible then."""
        instants = {first, last, *self.times[bisect_left(self.times, first) : bisect_right(self.times, last)]}
        for instant in sorted(instants):
            for view in self.at(instant):
                yield instant, view
                if first < view.reopens < last:
                    yield view.reopens, view

    def known(self, instant: int) -> bool:
        """Say whether the replay still holds at ``instant``."""
        return instant < self.lost

    def may_deny(self, first: int, last: int) -> bool:
        """Say whether a call at some instant of [first, last] may lawfully not have been let through."""
        return not self.known(last) or any(view.denies(at, self.rules) for at, view in self.during(first, last))

    def must_deny(self, first: int, last: int) -> bool:
        """Say whether no call at any instant of [first, last] may be let through."""
        return self.known(last) and all(view.denies(at, self.rules) for at, view in self.during(first, last))

    def modes(self, first: int, last: int) -> set[Mode]:
        """Return the modes in which the circuit can have been at some instant of [first, last]."""
        return {view.mode_at(at) for at, view in self.during(first, last)}


_FRESH = View("closed", 0, (), 0, 0, 0)


def circuits(history: History, contract: Contract) -> dict[Path, Circuit]:
    """Return the replay of every path that was called, by model id and role (made once per history)."""
    kept: dict[Path, Circuit] | None = history.memo.get("circuits")
    if kept is None:
        kept = history.memo["circuits"] = _replayed(history, contract)
    return kept


def may_deny(history: History, contract: Contract, model: str, role: str, first: int, last: int) -> bool:
    """Say whether the circuit of a path may lawfully have kept a call away at some instant of [first, last]."""
    circuit = circuits(history, contract).get((model, role))
    return circuit is not None and circuit.may_deny(first, last)


def _replayed(history: History, contract: Contract) -> dict[Path, Circuit]:
    rules, states, lost = contract.breaker, listeners(history), crashed_us(history)
    exact = history.plan.mode == "sim" and slack_us(history) == 0
    found: dict[Path, Circuit] = {}
    for one in seen(history, contract):
        if one.model is None:
            continue
        for attempt in one.attempts:
            path = (one.model.id, attempt.upstream)
            circuit = found.setdefault(path, Circuit(path, rules))
            circuit.events.append(Event(attempt.start, attempt, frozenset(), frozenset()))
            if attempt.ended != "open":
                circuit.events.append(_ending(attempt, one, contract))
    for (_, role), circuit in found.items():
        circuit.events.sort(key=lambda event: event.at)
        circuit.lost = lost if states.get(role, "open") == "open" else 0
        if _can_trip(circuit):
            circuit.lost = circuit.lost if exact else 0
            _replay(circuit)
    return found


def _ending(attempt: AttemptSpan, one: Seen, contract: Contract) -> Event:
    slow_ms = contract.breaker.slow_ms
    took = attempt.end - attempt.start
    slow = slow_ms is not None and took > slow_ms * 1000
    return Event(attempt.end, attempt, _outcomes(attempt, one, contract), frozenset({slow}))


def _outcomes(attempt: AttemptSpan, one: Seen, contract: Contract) -> frozenset[Outcome]:
    """Return how the end of an attempt may count: several where the contract leaves it open."""
    failure = failure_of(attempt, one.call, contract)
    gone = one.call.outcome == "aborted" and one.call.end <= attempt.end
    if failure is None:
        return frozenset({"success", "ignored"} if gone else {"success"})
    if failure.cause == "unknown":
        return frozenset({"success", "failure", "ignored"})
    if failure.cause in ("client_fault", "abandoned"):
        return frozenset({"ignored"})
    return frozenset({"failure", "ignored"} if gone else {"failure"})


def _can_trip(circuit: Circuit) -> bool:
    """Say whether there were ever enough bad outcomes, whatever their times, for the circuit to open."""
    rules = circuit.rules
    ends = [event for event in circuit.events if not event.is_start]
    failed = sum("failure" in event.outcomes for event in ends)
    slow = sum(True in event.slow for event in ends)
    if len(ends) < rules.min_calls:
        return False
    least = -(-rules.min_calls * rules.failure_percent // 100)
    return failed >= least or (rules.slow_ms is not None and slow * 100 >= rules.min_calls * rules.slow_percent)


def _replay(circuit: Circuit) -> None:
    states = [State(circuit.rules)]
    circuit.times.append(-1)
    circuit.views.append((_FRESH,))
    index, events = 0, circuit.events
    while index < len(events) and events[index].at < circuit.lost:
        at = events[index].at
        group = []
        while index < len(events) and events[index].at == at:
            group.append(events[index])
            index += 1
        followed = _follow(states, group, circuit)
        if followed is None:
            circuit.lost = at
            return
        states = followed
        circuit.times.append(at)
        circuit.views.append(tuple(dict.fromkeys(state.view() for state in states)))


def _follow(states: list[State], group: list[Event], circuit: Circuit) -> list[State] | None:
    """Return every state that may follow from what happened in one instant, in any order; None if there are too many."""
    lines = _lines(group)
    orders = 1
    for line in lines:
        orders *= len(line) + 1
    if len(lines) > 1 and orders > _MOST_ORDERS:
        return None
    reached: dict[tuple[int, ...], list[State]] = {(0,) * len(lines): states}
    final = tuple(len(line) for line in lines)
    broken: dict[Event, tuple[View, ...]] = {}
    for _ in group:
        following: dict[tuple[int, ...], list[State]] = {}
        for place, here in reached.items():
            for number, line in enumerate(lines):
                if place[number] < len(line):
                    after = (*place[:number], place[number] + 1, *place[number + 1 :])
                    following.setdefault(after, []).extend(_applied(here, line[place[number]], len(lines) > 1))
        reached = {place: _distinct(here) for place, here in following.items() if here}
        if not reached or any(len(here) > MOST_STATES for here in reached.values()):
            break
    if reached.get(final):
        return reached[final] if len(reached[final]) <= MOST_STATES else None
    if any(len(here) > MOST_STATES for here in reached.values()):
        return None
    # No order is lawful: the starts that are not allowed are put down, and the rest happens without them.
    kept = [event for event in group if not event.is_start]
    views = tuple(dict.fromkeys(state.view() for state in states))
    for event in group:
        if event.is_start:
            broken[event] = views
    circuit.broken.extend(broken.items())
    return _follow(states, kept, circuit) if kept else states


def _lines(group: list[Event]) -> list[list[Event]]:
    """Return the events of one instant in lines within which the order does not matter: starts, and each kind of end."""
    lines: dict[object, list[Event]] = {}
    for event in group:
        lines.setdefault((event.outcomes, event.slow), []).append(event)
    return list(lines.values())


def _applied(states: list[State], event: Event, copied: bool) -> list[State]:
    made: list[State] = []
    for state in states:
        one = state.copied() if copied or not event.is_start else state
        if event.is_start:
            if one.start(event.attempt, event.at):
                made.append(one)
        else:
            made.extend(one.end(event))
    return made


def _distinct(states: list[State]) -> list[State]:
    if len(states) < 2:
        return states
    return list({state.key(): state for state in states}.values())
