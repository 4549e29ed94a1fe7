"""Windows filled exactly and then gone beyond, by calls of any kind of model that has ceilings; it sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.checker import Checker
from harness.checkers.waiting import refused_calls_cost_nothing
from harness.contract import Contract, Limits
from harness.load.schedule import ARRIVALS
from harness.load.shape import Asked, Load, Window, numbered, takes_no
from harness.load.shapes.parts import world
from harness.load.sizes import PROBED, SPREAD, lasting_ms
from harness.scenario import Call, Reply

GUARD_MS = 1_000
"""Between the end of one window and the next one's first call: by then the units of the first have run out."""
SMALL = Reply(chunks=1, ttft_ms=1, gap_ms=0)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is loaded: its limits, the fields of a call that uses exactly so many tokens, a call of such fields, checks.

    ``sized`` raises ValueError for a size that no call has; ``small`` is one that every call can have.
    """

    limits: Callable[[Contract], Limits]
    sized: Callable[[Contract, int, Reply], dict[str, Any]]
    call: Callable[[Contract, float, str, dict[str, Any]], Call]
    small: Callable[[Contract], int]
    proof: tuple[Checker, ...]


@dataclass(frozen=True, slots=True)
class Amount:
    """What fills one window: so many requests of so many tokens in all; ``over`` says what one more goes beyond.

    ``images`` is what they ask for together, nothing where that is not counted.
    """

    requests: int
    tokens: int
    over: str = ""
    images: int = 0


def windows(contract: Contract, asked: Asked, kind: Kind, amount: Amount) -> Load:
    """Return so many windows as minutes were asked for (one, if none were), each filled and then probed."""
    takes_no(asked, "trace")
    limits = kind.limits(contract)
    times = max(1, round(asked.minutes * 60_000 / limits.window_ms))
    period_ms = limits.window_ms + GUARD_MS
    reply = Reply(chunks=1, ttft_ms=lasting_ms(limits, amount.requests, limits.window_ms * SPREAD), gap_ms=0)
    kind.sized(contract, amount.tokens // amount.requests, reply)  # refused at once, and not in a worker

    def calls(effective: Contract) -> Iterator[Call]:
        for number in range(times):
            start_ms = number * period_ms
            yield from _filling(effective, asked, kind, amount, reply, f"w{number}", start_ms)
            if amount.over:
                fields = kind.sized(effective, kind.small(effective), SMALL)
                yield kind.call(effective, start_ms + limits.window_ms * PROBED, f"w{number} over", fields)

    return Load(
        world=world(),
        calls=lambda effective: numbered(calls(effective)),
        count=times * (amount.requests + bool(amount.over)),
        length_ms=(times - 1) * period_ms + limits.window_ms,
        checks=(*kind.proof, refused_calls_cost_nothing) if amount.over else kind.proof,
        windows=tuple(
            Window(f"w{number}", "a", amount.requests, amount.tokens, amount.over, amount.images)
            for number in range(times)
        ),
    )


def _filling(
    contract: Contract, asked: Asked, kind: Kind, amount: Amount, reply: Reply, word: str, start_ms: float
) -> Iterator[Call]:
    """Yield exactly so many calls of exactly so many tokens and images over the first part of a window.

    The same instants in each window: so the unit that a call takes has run out when the one after a window asks.
    """
    small, larger = divmod(amount.tokens, amount.requests)
    sizes = kind.sized(contract, small, reply), kind.sized(contract, small + 1, reply) if larger else {}
    few, more = divmod(amount.images, amount.requests)
    over_us = round(kind.limits(contract).window_ms * SPREAD * 1000)
    arrivals = ARRIVALS[asked.arrivals or "poisson"](amount.requests, over_us, str(asked.seed))
    for number, at_us in enumerate(arrivals):
        fields = sizes[_spread(number, larger, amount.requests)]
        images = few + _spread(number, more, amount.requests)
        if images > 1:
            fields = {**fields, "fields": {"n": images}}
        yield kind.call(contract, start_ms + at_us / 1000, word, fields)


def _spread(number: int, chosen: int, of: int) -> bool:
    """Say whether ``number`` is among ``chosen`` that lie evenly among ``of``."""
    return (number + 1) * chosen // of > number * chosen // of
