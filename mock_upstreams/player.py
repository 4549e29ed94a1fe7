"""Plays a reply's parts over raw ASGI: sends, waits, cuts, and notices when the caller leaves; it decides nothing.

Resetting and closing a connection is no business of ASGI's: ``scope["extensions"]["harness.connection"]`` does it, an
object with ``reset()`` (RST) and ``cut()`` (FIN without the framing's end).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mock_upstreams.parts import Chunk, Headers, Part, Pause, Reset, Start

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Ending = Literal["whole", "broken", "left"]
"""whole: all was sent and the answer ended cleanly. broken: a part broke the connection. left: the caller went away."""


FULL_S = 0.000_2
"""What takes longer to send was not taken by the transport at once: that takes some 30 us."""


class Connection(Protocol):
    """What carries the answer, as far as ASGI does not reach it.

    It may also have ``attached_s``: an instant of the loop's clock at which the caller was certainly still there; and
    ``push(data)``: sends a piece of the body that is not the last, unless that has to wait; it says whether it did; and
    ``when_left(told)``: calls ``told`` soon after the caller left, unless the answer is complete by then.
    """

    def reset(self) -> None:
        """Send RST."""
        ...

    def cut(self) -> None:
        """Send FIN now."""
        ...


class CannotBreak(Exception):  # noqa: N818 - the host lacks something, nothing failed
    """The ASGI host does not provide ``harness.connection``, so no connection can be reset or closed."""


@dataclass(slots=True)
class Tape:
    """What was sent, and when (seconds of the loop's clock); it grows as the player goes on."""

    status: int | None = None
    headers: Headers = ()
    head_s: float | None = None
    first_chunk_s: float | None = None
    sent: list[bytes] = field(default_factory=list)
    left_s: float | None = None
    """When the caller's departure was noticed."""
    attached_s: float | None = None
    """When the caller was certainly still there, if the connection can tell."""

    @property
    def content_type(self) -> str:
        """The content type that was told, empty if none was."""
        return dict(self.headers).get(b"content-type", b"").decode("latin-1")


def play(
    parts: Iterable[Part], receive: Receive, send: Send, connection: Connection | None, tape: Tape
) -> Coroutine[Any, Any, Ending]:
    """Send ``parts`` until their end, a break, or the caller's departure; ``tape`` is told everything that was sent.

    The request's body must have been read. The head goes with the first chunk, the clean end with the last one, and
    otherwise each chunk is one message. Raises CannotBreak if a connection is to be broken that cannot be.
    """
    return _Player(parts, receive, send, connection, tape).play()


class _Player:
    __slots__ = (
        "_ahead",
        "_connection",
        "_head",
        "_held",
        "_loop",
        "_parts",
        "_push",
        "_receive",
        "_send",
        "_tape",
        "_timer",
        "_waiter",
        "_watcher",
        "_watching",
        "_whole",
    )

    def __init__(
        self, parts: Iterable[Part], receive: Receive, send: Send, connection: Connection | None, tape: Tape
    ) -> None:
        self._parts = iter(parts)
        self._ahead: Part | None = None
        """A part that was taken from ``parts`` and not yet played."""
        self._receive = receive
        self._send = send
        self._connection = connection
        self._push: Callable[[bytes], bool] | None = getattr(connection, "push", None)
        self._tape = tape
        self._loop = asyncio.get_running_loop()
        self._head: Start | None = None
        self._held: Chunk | None = None
        self._watching = False
        self._watcher: asyncio.Task[None] | None = None
        """Watches where the connection cannot tell."""
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._whole = False

    async def play(self) -> Ending:
        try:
            while (part := self._ahead or next(self._parts, None)) is not None:
                self._ahead = None
                if isinstance(part, Chunk):
                    if self._held is not None and not self._pushed() and await self._flush():
                        return "left"
                    self._held = part
                elif isinstance(part, Pause):
                    if await self._pause(part.seconds):
                        return "left"
                elif isinstance(part, Start):
                    self._head = part
                    if part.flush:
                        await self._send(self._begun())
                        await self._send({"type": "http.response.body", "body": b"", "more_body": True})
                else:
                    return await self._break(reset=isinstance(part, Reset))
            return await self._finish()
        finally:
            # After a complete answer the server ends the watch by itself; a cancellation would leave garbage behind.
            if self._watcher is not None and not self._whole:
                self._watcher.cancel()

    def _begun(self) -> Message:
        """Return the message with the head, which is sent now."""
        head, tape = self._head, self._tape
        assert head is not None
        self._head = None
        tape.head_s = self._loop.time()
        tape.status = head.status
        tape.headers = head.headers
        return {"type": "http.response.start", "status": head.status, "headers": head.headers}

    async def _flush(self, *, last: bool = False) -> bool:
        """Send the chunk that is held, and say whether the caller was found to have left meanwhile."""
        chunk, tape, loop = self._held, self._tape, self._loop
        assert chunk is not None
        self._held = None
        began = loop.time()
        if self._head is not None:
            await self._send(self._begun())
        if tape.first_chunk_s is None:
            tape.first_chunk_s = began
        tape.sent.append(chunk.data)
        await self._send({"type": "http.response.body", "body": chunk.data, "more_body": not last})
        if loop.time() - began > FULL_S:
            # The transport was full: whether the caller is still there shows only if one asks and lets the loop turn.
            self._watch()
            await asyncio.sleep(0)
        return tape.left_s is not None

    async def _finish(self) -> Ending:
        if self._held is not None:
            # A chunk that the caller left behind in the very last send was handed over all the same.
            await self._flush(last=True)
        else:
            if self._head is not None:
                await self._send(self._begun())
            if self._tape.status is not None:
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        self._whole = True
        return "whole"

    async def _break(self, *, reset: bool) -> Ending:
        if self._held is not None and await self._flush():
            return "left"
        if self._connection is None:
            raise CannotBreak("this ASGI host has no harness.connection: it cannot reset or close a connection")
        if reset:
            self._connection.reset()
        else:
            self._connection.cut()
        return "broken"

    async def _pause(self, seconds: float) -> bool:
        """Wait, for ever if ``seconds`` is infinite, and say whether the caller left meanwhile."""
        if self._held is not None and not self._pushed() and await self._flush():
            return True
        if seconds <= 0:
            return False
        self._watch()
        if self._tape.left_s is not None:
            return True
        waiter = self._waiter = self._loop.create_future()
        if seconds < math.inf:
            self._timer = self._loop.call_later(seconds, self._go_on)
        try:
            await waiter
        finally:
            self._waiter = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None  # it leads back here
        return self._tape.left_s is not None

    def _go_on(self) -> None:
        """End a pause. The task sleeps on through the chunks and pauses that follow, as long as none has to wait."""
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        try:
            if self._push is not None and self._tape.sent and self._paced():
                return
        except Exception as error:  # of what makes the parts
            waiter.set_exception(error)
        else:
            waiter.set_result(None)

    def _paced(self) -> bool:
        """Play up to the next pause and begin it; or leave the rest to the task, and return False."""
        for part in self._parts:
            chunk = part if isinstance(part, Chunk) else None
            seconds = part.seconds if isinstance(part, Pause) else 0.0
            playable = chunk is not None or 0 < seconds < math.inf
            if not playable or not (self._held is None or self._pushed()):
                self._ahead = part
                return False
            if chunk is None:
                self._timer = self._loop.call_later(seconds, self._go_on)
                return True
            self._held = chunk
        return False

    def _pushed(self) -> bool:
        """Send the chunk that is held if that needs no waiting, and say whether it was sent."""
        held, push, sent = self._held, self._push, self._tape.sent
        # The first one goes with the head.
        if held is None or push is None or not sent or not push(held.data):
            return False
        self._held = None
        sent.append(held.data)
        return True

    def _watch(self) -> None:
        """See to it that a departure is noticed from here on, by a task if need be; not done for replies at once."""
        if self._watching:
            return
        self._watching = True
        when_left = getattr(self._connection, "when_left", None)
        if when_left is not None:
            when_left(self._left)
        else:
            self._watcher = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _left(self) -> None:
        self._tape.left_s = self._loop.time()
        self._tape.attached_s = getattr(self._connection, "attached_s", None)
        if self._waiter is not None:
            _wake(self._waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
