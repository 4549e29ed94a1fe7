"""Simulation: an asyncio event loop in virtual time and a network of ASGI applications whose links behave like sockets.

``run(main())`` runs a coroutine in virtual time; inside, a ``Network`` serves applications and a ``SimTransport``
carries httpx requests to them. Equal seeds give equal runs.
"""

from harness.sim.asgi import ASGIApp
from harness.sim.errors import (
    BlockingCallError,
    DeadlockError,
    LivelockError,
    OverrunError,
    SimulationError,
    StartupError,
)
from harness.sim.link import Link
from harness.sim.loop import VirtualLoop, run
from harness.sim.network import Crash, Network
from harness.sim.process import current_host
from harness.sim.transport import SimTransport

__all__ = [
    "ASGIApp",
    "BlockingCallError",
    "Crash",
    "DeadlockError",
    "Link",
    "LivelockError",
    "Network",
    "OverrunError",
    "SimTransport",
    "SimulationError",
    "StartupError",
    "VirtualLoop",
    "current_host",
    "run",
]
