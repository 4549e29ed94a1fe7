"""An upstream inside the gateway's own process: a transport that gives one answer at once, or piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

_WHOLE = [(b"content-type", b"application/json")]
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8")]


class StubTransport(httpx.AsyncBaseTransport):
    """Answers every request with ``whole``, or ``stream`` event by event, ``gap_s`` apart, where a stream is asked."""

    def __init__(self, whole: str, stream: str, gap_s: float = 0.0) -> None:
        self._whole = whole.encode()
        self._events = [event.encode() + b"\n\n" for event in stream.split("\n\n") if event]
        self._gap_s = gap_s

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StubTransport:
        """Return the stub that a configuration describes. Raises ValueError."""
        try:
            return cls(**data)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"stub: {error}") from None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer at once."""
        if b'"stream":true' in request.content:
            return httpx.Response(200, headers=_EVENTS, stream=_Events(self._events, self._gap_s))
        return httpx.Response(200, headers=_WHOLE, stream=httpx.ByteStream(self._whole))


class _Events(httpx.AsyncByteStream):
    def __init__(self, events: list[bytes], gap_s: float) -> None:
        self._events = events
        self._gap_s = gap_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number, event in enumerate(self._events):
            if number:
                await asyncio.sleep(self._gap_s)
            yield event
