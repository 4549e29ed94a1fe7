"""The usage log: one row per call, refused and failed ones too; it keeps rows and counts nothing."""

from __future__ import annotations

from harness.gateway.store import Commit, Pages, Record, Store


class UsageLog:
    """Rows in the order in which calls ended, kept in the store under the kind ``usage``, and nowhere else."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, row: Record) -> Commit:
        """Add ``row`` (with its ``account``) and return its commit. Raises StoreError."""
        return self._store.append("usage", row)

    def rows(self, after: int = 0, upto: int | None = None) -> Pages:
        """Yield the committed rows behind number ``after`` of the store's records, up to number ``upto``."""
        return self._store.read("usage", after, upto)
