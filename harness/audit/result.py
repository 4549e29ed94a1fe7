"""What an audit came to, as plain data: ``audit.json``, from which every report is rendered."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = "harness.audit/1"

EXIT_CLEAN, EXIT_DISCREPANCIES, EXIT_INCONCLUSIVE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class ClassTotal:
    """One class's discrepancies: how many, and by how much customers and provider were harmed, in units, apart."""

    name: str
    meaning: str
    count: int
    over: int
    """Units that customers lost."""
    under: int
    """Units that the provider lost."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The record of an audit; amounts are units of ten to the power of minus ``digits`` dollars."""

    digits: int
    credit: int
    books: dict[str, int]
    """Rows of each book that was given."""
    calls: int
    clean: int
    classes: tuple[ClassTotal, ...]
    models: tuple[dict[str, Any], ...]
    accounts: tuple[dict[str, Any], ...]
    unreadable: int
    unmatched: dict[str, int]
    """Calls that a book has and another has not, by 'book without book'."""
    rounding: dict[str, Any]
    doubt: str = ""
    """Why none of the discrepancies proves anything; empty if nothing speaks against them."""
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    schema: str = field(default=SCHEMA)

    @property
    def discrepancies(self) -> int:
        return sum(one.count for one in self.classes)

    @property
    def unexplained(self) -> int:
        """How many accounts do not roll forward."""
        return sum(1 for account in self.accounts if account["unexplained"])

    @property
    def outcome(self) -> str:
        """fail for any discrepancy, inconclusive for rows that could not be read or nothing to match, else pass.

        What lies at the edge of a period is for the next one to settle, and fails nothing.
        """
        broken = any(one.count for one in self.classes if one.name != "CUTOFF")
        if (broken or self.unexplained) and not self.doubt:
            return "fail"
        if self.unreadable or self.doubt or not self.calls:
            return "inconclusive"
        return "pass"

    @property
    def exit_code(self) -> int:
        return {"pass": EXIT_CLEAN, "fail": EXIT_DISCREPANCIES, "inconclusive": EXIT_INCONCLUSIVE}[self.outcome]

    def as_json(self) -> dict[str, Any]:
        """Return the record as plain JSON data."""
        return {**asdict(self), "outcome": self.outcome, "exit": self.exit_code, "discrepancies": self.discrepancies}
