"""The same scenarios in sim and on sockets: the same verdict on every clause that both can judge."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cli.suite import SUITE, load, target_spec
from harness.runner import Job, run_job

pytestmark = pytest.mark.local

SCENARIOS = [
    "auth.every_form_where_it_is_accepted",
    "billing.failed_calls_cost_nothing",
    "billing.clients_that_leave",
    "billing.balances_chain_under_concurrency",
    "billing.no_charge_is_told_before_it_stands",
    "insurance.slow_success",
    "streams.every_framing",
    "streams.pings_while_an_upstream_is_silent",
]


def clauses(record: dict[str, Any]) -> dict[str, str]:
    """Return a record's outcome per clause."""
    assert record["error"] is None, record["error"]
    return {
        f"{check['checker']}.{name}": clause["outcome"]
        for check in record["checks"]
        for name, clause in check["clauses"].items()
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_sim_and_sockets_agree(name: str) -> None:
    load()
    spec = target_spec("reference", (), "", "")
    sim = clauses(run_job(Job(name, 0, "sim", spec, overlay="short"), SUITE))
    local = clauses(run_job(Job(name, 0, "local", spec, overlay="short"), SUITE))
    shared = sim.keys() & local.keys()
    assert len(shared) >= len(sim) * 0.8, "sockets judged far less than sim"
    assert {key: local[key] for key in shared} == {key: sim[key] for key in shared}


@pytest.mark.parametrize(
    ("mutant", "name"),
    [
        ("bills_failed_calls", "billing.failed_calls_cost_nothing"),
        ("bills_cached_tokens_twice", "billing.every_class_at_its_price"),
        ("pings_only_once", "streams.pings_while_an_upstream_is_silent"),
    ],
)
def test_a_mutant_is_caught_on_sockets_too(mutant: str, name: str) -> None:
    load()
    spec = target_spec("reference", (), "", "")
    sim = clauses(run_job(Job(name, 0, "sim", spec, overlay="short", mutant=mutant), SUITE))
    local = clauses(run_job(Job(name, 0, "local", spec, overlay="short", mutant=mutant), SUITE))
    assert "fail" in sim.values()
    assert {key for key, outcome in local.items() if outcome == "fail"} == {
        key for key, outcome in sim.items() if outcome == "fail"
    }


@pytest.mark.parametrize(
    ("mutant", "breaks", "name"),
    [
        ("lets_expired_keys_in", "AUTH-05", "auth.keys_that_must_be_refused"),
        ("hides_client_errors_by_failover", "FAIL-05", "exhausted.client_and_target_faults"),
        ("admits_one_too_many", "GOV-04", "rates.the_nth_and_the_next"),
        ("pays_the_whole_charge_back", "INS-04", "insurance.slow_success"),
        ("rounds_down", "BILL-01", "billing.cost_is_rounded_up_once"),
        ("serves_no_messages_at_the_root", "MSG-01", "messages.native_at_every_place"),
    ],
)
def test_in_every_area_a_mutant_is_caught_on_sockets_by_its_own_requirement(
    mutant: str, breaks: str, name: str
) -> None:
    load()
    spec = target_spec("reference", (), "", "")
    record = run_job(Job(name, 0, "local", spec, overlay="short", mutant=mutant), SUITE)
    assert record["error"] is None, record["error"]
    assert [check["requirement"] for check in record["checks"] if check["outcome"] == "fail"].count(breaks) >= 1
