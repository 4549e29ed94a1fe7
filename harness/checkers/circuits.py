"""How each model path's circuit breaker must have stood, replayed from the upstreams' record alone; it judges nothing.

The replay keeps every state that the contract allows: where two things happened in one microsecond all their orders are
followed, and where the contract leaves open whether an outcome counts, both. What holds in all states is certain. Where
stamps are not exact, or there are too many states, the replay is lost: from then on everything is possible.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.checkers.admissions import NEVER, crashed_us, slack_us
from harness.checkers.causes import failure_of, listeners, perhaps_too_late
from harness.checkers.circuit_states import FRESH, Event, Mode, Outcome, Path, State, View
from harness.checkers.wire import Seen, seen
from harness.contract import Breaker, Contract
from harness.history import AttemptSpan, History

MOST_STATES = 64
_MOST_ORDERS = 400


@dataclass(slots=True, eq=False)
class Circuit:
    """One path's replay: its events, and after each instant the views of all possible states.

    ``broken`` are the starts that no possible state allows, with the views of before.
    """

    path: Path
    rules: Breaker
    events: list[Event] = field(default_factory=list)
    ends: list[Event] = field(default_factory=list)
    end_times: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    views: list[tuple[View, ...]] = field(default_factory=list)
    broken: list[tuple[Event, tuple[View, ...]]] = field(default_factory=list)
    unlawful: set[str] = field(default_factory=set)
    lost: int = NEVER

    def at(self, instant: int) -> tuple[View, ...]:
        """Return the views of all states possible at ``instant``, before and after what happened in it."""
        low, high = bisect_left(self.times, instant), bisect_right(self.times, instant)
        return tuple(
            dict.fromkeys(view for views in self.views[max(0, low - 1) : high] or [(FRESH,)] for view in views)
        )

    def during(self, first: int, last: int) -> Iterator[tuple[int, View]]:
        """Yield the instants of [first, last] at which anything may change, each with the views possible then."""
        instants = {first, last, *self.times[bisect_left(self.times, first) : bisect_right(self.times, last)]}
        for instant in sorted(instants):
            for view in self.at(instant):
                yield instant, view
                if first < view.reopens < last:
                    yield view.reopens, view

    def before(self, instant: int) -> tuple[View, ...]:
        """Return the views of all states possible just before ``instant``."""
        return self.views[bisect_left(self.times, instant) - 1] if self.times else (FRESH,)

    def ended(self, after: int, until: int) -> list[Event]:
        """Return the ends of attempts in (after, until]."""
        return self.ends[bisect_right(self.end_times, after) : bisect_right(self.end_times, until)]

    def in_flight(self, instant: int) -> int:
        """Return how many calls of this path were certainly under way at ``instant``."""
        return sum(1 for e in self.events if e.is_start and e.at < instant < e.attempt.attached)

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
                circuit.events.append(_ending(attempt, one, history, contract))
    for (_, role), circuit in found.items():
        circuit.events.sort(key=lambda event: event.at)
        circuit.ends = [event for event in circuit.events if not event.is_start]
        circuit.end_times = [event.at for event in circuit.ends]
        circuit.lost = lost if states.get(role, "open") == "open" else 0
        if _can_trip(circuit):
            circuit.lost = circuit.lost if exact else 0
            _replay(circuit)
    return found


def _ending(attempt: AttemptSpan, one: Seen, history: History, contract: Contract) -> Event:
    slow_ms = contract.breaker.slow_ms
    took = attempt.end - attempt.start
    slow = slow_ms is not None and took > slow_ms * 1000
    return Event(attempt.end, attempt, _outcomes(attempt, one, history, contract), frozenset({slow}))


def _outcomes(attempt: AttemptSpan, one: Seen, history: History, contract: Contract) -> frozenset[Outcome]:
    """Return how the end of an attempt may count: several where the contract leaves it open."""
    failure = failure_of(attempt, one.call, contract)
    gone = one.call.outcome == "aborted" and one.call.end <= attempt.end
    if failure is None and perhaps_too_late(attempt, history, contract):
        return frozenset({"success", "failure", "ignored"})
    if failure is None:
        return frozenset({"success", "ignored"} if gone else {"success"})
    if failure.cause == "unknown":
        return frozenset({"success", "failure", "ignored"})
    if failure.cause in ("client_fault", "abandoned"):
        return frozenset({"ignored"})
    return frozenset({"failure", "ignored"} if gone else {"failure"})


def _can_trip(circuit: Circuit) -> bool:
    """Say whether there were ever enough bad outcomes, whatever their times, for the circuit to open."""
    rules, ends = circuit.rules, circuit.ends
    failed = sum("failure" in event.outcomes for event in ends)
    slow = sum(True in event.slow for event in ends)
    if len(ends) < rules.min_calls:
        return False
    least = -(-rules.min_calls * rules.failure_percent // 100)
    return failed >= least or (rules.slow_ms is not None and slow * 100 >= rules.min_calls * rules.slow_percent)


def _replay(circuit: Circuit) -> None:
    states = [State(circuit.rules)]
    circuit.times.append(-1)
    circuit.views.append((FRESH,))
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
    """Return every state that may follow from one instant's events, in any order; None if there are too many."""
    lines = _lines(group)
    orders = 1
    for line in lines:
        orders *= len(line) + 1
    if len(lines) > 1 and orders > _MOST_ORDERS:
        return None
    reached: dict[tuple[int, ...], list[State]] = {(0,) * len(lines): states}
    final = tuple(len(line) for line in lines)
    for _ in group:
        following: dict[tuple[int, ...], list[State]] = {}
        for place, here in reached.items():
            for number, line in enumerate(lines):
                if place[number] < len(line):
                    after = (*place[:number], place[number] + 1, *place[number + 1 :])
                    event = line[place[number]]
                    unlawful = event.attempt.id in circuit.unlawful
                    following.setdefault(after, []).extend(_applied(here, event, unlawful, len(group) > 1))
        reached = {place: _distinct(here) for place, here in following.items() if here}
        if not reached or any(len(here) > MOST_STATES for here in reached.values()):
            break
    if reached.get(final):
        return reached[final] if len(reached[final]) <= MOST_STATES else None
    if any(len(here) > MOST_STATES for here in reached.values()):
        return None
    return _without_one(states, group, circuit)


def _without_one(states: list[State], group: list[Event], circuit: Circuit) -> list[State] | None:
    """Put down the last start as one that no order allows, and follow the rest."""
    last = max(number for number, event in enumerate(group) if event.is_start)
    circuit.broken.append((group[last], tuple(dict.fromkeys(state.view() for state in states))))
    circuit.unlawful.add(group[last].attempt.id)
    rest = [*group[:last], *group[last + 1 :]]
    return _follow(states, rest, circuit) if rest else states


def _lines(group: list[Event]) -> list[list[Event]]:
    """Return one instant's events in lines within which the order does not matter: starts, and each kind of end."""
    lines: dict[object, list[Event]] = {}
    for event in group:
        lines.setdefault((event.outcomes, event.slow), []).append(event)
    return list(lines.values())


def _applied(states: list[State], event: Event, unlawful: bool, copied: bool) -> list[State]:
    made: list[State] = []
    for state in states:
        one = state.copied() if copied or not event.is_start else state
        if event.is_start:
            if one.start(event.attempt, event.at):
                made.append(one)
        else:
            made.extend(one.end(event, unlawful=unlawful))
    return made


def _distinct(states: list[State]) -> list[State]:
    if len(states) < 2:
        return states
    return list({state.key(): state for state in states}.values())
