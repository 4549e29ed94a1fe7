"""Mock upstreams on another machine: their clock is compared with the harness's before a run is given its zero."""

from __future__ import annotations

import asyncio

import httpx
import orjson
import pytest

from harness.environment.control import CLOCK_TRIES, DRIFT_US, UpstreamControl


class Elsewhere:
    """An upstream server whose clock is ``ahead_s`` ahead of ``now``, and whose answers take their time on the way."""

    def __init__(self, ahead_s: float, there_s: float, back_s: float) -> None:
        self.now = 5_000.0
        self.started_at: float | None = None
        self._ahead_s, self._there_s, self._back_s = ahead_s, there_s, back_s

    async def answer(self, request: httpx.Request) -> httpx.Response:
        slower_s = 0.0 if self.now > 5_000.4 else 0.1  # one of the first, as a connection is made
        self.now += self._there_s + slower_s
        told = {"now_s": self.now + self._ahead_s}
        self.now += self._back_s
        if request.url.path.endswith("/start"):
            self.started_at = orjson.loads(request.content)["zero_s"]
        return httpx.Response(200, json=told)

    def compared(self) -> int:
        """Compare the clocks, start a run at zero 6,000, and return how wrong the comparison may be."""
        control = UpstreamControl(httpx.MockTransport(self.answer), "http://upstreams.test", "run")

        async def ask() -> int:
            told = await control.compare_clocks(lambda: self.now)
            await control.start(zero_s=6_000.0, seed=0, injections=[], bodies=False)
            return told

        return asyncio.run(ask())


@pytest.mark.parametrize("ahead_s", [86_400.0, -4_000.0, 0.5])
@pytest.mark.parametrize(("there_s", "back_s"), [(0.001, 0.001), (0.03, 0.002), (0.0, 0.04)])
def test_a_run_begins_at_the_same_instant_by_another_machines_clock(
    ahead_s: float, there_s: float, back_s: float
) -> None:
    there = Elsewhere(ahead_s, there_s, back_s)
    wrong_us = there.compared()
    assert there.started_at is not None
    off_us = abs(there.started_at - 6_000.0 - ahead_s) * 1e6
    assert off_us <= wrong_us - DRIFT_US + 1
    assert wrong_us <= (there_s + back_s) / 2 * 1e6 + DRIFT_US + 2, "the slow answers among them told nothing"


@pytest.mark.parametrize("ahead_s", [0.0, -0.0015])
def test_one_machines_clock_is_left_as_it_is(ahead_s: float) -> None:
    there = Elsewhere(ahead_s, 0.0002, 0.0002)
    assert there.compared() == 0
    assert there.started_at == 6_000.0
    assert there.now > 5_000.0 + CLOCK_TRIES * 0.0004
