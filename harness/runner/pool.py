"""Spreads work over processes from a queue that learns from every result; it knows nothing of what the work is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Protocol, TypeVar

_PR_SET_PDEATHSIG = 1

Item = TypeVar("Item")
Result = TypeVar("Result")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result", contravariant=True)


class Queue(Protocol[_Item, _Result]):
    """What is to be done, as far as it is known: results may add to it, or make the rest of it needless."""

    def take(self) -> _Item | None:
        """Return what may start now; None if nothing may until something that is under way ends, or ever."""
        ...

    def ended(self, item: _Item, result: _Result) -> None:
        """Learn what became of ``item``."""
        ...


def spread(
    queue: Queue[Item, Result], work: Callable[[Item], Result], lost: Callable[[Item, str], Result], *, workers: int = 0
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item of ``queue`` with its result as it ends. ``work`` must be a function that can be sent.

    ``workers`` 0 takes one per core; one worker stays in this process. ``lost`` makes the result of an item whose
    process was killed. Whoever stops early closes the iterator: the processes end with it.
    """
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        while (item := queue.take()) is not None:
            result = work(item)
            queue.ended(item, result)
            yield item, result
        return
    # Forking is safe here: the parent runs no loop and no thread of its own yet, and imports are not paid twice.
    context = get_context("fork" if os.name == "posix" else "spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)
    running: dict[Future[Result], Item] = {}
    try:
        while True:
            # One item more than there are workers waits in the pool, so that none is idle while results are read.
            while len(running) <= workers and (item := queue.take()) is not None:
                running[_submit(pool, work, item)] = item
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    result = lost(item, "a worker process was killed; the jobs that were left did not run")
                queue.ended(item, result)
                yield item, result
    finally:
        _terminate(pool)


def _submit(pool: ProcessPoolExecutor, work: Callable[[Item], Result], item: Item) -> Future[Result]:
    try:
        return pool.submit(work, item)
    except BrokenProcessPool as error:
        broken: Future[Result] = Future()
        broken.set_exception(error)
        return broken


def end_with_parent() -> None:
    """Let the kernel end this worker when the harness is gone, however it went (Linux; elsewhere it ends idle)."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _terminate(pool: ProcessPoolExecutor) -> None:
    """Stop the pool now: workers that still run a job are ended by their ids; their children end with them."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with contextlib.suppress(ProcessLookupError, AttributeError):
            process.terminate()
    for process in processes:
        process.join(5)
