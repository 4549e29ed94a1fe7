"""The load generator: HTTP/1.1 over plain asyncio, cheaper than whatever it measures; it knows no gateway.

Times are nanoseconds of the performance counter, since the loop's clock has steps of a millisecond.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import httptools

from harness.target import TargetError

PATIENCE_S = 30.0
"""Whoever has not answered by then is taken not to answer at all."""


@dataclass(slots=True)
class Timing:
    """When one call was sent, when the first and the last bytes of its answer's body came, and what it was."""

    sent_ns: int
    first_ns: int = 0
    last_ns: int = 0
    status: int = 0
    body: bytes = b""

    @property
    def whole_us(self) -> float:
        """From the send to the last byte, in microseconds."""
        return (self.last_ns - self.sent_ns) / 1e3

    @property
    def first_us(self) -> float:
        """From the send to the first byte of the body, in microseconds."""
        return (self.first_ns - self.sent_ns) / 1e3

    @property
    def stream_us(self) -> float:
        """From the first to the last byte of the body, in microseconds."""
        return (self.last_ns - self.first_ns) / 1e3


class Connection(asyncio.Protocol):
    """One kept-alive connection that carries one call at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._parser: Any = None
        self._timing = Timing(0)
        self._body: list[bytes] = []
        self._whole = True
        """Whether the answer is there, so that whatever comes now is nobody's."""
        self._answer: asyncio.Future[Timing] | None = None
        self._over = False

    @property
    def closed(self) -> bool:
        """Whether no call can go out on it."""
        return self._over or self._transport.is_closing()  # which is known before anybody is told of the loss

    def call(self, request: bytes) -> asyncio.Future[Timing]:
        """Send ``request`` and return what will be its timing; status 0 if the connection breaks first."""
        self._parser = httptools.HttpResponseParser(self)
        self._body = []
        self._whole = False
        self._answer = asyncio.get_running_loop().create_future()
        self._timing = Timing(perf_counter_ns())
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = perf_counter_ns()
        if self._whole:
            self._end()
            return
        bodies = len(self._body)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end()
            if not self._whole:
                return
        if len(self._body) > bodies:
            self._timing.last_ns = now
            if not bodies:
                self._timing.first_ns = now

    def _end(self) -> None:
        """Use it no more."""
        self._over = True
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._done()

    # What the parser tells.

    def on_message_begin(self) -> None:
        if self._whole:  # a second answer, and one call was made
            self._end()

    def on_body(self, body: bytes) -> None:
        if not self._whole:
            self._body.append(body)

    def on_message_complete(self) -> None:
        timing, status = self._timing, self._parser.get_status_code()
        if self._whole or status < 200:
            return
        self._whole = True
        timing.status = status
        timing.body = b"".join(self._body)
        if not self._parser.should_keep_alive():
            self._over = True
        # After what called this has stamped the bytes.
        asyncio.get_running_loop().call_soon(self._done)

    def _done(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(self._timing)


class Caller:
    """Calls one address over connections that it keeps, and counts the answers that were not what they should be."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name = name
        self.failed = 0
        self.first_failure = ""
        self._host, self._port = host, port
        self._idle: list[Connection] = []

    async def connection(self) -> Connection:
        """Return a connection that is open. Raises TargetError if none can be made."""
        while self._idle:
            kept = self._idle.pop()
            if not kept.closed:
                return kept
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE_S):
                _, made = await loop.create_connection(Connection, self._host, self._port)
        except OSError as error:  # TimeoutError is one
            raise TargetError(f"{self.name} takes no connection", cause=str(error) or type(error).__name__) from error
        return made

    def release(self, connection: Connection) -> None:
        """Keep ``connection`` for the next call."""
        if not connection.closed:
            self._idle.append(connection)

    async def call(self, request: bytes, chunks: int = 0) -> Timing | None:
        """Make one call; None if its answer was no whole one (``chunks``: a stream of so many events at least)."""
        connection = await self.connection()
        timing = await self._answered(connection.call(request))
        self.release(connection)
        return timing if self._sound(timing, chunks) else None

    async def closed_loop(
        self, connections: int, seconds: float, request: Callable[[], bytes], chunks: int = 0
    ) -> tuple[int, float]:
        """Call over so many connections at once for so long; return the calls answered whole and the seconds it took.

        What has been sent is waited for, so that all the work that was done is in the time.
        """
        opened = [await self.connection() for _ in range(connections)]
        began = perf_counter_ns()
        until = began + int(seconds * 1e9)

        async def loop(connection: Connection) -> int:
            answered = 0
            while True:  # once at least, however late its turn came
                if connection.closed:  # also before the first call: the last block may be long ago
                    connection = await self.connection()
                if self._sound(await connection.call(request()), chunks):
                    answered += 1
                if perf_counter_ns() >= until:
                    self.release(connection)
                    return answered

        try:
            async with asyncio.timeout(seconds + PATIENCE_S):
                counts = await asyncio.gather(*map(loop, opened))
        except TimeoutError:
            raise TargetError(f"{self.name} did not answer within {PATIENCE_S:g} s") from None
        return sum(counts), (perf_counter_ns() - began) / 1e9

    def close(self) -> None:
        """End all kept connections."""
        while self._idle:
            self._idle.pop().close()

    async def _answered(self, answer: asyncio.Future[Timing]) -> Timing:
        try:
            return await asyncio.wait_for(answer, PATIENCE_S)
        except TimeoutError:
            raise TargetError(f"{self.name} did not answer within {PATIENCE_S:g} s") from None

    def _sound(self, timing: Timing, chunks: int) -> bool:
        body = timing.body
        whole = b"[DONE]" in body and body.count(b"data:") > chunks if chunks else b'"choices"' in body
        if timing.status == 200 and whole:
            return True
        self.failed += 1
        told = f"status {timing.status}" if timing.status else "the connection broke"
        self.first_failure = self.first_failure or f"{told}: {body[:200].decode(errors='replace')}"
        return False
