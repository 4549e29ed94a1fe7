"""BRK-02: when a circuit opens, lets probes through, closes and opens again, seen from the journal alone."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checker import Verdict, checker
from harness.checkers.causes import has_content
from harness.checkers.circuit_states import Event, View, cooldown_us, trips
from harness.checkers.circuits import Circuit, circuits
from harness.checkers.passed_over import Denial, denials, is_closed, is_open, lawful_starts, told, would_trip
from harness.contract import Contract
from harness.history import History

NOTHING: frozenset[str] = frozenset()


@checker(
    "BRK-02",
    "opens_at_threshold",
    "closed_below_threshold",
    "minimum_of_calls",
    "sliding_window",
    "slow_calls",
    "counted_at_end",
    "half_open_after_cooldown",
    "probes_bounded",
    "closes",
    "empty_window",
    "reopens_longer",
    "cooldown_cap",
    "permit_taken_back",
)
def circuits_follow_their_rules(history: History, contract: Contract, verdict: Verdict) -> None:
    """A path gets the calls that its circuit lets through, and no others."""
    for circuit in circuits(history, contract).values():
        passed_over = denials(circuit, history, contract)
        for event, views in circuit.broken:
            for clause in _blamed_for_start(event, views, circuit, passed_over):
                verdict.case(
                    clause,
                    False,
                    call=event.attempt.call,
                    attempts=(event.attempt,),
                    expected=f"no call: {told(views)}",
                    actual=f"a call of {circuit.path[0]} at {circuit.path[1]}",
                    at_us=event.at,
                )
        for denial in passed_over:
            for clause in _shown_by_denial(denial, circuit) if denial.lawful else _blamed_for_denial(denial, circuit):
                verdict.case(
                    clause,
                    denial.lawful,
                    call=denial.one.call,
                    attempts=denial.one.attempts,
                    expected=f"a try of {circuit.path[1]}: {told(denial.views)}",
                    actual="passed over",
                    at_us=denial.at,
                )
        for event in lawful_starts(circuit):
            for clause in _shown_by_start(event, circuit):
                verdict.case(clause, True)


def _blamed_for_start(
    event: Event, views: tuple[View, ...], circuit: Circuit, passed_over: list[Denial]
) -> Iterator[str]:
    """Yield what a start breaks that no possible state allows."""
    if not is_open(views, event.at):
        yield "probes_bounded"
        return
    view = views[0]
    shut = any(denial.is_open and denial.views[0].since == view.since for denial in passed_over)
    if view.trips > 1:
        yield "reopens_longer"
    elif shut:
        yield "half_open_after_cooldown"
    else:
        yield from _why_opened(view, circuit)


def _why_opened(view: View, circuit: Circuit) -> Iterator[str]:
    """Yield the clauses by which the circuit opened: by failures or slow calls, at the end of a stream that broke."""
    ends = circuit.ended(view.since - circuit.rules.window_ms * 1000, view.since)
    slow = circuit.rules.slow_ms is not None and not would_trip(ends, NOTHING, circuit)
    yield "slow_calls" if slow else "opens_at_threshold"
    if any(e.at == view.since and e.attempt.stream and has_content(e.attempt) for e in ends):
        yield "counted_at_end"


def _shown_by_denial(denial: Denial, circuit: Circuit) -> Iterator[str]:
    """Yield what a call kept away shows, if only one state explains it."""
    view, rules = denial.views[0], circuit.rules
    if denial.is_open:
        if view.trips == 1:
            yield from _why_opened(view, circuit)
        elif denial.at >= view.since + cooldown_us(view.trips - 1, rules):
            yield "reopens_longer"
    elif all(one.mode == "half_open" and one.denies(denial.at, rules) for one in denial.views):
        yield "probes_bounded"


def _blamed_for_denial(denial: Denial, circuit: Circuit) -> Iterator[str]:
    """Yield what passing a path over breaks that had to be tried."""
    view, rules, at = denial.views[0], circuit.rules, denial.at
    if not is_closed(denial.views):
        if any(start <= at - rules.permit_timeout_ms * 1000 for start in view.probes):
            yield "permit_taken_back"
        else:
            yield "half_open_after_cooldown"
            if cooldown_us(view.trips, rules, capped=False) > cooldown_us(view.trips, rules):
                yield "cooldown_cap"
        return
    yield "minimum_of_calls" if _counted(view, circuit, at)[0] < rules.min_calls else "closed_below_threshold"
    yield from _if_more_counted(view, circuit, at)
    if view.since and circuit.in_flight(at) >= rules.probes:
        yield "closes"


def _if_more_counted(view: View, circuit: Circuit, at: int) -> Iterator[str]:
    """Yield the clauses whose breach would keep a closed circuit open: a longer window, or one not emptied."""
    window_us = circuit.rules.window_ms * 1000
    if would_trip(circuit.ended(max(view.since, at - 2 * window_us), at - 1), NOTHING, circuit):
        yield "sliding_window"
    if (
        view.since
        and circuit.ended(view.since, at - 1)
        and would_trip(circuit.ended(at - window_us, at - 1), NOTHING, circuit)
    ):
        yield "empty_window"


def _shown_by_start(event: Event, circuit: Circuit) -> Iterator[str]:
    """Yield what a call let through shows, if only one state explains it."""
    views, rules, at = circuit.before(event.at), circuit.rules, event.at
    view = views[0]
    if is_closed(views):
        if len({(one.calls, one.failed) for one in views}) == 1:
            yield from _shown_by_closed(view, circuit, at)
        if view.since and circuit.in_flight(at) >= rules.probes:
            yield "closes"
    elif all(one.mode == "open" for one in views):
        yield "half_open_after_cooldown"
        if at < view.since + cooldown_us(view.trips, rules, capped=False):
            yield "cooldown_cap"
    elif all(one.mode == "half_open" and len(one.probes) >= rules.probes for one in views):
        yield "permit_taken_back"


def _counted(view: View, circuit: Circuit, at: int) -> tuple[int, int]:
    """Return how many outcomes count just before ``at``, and how many of them are failures."""
    ends = circuit.ended(max(view.since, at - circuit.rules.window_ms * 1000), at - 1)
    calls = sum("ignored" not in event.outcomes for event in ends)
    return calls, sum(event.outcomes == {"failure"} for event in ends)


def _shown_by_closed(view: View, circuit: Circuit, at: int) -> Iterator[str]:
    rules = circuit.rules
    calls, failed = _counted(view, circuit, at)
    if calls == rules.min_calls - 1 and failed * 100 >= rules.failure_percent * calls:
        yield "minimum_of_calls"
    if calls >= rules.min_calls and not trips(calls, failed, rules) and trips(calls, failed + 1, rules):
        yield "closed_below_threshold"
    yield from _if_more_counted(view, circuit, at)
