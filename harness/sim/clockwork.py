"""Virtual time: callbacks and timers in whole microseconds, turn by turn; it knows what runs next, not what it is for.

Timers of one instant run first in, first out. A callback whose process is dead is dropped. Garbage is collected at
fixed steps only. Nothing to do and no timer is a deadlock.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, TypeVarTuple

from harness.sim.errors import DeadlockError, LivelockError, OverrunError
from harness.sim.handles import Handle, Timer
from harness.sim.process import Process, current_process

Ts = TypeVarTuple("Ts")

COLLECT_EVERY = 1 << 18
"""Callbacks between two collections of garbage: fixed steps, so that what finalizers do happens at fixed steps."""
COLLECTIONS_AT_ONE_INSTANT = 16
"""Collections without the clock moving after which the loop is taken to turn for ever."""


class Clockwork(asyncio.BaseEventLoop):
    """The clock, the callbacks that are ready, and the timers. ``now_us`` is the time in whole microseconds."""

    _stopping: bool  # asyncio's
    _closed: bool  # asyncio's
    get_debug = staticmethod(bool)  # bool() is False: each future and task asks, and a function would cost a frame

    def __init__(self, start_us: int = 0) -> None:
        super().__init__()
        self.now_us = start_us
        self._now_s = start_us / 1_000_000
        self._until_us: float = math.inf
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[int, int, Timer]] = []
        self._due_now = False
        self._cancelled_timers = 0
        self._serial = 0
        self._wary = False
        """Whether the loop is closed or a process was killed: only then a callback must be looked at."""
        self._collections = 0
        self._collected_at = [-1] * COLLECTIONS_AT_ONE_INSTANT

    def close(self) -> None:
        """Close the loop: what is set from now on is refused."""
        self._wary = True
        super().close()

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now_s

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> Handle:
        """Run ``callback`` in the next turn, after what is already ready."""
        handle: Handle = Handle()
        handle._callback = callback
        handle._args = args
        handle._context = context if context is not None else copy_context()
        handle._cancelled = False
        if self._wary:
            self._check(handle)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Handle:
        """Run ``callback`` soon; there is only one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Timer:
        """Run ``callback`` after ``delay`` seconds, rounded to whole microseconds; an infinite delay never ends."""
        return self._set_timer(self.now_us + delay * 1_000_000, callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Timer:
        """Run ``callback`` at ``when`` in seconds of ``time()``, rounded to whole microseconds."""
        return self._set_timer(when * 1_000_000, callback, args, context)

    def _set_timer(
        self, when_us: float, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None
    ) -> Timer:
        timer: Timer = Timer()
        timer._callback = callback
        timer._args = args
        timer._context = context if context is not None else copy_context()
        timer._cancelled = False
        timer.when_us = when_us
        timer.owner = self
        if self._wary:
            self._check(timer)
        if when_us == math.inf:
            return timer
        due_us = round(when_us)
        if due_us <= self.now_us:
            if due_us == self.now_us and when_us > due_us + 0.01:
                due_us += 1  # a delay shorter than the clock's step still lets time pass, or its owner would spin
            else:
                self._due_now = True
        self._serial += 1
        heapq.heappush(self._timers, (due_us, self._serial, timer))
        return timer

    def _check(self, handle: Handle) -> None:
        """Raise if the loop is closed; cancel ``handle`` if its process is dead."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        process = handle._context.get(current_process)
        if process is not None and not process.alive:
            handle.cancel()

    def timer_cancelled(self) -> None:
        """Note that a timer was cancelled, and drop such timers when they are the greater part."""
        self._cancelled_timers += 1
        if self._cancelled_timers > 100 and self._cancelled_timers * 2 > len(self._timers):
            self._timers[:] = [entry for entry in self._timers if not entry[2]._cancelled]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def drop_callbacks(self, process: Process) -> None:
        """Cancel the callbacks and timers of ``process``, those to come included."""
        self._wary = True
        for handle in (*self._ready, *(entry[2] for entry in self._timers)):
            if not handle.cancelled() and handle._context.get(current_process) is process:
                handle.cancel()

    def pending_lines(self) -> str:
        """Return a line for each pending task, for errors."""
        raise NotImplementedError

    def pending_hosts(self) -> set[str]:
        """Return the hosts of the pending tasks, for errors."""
        raise NotImplementedError

    def _run_once(self) -> None:
        """Run what is ready, turn by turn, until ``stop()``; whenever nothing is ready, jump to the next timer."""
        ready = self._ready
        done = 0
        while True:
            if self._due_now or not ready:
                self._make_ready()
            due = len(ready)
            done += due
            if done > COLLECT_EVERY:
                done = 0
                self._collect()
            while due:  # mostly one: a range would cost more than all the rest of the turn
                due -= 1
                handle = ready.popleft()
                if not handle._cancelled:
                    args = handle._args
                    try:
                        if args:
                            handle._context.run(handle._callback, *args)
                        else:  # a task's step; an empty tuple would be taken apart at a cost
                            handle._context.run(handle._callback)
                    except (KeyboardInterrupt, SystemExit):
                        raise
                    except BaseException as error:
                        message = f"Exception in callback {handle!r}"
                        self.call_exception_handler({"message": message, "exception": error, "handle": handle})
            if self._stopping:
                return

    def _make_ready(self) -> None:
        """Make the timers of this instant ready; if nothing is ready at all, go to the next instant that has one."""
        ready = self._ready
        timers = self._timers
        self._due_now = False
        if not ready and not self._stopping:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
                self._cancelled_timers -= 1
            if not timers:
                raise DeadlockError(self._say("deadlock", "nothing is ready, no timer is set"), self.pending_hosts())
            due_us = timers[0][0]
            if due_us > self._until_us:
                said = self._say("overrun", f"not done at its limit of {self._until_us / 1e6} s")
                raise OverrunError(said, self.pending_hosts())
            if due_us > self.now_us:
                self.now_us = due_us
                self._now_s = due_us / 1_000_000
        now_us = self.now_us
        while timers and timers[0][0] <= now_us:
            timer = heapq.heappop(timers)[2]
            if timer._cancelled:
                self._cancelled_timers -= 1
            else:
                timer.owner = None
                ready.append(timer)

    def _collect(self) -> None:
        self._collections += 1
        gc.collect(2 if self._collections % 8 == 0 else 1)
        self._collected_at = [*self._collected_at[1:], self.now_us]
        if self._collected_at[0] == self.now_us:
            owners = (handle._context.get(current_process) for handle in self._ready)
            hosts = {owner.name for owner in owners if owner is not None}
            raise LivelockError(self._say("livelock", "callbacks make each other ready for ever"), hosts)

    def _say(self, what: str, why: str) -> str:
        return f"{what} at {self.time()} s: {why}; pending:\n{self.pending_lines() or '  no task'}"
