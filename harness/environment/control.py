"""The upstreams' control API, from the harness's side: plain HTTP in every mode."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from math import ceil
from typing import Any

import httpx
import orjson

from harness.target import TargetError, pages_of

CLOCK_TRIES = 9
"""How often the upstreams' clock is asked: the quickest answer tells most."""
ONE_CLOCK_S = 0.005
"""Clocks that agree so well are one: machines count from when each was started, in steps of a millisecond."""
DRIFT_US = 10_000
"""How far two machines' clocks may part during a run: 80 us a second for two minutes."""
_TIMEOUTS = {"timeout": {"connect": 10.0, "read": 60.0, "write": 60.0, "pool": 10.0}}


class UpstreamControl:
    """Declares injections, heals, and reads the journal of one run on a mock upstream server."""

    def __init__(self, transport: httpx.AsyncBaseTransport, base_url: str, run: str) -> None:
        self._transport = transport
        self._base = f"{base_url}/control/{run}"
        self._clock = f"{base_url}/control/clock"
        self._ahead_s = 0.0
        """How far the upstreams' clock is ahead of the harness's own; 0 while they are taken for one."""

    async def compare_clocks(self, now_s: Callable[[], float]) -> int:
        """Find how far the upstreams' clock is from ``now_s``, and return how wrong that may be, in microseconds.

        One clock, as far as can be told, is taken for one: then it is 0. Raises TargetError.
        """
        best: tuple[float, float] | None = None
        for _ in range(CLOCK_TRIES):
            asked_s = now_s()
            told = orjson.loads(await self._ask("GET", self._clock, None))["now_s"]
            took_s = now_s() - asked_s
            if best is None or took_s < best[0]:
                best = took_s, told - asked_s - took_s / 2
        assert best is not None
        took_s, ahead_s = best
        if abs(ahead_s) <= took_s / 2 + ONE_CLOCK_S:
            return 0
        self._ahead_s = ahead_s
        return ceil(took_s / 2 * 1e6) + DRIFT_US

    async def start(self, *, zero_s: float, seed: int, injections: Sequence[Mapping[str, Any]], bodies: bool) -> None:
        """Fix the run's zero (by the harness's clock), seed and injections. Raises TargetError if they are refused."""
        settings = {"zero_s": zero_s + self._ahead_s, "seed": seed, "injections": list(injections), "bodies": bodies}
        await self._ask("POST", f"{self._base}/start", settings)

    async def heal(self) -> None:
        """End every injection now."""
        await self._ask("POST", f"{self._base}/heal", {})

    async def journal(self, after: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield the attempts and faults so far behind the first ``after`` that ended, a line each, some at once.

        Raises TargetError.
        """
        response = await self._answer("GET", f"{self._base}/journal?after={after}", None)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        try:
            async with aclosing(pages_of(response.stream)) as pages:
                async for page in pages:
                    yield page
        except httpx.TransportError as error:
            raise self._gone(error) from error
        finally:
            await response.aclose()

    async def body(self, digest: str) -> bytes:
        """Return a request body as the upstream received it."""
        return await self._ask("GET", f"{self._base}/bodies/{digest}", None)

    async def _ask(self, method: str, url: str, value: Mapping[str, Any] | None) -> bytes:
        response = await self._answer(method, url, value)
        try:
            return await response.aread()
        except httpx.TransportError as error:
            raise self._gone(error) from error

    async def _answer(self, method: str, url: str, value: Mapping[str, Any] | None) -> httpx.Response:
        """Return the answer, its body not yet read. Raises TargetError for a refusal, and where none comes."""
        content = b"" if value is None else orjson.dumps(value)
        request = httpx.Request(
            method,
            url,
            headers={"content-type": "application/json"},
            content=content,
            extensions=_TIMEOUTS,
        )
        try:
            response = await self._transport.handle_async_request(request)
            refused = await response.aread() if response.status_code != 200 else b""
        except httpx.TransportError as error:
            raise self._gone(error) from error
        if response.status_code != 200:
            raise TargetError(
                f"the mock upstreams refused {method} {url}",
                cause=f"{response.status_code}: {refused[:300].decode(errors='replace')}",
            )
        return response

    def _gone(self, error: httpx.TransportError) -> TargetError:
        return TargetError(
            f"the mock upstreams did not answer at {self._base}", cause=str(error), help="are they running?"
        )
