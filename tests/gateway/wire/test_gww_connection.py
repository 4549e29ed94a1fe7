"""Connections to upstreams on raw sockets: what is kept or dropped, what waits, and what is never sent."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from harness.gateway import transport as module
from harness.gateway.connection import BUFFER_BYTES, HEAD_BYTES, request_bytes
from harness.gateway.transport import SocketTransport

pytestmark = pytest.mark.local

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LONG = 20.0
Serves = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """A server on loopback that counts its connections and does with each what it is told to."""

    def __init__(self, serves: Serves, tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.url = ""
        self._serves = serves
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serves(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


def saying(*answers: bytes) -> Serves:
    """Answer the requests of one connection with ``answers``, one after the other, and keep it open behind them."""

    async def serves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        await reader.read()

    return serves


def asking(url: str, content: bytes = b"", **timeouts: float) -> httpx.Request:
    wait = {"connect": LONG, "read": LONG, "write": LONG, "pool": LONG, **timeouts}
    return httpx.Request("POST", url, content=content, extensions={"timeout": wait})


async def asked(transport: SocketTransport, url: str, times: int = 1) -> list[bytes]:
    """Return the bodies of so many calls, one after the other."""
    bodies = []
    for _ in range(times):
        response = await transport.handle_async_request(asking(url))
        bodies.append(await response.aread())
        await response.aclose()
    return bodies


def connections_of(serves: Serves, times: int) -> int:
    """Return how many connections so many calls take, all of which are answered."""

    async def main() -> int:
        transport = SocketTransport()
        async with Upstream(serves) as upstream:
            assert await asked(transport, upstream.url, times) == [b"ok"] * times
            await transport.aclose()
            return upstream.connections

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (OK, 1),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 1),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", 2),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", 2),
        (OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nothers", 2),
    ],
    ids=["kept", "continued", "chunked", "closed", "old", "more_than_the_answer"],
)
def test_a_connection_is_kept_if_its_answer_is_whole_and_nothing_is_behind_it(answer: bytes, wanted: int) -> None:
    assert connections_of(saying(answer, answer), 2) == wanted


def test_a_connection_that_idled_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.0)
    assert connections_of(saying(OK, OK), 2) == 2


def test_a_connection_that_its_server_closed_meanwhile_is_not_used_again() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    async def main() -> int:
        transport = SocketTransport()
        async with Upstream(once) as upstream:
            assert await asked(transport, upstream.url) == [b"ok"]
            (idle,) = next(iter(transport._idle.values()))
            while not idle.closed:  # noqa: ASYNC110 - it tells nobody of its end
                await asyncio.sleep(0)
            assert await asked(transport, upstream.url) == [b"ok"]
            return upstream.connections

    assert asyncio.run(main()) == 2


def test_an_answer_that_is_let_go_early_ends_its_connection() -> None:
    gone = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
        await reader.read()
        gone.set()

    async def main() -> None:
        transport = SocketTransport()
        async with Upstream(endless) as upstream:
            response = await transport.handle_async_request(asking(upstream.url))
            await response.aclose()
            await asyncio.wait_for(gone.wait(), LONG)
            assert not transport._idle

    asyncio.run(main())


def test_a_call_that_is_cancelled_while_it_waits_ends_its_connection() -> None:
    here, gone = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        here.set()
        await reader.read()
        gone.set()

    async def main() -> None:
        transport = SocketTransport()
        async with Upstream(silent) as upstream:
            call = asyncio.create_task(transport.handle_async_request(asking(upstream.url)))
            await asyncio.wait_for(here.wait(), LONG)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.wait_for(gone.wait(), LONG)

    asyncio.run(main())


def test_an_answer_that_nobody_reads_makes_its_upstream_wait_and_comes_whole_all_the_same() -> None:
    size = 64 * BUFFER_BYTES
    blocked = asyncio.Event()

    async def pours(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        sent = 0
        while sent < size:
            writer.write(b"x" * BUFFER_BYTES)
            sent += BUFFER_BYTES
            draining = asyncio.ensure_future(writer.drain())
            done, _ = await asyncio.wait((draining,), timeout=0.2)
            if not done:
                blocked.set()
            await draining
        await reader.read()

    async def main() -> int:
        transport = SocketTransport()
        async with Upstream(pours) as upstream:
            response = await transport.handle_async_request(asking(upstream.url))
            await asyncio.wait_for(blocked.wait(), LONG)
            return len(await response.aread())

    assert asyncio.run(main()) == size


def test_an_upstream_that_answers_before_it_has_the_request_is_heard() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
        await reader.read()

    async def main() -> int:
        transport = SocketTransport()
        async with Upstream(refuses) as upstream:
            response = await transport.handle_async_request(asking(upstream.url, b"x" * (16 << 20)))
            await response.aclose()
            return response.status_code

    assert asyncio.run(main()) == 413


def test_an_upstream_that_does_not_take_the_request_is_a_write_timeout() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async with Upstream(deaf) as upstream:
            with pytest.raises(httpx.WriteTimeout):
                await SocketTransport().handle_async_request(asking(upstream.url, b"x" * (16 << 20), write=0.05))

    asyncio.run(main())


@pytest.mark.parametrize("head", [b"x-a: 1\r\n" * HEAD_BYTES, b"x" * 4 * HEAD_BYTES], ids=["headers", "one_line"])
def test_a_head_without_an_end_is_not_read_for_ever(head: bytes) -> None:
    async def main() -> None:
        async with Upstream(saying(b"HTTP/1.1 200 OK\r\n" + head)) as upstream:
            with pytest.raises(httpx.RemoteProtocolError):
                await SocketTransport().handle_async_request(asking(upstream.url))

    asyncio.run(main())


@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\nx-evil: 1", b"a\rb", b"a\0b"])
def test_a_header_that_would_be_two_is_not_sent(value: bytes) -> None:
    request = httpx.Request("POST", "http://h/", headers=[(b"x-one", value)], content=b"")
    with pytest.raises(httpx.LocalProtocolError):
        request_bytes(request)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http:///"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        asyncio.run(SocketTransport().handle_async_request(httpx.Request("POST", url)))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate of 127.0.0.1 and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "cert.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made[0]), "-keyout", str(made[1])]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_is_spoken_with_whom_one_trusts(certificate: tuple[Path, Path], *, trusted: bool) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    client = ssl.create_default_context(cafile=str(certificate[0]))

    async def main() -> list[bytes]:
        transport = SocketTransport(client if trusted else True)
        async with Upstream(saying(OK, OK), server) as upstream:
            return await asked(transport, upstream.url, 2)

    if trusted:
        assert asyncio.run(main()) == [b"ok", b"ok"]
    else:
        with pytest.raises(httpx.ConnectError) as told:
            asyncio.run(main())
        assert isinstance(told.value.__cause__, ssl.SSLCertVerificationError)
