"""Slots, queue and the governor's headers: each clause on a history that keeps it, and on one that breaks it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checker import Checker, Outcome
from harness.checkers.remaining import (
    admitted_answers_tell_the_limits,
    governor_is_announced,
    remaining_headers_are_true,
)
from harness.checkers.slots import slots_are_bounded, slots_come_back
from harness.checkers.waiting import (
    queue_is_short,
    refused_calls_cost_nothing,
    waiters_are_served_in_order,
    waiting_tokens_are_bounded,
)
from harness.history import LedgerEntry
from tests.checkers.traffic_histories import NAMES, Story, Traffic, contract_with, outcome, tell_apart

TWO = contract_with(text__concurrency=2, text__queue_length=2, text__requests=10)
WAIT = TWO.text.queue_wait_ms


def two() -> Traffic:
    return Traffic(TWO)


def without(headers: dict[str, str], name: str, value: str | None = None) -> dict[str, str]:
    kept = {key: told for key, told in headers.items() if key != name}
    return kept if value is None else {**kept, name: value}


def as_many_as_slots(broken: bool) -> Traffic:
    traffic = two()
    for n in range(3 if broken else 2):
        traffic.served(f"c{n}", n, 500)
    return traffic


def departed_still_draining(broken: bool) -> Traffic:
    traffic = two()
    for n in range(2):
        traffic.call(f"gone{n}", n, 100, outcome="aborted", status=None)
        traffic.attempt(f"gone{n}", n, 900)
    traffic.served("late", 200, 1200, start=300 if broken else 950)
    return traffic


def between_two_tries(broken: bool) -> Traffic:
    traffic = two()
    for n in range(2):
        traffic.call(f"moves{n}", n, 900, headers=traffic.governor(slots=1 - n))
        traffic.attempt(f"moves{n}", n, 100, status=503)
        traffic.attempt(f"moves{n}", 400, 900)
    traffic.served("other", 150, 1300, start=200 if broken else 950)
    return traffic


def a_second_slot_for_a_second_try(broken: bool) -> Traffic:
    traffic = two()
    traffic.call("moves", 0, 900, headers=traffic.governor())
    traffic.attempt("moves", 0, 100, status=503)
    traffic.attempt("moves", 400, 900)
    traffic.served("beside", 500, 600, slots=-1 if broken else 0)
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("cap", as_many_as_slots),
        ("draining_included", departed_still_draining),
        ("failover_one_slot", between_two_tries),
        ("failover_one_slot", a_second_slot_for_a_second_try),
    ],
)
def test_slots_are_bounded(clause: str, story: Story) -> None:
    tell_apart(slots_are_bounded, clause, story)


def test_an_attempt_that_starts_as_another_ends_needs_no_slot_more() -> None:
    traffic = two()
    for n in range(2):
        traffic.served(f"c{n}", 0, 500)
    traffic.served("next", 100, 900, start=500)
    assert outcome(slots_are_bounded, traffic, "cap") is Outcome.PASS


def way_out(name: str) -> Story:
    def story(broken: bool) -> Traffic:
        traffic = two()
        if name == "success":
            traffic.served("first", 0, 100)
        elif name == "upstream_error":
            traffic.failed("first", 0, 100, 502, "api_error")
            traffic.attempt("first", 0, 100, status=503)
        elif name == "timeout":
            traffic.failed("first", 0, 100, 504, "timeout_error")
            traffic.attempt("first", 0, 100, ended="left", head=None)
        elif name == "disconnect":
            traffic.call("first", 0, 50, outcome="aborted", status=None)
            traffic.attempt("first", 0, 100)
        elif name == "handler_crash":
            traffic.failed("first", 0, 100, 500, "api_error")
        elif name == "cancelled_wait":
            for n in range(2):
                traffic.served(f"busy{n}", 0, 80)
            traffic.call("first", 10, 50, outcome="aborted", status=None)
        else:
            for n in range(2):
                traffic.served(f"busy{n}", 0, 80)
        traffic.served("probe", 5_000, 5_001, slots=0 if broken else 1)
        return traffic

    return story


@pytest.mark.parametrize("clause", slots_come_back.clauses)
def test_slots_come_back(clause: str) -> None:
    tell_apart(slots_come_back, clause, way_out(clause))


def test_a_slot_that_was_lost_before_is_not_blamed_on_what_came_later() -> None:
    traffic = two()
    traffic.call("gone", 0, 50, outcome="aborted", status=None)
    traffic.attempt("gone", 0, 100)
    traffic.served("probe", 5_000, 5_001, slots=0)
    traffic.failed("fails", 6_000, 6_100, 502, "api_error")
    traffic.attempt("fails", 6_000, 6_100, status=503)
    traffic.served("again", 9_000, 9_001, slots=0)
    assert outcome(slots_come_back, traffic, "disconnect") is Outcome.FAIL
    assert outcome(slots_come_back, traffic, "upstream_error") is Outcome.PASS


def no_slot_for_a_lone_call(broken: bool) -> Traffic:
    traffic = two()
    for n in range(2):
        traffic.failed(f"fails{n}", n, 100, 504, "timeout_error")
        traffic.attempt(f"fails{n}", n, 100, ended="left", head=None)
    if broken:
        traffic.refused("probe", 5_000, 5_000 + WAIT)
    else:
        traffic.served("probe", 5_000, 5_001, slots=1)
    return traffic


@pytest.mark.parametrize("clause", ["timeout", "probe_after_storm"])
def test_a_lone_call_that_is_refused_shows_that_every_slot_was_lost(clause: str) -> None:
    tell_apart(slots_come_back, clause, no_slot_for_a_lone_call)


def test_a_lone_call_that_its_window_refused_shows_nothing_of_slots() -> None:
    traffic = Traffic(contract_with(text__concurrency=2, text__requests=1))
    traffic.served("first", 0, 100, rpm=0)
    traffic.refused("probe", 5_000)
    assert outcome(slots_come_back, traffic, "success") is None


def test_a_call_beside_others_is_no_lone_probe() -> None:
    traffic = two()
    traffic.served("first", 0, 100)
    traffic.served("other", 4_000, 6_000)
    traffic.served("probe", 5_000, 5_001, slots=0)
    assert outcome(slots_come_back, traffic, "success") is Outcome.PASS  # that of the other call; the probe's is left


def a_full_house(traffic: Traffic, until: float = 1_000) -> Traffic:
    """Let calls hold both slots until then, and tell so truly."""
    for n in range(2):
        traffic.served(f"busy{n}", 0, until, slots=1 - n, rpm=9 - n)
    return traffic


def waits_for_a_slot(broken: bool) -> Traffic:
    traffic = a_full_house(two())
    if broken:
        traffic.refused("waits", 100)
    else:
        traffic.served("waits", 100, 1_100, start=1_000)
    return traffic


def waits_on_although_one_is_free(broken: bool) -> Traffic:
    traffic = a_full_house(two(), until=500)
    traffic.served("waits", 100, 1_900, start=1_500 if broken else 500)
    return traffic


def three_want_two_places(broken: bool) -> Traffic:
    traffic = a_full_house(two())
    for n in range(2):
        traffic.served(f"waits{n}", 100 + n, 1_100, start=1_000)
    if broken:
        traffic.served("waits2", 110, 1_200, start=1_100)
    else:
        traffic.refused("waits2", 110)
    return traffic


def the_time_is_up(broken: bool) -> Traffic:
    traffic = a_full_house(two(), until=WAIT * 3)
    traffic.refused("waits", 100, 100 + WAIT + (50 if broken else 0))
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("waits", waits_for_a_slot),
        ("waits", waits_on_although_one_is_free),
        ("length_bound", three_want_two_places),
        ("time_bound", the_time_is_up),
    ],
)
def test_queue_is_short(clause: str, story: Story) -> None:
    tell_apart(queue_is_short, clause, story)


def test_what_was_refused_before_its_time_although_there_was_room_did_not_wait() -> None:
    traffic = a_full_house(two(), until=WAIT * 3)
    traffic.refused("waits", 100, 100 + WAIT / 2)
    assert outcome(queue_is_short, traffic, "waits") is Outcome.FAIL


def refused(**changes: Any) -> Story:
    def story(broken: bool) -> Traffic:
        traffic = a_full_house(two())
        for n in range(2):
            traffic.served(f"waits{n}", 50 + n, 1_100, start=1_000, rpm=7 - n, slots=1 - n)
        traffic.refused("one", 100, **(changes.get("call", {}) if broken else {}))
        if broken and changes.get("attempt"):
            traffic.attempt("one", 100, 100)
        if broken and changes.get("charge"):
            traffic.ledger.append(LedgerEntry(1, "one", "a", "post", -5, 5, 0, (), (), 0))
        counted = 1 if broken and changes.get("unit") else 0
        traffic.served("probe", 9_000, 9_001, rpm=5 - counted)
        return traffic

    return story


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("retry_after", refused(call={"retry_after": "61"})),
        ("retry_after", refused(call={"retry_after": "1.5"})),
        ("retry_after", refused(call={"retry_after": ""})),
        ("no_upstream_call", refused(attempt=True)),
        ("no_charge", refused(charge=True)),
        ("no_unit", refused(unit=True)),
    ],
)
def test_refused_calls_cost_nothing(clause: str, story: Story) -> None:
    tell_apart(refused_calls_cost_nothing, clause, story)


def test_without_the_books_nothing_is_said_of_charges() -> None:
    traffic = replace(refused()(False), taps=("journal",))
    assert outcome(refused_calls_cost_nothing, traffic, "no_charge") is None


def one_after_the_other(broken: bool) -> Traffic:
    traffic = a_full_house(two())
    traffic.served("early", 100, 1_500, start=1_200 if broken else 1_000)
    traffic.served("late", 101, 1_500, start=1_000 if broken else 1_200)
    return traffic


def one_leaves(broken: bool) -> Traffic:
    traffic = a_full_house(two())
    traffic.call("leaves", 100, 300, outcome="aborted", status=None)
    if broken:
        traffic.attempt("leaves", 1_000, 1_100)
    return traffic


@pytest.mark.parametrize(("clause", "story"), [("first_come", one_after_the_other), ("gone_waiter", one_leaves)])
def test_waiters_are_served_in_order(clause: str, story: Story) -> None:
    tell_apart(waiters_are_served_in_order, clause, story)


def test_other_accounts_may_be_served_before() -> None:
    traffic = a_full_house(two())
    traffic.served("early", 100, 1_500, start=1_200)
    traffic.served("late", 101, 1_500, start=1_000, account="b")
    assert outcome(waiters_are_served_in_order, traffic, "first_come") is None


def sized(max_tokens: int) -> dict[str, Any]:
    """Return what makes a call reserve 100 tokens for its 400 bytes, and its max_tokens."""
    return {"request_bytes": 400, "detail": {"max_tokens": max_tokens}}


def tokens_in_the_queue(broken: bool) -> Traffic:
    traffic = a_full_house(Traffic(contract_with(text__concurrency=2, text__queue_tokens=500)))
    traffic.served("waits", 50, 1_100, start=1_000, **sized(300))
    if broken:
        traffic.served("more", 100, 1_200, start=1_000, **sized(1))
    else:
        traffic.refused("more", 100, **sized(1))
    return traffic


def just_as_many_as_fit(broken: bool) -> Traffic:
    traffic = a_full_house(Traffic(contract_with(text__concurrency=2, text__queue_tokens=800)))
    traffic.served("waits", 50, 1_100, start=1_000, **sized(300))
    if broken:
        traffic.refused("exact", 100, **sized(300))
    else:
        traffic.served("exact", 100, 1_200, start=1_100, **sized(300))
        traffic.refused("more", 110, **sized(1))
    return traffic


def what_waits_is_not_reserved(broken: bool) -> Traffic:
    traffic = Traffic(contract_with(text__concurrency=1, text__tokens=10_000))
    traffic.served("busy", 0, 1_000, tpm=9_800, tokens=50, **sized(100))
    traffic.served("first", 10, 1_500, start=1_000, tpm=9_350 if broken else 9_750, **sized(100))
    traffic.served("second", 20, 2_000, start=1_500, tpm=9_440, **sized(300))
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("queue_tokens", tokens_in_the_queue),
        ("as_full_queue", tokens_in_the_queue),
        ("as_full_queue", just_as_many_as_fit),
        ("waiting_not_reserved", what_waits_is_not_reserved),
    ],
)
def test_waiting_tokens_are_bounded(clause: str, story: Story) -> None:
    tell_apart(waiting_tokens_are_bounded, clause, story)


def headers(changed: str, value: str | None) -> Story:
    def story(broken: bool) -> Traffic:
        traffic = two()
        traffic.served("one", 0, 100)
        if broken:
            told = without(dict(traffic.calls[0].headers), changed, value)
            traffic.calls[0] = replace(traffic.calls[0], headers=told)
        return traffic

    return story


def more_than_the_first(broken: bool) -> Traffic:
    traffic = two()
    traffic.refused("one", 0)
    if broken:
        traffic.calls[0] = replace(traffic.calls[0], headers={**traffic.calls[0].headers, NAMES.rpm_limit: "10"})
    return traffic


@pytest.mark.parametrize(
    ("check", "clause", "story"),
    [
        (governor_is_announced, "governor_active", headers(NAMES.governor, None)),
        (governor_is_announced, "refused_first_alone", more_than_the_first),
        (admitted_answers_tell_the_limits, "concurrency", headers(NAMES.concurrency_limit, "3")),
        (admitted_answers_tell_the_limits, "concurrency", headers(NAMES.concurrency_remaining, None)),
        (admitted_answers_tell_the_limits, "rpm", headers(NAMES.rpm_limit, None)),
        (admitted_answers_tell_the_limits, "rpm", headers(NAMES.rpm_remaining, "many")),
        (admitted_answers_tell_the_limits, "capacity", headers(NAMES.capacity_remaining, "-1")),
        (admitted_answers_tell_the_limits, "capacity", headers(NAMES.capacity_remaining, "11")),
        (admitted_answers_tell_the_limits, "circuit", headers(NAMES.circuit, "shut")),
    ],
)
def test_the_governors_headers(check: Checker, clause: str, story: Story) -> None:
    tell_apart(check, clause, story)


def beside_a_tighter_window(told: int) -> Traffic:
    """Return a call of an account whose other model has 7 of 10 left; the call itself leaves 9."""
    traffic = two()
    for n in range(3):
        traffic.served(f"other{n}", n * 10, n * 10 + 5, model="deepseek-v4-pro", rpm=9 - n)
    for n in range(4):
        traffic.served(f"theirs{n}", 40 + n * 10, 45 + n * 10, account="b", rpm=9 - n)
    traffic.served("one", 100, 200)
    capacity = {**traffic.calls[-1].headers, NAMES.capacity_remaining: str(told)}
    traffic.calls[-1] = replace(traffic.calls[-1], headers=capacity)
    return traffic


@pytest.mark.parametrize(
    ("told", "wanted"), [(7, Outcome.PASS), (9, Outcome.FAIL), (8, Outcome.FAIL), (6, Outcome.FAIL)]
)
def test_the_capacity_is_that_of_the_accounts_tightest_window(told: int, wanted: Outcome) -> None:
    assert outcome(admitted_answers_tell_the_limits, beside_a_tighter_window(told), "capacity") is wanted


def told(**right_and_wrong: tuple[int, int]) -> Story:
    """Return two calls one after the other; the second is told what remains, rightly or wrongly."""

    def story(broken: bool) -> Traffic:
        traffic = two()
        traffic.served("first", 0, 500, slots=1, rpm=9)
        traffic.served("second", 100, 400, **{name: pair[broken] for name, pair in right_and_wrong.items()})
        return traffic

    return story


def told_alike(broken: bool) -> Traffic:
    traffic = two()
    traffic.served("first", 0, 500, slots=1, rpm=9)
    traffic.served("second", 0, 500, slots=0, rpm=9 if broken else 8)
    return traffic


@pytest.mark.parametrize(
    ("clause", "story"),
    [
        ("own_request_counted", told(slots=(0, 1), rpm=(8, 8))),
        ("own_request_counted", told(slots=(0, 0), rpm=(8, 9))),
        ("within_interval", told(slots=(0, 0), rpm=(8, 5))),
        ("never_negative", told(slots=(0, -1), rpm=(8, 8))),
        ("never_above_limit", told(slots=(0, 3), rpm=(8, 8))),
        ("never_above_limit", told(slots=(0, 0), rpm=(8, 11))),
        ("distinct", told_alike),
    ],
)
def test_remaining_headers_are_true(clause: str, story: Story) -> None:
    tell_apart(remaining_headers_are_true, clause, story)


def test_the_same_may_be_told_again_once_a_unit_ran_out() -> None:
    traffic = two()
    for n in range(4):
        traffic.served(f"c{n}", n * 30_000, n * 30_000 + 1, rpm=9 if n == 0 else 8, slots=1)
    assert outcome(remaining_headers_are_true, traffic, "distinct") is not Outcome.FAIL
    assert outcome(remaining_headers_are_true, traffic, "within_interval") is Outcome.PASS


def test_where_arrival_is_uncertain_both_figures_are_lawful() -> None:
    for rpm in (8, 9):
        traffic = replace(two(), options={"latency_ms": 200})
        traffic.served("first", 0, 900, start=400, slots=1, rpm=9)
        traffic.served("second", 100, 900, start=500, slots=0, rpm=rpm)
        assert outcome(remaining_headers_are_true, traffic, "within_interval") is not Outcome.FAIL
        assert outcome(remaining_headers_are_true, traffic, "own_request_counted") is not Outcome.FAIL
