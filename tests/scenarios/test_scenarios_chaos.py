"""Chaos and retries on the reference gateway: no false alarm, and gateways that are wrong in these ways are seen."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

import scenarios
from harness.checkers.turns import turns
from harness.cli.suite import SUITE, load, target_spec
from harness.clients.retries import CLIENTS
from harness.contract import load_contract
from harness.contract.loader import contract_from_json
from harness.history import History, read_history
from harness.mutants import MUTANTS
from harness.runner import Job, run_job
from harness.scenario import SCENARIOS, NamedScenario, as_data

assert scenarios.__doc__
OURS = [one for one in SCENARIOS.values() if one.part == "chaos"]
CONTRACT = load_contract()
SPEC = target_spec("reference", (), "", "")
TURNS = sorted(name for name, one in MUTANTS.items() if one.apply.__module__ == "harness.mutants.turns")
"""The mutants of CLIENT-04 that lie about a turn's tries; those of idempotency keys have scenarios of their own."""


@cache
def judged(name: str, mutant: str = "", folder: str = "", only: str = "") -> dict[str, Any]:
    load()
    wanted = frozenset(filter(None, [only]))
    record = run_job(Job(name, 23, "sim", SPEC, mutant=mutant, folder=folder, requirements=wanted), SUITE)
    assert record["error"] is None, record["error"]
    return record


def broken(record: dict[str, Any]) -> set[str]:
    return {check["checker"] for check in record["checks"] if check["outcome"] == "fail"}


@pytest.mark.parametrize("one", OURS, ids=lambda one: one.name)
def test_a_scenario_passes_on_the_reference_gateway(one: NamedScenario) -> None:
    record = judged(one.name)
    assert (record["outcome"], record["doubts"]) == ("pass", [])


@pytest.mark.parametrize("one", OURS, ids=lambda one: one.name)
def test_a_scenario_is_the_same_for_the_same_seed_and_names_its_clients(one: NamedScenario) -> None:
    first, again = one(CONTRACT, 7), one(CONTRACT, 7)
    assert first.workload == again.workload
    assert as_data(first) == as_data(again)
    assert {call.client for call in first.workload.calls} <= {"", *CLIENTS}


@pytest.mark.parametrize(
    ("mutant", "name", "by"),
    [
        ("never_opens_a_circuit", "chaos.outage", "the_journal_shows_open_circuits"),
        ("never_opens_a_circuit", "chaos.one_bad_target_of_three", "an_outage_costs_a_bounded_number_of_calls"),
        ("never_opens_a_circuit", "retries.codex_in_an_outage", "an_outage_costs_a_bounded_number_of_calls"),
        ("lets_everybody_through_half_open", "chaos.outage", "circuits_follow_their_rules"),
        ("always_tells_a_closed_circuit", "chaos.flapping", "the_header_agrees_with_the_journal"),
    ],
)
def test_a_broken_breaker_is_seen(mutant: str, name: str, by: str) -> None:
    assert by in broken(judged(name, mutant))


@pytest.mark.parametrize("mutant", TURNS)
def test_what_retries_may_not_cost_is_seen(mutant: str) -> None:
    mine = [one.name for one in OURS if any(c.requirement == "CLIENT-04" for c in one(CONTRACT).checks)]
    assert any(broken(judged(name, mutant, only="CLIENT-04")) for name in mine), f"survived: {MUTANTS[mutant].lie}"


def recorded(name: str, folder: Path) -> History:
    return read_history(folder / str(judged(name, folder=str(folder))["folder"]))


def test_circuits_bound_what_a_turn_costs_in_an_outage(tmp_path: Path) -> None:
    """Each try reaches every target as often as it may where no circuit opens, and far less often where one does."""
    free = recorded("retries.without_a_breaker", tmp_path)
    each = sum(1 for _ in CONTRACT.models[0].chain) * (1 + CONTRACT.failover.retries_per_target)
    costs = {turn.client: len(turn.attempts) for turn in turns(free, contract_from_json(free.plan.contract))}
    assert costs == {client: CLIENTS[client].tries * each for client in CLIENTS}
    for client in CLIENTS:
        bounded = recorded(f"retries.{client}_in_an_outage", tmp_path)
        found = turns(bounded, contract_from_json(bounded.plan.contract))
        assert sum(len(turn.attempts) for turn in found) < costs[client] * len(found) / 2


def test_tries_that_were_not_made_leave_no_span(tmp_path: Path) -> None:
    history = recorded("retries.served_in_the_end", tmp_path)
    planned = [plan for plan in history.plan.calls if plan.detail.get("turn") == "codex1"]
    assert len(planned) == CLIENTS["codex"].tries
    made = [plan.id for plan in planned if plan.id in history.call]
    assert made == [plan.id for plan in planned[: len(made)]]
    assert 1 < len(made) < len(planned)
    assert history.call[made[-1]].outcome == "ok"
