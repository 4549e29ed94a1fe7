"""What a virtual loop hands out: callbacks, timers, futures and tasks; lean, and hashed by creation, not by address."""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from typing import Any, Protocol, TypeVar

from harness.sim.process import Process

T = TypeVar("T")


class TimerOwner(Protocol):
    """What a timer tells of its cancellation."""

    def timer_cancelled(self) -> None:
        """Note that one pending timer was cancelled."""


class Handle(asyncio.Handle):
    """A callback that is ready to run. The clockwork fills it in: a constructor would run for each step of a task."""

    __slots__ = ()
    __init__ = object.__init__  # asyncio's own asks for the loop and its debug mode
    _callback: Any
    _args: tuple[Any, ...]
    _context: Context
    _cancelled: bool

    def cancel(self) -> None:
        """Drop the callback."""
        self._cancelled = True
        self._callback = None
        self._args = ()

    def __repr__(self) -> str:
        owner = getattr(self._callback, "__self__", None)
        what = owner.get_name() if isinstance(owner, asyncio.Task) else getattr(self._callback, "__qualname__", None)
        return f"<{type(self).__name__} {what or self._callback!r}{' cancelled' if self._cancelled else ''}>"


class Timer(Handle, asyncio.TimerHandle):
    """A callback that becomes ready at an instant, ``when_us``. ``owner`` is the loop until then."""

    __slots__ = ("owner", "when_us")
    owner: TimerOwner | None
    when_us: float

    def when(self) -> float:
        """Return the instant in seconds of the loop's time."""
        return self.when_us / 1_000_000

    def cancel(self) -> None:
        """Drop the callback."""
        if not self._cancelled:
            self._cancelled = True
            self._callback = None
            self._args = ()
            owner, self.owner = self.owner, None
            if owner is not None and self.when_us != math.inf:
                owner.timer_cancelled()


class SimFuture(asyncio.Future[T]):
    """A future that knows its place in the order of creation."""

    __slots__ = ("serial",)
    serial: int

    def __hash__(self) -> int:
        return self.serial


class SimTask(asyncio.Task[T]):
    """A task that knows its place in the order of creation and the process that it runs in."""

    __slots__ = ("process", "serial")
    serial: int
    process: Process | None
    _log_destroy_pending: bool  # asyncio's

    def __hash__(self) -> int:
        return self.serial
