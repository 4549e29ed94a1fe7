"""The simulated network: hosts by name, each an ASGI application behind a listener; it starts, stops and kills them."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine, Iterable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from harness.sim.asgi import ASGIApp
from harness.sim.cycle import Cycle
from harness.sim.errors import SimulationError
from harness.sim.lifespan import Lifespan
from harness.sim.link import Link
from harness.sim.loop import VirtualLoop
from harness.sim.process import Process

T = TypeVar("T")
ListenerState = Literal["open", "refusing", "tls_failing", "hanging"]
CRASHES_KEPT = 20
"""Crashes of handlers that are kept with their traceback; all are counted."""


@dataclass(frozen=True, slots=True)
class Crash:
    """An exception that an application let out of a request (uvicorn logs it and answers 500 or breaks the body).

    ``request`` is its method and path, ``at_us`` the loop's time; ``error`` is the exception's repr.
    """

    host: str
    request: str
    error: str
    traceback: str
    kind: str
    message: str
    at_us: int


class Host:
    """One life of one application under one or several names."""

    def __init__(self, network: Network, name: str, app: ASGIApp, link: Link) -> None:
        self.network = network
        self.name = name
        self.app = app
        self.link = link
        self.open = True
        """Whether connections that stand can be used."""
        self.process = Process(name)
        self.lifespan = Lifespan(app, name)

    def crashed(self, scope: dict[str, Any], error: BaseException) -> None:
        """Keep what a handler of this host let out."""
        at_us = round(asyncio.get_running_loop().time() * 1e6)
        self.network.crashed(self.name, f"{scope['method']} {scope['path']}", error, at_us)

    def forget(self, cycle: Cycle) -> None:
        """Forget a request that both sides are done with."""
        self.network.live.pop(cycle, None)


@dataclass(slots=True)
class Listener:
    """A name and what happens to those who connect to it."""

    host: Host
    state: ListenerState


class Network:
    """Hosts, their listeners and their links. ``seed`` keys all that is random on the links."""

    def __init__(self, seed: int = 0, link: Link | None = None) -> None:
        self.seed = seed
        self.link = link if link is not None else Link()
        self.listeners: dict[str, Listener] = {}
        self.live: dict[Cycle, None] = {}
        """The requests that one side is not done with, in order of sending."""
        self.crashes: list[Crash] = []
        self.crash_count = 0
        self.context = Context()
        """Where what is under way on the wires runs: in no process, so that it arrives though its sender is killed."""
        self._requests = 0
        self._connections = 0

    def number(self) -> int:
        """Return the next request's number."""
        self._requests += 1
        return self._requests

    def port(self) -> int:
        """Return the next connection's port at the client, from the range that Linux gives out."""
        self._connections += 1
        return 32_768 + self._connections % 28_232

    def crashed(self, host: str, where: str, error: BaseException, at_us: int) -> None:
        """Count an exception that code of ``host`` let out, and keep it if there are not too many."""
        self.crash_count += 1
        if len(self.crashes) < CRASHES_KEPT:
            text = "".join(traceback.format_exception(error))
            self.crashes.append(Crash(host, where, repr(error), text, type(error).__name__, str(error), at_us))

    def serve(
        self,
        host: str,
        app: ASGIApp,
        *,
        aliases: Iterable[str] = (),
        link: Link | None = None,
        state: ListenerState = "open",
    ) -> None:
        """Make ``app`` a new process that listens as ``host`` and ``aliases``; its lifespan begins with ``start``.

        Raises ValueError if a process that has not been stopped or killed listens under one of the names.
        """
        names = (host, *aliases)
        for name in names:
            taken = self.listeners.get(name)
            if taken is not None and taken.host.process.alive:
                raise ValueError(f"{name} is being served; stop or kill it first")
        made = Host(self, host, app, link if link is not None else self.link)
        for name in names:
            self.listeners[name] = Listener(made, state)

    def listen(self, name: str, state: ListenerState) -> None:
        """Set what those meet who connect to ``name`` from now on; connections that stand are left alone."""
        self._listener(name).state = state

    def host(self, name: str) -> Host:
        """Return what listens as ``name``. Raises KeyError with the names that there are."""
        return self._listener(name).host

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, T], *, task: str | None = None) -> asyncio.Task[T]:
        """Run ``coroutine`` as a task of the process ``name``; if that is killed, whoever awaits the task hangs."""
        context = self.host(name).process.context.copy()
        return asyncio.get_running_loop().create_task(coroutine, name=task, context=context)

    async def start(self, name: str) -> None:
        """Start the application (ASGI lifespan); one without a lifespan is just there. Raises StartupError."""
        lifespan = self.host(name).lifespan
        self.spawn(name, lifespan.main(), task=f"{name} lifespan")
        await lifespan.start()

    async def stop(self, name: str) -> None:
        """Stop as uvicorn does: refuse, let requests end, shut the application down, cancel what is left of it.

        Raises StartupError if the application says that it could not shut down.
        """
        host = self.host(name)
        self._refuse(host)
        serving = [cycle.task for cycle in self.live if cycle.host is host and cycle.task is not None]
        if serving:
            await asyncio.wait(serving)
        await host.lifespan.stop()
        loop = _virtual_loop()
        left = [task for task in loop.tasks() if task.process is host.process]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        loop.kill(host.process)

    def kill(self, name: str) -> None:
        """Kill the process (``kill -9``): it runs no further line, and its connections are reset at the other ends."""
        host = self.host(name)
        names = [other for other, listener in self.listeners.items() if listener.host is host]
        self._refuse(host)
        _virtual_loop().kill(host.process)
        for cycle in list(self.live):
            if cycle.host is host:
                cycle.reset()
                del self.live[cycle]
            elif cycle.source in names:
                cycle.answer.leave()

    def _refuse(self, host: Host) -> None:
        host.open = False
        for listener in self.listeners.values():
            if listener.host is host:
                listener.state = "refusing"

    def _listener(self, name: str) -> Listener:
        listener = self.listeners.get(name)
        if listener is None:
            raise KeyError(f"nobody is served as {name}; there are {sorted(self.listeners)}")
        return listener


def _virtual_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise SimulationError("hosts are stopped and killed in a virtual loop only")
    return loop
