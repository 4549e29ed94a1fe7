"""Retries by a key of the client's own: answered again, and neither run, charged nor paid again (CLIENT-04, INS-05)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.checker import Verdict, checker
from harness.checkers.money import payouts
from harness.checkers.wire import Seen, broken_us, seen
from harness.contract import Contract
from harness.history import AttemptSpan, History


@dataclass(frozen=True, slots=True)
class Retry:
    """A call with a key that came before, the first call of that key that was let in, and those between them.

    ``own`` are the attempts that it can have caused itself.
    """

    first: Seen
    one: Seen
    same_body: bool
    own: tuple[AttemptSpan, ...]


def _keyed(history: History, contract: Contract) -> Iterator[list[Seen]]:
    """Yield the calls of each account and key, by when they were sent."""
    found: dict[tuple[str, str], list[Seen]] = {}
    for one in seen(history, contract):
        key = one.headers.get(contract.idempotency.header)
        if key:
            found.setdefault((one.plan.account, key), []).append(one)
    for group in found.values():
        yield sorted(group, key=lambda one: one.call.sent)


def _retries(history: History, contract: Contract) -> Iterator[Retry]:
    """Yield the calls that meet a key whose call went upstream, less than the contract's time before."""
    broken = broken_us(history)
    for group in _keyed(history, contract):
        first: Seen | None = None
        for one in group:
            own = _own_attempts(one, history)
            expired = first is not None and one.call.sent > first.call.end + contract.idempotency.keep_ms * 1000
            # What becomes of a key when the gateway breaks is judged apart: a_key_outlives_a_crash.
            if first is None or expired or _lost_between(first, one, broken):
                first = one if own else None
                continue
            yield Retry(first, one, _alike(first, one), own)


def _alike(first: Seen, one: Seen) -> bool:
    """Say whether two calls are the same request, byte for byte."""
    return _marker(one) == _marker(first) and one.plan.path == first.plan.path


def _marker(one: Seen) -> str:
    """Return the id that a call's body carries: that of the call which it is a retry of, if it is one."""
    return str(one.plan.detail.get("marks") or one.plan.id)


def _lost_between(first: Seen, one: Seen, broken: Sequence[tuple[int, int]]) -> bool:
    """Say whether the gateway may have been broken at some time from the first call of a key to the end of another."""
    return any(first.call.sent <= end and begin <= one.call.end for begin, end in broken)


def _own_attempts(one: Seen, history: History) -> tuple[AttemptSpan, ...]:
    """Return the attempts with the body of a call that began while it was under way."""
    start, end = one.call.sent - history.skew_us, one.call.end + history.skew_us
    return tuple(attempt for attempt in history.attempts_of(_marker(one)) if start <= attempt.start <= end)


@checker("CLIENT-04", "replayed", "other_body", "still_running")
def a_key_runs_one_call(history: History, contract: Contract, verdict: Verdict) -> None:
    """What comes with a key again is answered with the first answer, uncharged; 422 with another body, 409 too soon."""
    reused, in_use = contract.error("key_reused"), contract.error("key_in_use")
    for retry in _retries(history, contract):
        first, one = retry.first, retry.one
        ended = one.call.sent >= first.call.end + history.skew_us
        running = one.call.end + history.skew_us <= first.call.end
        booked = [entry.kind for entry in history.entries_of(one.call.id)]
        if not retry.same_body:
            wanted = reused
            clause = "other_body"
        elif ended and first.call.outcome not in ("aborted", "cut", "open"):
            _replayed(retry, booked, verdict)
            continue
        elif running and first.attempts and first.attempts[0].start + history.skew_us <= one.call.sent:
            wanted = in_use
            clause = "still_running"
        else:
            continue
        ok = one.call.status == wanted.status and one.call.reading.error_type == wanted.type
        own = retry.own if clause == "other_body" else ()
        verdict.case(
            clause,
            ok and not own and not booked,
            call=one.call,
            attempts=own,
            expected=f"{wanted.status} {wanted.type}, no upstream call, nothing booked",
            actual=f"{one.call.status} {one.call.reading.error_type}, {len(own)} attempts, booked {booked}",
        )
    for group in _keyed(history, contract):
        _runs(group, history, contract, verdict)


