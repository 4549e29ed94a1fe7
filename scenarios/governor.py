"""Slots and the wait queue: bounds to the call, order, what is refused and at what cost, and every slot given back."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.remaining import (
    admitted_answers_tell_the_limits,
    governor_is_announced,
    remaining_headers_are_true,
)
from harness.checkers.slots import slots_are_bounded, slots_come_back
from harness.checkers.waiting import (
    queue_is_short,
    refused_calls_cost_nothing,
    waiters_are_served_in_order,
    waiting_tokens_are_bounded,
)
from harness.contract import Contract
from harness.scenario import (
    Account,
    Call,
    Injection,
    Key,
    Reply,
    Scenario,
    StoreFailure,
    Workload,
    World,
    chat,
    evenly,
    messages,
    repeat,
    responses,
    scenario,
)
from mock_upstreams.faults import cut_after, hang_before_headers, respond

MODEL = "gpt-5-5"
PROBE = Reply(chunks=1, ttft_ms=1, gap_ms=0)
QUEUE = (queue_is_short, refused_calls_cost_nothing, waiters_are_served_in_order)
HEADERS = (governor_is_announced, admitted_answers_tell_the_limits, remaining_headers_are_true)


def lasting(ms: float) -> Reply:
    """Return a reply that takes so long."""
    return Reply(chunks=2, ttft_ms=ms, gap_ms=0)


@scenario(reaches=("slots_full", "queue_wait", "queue_full"))
def more_than_slots_and_queue(contract: Contract, rng: random.Random) -> Scenario:
    """Bursts at one instant and spread, streamed and not: so many at once, so many waiting, the rest refused."""
    slots, queue = 3, 4
    wait_ms = contract.text.queue_wait_ms
    calls: list[Call] = []
    for burst in range(3):
        start_ms = burst * wait_ms * 4
        for number in range(slots + queue + 3):
            at_ms = start_ms + (0 if burst == 0 else rng.randrange(1, 40_000) / 1e3)
            reply = lasting(wait_ms * rng.randrange(15, 45) / 100)
            calls.append(chat(MODEL, at_ms=at_ms, stream=number % 2 == 0, reply=reply))
    return Scenario(
        world=World(overlay={"text.concurrency": slots, "text.queue_length": queue}),
        workload=Workload(tuple(calls)),
        checks=(slots_are_bounded, slots_come_back, *QUEUE, *HEADERS),
        exact=True,
    )


@scenario(reaches=("queue_wait", "queue_time_up"))
def waiting_in_vain(contract: Contract) -> Scenario:
    """No slot comes free in time: refused when the time is up; a slot that comes just before is used."""
    slots = 2
    wait_ms = contract.text.queue_wait_ms
    calls: list[Call] = []
    for number, held in enumerate((wait_ms * 2, wait_ms * 1.5, wait_ms * 0.98)):
        start_ms = number * wait_ms * 5
        calls += [chat(MODEL, at_ms=start_ms + n, reply=lasting(held)) for n in range(slots)]
        calls += [chat(MODEL, at_ms=start_ms + 5 + n, stream=n == 0, reply=PROBE) for n in range(3)]
        calls.append(chat(MODEL, at_ms=start_ms + wait_ms * 3, reply=PROBE, tag="probe"))
    return Scenario(
        world=World(overlay={"text.concurrency": slots}),
        workload=Workload(tuple(calls)),
        checks=(slots_are_bounded, slots_come_back, *QUEUE, *HEADERS),
        exact=True,
    )


@scenario(reaches=("waiter_left", "queue_time_up"))
def handed_over_at_the_last_instant(contract: Contract) -> Scenario:
    """A slot that comes free in the very instant in which a wait ends is lost to nobody."""
    wait_ms = contract.text.queue_wait_ms
    calls = [chat(MODEL, at_ms=0, reply=lasting(wait_ms + 10))]
    calls += [chat(MODEL, at_ms=at_ms, reply=lasting(50)) for at_ms in (10, 10.5, 11)]
    calls += [chat(MODEL, at_ms=10, stream=True, reply=lasting(50), abort_ms=wait_ms)]
    calls.append(chat(MODEL, at_ms=wait_ms * 3, reply=PROBE, tag="probe"))
    # And one that comes just before its waiter leaves: the slot may be on its way to it.
    calls += [chat(MODEL, at_ms=wait_ms * 4, reply=lasting(300))]
    calls += [chat(MODEL, at_ms=wait_ms * 4 + 10, reply=lasting(50), abort_ms=290 + early) for early in (0, 0.5)]
    calls.append(chat(MODEL, at_ms=wait_ms * 6, reply=PROBE, tag="probe"))
    return Scenario(
        world=World(overlay={"text.concurrency": 1}),
        workload=Workload(tuple(calls)),
        checks=(slots_are_bounded, slots_come_back, queue_is_short, remaining_headers_are_true),
        exact=True,
    )


@scenario(reaches=("waiter_left", "queue_wait"))
def waiters_that_leave(contract: Contract, rng: random.Random) -> Scenario:
    """Clients that leave while they wait never reach an upstream, and those behind them move up."""
    slots, queue = 2, 6
    wait_ms = contract.text.queue_wait_ms
    calls: list[Call] = []
    for number in range(2):
        start_ms = number * wait_ms * 4
        calls += [chat(MODEL, at_ms=start_ms + n, reply=lasting(wait_ms * 0.7)) for n in range(slots)]
        for place in range(queue):
            leaves = wait_ms * rng.randrange(20, 60) / 100 if place % 2 == 0 else None
            at_ms = start_ms + 10 + place * 3 + rng.randrange(1_000) / 1e3
            reply = lasting(wait_ms * 0.2)
            calls.append(chat(MODEL, at_ms=at_ms, stream=place % 3 == 0, reply=reply, abort_ms=leaves))
        calls.append(chat(MODEL, at_ms=start_ms + wait_ms * 3, reply=PROBE, tag="probe"))
    return Scenario(
        world=World(overlay={"text.concurrency": slots, "text.queue_length": queue}),
        workload=Workload(tuple(calls)),
        checks=(slots_are_bounded, slots_come_back, *QUEUE, *HEADERS),
        exact=True,
    )


@scenario(reaches=("queue_wait", "queue_tokens_full"))
def tokens_that_wait(contract: Contract) -> Scenario:
    """The queue is full when the tokens of those that wait are as many as it takes, to the token."""
    wait_ms = contract.text.queue_wait_ms
    size = 400
    held = chat(MODEL, reply=lasting(wait_ms * 0.5), prompt_bytes=size, max_tokens=100)
    one = size // 4 + 100
    calls = [
        replace(held, at_ms=0),
        *(replace(held, at_ms=at_ms, reply=lasting(40)) for at_ms in (10, 20)),
        # What is left takes a token less than this; then the next exactly, and not a single token more.
        replace(held, at_ms=25, max_tokens=101 + one // 2, reply=PROBE),
        replace(held, at_ms=30, max_tokens=100 + one // 2, reply=lasting(40)),
        replace(held, at_ms=40, max_tokens=1, reply=PROBE),
        replace(held, at_ms=wait_ms * 2, max_tokens=50, reply=PROBE, tag="probe"),
        # One that is too large for the queue waits for nothing, but takes a free slot.
        replace(held, at_ms=wait_ms * 3, reply=lasting(wait_ms * 0.5)),
        replace(held, at_ms=wait_ms * 3 + 10, max_tokens=one * 4, reply=PROBE),
        replace(held, at_ms=wait_ms * 5, max_tokens=one * 4, reply=PROBE),
        # One that leaves makes room for as many tokens as it had.
        replace(held, at_ms=wait_ms * 6, reply=lasting(wait_ms * 0.5)),
        replace(held, at_ms=wait_ms * 6 + 10, abort_ms=40),
        *(replace(held, at_ms=wait_ms * 6 + at_ms, reply=lasting(40)) for at_ms in (60, 70)),
        replace(held, at_ms=wait_ms * 6 + 80, max_tokens=100 + one // 2, reply=lasting(40)),
    ]
    overlay = {"text.concurrency": 1, "text.queue_tokens": 3 * one + one // 2}
    return Scenario(
        world=World(overlay=overlay),
        workload=Workload(tuple(calls)),
        checks=(waiting_tokens_are_bounded, *QUEUE, remaining_headers_are_true),
        exact=True,
    )


@scenario(reaches=("chain_exhausted", "silence_ended", "client_left", "waiter_left", "handler_crashed"))
def every_way_out(contract: Contract) -> Scenario:
    """After each way in which a call can end, on each surface, a lone probe finds all slots free but its own."""
    silence_ms, drain_ms = contract.timeouts.silence_ms, contract.timeouts.drain_ms
    wait_ms = contract.text.queue_wait_ms
    slots = 2
    calls: list[Call] = []
    injections: list[Injection] = []
    failures: list[StoreFailure] = []
    now_ms = 0.0

    def then(name: str, lasts_ms: float, *together: Call) -> None:
        nonlocal now_ms
        for number, call in enumerate(together):
            calls.append(replace(call, id=f"{name}-{len(calls)}", at_ms=now_ms + number * 2, tag=name))
        now_ms += lasts_ms + 500
        calls.append(replace(together[0], at_ms=now_ms, reply=PROBE, stream=False, abort_ms=None, tag="probe"))
        now_ms += 300

    for turn, (make, model) in enumerate(
        ((chat, MODEL), (messages, "claude-sonnet-4-7"), (responses, "deepseek-v4-pro"))
    ):
        for stream in (False, True) if turn == 0 else (turn == 1,):
            call = make(model, stream=stream, reply=lasting(30))
            then("success", 200, call)
            then("fails", 12_000, call)
            if stream:
                then("breaks", 200, call)
            then("leaves", drain_ms + 100, replace(call, reply=lasting(drain_ms * 3), abort_ms=20))
            held = replace(call, reply=lasting(wait_ms * 0.6))
            then("waits", wait_ms * 2, *[held] * slots, replace(held, abort_ms=wait_ms * 0.3), held)
        failures.append(StoreFailure(at_ms=now_ms - 1))
        then("crashes", 200, make(model, reply=lasting(30)))
        then("hangs", silence_ms * 2 + 65_000, make(model, reply=PROBE), make(model, stream=True, reply=PROBE))
    named = {name: tuple(c.id for c in calls if c.tag == name) for name in ("fails", "breaks", "hangs")}
    injections.append(Injection("*", respond(status=503), calls=named["fails"]))
    injections.append(Injection("*", cut_after(content=1), calls=named["breaks"]))
    injections.append(Injection("*", hang_before_headers(), calls=named["hangs"]))
    return Scenario(
        world=World(overlay={"text.concurrency": slots, "breaker.min_calls": 1_000_000}),
        workload=Workload(tuple(calls)),
        injections=tuple(injections),
        store_failures=tuple(failures),
        checks=(slots_come_back, slots_are_bounded, *HEADERS),
        exact=True,
        recovers=False,
    )


@scenario(reaches=("queue_wait", "queue_full", "client_left", "retry_taken"))
def a_storm_of_everything(contract: Contract, rng: random.Random) -> Scenario:
    """Calls of every kind and fate at random, more than there is room for; then a lone probe shows all slots free."""
    slots, queue = 5, 6
    drain_ms = contract.timeouts.drain_ms
    # One that surely leaves while its upstream works: the others' fates are drawn.
    calls = [chat(MODEL, id="leaver", at_ms=0, reply=Reply(ttft_ms=500), abort_ms=100)]
    injections: list[Injection] = []
    for number in range(64):
        leaves = rng.randrange(1_000, 1_500_000) / 1e3 if rng.random() < 0.25 else None
        reply = Reply(chunks=4, ttft_ms=rng.randrange(1_000, 900_000) / 1e3, gap_ms=rng.randrange(1_000, 60_000) / 1e3)
        calls.append(
            rng.choice((chat, responses))(
                MODEL,
                id=f"s{number}",
                account=rng.choice("ab"),
                at_ms=rng.randrange(5_200_000) / 1e3,
                stream=rng.random() < 0.5,
                reply=reply,
                abort_ms=leaves,
            )
        )
        if rng.random() < 0.25:
            fault = respond(status=503, after_s=rng.randrange(1, 300) / 1e3)
            first = rng.randrange(1, 4)
            injections.append(Injection("*", fault, first=first, calls=(f"s{number}",), must_fire=False))
    calls.append(chat(MODEL, id="probe", at_ms=11_000 + drain_ms * 3, reply=PROBE, tag="probe"))
    overlay = {"text.concurrency": slots, "text.queue_length": queue, "breaker.min_calls": 1_000_000}
    return Scenario(
        world=World(accounts=(Account("a", keys=(Key("a1"), Key("a2"))), Account("b")), overlay=overlay),
        workload=Workload(tuple(calls)),
        injections=tuple(injections),
        checks=(
            slots_are_bounded,
            slots_come_back,
            refused_calls_cost_nothing,
            *HEADERS,
        ),
    )


@scenario(reaches=("failover_taken", "slots_full", "queue_wait"))
def failing_over_in_one_slot(contract: Contract) -> Scenario:
    """A call that fails over, pauses included, holds one slot: nobody else gets it, and nobody is kept out twice."""
    slots = 3
    calls = [chat(MODEL, id=f"moves-{n}", at_ms=n * 3, reply=lasting(100)) for n in range(slots)]
    calls += [chat(MODEL, at_ms=50 + n * 40, reply=PROBE) for n in range(8)]
    alone = chat(MODEL, id="moves-alone", at_ms=8_000, reply=lasting(100))
    beside = [chat(MODEL, at_ms=8_050 + n * 60, reply=lasting(20)) for n in range(6)]
    moving = tuple(call.id for call in (*calls, alone) if call.id)
    return Scenario(
        world=World(overlay={"text.concurrency": slots, "breaker.min_calls": 1_000_000}),
        workload=Workload((*calls, alone, *beside)),
        injections=(
            Injection("primary", respond(status=503, after_s=0.05), calls=moving),
            Injection("second", respond(status=503, after_s=0.05), calls=moving, first=slots + 1),
        ),
        checks=(slots_are_bounded, slots_come_back, remaining_headers_are_true),
    )


@scenario(part="ceilings", reaches=("slots_full", "queue_wait", "queue_full"))
def the_contracts_slots_and_queue(contract: Contract) -> Scenario:
    """The real numbers within two milliseconds: every slot taken, every place in the queue, and the rest refused."""
    limits = contract.text
    many = limits.concurrency + limits.queue_length + 16
    burst = repeat(chat(MODEL, reply=lasting(limits.queue_wait_ms * 0.4)), evenly(many, 2))
    return Scenario(
        world=World(),
        workload=Workload((*burst, chat(MODEL, at_ms=limits.queue_wait_ms * 3, reply=PROBE, tag="probe"))),
        checks=(slots_are_bounded, slots_come_back, *QUEUE, *HEADERS),
        exact=True,
    )
