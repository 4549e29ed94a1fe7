"""The gateway is killed and comes back on what was committed: money stays whole (BILL-04, BILL-06, INS-07)."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.billing import streams_are_billed_at_their_end
from harness.checkers.insurance import (
    charges_outlive_a_crash_with_their_payouts,
    payouts_come_once,
    slow_successes_are_paid,
)
from harness.checkers.ledger import money_is_neither_made_nor_lost
from harness.contract import Contract
from harness.scenario import (
    Call,
    Crash,
    Reply,
    Scenario,
    StoreFailure,
    Workload,
    World,
    chat,
    evenly,
    messages,
    responses,
    scenario,
)

PRICED = Reply(chunks=4, ttft_ms=40, gap_ms=10, input=38_000, output=900)


@scenario(reaches=("crash_replayed",))
def killed_under_load(contract: Contract, rng: random.Random) -> Scenario:
    """Killed at any instant, in the middle of commits: no charge that was told is lost, no hold stays open."""
    calls: list[Call] = []
    for n, at_ms in enumerate(evenly(90, 3_000)):
        make, model = ((chat, "gpt-5-5"), (messages, "claude-sonnet-4-7"), (responses, "gpt-5-5"))[n % 3]
        reply = replace(PRICED, ttft_ms=rng.randrange(5, 200))
        calls.append(make(model, at_ms=at_ms, stream=n % 2 == 0, reply=reply))
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        crashes=(
            Crash(at_ms=rng.randrange(200, 900)),
            Crash(at_ms=1_200, after_appends=rng.randrange(1, 12)),
            Crash(at_ms=2_000, after_appends=rng.randrange(1, 12)),
        ),
        checks=(money_is_neither_made_nor_lost, streams_are_billed_at_their_end, payouts_come_once),
    )


@scenario(
    reaches=("killed", "killed_inside_a_stream", "killed_inside_a_settlement", "killed_inside_a_commit"),
)
def killed_at_each_point(contract: Contract, rng: random.Random) -> Scenario:
    """Killed inside streams, inside settlements, and inside the commit of holds: what was cut costs nothing."""
    streaming, settling, holding = 0, 1_000, 2_000
    calls: list[Call] = []
    for n, make_call in enumerate((chat, messages, responses) * 2):
        model = "claude-sonnet-4-7" if make_call is messages else "gpt-5-5"
        long, short = replace(PRICED, chunks=40), replace(PRICED, ttft_ms=100, chunks=1, gap_ms=0)
        calls.append(make_call(model, at_ms=streaming + n, stream=True, reply=long))
        calls.append(make_call(model, at_ms=settling, stream=n % 2 == 0, reply=short))
        calls.append(make_call(model, at_ms=holding, stream=n % 2 == 0, reply=short))
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        crashes=(
            Crash(streaming + rng.uniform(100, 300)),
            # Nothing is appended in the moment before: these are inside the commit of a charge, and of a hold.
            Crash(settling + 99, after_appends=rng.randrange(1, 4)),
            Crash(holding - 1, after_appends=rng.randrange(1, 4)),
        ),
        checks=(money_is_neither_made_nor_lost, streams_are_billed_at_their_end, payouts_come_once),
    )


@scenario(reaches=("crash_replayed",))
def killed_while_settling(contract: Contract, rng: random.Random) -> Scenario:
    """Killed between a slow call's charge and its payout: at most one payout per charge."""
    slow = replace(PRICED, chunks=1, gap_ms=0)
    calls: list[Call] = []
    for n in range(12):
        make, model = ((chat, "gpt-5-5"), (messages, "claude-sonnet-4-7"), (responses, "gpt-5-5"))[n % 3]
        reply = replace(slow, ttft_ms=contract.insurance.threshold_ms + 10 + n)
        calls.append(make(model, at_ms=n, stream=n % 2 == 0, reply=reply))
    settling = contract.insurance.threshold_ms
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        crashes=(Crash(at_ms=settling + rng.randrange(0, 20), after_appends=rng.randrange(1, 20)),),
        checks=(payouts_come_once, money_is_neither_made_nor_lost, streams_are_billed_at_their_end),
    )


@scenario(reaches=("payout", "killed_before_a_payout"))
def killed_before_the_payout(contract: Contract, rng: random.Random) -> Scenario:
    """Killed when a slow call is charged and not yet paid for: what is owed is paid once, at the next start."""
    answered_ms = contract.insurance.threshold_ms + 10
    slow = replace(PRICED, chunks=1, gap_ms=0, ttft_ms=answered_ms)
    calls: list[Call] = []
    crashes: list[Crash] = []
    for life, (make, model) in enumerate(((chat, "gpt-5-5"), (messages, "claude-sonnet-4-7"), (responses, "gpt-5-5"))):
        before = tuple(crash.id for crash in crashes[-1:])
        for stream in (False, True):
            calls.append(make(model, at_ms=None if before else 0, after=before, stream=stream, reply=slow))
        # Behind the charges, which come with the answers, inside the commit of what comes next: a payout.
        dies_ms, appends = answered_ms + 0.01, rng.randrange(1, 3)
        name = f"kill{life}"
        crashes.append(Crash(0 if before else dies_ms, appends, name, before, dies_ms if before else 0))
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        crashes=tuple(crashes),
        checks=(
            payouts_come_once,
            money_is_neither_made_nor_lost,
            slow_successes_are_paid,
            charges_outlive_a_crash_with_their_payouts,
        ),
    )


@scenario(reaches=("payout",))
def a_settlement_that_the_store_refuses(contract: Contract, rng: random.Random) -> Scenario:
    """The store refuses payouts for a while: each is settled again, and paid once in the end."""
    slow = replace(PRICED, chunks=1, gap_ms=0)
    calls: list[Call] = []
    for n in range(12):
        make, model = ((chat, "gpt-5-5"), (messages, "claude-sonnet-4-7"), (responses, "gpt-5-5"))[n % 3]
        reply = replace(slow, ttft_ms=contract.insurance.threshold_ms + 10 + 60 * n)
        calls.append(make(model, at_ms=0, stream=n % 2 == 0, reply=reply))
    answered = contract.insurance.threshold_ms + 10
    return Scenario(
        world=World(),
        workload=Workload(tuple(calls)),
        # A charge is committed within two milliseconds of its answer: what the store refuses then is its payout.
        store_failures=tuple(StoreFailure(answered + 60 * n + 0.01) for n in sorted(rng.sample(range(12), 5))),
        checks=(payouts_come_once, money_is_neither_made_nor_lost, slow_successes_are_paid),
    )
