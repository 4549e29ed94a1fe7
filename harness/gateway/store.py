"""Where records are kept for good: the promise that every store keeps, and the simulated one; no record is read here.

A store is an append-only log. The change of a book and its ``append`` happen with no await in between, so the order
of appends is the order of changes; appends commit in that order, and what was committed outlives a crash. It is read
page by page, so that nobody has to hold all of it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import Any, Protocol

import orjson

PAGE = 500
"""Of how many records a page is made, those included that nobody asked for."""
SPOOL_BYTES = 16 << 20
"""How much of a simulated store stays in memory; what is more goes into a temporary file."""

Record = Mapping[str, Any]
Pages = AsyncGenerator[Sequence[Record], None]
"""Records in order, some at a time; to be closed by whoever leaves it before its end."""


class StoreError(Exception):
    """A store that cannot be opened, or can keep nothing (more); the message says what and why."""


class Commit:
    """An append under way: awaiting it ends with the commit, and raises StoreError if that fails.

    Nobody has to await it: then no future is made. A waiter that is cancelled leaves it alone. ``loop`` is where it is
    awaited and ends.
    """

    __slots__ = ("_problem", "loop", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._problem: str | None = None
        """Why it failed, empty if it did not; None while it is under way."""
        self.waiters: list[asyncio.Future[None]] = []

    def done(self) -> bool:
        """Say whether it has ended, well or not."""
        return self._problem is not None

    def end(self, problem: str = "") -> None:
        """Let whoever waits go on, with StoreError if there is a problem."""
        self._problem = problem
        for waiter in self.waiters:
            if waiter.done():
                continue  # cancelled: nobody is to miss an error
            if problem:
                waiter.set_exception(StoreError(problem))
            else:
                waiter.set_result(None)

    def __await__(self) -> Generator[Any, None, None]:
        waiter: asyncio.Future[None] = self.loop.create_future()
        self.waiters.append(waiter)
        if self._problem is not None:
            self.end(self._problem)
        return waiter.__await__()


class Store(Protocol):
    """An append-only log of records (plain JSON data) of several kinds: entry, waiver, usage, key, keyed, answer."""

    @property
    def committed(self) -> int:
        """How many records would outlive a crash at this instant: the number of the last one, of whatever kind."""
        ...

    def append(self, kind: str, record: Record) -> Commit:
        """Start to write ``record``, which never changes after, and return its commit.

        Raises StoreError if the store takes nothing: then nothing was written. Once a commit failed the store takes
        nothing more, so that no record can be missing among later ones.
        """
        ...

    def load(self, *kinds: str) -> Iterator[tuple[str, Record]]:
        """Return the committed records in order, of some kinds or of all; they are read as they are asked for.

        Blocks: for a start alone. Raises StoreError for unreadable ones.
        """
        ...

    def read(self, kind: str, after: int = 0, upto: int | None = None) -> Pages:
        """Yield the committed records of a kind in order, as fresh JSON data, without blocking.

        Records are numbered from 1, all kinds together: those behind number ``after`` are read, up to number ``upto``
        or to what is committed when the reading begins. Raises StoreError for unreadable ones.
        """
        ...

    async def close(self) -> None:
        """Commit what was appended, and take nothing more."""
        ...


class _Log:
    """Committed records as lines of JSON, in pages; full pages leave the memory for a temporary file once many."""

    def __init__(self) -> None:
        self.count = 0
        self._file = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 - it lives as long as the log
        self._starts = [0]
        """Where each full page begins in the file, and where the next one will."""
        self._last: list[bytes] = []
        weakref.finalize(self, self._file.close)

    def add(self, line: bytes) -> None:
        """Put a record, as ``_line_of`` gives it, at the end."""
        self._last.append(line)
        self.count += 1
        if len(self._last) == PAGE:
            page = b"\n".join(self._last)
            self._file.seek(self._starts[-1])
            self._file.write(page)
            self._starts.append(self._starts[-1] + len(page))
            self._last = []

    def pages(self, kinds: Sequence[str], after: int, upto: int) -> Iterator[list[tuple[str, Record]]]:
        """Yield the records of ``kinds`` (of all, if there are none) behind number ``after``, up to number ``upto``."""
        wanted = {kind.encode() for kind in kinds}
        upto = min(upto, self.count)
        for page in range(after // PAGE, -(-upto // PAGE)):
            first = page * PAGE
            lines = self._lines(page)[max(0, after - first) : upto - first]
            split = (line.split(b"\t", 1) for line in lines)
            yield [(kind.decode(), orjson.loads(body)) for kind, body in split if not wanted or kind in wanted]

    def _lines(self, page: int) -> list[bytes]:
        if page == len(self._starts) - 1:
            return self._last
        start, end = self._starts[page : page + 2]
        self._file.seek(start)
        return self._file.read(end - start).split(b"\n")


def _line_of(kind: str, record: Record) -> bytes:
    """Return a record as a line of JSON behind its kind. Raises TypeError for what is no JSON data."""
    return kind.encode() + b"\t" + orjson.dumps(record)


class MemoryStore:
    """The simulated store: commits after a keyed virtual delay, and can be told to refuse, to fail and to crash.

    ``commit_s`` gives the seconds that a commit takes which begins with the n-th append (from 1). As in a group
    commit, what is appended while a commit is under way is committed together by the next one.
    """

    def __init__(self, commit_s: Callable[[int], float]) -> None:
        self._commit_s = commit_s
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop of the store's present life."""
        self._log = _Log()
        self._records: list[bytes] = []
        self._commits: list[Commit] = []
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

    @property
    def committed(self) -> int:
        """How many records a crash would leave."""
        return self._log.count

    def append(self, kind: str, record: Record) -> Commit:
        """Take ``record``, to be committed after those before it. After a crash it is lost, its commit never ends."""
        if self._refusals:
            self._refusals -= 1
            raise StoreError("the simulated store refused the record")
        if self._problem:
            raise StoreError(self._problem)
        line = _line_of(kind, record)  # as it is now, which is what a disk would get
        loop = self._loop
        if loop is None:  # each call appends several times, and to ask for the running loop costs a system call
            loop = self._loop = asyncio.get_running_loop()
        commit = Commit(loop)
        if not self._crashed:
            self._records.append(line)
            self._commits.append(commit)
            if self._timer is None:
                self._begin(loop)
        return commit

    def load(self, *kinds: str) -> Iterator[tuple[str, Record]]:
        """Return the committed records as a file would give them back: as fresh JSON data.

        After a crash this is the first act of the gateway's next life: from then on the store takes records again.
        """
        self._crashed = False
        self._loop = None
        return (named for page in self._log.pages(kinds, 0, self._log.count) for named in page)

    async def read(self, kind: str, after: int = 0, upto: int | None = None) -> Pages:
        """Yield what is committed, at once: it never changes, so that nobody could tell a delay from none."""
        for page in self._log.pages((kind,), after, self._log.count if upto is None else upto):
            yield [record for _, record in page]

    async def close(self) -> None:
        """Wait for the commits under way, then take nothing more; a crashed store has nothing to wait for."""
        while self._commits:
            with suppress(StoreError):
                await self._commits[-1]
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
        self._commits.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def crash_inside(self, n: int, on_crash: Callable[[], None], *, committed: bool = False) -> None:
        """Crash in the middle of the commit of the ``n``-th append from now (from 1), then call ``on_crash``.

        The whole group is lost; or, if ``committed``, it is kept, but nobody was told before the crash.
        """
        self._crash_at = self._log.count + len(self._records) + n
        self._crash_commits = committed
        self._on_crash = on_crash

    def crash_no_more(self) -> None:
        """Call off a crash that has not come."""
        self._on_crash = None

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._group = len(self._records)
        self._timer = loop.call_later(self._commit_s(self._log.count + 1), self._commit, loop)

    def _commit(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        crashes = self._on_crash is not None and self._log.count + self._group >= self._crash_at
        if self._fails:
            self._break("the simulated store's commit failed")
            return
        if not crashes or self._crash_commits:
            for line in self._records[: self._group]:
                self._log.add(line)
        if crashes:
            self.crash()
            on_crash, self._on_crash = self._on_crash, None
            assert on_crash is not None
            on_crash()
            return
        del self._records[: self._group]
        done, self._commits = self._commits[: self._group], self._commits[self._group :]
        for commit in done:
            if commit.waiters:
                loop.call_soon(commit.end)  # what else has come at this instant goes before those who wait
            else:
                commit.end()
        if self._records:
            self._begin(loop)

    def _break(self, problem: str) -> None:
        self._problem = problem
        commits, self._commits = self._commits, []
        self._records.clear()
        for commit in commits:
            commit.end(problem)
