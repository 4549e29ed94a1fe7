"""Which runs a power campaign asks for, and what it makes of their results; nothing is simulated here."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from typing import Any

import pytest

from harness.contract import load_requirements
from harness.runner.power import Campaign, Lie, OverdueError, Subject, _limited, condensed
from harness.runner.power_record import build_power, clean_seed, together

OWN, OTHER = "BILL-05", "GOV-02"
LIE = Lie("a_mutant", OWN, "Lies.")
KNOWN = [
    Subject("cheap.other", "core", frozenset({OTHER}), 1),
    Subject("cheap.own", "core", frozenset({OWN, OTHER}), 2),
    Subject("dear.own", "core", frozenset({OWN}), 50),
    Subject("dear.other", "core", frozenset({OTHER}), 90),
    Subject("ceilings.own", "ceilings", frozenset({OWN}), 9000),
    Subject("ceilings.other", "ceilings", frozenset({OTHER}), 9000),
]
CORE = [subject.name for subject in KNOWN if subject.part == "core"]


def result(scenario: str, *broken: str, error: str = "", doubts: tuple[str, ...] = ()) -> dict[str, Any]:
    evidence = {"clause": "a", "expected": "1", "actual": "2", "call": "c1", "attempts": [], "at_us": None}
    return {
        "scenario": scenario,
        "seed": 0,
        "part": next(subject.part for subject in KNOWN if subject.name == scenario),
        "outcome": "error" if error else "fail" if broken else "pass",
        "digest": "d",
        "doubts": list(doubts),
        "error": {"kind": error, "message": f"{error} trouble"} if error else None,
        "broken": [
            {"requirement": r, "checker": f"checks_{r}", "promise": "", "clauses": ["a"], "evidence": evidence}
            for r in broken
        ],
        "cpu_s": 0.1,
    }


def campaign(
    outcomes: Mapping[str, dict[str, Any]] = {}, *, full: bool = False, control: tuple[str, ...] = ()
) -> Campaign:
    """Return a campaign of one mutant run to its end, its results given by scenario (else nothing broke)."""
    made = Campaign([LIE], KNOWN, {}, seed=0, full=full, control=control)
    while (job := made.take()) is not None:
        made.ended(job, (outcomes.get(job.scenario) if job.mutant else None) or result(job.scenario))
    return made


def asked(made: Campaign) -> list[str]:
    return [one["scenario"] for one in made.rows[LIE.name].asked]


def record(made: Campaign, *, control: dict[str, Any] | None = None, **run: Any) -> dict[str, Any]:
    told = {"seed": 0, "whole": False, "core": 4, "claimed": ["BILL-*", "GOV-*"], "mutants": {LIE.name: OWN}, **run}
    ran = made.control if control is None else control
    return build_power(told, made.rows.values(), ran, [], load_requirements())


def row(made: Campaign, **options: Any) -> Any:
    return record(made, **options)["mutants"][LIE.name]


# What is asked


def test_the_own_requirements_scenarios_come_cheapest_first_and_ceilings_last() -> None:
    assert asked(campaign()) == ["cheap.own", "dear.own", "ceilings.own"]


def test_scenarios_that_ask_it_of_their_recovery_come_after_those_made_for_it() -> None:
    known = [Subject("cheapest", "core", frozenset({OTHER}), 1, frozenset({OWN})), *KNOWN]
    made = Campaign([LIE], known, {}, seed=0, full=False, control=())
    assert [subject.name for subject in made.rows[LIE.name].left] == [
        "cheap.own",
        "dear.own",
        "cheapest",
        "ceilings.own",
    ]


def test_a_mutant_is_left_alone_at_its_kill() -> None:
    made = campaign({"cheap.own": result("cheap.own", OWN)})
    assert asked(made) == ["cheap.own"]
    assert row(made)["not_asked"] == ["dear.own", "ceilings.own"]


def test_another_requirements_alarm_does_not_end_the_search() -> None:
    made = campaign({"cheap.own": result("cheap.own", OTHER), "dear.own": result("dear.own", OWN)})
    assert asked(made) == ["cheap.own", "dear.own"]
    assert row(made)["status"] == "killed"
    assert [trip["own"] for trip in row(made)["tripped"]] == [True, False]


def test_full_asks_the_whole_core_and_the_ceilings_only_of_what_is_not_caught() -> None:
    caught = campaign({"cheap.own": result("cheap.own", OWN)}, full=True)
    assert sorted(asked(caught)) == sorted(CORE)
    assert row(caught)["evidence"]["scenario"] == "cheap.own"
    assert asked(campaign(full=True))[-1] == "ceilings.own"


def test_one_run_of_a_mutant_is_under_way_at_a_time() -> None:
    made = Campaign([LIE, Lie("another", OTHER, "Lies.")], KNOWN, {}, seed=0, full=False, control=())
    first, second = made.take(), made.take()
    assert first is not None
    assert second is not None
    assert {first.mutant, second.mutant} == {"a_mutant", "another"}
    assert made.take() is None
    made.ended(first, result(first.scenario))
    third = made.take()
    assert third is not None
    assert third.mutant == first.mutant


def test_the_right_gateway_is_asked_first_and_wherever_something_broke() -> None:
    made = campaign({"ceilings.own": result("ceilings.own", OWN)}, control=("cheap.own",))
    assert sorted(made.control) == ["ceilings.own", "cheap.own"]


# What becomes of it


def test_what_no_checker_sees_survives() -> None:
    made = record(campaign({"dear.own": result("dear.own", doubts=("fault f1 never fired",))}))
    assert made["mutants"][LIE.name]["status"] == "survived"
    assert "f1 never fired" in made["mutants"][LIE.name]["why"]
    assert (made["verdict"], made["exit"]) == ("fail", 1)
    assert made["requirements"][OWN]["power"] == 0


def test_what_unrelated_checkers_alone_see_is_not_caught() -> None:
    made = record(campaign({"cheap.own": result("cheap.own", OTHER)}))
    assert made["mutants"][LIE.name]["status"] == "elsewhere"
    assert OTHER in made["mutants"][LIE.name]["why"]
    assert made["mutants"][LIE.name]["evidence"]["requirement"] == OTHER
    assert made["exit"] == 1


@pytest.mark.parametrize("kind", ["creation", "gateway", "checker", "run"])
def test_a_mutant_that_crashed_is_no_kill_whatever_broke_with_it(kind: str) -> None:
    crashed = {"cheap.own": result("cheap.own", OWN, error=kind)}
    made = record(campaign(crashed))
    assert made["mutants"][LIE.name]["status"] == "errored"
    assert made["counts"]["killed"] == 0
    assert (made["verdict"], made["exit"]) == ("error", 70)
    full = row(campaign({**crashed, "dear.other": result("dear.other", OTHER)}, full=True))
    assert full["status"] == "errored"
    assert [trip["requirement"] for trip in full["tripped"]] == [OWN, OTHER]


def test_what_the_right_gateway_breaks_too_is_no_proof() -> None:
    made = campaign({"cheap.own": result("cheap.own", OWN)})
    control = {"cheap.own": result("cheap.own", OWN)}
    assert row(made, control=control)["status"] != "killed"
    told = record(made, control=control)
    assert told["false_alarms"]["alarms"] == 1
    assert told["exit"] == 1


def test_a_requirement_that_no_scenario_judges_is_said_so() -> None:
    made = Campaign([Lie("unseen", "INS-01", "Lies.")], KNOWN, {}, seed=0, full=False, control=())
    assert made.take() is None
    told = record(made, mutants={"unseen": "INS-01"})["mutants"]["unseen"]
    assert (told["status"], told["why"]) == ("survived", "no scenario judges INS-01")


def test_a_claimed_requirement_without_a_mutant_fails_the_whole_and_one_mutant_is_few() -> None:
    caught = campaign({"cheap.own": result("cheap.own", OWN)})
    assert record(caught)["exit"] == 0
    whole = record(caught, whole=True, claimed=["BILL-05", "BILL-06.own_entries"])
    assert whole["requirements"]["BILL-06"]["state"] == "no_mutant"
    assert whole["requirements"][OWN]["few"]
    assert whole["exit"] == 1
    assert record(caught, whole=True, claimed=["BILL-05"])["exit"] == 0
    assert record(caught, whole=True, claimed=["BILL-05", "BILL-06"], shard="1/2")["exit"] == 0


def test_an_interrupted_campaign_says_what_was_not_asked() -> None:
    made = Campaign([LIE], KNOWN, {}, seed=0, full=False, control=())
    told = record(made, interrupted=True)
    assert told["mutants"][LIE.name]["status"] == "not_asked"
    assert told["requirements"][OWN]["power"] is None
    assert (told["verdict"], told["exit"]) == ("interrupted", 130)


def test_clean_seeds_count_once_and_anything_but_a_pass_is_an_alarm() -> None:
    runs = [result(name) for name in CORE]
    doubtful = [*runs[:-1], {**runs[-1], "outcome": "inconclusive"}]
    seeds = together([clean_seed(1, runs, "a"), clean_seed(2, doubtful, "a"), clean_seed(1, runs[:2], "b")])
    made = build_power(
        {"seed": 0, "whole": False, "core": 4, "claimed": [], "mutants": {}}, [], {}, seeds, load_requirements()
    )["false_alarms"]
    assert (made["runs"], made["seeds"]) == (8, 2)
    assert (made["alarms"], made["seeds_alarmed"]) == (1, 1)
    assert made["run_bound"] == pytest.approx(0.4707, abs=1e-4)


# What a run is cut down to


def test_the_first_broken_case_of_a_check_is_its_evidence() -> None:
    piece = {"clause": "a", "expected": "1", "actual": "2", "call": "c1", "attempts": [], "at_us": 5}
    check = {
        "requirement": OWN,
        "checker": "checks",
        "promise": "Keeps.",
        "outcome": "fail",
        "clauses": {"a": {"outcome": "fail"}, "b": {"outcome": "pass"}},
        "evidence": [{**piece, "outcome": "inconclusive", "call": "c0"}, {**piece, "outcome": "fail"}],
    }
    told = {"scenario": "s", "seed": 0, "part": "core", "outcome": "fail", "doubts": [], "cpu_s": 0, "error": None}
    made = condensed({**told, "checks": [check, {**check, "outcome": "pass"}]})
    assert [hit["clauses"] for hit in made["broken"]] == [["a"]]
    assert made["broken"][0]["evidence"] == piece
    assert made["error"] is None
    crashed = condensed({**told, "checks": [], "crashes": [{"error": "KeyError at pipeline.py:9", "count": 3}]})
    assert crashed["error"] == {"kind": "gateway", "message": "the gateway crashed: KeyError at pipeline.py:9, 3 times"}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timer")
def test_a_run_that_never_ends_is_given_up() -> None:
    def spin() -> None:
        with _limited(1):
            while time.process_time() < deadline:
                pass

    deadline = time.process_time() + 20
    with pytest.raises(OverdueError):
        spin()
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0
