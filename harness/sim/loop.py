"""An asyncio event loop in virtual time: its clock jumps to the next timer; it opens no socket and starts no thread.

Everything else is asyncio: tasks, futures, locks, timeouts and queues are the standard library's. What differs is what
a simulation needs: time is whole microseconds, timers of one instant run first in, first out, sets of tasks and futures
order by creation instead of memory address, the cyclic garbage collector runs at fixed steps only, a hang is an error
that names every pending task, and the first failure that nobody handles ends the run.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, TypeVar, TypeVarTuple

from harness.sim.errors import DeadlockError, LivelockError, OverrunError, SimulationError
from harness.sim.guard import guarded, refuse
from harness.sim.handles import Handle, SimFuture, SimTask, Timer
from harness.sim.process import Process, bury, current_process
from harness.sim.where import waiting_lines

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
AnyCoroutine = Coroutine[Any, Any, T] | Generator[Any, None, T]

COLLECT_EVERY = 1 << 18
"""Callbacks between two collections of garbage: at fixed steps, so that finalizers run at fixed steps."""
TURNS = 1_000_000
"""Turns of the loop within one instant after which it is taken to turn for ever."""


def run(main: Coroutine[Any, Any, T], *, until_us: int | None = None, start_us: int = 0) -> T:
    """Run ``main`` in a fresh virtual loop and return its result; see ``VirtualLoop.run``."""
    loop = VirtualLoop(start_us)
    try:
        return loop.run(main, until_us=until_us)
    finally:
        loop.close()


def _refused(name: str) -> Any:
    def method(self: VirtualLoop, *args: Any, **kwargs: Any) -> Any:
        refuse(f"loop.{name}()")
        raise NotImplementedError(f"the virtual loop has no {name}()")

    method.__name__ = name
    return method


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio event loop in virtual time. ``start_us`` is the first instant, in whole microseconds."""

    _stopping: bool  # asyncio's
    _closed: bool  # asyncio's

    def __init__(self, start_us: int = 0) -> None:
        super().__init__()
        self.now_us = start_us
        self._until_us: float = math.inf
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[int, int, Timer]] = []
        self._cancelled_timers = 0
        self._serial = 0
        self._before_collection = COLLECT_EVERY
        self._collections = 0
        self._tasks: list[weakref.ref[SimTask[Any]]] = []
        self._tasks_full = 1024
        self._failure: BaseException | None = None
        self._winding_up = False
        self._killed = False
        self._graveyard: list[SimTask[Any] | AsyncGenerator[Any, Any]] = []
        """What belonged to killed processes: kept, because to free it would run its handlers."""
        # In order of birth, with the process of each: asyncio's own is a set, whose order is memory addresses.
        self._asyncgens: weakref.WeakKeyDictionary[AsyncGenerator[Any, Any], Process | None]
        self._asyncgens = weakref.WeakKeyDictionary()

    # Time and callbacks

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now_us / 1_000_000

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> Handle:
        """Run ``callback`` in the next turn of the loop, after what is already ready."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = Handle(callback, args, context if context is not None else copy_context())
        if self._killed and self._is_dead(handle):
            handle.cancel()
        else:
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
        if self._closed:
            raise RuntimeError("Event loop is closed")
        due_us = when_us if when_us == math.inf else round(when_us)
        if due_us == self.now_us and when_us > due_us + 0.01:
            due_us += 1  # a shorter delay than the clock's step still has to let time pass, or its owner spins
        timer = Timer(due_us, self, callback, args, context if context is not None else copy_context())
        if self._killed and self._is_dead(timer):
            timer.cancel()
        elif due_us != math.inf:
            self._serial += 1
            heapq.heappush(self._timers, (int(due_us), self._serial, timer))
        return timer

    @staticmethod
    def _is_dead(handle: Handle) -> bool:
        process = handle._context.get(current_process)
        return process is not None and not process.alive

    def timer_cancelled(self) -> None:
        """Note that a timer was cancelled, and drop such timers when they are the greater part."""
        self._cancelled_timers += 1
        if self._cancelled_timers > 100 and self._cancelled_timers * 2 > len(self._timers):
            self._timers[:] = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def _run_once(self) -> None:
        """Run what is ready, turn by turn, until ``stop()``; whenever nothing is ready, jump to the next timer."""
        ready = self._ready
        timers = self._timers
        turns = 0
        while True:
            if not ready and not self._stopping:
                self._advance()
                turns = 0
            now_us = self.now_us
            while timers and timers[0][0] <= now_us:
                timer = heapq.heappop(timers)[2]
                if timer._cancelled:
                    self._cancelled_timers -= 1
                else:
                    timer.pending = False
                    ready.append(timer)
            due = len(ready)
            self._before_collection -= due
            if self._before_collection < 0:
                self._collect()
            turns += 1
            if turns > TURNS:
                raise LivelockError(f"the loop turns for ever at {self.time()} s; pending:\n{self._pending_lines()}")
            for _ in range(due):
                handle = ready.popleft()
                if not handle._cancelled:
                    try:
                        handle._context.run(handle._callback, *handle._args)
                    except (KeyboardInterrupt, SystemExit):
                        raise
                    except BaseException as error:
                        message = f"Exception in callback {handle!r}"
                        self.call_exception_handler({"message": message, "exception": error, "handle": handle})
            if self._stopping:
                return

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
            self._cancelled_timers -= 1
        if not timers:
            raise DeadlockError(
                f"deadlock at {self.time()} s: nothing is ready, no timer is set; pending:\n{self._pending_lines()}"
            )
        when_us = timers[0][0]
        if when_us > self._until_us:
            raise OverrunError(
                f"the run is not done at its limit of {self._until_us / 1e6} s; pending:\n{self._pending_lines()}"
            )
        self.now_us = when_us

    def _collect(self) -> None:
        self._before_collection = COLLECT_EVERY
        self._collections += 1
        gc.collect(2 if self._collections % 8 == 0 else 1)

    # Tasks and futures

    def create_future(self) -> SimFuture[Any]:
        """Return a future that orders by creation in a set."""
        future: SimFuture[Any] = SimFuture(loop=self)
        self._serial = future.serial = self._serial + 1
        return future

    def create_task(
        self, coro: AnyCoroutine[T], *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """Return a task that orders by creation in a set and belongs to the process that its context names."""
        self._serial += 1
        process = current_process.get() if context is None else context.get(current_process)
        task = SimTask(self._serial, process, coro, self, str(name) if name is not None else None, context)
        if process is not None and not process.alive:
            self._freeze(task)
        tasks = self._tasks
        if len(tasks) >= self._tasks_full:
            tasks[:] = [ref for ref in tasks if (known := ref()) is not None and _matters(known)]
            self._tasks_full = max(1024, 2 * len(tasks))
        tasks.append(weakref.ref(task))
        return task

    def tasks(self) -> list[SimTask[Any]]:
        """Return the pending tasks of living processes in order of creation."""
        known = (ref() for ref in self._tasks)
        return [t for t in known if t is not None and not t.done() and (t.process is None or t.process.alive)]

    def kill(self, process: Process) -> None:
        """Stop ``process`` where it stands: no task, callback or timer of it runs again (``kill -9``).

        No handler of it runs either. What it awaits may still happen, but wakes nobody. Code of it that is running
        right now (it kills itself) gets to its next ``await``. A task of another process that awaits one of its
        tasks waits for ever: across processes there are only connections.
        """
        process.alive = False
        self._killed = True
        for ref in self._tasks:
            task = ref()
            if task is not None and task.process is process and not task.done():
                self._freeze(task)
        for agen in [agen for agen, owner in self._asyncgens.items() if owner is process]:
            del self._asyncgens[agen]
            self._graveyard.append(agen)
        for handle in (*self._ready, *(entry[2] for entry in self._timers)):
            if not handle.cancelled() and self._is_dead(handle):
                handle.cancel()

    def _freeze(self, task: SimTask[Any]) -> None:
        task._log_destroy_pending = False  # it is pending, and nobody shall wonder
        self._graveyard.append(task)

    def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        process = current_process.get()
        if process is not None and not process.alive:
            self._graveyard.append(agen)
        else:
            self._asyncgens[agen] = process

    def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        if not self._closed:
            self.call_soon(self.create_task, agen.aclose())

    def _pending_lines(self) -> str:
        return waiting_lines(self.tasks()) or "  no task"

    # Failures

    def fail(self, error: BaseException) -> None:
        """Let the run end now and fail with ``error``, unless it failed before."""
        if self._failure is None:
            self._failure = error
        if not self._winding_up:
            self.stop()

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Let the run fail with what nobody handled: a task's or a callback's exception, a pending task dropped."""
        if self.is_closed():
            super().default_exception_handler(context)
            return
        error = context.get("exception")
        if error is None:
            details = ", ".join(f"{key}={value!r}" for key, value in sorted(context.items()) if key != "message")
            error = SimulationError(f"{context.get('message')} {details}".rstrip())
        self.fail(error)

    # Running

    def run(self, main: Coroutine[Any, Any, T], *, until_us: int | None = None) -> T:
        """Run ``main`` to its end and return its result; then cancel what is left and let it finish.

        Raises the first failure that nobody handled, in ``main`` or anywhere else; DeadlockError, LivelockError,
        BlockingCallError; and OverrunError if ``main`` is not done by ``until_us``.
        """
        self._failure = None
        self._until_us = math.inf if until_us is None else until_us
        task = self.create_task(main, name="main")
        error: BaseException | None = None
        try:
            self.run_until_complete(task)
        except BaseException as raised:
            error = raised
        failure = self._failure if self._failure is not None else error
        self._until_us = math.inf
        self._failure = None
        self._winding_up = True
        try:
            self._wind_up()
        except BaseException as raised:
            self.fail(raised)
        finally:
            self._winding_up = False
        failure = failure if failure is not None else self._failure
        if failure is not None:
            raise failure
        return task.result()

    def _wind_up(self) -> None:
        left = self.tasks()
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.run_until_complete(self.shutdown_asyncgens())
        for task in [*left, *(known for ref in self._tasks if (known := ref()) is not None and _unseen(known))]:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                self.fail(error)

    def run_forever(self) -> None:
        """Run until ``stop()``, with blocking calls refused and garbage collected at fixed steps only."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            with guarded(self.fail):
                super().run_forever()
        finally:
            if collecting:
                gc.enable()

    def close(self) -> None:
        """Close the loop; killed processes are buried now, without running another line of them."""
        if self.is_closed():
            return
        super().close()
        self._timers.clear()
        graveyard, self._graveyard = self._graveyard, []
        if graveyard:
            bury(
                [
                    coro
                    for task in graveyard
                    if isinstance(task, SimTask) and isinstance(coro := task.get_coro(), Coroutine)
                ]
            )


def _matters(task: SimTask[Any]) -> bool:
    return not task.done() or _unseen(task)


def _unseen(task: SimTask[Any]) -> bool:
    """Say whether ``task`` ended with an exception that nobody has looked at (asyncio's own mark of that)."""
    return bool(getattr(task, "_log_traceback", False))


for _name in (
    "run_in_executor",
    "getaddrinfo",
    "getnameinfo",
    "create_connection",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "create_datagram_endpoint",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "start_tls",
    "sendfile",
    "subprocess_exec",
    "subprocess_shell",
    "add_reader",
    "remove_reader",
    "add_writer",
    "remove_writer",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "add_signal_handler",
    "remove_signal_handler",
):
    setattr(VirtualLoop, _name, _refused(_name))
