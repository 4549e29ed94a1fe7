"""Requests and tokens per minute at their exact bounds: to the call, to the token, to the millisecond."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from harness.checkers.fairness import quotas_are_apart
from harness.checkers.rates import request_windows_hold
from harness.checkers.remaining import (
    admitted_answers_tell_the_limits,
    governor_is_announced,
    remaining_headers_are_true,
)
from harness.checkers.slots import slots_come_back
from harness.checkers.tokens import reservations_are_told, token_windows_hold
from harness.checkers.waiting import refused_calls_cost_nothing
from harness.contract import Contract
from harness.scenario import (
    Account,
    Call,
    Injection,
    Key,
    Reply,
    Scenario,
    Workload,
    World,
    at_once,
    chat,
    drawn,
    evenly,
    messages,
    repeat,
    responses,
    scenario,
)
from mock_upstreams.faults import respond
from scenarios.governor import MODEL, PROBE, lasting

OTHER = "deepseek-v4-pro"
REQUESTS = (request_windows_hold, remaining_headers_are_true, refused_calls_cost_nothing)
TOKENS = (token_windows_hold, reservations_are_told, remaining_headers_are_true)
WORLD = World(accounts=(Account("a", keys=(Key("a1"), Key("a2"), Key("a3"))), Account("b")))


def keyed(calls: Iterable[Call]) -> tuple[Call, ...]:
    """Return the calls of account a spread over its keys."""
    return tuple(replace(call, key=f"a{n % 3 + 1}") if call.account == "a" else call for n, call in enumerate(calls))


@scenario(reaches=("rate_refused",))
def the_nth_and_the_next(contract: Contract, rng: random.Random) -> Scenario:
    """The N-th request of a window is admitted and the N+1-th refused, at one instant or spread, whatever the keys."""
    limit, window_ms = 6, contract.text.window_ms
    calls = [chat(MODEL, stream=n % 2 == 0, reply=PROBE) for n in range(limit + 3)]
    # A window later: one by one, at random, over most of a window.
    start_ms = window_ms * 1.5
    times = sorted(rng.randrange(int(window_ms * 800)) / 1e3 for _ in range(limit + 2))
    makes = (chat, responses)
    calls += [makes[n % 2](MODEL, at_ms=start_ms + at_ms, reply=PROBE) for n, at_ms in enumerate(times)]
    # Neither another account nor another model has had any of it.
    calls += [chat(MODEL, account="b", at_ms=start_ms + times[-1] + 1, reply=PROBE)]
    calls += [chat(OTHER, at_ms=start_ms + times[-1] + 2, reply=PROBE)]
    return Scenario(
        world=replace(WORLD, overlay={"text.requests": limit}),
        workload=Workload(keyed(calls)),
        checks=(*REQUESTS, quotas_are_apart, governor_is_announced, admitted_answers_tell_the_limits),
        recovers=False,
    )


@scenario(reaches=("rate_refused",))
def each_unit_runs_out_by_itself(contract: Contract) -> Scenario:
    """A unit is taken for a whole window: a millisecond before that it is not free again, and then it is."""
    limit, window_ms = 5, contract.text.window_ms
    taken = [n * window_ms / 10 for n in range(limit)]
    calls = [chat(MODEL, at_ms=at_ms, reply=PROBE) for at_ms in taken]
    for number, at_ms in enumerate(taken):
        before = chat(MODEL, at_ms=at_ms + window_ms - 1, reply=PROBE)
        calls += [before, replace(before, at_ms=at_ms + window_ms, stream=number % 2 == 0)]
        calls.append(replace(before, at_ms=at_ms + window_ms + 1))
    return Scenario(
        world=replace(WORLD, overlay={"text.requests": limit}),
        workload=Workload(keyed(calls)),
        checks=REQUESTS,
        exact=True,
        recovers=False,
    )


@scenario(reaches=("rate_refused", "failover_taken", "input_refused"))
def what_takes_no_unit(contract: Contract) -> Scenario:
    """Refused calls take no unit, however many; a call takes one, however it ends or moves."""
    limit, window_ms, tokens = 6, contract.text.window_ms, 5_000_000
    refused = [chat("no-such-model", at_ms=n, reply=PROBE) for n in range(3)]
    refused += [chat(MODEL, at_ms=20 + n, reply=PROBE, max_tokens=tokens) for n in range(limit)]
    refused += [chat(MODEL, at_ms=10 + n, reply=PROBE, fields={"messages": "none"}) for n in range(3)]
    moving = [chat(MODEL, id=f"moves{n}", at_ms=100 + n * 10, reply=PROBE) for n in range(limit - 2)]
    rest = [chat(MODEL, id="fails", at_ms=200, reply=PROBE), chat(MODEL, at_ms=5_000, reply=lasting(200), abort_ms=50)]
    beyond = [chat(MODEL, at_ms=6_000 + n * window_ms / 60, reply=PROBE) for n in range(limit)]
    again = [chat(MODEL, at_ms=window_ms + 5_100 + n, reply=PROBE) for n in range(limit)]
    return Scenario(
        world=replace(WORLD, overlay={"text.requests": limit, "text.tokens": tokens, "breaker.min_calls": 1_000_000}),
        workload=Workload(keyed([*refused, *moving, *rest, *beyond, *again])),
        injections=(
            Injection("primary", respond(status=503), calls=tuple(call.id for call in moving)),
            Injection("*", respond(status=400), calls=("fails",)),
        ),
        checks=REQUESTS,
        recovers=False,
    )


@scenario(reaches=("queue_wait", "rate_refused"))
def units_are_taken_at_the_grant(contract: Contract) -> Scenario:
    """A call that waits takes its unit when it gets its slot: not before, and then for a whole window from there."""
    limit, slots = 3, 1
    window_ms, wait_ms = contract.text.window_ms, contract.text.queue_wait_ms
    held = lasting(wait_ms * 0.4)
    calls = [
        chat(MODEL, at_ms=0, reply=held),
        chat(MODEL, at_ms=5, reply=held),
        chat(MODEL, at_ms=10, reply=lasting(10)),  # its unit is the third: two wait, and have none yet
        chat(MODEL, at_ms=20, reply=PROBE),  # it may wait, for two of three units are free; in its turn none is
        chat(MODEL, at_ms=wait_ms * 0.9, reply=PROBE),  # one too many, now that all are served
        # The unit of the first is free again; those of the two that waited are not, though they came as early.
        chat(MODEL, at_ms=window_ms + 50, reply=PROBE),
        chat(MODEL, at_ms=window_ms + 60, reply=PROBE),
        chat(MODEL, at_ms=window_ms + wait_ms * 0.4 + 5, reply=PROBE),
        chat(MODEL, at_ms=window_ms + wait_ms * 0.4 + 15, reply=PROBE),
    ]
    return Scenario(
        world=replace(WORLD, overlay={"text.requests": limit, "text.concurrency": slots}),
        workload=Workload(keyed(calls)),
        checks=REQUESTS,
        exact=True,
        recovers=False,
    )


@scenario(reaches=("queue_wait", "rate_refused"))
def full_when_its_turn_comes(contract: Contract) -> Scenario:
    """A window that fills while a call waits refuses it at the grant; the slot goes to whom it can serve."""
    wait_ms = contract.text.queue_wait_ms
    calls = [
        chat(MODEL, at_ms=0, reply=lasting(wait_ms * 0.3)),
        chat(MODEL, at_ms=10, reply=lasting(wait_ms * 0.3)),
        chat(MODEL, at_ms=20, reply=PROBE),
        chat(MODEL, at_ms=30, stream=True, reply=PROBE),
        chat(MODEL, account="b", at_ms=40, reply=PROBE),
    ]
    return Scenario(
        world=replace(WORLD, overlay={"text.requests": 2, "text.concurrency": 1}),
        workload=Workload(keyed(calls)),
        checks=(*REQUESTS, slots_come_back),
    )


def sized(tokens: int, **options: object) -> Call:
    """Return a call that reserves so many tokens: most of them as its max_tokens, the rest by its length."""
    length = 320
    return chat(MODEL, prompt_bytes=length, max_tokens=tokens - length // 4, **options)


@scenario(reaches=("tokens_refused",))
def tokens_to_the_token(contract: Contract, rng: random.Random) -> Scenario:
    """Reserved at admission, settled to what was used: what is left fits exactly, and not one token more."""
    limit, window_ms = 20_000, contract.text.window_ms
    used = [rng.randrange(100, 2_000) for _ in range(4)]
    calls = [
        sized(
            2_500,
            at_ms=n * 150,
            stream=n % 2 == 0,
            reply=replace(
                PROBE, input=total - total // 8 * 6, cached=total // 4, written=total // 8, output=total // 8 * 3
            ),
        )
        for n, total in enumerate(used)
    ]
    left = limit - sum(used)
    calls += [sized(left + 1, at_ms=2_000, reply=PROBE), sized(left, at_ms=2_100, reply=lasting(300))]
    # While that one is at work nothing fits; then all but what it used does.
    calls += [sized(100, at_ms=2_200, reply=PROBE)]
    calls += [sized(limit, account="b", at_ms=2_250, reply=PROBE), replace(sized(limit, at_ms=2_260), model=OTHER)]
    # Used at the time of admission: the first call's tokens are free a window after it was admitted, to the instant.
    calls += [sized(limit + 1, at_ms=window_ms - 20, reply=PROBE)]
    late = replace(PROBE, input=4_000, output=1_000)
    calls += [sized(12_000, at_ms=window_ms * 2, reply=replace(late, ttft_ms=900))]
    calls += [sized(15_001, at_ms=window_ms * 2 + 2_000, reply=PROBE)]
    calls += [sized(15_000, at_ms=window_ms * 3 - 1, reply=lasting(50)), sized(5_000, at_ms=window_ms * 3, reply=PROBE)]
    return Scenario(
        world=replace(WORLD, overlay={"text.tokens": limit}),
        workload=Workload(keyed(calls)),
        checks=(*TOKENS, quotas_are_apart),
        exact=True,
        recovers=False,
    )


@scenario(reaches=("tokens_refused",))
def tokens_at_one_instant(contract: Contract) -> Scenario:
    """Many alike at one instant, on every surface: as many are admitted as their reservations fit, and no more."""
    calls: list[Call] = []
    size = 1_000
    limit = 5 * size + size // 2
    for make, model in ((chat, MODEL), (messages, "claude-sonnet-4-7"), (responses, OTHER)):
        for stream in (False, True):
            account = "a" if stream else "b"
            one = make(
                model, account=account, stream=stream, prompt_bytes=400, max_tokens=size - 100, reply=lasting(200)
            )
            calls += repeat(one, at_once(8, 0 if stream else 50))
            calls.append(replace(one, at_ms=100, max_tokens=size // 2 - 100))  # what is left, exactly
            # Without max_tokens the model's own default is reserved.
            free = make(model, account=account, stream=stream, prompt_bytes=403, reply=PROBE, at_ms=2_000)
            calls += [free, replace(free, at_ms=2_010)]
    return Scenario(
        world=replace(WORLD, overlay={"text.tokens": limit}),
        workload=Workload(keyed(calls)),
        checks=(*TOKENS, refused_calls_cost_nothing),
        recovers=False,
    )


@scenario(reaches=("tokens_refused", "chain_exhausted"))
def failures_use_no_tokens(contract: Contract) -> Scenario:
    """What failed, was refused, or used more than was reserved counts for what it used, and for nothing else."""
    limit = 10_000
    fails = [sized(4_000, id=f"fails{n}", at_ms=n * 20, reply=PROBE) for n in range(2)]
    more = replace(PROBE, input=1_000, output=5_000)
    calls = [
        *fails,
        sized(2_000, at_ms=3_000, reply=more),
        sized(4_001, at_ms=4_000, reply=PROBE),
        sized(4_000, at_ms=4_100, reply=lasting(100)),
        sized(1_000, at_ms=4_150, reply=PROBE),
        sized(1_000, at_ms=5_000, reply=PROBE),
    ]
    return Scenario(
        world=replace(WORLD, overlay={"text.tokens": limit, "failover.retries_per_target": 0}),
        workload=Workload(keyed(calls)),
        injections=(Injection("*", respond(status=503), calls=("fails0", "fails1")),),
        checks=(*TOKENS, refused_calls_cost_nothing),
        recovers=False,
    )


@scenario(part="ceilings", reaches=("rate_refused",))
def fifteen_thousand_a_minute(contract: Contract, rng: random.Random) -> Scenario:
    """The contract's own rate for two minutes, even and drawn: so many in each, each unit free when it ran out."""
    limit, window_ms = contract.text.requests, contract.text.window_ms
    reply = Reply(chunks=1, ttft_ms=100, gap_ms=0)
    calls: list[Call] = []
    for minute in range(2):
        start_ms = minute * window_ms
        times = drawn(limit, window_ms * 0.9, rng, start_ms) if minute else evenly(limit, window_ms * 0.9, start_ms)
        calls += repeat(chat(MODEL, reply=reply), times)
        calls += repeat(chat(MODEL, reply=PROBE), evenly(40, window_ms * 0.09, start_ms + window_ms * 0.905))
    calls.append(chat(MODEL, account="b", at_ms=window_ms * 1.95, reply=PROBE))
    accounts = (replace(WORLD.accounts[0], credits=100_000_000), WORLD.accounts[1])
    return Scenario(
        world=replace(WORLD, accounts=accounts),
        workload=Workload(keyed(calls)),
        checks=(*REQUESTS, slots_come_back),
        recovers=False,
        exact=True,
    )


@scenario(part="ceilings", reaches=("tokens_refused",))
def forty_million_tokens(contract: Contract) -> Scenario:
    """The contract's own tokens: used up to the last one, and the next refused."""
    limit = contract.text.tokens
    size = limit // 400
    used = replace(PROBE, input=size // 2, output=size - size // 2)
    calls = [sized(size, at_ms=n * 50.0, reply=used) for n in range(399)]
    calls += [sized(size + 1, at_ms=25_000, reply=PROBE), sized(size, at_ms=26_000, reply=lasting(200))]
    calls += [sized(100, at_ms=26_100, reply=PROBE)]
    accounts = (replace(WORLD.accounts[0], credits=1_000_000_000), WORLD.accounts[1])
    return Scenario(
        world=replace(WORLD, accounts=accounts),
        workload=Workload(keyed(calls)),
        checks=TOKENS,
        recovers=False,
    )
