"""What drives a coroutine without a task: it goes on as one in a task would, stops when closed, and hides no error."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from mock_asgi import run

from mock_upstreams.aside import Aside


def driven(work: Coroutine[Any, None, None], *then: Callable[[Aside], object]) -> list[Any]:
    """Drive ``work``, do what comes ``then``, each a moment after the one before; return what the loop was told of."""
    told: list[Any] = []

    async def drive() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context.get("exception", context)))
        aside = Aside(loop, work)
        for act in then:
            act(aside)
            await asyncio.sleep(0.001)
        gc.collect()

    run(drive())
    return told


def test_it_goes_on_with_what_it_awaits() -> None:
    news, seen = asyncio.Event(), []

    async def work() -> None:
        seen.append("begun")
        await asyncio.sleep(0)
        seen.append("turned")
        await news.wait()
        seen.append("woken")

    at: list[list[str]] = []
    told = driven(work(), lambda _: at.append(seen[:]), lambda _: (at.append(seen[:]), news.set()))
    assert (at, seen, told) == ([["begun"], ["begun", "turned"]], ["begun", "turned", "woken"], [])


@pytest.mark.parametrize("woken", [False, True])
def test_it_is_closed_while_it_waits(woken: bool) -> None:
    news, seen = asyncio.Event(), []

    async def work() -> None:
        try:
            await news.wait()
            seen.append("woken")
        finally:
            seen.append("closed")

    def close(aside: Aside) -> None:
        if woken:
            news.set()
        aside.close()
        aside.close()

    told = driven(work(), close, lambda _: news.set())
    assert (seen, told) == (["closed"], [])


@pytest.mark.parametrize(("error", "count"), [(ZeroDivisionError(), 1), (asyncio.CancelledError(), 0)])
def test_a_failure_is_told_to_the_loop(error: BaseException, count: int) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise error

    assert driven(work(), lambda _: None, Aside.close) == [error] * count
