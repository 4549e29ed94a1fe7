"""One HTTP/1.1 connection to an upstream: sends a request as it is, and gives the answer as it comes; it pools nothing.

Errors are httpx's, by their cause: a reset is a ReadError, an end before the answer's own a RemoteProtocolError.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools
import httpx

from harness.gateway.asgi import Headers

HEAD_BYTES = 64 << 10
"""How long an answer's head may be."""
BUFFER_BYTES = 256 << 10
"""What is kept of an answer that nobody reads yet, before the upstream has to wait."""


class Connection(asyncio.Protocol):
    """Carries one exchange at a time; ``kept`` is called when it is free for the next one."""

    def __init__(self, kept: Callable[[Connection], None]) -> None:
        self._kept = kept
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._exchange: Exchange | None = None
        self._roomy: asyncio.Future[None] | None = None
        self.closed = False
        self.idle_since_s = 0.0

    async def send(self, request: httpx.Request, timeouts: Any) -> Exchange:
        """Send ``request`` and return its exchange once the head of the answer is there. Raises TransportError."""
        exchange = self._exchange = Exchange(self, timeouts.get("read"))
        try:
            self._transport.write(request_bytes(request))
            if self._roomy is not None:
                await self._room(timeouts.get("write"))
            await exchange.head()
        except BaseException:
            self.close()
            raise
        return exchange

    def finish(self, exchange: Exchange) -> None:
        """Let go of an exchange: the connection is kept if the answer is whole and its server keeps it."""
        if self._exchange is exchange:
            self._exchange = None
            if exchange.reusable and not self.closed and self._roomy is None:
                self.idle_since_s = self._loop.time()
                self._kept(self)
            else:
                self.close()

    def close(self) -> None:
        """End it now."""
        self.closed = True
        self._transport.abort()

    def pause(self) -> None:
        """Read nothing until ``resume``."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self.closed:
            self._transport.resume_reading()

    async def _room(self, timeout_s: float | None) -> None:
        """Wait until the upstream has taken what was written, or answers without."""
        assert self._roomy is not None
        try:
            await asyncio.wait_for(self._roomy, timeout_s)
        except TimeoutError as error:
            raise httpx.WriteTimeout("the upstream does not take the request") from error

    # What the transport tells.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:
            self.close()  # nobody asked
        else:
            self._exchange.feed(data)

    def eof_received(self) -> None:
        if self._exchange is not None:
            self._exchange.ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._exchange is not None:
            self._exchange.ended(exc)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._roomy = self._loop.create_future()

    def resume_writing(self) -> None:
        roomy, self._roomy = self._roomy, None
        if roomy is not None and not roomy.done():
            roomy.set_result(None)


class Exchange(httpx.AsyncByteStream):
    """One answer: its head, and its body as an iterator of the pieces in which it came."""

    def __init__(self, connection: Connection, timeout_s: float | None) -> None:
        self.status = 0
        self.headers: Headers = []
        self.reusable = False
        """Whether the answer is whole, and the connection good for another."""
        self._connection = connection
        self._timeout_s = timeout_s
        self._parser: Any = httptools.HttpResponseParser(self)
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False
        self._head_bytes = 0
        self._headed = self._whole = self._let_go = False
        self._error: httpx.TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def head(self) -> None:
        """Return when the head is there. Raises httpx.TransportError."""
        while not self._headed:
            await self._more()

    def __aiter__(self) -> Exchange:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._whole or self._let_go:
                raise StopAsyncIteration
            await self._more()
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        if self._paused and not self._buffered:
            self._paused = False
            self._connection.resume()
        return piece

    async def aclose(self) -> None:
        """Let go of the connection; what has not come of the answer never will."""
        if not self._let_go:
            self._let_go = True
            self._pieces.clear()
            self._parser = None  # the two know each other: garbage that only the collector would find
            self._connection.finish(self)

    async def _more(self) -> None:
        """Wait for whatever comes next. Raises what ended the answer early, ReadTimeout if nothing comes."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        timer = None if self._timeout_s is None else self._loop.call_later(self._timeout_s, self._silent)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _silent(self) -> None:
        self._fail(httpx.ReadTimeout("the upstream is silent"))
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: httpx.TransportError, cause: BaseException | None = None) -> None:
        if self._error is None and not self._whole:
            error.__cause__ = cause
            self._error = error

    # What the connection tells.

    def feed(self, data: bytes) -> None:
        """Take bytes of the answer."""
        if self._whole:
            self.reusable = False  # more than the answer: whose is that?
            return
        if not self._headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if self._head_bytes > HEAD_BYTES and not self._headed:
                self._fail(httpx.RemoteProtocolError("the answer's head is too long"))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            self._fail(httpx.RemoteProtocolError(f"what came is no HTTP answer: {type(error).__name__}"), error)
        if self._buffered > BUFFER_BYTES and not self._paused and not self._whole:
            self._paused = True
            self._connection.pause()
        self._wake()

    def ended(self, error: Exception | None) -> None:
        """Take the connection's end: that of the answer too, if nothing but the end could tell it."""
        self.reusable = False
        if isinstance(error, OSError):
            self._fail(httpx.ReadError(str(error)), error)
        elif self._headed and error is None and self._until_end():
            self._whole = self._whole or self._error is None
        else:
            self._fail(httpx.RemoteProtocolError("the connection ended before the answer"), error)
        self._wake()

    def _until_end(self) -> bool:
        return not any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    # What the parser tells.

    def on_message_begin(self) -> None:
        if self._whole:
            raise ValueError("another answer, to no request")  # the parser stops here

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue and its like: the answer is still to come
            self.headers = []
        else:
            self.status = status
            self._headed = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        if self._headed:
            self._whole = True
            self.reusable = self._parser.should_keep_alive()


def request_bytes(request: httpx.Request) -> bytes:
    """Return a request that was read as it goes over the wire. Raises LocalProtocolError for what would be two."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
        raise httpx.LocalProtocolError("a header has an end of line or a NUL in it")
    return b"%b\r\n\r\n%b" % (head, request.content)
