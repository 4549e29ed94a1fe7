"""The simulated store: it commits after a virtual delay, and refuses, fails and crashes when told to, on no disk."""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from tempfile import SpooledTemporaryFile

import orjson

from harness.gateway.store import PAGE, Commit, Pages, Record, StoreError

SPOOL_BYTES = 16 << 20
"""How much of a store stays in memory; what is more goes into a temporary file."""


class _Log:
    """Committed records as lines of JSON, in pages; full pages leave the memory for a temporary file once many."""

    def __init__(self) -> None:
        self.count = 0
        self._file = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 - it lives as long as the log
        self._starts = [0]
        """Where each full page begins in the file, and where the next one will."""
        self._last: list[bytes] = []
        weakref.finalize(self, self._file.close)

    def add(self, lines: Sequence[bytes]) -> None:
        """Put records, as ``_line_of`` gives them, at the end."""
        self._last += lines
        self.count += len(lines)
        while len(self._last) >= PAGE:
            page = b"\n".join(self._last[:PAGE])
            self._file.seek(self._starts[-1])
            self._file.write(page)
            self._starts.append(self._starts[-1] + len(page))
            del self._last[:PAGE]

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

    A commit that nobody waits for sets no timer: who looks at the store next finds that it ended at its instant.
    """

    def __init__(self, commit_s: Callable[[int], float]) -> None:
        self._commit_s = commit_s
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop of the store's present life."""
        self._log = _Log()
        self._lines: list[bytes] = []
        self._commits: list[Commit] = []
        """What was appended and is not committed: records, and the commit of each."""
        self._group = 0
        """How many of them, from the first, the commit under way will commit."""
        self._due_s = math.inf
        """When it will, in the loop's time; never if none is under way."""
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
        self._catch_up()
        return self._log.count

    def append(self, kind: str, record: Record) -> Commit:
        """Take ``record``, to be committed after those before it. After a crash it is lost, its commit never ends."""
        if self._refusals:
            self._refusals -= 1
            raise StoreError("the simulated store refused the record")
        loop = self._loop
        if loop is None:  # each call appends several times, and to ask for the running loop costs a system call
            loop = self._loop = asyncio.get_running_loop()
        now_s = loop.time()
        if self._due_s <= now_s:
            self._end_until(now_s)
        if self._problem:
            raise StoreError(self._problem)
        line = _line_of(kind, record)  # as it is now, which is what a disk would get
        commit = Commit(loop, self._watch)
        if not self._crashed:
            self._lines.append(line)
            self._commits.append(commit)
            if not self._group:
                self._begin(now_s)
        return commit

    def load(self, *kinds: str) -> Iterator[tuple[str, Record]]:
        """Return the committed records as a file would give them back: as fresh JSON data.

        After a crash this is the first act of the gateway's next life: from then on the store takes records again.
        """
        self._catch_up()
        self._crashed = False
        if not self._group:
            self._loop = None
        return (named for page in self._log.pages(kinds, 0, self._log.count) for named in page)

    async def read(self, kind: str, after: int = 0, upto: int | None = None) -> Pages:
        """Yield what is committed, at once: it never changes, so that nobody could tell a delay from none."""
        committed = self.committed
        for page in self._log.pages((kind,), after, committed if upto is None else upto):
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
        self._catch_up()
        self._fails = True

    def crash(self) -> None:
        """Crash now: what was not committed is lost, what comes until the next ``load`` too, and nobody is told."""
        self._catch_up()
        self._crashed = True
        self._drop()

    def crash_inside(self, n: int, on_crash: Callable[[], None], *, committed: bool = False) -> None:
        """Crash in the middle of the commit of the ``n``-th append from now (from 1), then call ``on_crash``.

        The whole group is lost; or, if ``committed``, it is kept, but nobody was told before the crash.
        """
        self._catch_up()
        self._crash_at = self._log.count + len(self._lines) + n
        self._crash_commits = committed
        self._on_crash = on_crash
        self._watch()

    def crash_no_more(self) -> None:
        """Call off a crash that has not come."""
        self._on_crash = None

    def _begin(self, at_s: float) -> None:
        """Begin to commit all that there is."""
        self._group = len(self._lines)
        # In whole microseconds, as a timer of a simulation ends.
        self._due_s = round((at_s + self._commit_s(self._log.count + 1)) * 1e6) / 1e6
        if self._on_crash is not None:
            self._watch()

    def _watch(self) -> None:
        """Set a timer for the commit under way: somebody waits for it or for the next."""
        if self._timer is None and self._group and self._loop is not None:
            self._timer = self._loop.call_at(self._due_s, self._end_watched)

    def _end_watched(self) -> None:
        self._timer = None
        self._catch_up()
        for commit in self._commits:
            if commit.waiters:
                self._watch()
                return

    def _catch_up(self) -> None:
        """End the commits whose time has come."""
        if self._group and self._loop is not None:
            self._end_until(self._loop.time())

    def _end_until(self, now_s: float) -> None:
        while self._due_s <= now_s:
            self._commit(self._due_s)

    def _commit(self, at_s: float) -> None:
        """End the commit under way, and begin the next with what came meanwhile."""
        if self._fails:
            self._problem = "the simulated store's commit failed"
            for commit in self._drop():
                commit.end(self._problem)
            return
        group = self._group
        crashes = self._on_crash is not None and self._log.count + group >= self._crash_at
        if not crashes or self._crash_commits:
            self._log.add(self._lines[:group])
        if crashes:
            self._crashed = True
            self._drop()
            on_crash, self._on_crash = self._on_crash, None
            assert on_crash is not None
            on_crash()
            return
        done = self._commits[:group]
        del self._lines[:group], self._commits[:group]
        self._group, self._due_s = 0, math.inf
        for commit in done:
            if commit.waiters:
                commit.loop.call_soon(commit.end)  # what else has come at this instant goes before those who wait
            else:
                commit.end()
        if self._lines:
            self._begin(at_s)

    def _drop(self) -> list[Commit]:
        """Forget what is not committed, and return the commits that do not come."""
        dropped, self._commits = self._commits, []
        self._lines.clear()
        self._group, self._due_s = 0, math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return dropped
