"""Relations that need no price: the pairs that hold, the ones that do not, and those that nobody can compare."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checker import Checker, Outcome
from harness.checkers.metamorphic import (
    a_detour_costs_what_the_straight_way_costs,
    a_stream_costs_what_the_whole_answer_costs,
    more_tokens_never_cost_less,
    packets_change_nothing,
    two_keys_are_as_good_as_one,
)
from harness.history import Reading
from tests.checkers.traffic_histories import NAMES, Traffic, outcome, usage


def pair(tag: str, *charges: int | None, tokens: tuple[int, int] = (10, 10), **second: Any) -> Traffic:
    """Return calls of one group, each told what it cost; without books, so that their word alone counts."""
    traffic = Traffic(taps=("journal",))
    for number, (cost, size) in enumerate(zip(charges, tokens, strict=True)):
        claims = {} if cost is None else {"billing": {"credits_charged": cost}}
        at = number * 100
        changes = second if number else {}
        traffic.call(f"c{number}", at, at + 50, detail={"tag": tag}, **{"claims": claims, **changes})
        traffic.attempt(f"c{number}", at, at + 50, tokens=size)
    return traffic


@pytest.mark.parametrize(
    ("check", "tag", "clause"),
    [
        (a_stream_costs_what_the_whole_answer_costs, "streamed:x", "final_usage"),
        (a_stream_costs_what_the_whole_answer_costs, "probe packets:x", "final_usage"),
        (a_detour_costs_what_the_straight_way_costs, "detour:x", "failed_attempts_unbilled"),
    ],
)
@pytest.mark.parametrize(
    ("charges", "tokens", "told"),
    [
        ((12, 12), (10, 10), Outcome.PASS),
        ((12, 24), (10, 10), Outcome.FAIL),
        ((12, 24), (10, 20), None),
        ((12, None), (10, 10), None),
        ((None, None), (10, 10), None),
    ],
)
def test_the_same_usage_costs_the_same(
    check: Checker, tag: str, clause: str, charges: Any, tokens: Any, told: Outcome | None
) -> None:
    assert outcome(check, pair(tag, *charges, tokens=tokens), clause) is told


@pytest.mark.parametrize(("charges", "told"), [((3, 3), Outcome.PASS), ((3, 9), Outcome.PASS), ((9, 3), Outcome.FAIL)])
@pytest.mark.parametrize("name", ["input", "cache_read", "cache_write", "output"])
def test_more_tokens_never_cost_less(name: str, charges: tuple[int, int], told: Outcome) -> None:
    assert outcome(more_tokens_never_cost_less, pair(f"more_{name}:x", *charges, tokens=(10, 99)), name) is told


@pytest.mark.parametrize(("left", "told"), [("7", Outcome.PASS), ("8", Outcome.FAIL), (None, None)])
def test_two_keys_draw_on_one_window(left: str | None, told: Outcome | None) -> None:
    traffic = pair("keys:1", 1, 1, headers={} if left is None else {NAMES.rpm_remaining: left}, key="b2")
    first = traffic.calls[0].headers
    assert isinstance(first, dict)
    first[NAMES.rpm_remaining] = "7"
    assert outcome(two_keys_are_as_good_as_one, traffic, "all_keys") is told


@pytest.mark.parametrize(
    ("clause", "reading", "told"),
    [
        ("usage", Reading(terminal=True, finish="stop", usage=usage(10)), Outcome.PASS),
        ("usage", Reading(terminal=True, finish="stop", usage=usage(11)), Outcome.FAIL),
        ("finish_reason", Reading(terminal=True, finish="stop", usage=usage(10)), Outcome.PASS),
        ("finish_reason", Reading(terminal=True, finish="length", usage=usage(10)), Outcome.FAIL),
    ],
)
def test_other_packets_end_the_same_way(clause: str, reading: Reading, told: Outcome) -> None:
    whole = Reading(terminal=True, finish="stop", usage=usage(10))
    traffic = pair("packets:x", 1, 1, reading=reading)
    traffic.calls[0] = replace(traffic.calls[0], reading=whole)
    assert outcome(packets_change_nothing, traffic, clause) is told


def test_a_group_of_one_is_compared_with_nobody() -> None:
    traffic = pair("streamed:x", 1, 2)
    traffic.attempts.pop()  # the second was served by nobody
    assert outcome(a_stream_costs_what_the_whole_answer_costs, traffic, "final_usage") is None
