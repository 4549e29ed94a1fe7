"""Several accounts at one model: each gets its turn and its share of the queue, whatever the others do."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.fairness import accounts_are_served_in_turn, queue_is_shared, quotas_are_apart
from harness.checkers.slots import slots_are_bounded, slots_come_back
from harness.checkers.waiting import queue_is_short, refused_calls_cost_nothing, waiters_are_served_in_order
from harness.contract import Contract
from harness.scenario import Account, Call, Scenario, Workload, World, chat, scenario
from scenarios.governor import MODEL, PROBE, lasting

ACCOUNTS = (Account("a"), Account("b"), Account("c"))
CHECKS = (accounts_are_served_in_turn, queue_is_short, waiters_are_served_in_order, slots_are_bounded)


@scenario(reaches=("slots_full", "queue_wait"))
def served_in_turn(contract: Contract, rng: random.Random) -> Scenario:
    """One account asks first and most; the others, who come later, are served in turn with it."""
    slots = 2
    wait_ms = contract.text.queue_wait_ms
    calls: list[Call] = []
    for account, count, start_ms in (("a", 14, 0.0), ("b", 4, 25.0), ("c", 4, 40.0)):
        for number in range(count):
            at_ms = start_ms + number + rng.randrange(1, 900) / 1e3
            reply = lasting(wait_ms * rng.randrange(8, 14) / 100)
            calls.append(chat(MODEL, account=account, at_ms=at_ms, stream=number % 3 == 0, reply=reply))
    return Scenario(
        world=World(accounts=ACCOUNTS, overlay={"text.concurrency": slots}),
        workload=Workload(tuple(calls)),
        checks=(*CHECKS, slots_come_back),
        exact=True,
    )


@scenario(reaches=("queue_wait", "queue_full"))
def a_share_of_the_queue(contract: Contract, rng: random.Random) -> Scenario:
    """One account has filled the queue; others still get in, up to their share, and then hear that it is full."""
    slots, queue = 2, 9
    wait_ms = contract.text.queue_wait_ms
    held = lasting(wait_ms * 0.35)
    calls = [chat(MODEL, at_ms=n + rng.randrange(900) / 1e3, reply=held) for n in range(slots + queue + 2)]
    for number in range(queue // 2 + 1):
        calls.append(chat(MODEL, account="b", at_ms=30.5 + number * 2, stream=number % 2 == 0, reply=lasting(20)))
    for number in range(queue // 3 + 1):
        calls.append(chat(MODEL, account="c", at_ms=60.5 + number * 2, reply=lasting(20)))
    calls.append(chat(MODEL, at_ms=wait_ms * 2, reply=PROBE, tag="probe"))
    return Scenario(
        world=World(accounts=ACCOUNTS, overlay={"text.concurrency": slots, "text.queue_length": queue}),
        workload=Workload(tuple(calls)),
        checks=(*CHECKS, queue_is_shared, refused_calls_cost_nothing, slots_come_back),
        exact=True,
    )


@scenario(reaches=("rate_refused",))
def a_storm_next_door(contract: Contract, rng: random.Random) -> Scenario:
    """One account runs into its own limits, again and again; its neighbour does not notice."""
    limit, slots = 10, 4
    calls = [
        chat(MODEL, at_ms=rng.randrange(8_000_000) / 1e3, reply=lasting(rng.randrange(20, 200))) for _ in range(60)
    ]
    quiet = [
        chat(MODEL, account="b", at_ms=500 + n * 900 + rng.randrange(400), reply=lasting(50)) for n in range(limit)
    ]
    return Scenario(
        world=World(accounts=ACCOUNTS, overlay={"text.requests": limit, "text.concurrency": slots}),
        workload=Workload((*calls, *(replace(call, stream=n % 2 == 0) for n, call in enumerate(quiet)))),
        checks=(quotas_are_apart, slots_come_back),
    )
