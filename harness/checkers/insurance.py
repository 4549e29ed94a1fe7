"""Latency insurance: paid exactly when promised, in the promised amount, once, and told alike everywhere (INS-*)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.checker import Verdict, checker
from harness.checkers.admissions import CHOP_US, slack_us
from harness.checkers.money import charged, is_billable, payout, payouts, posts, server_of
from harness.checkers.wire import Seen, seen
from harness.contract import Contract
from harness.history import History

FIELDS = ("status", "trigger", "reason", "latency_ms", "threshold_ms", "credits_charged", "credits_compensated")
STATUSES = ("paid", "not_triggered", "not_eligible", "pending")
NONE = "none"
SCHEDULING_US = 200_000
"""How much later than it could, on sockets, a busy machine may let a process run."""


def _insured(history: History, contract: Contract) -> Iterator[Seen]:
    """Yield the Enterprise calls that the policy is about: billable ones that were made."""
    for one in seen(history, contract):
        if one.tier == "enterprise" and is_billable(one):
            yield one


def _told(one: Seen) -> Mapping[str, Any]:
    return one.call.claims.get("insurance") or {}


@checker("INS-01", "chat", "messages", "responses", "images")
def answers_carry_the_settlement(history: History, contract: Contract, verdict: Verdict) -> None:
    """Each successful unstreamed Enterprise answer has hypereal.insurance, whole."""
    for one in _insured(history, contract):
        if one.call.outcome != "ok" or one.call.stream or one.route is None:
            continue
        told = _told(one)
        missing = [field for field in FIELDS if field not in told]
        verdict.case(
            one.route.surface,
            not missing,
            call=one.call,
            expected=f"hypereal.insurance with {', '.join(FIELDS)}",
            actual=f"missing {', '.join(missing)}",
        )


@checker("INS-02", "headers_match", "known_status", "reason_when_paid", "none_otherwise")
def headers_say_what_the_body_says(history: History, contract: Contract, verdict: Verdict) -> None:
    """The insurance headers repeat the body, in the documents' words."""
    names, policy = contract.headers, contract.insurance
    pairs = (
        (names.insurance_status, "status"),
        (names.insurance_trigger, "trigger"),
        (names.insurance_latency_ms, "latency_ms"),
        (names.insurance_threshold_ms, "threshold_ms"),
        (names.insurance_credits, "credits_compensated"),
    )
    for one in _insured(history, contract):
        status = one.call.headers.get(names.insurance_status)
        if status is not None:
            verdict.case(
                "known_status", status in STATUSES, call=one.call, expected=f"one of {STATUSES}", actual=status
            )
        told = _told(one)
        if one.call.stream or one.call.outcome != "ok" or not told:
            continue
        for header, field in pairs:
            verdict.case(
                "headers_match",
                one.call.headers.get(header) == str(told.get(field)),
                call=one.call,
                expected=f"{header}: {told.get(field)}",
                actual=one.call.headers.get(header),
            )
        paid = told.get("status") == "paid"
        wanted = (policy.trigger, policy.reason) if paid else (NONE, NONE)
        verdict.case(
            "reason_when_paid" if paid else "none_otherwise",
            (told.get("trigger"), told.get("reason")) == wanted,
            call=one.call,
            expected=f"trigger and reason {wanted}",
            actual=f"{told.get('trigger')}, {told.get('reason')}",
        )


@checker(
    "INS-03",
    "over_threshold_pays",
    "at_threshold_does_not",
    "under_does_not",
    "only_charged",
    "from_full_receipt",
    "to_last_byte",
    "whole_milliseconds",
    "queueing_included",
    "failed_attempts_included",
    "pauses_included",
    "reading_speed_excluded",
    books=("over_threshold_pays", "at_threshold_does_not", "under_does_not", "only_charged", "reading_speed_excluded"),
)
def slow_successes_are_paid(history: History, contract: Contract, verdict: Verdict) -> None:
    """Paid if and only if slower than the threshold, by the clocks of caller and upstream."""
    for one in _insured(history, contract):
        if one.call.outcome != "ok" or server_of(one) is None:
            continue
        low_ms, high_ms = _latency_bounds(one, history)
        _latency_told(one, low_ms, high_ms, history, verdict)
        _payout_due(one, low_ms, high_ms, history, contract, verdict)


