"""An httpx transport into the simulated network: connects, sends the request and returns the answer as it streams.

Timeouts are those of the request's extensions, in httpcore's meaning; errors are those that stock httpx raises.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing

import httpx

from harness.sim.answer import READ_BYTES, Answer
from harness.sim.asgi import Target, WireResponse, http_scope, request_headers, target_of
from harness.sim.cycle import Cycle
from harness.sim.link import Carry, Signal
from harness.sim.network import Host, Network
from harness.sim.pool import Connection, Pool
from harness.sim.process import current_process

_NO_TIMEOUTS: Mapping[str, float | None] = {}


class SimTransport(httpx.AsyncBaseTransport):
    """Carries requests of ``source`` over ``network``; at most ``limits`` connections (by default no limit)."""

    def __init__(self, network: Network, source: str, limits: httpx.Limits | None = None) -> None:
        self._network = network
        self._source = source
        self._pool = Pool(limits if limits is not None else httpx.Limits())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` and return its answer once the head is there; its stream reads the body as it comes.

        Raises httpx.ConnectError, ConnectTimeout, PoolTimeout, WriteTimeout, ReadTimeout, ReadError,
        RemoteProtocolError, LocalProtocolError or UnsupportedProtocol.
        """
        headers = request_headers(request)
        timeouts = request.extensions.get("timeout") or _NO_TIMEOUTS
        process = current_process.get()
        loop = asyncio.get_running_loop()
        if process is not None and not process.alive:
            await loop.create_future()  # it was killed while it ran, and stops here
        target = target_of(request.url._uri_reference)
        pool = self._pool
        if pool.limited:
            await pool.slot(request, timeouts.get("pool"))
        connection = pool.idle(target.address, loop.time())
        if connection is None:
            connection = await self._connect(request, target, timeouts.get("connect"))
        host = connection.host
        link = host.link
        network = self._network
        buffer_bytes = link.buffer_bytes
        plain = not link.latency_s and not link.chop
        answer = Answer(loop, request, timeouts.get("read"), buffer_bytes // 4)
        keep_alive = (b"connection", b"close") not in headers
        cycle = Cycle(loop, connection, self._source, request.method, answer, keep_alive)
        carry: Carry = cycle.arrive
        if not plain:
            key = f"{network.seed}/{self._source}>{host.name}/{network.number()}"
            carry = link.wire(loop, network.context, f"{key}/up", carry)
            cycle.carry = link.wire(loop, network.context, f"{key}/down", answer.arrive)
        answer.connect(carry, cycle.client_done)
        network.live[cycle] = None
        scope = http_scope(request.method, target, headers, connection.port, host.lifespan.state, cycle)
        if link.latency_s:
            loop.call_later(link.latency_s, cycle.start, scope, context=network.context)
        else:
            cycle.start(scope)
        stream = request.stream
        body: bytes | None = stream._stream if isinstance(stream, httpx.ByteStream) else None
        if body is None or len(body) > buffer_bytes:
            await _upload(request, cycle, answer, carry, timeouts.get("write"))
        elif plain:
            cycle.arrive_whole(body)
        else:
            if body:
                cycle.untaken = len(body)
                carry(body)
            carry(Signal.END)
        try:
            while answer.head is None:
                await answer.more()
        except BaseException:
            answer.leave()
            raise
        status, head = answer.head
        return WireResponse(status, head, answer, request)

    async def aclose(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    async def _connect(self, request: httpx.Request, target: Target, timeout_s: float | None) -> Connection:
        """Open a connection in the slot that was taken, or hand the slot on."""
        try:
            host = await self._dial(request, target, timeout_s)
        except BaseException:
            self._pool.give_back()
            raise
        return Connection(self._pool, target.address, host, self._network.port())

    async def _dial(self, request: httpx.Request, target: Target, timeout_s: float | None) -> Host:
        listeners = self._network.listeners
        scheme, address = target.scheme, target.address
        if scheme not in ("http", "https"):
            message = f"Request URL has an unsupported protocol '{scheme}://'."
            raise httpx.UnsupportedProtocol(message, request=request)
        if address not in listeners:
            message = "[Errno -2] Name or service not known"
            raise httpx.ConnectError(message, request=request) from socket.gaierror(-2, "Name or service not known")
        delay_s = math.inf if listeners[address].state == "hanging" else listeners[address].host.link.connect_s
        if delay_s:
            if timeout_s is not None and delay_s > timeout_s:
                await asyncio.sleep(timeout_s)
                raise httpx.ConnectTimeout("", request=request)
            await asyncio.sleep(delay_s)
        listener = listeners[address]
        if listener.state == "refusing":
            refused = ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed ({address!r})")
            raise httpx.ConnectError("All connection attempts failed", request=request) from refused
        if listener.state == "tls_failing":
            message = "[SSL: WRONG_VERSION_NUMBER] wrong version number"
            raise httpx.ConnectError(message, request=request) from ssl.SSLError(1, message)
        return listener.host


async def _upload(request: httpx.Request, cycle: Cycle, answer: Answer, carry: Carry, timeout_s: float | None) -> None:
    """Write the body as the server takes it; stop if the server breaks the connection, whose answer is still read."""
    limit = cycle.host.link.buffer_bytes
    try:
        async with aclosing(_pieces(request.stream)) as pieces:
            async for piece in pieces:
                if cycle.untaken and cycle.untaken + len(piece) > limit:
                    await _room(request, cycle, answer, limit - len(piece), timeout_s)
                if answer.broken:
                    return
                cycle.untaken += len(piece)
                carry(piece)
        carry(Signal.END)
    except BaseException:
        answer.leave()
        raise


async def _room(request: httpx.Request, cycle: Cycle, answer: Answer, most: int, timeout_s: float | None) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while cycle.untaken > max(most, 0):
                cycle.room = answer.waiter()
                await cycle.room
    except TimeoutError as error:
        raise httpx.WriteTimeout("", request=request) from error


async def _pieces(stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> AsyncGenerator[bytes, None]:
    chunks = stream if isinstance(stream, AsyncIterable) else _async(stream)
    async for chunk in chunks:
        for start in range(0, len(chunk), READ_BYTES):
            yield chunk[start : start + READ_BYTES]


async def _async(stream: httpx.SyncByteStream) -> AsyncIterator[bytes]:
    for chunk in stream:
        yield chunk
