"""FAIL-07: what the client gets when every target failed, and that a ping before it changes nothing."""

from __future__ import annotations

import math
import re

from harness.checker import Verdict, checker
from harness.checkers.admissions import all_listening
from harness.checkers.broken_streams import ERROR_EVENTS
from harness.checkers.causes import (
    Failure,
    failure_of,
    listeners,
    perhaps_too_late,
    ran_out,
    speaker_of,
    told_retry_after_s,
    tries_of,
)
from harness.checkers.circuits import may_deny
from harness.checkers.failover import failures, moved_on, text_calls
from harness.checkers.wire import Seen
from harness.contract import Contract, ErrorRow
from harness.history import History

_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]*://|\b\d{1,3}(?:\.\d{1,3}){3}\b|\.upstream\b|\bup-(?:[0-9a-f]{24}|[a-z]+-\d+)\b", re.IGNORECASE
)
"""What an upstream's address or credential looks like: those of the simulation, and any URL or IPv4 address."""
_UPSTREAM = re.compile(r"\.upstream\b|\bup-(?:[0-9a-f]{24}|[a-z]+-\d+)\b")
"""Those of the simulation alone: a header may lawfully carry any other address."""


def _lost(one: Seen, contract: Contract) -> list[Failure] | None:
    """Return how each attempt failed if none gave, or could still have given, an answer; None for any other call."""
    if one.call.outcome in ("aborted", "open", "ok"):
        return None
    found = [failure_of(attempt, one.call, contract) for attempt in one.attempts]
    kept = [failure for failure in found if failure is not None]
    if len(kept) != len(found) or any(f.cause in ("unknown", "abandoned", "client_fault") for f in kept):
        return None
    return None if speaker_of(one) is not None else kept


def _due(one: Seen, lost: list[Failure], history: History, contract: Contract) -> ErrorRow | None:
    """Return the error that is owed, None where what no upstream saw leaves it open."""
    assert one.model is not None
    states = listeners(history)
    roles = [target.role for target in one.model.chain]
    hidden = [role for role in roles if states.get(role, "open") != "open"]
    if not one.attempts:
        if hidden and ran_out(one, history, contract):
            return contract.error("upstream_timeout")
        if hidden and len(history.calls) * tries_of(contract) >= contract.breaker.min_calls:
            return None  # whether their circuits opened does not show
        if hidden:
            last = states[hidden[-1]]
            return contract.error("upstream_timeout" if last == "hanging" else "upstream_error")
        return contract.error("circuits_open")
    if ran_out(one, history, contract):
        return contract.error("upstream_timeout")
    last_role = one.attempts[-1].upstream
    if last_role in roles and any(roles.index(role) > roles.index(last_role) for role in hidden):
        after = [role for role in hidden if roles.index(role) > roles.index(last_role)]
        return contract.error("upstream_timeout" if states[after[-1]] == "hanging" else "upstream_error")
    if not lost[-1].timed_out and perhaps_too_late(one.attempts[-1], history, contract):
        return None
    if lost[-1].timed_out:
        return contract.error("upstream_timeout")
    if all(failure.cause == "rate_limited" for failure in lost):
        if not hidden:
            return contract.error("upstream_rate_limited")
        denied = all(may_deny(history, contract, one.model.id, r, one.call.sent, one.call.end) for r in hidden)
        return None if denied else contract.error("upstream_error")
    return contract.error("upstream_error")


@checker(
    "FAIL-07",
    "one_clean_error",
    "timeout_is_504",
    "all_429_is_429",
    "longest_retry_after",
    "circuits_open_is_503",
    "else_502",
    "as_status",
    "as_event",
)
def exhausted_calls_get_one_error(history: History, contract: Contract, verdict: Verdict) -> None:
    """When all targets fail the client gets one error, its status told by how they failed."""
    if not history.has_tap("journal"):
        return
    clauses = {
        "upstream_timeout": "timeout_is_504",
        "upstream_rate_limited": "all_429_is_429",
        "circuits_open": "circuits_open_is_503",
        "upstream_error": "else_502",
    }
    for one in text_calls(history, contract):
        lost = _lost(one, contract)
        if lost is None or (not one.attempts and (one.call.status is None or one.call.status < 502)):
            continue
        row = _due(one, lost, history, contract)
        if row is None:
            continue
        call = one.call
        begun = call.stream and call.status == 200 and bool(call.pings)
        own_form = not begun or call.reading.sequence in ERROR_EVENTS[call.surface]
        got = (row.status if begun else call.status, call.reading.error_type)
        for clause in (clauses[row.name], "as_event" if begun else "as_status"):
            verdict.case(
                clause,
                got == (row.status, row.type) and own_form,
                call=call,
                attempts=one.attempts,
                expected=f"{row.status} {row.type}{' as an event, after pings' if begun else ''}",
                actual=lambda call=call: f"{call.status} {call.reading.error_type} {call.reading.sequence}",
            )
        _clean(one, begun, verdict)
        _retry_after(one, row, begun, history, contract, verdict)


