"""The connections that one client keeps: at most so many at once, idle ones for a while; it opens none."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from harness.sim.network import Host

SERVER_KEEP_ALIVE_S = 5.0
"""How long uvicorn keeps an idle connection; the client does not wait for the server to close it."""


class Connection:
    """A connection to a host, in use by one request at a time. ``open`` is false once its server closed it."""

    __slots__ = ("address", "expires_s", "host", "open", "pool", "port")

    def __init__(self, pool: Pool, address: str, host: Host, port: int) -> None:
        self.pool = pool
        self.address = address
        self.host = host
        self.port = port
        self.expires_s = 0.0
        self.open = True


class Pool:
    """Connections by host. Without a limit taking one never waits."""

    def __init__(self, limits: httpx.Limits) -> None:
        self._free = limits.max_connections
        self.limited = self._free is not None
        """Whether a slot must be taken before a connection is."""
        self._keep = limits.max_keepalive_connections
        expiry_s = limits.keepalive_expiry
        self._keep_s = SERVER_KEEP_ALIVE_S if expiry_s is None else min(expiry_s, SERVER_KEEP_ALIVE_S)
        self._idle: dict[str, list[Connection]] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def slot(self, request: httpx.Request, timeout_s: float | None) -> None:
        """Take a slot, first come, first served. Raises httpx.PoolTimeout."""
        if self._free is None:
            return
        if self._free > 0:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.give_back()  # it was handed over in the very instant of leaving
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout("", request=request) from error
            raise

    def give_back(self) -> None:
        """Hand a slot to the next who waits."""
        if self._free is None:
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def idle(self, address: str, now_s: float) -> Connection | None:
        """Take the connection to ``address`` that became idle last, if one is still open."""
        idle = self._idle.get(address)
        while idle:
            connection = idle.pop()
            if connection.open and connection.host.open and connection.expires_s > now_s:
                return connection
        return None

    def release(self, connection: Connection, reusable: bool, now_s: float) -> None:
        """Keep ``connection`` if it can be used again and there is room; hand its slot on."""
        if reusable:
            idle = self._idle.setdefault(connection.address, [])
            if self._keep is None or len(idle) < self._keep:
                connection.expires_s = now_s + self._keep_s
                idle.append(connection)
        if self._free is not None:
            self.give_back()

    def clear(self) -> None:
        """Close all idle connections."""
        self._idle.clear()
