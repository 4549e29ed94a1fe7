"""What a branch is, how one becomes known, and how all are counted; it names none itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.checkers.wire import CHARGED_SURFACES, Seen, seen
from harness.contract import Contract
from harness.contract.requirements import matches
from harness.history import History

Count = Callable[[History, Contract], int]


@dataclass(frozen=True, slots=True)
class Branch:
    """A way that a gateway can take. ``clause`` is the catalogue's that it belongs to, ``told`` says what it is.

    ``tap`` is what a run must be able to see to tell; empty where the callers' view is enough.
    """

    name: str
    clause: str
    told: str
    tap: str
    count: Count

    def claimed(self, claims: Sequence[str]) -> bool:
        """Say whether a target with these claims has this branch at all."""
        requirement, _, clause = self.clause.partition(".")
        return matches(claims, requirement, clause)


BRANCHES: dict[str, Branch] = {}
"""The whole vocabulary by name, in the order in which the package imports its files."""


def branch(clause: str, tap: str = "journal") -> Callable[[Callable[[History, Contract], Iterable[object]]], Branch]:
    """Register a function that yields one thing for each time a history reached the branch named like it."""

    def register(found: Callable[[History, Contract], Iterable[object]]) -> Branch:
        def count(history: History, contract: Contract) -> int:
            return sum(1 for _ in found(history, contract))

        told = (found.__doc__ or "").strip().partition("\n")[0]
        BRANCHES[found.__name__] = Branch(found.__name__, clause, told, tap, count)
        return BRANCHES[found.__name__]

    return register


def branches_reached(history: History, contract: Contract) -> dict[str, int | None]:
    """Return how often the run reached each branch; None where this run has no tap to tell."""
    return {
        name: one.count(history, contract) if not one.tap or history.has_tap(one.tap) else None
        for name, one in BRANCHES.items()
    }


def charged(history: History, contract: Contract) -> list[Seen]:
    """Return the calls of charged surfaces, by when they were sent (made once per history)."""
    kept: list[Seen] | None = history.memo.get("branch_calls")
    if kept is None:
        found = (
            one for one in seen(history, contract) if one.route is not None and one.route.surface in CHARGED_SURFACES
        )
        kept = history.memo["branch_calls"] = sorted(found, key=lambda one: one.call.sent)
    return kept
