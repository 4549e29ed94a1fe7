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


def told(kind: type[HttpToolsProtocol], messages: Sequence[Message | Exception], *requests: bytes) -> Transport:
    """Return the transport after ``requests``, each answered with ``messages``; an exception is raised instead."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            if isinstance(message, Exception):
                raise message
            await send(message)

    async def serve() -> Transport:
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        config = Config(app, lifespan="off", log_config=None, access_log=False, proxy_headers=False)
        config.load()
        state, transport = ServerState(), Transport()
        state.default_headers = [(b"date", b"today")]
        protocol = kind(config, state, {})
        protocol.connection_made(transport)
        for request in requests:
            protocol.data_received(request)
        while state.tasks:
            await asyncio.wait(state.tasks)
        protocol.connection_lost(None)
        return transport

    return asyncio.run(serve())


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
