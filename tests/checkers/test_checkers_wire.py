"""Every clause of every checker of the wire: seen to hold, seen to be broken, and judged on what bears on it alone."""

from __future__ import annotations

import pytest

from harness.checker import CHECKERS, Checker
from tests.checkers import (
    test_checkers_wire_auth,
    test_checkers_wire_chat,
    test_checkers_wire_errors,
    test_checkers_wire_images,
    test_checkers_wire_messages,
    test_checkers_wire_responses,
    test_checkers_wire_streams,
)
from tests.checkers.wire_histories import Case, Judgements, Wire
from tests.checkers.wire_steps import FAIL, PASS, Step

AREAS = (
    test_checkers_wire_auth,
    test_checkers_wire_chat,
    test_checkers_wire_errors,
    test_checkers_wire_images,
    test_checkers_wire_messages,
    test_checkers_wire_responses,
    test_checkers_wire_streams,
)
CASES = [case for area in AREAS for case in area.CASES]
JUDGED: Judgements = [judged for area in AREAS for judged in area.JUDGED]
MODULES = (
    *("auth", "chat", "cli_only", "errors", "hosts", "image_answers"),
    *("messages", "models", "passage", "responses", "streams"),
)
CHECKS = [
    check for check in CHECKERS.values() if check.judge.__module__ in {f"harness.checkers.{name}" for name in MODULES}
]


def test_every_module_has_a_checker() -> None:
    assert {check.judge.__module__.rpartition(".")[2] for check in CHECKS} == set(MODULES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_kept_clause_passes_and_a_broken_one_fails(case: Case) -> None:
    good, bad = Wire(), Wire()
    case.good(good)
    case.bad(bad)
    assert good.outcome(case.check, case.clause) is PASS
    assert bad.outcome(case.check, case.clause) is FAIL


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.name))
def test_every_clause_of_a_checker_is_tried(check: Checker) -> None:
    assert {case.clause for case in CASES if case.check is check} == set(check.clauses)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.name))
def test_an_empty_history_has_no_case_of_anything(check: Checker) -> None:
    assert check(Wire().history(), Wire().contract).clauses == {}


@pytest.mark.parametrize(("check", "run", "judged"), JUDGED)
def test_a_run_is_judged_by_what_it_bears_on_alone(check: Checker, run: Step, judged: set[str]) -> None:
    wire = Wire()
    run(wire)
    assert set(check(wire.history(), wire.contract).clauses) == judged
