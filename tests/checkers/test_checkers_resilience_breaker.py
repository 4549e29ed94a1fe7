"""The breaker: each clause on a history that keeps it, and on one that breaks it; and what is left open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checker import Outcome
from harness.checkers.breaker import (
    all_circuits_open_is_told_at_once,
    circuit_header_is_true,
    open_circuits_get_no_calls,
    outcomes_count_as_they_should,
)
from harness.checkers.breaker_states import circuits_follow_their_rules
from harness.checkers.circuits import circuits
from tests.checkers.breaker_calls import OPENED, Calls, calls, opened, reopened
from tests.checkers.traffic_histories import NAMES, Story, Traffic, outcome, tell_apart


def healed() -> Calls:
    """Return a circuit that two probes at 1,400 closed at 1,460."""
    return opened("X", 700).go("SS", 1_400, gap=50)


def thrice_reopened(then: str, at: float) -> Calls:
    """Return a circuit at its longest cool-down, which began at 7,410 and would be four seconds without a cap."""
    return opened("X", 700).go("F", 1_400).go("F", 3_700).go("F", 7_400).go(then, at)


@pytest.mark.parametrize("clause", ["opens", "no_calls_while_open"])
def test_open_circuits_get_no_calls(clause: str) -> None:
    tell_apart(open_circuits_get_no_calls, clause, lambda broken: opened("S" if broken else "X", 700))


def test_a_call_that_slips_through_does_not_mean_that_the_circuit_never_opened() -> None:
    traffic = opened("XSX", 500)
    assert outcome(open_circuits_get_no_calls, traffic, "no_calls_while_open") is Outcome.FAIL
    assert outcome(open_circuits_get_no_calls, traffic, "opens") is Outcome.PASS


def probing(then: str) -> Calls:
    """Return two probes at work from 1,400 on, and what came beside them."""
    return opened("X", 700).go("SS", 1_400, gap=50, lasts=400).go(then, 1_500)


def lost_probes(then: str, at: float) -> Calls:
    """Return two probes at 1,400 and 1,450 that do not end before 9,000, and what came at ``at``."""
    return opened("X", 700).go("SS", 1_400, gap=50, lasts=8_000).go(then, at)


def slow(broken: bool) -> Calls:
    traffic = calls(breaker__slow_ms=500, breaker__slow_percent=50)
    traffic.go("SSSS", 0, lasts=600)
    return traffic.go("S" if broken else "X", 1_200)


def all_at_once(then: str) -> Calls:
    """Return more calls at once than there are probes, right after a circuit closed."""
    return healed().go("SSS", 1_600, gap=10, lasts=300).go(then, 1_700)


@pytest.mark.parametrize(
    ("clause", "right", "wrong"),
    [
        ("opens_at_threshold", opened("X", 700), opened("S", 700)),
        ("opens_at_threshold", calls().go("SSFFX", 0), calls().go("SSFFS", 0)),
        ("closed_below_threshold", calls().go("SSSFS", 0), calls().go("SSSFX", 0)),
        ("minimum_of_calls", calls().go("FFFS", 0), calls().go("FFFX", 0)),
        ("sliding_window", calls().go("FFF", 0).go("FS", 10_300), calls().go("FFF", 0).go("FX", 10_300)),
        ("slow_calls", slow(False), slow(True)),
        (
            "counted_at_end",
            calls().go("BBBB", 0, lasts=800).go("X", 1_200),
            calls().go("BBBB", 0, lasts=800).go("S", 1_200),
        ),
        (
            "half_open_after_cooldown",
            opened("X", 700).go("S", OPENED + 1_000),
            opened("X", 700).go("X", OPENED + 1_001),
        ),
        ("half_open_after_cooldown", opened("X", 700).go("S", OPENED + 1_000), opened("X", 700).go("S", OPENED + 999)),
        ("probes_bounded", probing("X"), probing("S")),
        ("closes", all_at_once("S"), all_at_once("X")),
        ("empty_window", healed().go("FS", 1_600), healed().go("FX", 1_600)),
        ("reopens_longer", reopened("X", 2_500), reopened("S", 2_500)),
        ("cooldown_cap", thrice_reopened("S", 10_410), thrice_reopened("X", 10_411)),
        ("permit_taken_back", lost_probes("S", 6_400), lost_probes("X", 6_460)),
    ],
)
def test_circuits_follow_their_rules(clause: str, right: Traffic, wrong: Traffic) -> None:
    tell_apart(circuits_follow_their_rules, clause, lambda broken: wrong if broken else right)


@pytest.mark.parametrize(
    "traffic",
    [
        calls().go("SSFSSFS", 0, gap=100),
        opened("X", 1_309).go("S", 1_310),
        probing("X").go("SSSS", 2_000, gap=1),
        reopened("X", 3_400).go("SS", 3_410),
        thrice_reopened("X", 10_409).go("SS", 10_410),
        lost_probes("X", 6_399).go("S", 6_400),
    ],
)
def test_lawful_trajectories_break_nothing(traffic: Calls) -> None:
    verdict = circuits_follow_their_rules(traffic.history(), traffic.contract)
    assert verdict.outcome is Outcome.PASS, verdict.evidence


def test_what_happens_in_one_instant_may_have_happened_in_any_order() -> None:
    for letter in "SX":  # the call comes in the instant in which the fourth failure ends
        traffic = calls().go("FFFF", 0).go(letter, OPENED)
        assert circuits_follow_their_rules(traffic.history(), traffic.contract).outcome is not Outcome.FAIL


def test_what_began_before_the_circuit_changed_may_count_or_not() -> None:
    for letter in "SX":  # a failure that is as old as the first life of the circuit ends in its second
        traffic = healed().go("F", 50, lasts=1_700).go("FFF", 1_600).go(letter, 1_950)
        assert circuits_follow_their_rules(traffic.history(), traffic.contract).outcome is not Outcome.FAIL


def test_without_exact_times_nothing_is_said() -> None:
    for traffic in (replace(opened("S", 700), mode="local"), replace(opened("S", 700), options={"latency_ms": 5})):
        verdict = circuits_follow_their_rules(traffic.history(), traffic.contract)
        assert Outcome.FAIL not in {result.outcome for result in verdict.clauses.values()}
        assert circuits(traffic.history(), traffic.contract)["gpt-5-5", "primary"].lost == 0


def headed(state: str, traffic: Traffic) -> Traffic:
    """Return the history with its last call told ``state``."""
    last = traffic.calls[-1]
    traffic.calls[-1] = replace(last, headers={**last.headers, NAMES.circuit: state})
    return traffic


def tripping_meanwhile(state: str) -> Traffic:
    """Return a call whose circuit opened between its admission and its answer."""
    traffic = calls().go("S", 0, lasts=900).go("FFFF", 100)
    traffic.calls[0] = replace(traffic.calls[0], headers={**traffic.calls[0].headers, NAMES.circuit: state})
    return traffic


@pytest.mark.parametrize(
    ("clause", "right", "wrong"),
    [
        ("closed", headed("closed", calls().go("FFF", 0)), headed("open", calls().go("FFF", 0))),
        ("open", headed("open", opened("X", 700)), headed("closed", opened("X", 700))),
        ("half_open", headed("half_open", opened("S", 1_400)), headed("open", opened("S", 1_400))),
        ("first_target", headed("open", opened("X", 700)), headed("closed", opened("X", 700))),
        ("at_admission", tripping_meanwhile("closed"), tripping_meanwhile("open")),
    ],
)
def test_circuit_header_is_true(clause: str, right: Traffic, wrong: Traffic) -> None:
    tell_apart(circuit_header_is_true, clause, lambda broken: wrong if broken else right)


@pytest.mark.parametrize(
    ("clause", "right", "wrong"),
    [
        ("client_faults", calls().go("CCCCS", 0), calls().go("CCCCX", 0)),
        ("disconnects", calls().go("GGGGS", 0), calls().go("GGGGX", 0)),
        ("target_faults", calls().go("TTTTX", 0), calls().go("TTTTS", 0)),
    ],
)
def test_outcomes_count_as_they_should(clause: str, right: Traffic, wrong: Traffic) -> None:
    tell_apart(outcomes_count_as_they_should, clause, lambda broken: wrong if broken else right)


def every_path_open(**answer: Any) -> Traffic:
    """Return a call that found all three paths open, and what it was answered."""
    traffic = calls()
    for n in range(4):
        traffic.failed(f"c{n}", n * 100, n * 100 + 40, 502, "api_error")
        for place, role in enumerate(("primary", "second", "third")):
            traffic.attempt(f"c{n}", n * 100 + place * 10, n * 100 + place * 10 + 5, role, status=503)
    told = {"status": 503, "type_": "overloaded_error", "headers": {NAMES.retry_after: "1"}, "late": 0.0, **answer}
    traffic.failed("last", 700, 700 + told["late"], told["status"], told["type_"], headers=told["headers"])
    return traffic


@pytest.mark.parametrize(
    ("clause", "wrong"),
    [
        ("all_open", every_path_open(status=502, type_="api_error")),
        ("all_open", every_path_open(type_="api_error")),
        ("all_open", every_path_open(late=2_000)),
        ("retry_after", every_path_open(headers={})),
        ("retry_after", every_path_open(headers={NAMES.retry_after: "0"})),
    ],
)
def test_all_circuits_open_is_told_at_once(clause: str, wrong: Traffic) -> None:
    story: Story = lambda broken: wrong if broken else every_path_open()  # noqa: E731 - one line says it
    tell_apart(all_circuits_open_is_told_at_once, clause, story)
