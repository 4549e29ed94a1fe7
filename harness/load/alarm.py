"""An alarm that rings in gevent's loop at an instant, to the microsecond, while everything else goes on; Linux has it.

The loop's own timers have steps of a millisecond, and to sleep through the rest would keep answers waiting.
"""

from __future__ import annotations

import ctypes
import os

from gevent.hub import Waiter, get_hub

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Setting(ctypes.Structure):
    """``struct itimerspec``: seconds and nanoseconds between rings, and of the first."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Alarm:
    """One timer of the kernel's, for one greenlet at a time."""

    def __init__(self) -> None:
        self._descriptor = _LIBC.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "no timer can be had")
        self._setting = _Setting()
        self._waiter: Waiter | None = None
        self._watcher = get_hub().loop.io(self._descriptor, 1)
        self._watcher.start(self._rung)

    def wait_until(self, at_us: int) -> None:
        """Return at that instant of the monotonic clock, or when ``ring`` is called."""
        self._waiter = Waiter()
        self._set(at_us)
        self._waiter.get()

    def ring(self) -> None:
        """Ring now."""
        self._set(1)

    def close(self) -> None:
        """Give it back."""
        self._watcher.stop()
        self._watcher.close()
        os.close(self._descriptor)

    def _set(self, at_us: int) -> None:
        self._setting.at_s, self._setting.at_ns = at_us // 1_000_000, at_us % 1_000_000 * 1000
        _LIBC.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(self._setting), None)

    def _rung(self) -> None:
        os.read(self._descriptor, 8)  # else it would ring on
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.switch(None)
