"""Retries that carry an Idempotency-Key: run once, charged once, paid once, and kept apart (CLIENT-04, INS-05)."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.idempotency import a_key_outlives_a_crash, a_key_runs_one_call, replays_are_not_insured
from harness.checkers.insurance import payouts_come_once
from harness.checkers.ledger import money_is_neither_made_nor_lost
from harness.contract import Contract
from harness.scenario import (
    Account,
    Call,
    Crash,
    Injection,
    Reply,
    Scenario,
    Workload,
    World,
    chat,
    messages,
    responses,
    scenario,
)
from mock_upstreams.faults import respond

PRICED = Reply(chunks=4, ttft_ms=40, gap_ms=10, input=38_000, output=900)
SURFACES = ((chat, "gpt-5-5"), (messages, "claude-sonnet-4-7"), (responses, "gpt-5-5"))


def keyed(contract: Contract, call: Call, key: str) -> Call:
    """Return ``call`` with an idempotency key."""
    return replace(call, headers={**call.headers, contract.idempotency.header: key})


def again(first: Call, name: str, delay_ms: float = 50) -> Call:
    """Return the client's retry of ``first``, once that is over: the same bytes."""
    return replace(first, id=name, marks=first.id, at_ms=None, after=(first.id,), delay_ms=delay_ms)


def _firsts(contract: Contract, reply: Reply = PRICED) -> list[Call]:
    """Return a call of every surface, streamed and whole, each with a key of its own."""
    made = []
    for n, (make, model) in enumerate(SURFACES * 2):
        call = make(model, id=f"first{n}", at_ms=20 * n, stream=n < 3, reply=reply)
        made.append(keyed(contract, call, f"key {n}"))
    return made


@scenario
def a_retry_with_its_key(contract: Contract) -> Scenario:
    """The retry of an answered call gets the same answer, and costs nothing; another account's same key is its own."""
    calls: list[Call] = []
    for first in _firsts(contract):
        other = replace(first, id=f"other-{first.id}", account="b", at_ms=(first.at_ms or 0) + 400)
        calls += [first, again(first, f"again-{first.id}"), again(first, f"later-{first.id}", 900), other]
    return Scenario(
        world=World(accounts=(Account("a"), Account("b"))),
        workload=Workload(tuple(calls)),
        checks=(a_key_runs_one_call, money_is_neither_made_nor_lost),
    )


@scenario
def a_key_with_another_body(contract: Contract) -> Scenario:
    """A key that comes with another body is refused, while its call runs and after it."""
    calls: list[Call] = []
    for first in _firsts(contract):
        at_ms = first.at_ms or 0
        calls += [
            first,
            replace(first, id=f"during-{first.id}", at_ms=at_ms + 30),
            replace(first, id=f"after-{first.id}", at_ms=None, after=(first.id,), delay_ms=60),
        ]
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        checks=(a_key_runs_one_call, money_is_neither_made_nor_lost),
    )


@scenario
def a_retry_that_comes_too_soon(contract: Contract) -> Scenario:
    """A retry while the first call still runs gets 409, and after it the answer: it was run once."""
    long = replace(PRICED, ttft_ms=300)
    calls: list[Call] = []
    for first in _firsts(contract, long):
        early = replace(first, id=f"early-{first.id}", marks=first.id, at_ms=(first.at_ms or 0) + 120)
        calls += [first, early, again(first, f"again-{first.id}")]
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        checks=(a_key_runs_one_call, money_is_neither_made_nor_lost),
    )


@scenario(reaches=("payout",))
def a_retry_of_a_slow_call(contract: Contract) -> Scenario:
    """The retry of a call that was paid for being slow is not paid again."""
    slow = replace(PRICED, chunks=1, gap_ms=0, ttft_ms=contract.insurance.threshold_ms + 20)
    calls: list[Call] = []
    for first in _firsts(contract, slow):
        calls += [first, again(first, f"again-{first.id}", 200)]
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        checks=(replays_are_not_insured, a_key_runs_one_call, payouts_come_once),
    )


@scenario
def a_key_that_nothing_is_kept_for(contract: Contract) -> Scenario:
    """A call that was refused was never run, so its retry runs; so does one after the key's time."""
    window_ms = contract.text.window_ms
    kept_ms = 2 * window_ms
    calls: list[Call] = []
    for n, (make, model) in enumerate((SURFACES[0], SURFACES[1])):
        filler = make(model, id=f"filler{n}", at_ms=n * 20, reply=PRICED)
        refused = keyed(contract, make(model, id=f"refused{n}", at_ms=n * 20 + 200, reply=PRICED), f"key {n}")
        run = again(refused, f"run{n}", window_ms + 100)
        calls += [filler, refused, run, again(run, f"again{n}", 100), again(run, f"expired{n}", kept_ms + window_ms)]
    calls = [replace(call, marks=f"refused{call.id[-1]}") if call.marks else call for call in calls]
    return Scenario(
        world=World(overlay={"text.requests": 1, "idempotency.keep_ms": kept_ms}),
        workload=Workload(tuple(calls)),
        checks=(a_key_runs_one_call, money_is_neither_made_nor_lost),
        recovers=False,
    )


@scenario(reaches=("client_fault_returned",))
def a_retry_of_a_failed_call(contract: Contract) -> Scenario:
    """What an upstream called wrong was run: the retry gets the same answer and is not run again."""
    calls: list[Call] = []
    for first in _firsts(contract):
        calls += [first, again(first, f"again-{first.id}")]
    firsts = tuple(call.id for call in calls if not call.marks)
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        injections=(Injection("primary", respond(status=400), calls=firsts),),
        checks=(a_key_runs_one_call, money_is_neither_made_nor_lost),
    )


@scenario(reaches=("killed", "killed_inside_a_commit"))
def a_retry_after_a_kill(contract: Contract, rng: random.Random) -> Scenario:
    """Killed with some answers told and others only charged: the retry of each key costs nothing more."""
    told = _firsts(contract)
    answered_ms = 1_000
    cut: list[Call] = []
    for n, first in enumerate(_firsts(contract, replace(PRICED, chunks=1, gap_ms=0, ttft_ms=answered_ms))):
        cut.append(keyed(contract, replace(first, id=f"cut{n}", at_ms=0), f"cut {n}"))
    calls = [*told, *cut]
    for first in (*told, *cut):
        retry = replace(again(first, f"again-{first.id}"), after=(first.id, "kill"))
        calls += [retry, replace(again(first, f"later-{first.id}"), after=(retry.id,))]
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        # Behind the charges, which come with the answers: inside the commit of one of these.
        crashes=(Crash(answered_ms + 0.01, after_appends=rng.randrange(1, 7), id="kill"),),
        checks=(a_key_outlives_a_crash, money_is_neither_made_nor_lost, payouts_come_once),
    )
