"""The transport to the upstreams on real sockets: httpx-aiohttp, with its errors put right; it retries nothing.

httpx-aiohttp 0.2 turns refused, TLS-failed and reset connections into ConnectTimeout, and lets some of aiohttp's own
errors through. Here each becomes the httpx error of its cause, with the cause kept as ``__cause__``.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

KEEP_ALIVE_S = 4.0
"""Idle connections are dropped before the upstream drops them (uvicorn: 5 s): no request goes out on a dead one."""


class SocketTransport(AiohttpTransport):
    """One pool for all upstreams, without a limit of its own: slots and rates bound what is in flight.

    No cookies are kept, no redirect is followed, no header is added: what one customer's call brings back never reaches
    another's.
    """

    def __init__(self, verify: ssl.SSLContext | str | bool = True) -> None:
        super().__init__(verify=verify, client=self._session)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=self.ssl_context),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` and return its answer once its head is there. Raises httpx.TransportError."""
        try:
            response = await super().handle_async_request(request)
        except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
            raise righted(error) from _aiohttp_error(error)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Body(response.stream)
        return response


class _Body(httpx.AsyncByteStream):
    """A body whose reading fails with the right error."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(self._inner.__aiter__()) as chunks:  # type: ignore[type-var] # a generator, as it is written
                async for chunk in chunks:
                    yield chunk
        except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
            raise righted(error) from _aiohttp_error(error)

    async def aclose(self) -> None:
        await self._inner.aclose()


def righted(error: Exception) -> httpx.TransportError:
    """Return the httpx error that says what happened, whatever httpx-aiohttp made of it."""
    cause = _aiohttp_error(error)
    message = str(cause)
    match cause:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout(message)
        case aiohttp.SocketTimeoutError():
            return httpx.ReadTimeout(message)
        case TimeoutError():
            # aiohttp.ServerTimeoutError, and a bare one while the connection is made: both before the request is out.
            return httpx.ConnectTimeout(message)
        case aiohttp.ClientConnectorError() | aiohttp.ServerFingerprintMismatch():
            return httpx.ConnectError(message)
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | aiohttp.ClientResponseError():
            # A body or a head that ended too early, or is no HTTP.
            broken = _reset_in(cause)
            return httpx.ReadError(message) if broken else httpx.RemoteProtocolError(message)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return httpx.UnsupportedProtocol(message)
        case httpx.TransportError():
            return cause
    return httpx.ReadError(message)


def _aiohttp_error(error: Exception) -> Exception:
    """Return aiohttp's own error behind one of httpx-aiohttp's making, or the error itself."""
    cause = error.__cause__
    return cause if isinstance(error, httpx.TransportError) and isinstance(cause, Exception) else error


def _reset_in(error: BaseException | None) -> bool:
    """Say whether a reset is behind ``error``; of one in the body aiohttp keeps no more than its name in the text."""
    while error is not None:
        if isinstance(error, ConnectionResetError) or ConnectionResetError.__name__ in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
