"""The store on disk: SQLite with one writer thread and group commit; for sockets only, never in simulation."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading  # noqa: TID251 - a commit must not block the loop; simulated code has MemoryStore instead
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from harness.gateway.store import PAGE, Commit, Pages, Record, StoreError

APPLICATION_ID = 0x6C676867
"""Marks a file as this store's, so that no other SQLite file is taken for one."""
MIGRATIONS = ("CREATE TABLE record (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL)",)
"""Statement n makes schema n + 1 of schema n; the file's ``user_version`` is its schema."""
GROUP = 1024
"""How many records one commit takes at most."""
LATEST_S = 0.01
"""How long a record may wait whose commit nobody waits for: it goes with the next one that somebody does."""

_PAGE = """
SELECT number, kind, body FROM record
WHERE number > ?1 AND number <= ?2 AND (?3 = '[]' OR kind IN (SELECT value FROM json_each(?3)))
ORDER BY number
"""

_INSERT = "INSERT INTO record (kind, body) VALUES "

_Append = tuple[str, bytes, Commit]
_Rows = list[tuple[int, str, bytes]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Read:
    """A page that somebody waits for."""

    kind: str
    after: int
    upto: int
    rows: asyncio.Future[_Rows]


class SqliteStore:
    """Records in one file, which it holds alone. A commit is on the disk before anybody is told of it.

    Raises StoreError for a file that is damaged, newer than this program, another program's, or in use, and leaves
    it as it is.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._connection = _opened(self._path)
        self._lock = threading.Lock()
        """Held while the connection is in use: by the writer for a commit or a page, by ``load``."""
        self._committed: int = _value(self._connection, "SELECT coalesce(max(number), 0) FROM record")
        self._appends: list[_Append] = []
        """What the writer was not told of yet."""
        self._timer: asyncio.TimerHandle | None = None
        """Tells it, should nobody else."""
        self._work: queue.SimpleQueue[list[_Append] | _Read | asyncio.Future[None]] = queue.SimpleQueue()
        """What the writer has to do; a bare future asks it to end, and ends when it has."""
        self._problem = ""
        self._closed = False
        # A daemon: a process that ends without closing must not hang, and what it was told of is on the disk.
        threading.Thread(target=self._write, name="store-writer", daemon=True).start()

    def append(self, kind: str, record: Record) -> Commit:
        """Commit ``record`` as soon as its commit is waited for, or soon. Raises StoreError if no commit can be."""
        if self._closed or self._problem:
            raise StoreError(self._problem or f"{self._path} is closed")
        loop = asyncio.get_running_loop()
        commit = Commit(loop, self._hand_over)
        self._appends.append((kind, orjson.dumps(record), commit))
        if self._timer is None or self._timer.when() < loop.time():  # that of a loop which is gone never comes
            self._timer = loop.call_later(LATEST_S, self._hand_over)
        return commit

    @property
    def committed(self) -> int:
        """How many records are on the disk."""
        return self._committed

    def load(self, *kinds: str) -> Iterator[tuple[str, Record]]:
        """Return the committed records in order, of some kinds or of all. Blocks; called at the start only."""
        upto = self._committed
        for after in range(0, upto, PAGE):
            for number, kind, body in self._rows(kinds, after, min(after + PAGE, upto)):
                yield kind, self._decoded(number, body)

    async def read(self, kind: str, after: int = 0, upto: int | None = None) -> Pages:
        """Yield the committed records of a kind; the writer reads a page between two commits."""
        last = self._committed if upto is None else upto
        for start in range(after, last, PAGE):
            if self._closed:
                raise StoreError(f"{self._path} is closed")
            rows: asyncio.Future[_Rows] = asyncio.get_running_loop().create_future()
            self._work.put(_Read(kind, start, min(start + PAGE, last), rows))
            yield [self._decoded(number, body) for number, _, body in await rows]

    async def close(self) -> None:
        """Commit what was appended, close the file and give it free; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self._hand_over()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._work.put(ended)
        await ended

    def _hand_over(self) -> None:
        """Give the writer what was appended since the last time, if anything was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._appends:
            appends, self._appends = self._appends, []
            self._work.put(appends)

    def _decoded(self, number: int, body: bytes) -> Record:
        try:
            record: Record = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise StoreError(f"{self._path} is damaged: record {number} is not JSON: {error}") from error
        return record

    def _rows(self, kinds: Sequence[str], after: int, upto: int) -> _Rows:
        """Return the rows of ``kinds`` (of all, if there are none) behind ``after``, up to ``upto``."""
        try:
            with self._lock:
                return self._connection.execute(_PAGE, (after, upto, orjson.dumps(kinds).decode())).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be read: {error}") from error

    def _write(self) -> None:
        """Commit groups, and read pages, until asked to end: the writer thread."""
        while True:
            item: list[_Append] | _Read | asyncio.Future[None] | None = self._work.get()
            group: list[_Append] = []
            with suppress(queue.Empty):
                while isinstance(item, list):
                    group += item
                    item = self._work.get_nowait() if len(group) < GROUP else None
            for start in range(0, len(group), GROUP):  # what is handed over at once may be more
                part = group[start : start + GROUP]
                self._commit(part)
                _tell([commit for _, _, commit in part], self._problem)
            if isinstance(item, _Read):
                self._serve(item)
            elif isinstance(item, asyncio.Future):
                with self._lock:
                    self._connection.close()
                with suppress(RuntimeError):
                    item.get_loop().call_soon_threadsafe(_give, item, None)
                return

    def _commit(self, group: list[_Append]) -> None:
        """Write a group in one statement. After a failure nothing is written any more: no record may be missing."""
        if self._problem:
            return
        with self._lock:
            try:
                # One statement is a transaction, and gives the interpreter away once, not at every step of it.
                self._connection.execute(
                    _INSERT + ", ".join(["(?, ?)"] * len(group)), [value for append in group for value in append[:2]]
                )
                self._committed += len(group)
            except sqlite3.Error as error:
                self._problem = f"{self._path} could not be written: {error}"

    def _serve(self, page: _Read) -> None:
        found: _Rows | StoreError
        try:
            found = self._rows((page.kind,), page.after, page.upto)
        except StoreError as error:
            found = error
        with suppress(RuntimeError):  # a loop that is gone has nobody who waits
            page.rows.get_loop().call_soon_threadsafe(_give, page.rows, found)


def _give(waiting: asyncio.Future[T], found: T | StoreError) -> None:
    if waiting.done():
        return
    if isinstance(found, StoreError):
        waiting.set_exception(found)
    else:
        waiting.set_result(found)


def _tell(commits: list[Commit], problem: str) -> None:
    """End commits in their loops, from the writer's thread; a loop that is gone has nobody who waits."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Commit]] = {}
    for commit in commits:
        by_loop.setdefault(commit.loop, []).append(commit)
    for loop, ended in by_loop.items():
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_end, ended, problem)


