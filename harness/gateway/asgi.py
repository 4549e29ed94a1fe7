"""One HTTP request over raw ASGI, as the pipeline sees its client: a body in, one answer or one stream out.

Neither a server nor this file cancels a handler when its client goes away: the handler is told, and decides.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_CLOCK_STEP_S = 1e-6
BACKLOG_BYTES = 4 << 20
"""What a stream keeps for a client that reads slowly, before the upstream has to wait for it."""


class ClientGone(Exception):  # noqa: N818 - an event, not a failure
    """The client went away before it had its answer."""


class BodyTooLarge(Exception):  # noqa: N818 - an answer, not a failure
    """The request's body is, or says it will be, past the limit."""


class Tape:
    """What was sent to a client, or would have been, had it stayed: status, headers, body; pings are not on it."""

    __slots__ = ("headers", "pieces", "status", "whole")

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.pieces: list[bytes] = []
        self.whole = False


class Client:
    """The client of one request: who it says it is, what it sends, and whether it is still there.

    ``answered``: its answer is complete but for the sending, from when on it may leave; ``gone``: it left before.
    """

    __slots__ = (
        "_extensions",
        "_left",
        "_receive",
        "_send",
        "_watcher",
        "answered",
        "gone",
        "headers",
        "method",
        "path",
        "query",
        "raw_headers",
        "tape",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.raw_headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        self.headers: dict[bytes, bytes] = dict(self.raw_headers)
        self.gone = False
        self._receive = receive
        self._send = send
        self.answered = False
        self.tape: Tape | None = None
        """Where a copy of the answer is wanted."""
        self._extensions: Mapping[str, Any] | None = scope.get("extensions")
        self._left: Callable[[], None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    def header(self, name: str) -> str:
        """Return a header's value by its lower-case name, or the empty string."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    async def body(self, limit: int) -> bytes:
        """Return the whole body. Raises BodyTooLarge, having kept no more than ``limit`` bytes, or ClientGone."""
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
            raise BodyTooLarge
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise BodyTooLarge
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def watch(self, left: Callable[[], None]) -> None:
        """Call ``left`` once if the client goes away before its answer is complete. To be used after ``body``.

        A server that can tell of a departure does (``when_left`` of its extension ``harness.connection``); for any
        other, a task waits for it.
        """
        self._left = left
        connection = self._extensions.get("harness.connection") if self._extensions else None
        when_left = getattr(connection, "when_left", None)
        if when_left is not None:
            when_left(self._departed)
        else:
            self._watcher = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._departed()

    def _departed(self) -> None:
        left, self._left = self._left, None
        if left is not None and not self.answered:
            self.gone = True
            left()

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Send the whole answer; to a client that has gone, nothing happens."""
        self.answered = True
        if self.tape is not None:
            self.tape.status, self.tape.headers, self.tape.pieces, self.tape.whole = status, headers, [body], True
        length = (b"content-length", str(len(body)).encode())
        if self.method == "HEAD":
            body = b""
        try:
            await self._send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
            await self._send({"type": "http.response.body", "body": body})
        except OSError:
            self.gone = True

    async def respond_in_pieces(self, headers: Headers, pieces: AsyncGenerator[bytes, None]) -> None:
        """Send an answer that need not fit in memory, with status 200; one of one piece goes out as a whole."""
        async with aclosing(pieces):
            first, second = await anext(pieces, b""), await anext(pieces, None)
            if second is None:
                await self.respond(200, headers, first)
                return
            self.answered = True
            await self.send({"type": "http.response.start", "status": 200, "headers": headers})
            if self.method != "HEAD":
                for piece in (first, second):
                    await self.send({"type": "http.response.body", "body": piece, "more_body": True})
                async for piece in pieces:
                    await self.send({"type": "http.response.body", "body": piece, "more_body": True})
            await self.send({"type": "http.response.body", "body": b""})

    async def send(self, message: Message) -> None:
        """Send one ASGI message; some servers raise OSError once the client has gone, which then is known."""
        try:
            await self._send(message)
        except OSError:
            self.gone = True

    def close(self) -> None:
        """Stop watching.

        A server tells of every complete answer as of a departure, so the watcher of an answered call ends by itself: a
        cancellation for each call would leave a ring of frames behind, and all that they hold, for the collector.
        """
        self._left = None
        if self._watcher is not None and not self.answered:
            self._watcher.cancel()


class ClientStream:
    """An SSE answer under way: what is written goes out as fast as the client reads, with a ping in each silence.

    The head goes out with the first bytes, and not before, so that a failure until then can still be a status. The
    writer never waits for the client: see ``room``.
    """

    __slots__ = (
        "_backlog",
        "_client",
        "_ended",
        "_last_s",
        "_loop",
        "_ping",
        "_ping_s",
        "_pump",
        "_queue",
        "_roomy",
        "_timer",
        "_wake",
        "headers",
        "started",
    )

    def __init__(self, client: Client, headers: Headers, ping: bytes, ping_s: float) -> None:
        self.started = False
        self._client = client
        self.headers = headers
        self._ping = ping
        self._ping_s = ping_s
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes] = deque()
        self._backlog = 0
        self._ended = False
        self._wake: asyncio.Future[None] | None = None
        self._roomy: asyncio.Future[None] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._last_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self._last_s + ping_s, self._tick)

    def write(self, data: bytes) -> None:
        """Let ``data`` (whole events) go out; nothing happens if the client has gone."""
        if self._client.tape is not None:
            self._client.tape.pieces.append(data)
        self._send(data)

    def _send(self, data: bytes) -> None:
        if self._client.gone:
            return
        self._last_s = self._loop.time()
        self._queue.append(data)
        self._backlog += len(data)
        if self._pump is None:
            self.started = True
            self._pump = self._loop.create_task(self._send_all())
        else:
            _settle(self._wake)

    @property
    def full(self) -> bool:
        """Whether the client is so far behind that the upstream has to wait for it."""
        return self._backlog > BACKLOG_BYTES

    async def room(self) -> None:
        """Wait until the client has caught up, or has gone."""
        while self.full and not self._client.gone:
            self._roomy = self._loop.create_future()
            await self._roomy

    def end(self) -> None:
        """Let the answer end after what was written; no ping follows."""
        self._ended = True
        tape = self._client.tape
        if tape is not None:
            tape.status, tape.headers, tape.whole = 200, self.headers, True
        self._stop_pings()
        self._client.answered = True
        _settle(self._wake)

    async def flushed(self) -> None:
        """Wait until all was sent, or the client has gone."""
        if self._pump is not None:
            await asyncio.wait((self._pump,))
            if not self._pump.cancelled():
                self._pump.result()

    def abandon(self) -> None:
        """Stop where it is; for a client that has gone, and for a handler on its way out."""
        self._stop_pings()
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()
        _settle(self._roomy)

    def _tick(self) -> None:
        due_s = self._last_s + self._ping_s
        now_s = self._loop.time()
        if due_s - now_s < _CLOCK_STEP_S:  # a sum of floats may lie a little behind the instant it stands for
            if not self._backlog:  # a client that is behind hears enough
                self.ping()
            due_s = now_s + self._ping_s
        self._timer = self._loop.call_at(due_s, self._tick)

    def ping(self) -> None:
        """Tell the client that the answer is still to come."""
        self._send(self._ping)

    def _stop_pings(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _send_all(self) -> None:
        send, queue = self._client.send, self._queue
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        while True:
            if queue:
                # What came while the last bytes were sent goes out in one piece.
                data = queue.popleft() if len(queue) == 1 else b"".join(queue)
                queue.clear()
                last = self._ended
                await send({"type": "http.response.body", "body": data, "more_body": not last})
                if last:
                    return
                self._backlog -= len(data)
                if self._roomy is not None and not self.full:
                    _settle(self._roomy)
            elif self._ended:
                await send({"type": "http.response.body", "body": b""})
                return
            else:
                self._wake = self._loop.create_future()
                await self._wake


def _settle(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
