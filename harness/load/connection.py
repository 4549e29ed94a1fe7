"""HTTP/1.1 over plain sockets, one exchange at a time on a connection, as lean as can be; it judges nothing.

Written with blocking calls: in the load generator gevent makes them greenlets. Bytes are handed on as they arrive, with
the instant at which they did, so that the time to a token is what it was.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time  # noqa: TID251 - the generator runs in real time, in a process of its own
from collections import deque
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httptools

from harness.clients import Request
from harness.clients.exchange import Exchange

IDLE_S = 1.0
"""No connection is used again after it was idle for so long: a server's keep-alive may end."""
_READ = 1 << 16
_NO_BODY = (204, 304)
_OUT_OF_SOCKETS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL)
_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""What ``getaddrinfo`` tells of one address."""


class Pool:
    """Keep-alive connections to one gateway, the one used last first.

    Raises ValueError for what is no address, OSError for one that nobody knows.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base_url} is no address of a gateway")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        # Once: a name is not looked up for each connection.
        self._addresses = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._name = parts.hostname
        self._host = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        self._idle: deque[tuple[float, Connection]] = deque()
        self.opened = 0
        self.starved = 0
        """Calls that could not be sent because this machine had no socket for them."""

    def perform(self, request: Request, exchange: Exchange) -> None:
        """Send ``request`` and read its answer into ``exchange``, whatever end that takes."""
        connection: Connection | None = None
        kept = False
        try:
            connection = self._taken()
            connection.send(self._message(request))
            kept = connection.read(exchange)
        except (OSError, EOFError, httptools.HttpParserError) as error:
            where = f"after {len(exchange.raw)} chunks" if exchange.status is not None else "before the head"
            exchange.broke = f"{type(error).__name__} {where}"
            self.starved += getattr(error, "errno", None) in _OUT_OF_SOCKETS
        finally:
            exchange.end = exchange.clock_us()
            if connection is not None:
                if kept:
                    self._idle.append((time.monotonic(), connection))
                else:
                    connection.close()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop()[1].close()

    def _taken(self) -> Connection:
        """Return a connection that was used just now, or a new one. Raises OSError."""
        now = time.monotonic()
        while self._idle and now - self._idle[0][0] > IDLE_S:
            self._idle.popleft()[1].close()
        while self._idle:
            _, kept = self._idle.pop()
            if kept.quiet():
                return kept
            kept.close()
        self.opened += 1
        return Connection(self._connected())

    def _connected(self) -> socket.socket:
        """Return a new socket to the first address that takes one; each is tried once. Raises OSError."""
        for at in self._addresses[:-1]:
            with suppress(OSError):
                return self._connected_to(at)
        return self._connected_to(self._addresses[-1])

    def _connected_to(self, at: _Address) -> socket.socket:
        family, kind, protocol, _, address = at
        plain = socket.socket(family, kind, protocol)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.connect(address)
            if self._tls is not None:
                plain = self._tls.wrap_socket(plain, server_hostname=self._name)
        except BaseException:  # a greenlet that is killed while it connects leaves nothing open either
            plain.close()
            raise
        return plain

    def _message(self, request: Request) -> bytes:
        query = f"?{request.query}" if request.query else ""
        lines = [f"{request.method} {self._prefix}{request.path}{query} HTTP/1.1", f"host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in request.headers]
        if request.body or request.method not in ("GET", "HEAD"):
            lines.append(f"content-length: {len(request.body)}")
        return "\r\n".join((*lines, "", "")).encode("latin-1") + request.body


class Connection:
    """One connection; it reads one answer after the other, and what comes behind one is no other call's."""

    def __init__(self, plain: socket.socket) -> None:
        self._socket = plain
        self._parser: Any = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._exchange: Exchange | None = None
        self._framed = False
        self._done = False
        self._kept = False

    def close(self) -> None:
        """Close it, and leave no ring behind for a collector that seldom comes: the parser has its callbacks."""
        with suppress(OSError):
            self._socket.close()
        self._parser = self._exchange = None

    def quiet(self) -> bool:
        """Say whether nothing came since its answer: neither bytes, which are no other call's, nor its end."""
        self._socket.settimeout(0)
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            self._socket.settimeout(None)
        return False

    def send(self, message: bytes) -> None:
        """Send a whole request. Raises OSError."""
        self._socket.sendall(message)

    def read(self, exchange: Exchange) -> bool:
        """Read one answer, and say whether the connection can be used again. Raises OSError, EOFError, HttpParserError.

        An answer without any framing ends where the connection does. One with more behind it than there should be is
        whole, and the connection's last.
        """
        self._exchange, self._done, self._framed = exchange, False, False
        self._headers = []
        while not self._done:
            data = self._socket.recv(_READ)
            if not data:
                if exchange.status is None or self._framed:
                    raise EOFError("the connection ended before the answer did")
                return False
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError:
                if not self._done:
                    raise
                self._kept = False
        return self._kept

    def on_message_begin(self) -> None:
        """Take an answer's first byte (of the parser)."""
        if self._done:
            self._kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header (of the parser)."""
        self._headers.append((name, value))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        """Take the head's end (of the parser)."""
        if self._done:
            return
        assert self._exchange is not None
        status = self._parser.get_status_code()
        if status >= 200:
            self._framed = self._framed or status in _NO_BODY
            self._exchange.head(status, self._headers)
        self._headers = []

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body (of the parser)."""
        if self._done:
            return
        assert self._exchange is not None
        self._exchange.chunk(data)

    def on_message_complete(self) -> None:
        """Take the answer's end (of the parser)."""
        if self._done:
            return
        assert self._exchange is not None
        self._done = self._exchange.status is not None
        self._kept = bool(self._parser.should_keep_alive())  # the parser knows it here, and not afterwards
