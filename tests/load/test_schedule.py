"""Arrivals: exactly so many, in order, the same for the same key, and never all in memory."""

from __future__ import annotations

import statistics
from itertools import islice, pairwise

import pytest

from harness.load.schedule import ARRIVALS, Arrivals, gamma, poisson

EVERY = pytest.mark.parametrize("arrivals", ARRIVALS.values(), ids=ARRIVALS.keys())


@EVERY
@pytest.mark.parametrize("count", [1, 2, 997, 15_000])
def test_a_schedule_has_exactly_so_many_instants_in_order_within_its_span(arrivals: Arrivals, count: int) -> None:
    found = list(arrivals(count, 57_000_000, "7/w0"))
    assert len(found) == count
    assert found == sorted(found)
    assert found[0] >= 0
    assert found[-1] < 57_000_000


@EVERY
def test_the_same_key_gives_the_same_instants(arrivals: Arrivals) -> None:
    assert list(arrivals(100, 10**6, "1/w0")) == list(arrivals(100, 10**6, "1/w0"))


@pytest.mark.parametrize("arrivals", [poisson, gamma])
def test_another_key_gives_others(arrivals: Arrivals) -> None:
    assert list(arrivals(100, 10**6, "1/w0")) != list(arrivals(100, 10**6, "2/w0"))


def test_a_poisson_schedule_fills_its_span_evenly_and_gamma_comes_in_bursts() -> None:
    def variation(arrivals: Arrivals) -> float:
        gaps = [after - before for before, after in pairwise(arrivals(20_000, 10**9, "5"))]
        return statistics.stdev(gaps) / statistics.mean(gaps)

    halves = sum(at < 5 * 10**8 for at in poisson(20_000, 10**9, "5"))
    assert abs(halves - 10_000) < 350  # five standard deviations
    assert 0.95 < variation(poisson) < 1.05
    assert 2.5 < variation(gamma) < 3.5


def test_a_schedule_longer_than_memory_begins_at_once() -> None:
    first = list(islice(poisson(10**12, 10**15, "5"), 3))
    assert len(first) == 3
    assert first[-1] < 10**6


@EVERY
@pytest.mark.parametrize(("count", "over_us"), [(0, 10**6), (-1, 10**6), (5, 0)])
def test_a_rate_of_zero_is_refused(arrivals: Arrivals, count: int, over_us: int) -> None:
    with pytest.raises(ValueError, match="rate of zero"):
        arrivals(count, over_us, "5")
