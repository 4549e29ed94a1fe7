"""The transport to the upstreams on real sockets: HTTP/1.1 over asyncio, one pool for all; it retries nothing.

No cookies are kept, no redirect is followed, no header is added: what one customer's call brings back never reaches
another's. No proxy is looked for.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import httpx
from aiohappyeyeballs import start_connection

from harness.gateway.connection import Connection, Incoming

KEEP_ALIVE_S = 4.0
"""Idle connections are dropped before the upstream drops them (uvicorn: 5 s): no request goes out on a dead one."""
HAPPY_EYEBALLS_S = 0.25
"""How long one address of a name is tried before the next is tried beside it (RFC 8305)."""
_PORTS = {"http": 80, "https": 443}
Origin = tuple[str, str, int]
"""Scheme, host and port."""


class _Target(NamedTuple):
    origin: Origin
    path: bytes


class SocketTransport(httpx.AsyncBaseTransport):
    """Connections to all upstreams, without a limit of its own: slots and rates bound what is in flight.

    ``verify`` is httpx's: the context of TLS, or whether certificates are looked at.
    """

    def __init__(self, verify: ssl.SSLContext | str | bool = True) -> None:
        self._verify = verify
        self._idle: dict[Origin, deque[Connection]] = {}
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``, whose body is whole, and return its answer once its head is there.

        Raises httpx.UnsupportedProtocol, LocalProtocolError, ConnectError, ConnectTimeout, WriteTimeout, ReadTimeout,
        ReadError or RemoteProtocolError. The time limits are those of the request's extensions.
        """
        target = _target(request.url._uri_reference)
        message = _message(request, target.path, await request.aread())
        timeouts = request.extensions.get("timeout") or {}
        connection = self._kept(target.origin)
        if connection is None:
            connection = await self._dial(target.origin, timeouts.get("connect"))
        incoming = Incoming(asyncio.get_running_loop(), connection, timeouts.get("read"), self._free)
        try:
            connection.send(message, incoming)
            if connection.stuffed:
                await incoming.written(connection, timeouts.get("write"))
            await incoming.head()
        except BaseException:
            await incoming.aclose()
            raise
        return httpx.Response(incoming.status, headers=incoming.headers, stream=incoming)

    async def aclose(self) -> None:
        """Close the idle connections; those in use are closed when their exchanges end."""
        self._closed = True
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    def _kept(self, origin: Origin) -> Connection | None:
        """Take the connection to ``origin`` that was used last, if one is still good."""
        idle = self._idle.get(origin)
        if not idle:
            return None
        self._drop_old(idle)
        while idle:
            connection = idle.pop()
            if connection.open:
                return connection
        return None

    def _free(self, connection: Connection) -> None:
        """Keep ``connection``, if it can be used again."""
        if self._closed or not connection.usable:
            connection.close()
            return
        idle = self._idle.setdefault(connection.origin, deque())
        connection.idle_since_s = asyncio.get_running_loop().time()
        idle.append(connection)
        self._drop_old(idle)

    def _drop_old(self, idle: deque[Connection]) -> None:
        oldest_s = asyncio.get_running_loop().time() - KEEP_ALIVE_S
        while idle and idle[0].idle_since_s <= oldest_s:
            idle.popleft().close()

    async def _dial(self, origin: Origin, connect_s: float | None) -> Connection:
        """Open a connection. Raises httpx.ConnectError, ConnectTimeout or UnsupportedProtocol."""
        scheme, host, port = origin
        if scheme not in _PORTS or not host:
            raise httpx.UnsupportedProtocol(f"{scheme}://{host}: an upstream's address is http://HOST or https://HOST")
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {"ssl": self._tls, "server_hostname": host} if scheme == "https" else {}
        opened: socket.socket | None = None
        try:
            async with asyncio.timeout(connect_s):
                addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                opened = await start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_S, loop=loop)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _, connection = await loop.create_connection(lambda: Connection(origin), sock=opened, **tls)
                opened = None
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection to {host}:{port} within {connect_s} s") from error
        except (OSError, RuntimeError) as error:  # uvloop raises RuntimeError for some
            raise httpx.ConnectError(f"no connection to {host}:{port}: {error}") from error
        finally:
            if opened is not None:
                opened.close()
        return connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context(self._verify)


@lru_cache(maxsize=1024)
def _target(reference: Any) -> _Target:
    """Return where a URL leads, given by what httpx holds in it: to look a URL itself up costs more than this."""
    url = httpx.URL()
    url._uri_reference = reference
    host = url.raw_host.decode("ascii")
    return _Target((url.scheme, host, url.port or _PORTS.get(url.scheme, 0)), url.raw_path)


def _message(request: httpx.Request, path: bytes, body: bytes) -> bytes:
    """Return the request as it is sent. Raises httpx.LocalProtocolError for a header that would be more than one."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), path)]
    lines += [b"%b: %b" % (name, value) for name, _, value in request.headers._list]
    head = b"\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise httpx.LocalProtocolError("a header has a line break or a zero byte in it", request=request)
    return b"".join((head, b"\r\n\r\n", body))
