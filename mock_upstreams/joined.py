"""uvicorn's HTTP protocol with an answer's head and its first bytes in one write; it changes none of them.

A whole answer is one packet then, and one wake-up of its reader, where uvicorn makes two of each; and its head is
checked and put together at once. ASGI asks for it: no head is to go out before there is something of a body. Idle
connections have one timer, where uvicorn makes one for each answer. Pieces of a body can be sent without ASGI, and a
caller's departure can be told without a task that waits for it: by the extension ``harness.connection``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_NO_BODY = (204, 304)
_FRAMING = (b"connection", b"content-length", b"transfer-encoding")
_NOT_IN_VALUES = bytes({*range(0x20), 0x7F} - {ord("\t")})


class JoiningProtocol(HttpToolsProtocol):
    """uvicorn's protocol, but for the writing of heads and of pieces, the timing of idleness, and departures."""

    _idle_s: float | None = None
    """Since when it is idle, if it is."""
    _told_left: Callable[[], object] | None = None
    """What is told of the caller's departure; it leads back here, so it is let go of."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._joining = _Joining(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        self._tell_left()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        connection: Any = self.connection()
        self.scope["extensions"] = {"harness.connection": connection}

    def connection(self) -> object:
        """Return what the application finds as ``harness.connection``."""
        return self

    def when_left(self, told: Callable[[], object]) -> None:
        """Call ``told`` soon after the caller left, unless the answer under way is complete by then."""
        self._told_left = told
        if self._answering.disconnected:
            self._tell_left()

    def _tell_left(self) -> None:
        told, self._told_left = self._told_left, None
        if told is not None:
            self.loop.call_soon(told)

    def on_response_complete(self) -> None:
        self._told_left = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again_in(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_s is None:
            return  # the answer that is under way will make another timer
        left_s = self._idle_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._look_again_in(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_s = None

    def _look_again_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def push(self, data: bytes) -> bool:
        """Send a piece of the chunked body under way that is not its last, unless that has to wait; say whether it was.

        The bytes are those of a message of ASGI's, at a third of what one costs.
        """
        cycle = self._answering
        over = cycle.disconnected or cycle.response_complete
        if over or not cycle.pushes or not data or self.flow.write_paused or self._joining.head:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.__class__ = _Cycle  # uvicorn makes its cycles itself, and can be told of no other kind
        cycle.transport = self._joining  # type: ignore[assignment]  # all that a cycle asks of a transport
        self._answering: Any = cycle
        super()._start_asgi_task(cycle, app)


class _Joining:
    """A transport whose ``head`` goes out with the next write, or before the close."""

    __slots__ = ("_transport", "head")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.head = b""

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if self.head:
            data, self.head = self.head + data, b""
        self._transport.write(data)

    def close(self) -> None:
        if self.head:
            self.write(b"")
        self._transport.close()


class _Cycle(RequestResponseCycle):
    """uvicorn's cycle, but for the writing of heads; one that nothing will follow, or that it logs, is left to it."""

    pushes = False
    """Whether its head said that its body comes in chunks."""

    def send(self, message: Any) -> Coroutine[Any, Any, None]:
        started = self.response_started or self.disconnected or message["type"] != "http.response.start"
        if started or self.flow.write_paused or self.access_log or self.scope["method"] == "HEAD":
            return super().send(message)
        return self._start(message["status"], [*self.default_headers, *message.get("headers", ())])

    async def _start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Put the head together, and leave it to go out with what comes next. Raises RuntimeError as uvicorn does."""
        self.response_started, self.waiting_for_100_continue = True, False
        names, values = zip(*headers, strict=True) if headers else ((), ())
        lines, framing = _lines(names)
        if (joined := b"".join(values)) != joined.translate(None, _NOT_IN_VALUES):
            raise RuntimeError("Invalid HTTP header value.")
        closes = False
        for place, name in framing:
            value = values[place].lower()
            if name == b"content-length" and self.chunked_encoding is None:
                self.chunked_encoding, self.expected_content_length = False, int(value)
            elif name == b"transfer-encoding" and value == b"chunked":
                self.chunked_encoding, self.expected_content_length = True, 0
            elif name == b"connection" and b"close" in [token.strip() for token in value.split(b",")]:
                self.keep_alive, closes = False, True
        last = [] if self.keep_alive or closes else [b"connection: close\r\n"]
        if self.chunked_encoding is None and status not in _NO_BODY:
            self.chunked_encoding = True
            last.append(b"transfer-encoding: chunked\r\n")
        self.pushes = bool(self.chunked_encoding)
        transport: Any = self.transport
        transport.head = b"".join((STATUS_LINE[status], lines % values, *last, b"\r\n"))


@lru_cache(maxsize=1024)
def _lines(names: tuple[bytes, ...]) -> tuple[bytes, tuple[tuple[int, bytes], ...]]:
    """Return the lines of headers with these names, their values left open, and the places of the framing ones.

    The same names come with every answer. Raises RuntimeError.
    """
    if any(HEADER_RE.search(name) for name in names):
        raise RuntimeError("Invalid HTTP header name.")
    lower = [name.lower() for name in names]
    lines = b"".join(b"%b: %%b\r\n" % name.replace(b"%", b"%%") for name in lower)
    return lines, tuple((place, name) for place, name in enumerate(lower) if name in _FRAMING)
