"""The vocabulary of branches: each counts the history that took it, and not the same one that did not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.branches import BRANCHES, branches_reached
from harness.contract import load_contract, load_requirements
from harness.history import LedgerEntry, Note, Reading
from harness.runner import judge
from harness.runner.reached import branches_of, is_whole
from harness.scenario import NamedScenario, scenario
from tests.checkers.traffic_histories import CONTRACT, Story, Traffic, contract_with, error

SMALL = contract_with(text__concurrency=1, text__queue_length=1, text__requests=3, breaker__successes_to_close=2)


def moved(taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.call("c1", 0, 100)
    traffic.attempt("c1", 0, 20, status=503)
    traffic.attempt("c1", 50, 100, "second" if taken else "primary")
    return traffic


def again(taken: bool) -> Traffic:
    return moved(not taken)


def told_when(taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.call("c1", 0, 100)
    traffic.attempt("c1", 0, 20, status=429, params={"retry_after_s": 1} if taken else {"status": 429})
    traffic.attempt("c1", 50, 100, "second")
    return traffic


def exhausted(taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.failed("c1", 0, 100, 502, "api_error")
    for number, role in enumerate(("primary", "second", "third")[: 3 if taken else 2]):
        traffic.attempt("c1", number * 30, number * 30 + 10, role, status=503)
    return traffic


def answered(status: int, taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.failed("c1", 0, 100, status, "invalid_request_error")
    traffic.attempt("c1", 0, 20, status=status if taken else 503)
    return traffic


def silent(taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.call("c1", 0, 100)
    options: dict[str, Any] = {"ended": "left", "head": None, "status": None} if taken else {"status": 503}
    traffic.attempt("c1", 0, 20, fault="hang_before_headers" if taken else "", **options)
    traffic.attempt("c1", 50, 100, "second")
    return traffic


def unreachable(taken: bool) -> Traffic:
    traffic = Traffic(listeners={"primary": "refusing"} if taken else {})
    traffic.call("c1", 0, 100)
    traffic.attempt("c1", 50, 100, "second")
    return traffic


def broken(taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.call("c1", 0, 100, stream=True, outcome="error" if taken else "ok")
    traffic.attempt("c1", 0, 20, fault="truncate" if taken else "")
    return traffic


def left(taken: bool, ended: str = "served") -> Traffic:
    traffic = Traffic()
    traffic.call("c1", 0, 50, outcome="aborted" if taken else "ok")
    traffic.attempt("c1", 0, 100, ended=ended)
    return traffic


def cut(taken: bool) -> Traffic:
    return left(taken, "left")


def gone(taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.call("c1", 0, 50, outcome="aborted", status=None)
    if not taken:
        traffic.attempt("c1", 0, 50)
    return traffic


def circuit(*roles: str, failed: int = -1) -> Traffic:
    """Return one call a second, each at a role; a call passes over what stands before its role."""
    traffic = Traffic(SMALL)
    for number, role in enumerate(roles):
        at = number * 1_000
        traffic.call(f"c{number}", at, at + 10)
        traffic.attempt(f"c{number}", at, at + 10, role, **({"status": 503} if number == failed else {}))
    return traffic


def opened(taken: bool) -> Traffic:
    return circuit("primary", "second" if taken else "primary")


def probed(taken: bool) -> Traffic:
    return circuit("primary", "second", "primary" if taken else "second")


def closed(taken: bool) -> Traffic:
    return circuit("second", "primary", "primary", "primary" if taken else "second")


def reopened(taken: bool) -> Traffic:
    return circuit("second", "primary", "second", failed=1 if taken else -1)


def all_open(taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.call("c1", 0, 1, status=503 if taken else 400, outcome="refused", reading=error("overloaded_error"))
    return traffic


def full(taken: bool) -> Traffic:
    traffic = Traffic(SMALL if taken else CONTRACT)
    traffic.served("c1", 0, 100, rpm=2)
    traffic.served("c2", 200, 300, rpm=1)
    return traffic


def waited(taken: bool) -> Traffic:
    traffic = Traffic(SMALL)
    traffic.served("c1", 0, 100, rpm=2)
    traffic.served("c2", 10 if taken else 100, 200, start=100, rpm=1)
    return traffic


def queue_full(taken: bool) -> Traffic:
    traffic = waited(True)
    traffic.served("c3", 20, 300, start=200) if not taken else traffic.refused("c3", 20)
    return traffic


def in_vain(taken: bool) -> Traffic:
    wait = SMALL.text.queue_wait_ms
    traffic = Traffic(SMALL)
    traffic.served("c1", 0, wait * 2, rpm=2)
    traffic.refused("c2", 10, 10 + wait) if taken else traffic.served("c2", wait * 2, wait * 3)
    return traffic


def too_often(taken: bool) -> Traffic:
    traffic = Traffic(SMALL)
    for number in range(3):
        traffic.served(f"c{number}", number * 200, number * 200 + 50)
    traffic.refused("c9", 1_000 if taken else 100_000)
    return traffic


def general(taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.refused("c1", 0, tier="general", model="gpt-5.5")
    if not taken:
        traffic.calls[0] = replace(traffic.calls[0], status=400)
    return traffic


def refused(status: int, taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.failed("c1", 0, 1, status if taken else 418, "some_error")
    return traffic


def pinged(taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.call("c1", 0, 100, stream=True, pings=(50,))
    traffic.attempt("c1", 0, 100, fault="" if taken else "comments")
    return traffic


def booked(taken: bool, kind: str, credits: int = 0) -> Traffic:
    traffic = Traffic()
    traffic.served("c1", 0, 50)
    traffic.ledger = [
        LedgerEntry(1, "c1", "a", "hold", 0, 10, 100, (), (), 0),
        LedgerEntry(2, "c1", "a", kind if taken else "post", credits if taken else 0, 10, 100, (), (), 60),
    ]
    return traffic


def flawed(taken: bool) -> Traffic:
    traffic = Traffic()
    traffic.call("c1", 0, 50)
    traffic.attempt("c1", 0, 50, fault="usage_absurd" if taken else "crlf", ended="served")
    return traffic


STORIES: dict[str, Story] = {
    "failover_taken": moved,
    "retry_taken": again,
    "retry_after_told": told_when,
    "chain_exhausted": exhausted,
    "client_fault_returned": lambda taken: answered(422, taken),
    "target_fault_met": lambda taken: answered(401, taken),
    "silence_ended": silent,
    "unreachable_target_passed": unreachable,
    "stream_broken_after_content": broken,
    "client_left": left,
    "drained_to_the_end": left,
    "drain_cut_off": cut,
    "waiter_left": gone,
    "circuit_opened": opened,
    "half_open_probed": probed,
    "circuit_closed": closed,
    "circuit_reopened": reopened,
    "every_circuit_open": all_open,
    "slots_full": full,
    "queue_wait": waited,
    "queue_full": queue_full,
    "queue_time_up": in_vain,
    "rate_refused": too_often,
    "user_rate_refused": general,
    "key_refused": lambda taken: refused(401, taken),
    "key_suspended": lambda taken: refused(403, taken),
    "input_refused": lambda taken: refused(400, taken),
    "balance_refused": lambda taken: refused(402, taken),
    "ping_sent": pinged,
    "hold_voided": lambda taken: booked(taken, "void"),
    "charged_over_hold": lambda taken: booked(taken, "post", -11),
    "flawed_usage_met": flawed,
    "payout": lambda taken: booked(taken, "payout", 3),
    "handler_crashed": lambda taken: refused(500, taken),
}
KILLS = ("killed", "killed_inside_a_stream", "killed_inside_a_settlement", "killed_inside_a_commit")
OWING = "killed_before_a_payout"
ELSEWHERE = {"queue_tokens_full", "tokens_refused", "images_refused", "crash_replayed", *KILLS, OWING}
"""Told by the same arithmetic that the governor's checkers are tested for, or below."""


