"""Mutants: each is a gateway with one lie, told in a sentence; and those that once survived stay caught."""

from __future__ import annotations

import re

import httpx
import pytest

from harness.cli.suite import SUITE, load, target_spec
from harness.contract import load_contract
from harness.gateway.app import build
from harness.gateway.components import Components
from harness.gateway.deployment import Deployment, UpstreamSeed
from harness.gateway.entropy import KeyedEntropy
from harness.gateway.memory_store import MemoryStore
from harness.mutants import MUTANTS
from harness.runner import Job, run_job


@pytest.fixture(scope="module")
def parts() -> Components:
    roles = {target.role for model in load_contract().models for target in model.chain}
    upstreams = {role: UpstreamSeed("http://up.test", "http://up.test", "up-secret") for role in roles}
    return build(
        load_contract(),
        Deployment((), upstreams, "0" * 64, 0.0, 0),
        store=MemoryStore(lambda n: 0.001),
        entropy=KeyedEntropy(1),
        transport=httpx.MockTransport(lambda request: httpx.Response(500)),
    )


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_mutant_is_the_reference_with_another_component(name: str, parts: Components) -> None:
    mutant = MUTANTS[name]
    made = mutant.apply(parts)
    assert isinstance(made, Components)
    assert any(getattr(made, field) is not getattr(parts, field) for field in Components.__dataclass_fields__)
    assert re.fullmatch(r"[A-Z].+\.", mutant.lie)


@pytest.mark.parametrize(
    ("mutant", "scenario", "clause"),
    [
        ("takes_a_slot_for_every_target", "governor.failing_over_in_one_slot", "failover_one_slot"),
        ("keeps_the_slot_after_a_timeout", "governor.every_way_out", "timeout"),
        ("keeps_the_slot_of_a_broken_stream", "governor.every_way_out", "upstream_error"),
        ("loses_a_slot_granted_as_its_waiter_leaves", "governor.handed_over_at_the_last_instant", "probe_after_storm"),
        ("loses_a_slot_granted_at_the_last_instant", "governor.handed_over_at_the_last_instant", "probe_after_storm"),
        ("lets_a_token_too_many_wait", "governor.tokens_that_wait", "queue_tokens"),
        ("calls_the_queue_full_at_its_last_token", "governor.tokens_that_wait", "as_full_queue"),
        ("keeps_the_tokens_of_waiters_that_left", "governor.tokens_that_wait", "as_full_queue"),
        ("puts_out_those_who_hold_least", "fairness.a_share_of_the_queue", "queue_share"),
        ("counts_those_that_wait", "rates.units_are_taken_at_the_grant", "unit_at_grant"),
        ("counts_requests_refused_for_their_tokens", "rates.what_takes_no_unit", "refused_do_not_count"),
        ("forgets_requests_that_failed", "rates.what_takes_no_unit", "next_refused"),
        ("forgets_requests_of_clients_that_left", "rates.what_takes_no_unit", "next_refused"),
        ("counts_no_cached_tokens", "rates.tokens_to_the_token", "settled_to_actual"),
        ("drops_the_limits_from_errors", "governor.every_way_out", "rpm"),
        ("tells_half_open_in_another_word", "breaker.probing_and_closing", "circuit"),
        ("tells_the_capacity_of_one_model", "rates.the_nth_and_the_next", "capacity"),
        ("tells_the_capacity_of_all_accounts", "rates.the_nth_and_the_next", "capacity"),
        ("prices_in_binary_fractions", "billing.cost_is_rounded_up_once", "rounded_up_once"),
        ("drops_the_last_digit_of_its_prices", "billing.cost_is_rounded_up_once", "cache_read"),
        ("bills_what_failed_attempts_told", "billing.failover_is_charged_once", "failed_attempts_unbilled"),
        ("drains_half_the_time", "billing.clients_that_leave", "unstreamed_charged"),
        ("bills_usage_that_does_not_add_up", "billing.flawed_usage_costs_nothing", "conflict"),
        ("holds_nothing_for_the_default_output", "balances.the_enterprise_rule", "hold_size"),
        ("holds_the_prompt_at_the_price_of_input", "balances.the_enterprise_rule", "hold_size"),
        ("charges_no_more_than_it_held", "balances.a_charge_above_its_hold", "over_hold_in_full"),
        ("asks_for_more_than_the_hold", "balances.the_enterprise_rule", "hold_covered"),
        ("looks_at_the_balance_on_arrival_alone", "balances.a_charge_above_its_hold", "just_below"),
        ("calls_the_poor_unknown", "balances.the_general_minimum", "refused_402"),
        ("charges_open_holds_after_a_crash", "crashes.killed_under_load", "across_restart"),
        ("hides_voids_from_their_owner", "billing.an_account_reads_its_own_ledger", "own_entries"),
    ],
)
def test_what_once_survived_is_caught_by_the_requirement_that_it_breaks(
    mutant: str, scenario: str, clause: str
) -> None:
    load()
    wanted = frozenset({MUTANTS[mutant].breaks})
    spec = target_spec("reference", (), "", "")
    record = run_job(Job(scenario, 3, "sim", spec, mutant=mutant, requirements=wanted), SUITE)
    assert record["error"] is None
    broken = [name for check in record["checks"] for name, c in check["clauses"].items() if c["outcome"] == "fail"]
    assert clause in broken
