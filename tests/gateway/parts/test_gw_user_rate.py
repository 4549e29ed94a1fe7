"""The per-user limit: one quota for all keys, honest about when it is free again."""

from __future__ import annotations

import asyncio

import pytest
from gw_support import EPOCH_S, clock, contract, run

from harness.gateway.clock import Clock
from harness.gateway.errors import Refusal
from harness.gateway.user_rate import UserRate


def user_rate() -> UserRate:
    return UserRate(contract(user_rate={"requests": 3, "window_ms": 10_000}), clock())


def refusal_of(rate: UserRate, account: str) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        rate.admit(account)
    return refusal.value


def test_the_nth_request_of_a_window_is_admitted_and_the_next_refused_with_the_truth() -> None:
    async def main() -> None:
        rate = user_rate()
        await asyncio.sleep(2.5)
        for _ in range(3):
            rate.admit("a")
        await asyncio.sleep(1.2)
        refusal = refusal_of(rate, "a")
        assert refusal.name == "rate_limited"
        assert refusal.headers == {
            "x-ratelimit-limit": "3",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": str(EPOCH_S + 13),  # 12.5 s, rounded up
            "retry-after": "9",  # 8.8 s, rounded up
        }
        await asyncio.sleep(9)
        rate.admit("a")

    run(main())


def test_the_reset_is_exact_where_a_sum_of_fractions_is_not() -> None:
    async def main() -> None:
        await asyncio.sleep(0.05)
        rate = UserRate(contract(user_rate={"requests": 3, "window_ms": 10_000}), Clock(0.05, EPOCH_S))
        for _ in range(3):
            rate.admit("a")
        for _ in range(100):
            await asyncio.sleep(0.001)
            assert refusal_of(rate, "a").headers["x-ratelimit-reset"] == str(EPOCH_S + 10)

    run(main())


def test_a_probe_before_the_first_unit_is_free_is_refused_and_costs_nothing() -> None:
    async def main() -> None:
        rate = user_rate()
        for _ in range(3):
            rate.admit("a")
            await asyncio.sleep(1)
        for _ in range(20):
            refusal_of(rate, "a")
        await asyncio.sleep(6.999999)
        assert refusal_of(rate, "a").headers["retry-after"] == "1"
        await asyncio.sleep(0.000001)
        rate.admit("a")
        refusal_of(rate, "a")

    run(main())


def test_one_users_storm_leaves_another_users_quota_alone() -> None:
    async def main() -> None:
        rate = user_rate()
        for _ in range(3):
            rate.admit("a")
        for _ in range(50):
            refusal_of(rate, "a")
        for _ in range(3):
            rate.admit("b")
        refusal_of(rate, "b")

    run(main())
