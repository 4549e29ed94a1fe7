"""An alarm that rings in gevent's loop at an instant, to the microsecond; it knows of no call.

The loop's own timers have steps of a millisecond. Linux has a timer that rings while everything else goes on; elsewhere
the last millisecond is slept through, and answers wait for it.
"""

from __future__ import annotations

import ctypes
import os
import time  # noqa: TID251 - the generator runs in real time, in a process of its own
from collections.abc import Callable
from typing import Protocol

from gevent.event import Event
from gevent.hub import Waiter, get_hub
from gevent.monkey import get_original

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_STEP_US = 1_000
_blocking_sleep: Callable[[float], None] = get_original("time", "sleep")


class Alarm(Protocol):
    """A timer for one greenlet at a time."""

    def wait_until(self, at_us: int) -> None:
        """Return at that instant of the monotonic clock, or when ``ring`` is called."""

    def ring(self) -> None:
        """Ring now."""

    def close(self) -> None:
        """Give it back."""


def make_alarm() -> Alarm:
    """Return the best alarm that this system has."""
    return KernelAlarm() if hasattr(_LIBC, "timerfd_create") else SleepingAlarm()


class _Setting(ctypes.Structure):
    """``struct itimerspec``: seconds and nanoseconds between rings, and of the first."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class KernelAlarm:
    """One timer of the kernel's."""

    def __init__(self) -> None:
        self._descriptor = _LIBC.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "no timer can be had")
        self._setting = _Setting()
        self._waiter: Waiter | None = None
        self._watcher = get_hub().loop.io(self._descriptor, 1)
        self._watcher.start(self._rung)

    def wait_until(self, at_us: int) -> None:
        self._waiter = Waiter()
        self._set(at_us)
        self._waiter.get()

    def ring(self) -> None:
        self._set(1)

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        os.close(self._descriptor)

    def _set(self, at_us: int) -> None:
        self._setting.at_s, self._setting.at_ns = at_us // 1_000_000, at_us % 1_000_000 * 1000
        _LIBC.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(self._setting), None)

    def _rung(self) -> None:
        try:
            os.read(self._descriptor, 8)  # else it would ring on
        except BlockingIOError:  # it was set anew since, and will ring again
            return
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.switch(None)


class SleepingAlarm:
    """The loop's timer up to the last millisecond, and a sleep of the whole process for the rest."""

    def __init__(self) -> None:
        self._rung = Event()

    def wait_until(self, at_us: int) -> None:
        self._rung.clear()
        ahead_us = at_us - time.monotonic_ns() // 1000
        if ahead_us > _STEP_US and self._rung.wait((ahead_us - _STEP_US) / 1e6):
            return
        left_us = at_us - time.monotonic_ns() // 1000
        if left_us > 0:
            _blocking_sleep(left_us / 1e6)

    def ring(self) -> None:
        self._rung.set()

    def close(self) -> None:
        pass
