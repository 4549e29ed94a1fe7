"""The insurance checkers on hand-written histories: each clause seen to pass and seen to fail."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checker import Outcome
from harness.checkers.insurance import (
    answers_carry_the_settlement,
    charges_outlive_a_crash_with_their_payouts,
    headers_say_what_the_body_says,
    only_whole_answers_are_insured,
    payouts_are_the_promised_share,
    payouts_come_once,
    slow_successes_are_paid,
    streams_settle_after_their_end,
)
from harness.history import Reading
from tests.checkers.money_histories import CHAT_USAGE, CONTRACT, OPENING, Book, outcome

PASS, FAIL = Outcome.PASS, Outcome.FAIL
THRESHOLD = CONTRACT.insurance.threshold_ms
NAMES = CONTRACT.headers
COST, PAYOUT = 21, 6


def settlement(latency_ms: int, paid: bool) -> dict[str, Any]:
    policy = CONTRACT.insurance
    return {
        "status": "paid" if paid else "not_triggered",
        "trigger": policy.trigger if paid else "none",
        "reason": policy.reason if paid else "none",
        "latency_ms": latency_ms,
        "threshold_ms": THRESHOLD,
        "credits_charged": COST,
        "credits_compensated": PAYOUT if paid else 0,
    }


def headers(told: dict[str, Any]) -> dict[str, str]:
    return {
        NAMES.insurance_status: told["status"],
        NAMES.insurance_trigger: told["trigger"],
        NAMES.insurance_latency_ms: str(told["latency_ms"]),
        NAMES.insurance_threshold_ms: str(told["threshold_ms"]),
        NAMES.insurance_credits: str(told["credits_compensated"]),
    }


def served(
    latency_us: int,
    *,
    paid: int = 0,
    told_ms: int | None = None,
    cost: int = COST,
    detail: dict[str, Any] | None = None,
    **call: Any,
) -> Book:
    """A whole unstreamed call whose last upstream byte came ``latency_us`` after it was sent."""
    book = Book()
    book.account("a")
    book.plan("c1", detail=detail or {})
    book.attempt("c1", CHAT_USAGE, end=latency_us)
    if cost:
        book.post("c1", cost, at=latency_us)
    if paid:
        book.payout("c1", paid, at=latency_us)
    told = settlement(latency_us // 1000 if told_ms is None else told_ms, bool(paid))
    billing = {"balance_before": OPENING, "credits_charged": cost, "balance_after": OPENING - cost}
    fields = {"claims": {"insurance": told, "billing": billing}, "headers": headers(told), "end": latency_us, **call}
    book.call("c1", **fields)
    return book


MS = 1_000


@pytest.mark.parametrize(
    ("clause", "latency_us", "paid", "wanted"),
    [
        ("under_does_not", (THRESHOLD - 1) * MS, 0, PASS),
        ("under_does_not", (THRESHOLD - 1) * MS, PAYOUT, FAIL),
        ("at_threshold_does_not", THRESHOLD * MS, 0, PASS),
        ("at_threshold_does_not", THRESHOLD * MS + 999, 0, PASS),
        ("at_threshold_does_not", THRESHOLD * MS, PAYOUT, FAIL),
        ("over_threshold_pays", (THRESHOLD + 1) * MS, PAYOUT, PASS),
        ("over_threshold_pays", (THRESHOLD + 1) * MS, 0, FAIL),
    ],
)
def test_the_threshold_decides_to_the_millisecond(clause: str, latency_us: int, paid: int, wanted: Outcome) -> None:
    assert outcome(slow_successes_are_paid, served(latency_us, paid=paid), clause) is wanted


@pytest.mark.parametrize(("paid", "wanted"), [(0, PASS), (1, FAIL)])
def test_what_was_free_is_not_compensated(paid: int, wanted: Outcome) -> None:
    book = served((THRESHOLD + 5) * MS, paid=paid, cost=0)
    assert outcome(slow_successes_are_paid, book, "only_charged") is wanted


@pytest.mark.parametrize(("told_ms", "wanted"), [(1_234, PASS), (1_233, FAIL), (1_235, FAIL)])
@pytest.mark.parametrize("clause", ["whole_milliseconds", "to_last_byte"])
def test_the_told_latency_is_the_clocks_own(clause: str, told_ms: int, wanted: Outcome) -> None:
    assert outcome(slow_successes_are_paid, served(1_234_567, told_ms=told_ms), clause) is wanted


@pytest.mark.parametrize(("told_ms", "wanted"), [(5_000, PASS), (8_000, FAIL)])
def test_the_upload_is_no_part_of_the_latency(told_ms: int, wanted: Outcome) -> None:
    book = served(8_000_000, told_ms=told_ms, detail={"upload_ms": 3_000})
    assert outcome(slow_successes_are_paid, book, "from_full_receipt") is wanted


@pytest.mark.parametrize(("told_ms", "wanted"), [(2_000, PASS), (60_000, FAIL)])
def test_a_slow_reader_adds_nothing(told_ms: int, wanted: Outcome) -> None:
    book = served(2_000_000, told_ms=told_ms, detail={"read_pause_ms": 9_000}, end=60_000_000)
    assert outcome(slow_successes_are_paid, book, "reading_speed_excluded") is wanted


@pytest.mark.parametrize(("told_ms", "wanted"), [(9_000, PASS), (4_000, FAIL)])
def test_queue_failed_attempts_and_pauses_count(told_ms: int, wanted: Outcome) -> None:
    book = Book()
    book.account("a")
    book.plan("c1")
    book.attempt("c1", reading=Reading(), start=1_000_000, end=4_000_000, status=503, ended="fault")
    book.attempt("c1", CHAT_USAGE, start=5_000_000, end=9_000_000)
    book.post("c1", COST, at=9_000_000)
    book.call("c1", end=9_000_000, claims={"insurance": settlement(told_ms, False)})
    for clause in ("queueing_included", "failed_attempts_included", "pauses_included"):
        assert outcome(slow_successes_are_paid, book, clause) is wanted


@pytest.mark.parametrize(("missing", "wanted"), [("", PASS), ("reason", FAIL), ("latency_ms", FAIL)])
def test_the_settlement_is_told_whole(missing: str, wanted: Outcome) -> None:
    book = served(1_000_000)
    told = {k: v for k, v in settlement(1_000, False).items() if k != missing}
    book.calls.clear()
    book.call("c1", claims={"insurance": told})
    assert outcome(answers_carry_the_settlement, book, "chat") is wanted


def test_headers_repeat_the_body_or_are_caught() -> None:
    right = served((THRESHOLD + 1) * MS, paid=PAYOUT)
    for clause in ("headers_match", "known_status", "reason_when_paid"):
        assert outcome(headers_say_what_the_body_says, right, clause) is PASS
    assert outcome(headers_say_what_the_body_says, served(5_000), "none_otherwise") is PASS
    wrong = headers(settlement(THRESHOLD + 1, True)) | {NAMES.insurance_credits: "7", NAMES.insurance_status: "ok"}
    book = served((THRESHOLD + 1) * MS, paid=PAYOUT, headers=wrong)
    assert outcome(headers_say_what_the_body_says, book, "headers_match") is FAIL
    assert outcome(headers_say_what_the_body_says, book, "known_status") is FAIL


@pytest.mark.parametrize(("paid", "clause"), [(PAYOUT, "reason_when_paid"), (0, "none_otherwise")])
def test_trigger_and_reason_are_the_documents_words(paid: int, clause: str) -> None:
    told = settlement(THRESHOLD + 1, bool(paid)) | {"reason": "because"}
    book = served((THRESHOLD + 1) * MS, paid=paid, claims={"insurance": told})
    assert outcome(headers_say_what_the_body_says, book, clause) is FAIL


@pytest.mark.parametrize(("paid", "wanted"), [(PAYOUT, PASS), (PAYOUT - 1, FAIL), (PAYOUT + 1, FAIL)])
def test_a_payout_is_its_share_rounded_up(paid: int, wanted: Outcome) -> None:
    assert outcome(payouts_are_the_promised_share, served((THRESHOLD + 1) * MS, paid=paid), "amount") is wanted


def test_a_payout_above_the_charge_is_caught() -> None:
    assert outcome(payouts_are_the_promised_share, served(1, paid=COST), "never_above_charge") is PASS
    assert outcome(payouts_are_the_promised_share, served(1, paid=COST + 1), "never_above_charge") is FAIL


@pytest.mark.parametrize(("end", "wanted"), [(2_000, PASS), (500, FAIL)])
def test_a_payout_comes_with_the_answer(end: int, wanted: Outcome) -> None:
    assert outcome(payouts_are_the_promised_share, served(1_000, paid=PAYOUT, end=end), "at_once") is wanted


def test_a_payout_mixed_into_the_charge_is_caught() -> None:
    book = served(1_000, paid=PAYOUT)
    assert outcome(payouts_are_the_promised_share, book, "own_entry") is PASS
    assert outcome(payouts_are_the_promised_share, book, "balance_after_stays") is PASS
    book.entry("a", "c1", "payout", 1, 1, (("revenue", -1), ("customer:a", 1)))
    billing = {"balance_before": OPENING, "credits_charged": COST, "balance_after": OPENING - COST + PAYOUT}
    book.calls.clear()
    book.call("c1", end=1_000, claims={"billing": billing})
    assert outcome(payouts_are_the_promised_share, book, "own_entry") is FAIL
    assert outcome(payouts_are_the_promised_share, book, "balance_after_stays") is FAIL


@pytest.mark.parametrize(("paid", "wanted"), [(0, PASS), (PAYOUT, FAIL)])
@pytest.mark.parametrize(
    ("clause", "ended", "answer"),
    [("failed", "error", {"status": 504}), ("aborted", "aborted", {"status": None, "first_byte": None})],
)
def test_failures_and_leavers_are_not_insured(
    clause: str, ended: Any, answer: dict[str, Any], paid: int, wanted: Outcome
) -> None:
    book = Book()
    book.account("a")
    book.plan("c1")
    book.attempt("c1", reading=Reading(), ended="fault")
    if paid:
        book.payout("c1", paid)
    book.row("c1", latency_ms=THRESHOLD + 10)
    book.call("c1", outcome=ended, end=(THRESHOLD + 10) * MS, **answer)
    assert outcome(only_whole_answers_are_insured, book, clause) is wanted


def stream(row: dict[str, Any] | None, paid_at: int | None = None, status: str = "pending") -> Book:
    book = Book()
    book.account("a")
    book.plan("c1", stream=True)
    book.attempt("c1", CHAT_USAGE)
    book.post("c1", COST)
    if paid_at is not None:
        book.payout("c1", PAYOUT, at=paid_at)
    if row is not None:
        book.row("c1", **row)
    book.call("c1", headers={NAMES.insurance_status: status, NAMES.insurance_threshold_ms: str(THRESHOLD)})
    return book


LATE = 100_000 + CONTRACT.insurance.settle_within_ms * MS + 1


@pytest.mark.parametrize(
    ("clause", "book", "wanted"),
    [
        ("policy_headers", stream({}), PASS),
        ("policy_headers", stream({}, status="paid"), FAIL),
        ("settled_after_end", stream({}), PASS),
        ("settled_after_end", stream(None), FAIL),
        ("settled_after_end", stream({"insurance": "paid"}), FAIL),
        ("settled_after_end", stream({}, paid_at=100_000), FAIL),
        ("settled_after_end", stream({"insurance": "paid"}, paid_at=100_000), PASS),
        ("within_a_second", stream({}), PASS),
        ("within_a_second", stream({"at": LATE}), FAIL),
        ("within_a_second", stream({"insurance": "paid"}, paid_at=LATE), FAIL),
    ],
)
def test_streams_settle_soon_after_their_end(clause: str, book: Book, wanted: Outcome) -> None:
    assert outcome(streams_settle_after_their_end, book, clause) is wanted


@pytest.mark.parametrize(("times", "charges", "wanted"), [(1, 1, PASS), (0, 1, PASS), (2, 1, FAIL), (1, 0, FAIL)])
def test_a_charge_has_one_payout_at_most(times: int, charges: int, wanted: Outcome) -> None:
    book = Book()
    book.account("a")
    book.note("crash")
    book.note("store_failure")
    book.plan("c1")
    for _ in range(charges):
        book.post("c1", COST)
    for _ in range(times):
        book.payout("c1", PAYOUT)
    book.call("c1")
    for clause in ("once_per_charge", "across_crashes", "settlement_retried"):
        assert outcome(payouts_come_once, book, clause) is wanted


@pytest.mark.parametrize(
    ("latency_ms", "outcome_", "cost", "paid", "wanted"),
    [
        (THRESHOLD + 5, "cut", COST, PAYOUT, PASS),
        (THRESHOLD + 5, "cut", COST, 0, FAIL),
        (THRESHOLD + 5, "ok", COST, PAYOUT, PASS),
        (THRESHOLD + 5, "ok", COST, 0, FAIL),
        (THRESHOLD + 5, "cut", 0, 0, None),
        (THRESHOLD + 5, "aborted", COST, 0, None),
        (THRESHOLD, "cut", COST, 0, None),
    ],
)
def test_a_charge_that_outlived_a_crash_has_its_payout(
    latency_ms: int, outcome_: str, cost: int, paid: int, wanted: Outcome | None
) -> None:
    book = served(latency_ms * MS, paid=paid, cost=cost, outcome=outcome_)
    assert charges_outlive_a_crash_with_their_payouts(book.history(), CONTRACT).clauses == {}
    book.note("crash", at=latency_ms * MS + 1)
    told = charges_outlive_a_crash_with_their_payouts(book.history(), CONTRACT).clauses
    assert {name: clause.outcome for name, clause in told.items()} == (
        {"over_threshold_pays": wanted} if wanted else {}
    )


def test_a_slow_call_that_a_kill_cut_may_have_been_charged_and_paid() -> None:
    book = served((THRESHOLD + 5) * MS, paid=PAYOUT, outcome="cut")
    assert outcome(only_whole_answers_are_insured, book, "failed") is FAIL
    book.note("crash", at=(THRESHOLD + 5) * MS)
    assert only_whole_answers_are_insured(book.history(), CONTRACT).clauses == {}
