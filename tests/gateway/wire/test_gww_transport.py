"""The socket transport on raw sockets: every way a connection can fail is told by its cause, and nothing is added."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvloop

from harness.gateway.failures import TRANSPORT_ERRORS, failure_of
from harness.gateway.transport import SocketTransport
from harness.gateway.upstream import UpstreamAnswer

pytestmark = pytest.mark.local

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Runner = Callable[[Coroutine[Any, Any, str]], str]
TIMEOUTS = {"connect": 0.3, "read": 0.3, "write": 0.3, "pool": 0.3}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """Serve ``handler`` on a port of loopback, and yield the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def outcome(url: str, body: bytes = b"hello") -> str:
    """Return the answer's body as text, or the cause of its failure in angle brackets."""
    transport = SocketTransport()
    request = httpx.Request("POST", url, content=body, extensions={"timeout": TIMEOUTS})
    try:
        answer = UpstreamAnswer(await transport.handle_async_request(request))
        try:
            return (await answer.body(1 << 20) or b"").decode()
        finally:
            await answer.close()
    except TRANSPORT_ERRORS as error:
        return f"<{failure_of(error)}>"
    finally:
        await transport.aclose()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """Read one request's head and its five bytes."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(5)
    return head


def replying(*parts: bytes | str) -> Handler:
    """Read the request, send ``parts`` (``reset``, ``hang`` and a closing end do what they say)."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        for part in parts:
            if part == "reset":
                await asyncio.sleep(0.05)  # what was sent before must have been read, or the reset takes it back
                reset(writer)
            elif part == "hang":
                await asyncio.sleep(5)
            else:
                assert isinstance(part, bytes)
                writer.write(part)
                await writer.drain()

    return handler


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
SIZED = HEAD + b"content-length: 10\r\n\r\n"


@pytest.mark.parametrize(
    ("handler", "wanted"),
    [
        (replying(SIZED, b"0123456789"), "0123456789"),
        (replying(CHUNKED, b"5\r\n01234\r\n", b"0\r\n\r\n"), "01234"),
        (replying(HEAD + b"\r\n", b"until the end"), "until the end"),
        (replying(HEAD + b"content-length: 0\r\n\r\n"), ""),
        (replying("reset"), "<reset>"),
        (replying(), "<cut>"),
        (replying(b"HTTP/1.1 200 OK\r\ncontent-"), "<cut>"),
        (replying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "<cut>"),
        (replying(SIZED, "reset"), "<reset>"),
        (replying(SIZED, b"01234", "reset"), "<reset>"),
        (replying(CHUNKED, b"5\r\n01234\r\n", "reset"), "<reset>"),
        (replying(SIZED, b"01234"), "<cut>"),
        (replying(CHUNKED, b"5\r\n01234\r\n"), "<cut>"),
        (replying(CHUNKED, b"5\r\n01"), "<cut>"),
        (replying(CHUNKED, b"zz\r\n01234\r\n"), "<cut>"),
        (replying("hang"), "<read_timeout>"),
        (replying(SIZED, "hang"), "<read_timeout>"),
        (replying(SIZED, b"01234", "hang"), "<read_timeout>"),
        (replying(CHUNKED, b"5\r\n01234\r\n", "hang"), "<read_timeout>"),
    ],
)
@pytest.mark.parametrize("runs", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_an_upstreams_end_is_told_by_its_cause(runs: Runner, handler: Handler, wanted: str) -> None:
    async def main() -> str:
        async with serving(handler) as port:
            return await outcome(f"http://127.0.0.1:{port}/")

    assert runs(main()) == wanted


@pytest.mark.parametrize("runs", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_refused_connection(runs: Runner) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert runs(outcome(f"http://127.0.0.1:{free.getsockname()[1]}/")) == "<refused>"


def test_a_connection_that_is_never_accepted() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        address = busy.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            assert asyncio.run(outcome(f"http://127.0.0.1:{address[1]}/")) == "<connect_timeout>"
        finally:
            for one in waiting:
                one.close()


@pytest.mark.parametrize("runs", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"])
def test_a_tls_handshake_that_fails(runs: Runner, says: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(says)
        await writer.drain()

    async def main() -> str:
        async with serving(handler) as port:
            return await outcome(f"https://127.0.0.1:{port}/")

    assert runs(main()) == "<tls>"


def test_a_reset_in_the_handshake() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset(writer)

    async def main() -> str:
        async with serving(handler) as port:
            return await outcome(f"https://127.0.0.1:{port}/")

    assert asyncio.run(main()) in ("<reset>", "<tls>")


def test_the_request_goes_out_as_it_is_and_the_connection_is_used_again_without_a_cookie() -> None:
    heads: list[bytes] = []
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            heads.append(await request_of(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()

    async def main(port: int) -> None:
        transport = SocketTransport()
        for _ in range(2):
            headers = [(b"host", b"h"), (b"x-one", b"1"), (b"content-length", b"5")]
            stream = httpx.ByteStream(b"hello")
            request = httpx.Request(
                "POST",
                f"http://127.0.0.1:{port}/p?q=1",
                headers=headers,
                stream=stream,
                extensions={"timeout": TIMEOUTS},
            )
            request.read()
            answer = UpstreamAnswer(await transport.handle_async_request(request))
            assert await answer.body(10) == b"ok"
            await answer.close()
        await transport.aclose()

    async def run() -> None:
        async with serving(handler) as port:
            await main(port)

    asyncio.run(run())
    assert connections == 1
    for head in heads:
        line, *fields = head.strip().split(b"\r\n")
        assert line == b"POST /p?q=1 HTTP/1.1"
        assert sorted(field.lower() for field in fields) == [b"content-length: 5", b"host: h", b"x-one: 1"]


def test_a_redirect_is_an_answer_like_any_other() -> None:
    async def main() -> int:
        async with serving(replying(b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n")) as port:
            transport = SocketTransport()
            request = httpx.Request(
                "POST", f"http://127.0.0.1:{port}/", content=b"hello", extensions={"timeout": TIMEOUTS}
            )
            response = await transport.handle_async_request(request)
            await response.aclose()
            await transport.aclose()
            return response.status_code

    assert asyncio.run(main()) == 302


def test_many_calls_at_once_do_not_wait_for_each_other() -> None:
    count, here = 150, []

    async def main() -> list[str]:
        all_here = asyncio.Event()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            here.append(await request_of(reader))
            if len(here) == count:
                all_here.set()
            await all_here.wait()
            writer.write(SIZED + b"0123456789")
            await writer.drain()

        async def one(port: int) -> str:
            request = httpx.Request("POST", f"http://127.0.0.1:{port}/", content=b"hello", extensions={"timeout": slow})
            answer = UpstreamAnswer(await transport.handle_async_request(request))
            body = await answer.body(100)
            await answer.close()
            return (body or b"").decode()

        transport, slow = SocketTransport(), dict.fromkeys(TIMEOUTS, 20.0)
        async with serving(handler) as port:
            result = await asyncio.gather(*(one(port) for _ in range(count)))
        await transport.aclose()
        return result

    assert asyncio.run(main()) == ["0123456789"] * count
