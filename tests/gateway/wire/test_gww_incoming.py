"""An answer that comes in on a connection: what is read, when the socket is left alone, and what ends the wait."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gateway.connection import BARE_BYTES, UNREAD_BYTES, Connection, Incoming

HEAD = b"HTTP/1.1 200 OK\r\n"
ORIGIN = ("http", "upstream", 80)


class Wire:
    """A transport that writes down what is asked of it; ``unsent`` are the sizes of its buffer, one at each look."""

    def __init__(self, unsent: tuple[int, ...] = (), *, closing: bool = False) -> None:
        self.told: list[Any] = []
        self.closing = closing
        self._unsent = iter(unsent)

    def write(self, data: bytes) -> None:
        if self.closing:
            raise RuntimeError("the handler is closed")  # as uvloop has it
        self.told.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    def abort(self) -> None:
        self.told.append("abort")

    def get_write_buffer_size(self) -> int:
        return next(self._unsent)


def asked(wire: Wire, read_s: float | None = None) -> tuple[Connection, Incoming]:
    """Return a connection on which a request went out, and its answer."""
    connection = Connection(ORIGIN)
    connection.connection_made(wire)  # type: ignore[arg-type] # as much of a transport as it uses
    incoming = Incoming(asyncio.get_running_loop(), connection, read_s, lambda _: None)
    connection.send(b"request", incoming)
    return connection, incoming


async def rest_of(incoming: Incoming) -> bytes:
    return b"".join([chunk async for chunk in incoming])


def test_the_socket_is_left_alone_while_much_is_unread() -> None:
    async def main() -> None:
        wire = Wire()
        connection, incoming = asked(wire)
        connection.data_received(HEAD + b"content-length: %d\r\n\r\n" % (UNREAD_BYTES + 3))
        connection.data_received(b"x" * UNREAD_BYTES)
        assert wire.told == [b"request"]
        connection.data_received(b"y")
        assert wire.told == [b"request", "pause"]
        assert await anext(incoming) == b"x" * UNREAD_BYTES + b"y"
        assert wire.told == [b"request", "pause", "resume"]
        connection.data_received(b"zz")
        assert await rest_of(incoming) == b"zz"
        await incoming.aclose()
        assert connection.usable
        assert "abort" not in wire.told

    asyncio.run(main())


def test_a_connection_whose_answer_nobody_reads_to_its_end_takes_more_again() -> None:
    async def main() -> None:
        wire = Wire()
        connection, incoming = asked(wire)
        connection.data_received(HEAD + b"content-length: %d\r\n\r\n" % (UNREAD_BYTES + 1) + b"x" * (UNREAD_BYTES + 1))
        assert wire.told == [b"request", "pause"]
        await incoming.aclose()
        assert wire.told == [b"request", "pause", "resume"]
        assert connection.usable

    asyncio.run(main())


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5",
    ],
    ids=["head", "trailers", "extension"],
)
def test_an_upstream_that_never_comes_to_the_body_is_broken_off(begin: bytes) -> None:
    piece = b"" if begin else HEAD
    more = b";x=" + b"y" * 1000 if begin.endswith(b"5") else b"x-more: " + b"y" * 1000 + b"\r\n"

    async def main() -> None:
        connection, incoming = asked(Wire())
        connection.data_received(begin + piece)
        for _ in range(BARE_BYTES // 2000):
            connection.data_received(more)
        assert incoming.error is None
        for _ in range(BARE_BYTES // 2000 + 1):
            connection.data_received(more)
        assert isinstance(incoming.error, httpx.RemoteProtocolError)
        assert not connection.usable

    asyncio.run(main())


def test_many_heads_that_only_say_to_go_on_are_no_answer_and_have_an_end() -> None:
    async def main() -> None:
        connection, incoming = asked(Wire())
        while incoming.error is None:
            connection.data_received(b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n" * 100)
            assert not incoming.status
        assert isinstance(incoming.error, httpx.RemoteProtocolError)

    asyncio.run(main())


def test_headers_are_those_of_the_answer_alone() -> None:
    async def main() -> None:
        connection, incoming = asked(Wire())
        connection.data_received(b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n" + HEAD + b"X-One: 1\r\n")
        connection.data_received(b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-trailer: t\r\n\r\n")
        assert incoming.status == 200
        assert incoming.headers == [(b"x-one", b"1"), (b"transfer-encoding", b"chunked")]
        assert await rest_of(incoming) == b"x"

    asyncio.run(main())


def test_another_protocol_is_none_of_ours() -> None:
    async def main() -> None:
        connection, incoming = asked(Wire())
        connection.data_received(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
        )
        with pytest.raises(httpx.RemoteProtocolError):
            await incoming.head()
        assert not connection.usable

    asyncio.run(main())


def test_a_word_that_nobody_asked_for_ends_the_connection() -> None:
    async def main() -> None:
        wire = Wire()
        connection, incoming = asked(wire)
        connection.data_received(HEAD + b"content-length: 2\r\n\r\nok")
        assert await rest_of(incoming) == b"ok"
        await incoming.aclose()
        assert connection.usable
        connection.data_received(HEAD)
        assert not connection.usable
        assert wire.told == [b"request", "abort"]

    asyncio.run(main())


def test_a_connection_whose_other_side_went_is_used_no_more() -> None:
    async def main() -> None:
        connection, incoming = asked(Wire())
        connection.data_received(HEAD + b"content-length: 2\r\n\r\nok")
        await incoming.aclose()
        connection.eof_received()
        assert not connection.usable

    asyncio.run(main())


def test_a_connection_that_is_about_to_be_lost_takes_no_request() -> None:
    async def main() -> None:
        wire = Wire()
        connection, incoming = asked(wire)
        connection.data_received(HEAD + b"content-length: 2\r\n\r\nok")
        await incoming.aclose()
        assert connection.open
        wire.closing = True
        assert connection.usable  # nobody was told yet
        assert not connection.open
        _, refused = asked(Wire(closing=True))
        with pytest.raises(httpx.ReadError):
            await refused.head()

    asyncio.run(main())


def test_what_came_before_the_break_is_read_before_it_is_told() -> None:
    async def main() -> None:
        connection, incoming = asked(Wire())
        connection.data_received(HEAD + b"content-length: 9\r\n\r\nabc")
        reset = ConnectionResetError("gone")
        connection.connection_lost(reset)
        assert await anext(incoming) == b"abc"
        with pytest.raises(httpx.ReadError) as told:
            await anext(incoming)
        assert told.value.__cause__ is reset

    asyncio.run(main())


def test_each_wait_has_the_whole_time_limit() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        connection, incoming = asked(Wire(), read_s=0.2)
        loop.call_later(0.12, connection.data_received, HEAD + b"content-length: 9\r\n\r\n")
        loop.call_later(0.24, connection.data_received, b"abc")
        await incoming.head()
        assert await anext(incoming) == b"abc"
        with pytest.raises(httpx.ReadTimeout):
            await anext(incoming)

    asyncio.run(main())


@pytest.mark.parametrize(("unsent", "times_out"), [((90, 60, 30, 30), True), ((90, 90), True), ((90, 60, 30), False)])
def test_a_request_that_leaves_slowly_is_no_request_that_does_not_leave(
    unsent: tuple[int, ...], *, times_out: bool
) -> None:
    async def main() -> None:
        wire = Wire(unsent)
        connection, incoming = asked(wire)
        connection.pause_writing()
        if not times_out:
            asyncio.get_running_loop().call_later(0.02 * len(unsent) - 0.01, connection.resume_writing)
        await incoming.written(connection, 0.02)

    if times_out:
        with pytest.raises(httpx.WriteTimeout):
            asyncio.run(main())
    else:
        asyncio.run(main())


@pytest.mark.parametrize("end", ["answer", "break"])
def test_an_upload_ends_with_an_answer_or_with_the_connection(end: str) -> None:
    async def main() -> None:
        connection, incoming = asked(Wire((90,)))
        connection.pause_writing()
        waiting = asyncio.ensure_future(incoming.written(connection, None))
        await asyncio.sleep(0)
        assert not waiting.done()
        if end == "answer":
            connection.data_received(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        else:
            connection.connection_lost(BrokenPipeError())
        await waiting
        assert (incoming.status == 413) == (end == "answer")
        assert not connection.usable  # the rest of the request is still on its way

    asyncio.run(main())


@given(
    body=st.binary(max_size=300),
    sizes=st.lists(st.integers(1, 80), max_size=12),
    cuts=st.lists(st.integers(0, 900), max_size=12),
    chunked=st.booleans(),
)
def test_an_answer_is_the_same_however_its_bytes_were_cut(
    body: bytes, sizes: list[int], cuts: list[int], *, chunked: bool
) -> None:
    message = HEAD + b"Content-Type: text/plain\r\n"
    if chunked:
        message += b"Transfer-Encoding: Chunked\r\n\r\n"
        rest = body
        for size in [*sizes, 300]:
            piece, rest = rest[:size], rest[size:]
            if piece:
                message += b"%x;ext=1\r\n%b\r\n" % (len(piece), piece)
        message += b"0\r\nx-trailer: t\r\n\r\n"
    else:
        message += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    places = [0, *sorted(min(cut, len(message)) for cut in cuts), len(message)]

    async def main() -> None:
        connection, incoming = asked(Wire())
        for start, end in pairwise(places):
            assert not incoming.whole or start == end == len(message)
            if start < end:
                connection.data_received(message[start:end])
        assert incoming.whole
        assert incoming.headers[0] == (b"content-type", b"text/plain")
        assert await rest_of(incoming) == body
        await incoming.aclose()
        assert connection.usable

    asyncio.run(main())
