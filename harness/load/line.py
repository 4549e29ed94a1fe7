"""The generator's end of the line to the harness: orders come in, progress goes out; it ends when the harness does."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from typing import IO, Any

import orjson

from harness.load.order import FD, PARENT

_PR_SET_PDEATHSIG = 1


class Line:
    """JSON objects to and from the harness, one a line. With gevent's sockets its waits let others run."""

    def __init__(self, plain: socket.socket) -> None:
        self._socket = plain
        self._unread = b""

    @classmethod
    def inherited(cls) -> Line:
        """Return the line that the environment names; the process is killed when the harness is gone."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[PARENT]):
            raise SystemExit("the harness that started this load generator is gone")
        return cls(socket.socket(fileno=int(os.environ[FD])))

    def read(self) -> dict[str, Any]:
        """Return the next object. Raises EOFError when the harness has closed the line."""
        while b"\n" not in self._unread:
            data = self._socket.recv(1 << 16)
            if not data:
                raise EOFError("the harness closed the line")
            self._unread += data
        text, _, self._unread = self._unread.partition(b"\n")
        value: dict[str, Any] = orjson.loads(text)
        return value

    def rows(self, path: str) -> IO[bytes]:
        """Return the file that rows are written to. Raises OSError."""
        return open(path, "ab", buffering=1 << 18)

    def close(self) -> None:
        """Close it: whatever the harness has not heard by then, it never will."""
        self._socket.close()

    def write(self, kind: str, **value: Any) -> None:
        """Send an object. Raises OSError when nobody reads any more."""
        self._socket.sendall(orjson.dumps({"kind": kind, **value}, option=orjson.OPT_APPEND_NEWLINE))
