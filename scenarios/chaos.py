"""Chaos for circuits: outages, brown-outs, flapping, partial failures, storms and leaks, under steady traffic.

All times follow the contract's cool-down, so that a path has time to open, to be probed, and to close or open again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from harness.checkers.breaker import (
    all_circuits_open_is_told_at_once,
    circuit_header_is_true,
    open_circuits_get_no_calls,
)
from harness.checkers.breaker_states import circuits_follow_their_rules
from harness.checkers.failover import rate_limited_upstreams_move_on, server_errors_move_on
from harness.checkers.moves import pauses_grow, targets_are_tried_in_order
from harness.checkers.outages import (
    an_outage_costs_a_bounded_number_of_calls,
    the_header_agrees_with_the_journal,
    the_journal_shows_open_circuits,
)
from harness.contract import Contract
from harness.scenario import Call, Injection, Reply, Scenario, Workload, World, chat, drawn, messages, scenario
from mock_upstreams.faults import FaultSpec, cut_after, delay, reset_before_headers, respond

MODEL = "gpt-5-5"
CHECKS = (
    open_circuits_get_no_calls,
    circuits_follow_their_rules,
    circuit_header_is_true,
    the_header_agrees_with_the_journal,
)
PER_COOLDOWN = 20
"""Calls in the time of one cool-down: enough to open a circuit well within it."""
LASTS = 0.25
"""How long an answer takes, in cool-downs: more calls are under way at once than a half-open circuit lets through."""
OUTAGE = (an_outage_costs_a_bounded_number_of_calls, the_journal_shows_open_circuits)
ROLES = ("primary", "second", "third")


def traffic(
    contract: Contract,
    rng: random.Random,
    cooldowns: float,
    *,
    start: float = 0,
    per_cooldown: int = PER_COOLDOWN,
    model: str = MODEL,
    make: Callable[..., Call] = chat,
    **options: Any,
) -> list[Call]:
    """Return calls at random times over so many cool-downs, from ``start`` on (in cool-downs as well)."""
    unit_ms = contract.breaker.cooldown_ms
    times = drawn(round(cooldowns * per_cooldown), cooldowns * unit_ms, rng, start * unit_ms)
    made = []
    for at_ms in times:
        ttft_ms = unit_ms * LASTS * rng.randrange(500, 1_000) / 1e3
        stream = rng.random() < 0.5
        reply = Reply(chunks=2, ttft_ms=ttft_ms, gap_ms=1.003)
        made.append(make(model, **{"at_ms": at_ms, "stream": stream, "reply": reply, **options}))
    return made


def failing(
    contract: Contract, role: str, start: float, stop: float, fault: FaultSpec | None = None, **options: Any
) -> Injection:
    """Return a fault of ``role`` (503 if not given) between two instants in cool-downs."""
    unit_ms = contract.breaker.cooldown_ms
    made = fault or respond(status=503, after_s=0.021)
    return Injection(role, made, start_ms=start * unit_ms, stop_ms=stop * unit_ms, **options)


def chaos(
    calls: list[Call],
    *injections: Injection,
    checks: tuple[Any, ...] = (),
    overlay: dict[str, Any] | None = None,
) -> Scenario:
    """Return the scenario of ``calls`` and faults with all that is asked of circuits."""
    return Scenario(
        world=World(overlay=overlay or {}),
        workload=Workload(tuple(calls)),
        injections=injections,
        checks=(*CHECKS, *checks),
        exact=True,
    )


@scenario(part="chaos", reaches=("circuit_opened", "half_open_probed", "circuit_closed", "failover_taken"))
def outage(contract: Contract, rng: random.Random) -> Scenario:
    """The primary is down for a while: it is left alone, probed, and taken back."""
    calls = traffic(contract, rng, 6.5)
    return chaos(calls, failing(contract, "primary", 1, 3.5), checks=(server_errors_move_on, *OUTAGE))


@scenario(part="chaos", reaches=("circuit_opened", "half_open_probed"))
def brown_out(contract: Contract, rng: random.Random) -> Scenario:
    """The primary answers, but slowly: where slow calls count it is left alone as if it failed, and taken back."""
    slow_ms = round(contract.breaker.cooldown_ms * LASTS * 1.2)
    slow = delay(seconds=slow_ms / 1e3)
    overlay = {"breaker.slow_ms": slow_ms, "breaker.slow_percent": contract.breaker.failure_percent}
    return chaos(traffic(contract, rng, 8), failing(contract, "primary", 1, 4, slow), overlay=overlay)


@scenario(part="chaos", reaches=("circuit_opened", "half_open_probed", "circuit_closed"))
def flapping(contract: Contract, rng: random.Random) -> Scenario:
    """The primary comes and goes, for less than a cool-down each time."""
    downs = [failing(contract, "primary", start, start + 0.6, must_fire=False) for start in (0.5, 1.9, 3.3, 4.7)]
    return chaos(traffic(contract, rng, 8), *downs, checks=(the_journal_shows_open_circuits,))


@scenario(part="chaos", reaches=("circuit_opened", "failover_taken"))
def partial_failures(contract: Contract, rng: random.Random) -> Scenario:
    """A share of calls fails, below the threshold, about at it and above it: each path as its own share demands."""
    threshold = contract.breaker.failure_percent / 100
    shares = {MODEL: threshold * 0.7, "deepseek-v4-pro": threshold, "qwen3-7-plus": min(1.0, threshold * 1.5)}
    calls = [call for model in shares for call in traffic(contract, rng, 4, model=model)]
    faults = [failing(contract, "primary", 0, 4, models=(model,), probability=share) for model, share in shares.items()]
    return chaos(calls, *faults, overlay={"failover.retries_per_target": 0})


@scenario(part="chaos", reaches=("circuit_opened", "half_open_probed", "failover_taken"))
def one_bad_target_of_three(contract: Contract, rng: random.Random) -> Scenario:
    """The second target is bad all the time, and the primary fails now and then: the third serves what is left."""
    calls = traffic(contract, rng, 6)
    bad = failing(contract, "second", 0, 6, reset_before_headers(after_s=0.013))
    return chaos(calls, bad, failing(contract, "primary", 1, 3), checks=(targets_are_tried_in_order, *OUTAGE))


@scenario(part="chaos", reaches=("every_circuit_open", "circuit_opened", "half_open_probed", "chain_exhausted"))
def all_targets_down(contract: Contract, rng: random.Random) -> Scenario:
    """All targets are down: callers are told so at once, nobody is called in vain, and all come back."""
    calls = traffic(contract, rng, 6)
    down = failing(contract, "*", 0.5, 2.2)
    return chaos(calls, down, checks=(all_circuits_open_is_told_at_once,))


@scenario(part="chaos", reaches=("circuit_opened", "half_open_probed", "circuit_reopened"))
def recovery_while_half_open(contract: Contract, rng: random.Random) -> Scenario:
    """The primary comes back by halves: of the probes some succeed, some fail, and slow ones end late."""
    calls = traffic(contract, rng, 9, per_cooldown=PER_COOLDOWN * 3 // 4)
    down = failing(contract, "primary", 0.3, 2)
    by_halves = failing(contract, "primary", 2, 6, probability=0.45)
    slow = delay(seconds=contract.breaker.cooldown_ms * 0.2 / 1e3)
    late = failing(contract, "primary", 2, 6, slow, probability=0.5, must_fire=False)
    return chaos(calls, down, by_halves, late, checks=(the_journal_shows_open_circuits,))


@scenario(part="chaos", reaches=("every_circuit_open", "half_open_probed"))
def thundering_herd(contract: Contract, rng: random.Random) -> Scenario:
    """A crowd that was told when to come back comes back at once: probes alone get through, the rest is told again."""
    unit_ms = contract.breaker.cooldown_ms
    calls = traffic(contract, rng, 1)
    down = failing(contract, "*", 0, 1.2)
    herd: list[Call] = []
    for number in range(contract.breaker.probes * 2 * len(ROLES)):
        first = chat(MODEL, id=f"herd{number}", at_ms=unit_ms * 1.1 + number * 0.217, reply=Reply(chunks=1))
        herd.append(first)
        for again in (1, 2):
            reply = Reply(chunks=1, ttft_ms=unit_ms * LASTS, gap_ms=0)
            follower = chat(
                MODEL,
                id=f"herd{number}-{again}",
                at_ms=None,
                after=(herd[-1].id,),
                wait_retry_after=True,
                delay_ms=rng.randrange(1, 997) / 1e3,
                reply=reply,
            )
            herd.append(follower)
    return chaos([*calls, *herd], down, checks=(all_circuits_open_is_told_at_once,))


@scenario(part="chaos", reaches=("circuit_opened", "retry_after_told", "failover_taken"))
def rate_limit_storm(contract: Contract, rng: random.Random) -> Scenario:
    """Upstreams refuse for their own limits: a short Retry-After is waited for, a long one ends the target's turn."""
    calls = traffic(contract, rng, 6)
    short_s, long_s = 1.0, contract.failover.backoff_cap_ms / 1e3 + 5
    return chaos(
        calls,
        failing(contract, "primary", 0.5, 2, respond(status=429, retry_after_s=short_s, after_s=0.011)),
        failing(contract, "primary", 2, 3, respond(status=429, retry_after_s=long_s, after_s=0.011), must_fire=False),
        failing(contract, "second", 0.8, 1.4, respond(status=429, retry_after_s=long_s, after_s=0.007)),
        checks=(rate_limited_upstreams_move_on, pauses_grow),
    )


@scenario(part="chaos", reaches=("circuit_opened", "stream_broken_after_content"))
def slow_leak(contract: Contract, rng: random.Random) -> Scenario:
    """More and more streams are cut in their middle: each counts at its end, and the path is given up in time."""
    calls = traffic(contract, rng, 5, model="claude-sonnet-4-7", make=messages, stream=True)
    steps = enumerate((0.1, 0.4, 0.7, 1.0))
    leaks = [
        failing(contract, "primary", n, n + 1, cut_after(content=1), probability=share, must_fire=share > 0.5)
        for n, share in steps
    ]
    return chaos(calls, *leaks)
