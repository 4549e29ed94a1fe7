"""Simulated processes: which host a piece of code runs on, and how it is killed without running another line.

A task, callback or timer belongs to the process that its context names. Killing one is ``kill -9``: no ``finally``,
no ``except``, no ``__aexit__`` of it runs, neither then nor when its frames are freed.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Coroutine, Sequence
from contextvars import Context, ContextVar
from typing import Any


class Process:
    """One life of a host: it is born with ``serve`` and never lives again; a restarted host is another process."""

    __slots__ = ("alive", "context", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.context = Context()
        """An empty context in this process; what runs in it runs in a copy."""
        self.context.run(current_process.set, self)

    def __repr__(self) -> str:
        return f"<Process {self.name}{'' if self.alive else ' killed'}>"


current_process: ContextVar[Process | None] = ContextVar("current_process", default=None)


def current_host() -> str:
    """Return the name of the host that the running code belongs to, or nothing outside of all hosts."""
    process = current_process.get()
    return process.name if process is not None else ""


def bury(coroutines: Sequence[Coroutine[Any, Any, Any]]) -> None:
    """End suspended coroutines without running another line of them.

    CPython ends a suspended coroutine by raising GeneratorExit inside it, which runs its handlers. Where the stack
    has no room for one more frame, that frame is unwound before its first instruction instead; so go down there.
    """
    hook = sys.unraisablehook
    nowhere: deque[object] = deque(maxlen=0)
    sys.unraisablehook = nowhere.append  # what dies down there may not be reported: a report needs frames
    try:
        _bury_at_the_bottom(coroutines)
    finally:
        sys.unraisablehook = hook


def _bury_at_the_bottom(coroutines: Sequence[Coroutine[Any, Any, Any]]) -> None:
    try:  # noqa: SIM105 - a context manager would need a frame, for which there is no room
        _bury_at_the_bottom(coroutines)
    except RecursionError:
        pass
    for coroutine in coroutines:
        try:  # noqa: SIM105
            coroutine.close()
        except RecursionError:  # ended; or, on the lowest level, not even the call found room: the next one up has it
            pass
