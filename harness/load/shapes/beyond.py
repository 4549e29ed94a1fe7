"""Past the published ceilings: all at once, one account against another, step by step; and below them for long."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge

from harness.checkers.billing import streams_are_billed_at_their_end
from harness.checkers.fairness import quotas_are_apart
from harness.checkers.insurance import streams_settle_after_their_end
from harness.checkers.load_ceilings import each_call_reaches_one_upstream_once
from harness.checkers.load_slots import (
    all_below_the_limits_are_let_in,
    innocents_are_served,
    slots_stay_bounded_under_load,
)
from harness.checkers.slots import slots_come_back
from harness.checkers.tokens import token_windows_hold
from harness.checkers.waiting import refused_calls_cost_nothing
from harness.contract import Contract
from harness.load.shape import Asked, Load, Window, numbered, shape, takes_no
from harness.load.shapes.parts import (
    GOVERNOR,
    HEADERS,
    MONEY,
    PROOF,
    at_ms_of,
    small_tokens,
    stream_of,
    text_call,
    world,
)
from harness.load.sizes import LEAST_INPUT, PROBED, lasting_ms, sized, spread_ms
from harness.scenario import Call, Reply

BURST_MS = 10_000
"""The shortest time in which a generator on one core still sends a window's calls when it means to."""
RELEASE_MS = 1_000
"""How long a slot may be on its way back on sockets, at least: before, no probe is certainly alone."""
UNFILLED = tuple(check for check in PROOF if check is not token_windows_hold)
"""Where tokens are far from their ceiling: of their window there is nothing to judge."""
STEPS = (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 10)
"""The staircase, in units of the published rate."""


@shape
def burst(contract: Contract, asked: Asked) -> Load:
    """The whole window's requests as fast as they can be sent, each given a slot, and then one more."""
    takes_no(asked, "minutes", "trace")
    limits = contract.text
    over_ms = min(BURST_MS, limits.window_ms / 2)
    reply = Reply(chunks=1, ttft_ms=1, gap_ms=0)
    calls = stream_of(contract, asked, limits.requests, over_ms, reply, tag="w0")

    def all_calls(effective: Contract) -> Iterator[Call]:
        yield from calls(effective)
        fields = sized(effective, LEAST_INPUT + 1, reply)
        yield text_call(effective, limits.window_ms * PROBED, "w0 over", fields)

    used = small_tokens(contract) * limits.requests
    return Load(
        world=world(text__concurrency=limits.requests + 1, text__queue_length=limits.requests + 1),
        calls=lambda effective: numbered(all_calls(effective)),
        count=limits.requests + 1,
        length_ms=limits.window_ms,
        checks=(*UNFILLED, refused_calls_cost_nothing),
        windows=(Window("w0", "a", limits.requests, used, "requests"),),
        bound_us=None,
    )


@shape
def storm(contract: Contract, asked: Asked) -> Load:
    """One account asks for three times what it may; another asks for a little, and gets all of it."""
    takes_no(asked, "minutes", "trace")
    limits = contract.text
    over_ms = spread_ms(limits)
    many, few = 3 * limits.requests, max(1, limits.requests // 50)
    reply = Reply(chunks=1, ttft_ms=lasting_ms(limits, many + few, over_ms), gap_ms=0)
    stormy = stream_of(contract, asked, many, over_ms, reply, tag="storm")
    innocent = stream_of(contract, asked, few, over_ms, reply, account="b", tag="innocent")

    def calls(effective: Contract) -> Iterator[Call]:
        return numbered(merge(stormy(effective), innocent(effective), key=at_ms_of))

    return Load(
        world=world("a", "b"),
        calls=calls,
        count=many + few,
        length_ms=limits.window_ms,
        checks=(quotas_are_apart, innocents_are_served, *GOVERNOR, refused_calls_cost_nothing, *MONEY),
    )


@shape
def staircase(contract: Contract, asked: Asked) -> Load:
    """Ever more calls, step by step, far past the published rate, all limits raised: where does it give way?"""
    takes_no(asked, "trace")
    limits = contract.text
    step_ms = asked.minutes * 60_000 / len(STEPS) or limits.window_ms / 6
    counts = [max(1, round(limits.requests / limits.window_ms * step_ms * height)) for height in STEPS]
    reply = Reply(chunks=1, ttft_ms=lasting_ms(limits, limits.requests, limits.window_ms), gap_ms=0)
    calls = [stream_of(contract, asked, count, step_ms, reply, tag=f"step{n}") for n, count in enumerate(counts)]
    room = 4 * sum(counts)

    def all_calls(effective: Contract) -> Iterator[Call]:
        for number, step in enumerate(calls):
            for call in step(effective):
                object.__setattr__(call, "at_ms", at_ms_of(call) + number * step_ms)
                yield call

    return Load(
        world=world(
            text__requests=room,
            text__tokens=room * small_tokens(contract),
            text__concurrency=room,
            text__queue_length=room,
        ),
        calls=lambda effective: numbered(all_calls(effective)),
        count=sum(counts),
        length_ms=step_ms * len(STEPS),
        checks=(each_call_reaches_one_upstream_once, slots_stay_bounded_under_load, *MONEY),
        steps=tuple(
            {"from_ms": n * step_ms, "to_ms": (n + 1) * step_ms, "rate": count / step_ms * 1000}
            for n, count in enumerate(counts)
        ),
        bound_us=None,
    )


@shape
def soak(contract: Contract, asked: Asked) -> Load:
    """Half of the published rate for ten windows, or so long as asked, with streams: no refusal, flat memory."""
    takes_no(asked, "trace")
    limits = contract.text
    length_ms = asked.minutes * 60_000 or 10 * limits.window_ms
    count = max(1, round(limits.requests / limits.window_ms * length_ms / 2))
    lasting = lasting_ms(limits, limits.requests, limits.window_ms)
    reply = Reply(chunks=8, ttft_ms=max(1.0, lasting // 2), gap_ms=max(1.0, lasting // 16))
    calls = stream_of(contract, asked, count, length_ms, reply)
    rest_ms = limits.queue_wait_ms + contract.timeouts.drain_ms + RELEASE_MS

    def mixed(effective: Contract) -> Iterator[Call]:
        for number, call in enumerate(calls(effective)):
            object.__setattr__(call, "stream", number % 4 == 0)
            yield call
        yield text_call(
            effective, length_ms + rest_ms, "probe", sized(effective, LEAST_INPUT + 1, Reply(chunks=1, ttft_ms=1))
        )

    return Load(
        world=world(),
        calls=lambda effective: numbered(mixed(effective)),
        count=count + 1,
        length_ms=length_ms + rest_ms,
        flat=True,
        checks=(
            all_below_the_limits_are_let_in,
            each_call_reaches_one_upstream_once,
            *HEADERS,
            slots_come_back,
            streams_are_billed_at_their_end,
            streams_settle_after_their_end,
            *MONEY,
        ),
    )
