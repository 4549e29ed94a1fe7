"""The server's side of one request: runs an ASGI application as uvicorn's httptools protocol does; it reads no answer.

The states and the order of the checks follow uvicorn's RequestResponseCycle, so that one can be held against the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from harness.sim.answer import Answer
from harness.sim.asgi import Event, Message, response_headers
from harness.sim.link import Carry, Item, Signal

if TYPE_CHECKING:
    from harness.sim.pool import Connection

BROKEN_OFF = "ASGI callable returned without completing response."
"""The complaint about an application that stopped in the middle of its answer: nothing was raised."""


class Cycle:
    """One request at a server. The application finds it as ``scope["extensions"]["harness.connection"]``.

    ``untaken`` counts the bytes of the request that were sent and not received by the application; a client who finds
    them too many waits for ``room``. ``carry`` is what the server sends into.
    """

    __slots__ = (
        "_body", "_buffer_bytes", "_chunked", "_client_done", "_complete", "_connection", "_disconnected",
        "_expected", "_keep_alive", "_listeners", "_loop", "_method", "_more_body", "_news", "_served",
        "_started", "_told_left", "answer", "carry", "host", "room", "source", "task", "untaken",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        source: str,
        method: str,
        answer: Answer,
        keep_alive: bool,
    ) -> None:
        host = connection.host
        self.host = host
        self.source = source
        self.task: asyncio.Task[None] | None = None
        self.untaken = 0
        self.room: asyncio.Future[None] | None = None
        self.carry: Carry = answer.arrive
        self.answer = answer
        self._loop = loop
        self._connection = connection
        self._method = method
        self._keep_alive = keep_alive
        self._buffer_bytes = host.link.buffer_bytes
        self._body = b""
        self._more_body = True
        self._news = False
        self._listeners: list[asyncio.Future[None]] = []
        self._disconnected = False
        self._told_left: Callable[[], object] | None = None
        self._started = False
        self._complete = False
        self._chunked: bool | None = None
        self._expected = 0
        self._served = False
        self._client_done = False

    # The connection

    def start(self, scope: dict[str, Any]) -> None:
        """Let the host's application serve the request in a task of its process."""
        host = self.host
        if not host.process.alive:
            self.reset()
            return
        name = f"{self._method} {scope['path']}"
        self.task = self._loop.create_task(self._run(scope), name=name, context=host.process.context.copy())

    def arrive(self, item: Item) -> None:
        """Take what the client sent."""
        if isinstance(item, bytes):
            if self._complete or self._disconnected:
                self._take(len(item))
            else:
                self._body += item
        elif item is Signal.END:
            self._more_body = False
        elif not self._complete:
            self._disconnect()
        self._tell()

    def arrive_whole(self, body: bytes) -> None:
        """Take all that the client sends, in the very moment of ``start``: nothing of the application ran yet."""
        if not self._disconnected:
            self._body = body
            self.untaken = len(body)
        self._more_body = False
        self._news = True

    def when_left(self, told: Callable[[], object]) -> None:
        """Call ``told`` in the turn after the client left, unless the answer is complete by then."""
        self._told_left = told
        if self._disconnected:
            self._tell_left()

    def reset(self) -> None:
        """Send RST: the client reads what was sent before, then an error."""
        self._close(Signal.RESET)

    def cut(self) -> None:
        """Send FIN now, without the framing's end."""
        self._close(Signal.CUT)

    def _close(self, signal: Signal) -> None:
        self._connection.open = False
        if not self._complete and not self._disconnected:
            self.carry(signal)
            self._disconnect()
            self._tell()

    def _tell(self) -> None:
        """Let ``receive`` know that there is news. An asyncio.Event would cost a call more than all the rest of it."""
        self._news = True
        if self._listeners:
            for listener in self._listeners:
                if not listener.done():
                    listener.set_result(None)
            self._listeners.clear()

    def _disconnect(self) -> None:
        self._disconnected = True
        self._take(len(self._body))
        room = self.answer.room
        if room is not None:
            room.set()
        self._tell_left()

    def _tell_left(self) -> None:
        told, self._told_left = self._told_left, None  # it leads back here
        if told is not None:
            self._loop.call_soon(told, context=self.host.process.context)

    def _take(self, count: int) -> None:
        self.untaken -= count
        if self.room is not None and not self.room.done():
            self.room.set_result(None)

    # The application

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            result = await self.host.app(scope, self.receive, self.send)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                self.cut()  # the process ends
                raise
            self.host.crashed(scope, error)
            if self._started:
                self.cut()
            else:
                await self._send_500()
        else:
            if result is not None:
                self.host.crashed(scope, TypeError(f"ASGI callable should return None, but returned {result!r}"))
                self.cut()
            elif not self._started and not self._disconnected:
                self.host.crashed(scope, RuntimeError("ASGI callable returned without starting response."))
                await self._send_500()
            elif not self._complete and not self._disconnected:
                self.host.crashed(scope, RuntimeError(BROKEN_OFF))
                self.cut()
        finally:
            self._served = True
            if self._client_done:
                self.host.forget(self)

    async def receive(self) -> Event:
        """Return what arrived of the body, or that the client is gone or the answer complete (ASGI)."""
        if not self._disconnected and not self._complete:
            if not self._news:
                await self._listener()
            self._news = False
        if self._disconnected or self._complete:
            return {"type": "http.disconnect"}
        body, self._body = self._body, b""
        if body:
            self._take(len(body))
        return {"type": "http.request", "body": body, "more_body": self._more_body}

    def _listener(self) -> asyncio.Future[None]:
        """Return what ends with the next news; several tasks of the application may wait for it, and stop waiting."""
        if self._listeners:
            self._listeners = [listener for listener in self._listeners if not listener.done()]
        listener: asyncio.Future[None] = asyncio.Future(loop=self._loop)
        self._listeners.append(listener)
        return listener

    async def send(self, message: Message) -> None:
        """Send a part of the answer (ASGI); wait while too much is unread; do nothing once the client is gone."""
        answer = self.answer
        if answer.unread > self._buffer_bytes and not self._disconnected:
            if answer.room is None:
                answer.room = asyncio.Event()
            await answer.room.wait()
        if self._disconnected:
            return
        kind = message["type"]
        if self._complete:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent, after response already completed.")
        if not self._started:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
            self._started = True
            self._send_head(message["status"], message.get("headers", ()))
            return
        if kind != "http.response.body":
            raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
        body = message.get("body", b"")
        if self._method == "HEAD":
            self._expected = 0
        elif self._chunked:
            if body:
                answer.unread += len(body)
                self.carry(body if type(body) is bytes else bytes(body))
        elif body:
            self._send_counted(bytes(body))
        if not message.get("more_body", False):
            self._finish()

    def _send_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if not 100 <= status <= 599:
            raise KeyError(status)
        head, framing = response_headers(headers)
        closing = False
        for place in framing:
            name, value = head[place]
            if name == b"content-length" and self._chunked is None:
                self._expected = int(value)
                self._chunked = False
            elif name == b"transfer-encoding" and value.lower() == b"chunked":
                self._expected = 0
                self._chunked = True
                head[place] = (name, value)  # ASGI allows lists as well, and the client looks for this one
            elif name == b"connection" and b"close" in [token.strip() for token in value.lower().split(b",")]:
                self._keep_alive = False
                closing = True
        if not self._keep_alive and not closing:
            head.append((b"connection", b"close"))
        bodiless = self._method == "HEAD" or status in (204, 304)
        if self._chunked is None and not bodiless:
            self._chunked = True
            head.append((b"transfer-encoding", b"chunked"))
        self.carry((status, head))
        if bodiless or (not self._chunked and self._expected == 0):
            self.carry(Signal.END)  # the head alone says that nothing follows

    def _send_counted(self, body: bytes) -> None:
        if len(body) > self._expected:
            raise RuntimeError("Response content longer than Content-Length")
        self._expected -= len(body)
        self.answer.unread += len(body)
        self.carry(body)
        if self._expected == 0:
            self.carry(Signal.END)

    def _finish(self) -> None:
        if self._expected != 0:
            raise RuntimeError("Response content shorter than Content-Length")
        self._complete = True
        self._told_left = None
        self._tell()
        if self._body:
            self._take(len(self._body))
        if self._chunked:
            self.carry(Signal.END)

    async def _send_500(self) -> None:
        length = (b"content-length", b"21")
        headers = [(b"content-type", b"text/plain; charset=utf-8"), length, (b"connection", b"close")]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"Internal Server Error"})

    # The other side

    def client_done(self, read_all: bool) -> None:
        """Note that the client needs no more, having read all of the answer or not."""
        self._client_done = True
        connection = self._connection
        connection.pool.release(connection, read_all and self._complete and self._keep_alive, self._loop.time())
        if self._served:
            self.host.forget(self)
