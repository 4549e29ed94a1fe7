"""What can go wrong in a simulation itself; an error of the simulated code is never one of these."""

from __future__ import annotations

from collections.abc import Iterable


class SimulationError(RuntimeError):
    """The run cannot be trusted or cannot go on. ``hosts`` are those whose code is to blame, where that is known."""

    def __init__(self, message: str, hosts: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.hosts = frozenset(hosts)


class DeadlockError(SimulationError):
    """Nothing is ready, no timer is set, and the run is not done: a hang, proven. Names every pending task."""


class LivelockError(SimulationError):
    """The loop turns without end in one instant of virtual time. Names what is ready."""


class OverrunError(SimulationError):
    """Virtual time would pass the limit that the run was given. Names every pending task."""


class BlockingCallError(SimulationError):
    """Simulated code called something that blocks or leaves the loop's thread. Names the task and the line."""


class StartupError(SimulationError):
    """An application refused to start or to shut down (ASGI lifespan)."""
