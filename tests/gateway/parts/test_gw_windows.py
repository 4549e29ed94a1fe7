"""A sliding log does what a list of all admissions would do, and tells honest waits."""

from __future__ import annotations

import pytest
from gw_support import limits, many, settled
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.windows import Entry, SlidingLog, retry_after_s

WINDOW = 60


def test_the_nth_is_admitted_and_the_next_refused_until_the_first_is_a_window_old() -> None:
    log = SlidingLog(3, WINDOW)
    for now in (0, 0, 10):
        assert log.fits(now, 1)
        log.take(now, 1)
    assert not log.fits(10, 1)
    assert log.wait_us(10, 1) == 50
    assert not log.fits(59, 1)
    assert log.fits(60, 2)
    assert not log.fits(60, 3)
    assert log.remaining(60) == 2
    assert log.remaining(70) == 3


def test_the_count_stays_exact_for_a_full_minute_of_the_ceiling() -> None:
    log = SlidingLog(15_000, 60_000_000)
    for n in range(15_000):
        assert log.remaining(n * 4_000) == 15_000 - n
        log.take(n * 4_000, 1)
    assert log.wait_us(59_999_999, 1) == 1
    assert log.remaining(60_000_000) == 1
    assert log.remaining(60_000_000 + 14_999 * 4_000) == 15_000


def test_a_settled_entry_counts_its_actual_from_its_own_instant() -> None:
    log = SlidingLog(100, WINDOW)
    early = log.take(0, 80)
    log.take(30, 20)
    assert not log.fits(40, 1)
    log.settle(40, early, 10)
    assert log.remaining(40) == 70
    assert log.remaining(59) == 70
    assert log.remaining(60) == 80  # the early one left at its own time, not at its settlement's
    assert log.remaining(90) == 100


def test_an_entry_that_has_left_the_window_cannot_be_settled_back_into_it() -> None:
    log = SlidingLog(100, WINDOW)
    entry = log.take(0, 80)
    log.settle(60, entry, 500)
    assert log.used(60) == 0
    other = SlidingLog(100, WINDOW)
    late = other.take(0, 80)
    other.settle(59, late, 90)
    assert other.used(59) == 90
    assert other.used(60) == 0


def test_usage_above_the_reservation_counts_but_remaining_never_falls_below_zero() -> None:
    log = SlidingLog(100, WINDOW)
    log.settle(5, log.take(0, 10), 250)
    assert log.used(5) == 250
    assert log.remaining(5) == 0
    assert log.wait_us(5, 1) == 55


def test_what_can_never_fit_waits_a_whole_window() -> None:
    log = SlidingLog(100, WINDOW)
    log.take(0, 50)
    assert log.wait_us(10, 101) == WINDOW
    assert not log.fits(1_000, 101)


def test_nothing_always_fits_a_window_that_is_exactly_full() -> None:
    log = SlidingLog(100, WINDOW)
    log.take(0, 100)
    assert log.fits(0, 0)
    assert log.wait_us(0, 0) == 0


STEPS = many(
    st.tuples(st.integers(0, 40), st.sampled_from(["take", "settle", "ask"]), st.integers(0, 12), st.integers(0, 7)),
)


@settled
@given(st.integers(1, 30), STEPS)
def test_it_agrees_with_a_list_of_all_admissions(limit: int, steps: list[tuple[int, str, int, int]]) -> None:
    log = SlidingLog(limit, WINDOW)
    entries: list[Entry] = []
    naive: list[list[int]] = []
    now = 0
    for gap, action, amount, which in steps:
        now += gap

        def used(at: int) -> int:
            return sum(counted for taken, counted in naive if at - taken < WINDOW)

        if action == "take" and log.fits(now, amount):
            assert used(now) + amount <= limit
            entries.append(log.take(now, amount))
            naive.append([now, amount])
        elif action == "settle" and entries:
            log.settle(now, entries[which % len(entries)], amount)
            naive[which % len(entries)][1] = amount
        assert log.used(now) == used(now)
        assert log.remaining(now) == max(0, limit - used(now))
        wait = log.wait_us(now, amount)
        if amount <= limit:
            # Honest: it fits then, and not a microsecond before.
            assert used(now + wait) + amount <= limit
            assert wait == 0 or used(now + wait - 1) + amount > limit


@pytest.mark.parametrize(
    ("wait_us", "seconds"),
    [(0, 1), (1, 1), (1_000_000, 1), (1_000_001, 2), (59_000_001, 60), (60_000_000, 60), (90_000_000, 60)],
)
def test_retry_after_is_whole_seconds_rounded_up_within_the_contracts_bounds(wait_us: int, seconds: int) -> None:
    assert retry_after_s(wait_us, limits()) == seconds
