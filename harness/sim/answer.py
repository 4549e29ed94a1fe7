"""The client's side of one request: reads the answer as stock httpx over httpcore does; it knows no server.

What was sent before a reset or a cut is still read, as on Linux sockets; then comes the error.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import AsyncIterator, Callable

import httpx

from harness.sim.asgi import Headers
from harness.sim.link import Carry, Item, Signal

READ_BYTES = 65_536
"""The most that one read returns."""
_HALF_STEP_S = 5e-7
"""Half a step of the clock: how far off an instant may be that was computed in floats."""


class Answer(httpx.AsyncByteStream):
    """What arrives at the client: a head, then chunks, then an outcome. Iterating reads the body, ``aclose`` leaves.

    ``unread`` counts the bytes that were sent and not read; a sender who finds them too many waits for ``room``.
    ``send`` carries what the client says after its request; ``over`` is called once, when the client needs no more,
    with whether it read all.
    """

    __slots__ = (
        "_chunks",
        "_loop",
        "_low_bytes",
        "_over",
        "_read_due",
        "_read_s",
        "_reader",
        "_received",
        "_request",
        "_watch",
        "head",
        "outcome",
        "room",
        "send",
        "unread",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, request: httpx.Request, read_s: float | None, low_bytes: int
    ) -> None:
        self.head: tuple[int, Headers] | None = None
        self.outcome: Signal | None = None
        self.send: Carry | None = None
        self.unread = 0
        self.room: asyncio.Event | None = None
        self._loop = loop
        self._request = request
        self._low_bytes = low_bytes
        self._over: Callable[[bool], None] | None = None
        self._chunks: deque[bytes] = deque()
        self._received = 0
        self._reader: asyncio.Future[None] | None = None
        self._read_s = read_s
        self._read_due = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def connect(self, send: Carry, over: Callable[[bool], None]) -> None:
        """Give the answer its way back to the server."""
        self.send = send
        self._over = over

    def arrive(self, item: Item) -> None:
        """Take what the server sent."""
        if self.outcome is not None or self._over is None:
            return
        if type(item) is bytes:
            self._received += len(item)
            self._chunks.append(item)
        elif type(item) is tuple:
            self.head = item
        else:
            assert isinstance(item, Signal)
            self.outcome = item
        reader = self._reader
        if reader is not None and not reader.done():
            reader.set_result(None)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._chunks:
            try:
                while not self._chunks:
                    if self.outcome is Signal.END or self._over is None:
                        raise StopAsyncIteration
                    await self.more()
            except BaseException:
                self.leave()
                raise
        data = self._chunks.popleft()
        if self._chunks and not self._chunked():
            data = b"".join((data, *self._chunks))
            self._chunks.clear()
        if len(data) > READ_BYTES:
            self._chunks.appendleft(data[READ_BYTES:])
            data = data[:READ_BYTES]
        self.unread -= len(data)
        if self.room is not None and self.unread <= self._low_bytes:
            self.room.set()
            self.room = None
        return data

    async def aclose(self) -> None:
        """Close the connection, unless all of the answer was read."""
        self.leave()

    def leave(self) -> None:
        """Need no more of the answer; the server learns of it, unless all of the answer was read."""
        over, self._over = self._over, None
        if over is None:
            return
        read_all = self.outcome is Signal.END and not self._chunks
        self._chunks.clear()
        self._reader = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self.send is not None and not read_all:
            self.send(Signal.LEFT)
        self.send = None
        over(read_all)

    @property
    def broken(self) -> bool:
        """Say whether the server broke the connection."""
        return self.outcome is not None and self.outcome is not Signal.END

    def waiter(self) -> asyncio.Future[None]:
        """Return what ends when something arrives."""
        reader = self._reader = asyncio.Future(loop=self._loop)
        return reader

    def more(self) -> asyncio.Future[None]:
        """Return what ends when something arrives, which may fail with httpx.ReadTimeout.

        Raises httpx.ReadError or RemoteProtocolError if nothing will arrive.
        """
        if self.outcome is not None:
            raise self._broken()
        if self._read_s is not None:
            self._read_due = self._loop.time() + self._read_s
            if self._watch is None:
                self._watch = self._loop.call_at(self._read_due, self._overdue)
        reader = self._reader = asyncio.Future(loop=self._loop)
        return reader

    def _overdue(self) -> None:
        """End the read that waits too long. One timer serves many reads: it is set again, not for each."""
        self._watch = None
        reader = self._reader
        if reader is None or reader.done():
            return
        if self._read_due - self._loop.time() > _HALF_STEP_S:
            self._watch = self._loop.call_at(self._read_due, self._overdue)
        else:
            reader.set_exception(httpx.ReadTimeout("", request=self._request))

    def _chunked(self) -> bool:
        return self.head is not None and (b"transfer-encoding", b"chunked") in self.head[1]

    def _broken(self) -> httpx.TransportError:
        if self.outcome is Signal.RESET:
            error = httpx.ReadError("", request=self._request)
            error.__cause__ = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
            return error
        if self.head is None:
            message = "Server disconnected without sending a response."
        elif self._chunked():
            message = "peer closed connection without sending complete message body (incomplete chunked read)"
        else:
            length = int(next(value for name, value in self.head[1] if name == b"content-length"))
            counts = f"(received {self._received} bytes, expected {length})"
            message = f"peer closed connection without sending complete message body {counts}"
        return httpx.RemoteProtocolError(message, request=self._request)
