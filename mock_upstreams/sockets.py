"""The mock upstreams on real sockets: one loopback listener a role, some refusing or failing TLS; not for simulation.

uvicorn's protocol carries the application; its server does not: its shutdown waits for answers that hang on purpose.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from mock_upstreams.faults.registry import near
from mock_upstreams.joined import JoiningProtocol
from mock_upstreams.requests import MOST_HEAD_BYTES
from mock_upstreams.server import create_app

LISTENERS = ("open", "refusing", "tls_failing")
"""open: serves. refusing: its port refuses connections. tls_failing: answers a TLS hello with something else."""

CONTROL = "control"
"""The name of the address at which the control API is always reached, whatever the roles' listeners do."""

_GARBAGE = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_KEEP_ALIVE_S = 75
_BACKLOG = 2048
_CLOSING_S = 5.0
_PULSE_S = 0.005
_NO_LINGER = struct.pack("ii", 1, 0)


class Pulse:
    """Beats every few milliseconds while the loop turns, so that it is known when the loop last saw to its sockets.

    A FIN is noticed some turns of the loop after it came, and a busy machine's turns are long: only what was not seen
    three beats ago had not come by then.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._beats = deque([self._loop.time()] * 3, maxlen=3)
        self._timer = self._loop.call_later(_PULSE_S, self._beat)

    @property
    def seen_s(self) -> float:
        """An instant up to which everything that came has been seen."""
        return self._beats[0]

    def stop(self) -> None:
        """Beat no more."""
        self._timer.cancel()

    def _beat(self) -> None:
        self._beats.append(self._loop.time())
        self._timer = self._loop.call_later(_PULSE_S, self._beat)


class SocketConnection:
    """The connection of one exchange, to be reset or closed under it (``harness.connection``)."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: BreakableProtocol) -> None:
        self._protocol = protocol

    @property
    def attached_s(self) -> float:
        """An instant at which the caller was certainly still there, if it was then known to be."""
        return self._protocol.pulse.seen_s

    @property
    def push(self) -> Callable[[bytes], bool]:
        """Sends a piece of the body, more to come, unless that has to wait; returns whether it was sent."""
        return self._protocol.push

    @property
    def when_left(self) -> Callable[[Callable[[], object]], None]:
        """Has what it is given called soon after the caller left, unless the answer is complete by then."""
        return self._protocol.when_left

    def reset(self) -> None:
        """Send RST: what is not yet on the wire is lost."""
        transport = self._protocol.abandoned()
        with suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()

    def cut(self) -> None:
        """Send what was written, then FIN."""
        self._protocol.abandoned().close()


class BreakableProtocol(JoiningProtocol):
    """uvicorn's HTTP protocol, with answers in one write, a connection that can be broken, and with bounded heads."""

    pulse: Pulse
    _head_bytes = 0

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def connection(self) -> object:
        """Return what can also break it."""
        return SocketConnection(self)

    def on_url(self, url: bytes) -> None:
        self._bound(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._bound(len(name) + len(value))
        super().on_header(name, value)

    def abandoned(self) -> asyncio.Transport:
        """Return the transport, which the answer under way will not use any more."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        return self.transport

    def _bound(self, more: int) -> None:
        """Count the bytes of a head. The parser turns the error into a 400 and the connection's end."""
        self._head_bytes += more
        if self._head_bytes > MOST_HEAD_BYTES:
            raise ValueError(f"a request's head may have {MOST_HEAD_BYTES} bytes")


class _GarbageProtocol(asyncio.Protocol):
    """Answers whatever comes first with plain text, so that a TLS handshake fails, and closes."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_GARBAGE)
        self._transport.close()


@asynccontextmanager
async def serving(
    roles: Sequence[str],
    listeners: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
    control_port: int = 0,
) -> AsyncIterator[dict[str, str]]:
    """Serve ``roles``, each on a port of its own, and yield their base URLs; ``control`` is always among them.

    ``listeners`` are the states of those that are not open. ``control_port`` 0 takes a free port, as every role does.
    Raises ValueError for roles without distinct names, a listener of an unknown role or state; OSError if an address
    cannot be bound. On the way out every listener is closed and every connection aborted.
    """
    states = _states(roles, listeners or {})
    config = Config(create_app(), http=BreakableProtocol, lifespan="off", ws="none", log_config=None, access_log=False)
    config.proxy_headers = False
    config.timeout_keep_alive = _KEEP_ALIVE_S
    config.load()
    state = ServerState()
    pulse = Pulse()
    sockets: list[socket.socket] = []
    servers: list[asyncio.Server] = []
    try:
        addresses = {}
        for role, listener in {**states, CONTROL: "open"}.items():
            bound = _bound_socket(host, control_port if role == CONTROL else 0)
            sockets.append(bound)
            if listener != "refusing":
                servers.append(await _listen(bound, config, state, pulse, failing=listener == "tls_failing"))
            scheme = "https" if listener == "tls_failing" else "http"
            addresses[role] = f"{scheme}://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"
        yield addresses
    finally:
        await _close(servers, sockets, state)
        pulse.stop()


def _states(roles: Sequence[str], listeners: Mapping[str, str]) -> dict[str, str]:
    problems = [f"no role {role!r}{near(role, roles)}" for role in listeners if role not in roles]
    problems += [
        f"no listener state {state!r}{near(state, LISTENERS)}" for state in listeners.values() if state not in LISTENERS
    ]
    if not roles or not all(roles) or CONTROL in roles or len(set(roles)) != len(roles):
        problems.append(f"roles must be distinct names, none of them {CONTROL!r}: {list(roles)}")
    if problems:
        raise ValueError("; ".join(problems))
    return {role: listeners.get(role, "open") for role in roles}


def _bound_socket(host: str, port: int = 0) -> socket.socket:
    """Return a socket with a port of its own; as long as it does not listen, connections to that port are refused."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setblocking(False)
        if port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last server's connections may linger
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


async def _listen(
    bound: socket.socket, config: Config, state: ServerState, pulse: Pulse, *, failing: bool
) -> asyncio.Server:
    loop = asyncio.get_running_loop()

    def protocol() -> asyncio.Protocol:
        if failing:
            return _GarbageProtocol()
        made = BreakableProtocol(config, state, {}, loop)
        made.pulse = pulse
        return made

    return await loop.create_server(protocol, sock=bound, backlog=_BACKLOG)


async def _close(servers: Sequence[asyncio.Server], sockets: Sequence[socket.socket], state: ServerState) -> None:
    """Close every listener and connection, and wait for the exchanges, which take it for their callers' departure."""
    for server in servers:
        server.close()
    for connection in list(state.connections):
        transport: Any = connection.transport
        transport.abort()
    if state.tasks:
        await asyncio.wait(list(state.tasks), timeout=_CLOSING_S)
    for bound in sockets:
        bound.close()
