"""What a load shape is: a function from a contract and what was asked to calls that stream; it sends nothing.

The calls are drawn anew each time they are asked for, always the same: each worker draws them for itself and sends its
share, and the collector draws them once more for the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from harness.checker import Checker
from harness.contract import Contract
from harness.scenario import Call, World

LATENESS_BOUND_US = 5_000
"""How late the 99th of a hundred calls may be sent: a generator that is later has not made the load."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked of a shape. ``minutes`` 0 is the shape's own length; ``trace`` a file's path."""

    seed: int = 0
    minutes: float = 0
    arrivals: str = ""
    trace: str = ""

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON data, from which ``Asked(**data)`` makes it again."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Window:
    """One filling of a rate window that is to be proved: the calls whose tag has ``word``, all of ``account``.

    ``requests`` calls of ``tokens`` tokens in all must be let in; ``over`` says what the one after them goes beyond
    (``requests``, ``tokens``, ``images``), nothing if there is none. ``images``: how many they ask for, if it counts.
    """

    word: str
    account: str
    requests: int
    tokens: int
    over: str = ""
    images: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """A shape as it was asked for: a world, calls in the order of their times, and what is to be proved on them.

    ``calls`` takes the contract in force. ``bound_us`` None: the load is more than the machine may be able to make, and
    no verdict rests on its lateness.
    """

    world: World
    calls: Callable[[Contract], Iterator[Call]]
    count: int
    length_ms: float
    checks: tuple[Checker, ...]
    windows: tuple[Window, ...] = ()
    steps: tuple[Mapping[str, float], ...] = ()
    """Stretches of one rate each, ``{from_ms, to_ms, rate}``, where the shape has such."""
    bound_us: int | None = LATENESS_BOUND_US
    flat: bool = False
    """Whether the shape promises that the gateway's memory does not grow with the calls."""

    def share(self, contract: Contract, index: int, workers: int) -> Iterator[Call]:
        """Yield the calls of one of ``workers``: every so many-th by their order."""
        return islice(self.calls(contract), index, None, workers)


Build = Callable[[Contract, Asked], Load]


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape's name, its promise and its function."""

    name: str
    promise: str
    build: Build


SHAPES: dict[str, Shape] = {}
"""All shapes by name, filled by ``@shape`` as ``harness.load.shapes`` is imported."""


def shape(build: Build) -> Build:
    """Register a function ``(contract, asked) -> Load`` under its name, with dashes. ValueError for a name used twice.

    The function may raise ValueError for what cannot be asked of it.
    """
    name = build.__name__.replace("_", "-")
    if name in SHAPES:
        raise ValueError(f"two shapes are called {name}")
    SHAPES[name] = Shape(name, (build.__doc__ or "").strip().partition("\n")[0], build)
    return build


def takes_no(asked: Asked, *names: str) -> None:
    """Raise ValueError if any of these was asked of a shape that has no use for it."""
    for name in names:
        if getattr(asked, name):
            raise ValueError(f"this shape takes no --{name}")


def numbered(calls: Iterator[Call]) -> Iterator[Call]:
    """Yield ``calls`` with ids by their order: s1, s2, and so on. They must have none, and are changed in place."""
    for number, call in enumerate(calls, 1):
        object.__setattr__(call, "id", f"s{number}")  # nobody else has seen them yet, and a copy costs 40 fields
        yield call
