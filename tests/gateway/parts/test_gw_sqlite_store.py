"""The store on disk keeps what it acknowledged, opens nothing that is not its own, and never overwrites."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from harness.gateway import sqlite_store
from harness.gateway.sqlite_store import APPLICATION_ID, MIGRATIONS, SqliteStore
from harness.gateway.store import PAGE, Commit, StoreError
from tests.gateway.pages import gathered


def keep(path: Path, *records: int) -> None:
    """Append records in one life of the store."""

    async def main() -> None:
        kept = SqliteStore(path)
        for n in records:
            await kept.append("entry", {"n": n})
        await kept.close()

    asyncio.run(main())


def kept(path: Path, *kinds: str) -> list[int]:
    """Return the records that another life of the store finds."""

    async def main() -> list[int]:
        store = SqliteStore(path)
        found = [record["n"] for _, record in store.load(*kinds)]
        await store.close()
        return found

    return asyncio.run(main())


async def noted(order: list[int], n: int, commit: Commit) -> None:
    await commit
    order.append(n)


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_records_come_back_in_order_and_by_kind(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        commits = [store.append("entry" if n % 3 else "usage", {"n": n, "text": "é"}) for n in range(3000)]
        await asyncio.gather(*commits)
        await store.close()
        reborn = SqliteStore(tmp_path / "books.db")
        assert [record["n"] for _, record in reborn.load()] == list(range(3000))
        assert [record["n"] for _, record in reborn.load("usage")] == list(range(0, 3000, 3))
        assert next(reborn.load("usage")) == ("usage", {"n": 0, "text": "é"})
        assert list(reborn.load("nothing")) == []
        await reborn.close()

    asyncio.run(main())


def test_commits_are_told_in_the_order_of_appends(tmp_path: Path) -> None:
    async def main() -> list[int]:
        store = SqliteStore(tmp_path / "books.db")
        order: list[int] = []
        waiting = []
        for n in range(50):
            waiting.append(asyncio.create_task(noted(order, n, store.append("entry", {"n": n}))))
            if n % 7 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        await store.close()
        return order

    assert asyncio.run(main()) == list(range(50))


def test_a_commit_that_is_waited_for_takes_along_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "LATEST_S", 3600.0)

    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        first, second = store.append("entry", {"n": 0}), store.append("entry", {"n": 1})
        await second
        assert first.done()
        assert store.committed == 2
        store.append("entry", {"n": 2})
        await store.close()

    asyncio.run(main())
    assert kept(tmp_path / "books.db") == [0, 1, 2]


def test_a_commit_that_nobody_waits_for_is_made_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        store.append("entry", {"n": 0})
        async with asyncio.timeout(10):
            while not store.committed:  # noqa: ASYNC110 - to wait for its commit would hurry it
                await asyncio.sleep(0.001)
        await store.close()

    asyncio.run(main())


def test_more_records_than_one_statement_takes_are_all_committed(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        await asyncio.gather(*(store.append("entry", {"n": n}) for n in range(20_000)))
        await store.close()

    asyncio.run(main())
    assert kept(tmp_path / "books.db") == list(range(20_000))


def test_what_stands_is_told_as_kept_though_the_rest_of_what_came_with_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "GROUP", 2)

    async def main() -> list[bool]:
        store = SqliteStore(tmp_path / "books.db")
        store._connection.execute(
            "CREATE TEMP TRIGGER full AFTER INSERT ON record WHEN NEW.number = 4 BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        commits = [store.append("entry", {"n": n}) for n in range(1, 7)]
        told = await asyncio.gather(*commits, return_exceptions=True)
        await store.close()
        return [one is None for one in told]

    assert asyncio.run(main()) == [True, True, False, False, False, False]
    assert kept(tmp_path / "books.db") == [1, 2]


def test_it_commits_durably_with_a_write_ahead_log(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        await store.close()

    asyncio.run(main())


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from harness.gateway.sqlite_store import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    n = 0
    while True:
        await store.append("entry", {"n": n})
        print(n, flush=True)
        n += 1

asyncio.run(main())
"""
    path = tmp_path / "books.db"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    ) as child:
        assert child.stdout is not None
        for _ in range(100):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        told = 100 + len(child.stdout.read().splitlines())
    found = kept(path)
    assert found == list(range(len(found)))
    assert len(found) >= told - 1  # the last line may be half a line


