"""The upstreams' control API, from the harness's side: plain HTTP in every mode."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import httpx
import orjson

from harness.target import TargetError, lines_of

_TIMEOUTS = {"timeout": {"connect": 10.0, "read": 60.0, "write": 60.0, "pool": 10.0}}


class UpstreamControl:
    """Declares injections, heals, and reads the journal of one run on a mock upstream server."""

    def __init__(self, transport: httpx.AsyncBaseTransport, base_url: str, run: str) -> None:
        self._transport = transport
        self._base = f"{base_url}/control/{run}"

    async def start(self, *, zero_s: float, seed: int, injections: Sequence[Mapping[str, Any]], bodies: bool) -> None:
        """Fix the run's zero, seed and injections. Raises TargetError if the server refuses them."""
        await self._ask(
            "POST", "/start", {"zero_s": zero_s, "seed": seed, "injections": list(injections), "bodies": bodies}
        )

    async def heal(self) -> None:
        """End every injection now."""
        await self._ask("POST", "/heal", {})

    async def journal(self, after: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield the attempts and faults so far behind the first ``after`` that ended, a span's line each, as they come.

        Raises TargetError.
        """
        response = await self._answer("GET", f"/journal?after={after}", None)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        try:
            async with aclosing(lines_of(response.stream)) as lines:
                async for line in lines:
                    yield line
        except httpx.TransportError as error:
            raise self._gone(error) from error
        finally:
            await response.aclose()

    async def body(self, digest: str) -> bytes:
        """Return a request body as the upstream received it."""
        return await self._ask("GET", f"/bodies/{digest}", None)

    async def _ask(self, method: str, path: str, value: Mapping[str, Any] | None) -> bytes:
        response = await self._answer(method, path, value)
        try:
            return await response.aread()
        except httpx.TransportError as error:
            raise self._gone(error) from error

    async def _answer(self, method: str, path: str, value: Mapping[str, Any] | None) -> httpx.Response:
        """Return the answer, its body not yet read. Raises TargetError for a refusal, and where none comes."""
        content = b"" if value is None else orjson.dumps(value)
        request = httpx.Request(
            method,
            self._base + path,
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
                f"the mock upstreams refused {method} {path}",
                cause=f"{response.status_code}: {refused[:300].decode(errors='replace')}",
            )
        return response

    def _gone(self, error: httpx.TransportError) -> TargetError:
        return TargetError(
            f"the mock upstreams did not answer at {self._base}", cause=str(error), help="are they running?"
        )
