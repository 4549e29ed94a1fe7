"""Clients that go away: before the head, in mid-stream, unstreamed, between two tries; and what becomes of the slot."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.departures import (
    departed_clients_hold_their_slot_until_the_drain_ends,
    nothing_goes_on_without_a_client,
)
from harness.checkers.remaining import remaining_headers_are_true
from harness.checkers.slots import slots_are_bounded, slots_come_back
from harness.contract import Contract
from harness.scenario import Reply, Scenario, Workload, World, chat, scenario
from mock_upstreams.faults import FaultSpec, hang_before_headers, respond, stall
from scenarios.failover import NO_BREAKER, SURFACES, Plan

CHECKS = (
    nothing_goes_on_without_a_client,
    departed_clients_hold_their_slot_until_the_drain_ends,
    remaining_headers_are_true,
)
PROBE = Reply(chunks=1, ttft_ms=1, gap_ms=0)


def _departures(contract: Contract, drain_ms: float, rng: random.Random, surfaces: int) -> Plan:
    """Return clients that leave in every way, each on so many surfaces, far enough apart for lone probes."""
    gap_ms = drain_ms * 2 + 1_500
    plan = Plan(gap_ms)
    soon = Reply(chunks=4, ttft_ms=40, gap_ms=drain_ms / 10 + 20)
    long = replace(soon, chunks=40, gap_ms=drain_ms / 3 + 200)
    pause_ms = contract.failover.backoff_ms * contract.failover.jitter_low_percent / 100
    silent, fails, about_to_fail = (
        hang_before_headers(),
        respond(status=503, after_s=0.03),
        respond(status=503, after_s=0.05),
    )
    ways: tuple[tuple[bool, dict[str, object], FaultSpec | None], ...] = (
        (False, {"reply": long, "abort_ms": 20}, silent),
        (True, {"reply": soon, "abort_ms": 20}, silent),
        (False, {"reply": replace(soon, ttft_ms=drain_ms / 2 + 30), "abort_ms": 20}, None),
        (True, {"reply": soon, "abort_chunks": 1}, None),
        (True, {"reply": long, "abort_chunks": 2}, None),
        (True, {"reply": soon, "abort_chunks": 2}, stall(content=3)),
        # It leaves in the pause between two tries, and while a try is about to fail.
        (False, {"reply": soon, "abort_ms": 30 + pause_ms / 2}, fails),
        (True, {"reply": soon, "abort_ms": 30 + pause_ms / 2}, fails),
        (False, {"reply": soon, "abort_ms": 20}, about_to_fail),
        (True, {"reply": soon, "abort_ms": 20}, about_to_fail),
    )
    for stream, options, fault in ways:
        for name, make, model in rng.sample(SURFACES, surfaces):
            call = make(model, id=f"{name}-{'s' if stream else 'u'}", stream=stream, **options)
            plan.add(call, *((("*", fault),) if fault is not None else ()))
    return plan


def _with_probes(plan: Plan, drain_ms: float) -> Workload:
    """Return the plan's calls, each with a probe of its model while its upstream may be at work, and one after."""
    probes = []
    for call in plan.calls:
        assert call.at_ms is not None
        for offset_ms in (drain_ms / 4 + 60, drain_ms + 700):
            builder = next(make for name, make, _ in SURFACES if name == call.surface)
            probes.append(builder(call.model, at_ms=call.at_ms + offset_ms, reply=PROBE, tag="probe"))
    return Workload((*plan.calls, *probes))


@scenario(reaches=("client_left", "drained_to_the_end", "drain_cut_off"))
def clients_leave(contract: Contract, rng: random.Random) -> Scenario:
    """Nothing more is tried for a client that left; its upstream may finish within the drain time, in its slot."""
    drain_ms = contract.timeouts.drain_ms
    plan = _departures(contract, drain_ms, rng, 2)
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=_with_probes(plan, drain_ms),
        injections=tuple(plan.injections),
        checks=(*CHECKS, slots_come_back),
        recovers=False,
    )


@scenario(reaches=("client_left", "drain_cut_off"))
def clients_leave_without_drain(contract: Contract, rng: random.Random) -> Scenario:
    """With a drain time of 0 the upstream call ends as its client leaves, and the slot is free."""
    plan = _departures(contract, 0, rng, 1)
    return Scenario(
        world=World(overlay={**NO_BREAKER, "timeouts.drain_ms": 0}),
        workload=_with_probes(plan, 0),
        injections=tuple(plan.injections),
        checks=(
            nothing_goes_on_without_a_client,
            departed_clients_hold_their_slot_until_the_drain_ends,
            slots_come_back,
        ),
    )


@scenario(reaches=("drain_cut_off", "slots_full", "queue_wait"))
def draining_calls_fill_the_slots(contract: Contract) -> Scenario:
    """While the calls of departed clients drain, nobody else gets their slots."""
    slots = 3
    drain_ms = contract.timeouts.drain_ms
    wait_ms = contract.text.queue_wait_ms
    long = Reply(chunks=2, ttft_ms=drain_ms * 4, gap_ms=10)
    leavers = [chat("gpt-5-5", at_ms=n, reply=long, abort_ms=100) for n in range(slots)]
    early = [chat("gpt-5-5", at_ms=150 + n, reply=PROBE) for n in range(2)]
    late = [chat("gpt-5-5", at_ms=100 + drain_ms - wait_ms * 0.4 + n, reply=PROBE) for n in range(2)]
    return Scenario(
        world=World(overlay={"text.concurrency": slots}),
        workload=Workload((*leavers, *early, *late)),
        checks=(slots_are_bounded, nothing_goes_on_without_a_client, slots_come_back),
    )
