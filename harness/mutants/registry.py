"""How a mutant becomes known: a function from the gateway's components to components with one of them wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.contract import load_requirements
from harness.contract.requirements import MEMORY
from harness.gateway.components import Components

Apply = Callable[[Components], Components]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A way to be wrong: its name, the requirement that it breaks, the lie in one sentence.

    ``under`` is the shape of load that it takes to see it, where no scenario can.
    """

    name: str
    breaks: str
    lie: str
    apply: Apply
    under: str = ""


MUTANTS: dict[str, Mutant] = {}
"""All mutants by name."""


def mutant(*, breaks: str, under: str = "") -> Callable[[Apply], Mutant]:
    """Register ``(components) -> components`` as a mutant that breaks the requirement ``breaks``.

    ``under`` names the shape of load that alone shows it; one such may break ``MEMORY``.
    """

    def register(apply: Apply) -> Mutant:
        if breaks not in load_requirements() and not (under and breaks == MEMORY.id):
            raise ValueError(f"mutant {apply.__name__}: no requirement {breaks!r} in the catalogue")
        if apply.__name__ in MUTANTS:
            raise ValueError(f"two mutants are called {apply.__name__}")
        doc = (apply.__doc__ or "").strip()
        MUTANTS[apply.__name__] = Mutant(apply.__name__, breaks, doc.splitlines()[0] if doc else "", apply, under)
        return MUTANTS[apply.__name__]

    return register
