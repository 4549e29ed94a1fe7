"""The money checkers on hand-written histories: each clause seen to pass and seen to fail."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from harness.checker import Outcome
from harness.checkers.balances import (
    calls_hold_their_estimate,
    general_calls_need_the_minimum,
    only_those_who_can_pay_are_served,
)
from harness.checkers.billing import (
    answers_tell_the_charge,
    charge_matches_usage,
    failed_calls_are_free,
    flawed_usage_is_free,
    one_charge_per_success,
    responses_are_billed_on_their_usage,
    streams_are_billed_at_their_end,
)
from harness.checkers.disconnects import disconnects_are_billed_on_what_is_known
from harness.checkers.ledger import a_start_that_would_harm_the_books_is_refused, money_is_neither_made_nor_lost
from harness.checkers.money import Classes, Flawed, charge, classes_of, exact_credits, hold
from harness.history import Reading
from tests.checkers.money_histories import CHAT_USAGE, CONTRACT, OPENING, Book, outcome

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
CREDITS = 21


def told(credits: int, before: int, model: str = "gpt-5-5") -> dict[str, Any]:
    billing = {"model": model, "credits_charged": credits, "balance_before": before, "balance_after": before - credits}
    return {"billing": billing}


def one_call(charged: int, usage: dict[str, Any] | None = None, **plan: Any) -> Book:
    """A whole served call that was charged ``charged`` credits and told so."""
    book = Book()
    book.account("a")
    book.plan("c1", **plan)
    book.attempt("c1", CHAT_USAGE if usage is None else usage)
    book.post("c1", charged)
    book.call("c1", claims=told(charged, OPENING, plan.get("model", "gpt-5-5")))
    return book


MODEL = CONTRACT.model("enterprise", "gpt-5-5")
CLAUDE = CONTRACT.model("enterprise", "claude-sonnet-4-7")
assert MODEL is not None
assert CLAUDE is not None


@pytest.mark.parametrize(
    ("classes", "exact"),
    [
        (Classes(1_000, 0, 0, 0, 0), Fraction(315, 1_000)),
        (Classes(100_000, 0, 0, 0, 0), Fraction(315, 10)),
        (Classes(0, 1_000_000, 0, 0, 0), Fraction(315, 10)),
        (Classes(0, 0, 1_000_000, 0, 0), Fraction(394)),
        (Classes(0, 0, 0, 1_000_000, 0), Fraction(1_575)),
        (Classes(10, 0, 0, 5, 5), Fraction(11_025, 1_000_000)),
    ],
)
def test_costs_are_the_printed_prices_times_the_tokens(classes: Classes, exact: Fraction) -> None:
    assert CLAUDE.price is not None
    assert exact_credits(CONTRACT, CLAUDE.price, classes) == exact
    assert charge(CONTRACT, CLAUDE.price, classes) == -(-exact.numerator // exact.denominator)


def test_a_class_without_a_price_costs_what_input_costs() -> None:
    assert MODEL.price is not None
    assert MODEL.price.cache_write is None
    assert exact_credits(CONTRACT, MODEL.price, Classes(0, 0, 40_000, 0, 0)) == CREDITS


def test_a_hold_takes_the_dearer_of_input_and_cache_write() -> None:
    # 4,001 bytes are 1,001 prompt tokens: 1,001 x $3.94 + 100 x $15.75 a million = 0.551894 credits
    assert hold(CONTRACT, CLAUDE, 4_001, 100) == 1
    assert hold(CONTRACT, CLAUDE, 400_000, 100_000) == 197  # 39.4 + 157.5
    assert hold(CONTRACT, CLAUDE, 4, None) == 7  # the model's default output: 4,096 x $15.75 = 6.45


@pytest.mark.parametrize(
    ("surface", "raw", "wanted"),
    [
        ("chat", None, Flawed("missing")),
        ("chat", {"prompt_tokens": 5}, Flawed("missing")),
        ("chat", {"prompt_tokens": -1, "completion_tokens": 1}, Flawed("negative")),
        ("chat", {"prompt_tokens": 10**9, "completion_tokens": 1}, Flawed("absurd")),
        ("chat", {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 11}, Flawed("conflict")),
        ("chat", {"prompt_tokens": True, "completion_tokens": 5}, Flawed("conflict")),
        (
            "chat",
            {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 6}},
            Flawed("conflict"),
        ),
        (
            "chat",
            {
                "prompt_tokens": 100,
                "completion_tokens": 9,
                "total_tokens": 109,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Classes(10, 60, 30, 9, 4),
        ),
        (
            "messages",
            {
                "input_tokens": 10,
                "output_tokens": 9,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 30,
            },
            Classes(10, 60, 30, 9, 0),
        ),
    ],
)
def test_usage_is_read_by_each_providers_identities(surface: str, raw: Any, wanted: Classes | Flawed) -> None:
    model = MODEL if surface == "chat" else CLAUDE
    assert classes_of(CONTRACT, surface, model, raw) == wanted


@pytest.mark.parametrize(("charged", "wanted"), [(CREDITS, PASS), (CREDITS - 1, FAIL), (CREDITS + 1, FAIL), (0, FAIL)])
def test_a_charge_is_the_exact_price(charged: int, wanted: Outcome) -> None:
    assert outcome(charge_matches_usage, one_call(charged), "input") is wanted
    assert outcome(charge_matches_usage, one_call(charged), "rounded_up_once") is wanted


def test_cached_tokens_billed_twice_are_caught() -> None:
    usage = {
        "prompt_tokens": 40_000,
        "completion_tokens": 0,
        "total_tokens": 40_000,
        "prompt_tokens_details": {"cached_tokens": 40_000},
    }
    assert outcome(charge_matches_usage, one_call(3, usage), "cached_inside_openai") is PASS  # 2.1 credits
    assert outcome(charge_matches_usage, one_call(CREDITS + 3, usage), "cached_inside_openai") is FAIL


def test_responses_pay_their_usage() -> None:
    usage = {"input_tokens": 40_000, "output_tokens": 0, "total_tokens": 40_000}
    assert outcome(responses_are_billed_on_their_usage, one_call(21, usage, surface="responses"), "unstreamed") is PASS
    assert outcome(responses_are_billed_on_their_usage, one_call(20, usage, surface="responses"), "unstreamed") is FAIL


@pytest.mark.parametrize("charged", [0, 1])
@pytest.mark.parametrize(
    ("clause", "call", "attempt"),
    [
        ("refused", {"outcome": "refused", "status": 400}, None),
        ("all_targets_failed", {"outcome": "error", "status": 502}, {"status": 503, "ended": "fault"}),
        ("timed_out", {"outcome": "error", "status": 504}, {"ended": "left", "status": None}),
        ("broken_stream", {"outcome": "error", "stream": True}, {"ended": "fault"}),
    ],
)
def test_failed_calls_cost_nothing(
    clause: str, call: dict[str, Any], attempt: dict[str, Any] | None, charged: int
) -> None:
    book = Book()
    book.account("a")
    book.plan("c1", stream=bool(call.get("stream")))
    if attempt is not None:
        book.attempt("c1", reading=Reading(), **attempt)
    if charged:
        book.post("c1", charged)
    book.call("c1", **call)
    assert outcome(failed_calls_are_free, book, clause) is (FAIL if charged else PASS)


def test_answers_tell_their_link_of_the_chain() -> None:
    right = one_call(CREDITS)
    for clause in ("chat", "difference", "serial_order"):
        assert outcome(answers_tell_the_charge, right, clause) is PASS
    silent = one_call(CREDITS)
    silent.calls[0] = Book.call(silent, "c1", claims={})
    silent.calls.pop()
    assert outcome(answers_tell_the_charge, silent, "chat") is FAIL


def test_a_balance_that_skips_a_link_is_caught() -> None:
    book = one_call(CREDITS)
    book.calls.clear()
    book.call("c1", claims=told(CREDITS, OPENING - 5))
    assert outcome(answers_tell_the_charge, book, "serial_order") is FAIL
    lost = one_call(CREDITS)
    lost.plan("c2")
    lost.post("c2", 5)
    lost.ledger[-1] = replace(lost.ledger[-1], balance=OPENING - 5)
    assert outcome(answers_tell_the_charge, lost, "serial_order") is FAIL


def test_a_difference_that_is_none_is_caught() -> None:
    book = one_call(CREDITS)
    claims = told(CREDITS, OPENING)
    claims["billing"]["balance_after"] += 1
    book.calls.clear()
    book.call("c1", claims=claims)
    assert outcome(answers_tell_the_charge, book, "difference") is FAIL


@pytest.mark.parametrize(("before", "wanted"), [(OPENING, PASS), (OPENING - 500, FAIL)])
def test_holds_are_no_part_of_the_told_balance(before: int, wanted: Outcome) -> None:
    book = Book()
    book.account("a")
    book.plan("c1")
    book.plan("c2")
    book.hold("c2", 500)
    book.attempt("c1", CHAT_USAGE)
    book.post("c1", CREDITS)
    book.call("c1", claims=told(CREDITS, before))
    assert outcome(answers_tell_the_charge, book, "holds_excluded") is wanted


@pytest.mark.parametrize(
    ("claims", "usage", "wanted"), [({}, None, PASS), (told(3, 10), None, FAIL), ({}, {"x": 1}, FAIL)]
)
def test_nobody_hears_of_a_charge_that_a_cut_voids(claims: Any, usage: Any, wanted: Outcome) -> None:
    book = Book()
    book.account("a")
    book.plan("c1", stream=True)
    book.attempt("c1", reading=Reading(usage=CHAT_USAGE, terminal=False), ended="fault")
    book.call("c1", outcome="error", claims=claims, reading=Reading(usage=usage))
    assert outcome(streams_are_billed_at_their_end, book, "held_until_terminal") is wanted


@pytest.mark.parametrize(("booked", "wanted"), [(CREDITS, PASS), (0, FAIL)])
def test_what_was_told_survives_a_crash(booked: int, wanted: Outcome) -> None:
    book = Book()
    book.account("a")
    book.note("crash")
    book.plan("c1", stream=True)
    book.attempt("c1", CHAT_USAGE)
    if booked:
        book.post("c1", booked)
    book.call("c1", claims=told(CREDITS, OPENING))
    assert outcome(streams_are_billed_at_their_end, book, "held_until_commit") is wanted
    assert outcome(money_is_neither_made_nor_lost, book, "across_restart") is wanted


def test_a_stream_pays_its_final_usage() -> None:
    assert outcome(streams_are_billed_at_their_end, one_call(CREDITS, stream=True), "final_usage") is PASS
    assert outcome(streams_are_billed_at_their_end, one_call(0, stream=True), "final_usage") is FAIL


@pytest.mark.parametrize(
    ("charges", "one", "attempts"), [((21,), PASS, PASS), ((21, 21), FAIL, FAIL), ((42,), PASS, FAIL)]
)
def test_failover_is_charged_once_for_the_last(charges: tuple[int, ...], one: Outcome, attempts: Outcome) -> None:
    book = Book()
    book.account("a")
    book.plan("c1")
    book.attempt("c1", CHAT_USAGE, status=500, ended="fault")
    book.attempt("c1", CHAT_USAGE)
    for credits in charges:
        book.post("c1", credits)
    book.call("c1")
    assert outcome(one_charge_per_success, book, "one_charge") is one
    assert outcome(one_charge_per_success, book, "failed_attempts_unbilled") is attempts


@pytest.mark.parametrize(
    ("kind", "usage"),
    [
        ("missing", {}),
        ("negative", {"prompt_tokens": -5, "completion_tokens": 1}),
        ("absurd", {"prompt_tokens": 10**9, "completion_tokens": 1}),
        ("conflict", {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 99}),
    ],
)
@pytest.mark.parametrize(("charged", "flag", "wanted"), [(0, True, (PASS, PASS)), (7, False, (FAIL, FAIL))])
def test_flawed_usage_is_free_and_flagged(
    kind: str, usage: dict[str, Any], charged: int, flag: bool, wanted: tuple[Outcome, Outcome]
) -> None:
    book = one_call(charged, usage)
    book.row("c1", flags=(f"usage_{kind}",) if flag else ())
    assert (outcome(flawed_usage_is_free, book, kind), outcome(flawed_usage_is_free, book, "flagged")) == wanted


@pytest.mark.parametrize(("charged", "wanted"), [(0, PASS), (1, FAIL)])
def test_usage_of_nothing_costs_nothing(charged: int, wanted: Outcome) -> None:
    book = one_call(charged, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
    assert outcome(flawed_usage_is_free, book, "zero") is wanted


DRAIN_US = CONTRACT.timeouts.drain_ms * 1000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("charged", "wanted"), [((21,), (PASS, PASS, PASS)), ((), (FAIL, PASS, PASS)), ((21, 21), (FAIL, FAIL, FAIL))]
)
def test_an_answer_complete_within_the_drain_is_paid_once(
    stream: bool, charged: tuple[int, ...], wanted: tuple[Outcome, ...]
) -> None:
    book = Book()
    book.account("a")
    book.plan("c1", stream=stream)
    book.attempt("c1", CHAT_USAGE, end=100_000 + DRAIN_US - 10_000)
    for credits in charged:
        book.post("c1", credits)
    book.call("c1", outcome="aborted")
    clause = "stream_charged" if stream else "unstreamed_charged"
    found = [
        outcome(disconnects_are_billed_on_what_is_known, book, c) for c in (clause, "charged_once", "never_estimated")
    ]
    assert tuple(found) == wanted


@pytest.mark.parametrize(
    ("left_at", "fault", "wanted"),
    [
        (100_000 + DRAIN_US // 2, "", FAIL),
        (100_000 + DRAIN_US, "", None),
        (100_000 + DRAIN_US // 2, "truncate", None),
        (90_000, "", None),
    ],
)
def test_an_upstream_that_was_left_before_the_drain_was_over_is_caught(
    left_at: int, fault: str, wanted: Outcome | None
) -> None:
    book = Book()
    book.account("a")
    book.plan("c1")
    left = {"ended": "left", "left": (left_at, left_at), "attached": left_at, "end": left_at}
    book.attempt("c1", reading=Reading(), fault=fault, **left)
    book.row("c1", flags=("unbilled_disconnect",))
    book.call("c1", outcome="aborted")
    assert outcome(disconnects_are_billed_on_what_is_known, book, "unstreamed_charged") is wanted


@pytest.mark.parametrize(
    ("charged", "flags", "wanted"), [(0, ("unbilled_disconnect",), (PASS, PASS)), (9, (), (FAIL, FAIL))]
)
def test_an_incomplete_answer_is_free_and_logged(charged: int, flags: tuple[str, ...], wanted: Any) -> None:
    book = Book()
    book.account("a")
    book.plan("c1", stream=True)
    book.attempt("c1", reading=Reading(), ended="left", end=100_000 + DRAIN_US)
    if charged:
        book.post("c1", charged)
    book.row("c1", flags=flags)
    book.call("c1", outcome="aborted")
    found = [
        outcome(disconnects_are_billed_on_what_is_known, book, clause)
        for clause in ("incomplete_uncharged", "unbilled_disconnect")
    ]
    assert tuple(found) == wanted


def test_the_books_add_up_or_are_caught() -> None:
    right = one_call(CREDITS)
    for clause in ("append_only", "double_entry", "balance_is_sum"):
        assert outcome(money_is_neither_made_nor_lost, right, clause) is PASS
    gap = one_call(CREDITS)
    gap.entry("a", "c2", "post", -1, 1, (("customer:a", -1), ("revenue", 1)), entry=9)
    assert outcome(money_is_neither_made_nor_lost, gap, "append_only") is FAIL
    single = one_call(CREDITS)
    single.entry("a", "c2", "post", -1, 1, (("customer:a", -1),))
    assert outcome(money_is_neither_made_nor_lost, single, "double_entry") is FAIL
    drift = one_call(CREDITS)
    drift.entry("a", "c2", "post", -1, 1, (("customer:a", -1), ("revenue", 1)), balance=OPENING)
    assert outcome(money_is_neither_made_nor_lost, drift, "balance_is_sum") is FAIL


def test_a_hold_left_open_after_a_restart_is_caught() -> None:
    book = one_call(CREDITS)
    book.note("crash")
    book.hold("c9", 50)
    assert outcome(money_is_neither_made_nor_lost, book, "across_restart") is FAIL
    book.void("c9", 50)
    assert outcome(money_is_neither_made_nor_lost, book, "across_restart") is PASS


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"made": True, "refused": True, "said": "in use", "untouched": None}, PASS),
        ({"made": True, "refused": True, "said": "read-only", "untouched": True}, PASS),
        ({"made": True, "refused": True, "said": "read-only", "untouched": False}, FAIL),
        ({"made": True, "refused": True, "said": "", "untouched": True}, FAIL),
        ({"made": True, "refused": False, "said": "it came up", "untouched": None}, FAIL),
        ({"made": False}, INCONCLUSIVE),
    ],
)
def test_a_start_that_would_harm_the_books_must_fail_with_a_reason(told: dict[str, Any], wanted: Outcome) -> None:
    book = one_call(CREDITS)
    book.note("second_start", case="in_use", **told)
    assert outcome(a_start_that_would_harm_the_books_is_refused, book, "across_restart") is wanted


def test_a_charge_that_was_told_before_a_cut_is_in_the_books() -> None:
    book = Book()
    book.account("a")
    book.note("crash", 50_000)
    book.plan("c1", stream=True)
    book.attempt("c1", CHAT_USAGE)
    book.call("c1", outcome="cut", claims=told(CREDITS, OPENING))
    assert outcome(money_is_neither_made_nor_lost, book, "across_restart") is FAIL
    book.post("c1", CREDITS)
    assert outcome(money_is_neither_made_nor_lost, book, "across_restart") is PASS


@pytest.mark.parametrize(("charged", "wanted"), [(0, PASS), (CREDITS, FAIL), (50, FAIL)])
def test_a_call_that_a_crash_cut_off_is_not_charged(charged: int, wanted: Outcome) -> None:
    book = Book()
    book.account("a")
    book.note("crash", 50_000)
    book.plan("c1")
    book.attempt("c1", reading=Reading(), ended="left", end=50_000)
    book.hold("c1", 50)
    if charged:
        book.post("c1", charged, 50)
    else:
        book.void("c1", 50)
    book.call("c1", outcome="cut", status=None)
    assert outcome(money_is_neither_made_nor_lost, book, "across_restart") is wanted


@pytest.mark.parametrize(("shown", "wanted"), [((1, 2), PASS), ((1,), FAIL), ((1, 2, 3), FAIL)])
def test_an_account_sees_its_own_entries_alone(shown: tuple[int, ...], wanted: Outcome) -> None:
    book = one_call(CREDITS)
    book.account("b")
    book.plan("c2", surface="raw", model="", path="/api/ledger")
    answer = ('{"entries": [' + ", ".join(f'{{"entry": {n}}}' for n in shown) + "]}").encode()
    book.bodies["sha"] = answer
    book.call("c2", sent=1_000, answer_sha="sha", answer_bytes=len(answer))
    assert outcome(money_is_neither_made_nor_lost, book, "own_entries") is wanted


MINIMUM = CONTRACT.money.general_minimum_credits


def general(available: int, *, let_in: bool, hold: int = 5, held: int = 0) -> Book:
    """A general chat call that met ``available`` credits, ``held`` more being held."""
    book = Book()
    book.account("a", available + held)
    book.plan("c0", tier="general", model="gpt-5.5")
    if held:
        book.hold("c0", held)
    book.plan("c1", tier="general", model="gpt-5.5")
    if let_in:
        book.hold("c1", hold, at=10)
        book.attempt("c1", CHAT_USAGE, start=20)
        book.call("c1", sent=5)
    else:
        book.call("c1", sent=5, outcome="refused", status=402, reading=Reading(error_type="billing_error"))
    return book


@pytest.mark.parametrize(
    ("clause", "book", "wanted"),
    [
        ("exact_minimum_passes", general(MINIMUM, let_in=True), PASS),
        ("below_minimum", general(MINIMUM - 1, let_in=False), PASS),
        ("below_minimum", general(MINIMUM - 1, let_in=True), FAIL),
        ("whatever_hold", general(MINIMUM, let_in=True, hold=MINIMUM * 9), PASS),
        ("exact_minimum_passes", general(MINIMUM, let_in=False), FAIL),
        ("whatever_hold", general(MINIMUM + 1, let_in=False), FAIL),
        ("holds_deducted", general(MINIMUM - 50, let_in=False, held=100), PASS),
        ("holds_deducted", general(MINIMUM - 50, let_in=True, held=100), FAIL),
        ("no_upstream_call", general(MINIMUM - 1, let_in=False), PASS),
    ],
)
def test_the_general_minimum_decides(clause: str, book: Book, wanted: Outcome) -> None:
    assert outcome(general_calls_need_the_minimum, book, clause) is wanted
    assert outcome(only_those_who_can_pay_are_served, book, "general_text") in (PASS, FAIL)


def test_a_stream_that_begins_with_200_to_tell_of_the_balance_is_caught() -> None:
    book = general(MINIMUM - 1, let_in=False)
    book.calls[-1] = replace(book.calls[-1], stream=True, outcome="error", status=200)
    assert outcome(general_calls_need_the_minimum, book, "below_minimum") is FAIL


def test_an_attempt_behind_a_402_is_caught() -> None:
    book = general(MINIMUM - 1, let_in=False)
    book.attempt("c1", CHAT_USAGE)
    assert outcome(general_calls_need_the_minimum, book, "no_upstream_call") is FAIL
    assert outcome(only_those_who_can_pay_are_served, book, "no_upstream_call") is FAIL


LEAST = CONTRACT.money.enterprise_minimum_credits


def enterprise(available: int, hold_: int, *, let_in: bool) -> Book:
    book = Book()
    book.account("a", available)
    book.plan("c1", detail={"max_tokens": 0})
    size = _bytes_that_hold(hold_)
    if let_in:
        book.hold("c1", hold_, at=10)
        book.call("c1", sent=5, request_bytes=size)
    else:
        refusal = Reading(error_type="billing_error")
        book.call("c1", sent=5, outcome="refused", status=402, reading=refusal, request_bytes=size)
    return book


def _bytes_that_hold(credits: int) -> int:
    """Return the size of a body whose prompt estimate on gpt-5-5 costs exactly ``credits``."""
    return credits * 40_000 * 4 // 21 // 4 * 4


@pytest.mark.parametrize(
    ("clause", "available", "hold_", "let_in", "wanted"),
    [
        ("hold_covered", 30, 21, True, PASS),
        ("hold_covered", 30, 21, False, FAIL),
        ("minimum_lets_in", LEAST, LEAST + 21, True, PASS),
        ("minimum_lets_in", LEAST, LEAST + 21, False, FAIL),
        ("just_below", LEAST - 1, LEAST + 21, False, PASS),
        ("just_below", LEAST - 1, LEAST + 21, True, FAIL),
        ("refused_402", LEAST - 1, LEAST + 21, False, PASS),
    ],
)
def test_the_enterprise_rule_decides(clause: str, available: int, hold_: int, let_in: bool, wanted: Outcome) -> None:
    assert outcome(only_those_who_can_pay_are_served, enterprise(available, hold_, let_in=let_in), clause) is wanted


@pytest.mark.parametrize(
    ("status", "type_", "wanted"), [(402, "insufficient_balance", PASS), (401, "invalid_key", FAIL)]
)
def test_an_account_without_a_credit_hears_of_its_balance(status: int, type_: str, wanted: Outcome) -> None:
    book = Book()
    book.account("a", 0)
    book.plan("c1")
    reading = Reading(error_type=CONTRACT.error(type_).type)
    book.call("c1", outcome="refused", status=status, reading=reading, request_bytes=400)
    assert outcome(only_those_who_can_pay_are_served, book, "refused_402") is wanted


@pytest.mark.parametrize(("amounts", "wanted"), [((150,), PASS), ((150, 150), FAIL)])
def test_simultaneous_calls_cannot_share_one_balance(amounts: tuple[int, ...], wanted: Outcome) -> None:
    book = Book()
    book.account("a", 190)
    for n in range(2):
        book.plan(f"c{n}")
        book.call(f"c{n}", sent=5)
    for n, amount in enumerate(amounts):
        book.hold(f"c{n}", amount, at=10)
    assert outcome(only_those_who_can_pay_are_served, book, "concurrent") is wanted


@pytest.mark.parametrize(("charged", "wanted"), [(220, PASS), (300, FAIL)])
def test_an_overdraft_is_bounded_by_the_one_shortfall(charged: int, wanted: Outcome) -> None:
    book = Book()
    book.account("a", 200)
    book.plan("c1")
    book.hold("c1", 220)
    if charged == 220:
        book.post("c1", 220, 220)
    else:
        book.post("c1", 220, 220)
        book.entry("a", "c2", "refund", -80, 80, (("customer:a", -80), ("revenue", 80)))
    assert outcome(only_those_who_can_pay_are_served, book, "bounded_overdraft") is wanted


@pytest.mark.parametrize(("held_at", "wanted"), [(5, PASS), (50, FAIL)])
def test_a_hold_stands_before_the_first_attempt(held_at: int, wanted: Outcome) -> None:
    book = Book()
    book.account("a")
    book.plan("c1")
    book.hold("c1", 30, at=held_at)
    book.attempt("c1", CHAT_USAGE, start=20)
    book.call("c1")
    assert outcome(calls_hold_their_estimate, book, "hold_before_upstream") is wanted


@pytest.mark.parametrize(("amount", "wanted"), [(21, PASS), (20, FAIL)])
def test_a_hold_is_the_estimate(amount: int, wanted: Outcome) -> None:
    book = enterprise(1_000, 21, let_in=True)
    book.ledger.pop()
    book.hold("c1", amount, at=10)
    assert outcome(calls_hold_their_estimate, book, "hold_size") is wanted


@pytest.mark.parametrize(("status", "wanted"), [(402, PASS), (200, FAIL)])
@pytest.mark.parametrize(("charged", "full"), [(CREDITS, PASS), (15, FAIL), (10, FAIL)])
def test_an_excess_is_charged_in_full_and_stops_later_calls(
    charged: int, full: Outcome, status: int, wanted: Outcome
) -> None:
    book = Book()
    book.account("a", 10)
    book.plan("c1")
    book.plan("c2")
    book.hold("c1", 10, at=1)
    book.attempt("c1", CHAT_USAGE, start=2)
    book.post("c1", charged, 10, at=50)
    book.call("c1")
    book.call("c2", sent=100, end=110, status=status)
    assert outcome(calls_hold_their_estimate, book, "over_hold_in_full") is full
    assert outcome(calls_hold_their_estimate, book, "later_402") is wanted
