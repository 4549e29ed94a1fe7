"""The published ceilings on text, reached exactly, gone beyond by one call, and met with answers that are too slow."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checkers.waiting import queue_is_short, refused_calls_cost_nothing
from harness.contract import Contract
from harness.load.schedule import ARRIVALS
from harness.load.shape import Asked, Load, Window, numbered, shape, takes_no
from harness.load.shapes.parts import GOVERNOR, MONEY, PROOF, stream_of, text_call, world
from harness.load.sizes import LEAST_INPUT, PROBED, lasting_ms, sized, slot_ms, spread_ms
from harness.scenario import Call, Reply

GUARD_MS = 1_000
"""Between the end of one window and the next one's first call: by then the units of the first have run out."""


@shape
def ceiling_text(contract: Contract, asked: Asked) -> Load:
    """Exactly the published requests and exactly the published tokens in one window, and not one refused."""
    limits = contract.text
    return _windows(contract, asked, limits.requests, limits.tokens, over="")


@shape
def probe_rpm(contract: Contract, asked: Asked) -> Load:
    """Exactly the published requests with tokens to spare, and then one small call, which must be refused."""
    limits = contract.text
    return _windows(contract, asked, limits.requests, limits.tokens - limits.tokens // 400, over="requests")


@shape
def probe_tpm(contract: Contract, asked: Asked) -> Load:
    """Exactly the published tokens with requests to spare, and then one small call, which must be refused."""
    limits = contract.text
    return _windows(contract, asked, limits.requests - limits.requests // 15, limits.tokens, over="tokens")


def _windows(contract: Contract, asked: Asked, requests: int, tokens: int, *, over: str) -> Load:
    """Return so many windows as minutes were asked for (one, if none were), each filled and then probed."""
    takes_no(asked, "trace")
    limits = contract.text
    times = max(1, round(asked.minutes * 60_000 / limits.window_ms))
    period_ms = limits.window_ms + GUARD_MS
    reply = Reply(chunks=1, ttft_ms=lasting_ms(limits, requests, spread_ms(limits)), gap_ms=0)
    sized(contract, tokens // requests, reply)  # refused at once, and not in a worker

    def calls(effective: Contract) -> Iterator[Call]:
        for number in range(times):
            start_ms = number * period_ms
            yield from _filling(effective, asked, requests, tokens, reply, f"w{number}", start_ms)
            if over:
                fields = sized(effective, LEAST_INPUT + 1, Reply(chunks=1, ttft_ms=1, gap_ms=0))
                yield text_call(effective, start_ms + limits.window_ms * PROBED, f"w{number} over", fields)

    return Load(
        world=world(),
        calls=lambda effective: numbered(calls(effective)),
        count=times * (requests + bool(over)),
        length_ms=(times - 1) * period_ms + limits.window_ms,
        checks=(*PROOF, refused_calls_cost_nothing) if over else PROOF,
        windows=tuple(Window(f"w{number}", "a", requests, tokens, over) for number in range(times)),
    )


def _filling(
    contract: Contract, asked: Asked, requests: int, tokens: int, reply: Reply, word: str, start_ms: float
) -> Iterator[Call]:
    """Yield exactly so many calls of exactly so many tokens over the first part of a window.

    The same instants in each window: so the unit that a call takes has run out when the one after a window asks.
    """
    small, larger = divmod(tokens, requests)
    sizes = sized(contract, small, reply), sized(contract, small + 1, reply) if larger else {}
    over_us = round(spread_ms(contract.text) * 1000)
    arrivals = ARRIVALS[asked.arrivals or "poisson"](requests, over_us, str(asked.seed))
    for number, at_us in enumerate(arrivals):
        yield text_call(contract, start_ms + at_us / 1000, word, sizes[_spread(number, larger, requests)])


def _spread(number: int, chosen: int, of: int) -> bool:
    """Say whether ``number`` is among ``chosen`` that lie evenly among ``of``."""
    return (number + 1) * chosen // of > number * chosen // of


@shape
def slow_answers(contract: Contract, asked: Asked) -> Load:
    """The published requests, each of which holds its slot twice as long as there are slots for: the queue shows."""
    takes_no(asked, "minutes", "trace")
    limits = contract.text
    over_ms = spread_ms(limits)
    reply = Reply(chunks=1, ttft_ms=slot_ms(limits, limits.requests, over_ms) * 2 // 1, gap_ms=0)
    calls = stream_of(contract, asked, limits.requests, over_ms, reply)
    return Load(
        world=world(),
        calls=lambda effective: numbered(calls(effective)),
        count=limits.requests,
        length_ms=over_ms + limits.queue_wait_ms + reply.ttft_ms,
        checks=(queue_is_short, refused_calls_cost_nothing, *GOVERNOR, *MONEY),
    )
