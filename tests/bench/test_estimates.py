"""Intervals of blocks: as the tables have them, and as often right as they say."""

from __future__ import annotations

from random import Random

import pytest

from harness.bench.estimates import estimate, medians, percentile, ratio


def test_the_interval_is_students() -> None:
    found = estimate([10.0, 12.0, 14.0])
    assert found.value == 12.0
    assert found.high - found.value == pytest.approx(4.303 * 2 / 3**0.5)
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_one_block_has_no_interval() -> None:
    with pytest.raises(ValueError, match="no interval"):
        estimate([1.0])


def test_of_a_hundred_intervals_about_five_miss_the_truth() -> None:
    draw = Random("intervals")
    missed = 0
    for _ in range(400):
        found = estimate([draw.gauss(100, 15) for _ in range(8)])
        missed += not found.low <= 100 <= found.high
    assert 8 <= missed <= 36


def test_a_ratio_is_taken_block_by_block() -> None:
    found = ratio([200.0, 20.0, 2.0], [100.0, 10.0, 1.0])
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_a_burst_in_one_round_does_not_move_its_blocks_median() -> None:
    assert medians([1.0, 1.0, 900.0, 2.0, 2.0, 2.0, 5.0], 2) == [1.0, 2.0]
    assert medians([1.0], 2) == []


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 1), (0.5, 5), (0.9, 9), (0.91, 10), (1.0, 10)])
def test_a_percentile_is_a_value_that_was_seen(share: float, wanted: float) -> None:
    assert percentile([float(number) for number in range(10, 0, -1)], share) == wanted
