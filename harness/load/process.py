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
from harness.load.workers import Workers
from harness.target import TargetError

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 5.0
SILENCE_LIMIT_S = 60.0
"""A generator tells twice a second how far it is: one that says nothing for so long does nothing any more."""
LAST_WORDS_S = 1.0
"""How long what a generator said before its end may take to be read."""
LONGEST_LINE = 1 << 24
COMMON = ("--only-summary", "--exit-code-on-error", "0", "--stop-timeout", "0", "--loglevel", "WARNING")
"""Options of every Locust that the harness starts."""


@dataclass(slots=True)
class LocustProcess:
    """A Locust on this machine: its process, the line to it, and the file of what it prints."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    log: Path

    def tell(self, kind: str, **value: Any) -> None:
        """Send it an object; one that is gone hears nothing."""
        with suppress(OSError):
            self.writer.write(orjson.dumps({"kind": kind, **value}, option=orjson.OPT_APPEND_NEWLINE))

    async def said(self) -> tuple[str, dict[str, Any]]:
        """Return the kind of the next thing that it says, and the rest of it; ``""`` once it is gone.

        What was cut short by its end, and what is no object of the line's, is its end too.
        """
        try:
            said = orjson.loads(await self.reader.readline())
            return str(said.pop("kind")), said
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return "", {}

    def last_words(self) -> str:
        """Return the end of what its Locust printed, without the tables that it ends with."""
        with suppress(OSError):
            said, _, _ = self.log.read_text(errors="replace").partition("\nType  ")
            return "\n".join(said.splitlines()[-8:])
        return ""

    async def end(self, patience_s: float) -> None:
        """Close the line; the process that has not ended by itself after so long is killed."""
        self.writer.close()
        if self.process.returncode is None and patience_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), patience_s)
        if self.process.returncode is None:
            self.kill()
            await self.process.wait()

    def kill(self) -> None:
        """End its process at once, if it has not ended."""
        with suppress(ProcessLookupError):
            self.process.kill()


@dataclass(slots=True)
class LocalWorker:
    """One generator of this machine, in a process that ends with the harness."""

    index: int
    locust: LocustProcess
    told: Mapping[str, Any] = field(default_factory=dict)
    done: bool = False
    lost_us: int | None = None
    clock: int = 0
    may_go_on: bool = False

    @property
    def pid(self) -> int | None:
        """Its process."""
        return self.locust.process.pid

    def go(self, zero_us: int) -> None:
        """Let it start: the load's zero is that instant of the monotonic clock."""
        self.locust.tell("go", zero_us=zero_us)

    def stop(self) -> None:
        """Let it send no more, and end soon."""
        self.locust.tell("stop")

    async def hear(self) -> str:
        """Take the next thing that it says and return its kind, ``""`` once it is gone."""
        kind, said = await self.locust.said()
        if kind in ("progress", "done"):
            self.told = said
        return kind

    async def until_done(self, now_us: Callable[[], int]) -> None:
        """Return when it is done or lost: its line or its process ended, or it was silent for too long."""
        listening = asyncio.create_task(self._listen())
        gone = asyncio.create_task(self.locust.process.wait())
        try:
            await asyncio.wait({listening, gone}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({listening}, timeout=LAST_WORDS_S)
        finally:
            listening.cancel()
            gone.cancel()
        if not self.done:
            self.lost_us = now_us()

    async def _listen(self) -> None:
        """Hear it until it is done or gone; one that is silent is killed."""
        try:
            while kind := await asyncio.wait_for(self.hear(), SILENCE_LIMIT_S):
                if kind == "done":
                    self.done = True
                    return
        except TimeoutError:
            self.locust.kill()  # else it could wake up, and send what the history does not have


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


def _unready(worker: LocalWorker, why: str) -> TargetError:
    return TargetError(f"the load generator {why}", cause=worker.locust.last_words() or "it said nothing")


@asynccontextmanager
async def _started(order: Order, logs: Path, locust: Sequence[str]) -> AsyncIterator[LocalWorker]:
    options = ("-f", str(locustfile_path()), "-u", "1", "-r", "1", *(locust or ("--headless",)))
    worker = LocalWorker(order.index, await start_locust(options, logs, f"locust-{order.index}.txt"))
    try:
        worker.locust.tell("order", order=order.as_data())
        yield worker
    finally:
        # One that is done ends by itself.
        await asyncio.shield(worker.locust.end(STOP_LIMIT_S if worker.done else 0))


async def start_locust(options: Sequence[str], folder: Path, log: str) -> LocustProcess:
    """Start a Locust that runs in ``folder`` and prints to the file ``log`` there; the caller ends it."""
    ours, theirs = socket.socketpair()
    with theirs, (folder / log).open("wb") as said:
        reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "locust", *options, *COMMON),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # a Ctrl-C goes to the harness, which then stops its children
            pass_fds=(theirs.fileno(),),
            cwd=folder,
            env={**environment(str(folder)), FD: str(theirs.fileno()), PARENT: str(os.getpid())},
        )
    return LocustProcess(process, reader, writer, folder / log)


def environment(home: str) -> dict[str, str]:
    """Return the environment without what would change Locust's settings behind the harness's back.

    It also reads files in its ``home`` and in its working directory, which are no person's for that reason: what it
    imports must be named whole.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "HOME": home}
