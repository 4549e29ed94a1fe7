"""Locust in processes of its own, as the harness holds them: started, told, heard, and gone on every way out."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from harness.load import locustfile_path
from harness.load.order import FD, PARENT, Order
from harness.target import TargetError

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 5.0
SILENCE_LIMIT_S = 60.0
"""A generator tells twice a second how far it is: one that says nothing for so long does nothing any more."""
LAST_WORDS_S = 1.0
"""How long what a generator said before its end may take to be read."""
LONGEST_LINE = 1 << 24


@dataclass(slots=True)
class Worker:
    """One generator: its process, the line to it, and the last that it said."""

    index: int
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    log: Path
    told: Mapping[str, Any] = field(default_factory=dict)
    done: bool = False
    lost_us: int | None = None
    """When it was found to have ended before it was done."""

    def tell(self, kind: str, **value: Any) -> None:
        """Send it an object; one that is gone hears nothing."""
        with suppress(OSError):
            self.writer.write(orjson.dumps({"kind": kind, **value}, option=orjson.OPT_APPEND_NEWLINE))

    async def hear(self) -> str:
        """Take the next thing that it says and return its kind, ``""`` once it is gone.

        What was cut short by its end, and what is no object of the line's, is its end too.
        """
        try:
            said = orjson.loads(await self.reader.readline())
            kind = str(said.pop("kind"))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return ""
        if kind in ("progress", "done"):
            self.told = said
        return kind

    def last_words(self) -> str:
        """Return the end of what its Locust printed, without the tables that it ends with."""
        with suppress(OSError):
            said, _, _ = self.log.read_text(errors="replace").partition("\nType  ")
            return "\n".join(said.splitlines()[-8:])
        return ""


class Workers:
    """All generators of a load."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.all = tuple(workers)

    @property
    def lost(self) -> int:
        """How many ended before they were done."""
        return sum(worker.lost_us is not None for worker in self.all)

    def progress(self) -> dict[str, Any]:
        """Return what all of them said last, summed up."""
        told = [worker.told for worker in self.all if worker.told]
        outcomes: dict[str, int] = {}
        for one in told:
            for name, count in one["outcomes"].items():
                outcomes[name] = outcomes.get(name, 0) + count
        return {
            "sent": sum(one["sent"] for one in told),
            "ended": sum(one["ended"] for one in told),
            "outcomes": outcomes,
            "late_us": max((one["late_us"] for one in told), default=0),
            "cpu_s": sum(one["cpu_s"] for one in told),
            "starved": sum(one["starved"] for one in told),
            "lost": self.lost,
            "pids": [worker.process.pid for worker in self.all],
        }

    def go(self, zero_us: int) -> None:
        """Let them start: the load's zero is that instant of the monotonic clock."""
        for worker in self.all:
            worker.tell("go", zero_us=zero_us)

    def stop(self) -> None:
        """Let them send no more, and end soon."""
        for worker in self.all:
            worker.tell("stop")

    async def ended(self, now_us: Callable[[], int]) -> None:
        """Return when each of them is done or lost; if cancelled, those that are not done are given up as lost."""
        try:
            await asyncio.gather(*(_until_done(worker, now_us) for worker in self.all))
        finally:
            for worker in self.all:
                if not worker.done:
                    worker.lost_us = now_us() if worker.lost_us is None else worker.lost_us


async def _until_done(worker: Worker, now_us: Callable[[], int]) -> None:
    """Return when it is done or lost: its line or its process ended, or it was silent for too long."""
    listening = asyncio.create_task(_listen(worker))
    gone = asyncio.create_task(worker.process.wait())
    try:
        await asyncio.wait({listening, gone}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({listening}, timeout=LAST_WORDS_S)
    finally:
        listening.cancel()
        gone.cancel()
    if not worker.done:
        worker.lost_us = now_us()


async def _listen(worker: Worker) -> None:
    """Hear it until it is done, gone or silent."""
    with suppress(TimeoutError):
        while kind := await asyncio.wait_for(worker.hear(), SILENCE_LIMIT_S):
            if kind == "done":
                worker.done = True
                return


@asynccontextmanager
async def generators(orders: Sequence[Order], logs: Path, locust: Sequence[str] = ()) -> AsyncIterator[Workers]:
    """Start a generator per order and yield them once all are ready; kill what is left of them on the way out.

    ``logs`` is the folder of what they print, and where they run: it and the paths in orders are absolute. ``locust``
    are more options for the first one's Locust: a page has one port. Raises TargetError if one does not become ready.
    """
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(_started(order, logs, () if number else locust))
            for number, order in enumerate(orders)
        ]
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                kinds = await asyncio.gather(*(worker.hear() for worker in workers))
        except TimeoutError:
            raise _unready(workers[0], f"did not become ready in {READY_LIMIT_S:g} s") from None
        for worker, kind in zip(workers, kinds, strict=True):
            if kind != "ready":
                raise _unready(worker, "did not start")
        yield Workers(workers)


def _unready(worker: Worker, why: str) -> TargetError:
    return TargetError(f"the load generator {why}", cause=worker.last_words() or "it said nothing")


@asynccontextmanager
async def _started(order: Order, logs: Path, locust: Sequence[str]) -> AsyncIterator[Worker]:
    ours, theirs = socket.socketpair()
    log = logs / f"locust-{order.index}.txt"
    with theirs, log.open("wb") as said:
        reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "locust", "-f", str(locustfile_path()), "-u", "1", "-r", "1"),
            *("--only-summary", "--exit-code-on-error", "0", "--stop-timeout", "0", "--loglevel", "WARNING"),
            *(locust or ("--headless",)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # a Ctrl-C goes to the harness, which then stops its children
            pass_fds=(theirs.fileno(),),
            cwd=logs,
            env={**_environment(), "HOME": str(logs), FD: str(theirs.fileno()), PARENT: str(os.getpid())},
        )
    worker = Worker(order.index, process, reader, writer, log)
    try:
        writer.write(orjson.dumps(order.as_data(), option=orjson.OPT_APPEND_NEWLINE))
        yield worker
    finally:
        await asyncio.shield(_end(worker))


def _environment() -> dict[str, str]:
    """Return the environment without what would change Locust's settings behind the harness's back.

    It also reads files in its home and in its working directory, and so has the load's folder for both: what it imports
    must be named whole.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}


async def _end(worker: Worker) -> None:
    """End the process: one that is done ends by itself, and any other is killed."""
    worker.writer.close()
    process = worker.process
    if process.returncode is None and worker.done:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