def test_every_branch_is_tried() -> None:
    assert set(BRANCHES) == {*STORIES, *ELSEWHERE}


@pytest.mark.parametrize("name", STORIES)
def test_a_branch_is_told_from_its_absence(name: str) -> None:
    for taken in (True, False):
        traffic = STORIES[name](taken)
        count = branches_reached(traffic.history(), traffic.contract)[name]
        assert count is not None
        assert bool(count) is taken, (name, taken)


@pytest.mark.parametrize("replayed", [True, False])
def test_a_crash_is_replayed_when_open_holds_are_voided_after_it(replayed: bool) -> None:
    traffic = booked(True, "void" if replayed else "post")
    traffic.calls[0] = replace(traffic.calls[0], outcome="cut", status=None)
    traffic.options = {"crashes": [{"at_ms": 0.05}]}
    made = replace(traffic.history(), notes=(Note("crash", 70, {}),))
    assert branches_reached(made, CONTRACT)["crash_replayed"] == int(replayed)


def killed(ended: str = "served", content: int | None = None, *kinds: str, at: int = 50) -> dict[str, int | None]:
    """Return which branches of a kill a call reached that it cut at 60 us, with such entries in the books."""
    traffic = Traffic()
    traffic.call("c1", 0, 0.06)
    traffic.calls[0] = replace(traffic.calls[0], outcome="cut", status=None, first_content=content, claims={})
    traffic.attempt("c1", 0.01, 0.04, ended=ended)
    for number, kind in enumerate(kinds, 1):
        traffic.ledger.append(LedgerEntry(number, "c1", "a", kind, 0, 0, 0, (), (), 20))
    made = replace(traffic.history(), notes=(Note("kill", at, {}),))
    return {name: branches_reached(made, CONTRACT)[name] for name in KILLS}


