"""The checkers of idempotency keys: each way in which a retry can be wrong is told from the right way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.checker import Outcome
from harness.checkers.billing import streams_are_billed_at_their_end
from harness.checkers.idempotency import a_key_outlives_a_crash, a_key_runs_one_call, replays_are_not_insured
from harness.checkers.ledger import money_is_neither_made_nor_lost
from harness.history import Reading
from tests.checkers.money_histories import CHAT_USAGE, CONTRACT, Book, outcome

PASS, FAIL = Outcome.PASS, Outcome.FAIL
MS = 1_000
REUSED, IN_USE = CONTRACT.error("key_reused"), CONTRACT.error("key_in_use")


def keyed(book: Book, id_: str, *, key: str = "k", marks: str = "", account: str = "a") -> None:
    detail: dict[str, Any] = {"headers": {CONTRACT.idempotency.header: key}}
    book.plan(id_, account=account, detail={**detail, **({"marks": marks} if marks else {})})


def first() -> Book:
    """A call with a key, served in the first tenth of a second and charged 21 credits."""
    book = Book()
    book.account("a")
    keyed(book, "c1")
    book.attempt("c1", CHAT_USAGE)
    book.call("c1", reading=Reading(text="one", terminal=True), claims={"billing": 21}, headers={"x-request-id": "r1"})
    book.hold("c1", 30)
    book.post("c1", 21, 30)
    return book


def retried(book: Book, **changes: Any) -> Book:
    """Add the retry of the first call, right unless told otherwise."""
    keyed(book, "c2", marks="c1")
    same = {"reading": book.calls[0].reading, "claims": book.calls[0].claims, "headers": {"x-request-id": "r1"}}
    book.call("c2", **{"sent": 200 * MS, "end": 210 * MS, **same, **changes})
    return book


def run_again(book: Book) -> None:
    retried(book)
    book.attempt("c1", CHAT_USAGE, start=205 * MS, end=209 * MS)


def charged_again(book: Book) -> None:
    retried(book)
    book.post("c2", 1)


@pytest.mark.parametrize(
    ("story", "wanted"),
    [
        (lambda book: retried(book), PASS),
        (run_again, FAIL),
        (charged_again, FAIL),
        (lambda book: retried(book, reading=Reading(text="two", terminal=True)), FAIL),
        (lambda book: retried(book, claims={"billing": 0}), FAIL),
        (lambda book: retried(book, status=409, outcome="refused", reading=Reading(error_type=IN_USE.type)), FAIL),
    ],
)
def test_a_retry_gets_the_first_answer_and_nothing_else(story: Callable[[Book], Any], wanted: Outcome) -> None:
    book = first()
    story(book)
    assert outcome(a_key_runs_one_call, book, "replayed") is wanted


@pytest.mark.parametrize(
    ("status", "kind", "ran", "wanted"),
    [
        (422, REUSED.type, False, PASS),
        (200, None, False, FAIL),
        (422, "invalid_request_error", False, FAIL),
        (422, REUSED.type, True, FAIL),
    ],
)
def test_another_body_is_refused_unrun(status: int, kind: str | None, ran: bool, wanted: Outcome) -> None:
    book = first()
    keyed(book, "c2")
    book.call("c2", sent=200 * MS, end=210 * MS, status=status, reading=Reading(error_type=kind))
    if ran:
        book.attempt("c2", CHAT_USAGE, start=205 * MS)
    assert outcome(a_key_runs_one_call, book, "other_body") is wanted


@pytest.mark.parametrize(
    ("status", "kind", "wanted"), [(409, IN_USE.type, PASS), (200, None, FAIL), (429, "rate_limit_error", FAIL)]
)
def test_a_retry_that_comes_too_soon_is_told_so(status: int, kind: str | None, wanted: Outcome) -> None:
    book = retried(first(), sent=50 * MS, end=60 * MS, status=status, reading=Reading(error_type=kind))
    assert outcome(a_key_runs_one_call, book, "still_running") is wanted


def refused_then(**changes: Any) -> Book:
    """A call that was refused unrun, and its retry."""
    book = Book()
    book.account("a")
    keyed(book, "c1")
    limited = Reading(error_type="rate_limit_error")
    book.call("c1", status=429, outcome="refused", reading=limited, headers={"x-request-id": "r1"})
    return retried(book, **{"status": 429, "outcome": "refused", "headers": {"x-request-id": "r2"}, **changes})


def test_a_call_that_was_never_run_is_run_when_it_comes_again() -> None:
    run = refused_then(status=200, outcome="ok")
    run.attempt("c1", CHAT_USAGE, start=205 * MS)
    assert outcome(a_key_runs_one_call, run, "replayed") is PASS
    assert outcome(a_key_runs_one_call, refused_then(headers={"x-request-id": "r1"}), "replayed") is FAIL
    in_use = refused_then(status=409, reading=Reading(error_type=IN_USE.type))
    assert outcome(a_key_runs_one_call, in_use, "replayed") is FAIL


def test_a_refusal_of_its_own_says_nothing_of_keys() -> None:
    verdict = a_key_runs_one_call(refused_then().history(), CONTRACT)
    assert not verdict.clauses


def test_a_key_is_its_accounts_own_and_new_when_its_time_is_over() -> None:
    for change in ({"account": "b"}, {"sent": 200 * MS + CONTRACT.idempotency.keep_ms * MS}):
        book = first()
        retried(book)
        book.planned[-1] = replace(book.planned[-1], account=change.get("account", "a"))
        book.calls[-1] = replace(book.calls[-1], **{"end": change.get("sent", 210 * MS), **change})
        assert outcome(a_key_runs_one_call, book, "replayed") is FAIL  # answered, and not run


@pytest.mark.parametrize(
    ("payouts", "told", "wanted"),
    [(("c1",), "not_eligible", PASS), (("c1", "c2"), "not_eligible", FAIL), (("c1",), "paid", FAIL)],
)
def test_a_replay_is_not_paid_for(payouts: tuple[str, ...], told: str, wanted: Outcome) -> None:
    book = retried(first())
    for call in payouts:
        book.payout(call, 3)
    book.row("c2", insurance=told)
    assert outcome(replays_are_not_insured, book, "idempotent_replay") is wanted


def killed(book: Book) -> Book:
    """Let the gateway be killed between the first call and its retry."""
    book.note("crash", at=150 * MS)
    return book


def cut() -> Book:
    """A first call that was charged, and whose answer was cut by the kill."""
    book = first()
    book.calls[0] = replace(book.calls[0], outcome="cut", reading=Reading(), claims={})
    return book


def refund(book: Book, call: str, credits: int) -> None:
    book.entry("a", call, "refund", credits, credits, (("revenue", -credits), ("customer:a", credits)))


def run_and_charged_again(book: Book, refunded: int) -> Book:
    retried(book)
    book.attempt("c1", CHAT_USAGE, start=205 * MS, end=209 * MS)
    if refunded:
        refund(book, "c1", refunded)
    book.post("c2", 21)
    return book


@pytest.mark.parametrize(
    ("book", "wanted"),
    [
        (retried(first()), PASS),
        (run_and_charged_again(first(), 0), FAIL),
        (run_and_charged_again(first(), 21), FAIL),  # it had been told an answer
        (retried(first(), reading=Reading(text="two", terminal=True)), FAIL),
        (retried(first(), status=None, outcome="error", reading=Reading(), claims={}), PASS),  # met no gateway
        (run_and_charged_again(cut(), 21), PASS),
        (run_and_charged_again(cut(), 0), FAIL),
        (run_and_charged_again(cut(), 20), FAIL),
        (retried(cut()), PASS),
    ],
)
def test_a_key_is_known_after_a_kill_and_charged_once(book: Book, wanted: Outcome) -> None:
    assert a_key_outlives_a_crash(book.history(), CONTRACT).clauses == {}
    assert outcome(a_key_outlives_a_crash, killed(book), "replayed") is wanted


def test_a_key_may_be_charged_again_when_its_time_is_over() -> None:
    late = (CONTRACT.idempotency.keep_ms + 1_000) * MS
    book = retried(first(), sent=late, end=late + 10 * MS)
    book.post("c2", 21)
    assert a_key_outlives_a_crash(killed(book).history(), CONTRACT).clauses == {}


def test_a_charge_that_a_replay_tells_is_its_first_calls_own() -> None:
    book = killed(retried(first()))
    billing = {"credits_charged": 21, "balance_before": 1_000_000, "balance_after": 999_979}
    book.calls[:] = [replace(call, stream=True, claims={"billing": billing}) for call in book.calls]
    assert outcome(streams_are_billed_at_their_end, book, "held_until_commit") is PASS
    assert outcome(money_is_neither_made_nor_lost, book, "across_restart") is PASS
    book.planned[1] = replace(book.planned[1], detail={})
    assert outcome(streams_are_billed_at_their_end, book, "held_until_commit") is FAIL
    assert outcome(money_is_neither_made_nor_lost, book, "across_restart") is FAIL
