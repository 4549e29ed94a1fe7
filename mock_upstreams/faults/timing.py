"""Faults of time: a late start, uneven gaps, an upstream that slows down under load."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Literal

from mock_upstreams.faults.points import Seconds, Spread, after
from mock_upstreams.faults.registry import fault
from mock_upstreams.parts import Part, Pause, Reply

Kind = Literal["fixed", "uniform", "lognormal"]


@fault(lawful=True)
def delay(reply: Reply, rng: Random, *, seconds: Seconds, kind: Kind = "fixed", spread: Spread = 0.5) -> Iterator[Part]:
    """Begin the answer that much later; uniform: give or take ``spread`` of it; lognormal: it is the median."""
    yield from after(seconds * _factor(rng, kind, spread))
    yield from reply


@fault(lawful=True)
def jitter(
    reply: Reply, rng: Random, *, kind: Literal["uniform", "lognormal"] = "uniform", spread: Spread = 0.5
) -> Iterator[Part]:
    """Make every pause longer or shorter by its own draw."""
    for part in reply:
        if isinstance(part, Pause) and math.isfinite(part.seconds):
            yield Pause(part.seconds * _factor(rng, kind, spread))
        else:
            yield part


@fault(lawful=True)
def slower_under_load(reply: Reply, rng: Random, *, per_attempt_s: Seconds) -> Iterator[Part]:
    """Begin the answer that much later for each other attempt that is under way at this upstream."""
    yield from after(per_attempt_s * (reply.exchange.inflight - 1))
    yield from reply


def _factor(rng: Random, kind: str, spread: float) -> float:
    """Return a factor drawn around 1: in [1 - spread, 1 + spread], or lognormal with sigma ``spread``."""
    if kind == "uniform":
        return max(0.0, 1 + rng.uniform(-spread, spread))
    return rng.lognormvariate(0.0, spread) if kind == "lognormal" else 1.0