@pytest.mark.parametrize(
    ("reached", "inside"),
    [
        (killed("left", 20, "hold", "void"), {"killed", "killed_inside_a_stream"}),
        (killed("left", None, "hold", "void"), {"killed"}),
        (killed("served", None, "hold", "void"), {"killed", "killed_inside_a_settlement"}),
        (killed("served", 20, "hold", "post"), {"killed", "killed_inside_a_commit"}),
        (killed("left", None), {"killed", "killed_inside_a_commit"}),
        (killed("served", 20, at=70), {"killed"}),
    ],
)
def test_where_a_kill_fell_is_told_from_what_it_cut(reached: dict[str, int | None], inside: set[str]) -> None:
    assert {name for name, count in reached.items() if count} == inside


@pytest.mark.parametrize(
    ("kill_ms", "paid_ms", "over_ms", "reached"),
    [
        (30, 40, 1, True),
        (30, None, 1, True),
        (30, 30, 1, True),
        (30, 25, 1, False),
        (10, 40, 1, False),
        (30, 40, 0, False),
    ],
)
def test_a_kill_before_a_payout_is_told_from_one_after_it(
    kill_ms: int, paid_ms: int | None, over_ms: int, reached: bool
) -> None:
    traffic = Traffic()
    slow_ms = CONTRACT.insurance.threshold_ms + over_ms
    traffic.call("c1", 0, slow_ms + 50)
    traffic.attempt("c1", 0, slow_ms)
    for kind, at_ms in (("post", 20), ("payout", paid_ms)):
        if at_ms is not None:
            at = (slow_ms + at_ms) * 1000
            traffic.ledger.append(LedgerEntry(len(traffic.ledger) + 1, "c1", "a", kind, 0, 0, 0, (), (), at))
    made = replace(traffic.history(), notes=(Note("kill", (slow_ms + kill_ms) * 1000, {}),))
    assert bool(branches_reached(made, CONTRACT)[OWING]) is reached


def test_tokens_that_do_not_fit_are_told_from_requests_that_do_not() -> None:
    contract = contract_with(text__tokens=150)
    traffic = Traffic(contract)
    traffic.served("c1", 0, 50, tokens=100, detail={"max_tokens": 1})
    traffic.refused("c2", 100, detail={"max_tokens": 1})
    counts = branches_reached(traffic.history(), contract)
    assert (counts["tokens_refused"], counts["rate_refused"]) == (1, 0)


def test_images_that_do_not_fit_are_told_from_requests_that_do_not() -> None:
    contract = contract_with(image__images=3)
    traffic = Traffic(contract)
    options: dict[str, Any] = {"surface": "images", "model": "gpt-image-2", "detail": {"fields": {"n": [2]}}}
    traffic.served("c1", 0, 50, **options)
    traffic.attempts[0] = replace(traffic.attempts[0], reading=Reading(text="b64_json:x\n" * 2, terminal=True))
    traffic.refused("c2", 100, **options)
    counts = branches_reached(traffic.history(), contract)
    assert (counts["images_refused"], counts["rate_refused"]) == (1, 0)


def test_on_sockets_a_refusal_that_may_have_two_causes_counts_for_both() -> None:
    short = contract_with(text__concurrency=1, text__queue_length=1, text__queue_wait_ms=600)
    traffic = queue_full(True)
    assert branches_reached(traffic.history(), short)["queue_time_up"] == 0
    traffic.mode = "local"
    counts = branches_reached(traffic.history(), short)
    assert counts["queue_full"]
    assert counts["queue_time_up"]


def test_what_a_run_has_no_tap_for_is_not_said_to_be_unreached() -> None:
    traffic = moved(False)
    traffic.taps = ()
    counts = branches_reached(traffic.history(), CONTRACT)
    assert counts["failover_taken"] is None
    assert counts["key_refused"] == 0


