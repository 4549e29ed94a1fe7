"""Turns blocking calls of simulated code into errors that name the task; outside a running simulation it does nothing.

What blocks is wrapped, once and for good, when this module is imported: ``from time import sleep`` in an application
binds the function for good too, so the wrapper must be there before the application is. Audit hooks would need no
wrapping, but cost every ``id()`` and ``sys._getframe()`` of the process more than these calls themselves.
"""

from __future__ import annotations

import _thread
import builtins
import functools
import os
import select
import socket
import subprocess
import threading  # noqa: TID251 - to keep simulated code from using it
import time  # noqa: TID251 - to keep simulated code from using it
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.sim.errors import BlockingCallError
from harness.sim.process import current_host
from harness.sim.where import calling_line

BLOCKING: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (time, ("sleep",)),
    (builtins, ("input",)),
    (select, ("select",)),
    (os, ("system", "fork", "forkpty", "posix_spawn", "posix_spawnp")),
    (subprocess.Popen, ("__init__",)),
    (socket, ("getaddrinfo", "getnameinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex")),
    (socket.socket, ("bind", "connect", "connect_ex")),
    (_thread, ("start_new_thread",)),
    (threading.Thread, ("start",)),
    (threading.Condition, ("wait",)),  # under queues, events, semaphores and the futures of executors
)
"""What is wrapped, by owner."""

Fail = Callable[[BaseException], None]

_running: tuple[int, Fail] | None = None
"""The thread that runs a simulation now, and what to tell about a blocking call in it."""


@contextmanager
def guarded(fail: Fail) -> Iterator[None]:
    """Make blocking calls in this thread raise BlockingCallError and report it to ``fail`` (for code that swallows)."""
    global _running
    before, _running = _running, (threading.get_ident(), fail)
    try:
        yield
    finally:
        _running = before


def refuse(what: str) -> None:
    """Raise BlockingCallError for ``what`` if this thread runs a simulation."""
    if _running is None or _running[0] != threading.get_ident():
        return
    said = f"{what} blocks, and simulated code may not block; called by {calling_line()}"
    error = BlockingCallError(said, {current_host()})
    _running[1](error)
    raise error


def _refusing(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def refused(*args: Any, **kwargs: Any) -> Any:
        if _running is not None:
            refuse(name)
        return function(*args, **kwargs)

    return refused


for _owner, _names in BLOCKING:
    for _name in _names:
        if hasattr(_owner, _name):
            _title = f"{_owner.__name__}.{_name}".replace(".__init__", "")
            setattr(_owner, _name, _refusing(getattr(_owner, _name), _title))
