"""What the journal alone tells of a circuit: nothing that the evidence does not carry, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from harness.checkers.circuits import circuits
from harness.checkers.outages import (
    an_outage_costs_a_bounded_number_of_calls,
    outages,
    the_header_agrees_with_the_journal,
    the_journal_shows_open_circuits,
)
from harness.checkers.trajectories import ANY, Modes, Stretch, at_odds, demanded, inferred, joined, modes_during
from tests.checkers.breaker_calls import RULES, Calls, calls, opened
from tests.checkers.traffic_histories import NAMES, outcome, tell_apart, us

PRIMARY = ("gpt-5-5", "primary")
OPEN, CLOSED, HALF_OPEN = frozenset({"open"}), frozenset({"closed"}), frozenset({"half_open"})


def told(traffic: Calls, at: float, slack: int = 0) -> Modes:
    """Return the modes that the journal leaves possible at ``at`` ms."""
    return modes_during(inferred(traffic.history(), RULES, slack)[PRIMARY], us(at), us(at))


@pytest.mark.parametrize(
    ("traffic", "at", "modes"),
    [
        (calls().go("SSSS", 0), 150, CLOSED),
        (opened("XX", 700), 750, OPEN),
        (opened("X", 700), 500, CLOSED | OPEN),
        (opened("X", 700).go("S", 1_400), 1_000, OPEN | HALF_OPEN),
        (opened("X", 700).go("S", 1_400).go("S", 1_500), 1_450, HALF_OPEN),
        (opened("X", 700).go("SS", 1_400).go("S", 1_700), 1_650, HALF_OPEN | CLOSED),
        (opened("X", 700).go("SS", 1_400).go("SSS", 1_700, gap=10, lasts=100), 1_715, HALF_OPEN | CLOSED),
        (opened("X", 700).go("SS", 1_400).go("SSSS", 1_700, gap=10, lasts=100), 1_725, CLOSED),
        (calls().go("SS", 0).go("S", 5_000), 2_000, ANY),
    ],
    ids=[
        "a fresh gateway lets through: closed",
        "passed over twice with nobody there between: open",
        "let through, then passed over: it opened somewhere",
        "passed over, then let through: it may have cooled down at any time",
        "after that, with too few successes to close: half open",
        "with enough of them: closed, or not yet",
        "as many at once as there are probes tell nothing",
        "more at once than probes: closed",
        "silence longer than a cool-down after an end",
    ],
)
def test_the_journal_alone_tells(traffic: Calls, at: float, modes: Modes) -> None:
    assert told(traffic, at) == modes


def test_a_gateway_that_was_there_before_may_stand_anywhere() -> None:
    traffic = calls().go("SS", 0)
    history = traffic.history()
    remote = replace(history, plan=replace(history.plan, mode="remote"))
    assert modes_during(inferred(remote, RULES, 0)[PRIMARY], us(50), us(50)) == CLOSED | HALF_OPEN


@pytest.mark.parametrize(("lasts", "modes"), [(400, HALF_OPEN), (66, ANY)])
def test_passed_over_while_probes_are_out_is_half_open_until_one_of_them_ends(lasts: float, modes: Modes) -> None:
    traffic = opened("X", 700).go("SS", 1_400, gap=50, lasts=lasts).go("S", 1_460, lasts=200).go("XX", 1_465, gap=2)
    assert told(traffic, 1_466) == modes


def test_let_through_and_passed_over_in_one_instant_is_half_open() -> None:
    traffic = opened("XX", 700).go("S", 1_400, lasts=300).go("X", 1_400).go("X", 1_500)
    assert told(traffic, 1_450) == HALF_OPEN


def test_a_target_that_takes_no_connection_is_not_passed_over() -> None:
    traffic = calls().go("SSXXX", 0)
    traffic.listeners = {"primary": "refusing"}
    assert told(traffic, 350) != OPEN


def test_slack_makes_the_evidence_blur_and_never_lie() -> None:
    traffic = opened("XX", 700).go("SS", 1_400)
    exact, blurred = (inferred(traffic.history(), RULES, slack)[PRIMARY] for slack in (0, us(20)))
    for stretch in exact:
        middle = (stretch.since + stretch.until) // 2
        assert modes_during(blurred, middle, middle) & stretch.modes


def test_a_trajectory_has_no_gap() -> None:
    stretches = inferred(opened("XX", 700).go("SSSS", 1_400).history(), RULES, 0)[PRIMARY]
    assert stretches[0].since == 0
    assert all(one.until == after.since for one, after in pairwise(stretches))


def test_what_the_contract_demands_follows_its_machine() -> None:
    history = opened("X", 700).go("SS", 1_400, gap=50).history()
    found = demanded(circuits(history, RULES)[PRIMARY], us(2_000))
    assert [(one.since, one.modes) for one in found] == [
        (0, CLOSED),
        (us(310), OPEN),
        (us(1_310), HALF_OPEN),
        (us(1_460), CLOSED),
    ]


def test_trajectories_are_at_odds_where_they_cannot_both_be_true() -> None:
    one = [Stretch(0, 10, CLOSED), Stretch(10, 20, OPEN)]
    other = [Stretch(0, 5, CLOSED), Stretch(5, 20, OPEN | HALF_OPEN)]
    assert list(at_odds(one, other)) == [(5, 10)]
    assert list(at_odds(one, [Stretch(0, 20, ANY)])) == []


def test_joined_stretches_have_length_and_differ() -> None:
    given = [Stretch(0, 5, OPEN), Stretch(5, 5, CLOSED), Stretch(5, 9, OPEN), Stretch(9, 10, CLOSED)]
    assert joined(given) == [Stretch(0, 9, OPEN), Stretch(9, 10, CLOSED)]


def test_outside_of_what_was_seen_anything_is_possible() -> None:
    assert modes_during([Stretch(0, 10, OPEN)], 5, 11) == ANY
    assert modes_during([], 0, 1) == ANY


def test_a_gateway_without_a_breaker_shows_it_in_the_journal() -> None:
    tell_apart(
        the_journal_shows_open_circuits, "opens", lambda broken: opened("FFFF" if broken else "XXXX", 400, gap=100)
    )


@pytest.mark.parametrize(("clause", "letters", "right"), [("open", "XXX", "open"), ("closed", "SS", "closed")])
def test_the_header_may_tell_nothing_that_the_journal_rules_out(clause: str, letters: str, right: str) -> None:
    def story(broken: bool) -> Calls:
        traffic = opened(letters, 700, gap=50) if clause == "open" else calls().go(letters, 0)
        wrong = "half_open" if clause == "open" else "open"
        traffic.calls = [
            replace(call, headers={**call.headers, NAMES.circuit: wrong if broken else right if n > 3 else "closed"})
            for n, call in enumerate(traffic.calls)
        ]
        return traffic

    tell_apart(the_header_agrees_with_the_journal, clause, story)


def test_a_bounded_number_of_calls_in_an_outage() -> None:
    def story(broken: bool) -> Calls:
        return calls().go("FFFF", 0).go(("F" if broken else "X") * 12, 500, gap=20)

    tell_apart(an_outage_costs_a_bounded_number_of_calls, "no_calls_while_open", story)


def test_few_calls_in_an_outage_prove_nothing() -> None:
    traffic = calls().go("FFFF", 0).go("X", 500)
    assert outcome(an_outage_costs_a_bounded_number_of_calls, traffic, "no_calls_while_open") is None


def test_failures_that_are_forgotten_one_by_one_open_nothing() -> None:
    history = calls().go("F" * 12, 0, gap=4_000).history()
    assert list(outages(circuits(history, RULES)[PRIMARY], 0, us(60_000))) == []


def test_an_outage_begins_after_the_last_success_and_counts_what_is_remembered() -> None:
    history = calls().go("SSSSSSFFFFFFFF", 0).history()
    (found,) = outages(circuits(history, RULES)[PRIMARY], 0, us(60_000))
    assert (found.need, found.opened, found.after) == (6, us(1_110), 2)
