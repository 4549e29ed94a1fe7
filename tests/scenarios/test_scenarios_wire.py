"""The scenarios of the wire: they build under any seed and overlay, and together judge every clause that is claimed."""

from __future__ import annotations

import random
from functools import cache

import pytest

import scenarios.auth
import scenarios.bad_input
import scenarios.chat
import scenarios.cli_only
import scenarios.errors
import scenarios.hosts
import scenarios.messages
import scenarios.models
import scenarios.responses
import scenarios.streams
from harness.checker import CHECKERS
from harness.checkers.flaws import BAD_BODIES, OFFICIAL_CLI
from harness.checkers.wire import BODILESS, ROUTES
from harness.cli.suite import SUITE
from harness.clients import build
from harness.contract import load_contract, load_requirements
from harness.contract.loader import with_overlays
from harness.contract.requirements import reference_claims
from harness.runner.jobs import Job, run_job
from harness.scenario import SCENARIOS, NamedScenario, Scenario
from scenarios.requests import WITH_MODEL, cli_call, max_ids, on_every_path

FILES = (
    "auth",
    "bad_input",
    "chat",
    "cli_only",
    "errors",
    "hosts",
    "images",
    "messages",
    "metamorphic",
    "models",
    "responses",
    "streams",
)
REQUIREMENTS = (
    *("AUTH-01", "AUTH-02", "AUTH-03", "AUTH-05", "AUTH-06", "HOST-01"),
    *(f"ERR-0{n}" for n in range(1, 7)),
    *("CHAT-01", "CHAT-02", "CHAT-03", "CHAT-04", "CHAT-07"),
    *(f"MSG-0{n}" for n in range(1, 9)),
    *(f"RESP-0{n}" for n in range(1, 5)),
    *("MOD-01", "MOD-02", "IMG-01"),
)
MINE = [named for name, named in SCENARIOS.items() if name.partition(".")[0] in FILES]
OVERLAYS = {"default": (), "short": ("short",)}


@cache
def built() -> tuple[Scenario, ...]:
    contracts = [load_contract(overlays=overlays) for overlays in OVERLAYS.values()]
    return tuple(named(contract, seed) for named in MINE for contract in contracts for seed in range(2))


@pytest.mark.parametrize("overlays", OVERLAYS.values(), ids=OVERLAYS)
@pytest.mark.parametrize("named", MINE, ids=lambda named: str(named.name))
def test_a_scenario_is_whole(named: NamedScenario, overlays: tuple[str, ...]) -> None:
    plain = load_contract(overlays=overlays)
    for seed in range(2):
        made = named(plain, seed)
        contract = with_overlays(plain, [made.world.overlay]) if made.world.overlay else plain
        keys = {account.id: {key.id for key in account.all_keys()} for account in made.world.accounts}
        calls = made.workload.numbered()
        assert made.checks
        assert made.promise.endswith(".")
        for call in calls:
            assert call.key == "" or call.key in keys[call.account]
            assert call.other_key == "" or any(call.other_key in theirs for theirs in keys.values())
            assert build(call, secret="ck_a", contract=contract, other_secret="ck_b" if call.other_key else "").method
        known = {call.id for call in calls}
        assert all(set(injection.calls) <= known for injection in made.injections)


@pytest.mark.parametrize("named", MINE, ids=lambda named: str(named.name))
def test_a_seed_alone_decides_what_a_scenario_does(named: NamedScenario) -> None:
    contract = load_contract()
    assert named(contract, 7) == named(contract, 7)


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_every_claimed_clause_has_a_scenario_that_can_judge_it(requirement: str) -> None:
    judged = {
        clause
        for made in built()
        for check in made.checks
        if check.requirement == requirement
        for clause in check.clauses
    }
    claimed = reference_claims().clauses_of(load_requirements()[requirement])
    assert set(claimed) <= judged


@cache
def judged_in_sim() -> dict[str, set[str]]:
    """Run every scenario of the wire on the reference gateway in virtual time: the outcomes of each clause."""
    target = {"name": "reference", "keys": {}, "upstreams_url": "", "contract": ""}
    found: dict[str, set[str]] = {}
    for named in MINE:
        record = run_job(Job(named.name, seed=11, mode="sim", target=target), SUITE)
        assert record["error"] is None, record["error"]
        for check in record["checks"]:
            for clause, result in check["clauses"].items():
                found.setdefault(f"{check['requirement']}.{clause}", set()).add(result["outcome"])
    return found


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_the_reference_gateway_is_seen_to_keep_every_claimed_clause(requirement: str) -> None:
    for clause in reference_claims().clauses_of(load_requirements()[requirement]):
        assert judged_in_sim().get(f"{requirement}.{clause}") == {"pass"}, clause


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_no_checker_of_the_wire_goes_unused(requirement: str) -> None:
    used = {check.name for made in built() for check in made.checks}
    assert {check.name for check in CHECKERS.values() if check.requirement == requirement} <= used


def test_the_scenarios_of_the_wire_are_a_small_part_of_a_seed() -> None:
    contract = load_contract()
    assert sum(len(named(contract, 0).workload.calls) for named in MINE if named.part == "core") <= 1_300


def test_a_call_on_every_path_leaves_no_path_out() -> None:
    calls = list(on_every_path(load_contract()))
    assert [call.path for call in calls] == list(ROUTES)
    assert all(call.model for call in calls if ROUTES[call.path].surface not in BODILESS)


@pytest.mark.parametrize("interactive", [False, True])
def test_the_official_cli_carries_every_mark_of_the_contract(interactive: bool) -> None:
    contract = load_contract()
    call = cli_call(contract, max_ids(contract)[0], interactive=interactive)
    marks = contract.cli_only
    assert call.headers[marks.app_header] == marks.app_value
    assert any(beta.startswith(marks.beta_prefix) for beta in call.headers[marks.beta_header].split(","))
    assert call.headers[marks.session_header] in call.fields["metadata"]["user_id"]
    assert ("sdk-cli" in call.headers["user-agent"]) is not interactive
    assert call.tag == OFFICIAL_CLI


def test_every_kind_of_bad_input_is_tried_on_every_surface_under_any_seed() -> None:
    contract = load_contract()
    for call in on_every_path(contract, surfaces=WITH_MODEL):
        for seed in range(5):
            tags = {bad.tag for bad in scenarios.bad_input.bad_inputs(contract, call, random.Random(f"{seed}/test"))}
            assert tags == set(BAD_BODIES)
