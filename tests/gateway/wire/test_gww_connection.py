"""Connections to upstreams on raw sockets: which are kept, and with whom TLS is spoken."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from harness.gateway import transport as module
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


def test_a_connection_whose_answer_was_left_half_read_is_closed_and_not_used_again() -> None:
    closed = asyncio.Event()

    async def serves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"length: 2", b"length: 9") if upstream.connections == 1 else OK)
        await reader.read()
        closed.set()

    upstream = Upstream(serves)

    async def main() -> None:
        transport = SocketTransport()
        async with upstream:
            response = await transport.handle_async_request(asking(upstream.url))
            assert isinstance(response.stream, httpx.AsyncByteStream)
            await response.stream.aclose()
            await asyncio.wait_for(closed.wait(), LONG)
            assert await asked(transport, upstream.url) == [b"ok"]
            assert upstream.connections == 2
            await transport.aclose()

    asyncio.run(main())


def test_a_connection_that_idled_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.0)
    assert connections_of(saying(OK, OK), 2) == 2


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http:///"])
def test_what_is_no_address_is_told(url: str) -> None:
    async def main() -> None:
        transport = SocketTransport()
        try:
            await transport.handle_async_request(httpx.Request("POST", url))
        finally:
            await transport.aclose()

    with pytest.raises(httpx.UnsupportedProtocol):
        asyncio.run(main())


@pytest.mark.parametrize("bad", [b"a\r\nx-more: 1", b"a\nb", b"a\rb", b"a\0b"])
def test_a_header_that_would_be_two_is_not_sent(bad: bytes) -> None:
    async def main() -> None:
        transport = SocketTransport()
        async with Upstream(saying(OK)) as upstream:
            request = httpx.Request("POST", upstream.url, headers=[(b"x-one", bad)])
            try:
                await transport.handle_async_request(request)
            finally:
                await transport.aclose()
                assert upstream.connections == 0

    with pytest.raises(httpx.LocalProtocolError):
        asyncio.run(main())


def test_an_upload_that_nobody_takes_times_out() -> None:
    async def serves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(LONG)

    async def main() -> None:
        transport = SocketTransport()
        async with Upstream(serves) as upstream:
            try:
                await transport.handle_async_request(asking(upstream.url, b"x" * (64 << 20), write=0.2))
            finally:
                await transport.aclose()

    with pytest.raises(httpx.WriteTimeout):
        asyncio.run(main())


def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[bytes]:
        transport = SocketTransport()
        async with Upstream(saying(OK)) as upstream:
            there = int(upstream.url.rstrip("/").rpartition(":")[2])
            with socket.socket() as refusing:
                refusing.bind(("127.0.0.1", 0))

                async def addresses(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
                    assert (host, port) == ("provider.test", 80)
                    tcp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
                    return [(*tcp, refusing.getsockname()), (*tcp, ("127.0.0.1", there))]

                monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
                try:
                    return await asked(transport, "http://provider.test/")
                finally:
                    await transport.aclose()

    assert asyncio.run(main()) == [b"ok"]


def test_a_transport_that_is_closed_keeps_nothing() -> None:
    async def main() -> None:
        transport = SocketTransport()
        async with Upstream(saying(OK, OK)) as upstream:
            response = await transport.handle_async_request(asking(upstream.url))
            await transport.aclose()
            assert await response.aread() == b"ok"
            await response.aclose()
            assert await asked(transport, upstream.url) == [b"ok"]
            assert upstream.connections == 2

    asyncio.run(main())


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
            try:
                return await asked(transport, upstream.url, 2)
            finally:
                await transport.aclose()

    if trusted:
        assert asyncio.run(main()) == [b"ok", b"ok"]
    else:
        with pytest.raises(httpx.ConnectError) as told:
            asyncio.run(main())
        assert isinstance(told.value.__cause__, ssl.SSLCertVerificationError)
