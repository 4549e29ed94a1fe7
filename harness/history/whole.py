"""A run, or a chapter of one, in memory, indexed by call; it may judge nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

from harness.history.spans import AttemptSpan, CallSpan, FaultSpan, LedgerEntry, Note, Plan, PlannedCall, UsageRow

UNBOUNDED_US = 1 << 50
"""The skew of clocks that do not compare: longer than any run."""


@dataclass(frozen=True)
class History:
    """A run in memory, indexed.

    ``skew_us`` widens comparisons across clocks: 0 in sim, 2,000 on sockets, ``UNBOUNDED_US`` of clocks that do not
    compare. A long run comes in chapters, each a history of what was planned and done between two instants of rest.
    """

    plan: Plan
    calls: tuple[CallSpan, ...] = ()
    attempts: tuple[AttemptSpan, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    usage: tuple[UsageRow, ...] = ()
    faults: tuple[FaultSpan, ...] = ()
    notes: tuple[Note, ...] = ()
    bodies: Mapping[str, bytes] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    """What checkers kept (``after``) of the run's chapter before this one, by name; nothing of a whole run."""

    @property
    def skew_us(self) -> int:
        return self.plan.skew_us

    @property
    def clocks_compare(self) -> bool:
        """Whether anything can be told from the order of what two clocks say."""
        return self.skew_us < UNBOUNDED_US

    @cached_property
    def planned(self) -> Mapping[str, PlannedCall]:
        """Planned calls by id."""
        return {call.id: call for call in self.plan.calls}

    @cached_property
    def call(self) -> Mapping[str, CallSpan]:
        """Call spans by id."""
        return {call.id: call for call in self.calls}

    @cached_property
    def _attempts(self) -> Mapping[str, tuple[AttemptSpan, ...]]:
        return _grouped(sorted(self.attempts, key=attrgetter("start", "ordinal")))

    def attempts_of(self, call: str) -> tuple[AttemptSpan, ...]:
        """Return the attempts that carried ``call``'s marker, by arrival."""
        return self._attempts.get(call, ())

    @cached_property
    def _ledger(self) -> Mapping[str, tuple[LedgerEntry, ...]]:
        return _grouped(self.ledger)

    def entries_of(self, call: str) -> tuple[LedgerEntry, ...]:
        """Return the ledger entries of ``call`` in the ledger's order."""
        return self._ledger.get(call, ())

    @cached_property
    def _kinds(self) -> Mapping[str, Sequence[LedgerEntry]]:
        kinds: dict[str, list[LedgerEntry]] = {}
        for entry in self.ledger:
            kinds.setdefault(entry.kind, []).append(entry)
        return kinds

    def entries(self, kind: str) -> Sequence[LedgerEntry]:
        """Return the ledger entries of ``kind`` in the ledger's order."""
        return self._kinds.get(kind, ())

    @cached_property
    def _usage(self) -> Mapping[str, tuple[UsageRow, ...]]:
        return _grouped(self.usage)

    def rows_of(self, call: str) -> tuple[UsageRow, ...]:
        """Return the usage-log rows of ``call``."""
        return self._usage.get(call, ())

    @cached_property
    def memo(self) -> dict[str, Any]:
        """What checkers derived from this history, by name, so that it is derived once."""
        return {}

    @cached_property
    def after(self) -> dict[str, Any]:
        """What checkers keep for the run's next chapter, by name: its ``before``."""
        return {}

    @property
    def continues(self) -> bool:
        """Whether this is a chapter and another one follows."""
        return any(note.kind == "chapter" for note in self.notes)

    def has_tap(self, tap: str) -> bool:
        """Say whether the run could see ``tap`` (books, journal, bodies, log)."""
        return tap in self.plan.taps


def _grouped(spans: Iterable[Any]) -> dict[str, tuple[Any, ...]]:
    groups: dict[str, list[Any]] = {}
    for span in spans:
        groups.setdefault(span.call, []).append(span)
    return {call: tuple(group) for call, group in groups.items()}