def _end(commits: list[Commit], problem: str) -> None:
    for commit in commits:
        commit.end(problem)


def _opened(path: Path) -> sqlite3.Connection:
    """Return a connection that holds ``path`` alone, at the present schema. Raises StoreError."""
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        _check(connection, path)
        _prepare(connection)
    except (sqlite3.Error, StoreError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, StoreError):
            raise
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise StoreError(f"{path} is in use by another process") from error
        raise StoreError(f"{path} cannot be opened as a store: {error}; it was left as it is") from error
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Read enough to know that the file is new or ours and sound. Raises StoreError or sqlite3.Error."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    schema = _value(connection, "PRAGMA user_version")
    if schema == 0 and _value(connection, "SELECT count(*) FROM sqlite_master") == 0:
        return
    if _value(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise StoreError(f"{path} is another program's database; it was left as it is")
    if schema > len(MIGRATIONS):
        raise StoreError(
            f"{path} has schema {schema}, this program knows schemas up to {len(MIGRATIONS)}; it was left as it is"
        )
    verdict = _value(connection, "PRAGMA quick_check(1)")
    if verdict != "ok":
        raise StoreError(f"{path} is damaged: {verdict}; it was left as it is")
    if schema and _value(connection, "SELECT count(*) <> coalesce(max(number), 0) FROM record"):
        raise StoreError(f"{path} is damaged: records are missing; it was left as it is")


def _prepare(connection: sqlite3.Connection) -> None:
    """Set the file up for durable commits, bring it to the present schema and take it for this process alone."""
    if _value(connection, "PRAGMA journal_mode = WAL") != "wal":
        raise sqlite3.OperationalError("it cannot have a write-ahead log here")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN EXCLUSIVE")
    for schema in range(_value(connection, "PRAGMA user_version"), len(MIGRATIONS)):
        connection.execute(MIGRATIONS[schema])
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("COMMIT")


def _value(connection: sqlite3.Connection, statement: str) -> Any:
    value: Any = connection.execute(statement).fetchone()[0]
    return value
