"""Which calls passed a model path over, and what a circuit would have done had other outcomes counted; no verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.checkers.causes import Failure, failure_of, listeners
from harness.checkers.circuit_states import Event, View, trips
from harness.checkers.circuits import Circuit
from harness.checkers.failover import text_calls
from harness.checkers.wire import Seen
from harness.contract import Contract
from harness.history import History

Kind = Literal["client_faults", "disconnects", "target_faults", "other"]


@dataclass(frozen=True, slots=True)
class Denial:
    """A call that passed a path over at ``at``: it went on to a later target, or was told that all are shut."""

    one: Seen
    at: int
    lawful: bool
    views: tuple[View, ...]

    @property
    def is_open(self) -> bool:
        """Whether the circuit was certainly open."""
        return is_open(self.views, self.at)


def denials(circuit: Circuit, history: History, contract: Contract) -> list[Denial]:
    """Return the calls that passed this path over, by time (made once per history)."""
    kept: dict[object, list[Denial]] = history.memo.setdefault("denials", {})
    if circuit.path not in kept:
        found = sorted(_passed_over(circuit, history, contract), key=lambda passed: passed[1])
        kept[circuit.path] = [
            Denial(one, at, circuit.may_deny(one.call.sent, at), circuit.before(at)) for one, at in found
        ]
    return kept[circuit.path]


def _passed_over(circuit: Circuit, history: History, contract: Contract) -> Iterator[tuple[Seen, int]]:
    model, role = circuit.path
    if listeners(history).get(role, "open") != "open":
        return
    for one in text_calls(history, contract):
        if one.model is None or one.model.id != model or role in {attempt.upstream for attempt in one.attempts}:
            continue
        roles = [target.role for target in one.model.chain]
        if role not in roles:
            continue
        later = [a.start for a in one.attempts if a.upstream in roles and roles.index(a.upstream) > roles.index(role)]
        if later:
            yield one, later[0]
        elif not one.attempts and one.call.status == contract.error("circuits_open").status:
            yield one, one.call.end


def is_open(views: tuple[View, ...], at: int) -> bool:
    """Say whether a circuit is open at ``at`` in all its possible states."""
    return all(view.mode == "open" and at < view.reopens for view in views)


def is_closed(views: tuple[View, ...]) -> bool:
    """Say whether a circuit is closed in all its possible states."""
    return all(view.mode == "closed" for view in views)


def told(views: tuple[View, ...]) -> str:
    """Return how a circuit stands, in a few words."""
    return " or ".join(sorted({f"{view.mode} ({view.failed} of {view.calls} failed)" for view in views}))


def lawful_starts(circuit: Circuit) -> Iterator[Event]:
    """Yield the calls that the path got and may have got."""
    for event in circuit.events:
        if event.is_start and event.attempt.id not in circuit.unlawful and circuit.known(event.at):
            yield event


def would_trip(ends: list[Event], counted: frozenset[str], circuit: Circuit) -> bool:
    """Say whether these outcomes, the ignored ones of attempts in ``counted`` taken as failures, open a circuit."""
    failed = sum(event.attempt.id in counted or event.outcomes == {"failure"} for event in ends)
    calls = sum(event.attempt.id in counted or "ignored" not in event.outcomes for event in ends)
    return trips(calls, failed, circuit.rules)


def kinds(circuit: Circuit, history: History, contract: Contract) -> dict[str, Kind]:
    """Return what kind of outcome each attempt of the path had, by its id."""
    return {
        event.attempt.id: _kind(failure_of(event.attempt, history.call[event.attempt.call], contract))
        for event in circuit.ends
        if event.attempt.call in history.call
    }


def _kind(failure: Failure | None) -> Kind:
    named: dict[str, Kind] = {
        "client_fault": "client_faults",
        "abandoned": "disconnects",
        "target_fault": "target_faults",
    }
    return named.get(failure.cause, "other") if failure is not None else "other"
