"""From raw values to a record: pairs, noise, goals and the verdict, on values made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.bench.estimates import Estimate
from harness.bench.goals import GOALS, Goal
from harness.bench.machine import Usage
from harness.bench.measure import Loop, Raw
from harness.bench.plan import CONTROL, DIRECT, Order
from harness.bench.record import build_record
from harness.bench.run import Measured
from harness.bench.subjects import Subject

ORDER = Order(targets=("reference", "stub"), pairs=8, blocks=4, seconds=1.0, seed=7)
QUIET = Usage(0.02, 0.0)


def subject(name: str, *, answers: bool = False) -> Subject:
    return Subject(name, "127.0.0.1", 1, "/", {}, "m", (1,), f"it is {name}", answers)


SUBJECTS = (subject(DIRECT, answers=True), subject("reference"), subject("stub", answers=True))


def loops(cpu_us: float, rate: float = 100.0) -> list[Loop]:
    return [Loop(int(rate), 1.0, cpu_us * rate / 1e6 * wobble) for wobble in (0.99, 1.0, 1.01, 1.0)]


def raw(**given: Any) -> Raw:
    """Return what a quiet machine gives: 300 us are added, and the reference needs 1.5 times the stub's CPU."""
    mock = [1000.0, 1010.0, 5000.0, 1000.0, 990.0, 1000.0, 1000.0, 1020.0]
    made = Raw(
        latency={DIRECT: mock, CONTROL: [one + 2 for one in mock], "reference": [one + 300 for one in mock]},
        calls={("reference", 64): loops(300), ("stub", 64): loops(200), (DIRECT, 64): loops(50)},
        usage={"latency": QUIET, "calls": QUIET},
    )
    return replace(made, **given)


def record(measured: Raw) -> dict[str, Any]:
    return build_record(ORDER, Measured(SUBJECTS, (), measured), {"command": "harness bench"})


def figures(made: dict[str, Any], name: str) -> dict[str, Any]:
    return {figure["figure"]: figure for figure in made["subjects"][name]["figures"]}


def test_what_is_added_is_the_paired_difference_whatever_the_rounds_have_in_common() -> None:
    found = figures(record(raw()), "reference")["added latency"]
    assert (found["value"], found["low"], found["high"]) == (300.0, 300.0, 300.0)


def test_cpu_of_a_call_is_the_trees_cpu_over_the_calls_answered() -> None:
    found = figures(record(raw()), "stub")["CPU of a call, 64 connections"]
    assert found["value"] == 200.0
    assert found["low"] < 200 < found["high"]


def test_every_figure_has_the_command_that_measures_it_again() -> None:
    found = figures(record(raw()), "reference")
    wanted = "harness bench --target reference --measure latency --pairs 8 --blocks 4 --seed 7"
    assert found["added latency"]["command"] == wanted
    assert "--measure calls --seconds 1" in found["calls a second, 64 connections"]["command"]


def test_a_quiet_machine_and_a_held_bound_pass() -> None:
    made = record(raw())
    assert (made["verdict"], made["exit"], made["doubts"]) == ("pass", 0, [])
    assert [(goal["of"], goal["outcome"]) for goal in made["goals"]] == [("reference", "pass")]
    assert made["goals"][0]["ratio"]["value"] == 1.5


def test_a_broken_bound_fails() -> None:
    made = record(raw(calls={("reference", 64): loops(500), ("stub", 64): loops(200)}))
    assert (made["verdict"], made["exit"]) == ("fail", 1)


@pytest.mark.parametrize(
    "reference",
    [[], [Loop(100, 1.0, None)] * 4, loops(300)[:3], [Loop(0, 1.0, 0.1)] * 4, [Loop(100, 1.0, 0.0)] * 4],
    ids=["none", "CPU untold", "a block too few", "no call", "less than a tick"],
)
def test_a_bound_that_was_asked_and_not_measured_is_no_pass(reference: list[Loop]) -> None:
    made = record(raw(calls={("reference", 64): reference, ("stub", 64): loops(200)}))
    assert (made["verdict"], made["exit"]) == ("inconclusive", 2)
    assert [(goal["ratio"], goal["outcome"]) for goal in made["goals"]] == [(None, "inconclusive")]


@pytest.mark.parametrize("order", [replace(ORDER, targets=("reference",)), replace(ORDER, measures=("latency",))])
def test_a_bound_that_was_not_asked_is_not_told(order: Order) -> None:
    made = build_record(order, Measured(SUBJECTS, (), raw(calls={})), {})
    assert (made["verdict"], made["goals"]) == ("pass", [])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"usage": {"calls": Usage(0.4, 0.0)}}, "others used 0.40 cores while calls"),
        ({"usage": {"calls": Usage(0.0, 0.05)}}, "5.0% of its time was stolen"),
        ({"failed": {"stub": (3, "status 503: no")}}, "3 calls to stub were not answered whole"),
    ],
)
def test_a_machine_or_a_target_that_is_not_sound_is_not_judged(given: dict[str, Any], why: str) -> None:
    made = record(raw(**given))
    assert (made["verdict"], made["exit"]) == ("inconclusive", 2)
    assert any(why in doubt for doubt in made["doubts"])


def test_two_calls_of_the_same_thing_that_differ_are_noise() -> None:
    measured = raw()
    measured.latency[CONTROL] = [one + 900 for one in measured.latency[DIRECT]]
    made = record(measured)
    assert made["exit"] == 2
    assert "the machine is noisy" in made["doubts"][0]


def test_no_cpu_is_told_of_who_runs_elsewhere() -> None:
    unknown = [Loop(100, 1.0, None)] * 4
    found = figures(record(raw(calls={("reference", 64): unknown})), "reference")
    assert "CPU of a call, 64 connections" not in found
    assert found["calls a second, 64 connections"]["value"] == 100.0


@pytest.mark.parametrize(
    ("low", "high", "most", "least"),
    [
        (0.5, 0.8, "pass", "fail"),
        (1.2, 1.4, "fail", "pass"),
        (0.9, 1.1, "inconclusive", "inconclusive"),
    ],
)
def test_a_goal_is_told_by_its_whole_interval(low: float, high: float, most: str, least: str) -> None:
    found = Estimate((low + high) / 2, low, high, 5)
    assert Goal("", "", "", "cpu", most=1).judge(found) == most
    assert Goal("", "", "", "cpu", least=1).judge(found) == least


def test_every_goal_has_exactly_one_bound() -> None:
    assert all((goal.most is None) != (goal.least is None) for goal in GOALS)