def _latency_bounds(one: Seen, history: History) -> tuple[int, int]:
    """Return the whole milliseconds between which a call's true latency lies.

    It starts when the gateway has the whole request: not before the caller began to send, not after the first attempt
    came (or, without link delays, the instant the last byte was sent). It ends when the gateway has the last upstream
    byte: between the upstream's sending it and, a link's delay later, its arrival.
    """
    server = server_of(one)
    assert server is not None
    link_us = round(1000 * float(history.plan.options.get("latency_ms", 0) or 0))
    dial_us = round(1000 * float(history.plan.options.get("connect_ms", 0) or 0)) + 2 * link_us
    held_us = CHOP_US if history.plan.options.get("chop") else 0
    upload_us = round(1000 * float(one.plan.detail.get("upload_ms", 0) or 0))
    received = one.call.sent + upload_us
    low = server.end - (received + dial_us + held_us) - history.skew_us
    high = server.end + link_us + held_us - received + history.skew_us
    if history.skew_us:
        # Scheduling delays on sockets come on top: the bound that holds is then the caller's own end, but for a caller
        # that made it late itself.
        own_end = server.end + SCHEDULING_US if one.plan.detail.get("read_pause_ms") else one.call.end
        high = max(high, own_end - received + history.skew_us)
        low -= SCHEDULING_US
    return max(0, low) // 1000, max(0, high) // 1000


def _latency_told(one: Seen, low_ms: int, high_ms: int, history: History, verdict: Verdict) -> None:
    """Compare the told latency (body, or the usage log for a stream) with what the clocks allow."""
    told = _told(one).get("latency_ms")
    if told is None:
        told = next((row.latency_ms for row in history.rows_of(one.call.id)), None)
    if told is None:
        return
    first, waited = one.attempts[0], one.attempts[0].start - one.call.sent
    clauses = ["to_last_byte", "whole_milliseconds"]
    if one.plan.detail.get("upload_ms"):
        clauses.append("from_full_receipt")
    if waited > 1_000 and not one.plan.detail.get("upload_ms"):
        clauses.append("queueing_included")
    if len(one.attempts) > 1:
        clauses.append("failed_attempts_included")
        if any(
            later.start - earlier.end > 1_000 for earlier, later in zip(one.attempts, one.attempts[1:], strict=False)
        ):
            clauses.append("pauses_included")
    if one.plan.detail.get("read_pause_ms"):
        clauses.append("reading_speed_excluded")
    for clause in clauses:
        verdict.case(
            clause,
            isinstance(told, int) and low_ms <= told <= high_ms,
            call=one.call,
            attempts=(first, one.attempts[-1]),
            expected=f"latency {low_ms} to {high_ms} ms" if low_ms < high_ms else f"latency {low_ms} ms",
            actual=f"{told} ms",
        )


def _payout_due(one: Seen, low_ms: int, high_ms: int, history: History, contract: Contract, verdict: Verdict) -> None:
    threshold = contract.insurance.threshold_ms
    if not history.has_tap("books"):
        return
    paid = bool(payouts(history, one.call.id))
    cost = charged(history, one) or 0
    if low_ms <= threshold < high_ms:
        verdict.case(
            "over_threshold_pays",
            None,
            call=one.call,
            expected=f"a latency clear of the threshold, {threshold} ms",
            actual=f"{low_ms} to {high_ms} ms",
        )
        return
    slow = low_ms > threshold
    if not slow:
        clause = "at_threshold_does_not" if low_ms == high_ms == threshold else "under_does_not"
    else:
        clause = "over_threshold_pays" if cost > 0 else "only_charged"
    wanted = slow and cost > 0
    verdict.case(
        clause,
        paid == wanted,
        call=one.call,
        attempts=one.attempts,
        expected=f"{'a payout' if wanted else 'no payout'}: {low_ms} ms, threshold {threshold} ms, charged {cost}",
        actual="paid" if paid else "not paid",
    )


@checker("INS-03", "over_threshold_pays", books="all")
def charges_outlive_a_crash_with_their_payouts(history: History, contract: Contract, verdict: Verdict) -> None:
    """After a crash a slow call's charge that is in the books has its payout there too, whoever saw the answer."""
    if not any(note.kind == "crash" for note in history.notes):
        return
    threshold = contract.insurance.threshold_ms
    for one in _insured(history, contract):
        answered = one.call.outcome == "ok" or (one.call.outcome == "cut" and one.interrupted)
        cost = charged(history, one)
        if not answered or server_of(one) is None or not cost:
            continue
        low_ms, _ = _latency_bounds(one, history)
        if low_ms <= threshold:
            continue
        paid = payouts(history, one.call.id)
        verdict.case(
            "over_threshold_pays",
            bool(paid),
            call=one.call,
            attempts=one.attempts,
            expected=f"a payout: {low_ms} ms at least, threshold {threshold} ms, charged {cost}",
            actual="not paid",
        )