def test_every_branch_belongs_to_a_clause_of_the_catalogue() -> None:
    catalogue = load_requirements()
    for one in BRANCHES.values():
        requirement, _, clause = one.clause.partition(".")
        assert clause in catalogue[requirement].clauses, one.name
        assert one.told.endswith("."), one.name


@pytest.mark.parametrize(
    ("taken", "claims", "doubted"), [(True, ("*",), False), (False, ("*",), True), (False, ("BILL-*",), False)]
)
def test_a_run_that_missed_what_it_was_made_for_proves_nothing(
    taken: bool, claims: tuple[str, ...], doubted: bool
) -> None:
    traffic = moved(taken)
    traffic.options = {"reaches": ["failover_taken"]}
    made = traffic.history()
    record = judge(replace(made, plan=replace(made.plan, claims=claims)), load_contract(), ())
    assert any("failover_taken" in doubt for doubt in record["doubts"]) is doubted
    assert record["reaches"] == ["failover_taken"]


def test_a_scenario_cannot_mean_what_is_no_branch() -> None:
    with pytest.raises(ValueError, match="no_such_branch"):
        scenario(reaches=("no_such_branch",))(lambda contract: None)  # type: ignore[arg-type, return-value]  # never built


def record(name: str, counts: dict[str, int | None], reaches: tuple[str, ...] = (), outcome: str = "pass") -> Any:
    return {"scenario": name, "branches": counts, "reaches": list(reaches), "outcome": outcome}


ALL = dict.fromkeys(BRANCHES, 1)


@pytest.mark.parametrize(
    ("records", "claims", "whole", "told"),
    [
        ([record("s", ALL)], ("*",), True, "pass"),
        ([record("s", {**ALL, "payout": 0}, ("payout",))], ("*",), True, "inconclusive"),
        ([record("s", {**ALL, "payout": 0})], ("*",), True, "inconclusive"),
        ([record("s", {**ALL, "payout": 0})], ("*",), False, "not_asked"),
        ([record("s", {**ALL, "payout": 0})], ("FAIL-*",), True, "unsupported"),
        ([record("s", {**ALL, "payout": None}, ("payout",))], ("*",), True, "unsupported"),
        ([record("s", {}, ("payout",), "unsupported")], ("*",), True, "unsupported"),
        ([record("s", {**ALL, "payout": 0}), record("t", {"payout": 2})], ("*",), True, "pass"),
    ],
)
def test_a_whole_run_must_take_every_branch_once(records: Any, claims: Any, whole: bool, told: str) -> None:
    assert branches_of(records, claims, whole=whole)["payout"]["outcome"] == told


@pytest.mark.parametrize(
    ("run", "whole"),
    [
        ({"selection": []}, True),
        ({"selection": ["core"]}, True),
        ({"selection": ["chat"]}, False),
        ({"selection": [], "requirements": ["BILL-01"]}, False),
        ({"selection": [], "profiles": ["billing"]}, False),
        ({"selection": [], "mutant": "pays_twice"}, False),
        ({"selection": [], "interrupted": True}, False),
        ({}, False),
    ],
)
def test_only_a_run_of_everything_is_whole(run: dict[str, Any], whole: bool) -> None:
    assert is_whole(run) is whole


def test_every_branch_is_meant_by_a_scenario_of_the_core(every_scenario: dict[str, NamedScenario]) -> None:
    meant = {name for one in every_scenario.values() if one.part == "core" for name in one.reaches}
    assert meant == set(BRANCHES)


def test_every_scenario_with_faults_says_what_they_are_for(every_scenario: dict[str, NamedScenario]) -> None:
    """Faults that only vary an answer lawfully drive no branch; every other one is there to drive one."""
    lawful = {"chat.answers_whole_and_streamed", "responses.an_upstream_streams_unasked"}
    lawful |= {"streams.every_framing", "streams.every_framing_in_pieces"}
    for name, one in every_scenario.items():
        made = one(CONTRACT, 0)
        if made.injections or made.crashes or made.store_failures or made.world.listeners:
            assert made.reaches or name in lawful, name


@pytest.fixture(scope="module")
def every_scenario() -> dict[str, NamedScenario]:
    from harness.cli.suite import load
    from harness.scenario import SCENARIOS

    load()
    return {name: one for name, one in SCENARIOS.items() if one.build.__module__.startswith("scenarios.")}
