"""Clock and entropy: time comes from the loop, keyed draws from their key alone."""

from __future__ import annotations

import asyncio
import re

import pytest
from gw_support import run

from harness.gateway.clock import Clock
from harness.gateway.entropy import Entropy, KeyedEntropy, SystemEntropy


def test_the_clock_counts_microseconds_from_the_runs_zero_and_wall_time_from_its_epoch() -> None:
    async def main() -> tuple[int, int, float]:
        clock = Clock(asyncio.get_running_loop().time() + 1.5, epoch_s=1000)
        before = clock.now_us()
        await asyncio.sleep(2.000001)
        return before, clock.now_us(), clock.wall_s()

    before, after, wall = run(main())
    assert (before, after) == (-1_500_000, 500_001)
    assert wall == pytest.approx(1000.500001)


def test_a_clock_may_be_made_before_its_loop_runs() -> None:
    clock = Clock(0.0, epoch_s=0)

    async def main() -> list[int]:
        seen = [clock.now_us()]
        await asyncio.sleep(0.5)
        return [*seen, clock.now_us()]

    assert run(main()) == [0, 500_000]


def test_no_instant_is_off_by_the_microsecond_that_a_float_may_lose() -> None:
    async def main() -> None:
        clock = Clock(0.1, epoch_s=0)
        for n in range(1, 300):
            await asyncio.sleep(0.001337)
            assert clock.now_us() == n * 1337 - 100_000

    run(main())


def test_a_keyed_draw_depends_on_the_seed_and_the_key_alone() -> None:
    one, other = KeyedEntropy(7), KeyedEntropy(7)
    first = one.uniform("pause", "c1", 0)
    other.uniform("something", "else")
    other.token("request")
    assert other.uniform("pause", "c1", 0) == first
    assert one.uniform("pause", "c1", 0) == first
    keys = (("pause", "c1", 1), ("pause", "c10"), ("pausec1", 0), ("pause/c1", 0), ("pause", "c1", "0"))
    assert len({first, *(one.uniform(*key) for key in keys)}) == 6
    assert KeyedEntropy(8).uniform("pause", "c1", 0) != first


@pytest.mark.parametrize("entropy", [KeyedEntropy(1), KeyedEntropy("1/2"), SystemEntropy()])
def test_draws_lie_evenly_in_the_unit_interval(entropy: Entropy) -> None:
    draws = [entropy.uniform("x", n) for n in range(2000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert 0.4 < sum(draws) / len(draws) < 0.6
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize("entropy", [KeyedEntropy(1), SystemEntropy()])
def test_tokens_are_32_hex_digits_and_fresh(entropy: Entropy) -> None:
    tokens = [entropy.token(purpose) for purpose in ("request", "request", "session") for _ in range(50)]
    assert all(re.fullmatch("[0-9a-f]{32}", token) for token in tokens)
    assert len(set(tokens)) == len(tokens)


def test_tokens_of_one_purpose_do_not_move_those_of_another() -> None:
    one, other = KeyedEntropy(3), KeyedEntropy(3)
    other.token("session")
    assert one.token("request") == other.token("request")
