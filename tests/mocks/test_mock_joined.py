"""The protocol with joined heads writes what uvicorn's own writes, byte for byte, and a whole answer in one piece."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from mock_upstreams.joined import JoiningProtocol

Message = dict[str, Any]
POST = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
LENGTH = (b"Content-Length", b"2")


class Transport(asyncio.Transport):
    """Keeps what is written to it, until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Timers:
    """A loop's timers, with a time that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.due: list[tuple[float, Any]] = []
        self.create_task = asyncio.get_running_loop().create_task

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, callback: Any) -> asyncio.TimerHandle:
        made = asyncio.TimerHandle(self.now_s + delay_s, callback, (), asyncio.get_running_loop())
        self.due.append((self.now_s + delay_s, made))
        return made

    def pass_to(self, now_s: float) -> None:
        self.now_s = now_s
        ripe = [timer for at_s, timer in self.due if at_s <= now_s and not timer.cancelled()]
        self.due = [(at_s, timer) for at_s, timer in self.due if at_s > now_s]
        for timer in ripe:
            timer._run()


def made(kind: type[HttpToolsProtocol], app: Any, loop: Any = None) -> tuple[HttpToolsProtocol, Transport]:
    """Return a protocol that is connected, and what it is connected to."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    config = Config(app, lifespan="off", log_config=None, access_log=False, proxy_headers=False, timeout_keep_alive=5)
    config.load()
    state, transport = ServerState(), Transport()
    state.default_headers = [(b"date", b"today")]
    protocol = kind(config, state, {}, loop)
    protocol.connection_made(transport)
    return protocol, transport