@checker("INS-04", "amount", "never_above_charge", "at_once", "own_entry", "balance_after_stays", books="all")
def payouts_are_the_promised_share(history: History, contract: Contract, verdict: Verdict) -> None:
    """A payout is its share of the charge, rounded up, at once, as an entry of its own."""
    for one in _insured(history, contract):
        entries = payouts(history, one.call.id)
        if not entries:
            continue
        cost = -sum(entry.credits for entry in posts(history, one.call.id))
        given = sum(entry.credits for entry in entries)
        wanted = payout(contract, cost)
        verdict.case("amount", given == wanted, call=one.call, expected=f"{wanted} of {cost}", actual=f"{given}")
        verdict.case("never_above_charge", given <= cost, call=one.call, expected=f"at most {cost}", actual=f"{given}")
        verdict.case(
            "own_entry",
            all({name for name, _ in entry.lines} >= {"insurance"} for entry in entries),
            call=one.call,
            expected="an entry that insurance pays",
            actual=f"{[entry.lines for entry in entries]}",
        )
        if one.call.stream or one.call.outcome != "ok":
            continue
        late = max(entry.at for entry in entries) - one.call.end
        verdict.case(
            "at_once",
            late <= history.skew_us,
            call=one.call,
            expected="credited with the answer",
            actual=f"{late} µs late",
        )
        told = one.call.claims.get("billing") or {}
        verdict.case(
            "balance_after_stays",
            bool(told) and told["balance_after"] == told["balance_before"] - told["credits_charged"],
            call=one.call,
            expected="balance_after = balance_before - credits_charged, the payout apart",
            actual=f"{dict(told)}",
        )


@checker("INS-05", "failed", "aborted", books="all")
def only_whole_answers_are_insured(history: History, contract: Contract, verdict: Verdict) -> None:
    """A failed or abandoned call is never compensated, however slow."""
    if not history.has_tap("books"):
        return
    threshold_us = contract.insurance.threshold_ms * 1000
    for one in _insured(history, contract):
        paid = payouts(history, one.call.id)
        if one.call.outcome == "cut" and one.interrupted:
            continue  # it may have been whole when the gateway was killed
        if one.call.outcome in ("error", "cut") and one.call.end - one.call.sent > threshold_us:
            cost = charged(history, one)
            verdict.case(
                "failed",
                not paid and not cost,
                call=one.call,
                attempts=one.attempts,
                expected="neither charge nor payout",
                actual=f"charged {cost}, {len(paid)} payouts",
            )
        elif one.left_early(slack_us(history)) and any(
            row.latency_ms > contract.insurance.threshold_ms for row in history.rows_of(one.call.id)
        ):
            verdict.case(
                "aborted",
                not paid,
                call=one.call,
                attempts=one.attempts,
                expected="no payout: its client left",
                actual=f"{len(paid)} payouts",
            )


@checker(
    "INS-06", "policy_headers", "settled_after_end", "within_a_second", books=("settled_after_end", "within_a_second")
)
def streams_settle_after_their_end(history: History, contract: Contract, verdict: Verdict) -> None:
    """A stream starts with the policy and is settled, in log and ledger, soon after its end."""
    names, policy = contract.headers, contract.insurance
    for one in _insured(history, contract):
        if not one.call.stream or one.call.outcome != "ok":
            continue
        wanted = ("pending", str(policy.threshold_ms))
        told = (one.call.headers.get(names.insurance_status), one.call.headers.get(names.insurance_threshold_ms))
        verdict.case("policy_headers", told == wanted, call=one.call, expected=f"{wanted}", actual=f"{told}")
        if not history.has_tap("books"):
            continue
        row = next(iter(history.rows_of(one.call.id)), None)
        if row is None and one.interrupted:
            continue
        settled = row is not None and row.insurance in ("paid", "not_triggered", "not_eligible")
        paid = payouts(history, one.call.id)
        agrees = row is not None and (row.insurance == "paid") == bool(paid)
        verdict.case(
            "settled_after_end",
            settled and agrees,
            call=one.call,
            expected="a settlement in the usage log that the ledger agrees with",
            actual="no row" if row is None else f"{row.insurance}, {len(paid)} payouts",
        )
        if row is not None:
            limit = one.call.end + policy.settle_within_ms * 1000 + history.skew_us
            last = max([row.at, *(entry.at for entry in paid)])
            verdict.case(
                "within_a_second",
                last <= limit,
                call=one.call,
                expected=f"settled within {policy.settle_within_ms} ms of the end",
                actual=f"{(last - one.call.end) / 1000:.1f} ms after it",
            )


@checker("INS-07", "once_per_charge", "across_crashes", "settlement_retried", books="all")
def payouts_come_once(history: History, contract: Contract, verdict: Verdict) -> None:
    """No charge has two payouts, whatever crashed or was tried again."""
    if not history.has_tap("books"):
        return
    crashed = any(note.kind == "crash" for note in history.notes)
    refused = any(note.kind == "store_failure" for note in history.notes)
    for one in _insured(history, contract):
        paid, cost = payouts(history, one.call.id), posts(history, one.call.id)
        if not paid and not cost:
            continue
        ok = len(paid) <= len(cost) == 1
        expected, actual = "one payout at most, for one charge", f"{len(paid)} payouts, {len(cost)} charges"
        verdict.case("once_per_charge", ok, call=one.call, expected=expected, actual=actual)
        if crashed:
            verdict.case("across_crashes", ok, call=one.call, expected=expected, actual=actual)
        if refused:
            verdict.case("settlement_retried", ok, call=one.call, expected=expected, actual=actual)
