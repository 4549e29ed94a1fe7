"""The scenarios of failover, breaker, governor and rates: whole in themselves, and enough to prove every clause."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

import harness.checkers
import scenarios
from harness.cli.suite import SUITE
from harness.contract import load_contract, load_requirements
from harness.contract.loader import with_overlays
from harness.contract.requirements import reference_claims
from harness.runner.jobs import Job, run_job
from harness.scenario import SCENARIOS, NamedScenario, Scenario, as_data

AREAS = (
    "failover",
    "exhausted",
    "broken_streams",
    "departures",
    "breaker",
    "governor",
    "rates",
    "general",
    "fairness",
    "images",
)
OURS = [one for name, one in SCENARIOS.items() if name.partition(".")[0] in AREAS]
CORE = [one for one in OURS if one.part == "core"]
CONTRACT = load_contract()
PREFIXES = ("FAIL-", "BRK-", "GOV-", "RATE-")
REQUIREMENTS = [id_ for id_ in load_requirements() if id_.startswith(PREFIXES)]
OVERLAYS = {"default": (), "short": ("short",)}


def built(seed: int = 0) -> Iterator[tuple[NamedScenario, Scenario]]:
    for one in OURS:
        yield one, one(CONTRACT, seed)


def test_both_packages_register_what_they_hold() -> None:
    assert harness.checkers.__doc__
    assert scenarios.__doc__
    assert {one.name.partition(".")[0] for one in OURS} == set(AREAS)


def test_every_claimed_clause_has_a_checker_in_some_core_scenario() -> None:
    checked: dict[str, set[str]] = {}
    for one in CORE:
        for check in one(CONTRACT).checks:
            checked.setdefault(check.requirement, set()).update(check.clauses)
    claims = reference_claims()
    missing = {
        requirement.id: lacking
        for requirement in load_requirements().values()
        if requirement.id.startswith(PREFIXES)
        and (lacking := set(claims.clauses_of(requirement)) - checked.get(requirement.id, set()))
    }
    assert missing == {}


@pytest.mark.parametrize("overlays", OVERLAYS.values(), ids=OVERLAYS)
@pytest.mark.parametrize("one", OURS, ids=lambda one: one.name)
def test_a_scenario_is_whole(one: NamedScenario, overlays: tuple[str, ...]) -> None:
    contract = load_contract(overlays=overlays)
    made = one(contract)
    calls = made.workload.numbered()
    ids = {call.id for call in calls}
    accounts = {account.id: {key.id for key in account.all_keys()} for account in made.world.accounts}
    assert one.promise.endswith(".")
    assert made.checks
    assert len(set(made.checks)) == len(made.checks)
    for call in calls:
        assert call.account in accounts
        assert not call.key or call.key in accounts[call.account]
    for injection in made.injections:
        assert set(injection.calls) <= ids, f"{injection.id} names calls that are not made"
    with_overlays(contract, [dict(made.world.overlay)])


@pytest.mark.parametrize("one", CORE, ids=lambda one: one.name)
def test_a_scenario_is_the_same_for_the_same_seed(one: NamedScenario) -> None:
    first, again = one(CONTRACT, 7), one(CONTRACT, 7)
    assert first.workload == again.workload
    assert as_data(first) == as_data(again)


def test_what_needs_exact_times_or_the_simulated_store_says_so() -> None:
    for _, made in built():
        if made.store_failures or "hanging" in made.world.listeners.values():
            assert made.exact


def test_no_scenario_writes_a_promised_number() -> None:
    """With every time of the contract halved the calls still fit: what they derive from it moves along."""
    halved = load_contract(
        overlays=[
            {
                "timeouts.silence_ms": CONTRACT.timeouts.silence_ms // 2,
                "timeouts.text_call_ms": CONTRACT.timeouts.text_call_ms // 2,
                "text.window_ms": CONTRACT.text.window_ms // 2,
                "text.queue_wait_ms": CONTRACT.text.queue_wait_ms // 2,
            }
        ]
    )
    moved = 0
    for one in OURS:
        before, after = one(CONTRACT), one(halved)
        moved += before.workload != after.workload or before.injections != after.injections
    assert moved > len(OURS) / 3


def test_the_core_stays_within_its_share_of_calls() -> None:
    assert sum(len(one(CONTRACT).workload.calls) for one in CORE) <= 1_500


@cache
def judged_in_sim() -> tuple[dict[str, set[str]], dict[str, str]]:
    """Run the core on the reference gateway in virtual time: the outcomes of each clause, and of each scenario."""
    target = {"name": "reference", "keys": {}, "upstreams_url": "", "contract": ""}
    clauses: dict[str, set[str]] = {}
    whole: dict[str, str] = {}
    for one in CORE:
        record = run_job(Job(one.name, seed=23, mode="sim", target=target), SUITE)
        assert record["error"] is None, record["error"]
        whole[one.name] = record["outcome"]
        for check in record["checks"]:
            for clause, result in check["clauses"].items():
                clauses.setdefault(f"{check['requirement']}.{clause}", set()).add(result["outcome"])
    return clauses, whole


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_the_reference_gateway_is_seen_to_keep_every_claimed_clause(requirement: str) -> None:
    for clause in reference_claims().clauses_of(load_requirements()[requirement]):
        assert judged_in_sim()[0].get(f"{requirement}.{clause}") == {"pass"}, clause


@pytest.mark.parametrize("one", CORE, ids=lambda one: one.name)
def test_a_scenario_passes_on_the_reference_gateway(one: NamedScenario) -> None:
    assert judged_in_sim()[1][one.name] == "pass"
