"""Broken cases gathered by their cause, a requirement's clause and the checker that told; it judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reports.record import Check, Record
from reports.text import slug


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of evidence and the check that it comes from."""

    check: Check
    data: Mapping[str, Any]

    @property
    def call(self) -> str:
        return str(self.data["call"])

    @property
    def attempts(self) -> Sequence[str]:
        found: Sequence[str] = self.data.get("attempts") or ()
        return found

    @property
    def at_us(self) -> int | None:
        at: int | None = self.data.get("at_us")
        return at


@dataclass(slots=True)
class Cause:
    """Everything that one checker found broken in one clause, over all scenarios and seeds."""

    requirement: str
    clause: str
    checker: str
    entry: Mapping[str, Any]
    failed: int = 0
    cases: int = 0
    checks: list[Check] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """The cause's permanent id within a report."""
        return slug(f"{self.requirement}-{self.clause}-{self.checker}")

    @property
    def clause_text(self) -> str:
        return str(self.entry.get("clauses", {}).get(self.clause, {}).get("text", ""))

    @property
    def where(self) -> dict[str, list[int]]:
        """The seeds by scenario under which it broke."""
        found: dict[str, list[int]] = {}
        for check in self.checks:
            found.setdefault(check.scenario, []).append(check.seed)
        return found

    @property
    def replay(self) -> str:
        return self.checks[0].replay


def causes(record: Record) -> list[Cause]:
    """Return the causes of everything broken, those with the most broken cases first."""
    found: dict[tuple[str, str, str], Cause] = {}
    for check in record.checks:
        for name, clause in check.clauses.items():
            if clause["outcome"] != "fail":
                continue
            key = (check.requirement, name, check.checker)
            cause = found.setdefault(key, Cause(*key, record.requirements.get(check.requirement, {})))
            cause.failed += clause.get("failed", 0)
            cause.cases += clause.get("failed", 0) + clause.get("passed", 0)
            cause.checks.append(check)
            cause.pieces += (Piece(check, piece) for piece in check.because("fail") if piece["clause"] == name)
    return sorted(found.values(), key=lambda cause: -cause.failed)
