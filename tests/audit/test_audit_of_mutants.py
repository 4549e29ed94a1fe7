"""The audit of recorded runs: nothing on the reference gateway, and a fitting class for each gateway with a lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.audit import Audit, audit, read_run
from harness.cli.suite import SUITE, load, target_spec
from harness.runner import Job, run_job

SEED = 3
CLEAN = (
    "billing.every_class_at_its_price",
    "billing.failed_calls_cost_nothing",
    "billing.clients_that_leave",
    "insurance.at_the_threshold",
    "insurance.slow_readers_are_not_slow_answers",
    "crashes.killed_while_settling",
    "crashes.killed_before_the_payout",
    "idempotency.a_retry_after_a_kill",
    "idempotency.a_key_that_nothing_is_kept_for",
    "streams.every_framing_in_pieces",
)


def audited(folder: Path, *scenarios: str, mutant: str = "") -> Audit:
    load()
    spec = target_spec("reference", (), "", "")
    jobs = (Job(scenario, SEED, "sim", spec, mutant=mutant, folder=str(folder)) for scenario in scenarios)
    with read_run([folder / run_job(job, SUITE)["folder"] for job in jobs]) as books:
        return audit(books)


def test_the_reference_gateways_books_agree(tmp_path: Path) -> None:
    result = audited(tmp_path, *CLEAN)
    assert [(one.name, one.count) for one in result.classes if one.count] == []
    assert result.outcome == "pass"
    assert result.clean == result.calls > 100


@pytest.mark.parametrize(
    ("mutant", "scenario", "found"),
    [
        ("rounds_down", "billing.cost_is_rounded_up_once", "ROUNDING"),
        ("bills_cached_tokens_twice", "billing.every_class_at_its_price", "CLASS_MISMATCH"),
        ("gives_cached_tokens_away", "billing.every_class_at_its_price", "CLASS_MISMATCH"),
        ("drops_reasoning", "billing.every_class_at_its_price", "TOKEN_MISMATCH"),
        ("prices_the_other_tier", "billing.general_models_at_their_price", "RATE_MISMATCH"),
        ("bills_failed_calls", "billing.failed_calls_cost_nothing", "CHARGED_FAILURE"),
        ("bills_refused_calls", "balances.the_enterprise_rule", "PHANTOM"),
        ("bills_streams_nothing", "billing.every_class_at_its_price", "UNBILLED"),
        ("bills_every_attempt", "billing.failover_is_charged_once", "TOKEN_MISMATCH"),
        ("charges_twice_after_a_failover", "billing.failover_is_charged_once", "DUPLICATE"),
        ("estimates_missing_usage", "billing.flawed_usage_costs_nothing", "ESTIMATED_USAGE"),
        ("bills_abandoned_calls_their_hold", "billing.clients_that_leave", "ESTIMATED_USAGE"),
        ("forgets_open_holds_in_a_crash", "crashes.killed_while_settling", "HOLD_LEAK"),
        ("charges_open_holds_after_a_crash", "crashes.killed_while_settling", "ESTIMATED_USAGE"),
        ("forgets_payouts_that_a_crash_came_before", "crashes.killed_before_the_payout", "INSURANCE_MISSED"),
        ("pays_at_every_start_what_it_owed_at_one", "crashes.killed_before_the_payout", "INSURANCE_DUPLICATE"),
        ("loses_an_update_of_a_balance", "billing.balances_chain_under_concurrency", "BALANCE_CHAIN_BREAK"),
        ("charges_a_replay", "idempotency.a_retry_with_its_key", "PHANTOM"),
        ("never_pays", "insurance.slow_success", "INSURANCE_MISSED"),
        ("pays_at_the_threshold", "insurance.at_the_threshold", "INSURANCE_UNDUE"),
        ("insures_clients_that_left", "insurance.slow_failures_are_not_paid", "INSURANCE_UNDUE"),
        ("compensates_slow_failures", "insurance.slow_failures_are_not_paid", "INSURANCE_UNDUE"),
        ("pays_out_rounded_down", "insurance.slow_success", "INSURANCE_AMOUNT"),
        ("pays_twice", "insurance.slow_success", "INSURANCE_DUPLICATE"),
        ("tells_the_balance_with_the_payout", "insurance.slow_success", "CLIENT_DISPLAY_MISMATCH"),
        ("writes_the_charge_for_the_payout", "insurance.slow_success", "CLIENT_DISPLAY_MISMATCH"),
        ("logs_payouts_of_streams_as_not_triggered", "insurance.slow_success", "CLIENT_DISPLAY_MISMATCH"),
        ("leaves_the_queue_out_of_the_latency", "insurance.waiting_counts", "INSURANCE_MISSED"),
        ("counts_the_upload_as_latency", "insurance.slow_uploads_are_not_slow_answers", "CLIENT_DISPLAY_MISMATCH"),
    ],
)
def test_a_lie_about_money_is_found_under_a_fitting_class(
    tmp_path: Path, mutant: str, scenario: str, found: str
) -> None:
    result = audited(tmp_path, scenario, mutant=mutant)
    assert found in {one.name for one in result.classes if one.count}
    assert result.exit_code == 1


def test_an_account_opened_twice_does_not_roll_forward(tmp_path: Path) -> None:
    result = audited(tmp_path, "crashes.killed_while_settling", mutant="opens_its_accounts_again_after_a_crash")
    assert result.unexplained > 0
    assert result.outcome == "fail"


@pytest.mark.parametrize(
    ("mutant", "scenario"),
    [
        # The books are right, and only when or to whom something was told is wrong.
        ("pays_after_the_answer", "insurance.slow_success"),
        ("shows_everybodys_ledger", "billing.an_account_reads_its_own_ledger"),
        # Charging a client that left and not charging it are both lawful to one who sees the books alone.
        ("never_bills_departed_clients", "billing.clients_that_leave"),
        # The lie is in a line of the double entry that is not the customer's.
        ("keeps_the_rest_of_a_hold", "billing.every_class_at_its_price"),
    ],
)
def test_an_audit_does_not_see_what_is_no_disagreement_of_the_books(tmp_path: Path, mutant: str, scenario: str) -> None:
    assert audited(tmp_path, scenario, mutant=mutant).outcome == "pass"
