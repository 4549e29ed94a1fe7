"""The general API's own limit: one quota for all keys of a user, told honestly; and nothing of the governor's."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.general_rate import (
    general_traffic_is_ungoverned,
    refusals_tell_when_to_return,
    user_quota_holds,
)
from harness.contract import Contract
from harness.scenario import (
    Call,
    Reply,
    Scenario,
    Workload,
    at_once,
    chat,
    messages,
    repeat,
    responses,
    scenario,
)
from scenarios.governor import PROBE
from scenarios.rates import WORLD, keyed

MODELS = ((chat, "gpt-5.5"), (messages, "claude-sonnet-4-6"), (responses, "gpt-5.1-codex"))
CHECKS = (user_quota_holds, refusals_tell_when_to_return, general_traffic_is_ungoverned)


@scenario(reaches=("user_rate_refused",))
def one_quota_for_all_keys(contract: Contract, rng: random.Random) -> Scenario:
    """So many requests of a user over all keys, surfaces and models, at one instant or spread; the next is refused."""
    limit, window_ms = 7, contract.user_rate.window_ms
    calls: list[Call] = []
    for number in range(limit + 3):
        make, model = MODELS[number % 3]
        calls.append(make(model, tier="general", stream=number % 2 == 0, reply=PROBE))
    times = sorted(rng.randrange(int(window_ms * 900)) / 1e3 for _ in range(limit + 3))
    for number, at_ms in enumerate(times):
        make, model = MODELS[number % 3]
        calls.append(make(model, tier="general", at_ms=window_ms * 1.5 + at_ms, reply=PROBE))
    calls.append(chat("gpt-5.5", tier="general", account="b", at_ms=1, reply=PROBE))
    return Scenario(
        world=replace(WORLD, overlay={"user_rate.requests": limit}),
        workload=Workload(keyed(calls)),
        checks=CHECKS,
        recovers=False,
    )


@scenario(reaches=("user_rate_refused",))
def coming_back_when_told(contract: Contract, rng: random.Random) -> Scenario:
    """Whoever comes back after Retry-After, and alone, is let in: after a burst, and after a spread of calls."""
    limit, window_ms = 4, contract.user_rate.window_ms
    calls: list[Call] = []
    for account, spread_ms in (("a", 0.0), ("b", window_ms / 3)):
        times = sorted(rng.random() * spread_ms for _ in range(limit))
        calls += [chat("gpt-5.5", tier="general", account=account, at_ms=at_ms, reply=PROBE) for at_ms in times]
        late = chat("gpt-5.5", tier="general", account=account, at_ms=spread_ms + 20, reply=PROBE)
        before = replace(late, id=f"{account}-refused")
        calls.append(before)
        for number in range(3):
            following = replace(
                late,
                id=f"{account}-back-{number}",
                at_ms=None,
                after=(before.id,),
                wait_retry_after=True,
                stream=number == 1,
            )
            again = replace(late, id=f"{account}-again-{number}", at_ms=None, after=(following.id,), delay_ms=5)
            calls += [following, *([again] * 1)]
            before = again
    return Scenario(
        world=replace(WORLD, overlay={"user_rate.requests": limit}),
        workload=Workload(keyed(calls)),
        checks=(user_quota_holds, refusals_tell_when_to_return),
        recovers=False,
    )


@scenario(reaches=("slots_full", "user_rate_refused"))
def ungoverned_beside_enterprise(contract: Contract) -> Scenario:
    """General calls at once beyond the governor's slots, rates and tokens, while Enterprise calls use them all up."""
    slots = 2
    limit = slots * 5
    held = Reply(chunks=2, ttft_ms=400, gap_ms=0)
    calls = list(repeat(chat("gpt-5-5", reply=held), at_once(slots)))
    for make, model in MODELS:
        calls += repeat(make(model, tier="general", reply=held), at_once(slots + 1, 10))
        calls += repeat(make(model, tier="general", stream=True, account="b", reply=held), at_once(slots + 1, 10))
    calls += repeat(chat("gpt-5.5", tier="general", reply=PROBE), at_once(3, 1_000))
    calls += [chat("gpt-5-5", at_ms=1_100, reply=PROBE)]
    overlay = {"text.concurrency": slots, "text.requests": slots + 1, "user_rate.requests": limit}
    return Scenario(
        world=replace(WORLD, overlay=overlay),
        workload=Workload(keyed(calls)),
        checks=(general_traffic_is_ungoverned, user_quota_holds),
        recovers=False,
    )


@scenario(part="ceilings", reaches=("user_rate_refused",))
def the_contracts_user_rate(contract: Contract, rng: random.Random) -> Scenario:
    """The contract's own quota over two windows: so many in any of them, whatever the keys."""
    limit, window_ms = contract.user_rate.requests, contract.user_rate.window_ms
    times = sorted(rng.randrange(int(window_ms * 2_000)) / 1e3 for _ in range(limit * 5 // 2))
    calls = [chat("gpt-5.5", tier="general", at_ms=at_ms, reply=PROBE) for at_ms in times]
    return Scenario(
        world=WORLD,
        workload=Workload(keyed(calls)),
        checks=(user_quota_holds, general_traffic_is_ungoverned),
        recovers=False,
        exact=True,
    )
