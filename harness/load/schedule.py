"""When calls are sent: exactly so many in a span of time, the same for the same key, never all in memory; sends none.

Times are whole microseconds from the start of their span, in order. A Poisson process that is known to have N arrivals
in a span is N uniform draws in order; they are drawn one after the other from the least on, so that a schedule may be
longer than memory.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

Arrivals = Callable[[int, int, str], Iterator[int]]
"""(how many, over so many µs, key) -> the instants."""
BURSTINESS = 3.0
"""Standard deviation of the gaps of ``gamma`` in units of their mean; a Poisson process has 1."""


def constant(count: int, over_us: int, key: str = "") -> Iterator[int]:
    """Yield ``count`` instants evenly over the span. Raises ValueError for none."""
    _some(count, over_us)
    return (over_us * number // count for number in range(count))


def poisson(count: int, over_us: int, key: str) -> Iterator[int]:
    """Yield the instants of a Poisson process that has exactly ``count`` in the span. Raises ValueError for none."""
    _some(count, over_us)
    return _uniforms(count, over_us, random.Random(f"{key}/poisson"))


def gamma(count: int, over_us: int, key: str, burstiness: float = BURSTINESS) -> Iterator[int]:
    """Yield exactly ``count`` instants in bursts: gaps of a gamma distribution, scaled to fill the span.

    The gaps are drawn twice, for their sum and for themselves, so that none is kept. Raises ValueError for none.
    """
    _some(count, over_us)
    total = sum(_gaps(count + 1, key, burstiness))
    return _scaled(_gaps(count, key, burstiness), over_us, total)


ARRIVALS: Mapping[str, Arrivals] = {"constant": constant, "poisson": poisson, "gamma": gamma}
"""Arrival processes by the name under which they are asked for."""


def _some(count: int, over_us: int) -> None:
    if count < 1 or over_us < 1:
        raise ValueError(f"{count} calls in {over_us / 1e6:g} s: a rate of zero sends nothing, and proves nothing")


def _uniforms(count: int, over_us: int, rng: random.Random) -> Iterator[int]:
    """Yield ``count`` uniform draws from the least to the greatest: each is the least of those that are left."""
    beyond = 1.0
    for left in range(count, 0, -1):
        beyond *= rng.random() ** (1 / left)
        yield min(int((1 - beyond) * over_us), over_us - 1)


def _gaps(count: int, key: str, burstiness: float) -> Iterator[float]:
    rng = random.Random(f"{key}/gamma")
    shape = burstiness**-2
    return (rng.gammavariate(shape, 1.0) for _ in range(count))


def _scaled(gaps: Iterator[float], over_us: int, total: float) -> Iterator[int]:
    at = 0.0
    for gap in gaps:
        at += gap
        yield min(int(at / total * over_us), over_us - 1)
