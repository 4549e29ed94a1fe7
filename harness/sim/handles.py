"""What a virtual loop hands out: callbacks, timers, futures and tasks; lean, and hashed by creation, not by address."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Protocol, TypeVar

from harness.sim.process import Process

T = TypeVar("T")


class TimerOwner(Protocol):
    """What a timer tells of its cancellation."""

    def timer_cancelled(self) -> None:
        """Note that one pending timer was cancelled."""


class Handle(asyncio.Handle):
    """A callback that is ready to run."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context) -> None:
        # The parent's constructor asks for the loop and its debug mode first; this runs for every step of every task.
        self._callback: Any = callback
        self._args: tuple[Any, ...] = args
        self._context = context
        self._cancelled = False

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
    """A callback that becomes ready at an instant. ``owner`` is the loop until then."""

    __slots__ = ("_when_us", "owner")

    def __init__(
        self,
        owner: TimerOwner,
        when_us: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: Context,
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self._when_us = when_us
        self.owner: TimerOwner | None = owner

    def when(self) -> float:
        """Return the instant in seconds of the loop's time."""
        return self._when_us / 1_000_000

    def cancel(self) -> None:
        """Drop the callback."""
        if not self._cancelled:
            self._cancelled = True
            self._callback = None
            self._args = ()
            owner, self.owner = self.owner, None
            if owner is not None and self._when_us != math.inf:
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
    _log_destroy_pending: bool  # asyncio's

    def __init__(
        self,
        serial: int,
        process: Process | None,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        loop: asyncio.AbstractEventLoop,
        name: str | None,
        context: Context | None,
    ) -> None:
        self.serial = serial  # first: asyncio puts the task into a set as soon as it is initialised
        self.process = process
        super().__init__(coro, loop=loop, name=name or f"task-{serial}", context=context)

    def __hash__(self) -> int:
        return self.serial
