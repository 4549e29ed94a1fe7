"""Sums of amounts over time agree with what one gets by asking every amount at every instant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.checkers.steps import StepSum

INSTANT = st.integers(0, 30)
AMOUNTS = st.lists(st.tuples(INSTANT, INSTANT, st.integers(0, 5)), max_size=12)


def at(amounts: list[tuple[int, int, int]], instant: int) -> int:
    return sum(amount for start, stop, amount in amounts if start <= instant < stop)


def summed(amounts: list[tuple[int, int, int]]) -> StepSum:
    made = StepSum()
    for start, stop, amount in amounts:
        made.add(start, stop, amount)
    return made


@given(AMOUNTS, INSTANT, INSTANT)
def test_a_sum_is_what_counts_at_the_instant(amounts: list[tuple[int, int, int]], one: int, other: int) -> None:
    first, last = min(one, other), max(one, other)
    between = [at(amounts, instant) for instant in range(first, last + 1)]
    made = summed(amounts)
    assert made.at(first) == between[0]
    assert made.least(first, last) == min(between)
    assert made.most(first, last) == max(between)


@given(AMOUNTS, st.integers(1, 6))
def test_the_peak_and_the_periods_are_where_the_sum_is_high(amounts: list[tuple[int, int, int]], least: int) -> None:
    made = summed(amounts)
    over_time = [at(amounts, instant) for instant in range(31)]
    top, instant = made.peak()
    assert top == max(over_time)
    assert over_time[instant] == top
    inside = {n for since, until in made.periods(least) for n in range(since, until)}
    assert inside == {n for n, total in enumerate(over_time) if total >= least}


def test_what_is_added_after_a_question_counts_as_well() -> None:
    made = StepSum()
    made.add(0, 10)
    assert made.at(5) == 1
    made.add(5, 6, 2)
    assert made.at(5) == 3