def _replayed(retry: Retry, booked: list[str], verdict: Verdict) -> None:
    first, one = retry.first.call, retry.one.call
    alike = (first.status, first.outcome, first.reading, first.claims) == (
        one.status,
        one.outcome,
        one.reading,
        one.claims,
    )
    verdict.case(
        "replayed",
        alike and not retry.own and not booked,
        call=one,
        attempts=retry.own,
        expected=f"{first.id}'s answer: {first.status}, {first.claims.get('billing')}, no upstream call, no charge",
        actual=f"{one.status}, {one.claims.get('billing')}, {len(retry.own)} attempts, booked {booked}",
    )


def _runs(group: list[Seen], history: History, contract: Contract, verdict: Verdict) -> None:
    """Judge that a key which nothing was kept for runs its call: the first, one after a refusal, one after its time."""
    kept_until: int | None = None
    told: set[str] = set()
    in_use = contract.error("key_in_use").type
    for one in group:
        new = kept_until is None or one.call.sent > kept_until
        own = _own_attempts(one, history)
        name = one.call.headers.get(contract.headers.request_id, "")
        # A second refusal may be one of its own; with the first one's request id it is the first one again.
        stale = one.served or one.call.reading.error_type == in_use or name in told
        if new and (own or stale):
            verdict.case(
                "replayed",
                bool(own),
                call=one.call,
                expected="it is run: nothing is kept for this key of this account",
                actual=f"{one.call.status} {one.call.reading.error_type}, no upstream call",
            )
        if new and own:
            kept_until = one.call.end + contract.idempotency.keep_ms * 1000
        told |= {name} - {""}


@checker("CLIENT-04", "replayed")
def a_key_outlives_a_crash(history: History, contract: Contract, verdict: Verdict) -> None:
    """What a client had whole before a kill it gets again after it, and the tries of a key are charged once at most."""
    kinds = {note.kind for note in history.notes}
    if "crash" not in kinds or "store_failure" in kinds:
        return
    for group in _keyed(history, contract):
        tries = [
            one
            for one in group
            if _alike(group[0], one) and one.call.sent <= group[0].call.sent + contract.idempotency.keep_ms * 1000
        ]
        _answered_again(tries, history, verdict)
        if len(tries) > 1 and history.has_tap("books"):
            charged = {one.call.id: _net_charge(history, one.call.id) for one in tries}
            verdict.case(
                "replayed",
                sum(credits > 0 for credits in charged.values()) <= 1,
                call=tries[-1].call,
                expected="a charge for one of the tries of a key at most",
                actual=f"{charged}",
            )


def _answered_again(tries: list[Seen], history: History, verdict: Verdict) -> None:
    """Judge the tries behind one that was answered whole; those that met no gateway say nothing."""
    first: Seen | None = None
    for one in tries:
        own = _own_attempts(one, history)
        if first is None:
            first = one if own and one.served else None
        elif one.call.status is not None and one.call.outcome != "cut" and one.call.sent >= first.call.end:
            _replayed(Retry(first, one, True, own), [e.kind for e in history.entries_of(one.call.id)], verdict)


def _net_charge(history: History, call: str) -> int:
    """Return what a call was charged, less what of it was refunded."""
    return -sum(entry.credits for entry in history.entries_of(call) if entry.kind in ("post", "refund"))


@checker("INS-05", "idempotent_replay", books="all")
def replays_are_not_insured(history: History, contract: Contract, verdict: Verdict) -> None:
    """The answer of a slow call that comes again by its key is paid for once: with the call that was run."""
    if not history.has_tap("books"):
        return
    for retry in _retries(history, contract):
        first, one = retry.first.call, retry.one.call
        if not retry.same_body or not payouts(history, first.id) or one.status != 200 or retry.own:
            continue
        paid, rows = payouts(history, one.id), history.rows_of(one.id)
        told = [row.insurance for row in rows]
        verdict.case(
            "idempotent_replay",
            not paid and len(payouts(history, first.id)) == 1 and "paid" not in told,
            call=one,
            expected=f"no payout: {first.id} was paid",
            actual=f"{len(paid)} payouts, {told} in the usage log",
        )
