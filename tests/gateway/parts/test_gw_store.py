"""The simulated store commits in order after a delay, and refuses, fails and crashes when told to."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from gw_support import run, store, told

from harness.gateway.memory_store import MemoryStore
from harness.gateway.store import PAGE, Commit, StoreError
from harness.gateway.usage_log import UsageLog


async def noted(order: list[int], n: int, commit: Commit) -> None:
    await commit
    order.append(n)


def numbers(kept: MemoryStore, *kinds: str) -> list[Any]:
    return [record["n"] for _, record in kept.load(*kinds)]


def read(kept: MemoryStore, after: int = 0, upto: int | None = None) -> list[Any]:
    """Return the numbers of the entries that a reader sees at this instant."""
    return [record["n"] for record in told(kept.read("entry", after, upto))]


def test_a_record_is_committed_after_its_delay_and_not_before() -> None:
    async def main() -> None:
        kept = store(0.5)
        commit = kept.append("entry", {"n": 1})
        await asyncio.sleep(0.499999)
        assert numbers(kept) == []
        assert not commit.done()
        await asyncio.sleep(0.000002)
        assert numbers(kept) == [1]
        assert commit.done()

    run(main())


def test_commits_end_in_the_order_of_appends_whatever_their_delays() -> None:
    async def main() -> list[int]:
        delays = {1: 0.5, 2: 0.1, 3: 0.0}
        kept = MemoryStore(lambda n: delays.get(n, 0.2))
        order: list[int] = []
        waiting = []
        for n in range(1, 6):
            waiting.append(asyncio.create_task(noted(order, n, kept.append("entry", {"n": n}))))
            await asyncio.sleep(0.3 if n == 2 else 0)
        await asyncio.gather(*waiting)
        assert numbers(kept) == [1, 2, 3, 4, 5]
        return order

    assert run(main()) == [1, 2, 3, 4, 5]


def test_what_comes_while_a_commit_is_under_way_is_committed_together_by_the_next() -> None:
    async def main() -> None:
        asked: list[int] = []

        def commit_s(n: int) -> float:
            asked.append(n)
            return 1.0

        kept = MemoryStore(commit_s)
        commits = [kept.append("entry", {"n": n}) for n in range(4)]
        await asyncio.sleep(1.5)
        assert kept.committed == 1
        assert [commit.done() for commit in commits] == [True, False, False, False]
        await asyncio.sleep(1)
        assert kept.committed == 4
        assert all(commit.done() for commit in commits)
        assert asked == [1, 2]

    run(main())


def test_commits_that_nobody_waits_for_end_each_at_its_own_instant() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended: list[float] = []
        for waited in (False, True):
            kept = store(1.0)
            start_s = loop.time()
            kept.append("entry", {"n": 1})
            await asyncio.sleep(0.25)
            kept.append("entry", {"n": 2})
            await asyncio.sleep(1.0)  # the first has ended, and the second began then
            last = kept.append("entry", {"n": 3})
            if waited:
                await last
            else:
                while kept.committed < 3:  # noqa: ASYNC110 - to wait for it would set a timer
                    await asyncio.sleep(0.25)
            ended.append(loop.time() - start_s)
        assert ended == [3.0, 3.0]

    run(main())


def test_loaded_records_are_fresh_json_data_by_kind() -> None:
    async def main() -> None:
        kept = store()
        record = {"n": 1, "lines": (("a", 1), ("b", -1))}
        await kept.append("entry", record)
        await kept.append("usage", {"n": 2})
        await kept.append("key", {"n": 3})
        fresh = {"n": 1, "lines": [["a", 1], ["b", -1]]}
        assert list(kept.load("entry")) == [("entry", fresh)]
        assert [kind for kind, _ in kept.load()] == ["entry", "usage", "key"]
        assert [kind for kind, _ in kept.load("key", "usage")] == ["usage", "key"]
        (once,) = told(kept.read("entry"))
        once["lines"].clear()
        assert told(kept.read("entry")) == [fresh]

    run(main())


def test_a_record_is_kept_as_it_was_appended() -> None:
    async def main() -> None:
        kept = store()
        record = {"n": 1}
        commit = kept.append("entry", record)
        record["n"] = 2
        await commit
        with pytest.raises(TypeError):
            kept.append("entry", {"n": object()})
        await kept.close()
        assert numbers(kept) == [1]

    run(main())


def test_a_refused_append_leaves_nothing_and_the_next_is_taken() -> None:
    async def main() -> None:
        kept = store()
        kept.fail(2)
        for n in (1, 2):
            with pytest.raises(StoreError):
                kept.append("entry", {"n": n})
        await kept.append("entry", {"n": 3})
        assert numbers(kept) == [3]

    run(main())


def test_after_a_failed_commit_nothing_more_is_kept() -> None:
    async def main() -> None:
        kept = store()
        await kept.append("entry", {"n": 1})
        kept.fail_commit()
        group = [kept.append("entry", {"n": n}) for n in (2, 3)]
        for commit in group:
            with pytest.raises(StoreError):
                await commit
        with pytest.raises(StoreError):
            kept.append("entry", {"n": 4})
        await kept.close()
        assert numbers(kept) == [1]

    run(main())


def test_a_failed_commit_that_nobody_awaits_troubles_nobody() -> None:
    async def main() -> None:
        kept = store()
        kept.fail_commit()
        kept.append("entry", {"n": 1})
        await asyncio.sleep(1)  # the loop would fail the run for an exception that was never retrieved

    run(main())


def test_a_crash_loses_what_was_not_committed_and_tells_nobody() -> None:
    async def main() -> None:
        kept = store()
        await kept.append("entry", {"n": 1})
        commits = [kept.append("entry", {"n": n}) for n in (2, 3)]
        kept.crash()
        commits.append(kept.append("entry", {"n": 4}))
        await asyncio.sleep(10)
        assert not any(commit.done() for commit in commits)
        assert numbers(kept) == [1]

    run(main())


def test_a_store_that_is_loaded_after_a_crash_serves_the_next_life() -> None:
    async def main() -> None:
        kept = store()
        await kept.append("entry", {"n": 1})
        kept.append("entry", {"n": 2})
        kept.crash()
        assert numbers(kept) == [1]
        await kept.append("entry", {"n": 3})
        assert numbers(kept) == [1, 3]

    run(main())


@pytest.mark.parametrize(("committed", "survives"), [(False, [1]), (True, [1, 2, 3, 4])])
def test_a_crash_inside_a_commit_takes_its_whole_group_or_the_news_of_it(committed: bool, survives: list[int]) -> None:
    async def main() -> None:
        kept = store()
        await kept.append("entry", {"n": 1})
        crashed: list[float] = []
        loop = asyncio.get_running_loop()
        kept.crash_inside(2, lambda: crashed.append(loop.time()), committed=committed)
        first = kept.append("entry", {"n": 2})
        later = [kept.append("entry", {"n": n}) for n in (3, 4)]
        await asyncio.sleep(10)
        assert crashed == [0.003]
        assert first.done()
        assert not any(commit.done() for commit in later)
        assert numbers(kept) == ([1, 2] if not committed else survives)

    run(main())


def test_a_crash_inside_the_first_append_counts_from_now() -> None:
    async def main() -> None:
        kept = store()
        kept.append("entry", {"n": 1})
        await asyncio.sleep(0.0005)
        crashed: list[bool] = []
        kept.crash_inside(1, lambda: crashed.append(True))
        await asyncio.sleep(1)
        assert crashed == []  # the append before was not meant
        kept.append("entry", {"n": 2})
        await asyncio.sleep(1)
        assert crashed == [True]
        assert numbers(kept) == [1]
        await kept.append("entry", {"n": 3})  # and the next life does not crash again
        assert numbers(kept) == [1, 3]

    run(main())


def test_a_closed_store_has_committed_all_and_takes_nothing() -> None:
    async def main() -> None:
        kept = store()
        for n in (1, 2, 3):
            kept.append("entry", {"n": n})
        await kept.close()
        assert numbers(kept) == [1, 2, 3]
        with pytest.raises(StoreError, match="closed"):
            kept.append("entry", {"n": 4})
        await kept.close()

    run(main())


def test_readers_see_committed_records_only() -> None:
    async def main() -> None:
        kept = store()
        await kept.append("entry", {"n": 1})
        await kept.append("usage", {"n": 9})
        commit = kept.append("entry", {"n": 2})
        kept.append("entry", {"n": 3})
        assert (read(kept), kept.committed) == ([1], 2)
        await commit
        assert (read(kept), kept.committed) == ([1, 2], 3)
        kept.fail_commit()
        await asyncio.sleep(1)
        assert read(kept) == [1, 2]

    run(main())


def test_a_reading_ends_with_what_was_committed_when_it_began() -> None:
    async def main() -> None:
        kept = store()
        for n in range(2 * PAGE):
            kept.append("entry", {"n": n})
        await asyncio.sleep(1)
        async with aclosing(kept.read("entry")) as pages:
            seen = [record["n"] for record in await anext(pages)]
            await kept.append("entry", {"n": -1})
            seen += [record["n"] async for page in pages for record in page]
        assert seen == list(range(2 * PAGE))

    run(main())


@pytest.mark.parametrize("after", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 5 * PAGE])
@pytest.mark.parametrize("spool_bytes", [1 << 20, 100], ids=["memory", "file"])
def test_a_log_of_many_pages_is_read_from_any_number_on(
    after: int, spool_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.gateway.memory_store.SPOOL_BYTES", spool_bytes)

    async def main() -> None:
        kept = store()
        for n in range(1, 3 * PAGE + 8):
            kept.append("entry" if n % 3 else "usage", {"n": n, "text": "line\n\té"})
        assert read(kept) == []
        await kept.close()
        last = kept.committed
        assert last == 3 * PAGE + 7
        for upto in (None, 0, after, after + 1, PAGE, 2 * PAGE + 5):
            end = last if upto is None else min(upto, last)
            assert read(kept, after, upto) == [n for n in range(after + 1, end + 1) if n % 3]
        assert numbers(kept) == list(range(1, last + 1))

    run(main())


def test_a_cancelled_waiter_leaves_the_commit_alone() -> None:
    async def main() -> None:
        kept = store()

        async def wait() -> None:
            await kept.append("entry", {"n": 1})

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1)
        assert read(kept) == [1]

    run(main())


def test_the_usage_log_keeps_rows_across_a_restart() -> None:
    async def main() -> None:
        kept = store()
        log = UsageLog(kept)
        log.add({"account": "a", "call": "c1"})
        await log.add({"account": "b", "call": "c2"})
        await log.add({"account": "a", "call": "c3"})
        for known in (log, UsageLog(kept)):
            assert [row["call"] for row in told(known.rows())] == ["c1", "c2", "c3"]
            assert [row["call"] for row in told(known.rows(upto=2))] == ["c1", "c2"]

    run(main())


def test_the_error_of_a_commit_that_nobody_waits_for_any_more_is_not_missed() -> None:
    missed: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: missed.append(context))
        commit = Commit(asyncio.get_running_loop())
        waiting = [asyncio.ensure_future(commit) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert waiting[0].cancelled()
        commit.end("the disk is full")
        for late in (waiting[1], commit):
            with pytest.raises(StoreError, match="the disk is full"):
                await late
        del commit

    asyncio.run(main())
    assert not missed
