"""Whole runs that end with a recovery: a right gateway is at rest again, ones that are wrong in one way are not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.cli.suite import load, make_target, target_spec
from harness.contract import load_contract
from harness.environment.probes import PROBE_ACCOUNT, recovers, recovery_calls
from harness.environment.sim import run_in_sim
from harness.gateway.breaker import Breaker, Outcome, Permit
from harness.gateway.components import Components
from harness.gateway.ledger import Hold
from harness.gateway.settlement import Settler
from harness.history import Recorder
from harness.runner import judge
from harness.scenario import SCENARIOS, Call, Injection, Scenario, Workload, World, chat, images
from mock_upstreams.faults import respond

Mutate = Callable[[Components], Components]
RULES = load_contract().breaker
FAILING = tuple(
    chat("gpt-5-5", id=f"f{n}", at_ms=n * 20, **({"abort_ms": 1} if n % 4 == 3 else {}))
    for n in range(RULES.min_calls * 2)
)


def storm(calls: Sequence[Call] = FAILING, **options: Any) -> Scenario:
    """Return calls that every target fails: enough of them to open the primary's circuit."""
    injections = (Injection("*", respond(status=503), calls=tuple(call.id for call in calls)),)
    return Scenario(World(), Workload(tuple(calls)), (), injections, name="storm", **options)


def record_of(made: Scenario, mutate: Mutate | None = None) -> dict[str, Any]:
    target = make_target(target_spec("reference", (), "", ""))
    contract = target.contract()
    with contextlib.closing(Recorder()) as recorder:
        run_in_sim(made, target, contract, seed=1, recorder=recorder, mutate=mutate)
        found: dict[str, Any] = judge(recorder.history(), contract, made.checks)
        return found


def never_closes(parts: Components) -> Components:
    class Stuck(Breaker):
        def record(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            super().record(permit, "ignored" if outcome == "success" else outcome, now_us)

    return replace(parts, breaker=Stuck(parts.contract))


def never_gives_a_slot_back(parts: Components) -> Components:
    class Forgetful(Settler):
        def give_back(self, parts: Components, call: Any) -> None:
            if not call.client.gone:
                super().give_back(parts, call)

    return replace(parts, settler=Forgetful(parts.contract))


def never_releases_a_hold(parts: Components) -> Components:
    def void(hold: Hold, flags: Sequence[str] = ()) -> None:
        return None

    parts.ledger.void = void  # type: ignore[method-assign]  # the one wrong thing about this gateway
    return parts


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    load()


def test_a_right_gateway_is_at_rest_again() -> None:
    record = record_of(storm())
    assert record["outcome"] == "pass"
    assert record["recovery"]["unseen"] == []
    assert {check["requirement"] for check in record["checks"]} >= {"GOV-09", "FAIL-06", "BRK-02", "BILL-06"}


@pytest.mark.parametrize(
    ("mutate", "requirement"),
    [(never_closes, "BRK-02"), (never_gives_a_slot_back, "GOV-09"), (never_releases_a_hold, "BILL-06")],
)
def test_a_gateway_that_keeps_something_is_found_by_the_runner_alone(mutate: Mutate, requirement: str) -> None:
    record = record_of(storm(), mutate)
    assert record["outcome"] == "fail"
    assert requirement in {
        piece["requirement"] for piece in record["recovery"]["evidence"] if piece["outcome"] == "fail"
    }


@pytest.mark.parametrize(("faulty", "asks", "ends"), [(True, False, True), (False, True, True), (False, False, False)])
def test_every_run_with_faults_ends_with_a_recovery(faulty: bool, asks: bool, ends: bool) -> None:
    made = storm(recovers=asks)
    assert recovers(made if faulty else replace(made, injections=())) is ends


def test_every_scenario_with_faults_is_asked_to_recover() -> None:
    for name, one in SCENARIOS.items():
        made = one(load_contract(), 0)
        if made.injections or made.crashes or made.store_failures or made.world.listeners:
            assert recovers(made), name


def test_calls_that_close_circuits_are_sent_only_where_one_can_be_open() -> None:
    contract = load_contract()
    assert len(recovery_calls(storm(), contract)) == RULES.successes_to_close + 1
    assert len(recovery_calls(storm(FAILING[:2]), contract)) == 1
    assert len(recovery_calls(replace(storm(), injections=()), contract)) == 1
    tight = load_contract(overlays=[{"text.requests": 2}])
    assert len(recovery_calls(storm(), tight)) == 1
    assert {call.account for call in recovery_calls(storm(), contract)} == {PROBE_ACCOUNT}


def test_an_image_model_is_probed_within_limits_of_its_own() -> None:
    made = replace(storm(), workload=Workload((images("gpt-image-2"),)), injections=())
    (probe,) = recovery_calls(made, load_contract())
    assert (probe.surface, probe.model, probe.max_tokens) == ("images", "gpt-image-2", None)
    assert recovery_calls(made, load_contract(overlays=[{"image.tokens": 4_096}])) == ()
