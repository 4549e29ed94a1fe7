"""Workers that came by themselves, from this machine or others, to a Locust master here: seated, told, heard and lost.

A worker that the harness did not start may be of another build, one too many or too late: it is refused, and told why.
One that is gone before the load began leaves its seat to another; afterwards it is lost. What its callers saw comes
twice a second, and is kept.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.load import fleetfile_path
from harness.load.order import Order, this_build, this_clock
from harness.load.process import SILENCE_LIMIT_S, STOP_LIMIT_S, LocustProcess, start_locust
from harness.load.workers import Workers
from harness.target import TargetError

LOG = "locust-master.txt"
EVERYWHERE = ("*", "0.0.0.0", "::")  # noqa: S104 - what a person may ask for
"""Addresses under which nobody is found."""


@dataclass(frozen=True, slots=True)
class FleetAsked:
    """How many workers are expected, where, and for how long. ``told`` is told what happens until they are there.

    ``apart``: their clocks are taken for ones that do not compare, also where they do.
    """

    expected: int
    host: str
    port: int
    wait_s: float
    apart: bool
    told: Callable[[str], None]


@dataclass(slots=True)
class Member:
    """One worker of the fleet. It is Locust's ``node``, and may send calls as long as nobody can tell it otherwise."""

    index: int
    node: str
    host: str
    clock: int
    rows: Path
    master: LocustProcess
    ready: bool = False
    told: Mapping[str, Any] = field(default_factory=dict)
    done: bool = False
    lost_us: int | None = None
    may_go_on: bool = True
    over: asyncio.Event = field(default_factory=asyncio.Event)
    heard_s: float = 0.0

    @property
    def pid(self) -> int | None:
        """None: it is no process that the harness started."""
        return None

    def tell(self, kind: str, **value: Any) -> None:
        """Send it a message."""
        self.master.tell(kind, node=self.node, **value)

    def go(self, zero_us: int) -> None:
        """Let it start: at that instant of this machine's clock, or as long from when it hears this, by its own."""
        if self.clock:
            self.tell("go", in_us=zero_us - round(asyncio.get_running_loop().time() * 1e6))
        else:
            self.tell("go", zero_us=zero_us)

    def stop(self) -> None:
        """Let it send no more, and end soon."""
        self.tell("stop")

    def hear(self, kind: str, said: Mapping[str, Any]) -> None:
        """Take what it says. Raises OSError if rows cannot be kept."""
        self.heard_s = asyncio.get_running_loop().time()
        if kind == "rows":
            with self.rows.open("ab") as file:
                file.write(said["rows"].encode())
        elif kind in ("progress", "done"):
            self.told = said
        self.ready = self.ready or kind == "ready"
        self.done = self.done or kind == "done"
        if kind in ("done", "failed", "gone"):
            self.over.set()

    async def until_done(self, now_us: Callable[[], int]) -> None:
        """Return when it is done or lost: it failed, Locust misses it, or it was silent for too long."""
        loop = asyncio.get_running_loop()
        self.heard_s = loop.time()
        while not self.over.is_set() and loop.time() < self.heard_s + SILENCE_LIMIT_S:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), self.heard_s + SILENCE_LIMIT_S - loop.time())
        if not self.done:
            self.lost_us = now_us()


