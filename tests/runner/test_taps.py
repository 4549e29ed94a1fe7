"""What a run has no tap for is unsupported: neither told wrongly, nor inconclusive, nor passed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import cache

import pytest

from harness.checker import CHECKERS
from harness.cli.suite import load
from harness.contract import Contract, load_requirements
from harness.environment.sim import run_in_sim
from harness.history import History, Recorder
from harness.runner import build_verdict, judge
from harness.scenario import SCENARIOS
from harness.targets.reference import Reference


@cache
def recorded(name: str) -> tuple[History, Contract]:
    target = Reference()
    made = SCENARIOS[name](target.contract(), 0)
    contract = target.contract([made.world.overlay] if made.world.overlay else [])
    with closing(Recorder()) as recorder:
        run_in_sim(made, target, contract, seed=0, recorder=recorder)
        return recorder.history(), contract


def names() -> list[str]:
    load()
    first: dict[str, str] = {}
    for name, made in SCENARIOS.items():
        if made.part == "core":
            first.setdefault(name.partition(".")[0], name)
    return [name for file, name in first.items() if file in ("billing", "insurance", "auth", "crashes", "cli_only")]


def without(history: History, tap: str) -> History:
    taps = tuple(one for one in history.plan.taps if one != tap)
    bare = {"books": {"ledger": (), "usage": ()}, "journal": {"attempts": (), "faults": ()}}[tap]
    return replace(history, plan=replace(history.plan, taps=taps), **bare)


@pytest.mark.parametrize("name", names())
def test_what_only_the_books_tell_is_declared_and_without_them_nothing_is_told_wrongly(name: str) -> None:
    history, contract = recorded(name)
    bare = without(history, "books")
    told = 0
    for check in (CHECKERS[one] for one in history.plan.options["checks"]):
        whole, seen = check(history, contract).clauses, check(bare, contract).clauses
        assert {clause for clause, result in seen.items() if result.failed} == set(), check.name
        lost = whole.keys() - seen.keys()
        assert lost <= check.books, check.name
        assert check.untapped(bare, seen).keys() >= lost
        assert check.untapped(history, ()) == {}
        told += len(lost)
    assert told or name.startswith(("auth", "cli_only"))


@pytest.mark.parametrize(
    ("tap", "name", "why"),
    [
        ("books", "calls_hold_their_estimate", "this run has no books"),
        ("journal", "charge_matches_usage", "this run has no journal"),
    ],
)
def test_a_check_without_its_tap_is_unsupported_and_says_why(tap: str, name: str, why: str) -> None:
    load()
    history, contract = recorded("billing.cost_is_rounded_up_once")
    check = CHECKERS[name]
    record = judge(without(history, tap), contract, [check])
    (told,) = (one for one in record["checks"] if one["checker"] == check.name)
    assert told["outcome"] == "unsupported"
    assert set(told["untapped"]) == set(check.clauses)
    scenario = {"scenario": "s", "seed": 0, "error": None, **record}
    verdict = build_verdict({}, [scenario], load_requirements(), ["*"], expected=frozenset({check.requirement}))
    clauses = verdict["requirements"][check.requirement]["clauses"]
    assert {clauses[one]["outcome"] for one in check.clauses} == {"unsupported"}
    assert all(why in clauses[one]["why"] for one in check.clauses)


def test_with_its_tap_a_check_that_met_no_case_stays_inconclusive() -> None:
    load()
    history, contract = recorded("billing.cost_is_rounded_up_once")
    empty = replace(history, calls=(), attempts=(), ledger=(), usage=())
    (told, *_) = judge(empty, contract, [CHECKERS["calls_hold_their_estimate"]])["checks"]
    assert (told["outcome"], told["untapped"]) == ("inconclusive", {})
