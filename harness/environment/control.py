"""The upstreams' control API, from the harness's side: plain HTTP in every mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from harness.target import TargetError

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

    async def journal(self) -> list[bytes]:
        """Return the attempts and faults so far, a span's line each."""
        return (await self._ask("GET", "/journal", None)).splitlines(keepends=True)

    async def body(self, digest: str) -> bytes:
        """Return a request body as the upstream received it."""
        return await self._ask("GET", f"/bodies/{digest}", None)

    async def _ask(self, method: str, path: str, value: Mapping[str, Any] | None) -> bytes:
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
            body = await response.aread()
        except httpx.TransportError as error:
            raise TargetError(
                f"the mock upstreams did not answer at {self._base}", cause=str(error), help="are they running?"
            ) from error
        if response.status_code != 200:
            raise TargetError(
                f"the mock upstreams refused {method} {path}",
                cause=f"{response.status_code}: {body[:300].decode(errors='replace')}",
            )
        return body
