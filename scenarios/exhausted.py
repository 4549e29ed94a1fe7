"""Every target fails, or the request is at fault: what the client gets, how often, when, and what it never hears."""

from __future__ import annotations

import random

from harness.checkers.exhausted import (
    exhausted_calls_get_one_error,
    exhausted_calls_leak_and_cost_nothing,
    failover_goes_on_behind_pings,
)
from harness.checkers.failover import rate_limited_upstreams_move_on
from harness.checkers.moves import client_faults_come_back, target_faults_move_on
from harness.contract import Contract
from harness.scenario import Injection, Scenario, World, scenario
from mock_upstreams.faults import (
    comments,
    error_in_200,
    hang_after_headers,
    hang_before_headers,
    pings,
    reset_before_headers,
    respond,
    stream_error,
    truncate,
)
from scenarios.failover import NO_BREAKER, ORDER, Plan, everywhere

SPILT = "cannot reach http://10.1.2.3:8443/v1 (primary.upstream) with sk-live-4Tq8zWmVxK2p and ck_live_9hQ2mZ7rT4"
"""What a careless upstream says of itself and of others."""


@scenario(reaches=("hold_voided",))
def nobody_listens(contract: Contract) -> Scenario:
    """No target can be reached, the last one not even for a refusal: one clean error that names none of them."""
    plan = Plan()
    for call in everywhere():
        plan.add(call)
    return Scenario(
        world=World(
            overlay=NO_BREAKER, listeners={"primary": "refusing", "second": "tls_failing", "third": "refusing"}
        ),
        workload=plan.workload,
        checks=(exhausted_calls_get_one_error, exhausted_calls_leak_and_cost_nothing),
        bodies=True,
        recovers=False,
    )


@scenario(reaches=("client_fault_returned", "target_fault_met", "chain_exhausted"))
def client_and_target_faults(contract: Contract) -> Scenario:
    """The client's own faults come back at once; those of credential or target move on, and end in 502."""
    rules = contract.failover
    plan = Plan()
    own, target = rules.client_fault_statuses, rules.target_fault_statuses
    for turn, call in enumerate(everywhere()):
        at = ("primary", "second")[turn % 2]
        before = (("primary", respond(status=503)),) if at == "second" else ()
        plan.add(call, *before, (at, respond(status=own[turn % len(own)], message=SPILT)))
        plan.add(call, ("primary", respond(status=target[turn % len(target)])))
        plan.add(call, ("*", respond(status=target[-1 - turn % len(target)], message=SPILT)))
        plan.add(call, ("primary", respond(status=503), 1), ("*", respond(status=target[turn // 2])))
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(
            client_faults_come_back,
            target_faults_move_on,
            exhausted_calls_get_one_error,
            exhausted_calls_leak_and_cost_nothing,
            *ORDER,
        ),
        bodies=True,
        recovers=False,
    )


@scenario(reaches=("chain_exhausted", "silence_ended", "retry_after_told"))
def all_targets_fail(contract: Contract, rng: random.Random) -> Scenario:
    """Every target fails, in every mixture that decides the status: one clean error, unpaid, that leaks nothing."""
    beyond_s = contract.failover.backoff_cap_ms / 1e3 + 3
    busy = respond(status=429, message=SPILT)
    mixtures = (
        (("*", respond(status=503, message=SPILT, after_s=rng.randrange(1, 200) / 1e3)),),
        (("*", busy),),
        (
            ("primary", respond(status=429, retry_after_s=2.0)),
            ("second", respond(status=429, retry_after_s=beyond_s, after_s=rng.randrange(1, 200) / 1e3)),
            ("third", respond(status=429, retry_after_s=1.0)),
        ),
        (("primary", busy), ("second", respond(status=500)), ("third", busy)),
        (("primary", respond(status=500)), ("second", busy), ("third", hang_before_headers())),
        (("primary", hang_before_headers(), 1), ("second", reset_before_headers()), ("third", reset_before_headers())),
        (("*", error_in_200(message=SPILT)),),
    )
    plan = Plan()
    for turn, call in enumerate(everywhere()):
        for number in range(3):
            mixture = mixtures[(turn * 3 + number) % len(mixtures)]
            plan.add(call, *mixture)
            if mixture[0][1].name == "hang_before_headers":
                again = Injection("primary", reset_before_headers(), nth=2, calls=(plan.calls[-1].id,))
                plan.injections.append(again)  # a timeout that was not the last failure
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(
            exhausted_calls_get_one_error,
            exhausted_calls_leak_and_cost_nothing,
            rate_limited_upstreams_move_on,
            *ORDER,
        ),
        bodies=True,
        recovers=False,
    )


@scenario(reaches=("failover_taken", "ping_sent"))
def failing_behind_pings(contract: Contract) -> Scenario:
    """Targets fail while, or after, the client heard pings: the next answers, or one error event ends the stream."""
    slow_s = contract.timeouts.ping_ms * 2.5 / 1e3
    plan = Plan()
    for call in everywhere():
        if not call.stream:
            continue
        plan.add(call, ("primary", respond(status=503, after_s=slow_s)))
        plan.add(call, ("primary", hang_before_headers(), 1))
        plan.add(call, ("primary", comments(), 1), ("primary", stream_error(content=0), 1))
        plan.add(call, ("primary", pings(), 1), ("primary", truncate(content=0), 1))
        plan.add(call, ("*", respond(status=503, after_s=slow_s)))
        plan.add(call, ("*", respond(status=429, retry_after_s=1.0, after_s=slow_s)))
        plan.add(call, ("primary", respond(status=503, after_s=slow_s)), ("*", hang_after_headers()))
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(
            failover_goes_on_behind_pings,
            exhausted_calls_get_one_error,
            exhausted_calls_leak_and_cost_nothing,
            *ORDER,
        ),
        recovers=False,
    )