def test_a_cancelled_waiter_does_not_stop_the_writer(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        waiting = asyncio.ensure_future(store.append("entry", {"n": 1}))
        await asyncio.sleep(0)
        waiting.cancel()
        await store.append("entry", {"n": 2})
        assert waiting.cancelled()
        await store.close()

    asyncio.run(main())
    assert kept(tmp_path / "books.db") == [1, 2]


def test_a_loop_that_ended_before_the_commit_does_not_stop_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "books.db"
    store = SqliteStore(path)

    async def first() -> None:
        store.append("entry", {"n": 1})

    async def second() -> None:
        await store.append("entry", {"n": 2})
        await store.close()

    asyncio.run(first())
    asyncio.run(second())
    assert kept(path) == [1, 2]


def test_a_closed_store_takes_nothing_and_gives_the_file_free(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        last = store.append("entry", {"n": 1})
        await store.close()
        await store.close()
        assert last.done()
        with pytest.raises(StoreError, match="closed"):
            store.append("entry", {"n": 2})
        await SqliteStore(tmp_path / "books.db").close()

    asyncio.run(main())


def test_a_file_that_is_in_use_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        with pytest.raises(StoreError, match="in use by another process"):
            SqliteStore(tmp_path / "books.db")
        await store.append("entry", {"n": 1})
        await store.close()

    asyncio.run(main())


def test_a_file_that_is_in_use_by_another_process_is_refused(tmp_path: Path) -> None:
    async def main() -> str:
        store = SqliteStore(tmp_path / "books.db")
        program = (
            "import sys; from harness.gateway.sqlite_store import SqliteStore\n"
            "try: SqliteStore(sys.argv[1])\nexcept Exception as error: print(type(error).__name__, error)"
        )
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            str(tmp_path / "books.db"),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": "."},
        )
        said, _ = await child.communicate()
        await store.close()
        return said.decode()

    said = asyncio.run(main())
    assert said.startswith("StoreError")
    assert "in use" in said


async def gathered_numbers(store: SqliteStore, after: int = 0, upto: int | None = None) -> list[int]:
    return [record["n"] for record in await gathered(store.read("entry", after, upto))]


def test_a_reader_gets_what_was_committed_when_it_began_while_more_is_written(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        await asyncio.gather(*(store.append("entry" if n % 3 else "usage", {"n": n}) for n in range(1, 2 * PAGE + 4)))
        everything = [n for n in range(1, 2 * PAGE + 4) if n % 3]
        read = []
        async with aclosing(store.read("entry")) as pages:
            async for page in pages:
                read += [record["n"] for record in page]
                await store.append("entry", {"n": 0})
        assert read == everything
        assert store.committed == 2 * PAGE + 3 + 3
        assert await gathered_numbers(store, PAGE + 1, 2 * PAGE) == [n for n in everything if PAGE + 1 < n <= 2 * PAGE]
        await store.close()

    asyncio.run(main())


def test_a_reader_never_keeps_the_loop_waiting_for_the_disk(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        await store.append("entry", {"n": 1})
        with store._lock:  # the writer stands still
            reading = asyncio.create_task(gathered_numbers(store))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not reading.done()
        assert await reading == [1]
        await store.close()

    asyncio.run(main())


def test_a_reader_that_left_troubles_nobody_and_one_of_a_closed_store_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        await store.append("entry", {"n": 1})
        with store._lock:
            reading = asyncio.create_task(gathered_numbers(store))
            await asyncio.sleep(0)
            reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await store.append("entry", {"n": 2})
        assert await gathered_numbers(store) == [1, 2]
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await gathered_numbers(store)

    asyncio.run(main())


def test_a_reader_is_told_of_damage(tmp_path: Path) -> None:
    path = tmp_path / "books.db"
    keep(path, 1, 2)
    execute(path, "UPDATE record SET body = '{' WHERE number = 2")

    async def main() -> None:
        store = SqliteStore(path)
        with pytest.raises(StoreError, match="record 2 is not JSON"):
            await gathered_numbers(store)
        store._connection.execute("DROP TABLE record")
        with pytest.raises(StoreError, match="cannot be read"):
            await gathered_numbers(store)
        await store.close()

    asyncio.run(main())


def damage_header(path: Path) -> None:
    path.write_bytes(b"not a database at all" + path.read_bytes()[21:])


def damage_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(bytes(data))


def lose_a_body(path: Path) -> None:
    def column(nullable: bool) -> str:
        old, new = ("BLOB NOT NULL", "BLOB") if nullable else ("BLOB", "BLOB NOT NULL")
        return f"UPDATE sqlite_master SET sql = replace(sql, '{old}', '{new}')"

    execute(path, "PRAGMA writable_schema = ON", column(nullable=True))
    execute(path, "UPDATE record SET body = NULL WHERE number = 5")
    execute(path, "PRAGMA writable_schema = ON", column(nullable=False))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damage_header, "file is not a database"),
        (damage_middle, "left as it is|left as it was"),
        (cut_short, "malformed|damaged"),
        (lose_a_body, "damaged: NULL value in record.body"),
        (lambda path: execute(path, "DELETE FROM record WHERE number = 7"), "records are missing"),
        (
            lambda path: execute(path, f"PRAGMA user_version = {len(MIGRATIONS) + 1}"),
            "this program knows schemas up to",
        ),
        (lambda path: execute(path, "PRAGMA application_id = 1"), "another program's database"),
    ],
)
def test_a_file_that_is_not_soundly_its_own_is_refused_and_left_alone(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "books.db"
    keep(path, *range(200))
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=message) as raised:
        SqliteStore(path)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_whatever_its_schema_number(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    execute(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_record_that_is_not_json_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "books.db"
    keep(path, 1)
    execute(path, "UPDATE record SET body = '{' WHERE number = 1")
    with pytest.raises(StoreError, match="record 1 is not JSON"):
        kept(path)


@pytest.mark.parametrize("name", ["missing/books.db", "."])
def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(tmp_path / name)


def test_a_commit_that_fails_is_told_and_ends_the_store(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        await store.append("entry", {"n": 1})
        store._connection.execute("PRAGMA query_only = ON")  # as good as a disk that is full
        failed = [store.append("entry", {"n": n}) for n in (2, 3)]
        for commit in failed:
            with pytest.raises(StoreError, match="could not be written"):
                await commit
        with pytest.raises(StoreError, match="could not be written"):
            store.append("entry", {"n": 4})
        await store.close()

    asyncio.run(main())
    assert kept(tmp_path / "books.db") == [1]


def test_what_was_queued_behind_a_failed_commit_is_not_written(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "books.db")
        await store.append("entry", {"n": 1})
        with store._lock:  # the writer stands still
            queued = store.append("entry", {"n": 2})
            store._problem = "the commit before failed"
        with pytest.raises(StoreError, match="the commit before failed"):
            await queued
        await store.close()

    asyncio.run(main())
    assert kept(tmp_path / "books.db") == [1]


def test_the_file_is_marked_with_its_program_and_schema(tmp_path: Path) -> None:
    path = tmp_path / "books.db"
    keep(path, 1)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()
