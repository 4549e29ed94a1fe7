"""Where records are kept for good: the promise that every store keeps, and the simulated one; no record is read here.

A store is an append-only log. The change of a book and its ``append`` happen with no await in between, so the order
of appends is the order of changes; appends commit in that order, and what was committed outlives a crash.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol

import orjson

Record = Mapping[str, Any]


class StoreError(Exception):
    """A store that cannot be opened, or can keep nothing (more); the message says what and why."""


class Store(Protocol):
    """An append-only log of records (plain JSON data) of several kinds: entry, waiver, usage, key, keyed, answer."""

    def append(self, kind: str, record: Record) -> asyncio.Future[None]:
        """Start to write ``record``, which never changes after, and return what ends when it is committed.

        Nobody has to await it. Raises StoreError if the store takes nothing: then nothing was written. The future
        raises StoreError if the commit failed; from then on the store takes nothing more, so that no record can be
        missing among later ones.
        """
        ...

    def load(self, kind: str | None = None) -> Sequence[tuple[str, Record]]:
        """Return the committed records in order, of one kind or of all. Raises StoreError for unreadable ones."""
        ...

    async def close(self) -> None:
        """Commit what was appended, and take nothing more."""
        ...


class Commit:
    """An append under way; awaiting it ends with the commit, and a waiter that is cancelled leaves it alone."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.shield(self._future).__await__()


class Journal:
    """The records of one kind: those that the store had, and those appended since; readers see committed ones only."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store = store
        self._kind = kind
        self._records = [record for _, record in store.load(kind)]
        self._pending: deque[asyncio.Future[None]] = deque()

    def append(self, record: Record) -> Commit:
        """Append ``record`` to the store. Raises StoreError, in which case the journal is as it was."""
        future = self._store.append(self._kind, record)
        self._records.append(record)
        self._pending.append(future)
        self._drop_committed()
        return Commit(future)

    def record(self, index: int) -> Record | None:
        """Return the record that was appended as the ``index``-th (from 0), committed or not; None if there is none."""
        return self._records[index] if 0 <= index < len(self._records) else None

    def committed(self) -> Sequence[Record]:
        """Return the records that would outlive a crash at this instant."""
        self._drop_committed()
        return self._records[: len(self._records) - len(self._pending)]

    def _drop_committed(self) -> None:
        pending = self._pending
        while pending and pending[0].done() and pending[0].exception() is None:
            pending.popleft()


class MemoryStore:
    """The simulated store: commits after a keyed virtual delay, and can be told to refuse, to fail and to crash.

    ``commit_s`` gives the seconds that a commit takes which begins with the n-th append (from 1). As in a group
    commit, what is appended while a commit is under way is committed together by the next one.
    """

    def __init__(self, commit_s: Callable[[int], float]) -> None:
        self._commit_s = commit_s
        self._committed: list[tuple[str, Record]] = []
        self._records: list[tuple[str, Record]] = []
        self._futures: list[asyncio.Future[None]] = []
        self._group = 0
        """How many of the appended records, from the first, the commit under way will commit."""
        self._timer: asyncio.TimerHandle | None = None
        self._problem = ""
        self._crashed = False
        self._refusals = 0
        self._fails = False
        self._crash_at = 0
        self._crash_commits = False
        self._on_crash: Callable[[], None] | None = None

    def append(self, kind: str, record: Record) -> asyncio.Future[None]:
        """Take ``record``, to be committed after those before it. After a crash it is lost, its future never ends."""
        if self._refusals:
            self._refusals -= 1
            raise StoreError("the simulated store refused the record")
        if self._problem:
            raise StoreError(self._problem)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._crashed:
            self._records.append((kind, record))
            self._futures.append(future)
            if self._timer is None:
                self._begin()
        return future

    def load(self, kind: str | None = None) -> Sequence[tuple[str, Record]]:
        """Return the committed records as a file would give them back: as fresh JSON data.

        After a crash this is the first act of the gateway's next life: from then on the store takes records again.
        """
        self._crashed = False
        wanted = [(name, record) for name, record in self._committed if kind is None or name == kind]
        return [(name, orjson.loads(orjson.dumps(record))) for name, record in wanted]

    async def close(self) -> None:
        """Wait for the commits under way, then take nothing more; a crashed store has nothing to wait for."""
        while self._futures:
            await asyncio.wait(self._futures)
        self._problem = self._problem or "the store is closed"

    def fail(self, n: int) -> None:
        """Refuse the next ``n`` appends at once; those after them are taken again."""
        self._refusals = n

    def fail_commit(self) -> None:
        """Let the next commit fail: it and all after it raise StoreError, as on a disk that is full."""
        self._fails = True

    def crash(self) -> None:
        """Crash now: what was not committed is lost, what comes until the next ``load`` too, and nobody is told."""
        self._crashed = True
        self._records.clear()
        self._futures.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def crash_inside(self, n: int, on_crash: Callable[[], None], *, committed: bool = False) -> None:
        """Crash in the middle of the commit of the ``n``-th append from now (from 1), then call ``on_crash``.

        The whole group is lost; or, if ``committed``, it is kept, but nobody was told before the crash.
        """
        self._crash_at = len(self._committed) + len(self._records) + n
        self._crash_commits = committed
        self._on_crash = on_crash

    def crash_no_more(self) -> None:
        """Call off a crash that has not come."""
        self._on_crash = None

    def _begin(self) -> None:
        self._group = len(self._records)
        delay_s = self._commit_s(len(self._committed) + 1)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._commit)

    def _commit(self) -> None:
        self._timer = None
        crashes = self._on_crash is not None and len(self._committed) + self._group >= self._crash_at
        if self._fails:
            self._break("the simulated store's commit failed")
            return
        if not crashes or self._crash_commits:
            self._committed += self._records[: self._group]
        if crashes:
            self.crash()
            on_crash, self._on_crash = self._on_crash, None
            assert on_crash is not None
            on_crash()
            return
        del self._records[: self._group]
        done, self._futures = self._futures[: self._group], self._futures[self._group :]
        for future in done:
            if not future.done():
                future.set_result(None)
        if self._records:
            self._begin()

    def _break(self, problem: str) -> None:
        self._problem = problem
        futures, self._futures = self._futures, []
        self._records.clear()
        for future in futures:
            settle_failed(future, problem)


def settle_failed(future: asyncio.Future[None], problem: str) -> None:
    """Let whoever awaits ``future`` get StoreError; if nobody does, it is no error that nobody looked."""
    if not future.done():
        future.set_exception(StoreError(problem))
        future.exception()