def answering(messages: Sequence[Message | Exception]) -> Any:
    """Return an application that sends ``messages``; an exception is raised instead."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            if isinstance(message, Exception):
                raise message
            await send(message)

    return app


def told(kind: type[HttpToolsProtocol], messages: Sequence[Message | Exception], *requests: bytes) -> Transport:
    """Return the transport after ``requests``, each answered with ``messages``."""

    async def serve() -> Transport:
        protocol, transport = made(kind, answering(messages))
        for request in requests:
            protocol.data_received(request)
        await answered(protocol)
        protocol.connection_lost(None)
        return transport

    return asyncio.run(serve())


async def answered(protocol: HttpToolsProtocol) -> None:
    while protocol.tasks:
        await asyncio.wait(protocol.tasks)


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


ANSWERS: dict[str, Sequence[Message | Exception]] = {
    "whole": [start(LENGTH, (b"X-Name", b"a\tb")), body(b"{}")],
    "in two pieces": [start(LENGTH), body(b"{", more=True), body(b"}")],
    "chunked": [start(), body(b"a", more=True), body(b"b", more=True), body()],
    "chunked by name": [start((b"transfer-encoding", b"Chunked")), body(b"a")],
    "head at once": [start(), body(more=True), body(b"a")],
    "nothing in it": [start(status=204), body()],
    "closing": [start(LENGTH, (b"Connection", b"x, Close")), body(b"{}")],
    "length twice": [start(LENGTH, LENGTH), body(b"{}")],
    "a name with a percent sign": [start(LENGTH, (b"x%b", b"%s")), body(b"{}")],
    "a name that is none": [start(LENGTH, (b"x y", b"z")), body(b"{}")],
    "a value that is none": [start(LENGTH, (b"x", b"y\r\nz: 1")), body(b"{}")],
    "too long": [start(LENGTH), body(b"{ }")],
    "too short": [start(LENGTH), body(b"{")],
    "crash before the head": [RuntimeError()],
    "crash after the head": [start(LENGTH), RuntimeError()],
    "crash in the body": [start(), body(b"a", more=True), RuntimeError()],
    "head without a body": [start(LENGTH)],
    "body without a head": [body(b"a")],
    "two heads": [start(LENGTH), start(LENGTH)],
}
REQUESTS = {
    "post": (POST,),
    "head": (b"HEAD /x HTTP/1.1\r\nhost: x\r\n\r\n",),
    "old": (b"GET /x HTTP/1.0\r\n\r\n",),
    "waiting": (b"POST /x HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n", b"{}"),
    "two at once": (POST + POST,),
}


@pytest.mark.parametrize("requests", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_bytes_are_uvicorns_own(answer: Sequence[Message | Exception], requests: Sequence[bytes]) -> None:
    stock, joined = told(HttpToolsProtocol, answer, *requests), told(JoiningProtocol, answer, *requests)
    assert (b"".join(joined.writes), joined.closed) == (b"".join(stock.writes), stock.closed)


def test_a_whole_answer_is_one_write() -> None:
    assert len(told(JoiningProtocol, ANSWERS["whole"], POST, POST).writes) == 2
    assert len(told(JoiningProtocol, ANSWERS["chunked"], POST).writes) == 3


def test_a_piece_that_is_pushed_is_a_message_of_its_own() -> None:
    async def serve() -> tuple[list[bool], Transport]:
        pushed: list[bool] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            push = protocol.push  # type: ignore[attr-defined]
            await receive()
            pushed.append(push(b"a"))  # there is no head yet
            await send(start())
            pushed.append(push(b"a"))  # it is to go out with the first piece
            await send(body(b"a", more=True))
            pushed.extend([push(b"b" * 20), push(b"")])
            protocol.pause_writing()
            pushed.append(push(b"c"))
            protocol.resume_writing()
            await send(body(b"d"))
            pushed.append(push(b"e"))

        protocol, transport = made(JoiningProtocol, app)
        protocol.data_received(POST)
        await answered(protocol)
        protocol.connection_lost(None)
        return pushed, transport

    pushed, transport = asyncio.run(serve())
    assert pushed == [False, False, True, False, False, False]
    whole = told(HttpToolsProtocol, [start(), body(b"a", more=True), body(b"b" * 20, more=True), body(b"d")], POST)
    assert b"".join(transport.writes) == b"".join(whole.writes)
    assert transport.writes[1:] == [b"14\r\n" + b"b" * 20 + b"\r\n", b"1\r\nd\r\n0\r\n\r\n"]


def test_nothing_is_pushed_into_a_body_with_a_length() -> None:
    async def serve() -> bool:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(start(LENGTH))
            await send(body(b"{", more=True))
            pushed.append(protocol.push(b"}"))  # type: ignore[attr-defined]
            await send(body(b"}"))

        pushed: list[bool] = []
        protocol, _ = made(JoiningProtocol, app)
        protocol.data_received(POST)
        await answered(protocol)
        protocol.connection_lost(None)
        return pushed[0]

    assert not asyncio.run(serve())


@pytest.mark.parametrize("kind", [HttpToolsProtocol, JoiningProtocol])
def test_a_connection_is_closed_when_it_was_idle_for_long_enough(kind: type[HttpToolsProtocol]) -> None:
    async def main() -> None:
        timers = Timers()
        protocol, transport = made(kind, answering(ANSWERS["whole"]), timers)
        for at_s in (0, 3, 6):
            timers.pass_to(at_s)
            protocol.data_received(POST)
            await answered(protocol)
        timers.pass_to(10.9)
        assert not transport.closed
        timers.pass_to(11)
        assert transport.closed

    asyncio.run(main())


def test_a_connection_is_not_closed_while_an_answer_is_under_way() -> None:
    async def main() -> None:
        timers, go = Timers(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await answering(ANSWERS["whole"])(scope, receive, send)

        protocol, transport = made(JoiningProtocol, app, timers)
        go.set()
        protocol.data_received(POST)
        await answered(protocol)
        go.clear()
        protocol.data_received(POST)
        timers.pass_to(20)
        assert not transport.closed
        go.set()
        await answered(protocol)
        timers.pass_to(24.9)
        assert not transport.closed
        timers.pass_to(25)
        assert transport.closed

    asyncio.run(main())


def test_a_busy_connection_has_one_timer_and_a_lost_one_none() -> None:
    async def main() -> None:
        timers = Timers()
        protocol, _ = made(JoiningProtocol, answering(ANSWERS["whole"]), timers)
        for _ in range(3):
            protocol.data_received(POST)
            await answered(protocol)
        ((_, timer),) = timers.due
        protocol.connection_lost(OSError())
        assert timer.cancelled()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("leaves", "wanted"), [("before", ["left"]), ("meanwhile", ["left"]), ("afterwards", []), ("in the next", ["left"])]
)
def test_a_departure_is_told_once_unless_the_answer_is_complete(leaves: str, wanted: list[str]) -> None:
    heard: list[str] = []

    async def main() -> None:
        asked, goes_on = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            if leaves == "before":
                protocol.connection_lost(None)
            scope["extensions"]["harness.connection"].when_left(lambda: heard.append("left"))
            asked.set()
            await goes_on.wait()
            await send({"type": "http.response.start", "status": 200, "headers": [LENGTH]})
            await send({"type": "http.response.body", "body": b"{}"})

        protocol, _ = made(JoiningProtocol, app)
        protocol.data_received(POST)
        await asked.wait()
        if leaves == "meanwhile":
            protocol.connection_lost(None)
        await asyncio.sleep(0)
        goes_on.set()
        await answered(protocol)
        if leaves == "in the next":
            asked.clear()
            goes_on.clear()
            protocol.data_received(POST)
            await asked.wait()
        protocol.connection_lost(None)
        goes_on.set()
        await answered(protocol)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert heard == wanted