def _clean(one: Seen, begun: bool, verdict: Verdict) -> None:
    """One error and nothing else: no text, no finish, no second error, no terminal event."""
    told = one.call.reading
    kinds = told.sequence.split()
    clean = told.error_type is not None and bool(told.error_message)
    clean = clean and not (told.text or told.thinking or told.tools or told.finish or told.terminal)
    verdict.case(
        "one_clean_error",
        clean and (len(kinds) == 1 and "*" not in kinds[0] if begun else told.sequence in ("json", "")),
        call=one.call,
        expected="one error with type and message, and nothing else",
        actual=lambda: f"{told.error_type}: {told.error_message!r}, events {told.sequence!r}, text {told.text[:40]!r}",
    )


def _retry_after(one: Seen, row: ErrorRow, begun: bool, history: History, contract: Contract, verdict: Verdict) -> None:
    if begun or row.name not in ("upstream_rate_limited", "circuits_open"):
        return
    told = one.call.headers.get(contract.headers.retry_after, "")
    asked = [seconds for a in one.attempts if (seconds := told_retry_after_s(history, a)) is not None]
    longest = math.ceil(max(asked, default=1.0))
    whole = told.isascii() and told.isdigit()
    verdict.case(
        "longest_retry_after" if row.name == "upstream_rate_limited" else "circuits_open_is_503",
        whole and (int(told) == max(1, longest) if asked else int(told) >= 1),
        call=one.call,
        attempts=one.attempts,
        expected=f"Retry-After {longest if asked else 'of a second at least'}",
        actual=told,
    )


@checker("FAIL-07", "nothing_leaked", "unpaid", books=("unpaid",))
def exhausted_calls_leak_and_cost_nothing(history: History, contract: Contract, verdict: Verdict) -> None:
    """The error names no upstream secret or address, and a call that no target answered costs nothing."""
    for one in text_calls(history, contract):
        call = one.call
        refused_by_upstream = any((attempt.status or 0) >= 400 for attempt in one.attempts)
        if call.reading.error_type is not None and (refused_by_upstream or not all_listening(history)):
            body = history.bodies.get(call.answer_sha, b"") if call.answer_sha else b""
            texts = (call.reading.error_message or "", body.decode("utf-8", "replace"))
            found = [match.group() for text in texts for match in _ADDRESS.finditer(text)]
            found += [value for value in call.headers.values() if _UPSTREAM.search(value)]
            noted = [n.detail for n in history.notes if n.kind == "secret_seen" and n.detail.get("call") == call.id]
            verdict.case(
                "nothing_leaked",
                not found and not noted,
                call=call,
                attempts=one.attempts,
                expected="no upstream secret or address",
                actual=lambda found=found, noted=noted: found or noted,
            )
        if _lost(one, contract) is not None and history.has_tap("books"):
            paid = sum(entry.credits for entry in history.entries_of(call.id))
            logged = sum(row.credits for row in history.rows_of(call.id))
            verdict.case("unpaid", not paid and not logged, call=call, expected=0, actual=(paid, logged))


@checker("FAIL-07", "failover_behind_pings")
def failover_goes_on_behind_pings(history: History, contract: Contract, verdict: Verdict) -> None:
    """A ping or comment is no content: failover goes on behind it."""
    for failed in failures(history, contract):
        one, index, _ = failed
        attempt = one.attempts[index]
        pinged = any(at < attempt.end for at in one.call.pings) or bool(
            {"pings", "comments"} & set(attempt.fault.split("+"))
        )
        held = moved_on(failed, history, contract) if pinged and one.call.stream else None
        if held is not None:
            verdict.case(
                "failover_behind_pings",
                held,
                call=one.call,
                attempts=one.attempts[: index + 1],
                expected="another try: only pings or comments went before",
                actual=f"none; {one.call.outcome}",
                at_us=attempt.end,
            )
