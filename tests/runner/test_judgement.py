"""What becomes of checkers' verdicts: doubts, claims, coverage, and the exit code."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.checker import Checker, Outcome, Verdict, worst
from harness.checkers.load_memory import Memory
from harness.cli.text import print_verdict
from harness.contract import load_contract, load_requirements
from harness.history import FaultSpan, History, Note
from harness.runner import build_verdict, judge
from harness.runner.judge import merge
from harness.runner.record import exit_code
from reports.junit import junit
from reports.record import Record
from tests.checkers.money_histories import Book

CONTRACT = load_contract()
REQUIREMENT = "BILL-05"
CLAUSES = ("one_charge", "failed_attempts_unbilled")


def check(*cases: tuple[str, bool | None]) -> Checker:
    def judgement(history: History, contract: Any, verdict: Verdict) -> None:
        for clause, ok in cases:
            verdict.case(clause, ok, call="c1", expected="right", actual="wrong")

    return Checker("a_check", REQUIREMENT, CLAUSES, "The promise.", judgement)


def history(**plan: Any) -> History:
    made = Book().history()
    return replace(made, plan=replace(made.plan, **plan))


def planned(fault: str, *, must_fire: bool = True) -> dict[str, Any]:
    return {"id": fault, "role": "primary", "must_fire": must_fire, "fault": {"name": "respond", "params": {}}}


@pytest.mark.parametrize(
    ("cases", "outcome"),
    [
        ((("one_charge", True),), "pass"),
        ((("one_charge", True), ("one_charge", False)), "fail"),
        ((("one_charge", True), ("failed_attempts_unbilled", None)), "inconclusive"),
        ((("one_charge", True), ("one_charge", None)), "pass"),
        ((), "inconclusive"),
    ],
)
def test_a_scenario_is_as_good_as_its_worst_clause(cases: Any, outcome: str) -> None:
    assert judge(history(), CONTRACT, [check(*cases)])["outcome"] == outcome


@pytest.mark.parametrize(
    ("injections", "fired", "outcome"),
    [
        ([planned("i1")], (), "inconclusive"),
        ([planned("i1")], ("i1",), "pass"),
        ([planned("i1"), planned("i2")], ("i1",), "inconclusive"),
        ([planned("i1", must_fire=False)], (), "pass"),
    ],
)
def test_a_planned_fault_that_never_fired_proves_nothing(injections: Any, fired: tuple[str, ...], outcome: str) -> None:
    made = replace(
        history(injections=tuple(injections)),
        faults=tuple(FaultSpan(name, "respond", "primary", "t1", "c1", 0) for name in fired),
    )
    assert judge(made, CONTRACT, [check(("one_charge", True))])["outcome"] == outcome


KEY, STORE = "KeyError at pipeline.py:9", "StoreError at ledger.py:8"


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, {KEY: 2, STORE: 3}),
        ({"crashes": [{"at_ms": 1}]}, {KEY: 2, STORE: 3}),
        ({"store_failures": [{"at_ms": 1}]}, {KEY: 2, STORE: 2}),
        ({"store_failures": [{"at_ms": 1, "appends": 2}, {"at_ms": 2}]}, {KEY: 2}),
        ({"full_disks": [{"at_ms": 1}]}, {KEY: 2}),
    ],
)
def test_a_crash_inside_the_gateway_is_told_unless_what_was_planned_explains_it(
    options: Any, left: dict[str, int]
) -> None:
    notes = tuple(Note("gateway_crash", 7, {"error": error, "count": n}) for error, n in ((KEY, 2), (STORE, 3)))
    record = judge(replace(history(options=options), notes=notes), CONTRACT, [check(("one_charge", True))])
    assert {crash["error"]: crash["count"] for crash in record["crashes"]} == left
    assert record["outcome"] == "pass"


@pytest.mark.parametrize(
    ("kind", "count", "left"),
    [
        ("KeyError", 2, {KEY: 2}),
        ("KeyError", 3, {KEY: 2, "KeyError out of the application": 1}),
        ("ValueError", 1, {KEY: 2, "ValueError out of the application": 1}),
    ],
)
def test_what_was_logged_on_its_way_out_is_counted_once(kind: str, count: int, left: dict[str, int]) -> None:
    out = {"type": kind, "message": "m", "request": "POST /v1", "count": count}
    notes = (Note("gateway_crash", 7, {"error": KEY, "count": 2}), Note("target_raised", 8, out))
    record = judge(replace(history(), notes=notes), CONTRACT, [check(("one_charge", True))])
    assert {crash["error"]: crash["count"] for crash in record["crashes"]} == left


def test_a_failure_stands_though_a_fault_never_fired() -> None:
    made = history(injections=(planned("i1"),))
    assert judge(made, CONTRACT, [check(("one_charge", False))])["outcome"] == "fail"


def test_a_clause_that_is_not_claimed_is_unsupported_whatever_was_seen() -> None:
    made = history(claims=("BILL-05.one_charge",))
    record = judge(made, CONTRACT, [check(("one_charge", True), ("failed_attempts_unbilled", False))])
    assert record["outcome"] == "pass"
    assert record["checks"][0]["clauses"]["failed_attempts_unbilled"]["outcome"] == "unsupported"
    assert record["checks"][0]["evidence"] == []


def test_a_crashed_checker_is_an_error_and_never_a_pass() -> None:
    def crash(history: History, contract: Any, verdict: Verdict) -> None:
        raise ZeroDivisionError

    record = judge(history(), CONTRACT, [Checker("crash", REQUIREMENT, CLAUSES, "", crash)])
    assert record["errors"][0]["checker"] == "crash"
    assert "ZeroDivisionError" in record["errors"][0]["traceback"]
    assert record["outcome"] != "pass"


def test_a_checker_may_not_judge_what_it_did_not_declare() -> None:
    undeclared = replace(check(("failed_attempts_unbilled", True)), clauses=("one_charge",))
    assert judge(history(), CONTRACT, [undeclared])["errors"]


@pytest.mark.parametrize(
    ("outcomes", "merged"),
    [
        (("pass", "pass"), "pass"),
        (("pass", "fail"), "fail"),
        (("inconclusive", "pass"), "pass"),
        (("inconclusive", "unsupported"), "inconclusive"),
        (("unsupported",), "unsupported"),
        (("fail", "inconclusive"), "fail"),
    ],
)
def test_results_of_one_clause_merge(outcomes: tuple[str, ...], merged: str) -> None:
    parts = [{"outcome": outcome, "passed": 1, "failed": 2, "inconclusive": 3} for outcome in outcomes]
    made = merge(parts)
    assert made["outcome"] == merged
    assert (made["passed"], made["failed"]) == (len(parts), 2 * len(parts))


def record(outcome: str = "pass", **changes: Any) -> dict[str, Any]:
    base = {
        "scenario": "s.one",
        "seed": 3,
        "part": "core",
        "promise": "",
        "doubts": [],
        "errors": [],
        "error": None,
        "could_judge": [f"{REQUIREMENT}.{clause}" for clause in CLAUSES],
    }
    return {**base, "checks": [], **judge(history(), CONTRACT, [check(("one_charge", outcome == "pass"))]), **changes}


def verdict(
    records: list[dict[str, Any]], expected: frozenset[str] = frozenset(), claims: tuple[str, ...] = ("*",)
) -> Any:
    run = {"target": "reference", "mode": "sim", "mutant": "m"}
    return build_verdict(run, records, load_requirements(), claims, expected=expected)


def test_a_claimed_clause_that_nothing_judged_is_inconclusive_when_the_whole_was_asked() -> None:
    whole = verdict([record()], frozenset({REQUIREMENT}))["requirements"][REQUIREMENT]
    assert whole["verdict"] == "inconclusive"
    assert whole["clauses"]["failed_attempts_unbilled"]["why"] == "no case of it was seen"
    part = verdict([record()])["requirements"][REQUIREMENT]
    assert part["verdict"] == "pass"
    assert part["clauses"]["failed_attempts_unbilled"]["outcome"] == "not_asked"


def test_an_unclaimed_clause_does_not_count_as_uncovered() -> None:
    made = verdict([record()], frozenset({REQUIREMENT}), ("*", "!BILL-05.failed_attempts_unbilled"))
    assert made["requirements"][REQUIREMENT]["verdict"] == "pass"
    assert made["requirements"][REQUIREMENT]["unsupported"] == ["failed_attempts_unbilled"]


def test_a_clause_that_only_an_impossible_scenario_could_judge_is_unsupported_with_the_reason() -> None:
    impossible = {**record(), "outcome": "unsupported", "checks": [], "doubts": ["sockets cannot"]}
    made = verdict([record(), impossible], frozenset({REQUIREMENT}))["requirements"][REQUIREMENT]
    assert made["verdict"] == "pass"
    assert made["clauses"]["failed_attempts_unbilled"]["why"] == "sockets cannot"


@pytest.mark.parametrize(
    ("outcome", "promised", "code", "told"),
    [("fail", True, 1, 1), ("inconclusive", True, 2, 1), ("pass", True, 0, 0), ("fail", False, 0, 0)],
)
def test_a_load_is_judged_by_the_memory_that_it_promises(
    outcome: str, promised: bool, code: int, told: int, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = [{**asdict(Memory("gateway", outcome, 60.0, 99.0, why="grew by 40 MB")), "promised": promised}]
    made = verdict([{**record(), "memory": memory, "outcome": outcome if promised else "pass"}])
    assert made["exit"] == code
    assert made["why"].count("s.one: memory of the gateway: grew by 40 MB") == told
    print_verdict(made, None)
    assert capsys.readouterr().out.count("seed 3: memory of the gateway: grew by 40 MB") == told
    cases = ElementTree.fromstring(junit(Record(Path(), made, {}))).iter("testcase")
    found = [[child.tag for child in case] for case in cases if case.get("name") == "memory of the gateway"]
    assert found == ([[{"fail": "failure", "inconclusive": "error"}[outcome]]] if told else [[]] * promised)


def test_evidence_carries_the_command_that_replays_it() -> None:
    made = verdict([record("fail")])["requirements"][REQUIREMENT]
    assert made["replay"] == "harness run s.one --mode sim --seed 3 --mutant m"
    assert (made["evidence"][0]["expected"], made["evidence"][0]["actual"]) == ("right", "wrong")


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ([record()], 0),
        ([record("fail")], 1),
        ([record(), {**record(), "outcome": "inconclusive"}], 2),
        ([{**record(), "outcome": "unsupported", "checks": []}], 2),
        ([record(error={"kind": "target", "message": "gone"})], 69),
        (
            [record(error={"kind": "target", "message": "gone"}), record(error={"kind": "harness", "message": "bug"})],
            70,
        ),
    ],
)
def test_exit_codes(records: list[dict[str, Any]], code: int) -> None:
    assert verdict(records)["exit"] == code


def test_an_interrupted_run_exits_130_whatever_it_found() -> None:
    assert exit_code("fail", [], interrupted=True) == 130


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((), Outcome.UNSUPPORTED),
        ((Outcome.PASS, Outcome.UNSUPPORTED), Outcome.PASS),
        ((Outcome.PASS, Outcome.INCONCLUSIVE), Outcome.INCONCLUSIVE),
        ((Outcome.INCONCLUSIVE, Outcome.FAIL), Outcome.FAIL),
    ],
)
def test_the_worst_outcome_counts(outcomes: tuple[Outcome, ...], expected: Outcome) -> None:
    assert worst(outcomes) is expected


def test_a_clause_that_one_run_could_not_tell_and_another_did_is_named_with_that_run() -> None:
    unsure = {**record(), **judge(history(), CONTRACT, [check(("one_charge", None))]), "scenario": "s.unsure"}
    made = verdict([record(), unsure])
    assert made["verdict"] == "inconclusive"
    assert made["why"] == ["s.unsure: BILL-05.one_charge could not be told"]
