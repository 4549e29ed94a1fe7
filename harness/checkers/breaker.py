"""BRK-01, BRK-03 and BRK-04: open circuits get no calls, the header tells the truth, and only failures count."""

from __future__ import annotations

from collections.abc import Mapping

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions, slack_us
from harness.checkers.causes import listeners
from harness.checkers.circuits import Circuit, circuits
from harness.checkers.failover import text_calls
from harness.checkers.passed_over import (
    Denial,
    denials,
    is_closed,
    is_open,
    kinds,
    lawful_starts,
    told,
    would_trip,
)
from harness.contract import Contract
from harness.history import History


@checker("BRK-01", "opens", "no_calls_while_open")
def open_circuits_get_no_calls(history: History, contract: Contract, verdict: Verdict) -> None:
    """An overloaded path opens its circuit, and gets no calls while it is open."""
    for circuit in circuits(history, contract).values():
        spared = {
            view.since for denial in denials(circuit, history, contract) if denial.is_open for view in denial.views
        }
        for clause in ("opens", "no_calls_while_open") if spared else ():
            verdict.case(clause, True)
        for event, views in circuit.broken:
            if is_open(views, event.at):
                opened = spared & {view.since for view in views}
                for clause in ("no_calls_while_open",) if opened else ("no_calls_while_open", "opens"):
                    verdict.case(
                        clause,
                        False,
                        call=event.attempt.call,
                        attempts=(event.attempt,),
                        expected=f"no call: open until {max(view.reopens for view in views)} us",
                        actual=f"a call of {circuit.path[0]} at {circuit.path[1]}",
                        at_us=event.at,
                    )


@checker("BRK-03", "closed", "open", "half_open", "first_target", "at_admission")
def circuit_header_is_true(history: History, contract: Contract, verdict: Verdict) -> None:
    """The circuit header tells how the circuit of the chain's first target stood at admission."""
    header, known, states = contract.headers.circuit, circuits(history, contract), listeners(history)
    for one in admissions(history, contract).entries:
        said = one.seen.call.headers.get(header)
        if said is None or not one.admitted or not one.judged:
            continue
        if states.get(one.model.chain[0].role, "open") != "open":
            continue  # the journal does not show who tried it in vain
        first, *rest = (known.get((one.model.id, target.role)) for target in one.model.chain)
        possible = _modes(first, one.lo, one.hi)
        if possible is None:
            continue
        held = said in possible
        clauses = sorted(possible) if len(possible) == 1 or not held else [said]
        others = {mode for other in rest for mode in (_modes(other, one.lo, one.hi) or ())}
        if len(possible) == 1 and others - possible:
            clauses.append("first_target")
        after = _modes(first, one.seen.call.end, one.seen.call.end)
        if len(possible) == 1 and after is not None and not after & possible:
            clauses.append("at_admission")
        for clause in clauses:
            verdict.case(
                clause,
                held,
                call=one.id,
                expected=f"{header}: {' or '.join(sorted(possible))}",
                actual=said,
                at_us=one.hi,
            )


def _modes(circuit: Circuit | None, first: int, last: int) -> set[str] | None:
    """Return how a circuit can have stood; None if that is not known. One that was never called is closed."""
    if circuit is None:
        return {"closed"}
    return set(circuit.modes(first, last)) if circuit.known(last) else None


@checker("BRK-04", "client_faults", "disconnects", "target_faults")
def outcomes_count_as_they_should(history: History, contract: Contract, verdict: Verdict) -> None:
    """Client faults and departures of clients do not count against a path; an upstream's 401 to 404 does."""
    window_us = contract.breaker.window_ms * 1000
    for circuit in circuits(history, contract).values():
        known = kinds(circuit, history, contract)
        passed_over = denials(circuit, history, contract)
        for clause in ("client_faults", "disconnects"):
            counted = frozenset(name for name, kind in known.items() if kind == clause)
            if not counted:
                continue
            for at in (denial.at for denial in passed_over if not denial.lawful):
                if would_trip(circuit.ended(at - window_us, at), counted, circuit):
                    verdict.case(clause, False, expected=f"{circuit.path} closed", actual="passed over", at_us=at)
            for event in lawful_starts(circuit):
                views = circuit.before(event.at)
                since = max(event.at - window_us, *(view.since for view in views))
                if is_closed(views) and would_trip(circuit.ended(since, event.at - 1), counted, circuit):
                    verdict.case(clause, True)
        _target_faults(circuit, known, passed_over, verdict)


def _target_faults(circuit: Circuit, known: Mapping[str, str], passed_over: list[Denial], verdict: Verdict) -> None:
    """A path whose refusals of the gateway's own credential or target fill its window is open."""
    counted = {name for name, kind in known.items() if kind == "target_faults"}
    if not counted:
        return
    for denial in passed_over:
        if denial.is_open and _opened_by(circuit, denial.views[0].since, counted):
            verdict.case("target_faults", True)
    for event, views in circuit.broken:
        if is_open(views, event.at) and _opened_by(circuit, views[0].since, counted):
            verdict.case(
                "target_faults",
                False,
                call=event.attempt.call,
                attempts=(event.attempt,),
                expected=f"no call: {told(views)}",
                actual=f"a call at {circuit.path[1]}",
                at_us=event.at,
            )


def _opened_by(circuit: Circuit, since: int, counted: set[str]) -> bool:
    return any(event.attempt.id in counted for event in circuit.ended(since - 1, since))


@checker("BRK-04", "all_open", "retry_after")
def all_circuits_open_is_told_at_once(history: History, contract: Contract, verdict: Verdict) -> None:
    """With every path of a model open the client gets 503 with Retry-After at once."""
    row, known = contract.error("circuits_open"), circuits(history, contract)
    for one in text_calls(history, contract):
        assert one.model is not None
        at = one.call.sent
        paths = [known.get((one.model.id, target.role)) for target in one.model.chain]
        shut = all(path is not None and path.known(at) and is_open(path.at(at), at) for path in paths)
        if not shut or one.call.outcome == "aborted" or one.call.status in (400, 401, 402, 403, 413, 415):
            continue
        took = one.call.end - at - 2 * slack_us(history)
        verdict.case(
            "all_open",
            one.call.status == row.status and one.call.reading.error_type == row.type and took <= 100_000,
            call=one.call,
            attempts=one.attempts,
            expected=f"{row.status} {row.type} at once",
            actual=f"{one.call.status} {one.call.reading.error_type} after {took} us",
        )
        after = one.call.headers.get(contract.headers.retry_after, "")
        verdict.case(
            "retry_after",
            after.isascii() and after.isdigit() and int(after) >= 1,
            call=one.call,
            expected="a whole number of seconds",
            actual=after,
        )
