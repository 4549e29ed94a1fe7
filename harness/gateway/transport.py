"""The transport to the upstreams on real sockets: one pool of HTTP/1.1 connections; it retries nothing.

Stock httpcore looks at every connection for each request, which is 5 ms a call at 64 in flight; and a client library of
its own, under httpx's interface, costs half of what the whole gateway does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Any

import httpx

from harness.gateway.connection import Connection

KEEP_ALIVE_S = 4.0
"""Idle connections are dropped before the upstream drops them (uvicorn: 5 s): no request goes out on a dead one."""
_PORTS = {"http": 80, "https": 443}
_Origin = tuple[str, str, int]


class SocketTransport(httpx.AsyncBaseTransport):
    """One pool for all upstreams, without a limit of its own: slots and rates bound what is in flight.

    No cookies are kept, no redirect is followed, no header is added: what one customer's call brings back never reaches
    another's. ``verify`` is httpx's: what certificates are trusted.
    """

    def __init__(self, verify: ssl.SSLContext | str | bool = True) -> None:
        self._verify = verify
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[_Origin, deque[Connection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` and return its answer once its head is there. Raises httpx.TransportError."""
        url = request.url
        timeouts = request.extensions.get("timeout") or {}
        port = url.port or _PORTS.get(url.scheme)
        if port is None or not url.host:
            raise httpx.UnsupportedProtocol(f"{url.scheme} is not spoken here", request=request)
        await request.aread()
        origin = (url.scheme, url.host, port)
        connection = self._kept(origin) or await self._connect(origin, timeouts.get("connect"))
        exchange = await connection.send(request, timeouts)
        return httpx.Response(exchange.status, headers=exchange.headers, stream=exchange, request=request)

    async def aclose(self) -> None:
        """Close the idle connections; one in use closes when its answer is let go."""
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _kept(self, origin: _Origin) -> Connection | None:
        """Return the connection that was used last, if its upstream will still have it."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if self._fresh(connection):
                return connection
        return None

    def _fresh(self, connection: Connection) -> bool:
        if connection.closed:
            return False
        if asyncio.get_running_loop().time() - connection.idle_since_s < KEEP_ALIVE_S:
            return True
        connection.close()
        return False

    def _keep(self, origin: _Origin, connection: Connection) -> None:
        idle = self._idle.setdefault(origin, deque())
        while idle and not self._fresh(idle[0]):  # the longest idle is the first
            idle.popleft()
        idle.append(connection)

    async def _connect(self, origin: _Origin, timeout_s: float | None) -> Connection:
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        made: tuple[Any, Connection]
        try:
            async with asyncio.timeout(timeout_s):
                made = await loop.create_connection(
                    lambda: Connection(lambda connection: self._keep(origin, connection)),
                    host,
                    port,
                    ssl=self._context() if scheme == "https" else None,
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection to {host}") from error
        except OSError as error:  # ssl.SSLError is one
            raise httpx.ConnectError(str(error) or type(error).__name__) from error
        return made[1]

    def _context(self) -> ssl.SSLContext:
        """Return what TLS is spoken with, made when it is first needed."""
        if self._tls is None:
            self._tls = httpx.create_ssl_context(self._verify)
        return self._tls
