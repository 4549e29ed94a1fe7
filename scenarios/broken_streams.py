"""Streams that break after content, in every way, at every point, on every surface; and the same over rough links."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.broken_streams import broken_streams_end_with_an_error, nothing_is_added_to_a_broken_stream
from harness.checkers.moves import targets_are_tried_in_order
from harness.checkers.time_limits import time_limits_hold
from harness.contract import Contract
from harness.scenario import Call, Reply, Scenario, World, scenario
from mock_upstreams.faults import (
    FaultSpec,
    cut_after,
    malformed_event,
    reset_after,
    respond,
    silence,
    stall,
    stream_error,
    truncate,
)
from scenarios.failover import NO_BREAKER, SURFACES, Plan

LAST = 1_000
"""More chunks than any reply here has: a fault after so many strikes just before the last, the terminal event."""
SHAPES = ("text", "tools", "thinking", "mixed")
CHECKS = (broken_streams_end_with_an_error, nothing_is_added_to_a_broken_stream, targets_are_tried_in_order)


def breaks(contract: Contract, point: dict[str, int]) -> list[FaultSpec]:
    """Return every way in which a stream can break at ``point``."""
    beyond_s = contract.timeouts.silence_ms * 1.1 / 1e3
    # What comes last on chat is no JSON that could be spoilt.
    spoilt = [] if point.get("chunks") == LAST else [malformed_event(**point)]
    return [
        *spoilt,
        reset_after(**point),
        reset_after(**point, inside=True),
        cut_after(**point),
        cut_after(**point, inside=True),
        truncate(**point),
        truncate(**point, inside=True),
        stall(**point),
        silence(seconds=beyond_s, **point),
        stream_error(**point),
        stream_error(**point, status=429),
    ]


def streams(reply: Reply, shapes: tuple[str, ...] = ("text",)) -> list[Call]:
    """Return a stream on each surface, in each shape."""
    return [
        make(model, stream=True, id=f"{name}-{shape}", reply=replace(reply, shape=shape))
        for name, make, model in SURFACES
        for shape in shapes
    ]


@scenario(reaches=("stream_broken_after_content",))
def broken_in_every_way(contract: Contract, rng: random.Random) -> Scenario:
    """After the first content, in the middle, and just before the terminal event: an error event, and nothing more."""
    plan = Plan()
    points = ({"content": 1}, {"content": rng.randrange(2, 5)}, {"chunks": LAST})
    for turn, call in enumerate(streams(Reply(chunks=6, ttft_ms=10, gap_ms=3))):
        plan.add(call, ("*", truncate(chunks=LAST)))
        for number in range(5):  # of ten; each comes up on one surface at least
            plan.add(call, ("*", breaks(contract, rng.choice(points))[-1 - (turn * 4 + number) % 10]))
        plan.add(call, ("*", malformed_event(content=1)))
        # A broken second answer ends the stream as a first one does; the first target's failure is never seen.
        plan.add(call, ("primary", respond(status=503)), ("second", breaks(contract, {"content": 1})[turn]))
    return _scenario(plan)


@scenario(part="ceilings", reaches=("stream_broken_after_content",))
def broken_everywhere(contract: Contract) -> Scenario:
    """The whole matrix: every way of breaking, at every point, on every surface."""
    plan = Plan()
    for call in streams(Reply(chunks=6, ttft_ms=10, gap_ms=3)):
        for point in ({"content": 1}, {"content": 3}, {"chunks": LAST}):
            for fault in breaks(contract, point):
                plan.add(call, ("*", fault))
    return _scenario(plan)


def _scenario(plan: Plan) -> Scenario:
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(*CHECKS, time_limits_hold),
        recovers=False,
    )


@scenario(reaches=("stream_broken_after_content",))
def broken_in_every_shape(contract: Contract) -> Scenario:
    """Tool calls and thinking are content as text is: a break behind them is never hidden by another answer."""
    plan = Plan()
    faults = (reset_after(content=1), truncate(content=2), malformed_event(content=1), stall(content=3))
    for turn, call in enumerate(streams(Reply(chunks=5, ttft_ms=10, gap_ms=3), SHAPES[1:])):
        for fault in faults[turn % 2 :: 2]:
            plan.add(call, ("*", fault))
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=CHECKS,
        recovers=False,
    )


@scenario(reaches=("stream_broken_after_content",))
def broken_in_pieces(contract: Contract) -> Scenario:
    """The same over slow links that split and merge the bytes anywhere."""
    plan = Plan()
    for turn, call in enumerate(streams(Reply(chunks=5, ttft_ms=10, gap_ms=8))):
        for fault in breaks(contract, {"content": 2})[turn % 2 :: 2]:
            plan.add(call, ("*", fault))
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=CHECKS,
        recovers=False,
        connect_ms=3,
        latency_ms=7,
        chop=True,
    )
