"""Turns blocking calls of simulated code into errors that name the task; outside a running simulation it does nothing.

The interpreter reports most ways to block (sockets, subprocesses, name look-ups) to audit hooks; what it does not
report is wrapped. Both stay in place for good, because a hook cannot be removed and because ``from time import sleep``
in an application binds the function for good: so this module is imported before any application. Only audited events
and the wrapped functions themselves pay for it.
"""

from __future__ import annotations

import functools
import select
import sys
import threading  # noqa: TID251 - to keep simulated code from using it
import time  # noqa: TID251 - to keep simulated code from using it
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.sim.errors import BlockingCallError
from harness.sim.where import calling_line

BLOCKING_EVENTS = frozenset(
    {
        "_thread.start_new_thread",
        "builtins.input",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "socket.sendto",
        "subprocess.Popen",
        "time.sleep",
    }
)

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
    error = BlockingCallError(f"{what} blocks, and simulated code may not block; called by {calling_line()}")
    _running[1](error)
    raise error


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in BLOCKING_EVENTS and _running is not None:
        refuse(event)


def _refusing(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def refused(*args: Any, **kwargs: Any) -> Any:
        if _running is not None:
            refuse(name)
        return function(*args, **kwargs)

    return refused


sys.addaudithook(_audit)
for _owner, _name, _called in (
    (time, "sleep", "time.sleep"),
    (select, "select", "select.select"),
    (threading.Thread, "start", "threading.Thread.start"),
    (threading.Condition, "wait", "threading.Condition.wait"),  # under queues, events and concurrent futures
):
    setattr(_owner, _name, _refusing(getattr(_owner, _name), _called))
