"""The usage log: one row per call, refused and failed ones too; it keeps rows and counts nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from harness.gateway.store import Journal, Record, Store


class UsageLog:
    """Rows in the order in which calls ended, kept in the store under the kind ``usage``."""

    def __init__(self, store: Store) -> None:
        self._journal = Journal(store, "usage")

    def add(self, row: Record) -> Awaitable[None]:
        """Add ``row`` (with its ``account``) and return what ends when it is committed. Raises StoreError."""
        return self._journal.append(row)

    def rows(self, account: str | None = None) -> Sequence[Record]:
        """Return the committed rows of ``account``, or of all."""
        rows = self._journal.committed()
        return rows if account is None else [row for row in rows if row["account"] == account]
