"""Liveness: hand-written runs after which a gateway is at rest again, and the same ones after which it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.checker import Checker, Outcome
from harness.checkers.recovery import (
    all_slots_are_free_again,
    bound_ms,
    circuits_are_closed_again,
    no_call_is_left,
    no_hold_is_left,
    nothing_waits_any_more,
    traffic_is_back_on_the_primary,
)
from harness.history import LedgerEntry, Note
from harness.runner import judge
from tests.checkers.traffic_histories import CONTRACT, NAMES, Story, Traffic, outcome, tell_apart

LONE_MS = 200_000
CLOSES = CONTRACT.breaker.successes_to_close


def after(traffic: Traffic, *, headers: dict[str, str] | None = None, role: str = "primary", **options: Any) -> Traffic:
    """Add the calls that close the circuit, and then the lone one, answered by ``role``."""
    for number in range(CLOSES):
        at = LONE_MS - 1_000 + number * 10
        traffic.served(f"w{number}", at, at + 5, account="recovery", detail={"tag": "recovery_warmup"})
    told = {**traffic.governor(), **(headers or {})}
    detail = {"tag": "recovery"}
    traffic.call("r1", LONE_MS, LONE_MS + 5, account="recovery", detail=detail, **{"headers": told, **options})
    if role:
        traffic.attempt("r1", LONE_MS, LONE_MS + 5, role)
    return traffic


def slots(wrong: bool) -> Traffic:
    traffic = Traffic()
    traffic.served("c1", 0, 50)
    left = CONTRACT.text.concurrency - (2 if wrong else 1)
    return after(traffic, headers={NAMES.concurrency_remaining: str(left)})


def primary(wrong: bool) -> Traffic:
    traffic = Traffic()
    traffic.served("c1", 0, 50)
    return after(traffic, role="second" if wrong else "primary")


def circuit(wrong: bool) -> Traffic:
    traffic = Traffic()
    traffic.call("c1", 0, 50, headers={**traffic.governor(), NAMES.circuit: "open"})
    traffic.attempt("c1", 0, 50, "second")
    return after(traffic, headers={NAMES.circuit: "half_open" if wrong else "closed"})


def cooled_down(wrong: bool) -> Traffic:
    traffic = Traffic()
    traffic.served("c1", 0, 50)
    if wrong:
        return after(traffic, role="", status=503, outcome="refused")
    return traffic


def queue(wrong: bool) -> Traffic:
    traffic = Traffic()
    traffic.served("c1", 0, 50)
    traffic.served("c2", 10, 90, start=50)
    if wrong:
        return after(traffic, role="", status=429, outcome="refused")
    return after(traffic)


@pytest.mark.parametrize(
    ("check", "clause", "story"),
    [
        (all_slots_are_free_again, "probe_after_storm", slots),
        (traffic_is_back_on_the_primary, "chain_order", primary),
        (circuits_are_closed_again, "closes", circuit),
        (nothing_waits_any_more, "waits", queue),
    ],
)
def test_what_did_not_come_back_to_rest_is_found(check: Checker, clause: str, story: Story) -> None:
    tell_apart(check, clause, story)


def test_a_circuit_that_lets_nobody_through_after_its_cool_down_is_found() -> None:
    assert outcome(circuits_are_closed_again, cooled_down(True), "half_open_after_cooldown") is Outcome.FAIL


def test_a_circuit_that_always_said_closed_proves_nothing() -> None:
    traffic = Traffic()
    traffic.served("c1", 0, 50)
    assert outcome(circuits_are_closed_again, after(traffic), "closes") is None


def test_a_probe_beside_another_call_is_no_lone_one() -> None:
    traffic = slots(True)
    traffic.served("c9", LONE_MS - 10, LONE_MS + 50)
    assert outcome(all_slots_are_free_again, traffic, "probe_after_storm") is None


def test_where_the_primary_takes_no_connection_the_next_one_answers() -> None:
    traffic = primary(True)
    traffic.listeners = {"primary": "refusing"}
    assert outcome(traffic_is_back_on_the_primary, traffic, "chain_order") is Outcome.PASS


@pytest.mark.parametrize("check", [all_slots_are_free_again, circuits_are_closed_again])
def test_a_gateway_without_the_headers_is_judged_by_its_upstreams_alone(check: Checker) -> None:
    traffic = Traffic()
    traffic.served("c1", 0, 50)
    after(traffic, role="second")
    traffic.calls = [replace(call, headers={}) for call in traffic.calls]
    assert check(traffic.history(), CONTRACT).clauses == {}
    assert outcome(traffic_is_back_on_the_primary, traffic, "chain_order") is Outcome.FAIL


def entry(number: int, call: str, kind: str) -> LedgerEntry:
    return LedgerEntry(number, call, "a", kind, 0, 7, 100, (), (), number)


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (("hold", "post"), Outcome.PASS),
        (("hold", "void"), Outcome.PASS),
        (("hold",), Outcome.FAIL),
        (("hold", "hold", "void"), Outcome.FAIL),
        ((), None),
    ],
)
def test_a_hold_that_nobody_gives_back_is_lost_money(kinds: tuple[str, ...], told: Outcome | None) -> None:
    traffic = Traffic()
    traffic.served("c1", 0, 50)
    traffic.ledger = [entry(number, "c1", kind) for number, kind in enumerate(kinds, 1)]
    assert outcome(no_hold_is_left, traffic, "balance_is_sum") is told


@pytest.mark.parametrize("left", ["caller", "upstream", ""])
def test_nobody_is_still_at_work_when_the_run_is_over(left: str) -> None:
    traffic = after(Traffic())
    traffic.call("c1", 0, 50, outcome="open" if left == "caller" else "ok")
    traffic.attempt("c1", 0, 50, ended="open" if left == "upstream" else "served")
    assert outcome(no_call_is_left, traffic, "text_call_limit") is (Outcome.FAIL if left else None)


def recorded(traffic: Traffic, *, healed: bool = True, **plan: Any) -> Any:
    made = traffic.history()
    detail = {"bound_ms": bound_ms(CONTRACT)} if healed else {}
    return replace(made, notes=(Note("heal", 1_000, detail),), plan=replace(made.plan, **plan))


def section(story: Callable[[bool], Traffic], wrong: bool, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = judge(recorded(story(wrong), **options), CONTRACT, ())
    return found


@pytest.mark.parametrize(("wrong", "told"), [(False, "pass"), (True, "fail")])
def test_the_runner_asks_every_run_and_its_scenario_fails_with_it(wrong: bool, told: str) -> None:
    record = section(slots, wrong)
    assert record["outcome"] == told
    assert record["recovery"]["outcome"] == told
    assert record["recovery"]["bound_ms"] == bound_ms(CONTRACT)
    assert record["recovery"]["probes"] == 1
    assert bool(record["recovery"]["evidence"]) is wrong
    assert {check["requirement"] for check in record["checks"]} >= {"GOV-09", "FAIL-06"}


def test_a_run_that_was_given_no_time_to_recover_is_not_asked() -> None:
    record = section(slots, True, healed=False)
    assert record["recovery"] is None
    assert record["checks"] == []


def test_what_the_target_does_not_claim_does_not_fail_it() -> None:
    record = section(slots, True, claims=("FAIL-06",))
    assert record["recovery"]["outcome"] == "pass"
    assert record["recovery"]["failed"] == 0


def test_only_the_requirements_asked_for_are_judged() -> None:
    record = judge(recorded(slots(True)), CONTRACT, (), only=frozenset({"FAIL-06"}))
    assert {check["requirement"] for check in record["checks"]} == {"FAIL-06"}
    assert record["recovery"]["outcome"] == "pass"


def test_a_fault_that_never_fired_leaves_the_recovery_unproved() -> None:
    never = {"id": "i1", "role": "primary", "must_fire": True, "fault": {"name": "respond", "params": {}}}
    assert section(slots, False, injections=(never,))["recovery"]["outcome"] == "inconclusive"


def test_what_cannot_be_seen_is_named() -> None:
    traffic = slots(False)
    traffic.calls = [replace(call, headers={}) for call in traffic.calls]
    traffic.taps = ()
    record = judge(recorded(traffic), CONTRACT, ())
    assert record["recovery"]["outcome"] == "unsupported"
    assert len(record["recovery"]["unseen"]) == 4
