"""One kept-alive HTTP/1.1 connection to an upstream, and the answer that comes in on it; it opens none and keeps none.

httptools reads what comes. Errors are httpx's, each with the cause that the socket or the parser gave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
import httpx

from harness.gateway.asgi import Headers

UNREAD_BYTES = 256 << 10
"""With so much of a body unread, nothing more is taken from the socket until half of it was."""
BARE_BYTES = 128 << 10
"""No answer may send so much without a byte of body among it: the longest head, or trailers without end."""
_STEP_S = 0.002
"""How early a loop's timer may be."""

_PARSER_ERRORS = (httptools.HttpParserError, httptools.HttpParserUpgrade)


class Incoming(httpx.AsyncByteStream):
    """An answer as it comes in: the head, then the body piece by piece. ``aclose`` ends the exchange.

    ``read_s`` bounds each wait for more, in seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        read_s: float | None,
        over: Callable[[Connection], None],
    ) -> None:
        self.status = 0
        self.headers: Headers = []
        self.whole = False
        self.error: httpx.TransportError | None = None
        self._loop = loop
        self._connection: Connection | None = connection
        self._read_s = read_s
        self._over = over
        self._chunks: list[bytes] = []
        self._unread = 0
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    async def head(self) -> None:
        """Return once ``status`` and ``headers`` are there. Raises httpx.TransportError."""
        while not self.status:
            if self.error is not None:
                raise self.error
            await self._more()

    async def written(self, connection: Connection, write_s: float | None) -> None:
        """Return once the request has left, or an answer came before that. Raises httpx.WriteTimeout, TransportError.

        ``write_s`` bounds each wait in which nothing leaves.
        """
        left = connection.unsent
        while connection.stuffed and not self.status and self.error is None:
            waiter = self._waiter = self._loop.create_future()
            try:
                async with asyncio.timeout(write_s):
                    await waiter
            except TimeoutError as error:
                before, left = left, connection.unsent
                if left >= before:
                    raise httpx.WriteTimeout("the upstream takes no more of the request") from error

    def __aiter__(self) -> Incoming:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self.whole:
                raise StopAsyncIteration
            if self.error is not None:
                raise self.error
            await self._more()
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._unread = 0
        if self._connection is not None:
            self._connection.resume()
        return data

    async def aclose(self) -> None:
        """Need no more of it: the connection is free again if the answer is whole, and closed if it is not."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection.incoming = None
        if self.whole:
            connection.resume()
        else:
            connection.close()
        self._over(connection)

    # What the connection tells.

    def add(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._chunks.append(data)
        self._unread += len(data)

    @property
    def full(self) -> bool:
        """Whether more is unread than there should be."""
        return self._unread > UNREAD_BYTES

    def fail(self, error: httpx.TransportError, cause: BaseException | None = None) -> None:
        """End with ``error``, unless it is over already; what came before can still be read."""
        if not self.whole and self.error is None:
            error.__cause__ = cause
            self.error = error
            self.wake()

    def wake(self) -> None:
        """Let the reader look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _more(self) -> asyncio.Future[None]:
        """Return what ends when there is news, or fails with httpx.ReadTimeout."""
        if self._read_s is not None:
            self._due = self._loop.time() + self._read_s
            if self._timer is None:
                self._timer = self._loop.call_at(self._due, self._overdue)
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def _overdue(self) -> None:
        """End the wait that takes too long. One timer serves many waits: it is set again, not for each."""
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._due - self._loop.time() > _STEP_S:
            self._timer = self._loop.call_at(self._due, self._overdue)
        else:
            waiter.set_exception(httpx.ReadTimeout("the upstream sends nothing"))


class Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time. ``usable`` says whether another may begin on it."""

    def __init__(self, origin: tuple[str, str, int]) -> None:
        self.origin = origin
        self.idle_since_s = 0.0
        self.usable = True
        self.stuffed = False
        """Whether more of a request waits to leave than the socket takes at once."""
        self.incoming: Incoming | None = None
        self._transport: Any = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._framed = False
        self._paused = False
        self._bare = 0

    @property
    def open(self) -> bool:
        """Whether a request can go out on it: that it broke is known before anybody is told of its loss."""
        return self.usable and not self._transport.is_closing()

    def send(self, message: bytes, incoming: Incoming) -> None:
        """Send a whole request, whose answer is ``incoming``."""
        self.incoming = incoming
        self._headers = []
        self._framed = False
        self._bare = 0
        if self._transport.is_closing():  # as soon as it was made
            incoming.fail(httpx.ReadError("the upstream broke the connection before the request went out"))
        else:
            self._transport.write(message)

    @property
    def unsent(self) -> int:
        """How many bytes wait to leave."""
        return int(self._transport.get_write_buffer_size())

    def resume(self) -> None:
        """Take more from the socket again, if it was left unread."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """End it, without a word to the other side about what is still to come."""
        self.usable = False
        self._transport.abort()

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        incoming = self.incoming
        if incoming is None:
            self.close()  # nobody asked: whatever this is, it is no call's answer
            return
        self._bare += len(data)
        try:
            self._parser.feed_data(data)
        except _PARSER_ERRORS as error:
            self.usable = False
            incoming.fail(httpx.RemoteProtocolError(f"the upstream speaks no HTTP/1.1: {error}"), error)
            return
        if self._bare > BARE_BYTES:
            self.usable = False
            incoming.fail(httpx.RemoteProtocolError(f"{self._bare} bytes came without a body's among them"))
        elif incoming.full and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        incoming.wake()

    def pause_writing(self) -> None:
        self.stuffed = True

    def resume_writing(self) -> None:
        self.stuffed = False
        if self.incoming is not None:
            self.incoming.wake()

    def eof_received(self) -> None:
        self.usable = False  # the transport closes itself, a turn later

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self.stuffed = False
        self._parser = None  # it holds this object's methods: no ring is left behind
        incoming = self.incoming
        if incoming is None:
            return
        if exc is not None:
            incoming.fail(httpx.ReadError(str(exc) or type(exc).__name__), exc)
        elif incoming.status and not self._framed:
            incoming.whole = True  # an answer without framing ends where the connection does
            incoming.wake()
        else:
            where = "in the middle of its answer" if incoming.status else "without an answer"
            incoming.fail(httpx.RemoteProtocolError(f"the upstream closed the connection {where}"))

    # The parser's side.

    def on_message_begin(self) -> None:
        if self.incoming is None or self.incoming.whole:
            self.usable = False  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._headers.append((name, value))
        if name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower()):
            self._framed = True

    def on_headers_complete(self) -> None:
        incoming = self.incoming
        status = self._parser.get_status_code()
        if status >= 200 and incoming is not None and not incoming.whole:
            incoming.headers = self._headers
            incoming.status = status
        self._headers = []  # what comes now is another head's, behind one that only said to go on, or a trailer

    def on_body(self, data: bytes) -> None:
        incoming = self.incoming
        if incoming is not None and not incoming.whole:
            self._bare = 0
            incoming.add(data)

    def on_message_complete(self) -> None:
        incoming = self.incoming
        if incoming is None or not incoming.status or incoming.whole:
            return
        incoming.whole = True
        # The parser knows it here, and not afterwards; and what is only half asked is not over.
        self.usable = self.usable and self._parser.should_keep_alive() and not self.stuffed
