"""The harness's end of the line to a load generator: whatever becomes of the process, the wait for it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.contract import contract_to_json
from harness.load import process as module
from harness.load.order import Order
from harness.load.process import LocalWorker, LocustProcess, generators
from harness.load.shape import Asked
from harness.load.workers import Workers
from harness.target import TargetError
from tests.load.tiny import tiny

PROGRESS = b'{"kind":"progress","sent":3,"ended":2,"outcomes":{"ok":2},"late_us":1,"cpu_s":0.1,"starved":0}\n'


@asynccontextmanager
async def saying(words: bytes, *, closes: bool, runs: str = "cat") -> AsyncIterator[LocalWorker]:
    """Yield a worker whose process is ``runs``, and which says ``words``."""
    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec(runs, stdin=asyncio.subprocess.PIPE)
    reader, writer = await asyncio.open_connection(sock=ours)
    with theirs:
        theirs.sendall(words)
        if closes:
            theirs.close()
        try:
            yield LocalWorker(0, LocustProcess(process, reader, writer, Path("none")))
        finally:
            writer.close()
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


@pytest.mark.parametrize(
    ("words", "closes", "runs"),
    [
        (PROGRESS, True, "cat"),
        (PROGRESS + PROGRESS[:40], True, "cat"),  # killed while it wrote
        (PROGRESS + b"[]\n", True, "cat"),
        (PROGRESS, False, "true"),  # its process ended, though somebody holds its line open
        (PROGRESS, False, "cat"),  # it lives and says nothing
    ],
)
def test_a_worker_that_ends_or_falls_silent_before_it_is_done_is_lost(
    words: bytes, closes: bool, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.01)
    if runs == "cat":
        monkeypatch.setattr(module, "SILENCE_LIMIT_S", 0.01)

    async def main() -> Workers:
        async with saying(words, closes=closes, runs=runs) as worker:
            workers = Workers([worker])
            await asyncio.wait_for(workers.ended(lambda: 7), 30)
            return workers

    workers = asyncio.run(main())
    assert [worker.lost_us for worker in workers.all] == [7]
    assert workers.progress()["sent"] == 3
    assert workers.lost == 1


def test_a_silent_worker_is_killed_so_that_it_sends_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_LIMIT_S", 0.01)
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.01)

    async def main() -> int | None:
        async with saying(PROGRESS, closes=False) as worker:
            await asyncio.wait_for(Workers([worker]).ended(lambda: 7), 30)
            return await asyncio.wait_for(worker.locust.process.wait(), 30)

    assert asyncio.run(main()) == -signal.SIGKILL


def test_what_a_worker_said_before_its_process_ended_is_heard() -> None:
    async def main() -> Workers:
        async with saying(PROGRESS + PROGRESS.replace(b"progress", b"done"), closes=False, runs="true") as worker:
            await worker.locust.process.wait()
            workers = Workers([worker])
            await asyncio.wait_for(workers.ended(lambda: 7), 30)
            return workers

    assert asyncio.run(main()).lost == 0


def order(folder: Path) -> Order:
    """Return one for a gateway that nobody is, without any account's key."""
    return Order(
        shape="ceiling-text",
        asked=Asked().as_data(),
        contract=contract_to_json(tiny()),
        base_url="http://127.0.0.1:9",
        keys={},
        rows=str(folder / "rows.jsonl"),
        index=0,
        workers=1,
        limit_s=1,
    )


@pytest.mark.local
def test_a_generator_that_fails_is_lost_and_says_why_and_no_file_of_a_person_sets_up_its_locust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".locust.conf").write_text("users = many")
    (tmp_path / "locust.conf").write_text("run-time = soon")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()

    async def main() -> Workers:
        async with generators([order(tmp_path)], folder) as workers:
            workers.go(0)
            await asyncio.wait_for(workers.ended(lambda: 7), 30)
            assert "KeyError" in (folder / "locust-0.txt").read_text()
            return workers

    assert asyncio.run(main()).lost == 1


@pytest.mark.local
def test_a_generator_that_does_not_start_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with generators([order(tmp_path)], tmp_path, ["--no-such-option"]):
            pass

    with pytest.raises(TargetError, match="did not start") as raised:
        asyncio.run(main())
    assert "--no-such-option" in raised.value.cause


def test_the_first_generator_alone_gets_the_options_for_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    @asynccontextmanager
    async def started(_: Order, __: Path, locust: object) -> AsyncIterator[LocalWorker]:
        given.append(locust)
        async with saying(b'{"kind":"ready"}\n', closes=False) as worker:
            yield worker

    async def main() -> None:
        async with generators([order(tmp_path)] * 3, tmp_path, ("--web-port", "1")):
            pass

    monkeypatch.setattr(module, "_started", started)
    asyncio.run(main())
    assert given == [("--web-port", "1"), (), ()]
