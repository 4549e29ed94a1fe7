"""The time limit of a call: it ends the call as a timeout, and leaves every other cancellation what it is."""

from __future__ import annotations

import asyncio

import pytest
from gw_support import run

from harness.gateway.time_limit import TimeLimit


def test_time_that_runs_out_is_a_timeout_and_no_cancellation_is_left_behind() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError), TimeLimit(0.5) as limit:
            await asyncio.sleep(1)
        assert limit.expired()
        assert asyncio.get_running_loop().time() == 0.5
        await asyncio.sleep(1)  # nothing cancels it any more

    run(main())


def test_a_limit_that_was_left_in_time_never_comes() -> None:
    async def main() -> None:
        with TimeLimit(0.5) as limit:
            await asyncio.sleep(0.25)
        await asyncio.sleep(1)
        assert not limit.expired()

    run(main())


@pytest.mark.parametrize(("to_s", "ends_s"), [(0.2, 0.25), (0.3, 0.3), (2.0, 2.0)])
def test_it_may_be_moved_either_way_and_into_the_past(to_s: float, ends_s: float) -> None:
    async def limited() -> None:
        with TimeLimit(0.5) as limit:
            asyncio.get_running_loop().call_at(0.25, limit.reschedule, to_s)
            await asyncio.sleep(5)

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await limited()
        return asyncio.get_running_loop().time()

    assert run(main()) == ends_s


@pytest.mark.parametrize("at_s", [0.25, 0.5])
def test_a_cancellation_by_somebody_else_stays_one_even_in_the_same_instant(at_s: float) -> None:
    async def limited() -> None:
        with TimeLimit(0.5):
            await asyncio.sleep(1)

    async def main() -> None:
        task = asyncio.create_task(limited())
        asyncio.get_running_loop().call_at(at_s, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_an_error_on_the_way_out_is_told_as_it_is() -> None:
    async def limited() -> None:
        with TimeLimit(0.5):
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                raise ValueError("its own") from None

    async def main() -> None:
        with pytest.raises(ValueError, match="its own"):
            await limited()
        await asyncio.sleep(1)  # nothing cancels it any more

    run(main())
