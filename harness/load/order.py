"""What a load generator is told before it starts, and the line between it and the harness; it sends no load.

The line is a pair of connected sockets and carries JSON, one object a line: down an order, then ``go`` or ``stop``; up
``ready``, ``progress`` and ``done``. Secrets go that way alone: neither a file nor a process list ever shows one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

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
    index: int
    workers: int
    limit_s: float

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON data, from which ``Order(**data)`` makes it again."""
        return asdict(self)

    def made(self) -> tuple[Load, Contract]:
        """Return the load, and the contract in force for it."""
        import harness.load.shapes  # noqa: F401 - registers them

        base = contract_from_json(self.contract)
        load = SHAPES[self.shape].build(base, Asked(**self.asked))
        return load, with_overlays(base, [load.world.overlay]) if load.world.overlay else base
