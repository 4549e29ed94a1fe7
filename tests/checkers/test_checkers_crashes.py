"""A crash excuses what it can have caused and nothing else: the calls that the gateway was at work for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.branches import branches_reached
from harness.checker import Checker, Outcome
from harness.checkers.admissions import admissions
from harness.checkers.billing import flawed_usage_is_free
from harness.checkers.disconnects import disconnects_are_billed_on_what_is_known
from harness.checkers.failover import broken_answers_move_on, server_errors_move_on
from harness.checkers.idempotency import a_key_runs_one_call
from harness.checkers.insurance import streams_settle_after_their_end
from harness.checkers.wire import seen
from harness.contract import load_contract
from harness.history import History, Note, Reading
from tests.checkers.money_histories import CHAT_USAGE, Book
from tests.checkers.traffic_histories import Traffic

CONTRACT = load_contract()
S = 1_000_000
BEFORE, NEAR, FAR = (-9 * S, -8 * S), (50_000, 60_000), (100 * S, 101 * S)
"""From the kill to the next start: before every call here, while one is under way, and long after."""


def crashed(history: History, window: tuple[int, int]) -> History:
    """Return the history of a run in which the gateway was killed, and back, at these instants."""
    notes = (Note("kill", window[0], {}), Note("crash", window[1], {}))
    options = {**history.plan.options, "crashes": [{"at_ms": window[0] / 1e3}]}
    return replace(history, plan=replace(history.plan, options=options), notes=notes)


def unflagged() -> History:
    book = Book()
    book.account("a")
    book.plan("c1")
    book.attempt("c1", {**CHAT_USAGE, "prompt_tokens": -1}, fault="usage_negative")
    book.call("c1")
    return book.history()


def unsettled() -> History:
    book = Book()
    book.account("a")
    book.plan("c1", stream=True)
    book.attempt("c1", CHAT_USAGE)
    book.post("c1", 21)
    names, policy = CONTRACT.headers, CONTRACT.insurance
    book.call("c1", headers={names.insurance_status: "pending", names.insurance_threshold_ms: str(policy.threshold_ms)})
    return book.history()


def run_twice() -> History:
    book = Book()
    book.account("a")
    detail: dict[str, Any] = {"headers": {CONTRACT.idempotency.header: "k"}}
    same = {"reading": Reading(text="one", terminal=True), "headers": {"x-request-id": "r1"}}
    book.plan("c1", detail=detail)
    book.attempt("c1", CHAT_USAGE)
    book.call("c1", **same)
    book.plan("c2", detail={**detail, "marks": "c1"})
    book.attempt("c1", CHAT_USAGE, start=205_000, end=209_000)
    book.call("c2", sent=200_000, end=210_000, **same)
    return book.history()


def left_too_soon() -> History:
    book = Book()
    book.account("a")
    book.plan("c1", stream=True)
    book.attempt("c1", end=110_000, attached=105_000, ended="left", left=(105_000, 110_000), reading=Reading())
    book.call("c1", outcome="aborted")
    return book.history()


def not_moved_on() -> History:
    traffic = Traffic()
    traffic.failed("c", 0, 700, 502, "api_error")
    traffic.attempt("c", 10, 100, status=503)
    return traffic.history()


def not_moved_on_from_a_shut_target() -> History:
    traffic = Traffic(listeners={"primary": "refusing"})
    traffic.failed("c", 0, 700, 502, "api_error")
    return traffic.history()


@pytest.mark.parametrize(
    ("check", "clause", "story"),
    [
        (flawed_usage_is_free, "flagged", unflagged),
        (streams_settle_after_their_end, "settled_after_end", unsettled),
        (a_key_runs_one_call, "replayed", run_twice),
        (disconnects_are_billed_on_what_is_known, "stream_charged", left_too_soon),
        (server_errors_move_on, "chat", not_moved_on),
        (broken_answers_move_on, "refused", not_moved_on_from_a_shut_target),
    ],
)
def test_a_crash_at_another_time_is_no_excuse(check: Checker, clause: str, story: Callable[[], History]) -> None:
    def told(history: History) -> Outcome | None:
        clauses = check(history, CONTRACT).clauses
        return clauses[clause].outcome if clause in clauses else None

    assert told(story()) is Outcome.FAIL
    assert told(crashed(story(), FAR)) is Outcome.FAIL
    assert told(crashed(story(), BEFORE)) is Outcome.FAIL
    assert told(crashed(story(), NEAR)) is not Outcome.FAIL


def test_what_a_call_used_is_known_though_the_gateway_was_killed_later() -> None:
    traffic = Traffic()
    traffic.served("c", 0, 100)
    (exact,) = (entry.used for entry in admissions(traffic.history(), CONTRACT).entries)
    assert exact[0] == exact[1] > 0
    (later,) = (entry.used for entry in admissions(crashed(traffic.history(), FAR), CONTRACT).entries)
    assert later == exact
    (meanwhile,) = (entry.used for entry in admissions(crashed(traffic.history(), NEAR), CONTRACT).entries)
    assert meanwhile[0] == 0


@pytest.mark.parametrize(("window", "count"), [(FAR, 1), ((15_000, 90_000), 0)])
def test_only_what_a_dead_gateway_left_was_not_waited_for(window: tuple[int, int], count: int) -> None:
    traffic = Traffic()
    traffic.call("c1", 0, 100)
    traffic.attempt("c1", 0, 20, fault="hang_before_headers", ended="left", head=None, status=None)
    traffic.attempt("c1", 50, 100, "second")
    assert branches_reached(crashed(traffic.history(), window), CONTRACT)["silence_ended"] == count


@pytest.mark.parametrize(
    ("windows", "hit"),
    [
        ([], [False, False, False]),
        ([(0, 10_000)], [True, False, False]),
        ([(5 * S, 6 * S), (60 * S, 61 * S)], [False, True, True]),
        ([(5 * S, None)], [False, True, True]),
        # A charge and a payout are settled within a second of an answer's end.
        ([(100_000 + S, 2 * S)], [True, False, False]),
        ([(100_001 + S, 2 * S)], [False, False, False]),
    ],
)
def test_each_crash_has_its_own_time(windows: list[tuple[int, int | None]], hit: list[bool]) -> None:
    book = Book()
    book.account("a")
    for number, at in enumerate((0, 5 * S, 60 * S)):
        book.plan(f"c{number}")
        book.call(f"c{number}", sent=at, end=at + 100_000)
    for begin, end in windows:
        book.note("kill", begin)
        if end is not None:
            book.note("crash", end)
    assert [one.interrupted for one in seen(book.history(), CONTRACT)] == hit
