"""An asyncio event loop in virtual time: its clock jumps to the next timer; it opens no socket and starts no thread.

Everything else is asyncio: tasks, futures, locks, timeouts and queues are the standard library's. What differs is what
a simulation needs: sets of tasks and futures order by creation instead of memory address, a process can be killed, a
hang is an error that names every pending task, and the first failure that nobody handles ends the run.
"""

from __future__ import annotations

import asyncio
import gc
import math
import weakref
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

from harness.sim.clockwork import Clockwork
from harness.sim.errors import SimulationError
from harness.sim.guard import guarded, refuse
from harness.sim.handles import SimFuture, SimTask
from harness.sim.process import Process, bury, current_process
from harness.sim.where import waiting_lines

T = TypeVar("T")
AnyCoroutine = Coroutine[Any, Any, T] | Generator[Any, None, T]


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


class VirtualLoop(Clockwork):
    """An asyncio event loop in virtual time. ``start_us`` is the first instant, in whole microseconds."""

    def __init__(self, start_us: int = 0) -> None:
        super().__init__(start_us)
        self._failure: BaseException | None = None
        self._winding_up = False
        self._graveyard: list[SimTask[Any] | AsyncGenerator[Any, Any]] = []
        """What belonged to killed processes: kept, because to free it would run its handlers."""
        # In order of birth, with the process of each: asyncio's own is a set, whose order is memory addresses.
        self._asyncgens: weakref.WeakKeyDictionary[AsyncGenerator[Any, Any], Process | None]
        self._asyncgens = weakref.WeakKeyDictionary()

    # Tasks and futures

    def create_future(self) -> SimFuture[Any]:
        """Return a future that orders by creation in a set."""
        future: SimFuture[Any] = SimFuture(loop=self)
        self._serial = future.serial = self._serial + 1
        return future

    def set_task_factory(self, factory: object) -> None:
        """Refuse any factory but none: the order of tasks depends on the loop's own."""
        if factory is not None:
            raise NotImplementedError("the virtual loop makes its tasks itself")

    def create_task(
        self, coro: AnyCoroutine[T], *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """Return a task that orders by creation in a set and belongs to the process that its context names."""
        self._serial += 1
        process = current_process.get() if context is None else context.get(current_process)
        task: SimTask[T] = SimTask.__new__(SimTask)
        task.serial = self._serial  # first: asyncio puts the task into a set as soon as it is initialised
        task.process = process
        named = str(name) if name is not None else ""
        asyncio.Task.__init__(task, coro, loop=self, name=named or f"task-{task.serial}", context=context)
        if process is not None and not process.alive:
            self._freeze(task)
        return task

    def tasks(self) -> list[SimTask[Any]]:
        """Return the pending tasks of living processes in order of creation."""
        return [t for t in self._known() if not t.done() and (t.process is None or t.process.alive)]

    def _known(self) -> list[SimTask[Any]]:
        """Return all of this loop's tasks that somebody holds, the ended ones included, in order of creation."""
        everybodys: weakref.WeakSet[asyncio.Task[Any]]
        everybodys = asyncio.tasks._all_tasks  # type: ignore[attr-defined]  # all_tasks() leaves out those that ended
        known = [task for task in everybodys if isinstance(task, SimTask) and task.get_loop() is self]
        return sorted(known, key=lambda task: task.serial)

    def kill(self, process: Process) -> None:
        """Stop ``process`` where it stands: no task, callback or timer of it runs again (``kill -9``).

        No handler of it runs either. What it awaits may still happen, but wakes nobody. Code of it that is running
        right now (it kills itself) gets to its next ``await``. A task of another process that awaits one of its
        tasks waits for ever: across processes there are only connections.
        """
        process.alive = False
        for task in self._known():
            if task.process is process and not task.done():
                self._freeze(task)
        for agen in [agen for agen, owner in self._asyncgens.items() if owner is process]:
            del self._asyncgens[agen]
            self._graveyard.append(agen)
        self.drop_callbacks(process)

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

    def pending_lines(self) -> str:
        """Return a line for each pending task of a living process, for errors."""
        return waiting_lines(self.tasks())

    def pending_hosts(self) -> set[str]:
        """Return the hosts of the pending tasks of living processes, for errors."""
        return {task.process.name for task in self.tasks() if task.process is not None}

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
        BlockingCallError; and OverrunError if ``main`` is not done by ``until_us``. Meanwhile the garbage collector
        runs at the loop's fixed steps only.
        """
        collecting = gc.isenabled()
        gc.disable()
        try:
            failure = self._run_main(task := self.create_task(main, name="main"), until_us)
            left_over = self._wind_up()
        finally:
            if collecting:
                gc.enable()
        if failure is None:
            failure = left_over
        if failure is not None:
            raise failure
        return task.result()

    def _run_main(self, task: asyncio.Task[Any], until_us: int | None) -> BaseException | None:
        """Run until ``task`` is done or something fails, and return the first failure."""
        self._failure = None
        self._until_us = math.inf if until_us is None else until_us
        try:
            self.run_until_complete(task)
        except BaseException as error:
            return self._failure if self._failure is not None else error
        return self._failure

    def _wind_up(self) -> BaseException | None:
        """Cancel what is left, in order of creation, let it finish, and return the first failure of that."""
        self._failure = None
        self._until_us = math.inf
        self._winding_up = True
        try:
            left = self.tasks()
            for task in left:
                task.cancel()
            if left:
                self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self.run_until_complete(self.shutdown_asyncgens())
            unseen = [task for task in self._known() if _unseen(task)]
            for task in [*left, *unseen]:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    said = "Task exception was never retrieved"
                    self.call_exception_handler({"message": said, "exception": error, "future": task})
        except BaseException as error:
            self.fail(error)
        finally:
            self._winding_up = False
        return self._failure

    def run_forever(self) -> None:
        """Run until ``stop()``, with blocking calls refused."""
        with guarded(self.fail):
            super().run_forever()

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
