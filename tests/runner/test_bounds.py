"""Intervals and bounds against published values and their own definitions."""

from __future__ import annotations

import pytest

from harness.runner.bounds import upper_bound, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (2, 2, 0.3424, 1.0),
        (0, 10, 0.0, 0.2775),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("hits", "trials", "bound"),
    [
        (0, 0, 1.0),
        (0, 1, 0.95),
        (0, 10, 0.258866),
        (0, 1000, 0.002991),
        (1, 10, 0.394163),
        (3, 100, 0.075711),
        (9, 10, 0.994884),
        (10, 10, 1.0),
    ],
)
def test_the_upper_bound_is_clopper_and_pearsons(hits: int, trials: int, bound: float) -> None:
    assert upper_bound(hits, trials) == pytest.approx(bound, abs=2e-6)


def test_no_hit_in_many_trials_is_the_rule_of_three() -> None:
    assert upper_bound(0, 105_000) == pytest.approx(3 / 105_000, rel=2e-3)


def test_more_hits_and_more_confidence_widen_the_bound() -> None:
    bounds = [upper_bound(hits, 50) for hits in range(51)]
    assert bounds == sorted(bounds)
    assert upper_bound(2, 50, 0.99) > upper_bound(2, 50, 0.9)