class Fleet:
    """The workers that have come, each with an order of its own."""

    def __init__(self, asked: FleetAsked, orders: Sequence[Order], rows: Sequence[Path], master: LocustProcess) -> None:
        self._asked = asked
        self._orders = orders
        self._rows = rows
        self._master = master
        self._build, self._clock = this_build(), this_clock()
        self._members: dict[str, Member] = {}
        self._full = asyncio.Event()
        self._begun = False

    async def listen(self) -> None:
        """Take what the master hands on, until it is gone, or rows cannot be kept: then all workers are lost."""
        try:
            while (told := await self._master.said())[0]:
                self._take(*told)
        except OSError as error:
            self._asked.told(f"what workers saw cannot be kept: {error.strerror or error}")
        finally:
            for member in self._members.values():
                member.hear("gone", {})

    async def gathered(self, listening: asyncio.Task[None]) -> Workers:
        """Return the workers once all have come and are ready. Raises TargetError if they do not, in their time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._asked.wait_s):
                while not self._full.is_set() and not listening.done():  # one may be gone as soon as the last one came
                    waiting = asyncio.create_task(self._full.wait())
                    try:
                        await asyncio.wait({waiting, listening}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        waiting.cancel()
        if listening.done():
            raise TargetError("the Locust master ended", cause=self._master.last_words() or "it said nothing")
        if not self._full.is_set():
            have, wanted = sum(member.ready for member in self._members.values()), self._asked.expected
            raise TargetError(
                f"{have} of {wanted} load workers came in {self._asked.wait_s:g} s",
                help="on each machine: harness load-worker HOST:PORT; --expect-workers-max-wait gives them longer",
            )
        self._begun = True
        return Workers(sorted(self._members.values(), key=lambda member: member.index))

    def _take(self, kind: str, said: dict[str, Any]) -> None:
        if kind == "listening":
            host = socket.gethostname() if self._asked.host in EVERYWHERE else self._asked.host
            self._asked.told(
                f"waiting for {self._asked.expected} workers at {self._asked.host}:{said['port']}; "
                f"for each: harness load-worker {host}:{said['port']}"
            )
            return
        node = said.pop("node")
        member = self._members.get(node)
        if member is None:
            if kind == "hello":
                self._welcome(node, said)
            return
        was_over = member.over.is_set()
        member.hear(kind, said)
        if kind == "ready":
            ready = sum(one.ready for one in self._members.values())
            self._asked.told(f"{ready} of {self._asked.expected} workers are ready; this one is of {member.host}")
        if kind in ("failed", "gone") and not was_over:
            self._asked.told(f"worker {member.index} of {member.host} {said.get('why', 'is gone')}")
            if self._begun:
                member.stop()  # should it hear again
            else:
                del self._members[node]
        if all(one.ready for one in self._members.values()) and len(self._members) == self._asked.expected:
            self._full.set()
        else:
            self._full.clear()

    def _welcome(self, node: str, said: Mapping[str, Any]) -> None:
        """Give the newcomer a seat and its order, or say why not."""
        why = ""
        if self._begun:
            why = "it came too late: the load has begun without it"
        elif len(self._members) == self._asked.expected:
            why = f"it is one too many: {self._asked.expected} workers were expected, and have come"
        elif said["build"] != self._build:
            why = f"it is of another build: {said['build']}, and the harness is {self._build}"
        if why:
            self._master.tell("refused", node=node, why=f"refused: {why}")
            self._asked.told(f"a worker of {said['host']} was refused: {why}")
            return
        taken = {member.index for member in self._members.values()}
        index = next(index for index in range(self._asked.expected) if index not in taken)
        compares = said["clock"] and said["clock"] == self._clock and not self._asked.apart
        clock = 0 if compares else index + 1
        self._members[node] = member = Member(index, node, said["host"], clock, self._rows[index], self._master)
        member.tell("order", order=self._orders[index].as_data())


@asynccontextmanager
async def fleet(
    asked: FleetAsked, orders: Sequence[Order], rows: Sequence[Path], logs: Path, locust: Sequence[str] = ()
) -> AsyncIterator[Workers]:
    """Start a Locust master and yield the workers that came to it, once all have; all of them end on the way out.

    ``logs`` is the folder where the master runs. ``rows`` is a file a worker. Raises TargetError if they do not come.
    """
    options = ("-f", str(fleetfile_path()), "--master")
    where = ("--master-bind-host", asked.host, "--master-bind-port", str(asked.port))
    master = await start_locust((*options, *where, *(locust or ("--headless",))), logs, LOG)
    listening: asyncio.Task[None] | None = None
    try:
        made = Fleet(asked, orders, rows, master)
        listening = asyncio.create_task(made.listen())
        yield await made.gathered(listening)
    finally:
        if listening is not None:
            listening.cancel()
        await asyncio.shield(master.end(STOP_LIMIT_S))  # it lets the workers end
