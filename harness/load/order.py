"""What a load generator is told before it starts, and the line between it and the harness; it sends no load.

The line carries JSON objects: down ``order``, then ``go`` or ``stop``; up ``ready``, ``progress`` and ``done``. To a
worker of this machine it is a pair of connected sockets, one object a line. To one that came by itself
(``harness.load.fleet``) it goes through a Locust master, and ``hello``, ``rows`` and ``failed`` come up it too. Secrets
go that way alone: neither a file nor a process list ever shows one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import harness
from harness.contract import Contract, with_overlays
from harness.contract.loader import contract_from_json
from harness.load.shape import SHAPES, Asked, Load

FD = "HARNESS_LOAD_FD"
"""The environment's name of the line's file descriptor."""
PARENT = "HARNESS_LOAD_PARENT"
"""The environment's name of the process without which the generator ends."""


@dataclass(frozen=True, slots=True)
class Order:
    """Which share of which shape goes where. ``contract`` is what the shape is made from, before its own overlay.

    ``keys`` are secrets by account; ``rows`` is the file for what this worker's callers saw.
    """

    shape: str
    asked: Mapping[str, Any]
    contract: Mapping[str, Any]
    base_url: str
    keys: Mapping[str, tuple[str, str]]
    """Key id and secret by account."""
    rows: str
    """Empty: they go up the line."""
    index: int
    workers: int
    limit_s: float
    trace_sha: str = ""
    """Digest of the trace's file, where it is another machine's that is read."""
    starve_ms: int = 0
    """How much of every second the generator is kept from doing anything, on purpose."""

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON data, from which ``Order(**data)`` makes it again."""
        return asdict(self)

    def made(self) -> tuple[Load, Contract]:
        """Return the load, and the contract in force for it. Raises ValueError for a trace that is another file."""
        import harness.load.shapes  # noqa: F401 - registers them

        if self.trace_sha and digest_of(self.asked["trace"]) != self.trace_sha:
            raise ValueError(f"{self.asked['trace']} is another trace here: copy the harness's to this path")
        base = contract_from_json(self.contract)
        load = SHAPES[self.shape].build(base, Asked(**self.asked))
        return load, with_overlays(base, [load.world.overlay]) if load.world.overlay else base


def digest_of(path: str) -> str:
    """Return the sha256 of a file. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def this_build() -> str:
    """Return what tells this package from another: another one's workers may draw other calls than were planned."""
    digest = hashlib.sha256()
    package = Path(harness.__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return f"{version('llm-gateway-harness')} ({digest.hexdigest()[:12]})"


def this_clock() -> str:
    """Return what two processes have in common whose monotonic clocks compare; nothing where nobody can say.

    That is the kernel that runs them, and its namespace of clocks.
    """
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    try:
        return f"{kernel} {os.readlink('/proc/self/ns/time')}"
    except OSError:
        return kernel  # an older kernel, which has but one
