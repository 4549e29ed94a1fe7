"""Ctrl-C on a load: ends it at once while nothing was sent, stops it afterwards, and never loses what was recorded."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import harness.load.shapes  # noqa: F401 - registers them
from harness.cli.suite import make_target, target_spec
from harness.contract import load_contract
from harness.environment import load as module
from harness.environment.load import LoadRun
from harness.environment.stage import Stage
from harness.environment.taps import Taps
from harness.history import Recorder
from harness.load.shape import SHAPES, Asked
from harness.load.workers import Workers
from tests.load.tiny import LIMITS


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def stage(settle_ms: int, *, books: Any = None) -> Stage:
    """Return as much of a stage as a load without upstreams needs; its settlements take ``settle_ms``."""
    running = SimpleNamespace(alive=lambda: None, taps=("books",), books=books, crashed=lambda said: "")
    contract = load_contract(overlays=[{**LIMITS, "insurance.settle_within_ms": settle_ms}])
    parts = {
        "control": None,
        "upstreams_alive": lambda: None,
        "base_url": "",
        "secrets": defaultdict(str),
        "transport": None,
        "gateway_zero_s": 0.0,
    }
    return cast(Stage, SimpleNamespace(**parts, contract=contract, running=running, log=[]))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.close()


def loading(folder: Path, recorder: Recorder, settle_ms: int = 1) -> module._Loading:
    at = stage(settle_ms)
    shape, asked = SHAPES["ceiling-text"], Asked()
    load = shape.build(at.contract, asked)
    target = make_target(target_spec("reference"))
    run = LoadRun(shape, asked, target, at.contract, "local", workers=1, folder=folder)
    return module._Loading(run, load, module.scenario_of_load(run, load), at, recorder, lambda at: None)


def test_while_the_generators_start_it_ends_the_load_at_once(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []

    @asynccontextmanager
    async def generators(*_: object) -> AsyncIterator[Workers]:
        interrupt()
        try:
            await asyncio.sleep(30)
            yield Workers([])
        finally:
            left.append("generators")

    monkeypatch.setattr(module, "generators", generators)

    async def main() -> None:
        await loading(tmp_path, recorder).run()
        left.append("load")

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert left == ["generators"]


def test_once_it_runs_no_further_one_loses_the_history(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[bool] = []

    @asynccontextmanager
    async def generators(*_: object) -> AsyncIterator[Workers]:
        yield Workers([])

    async def collect(of: module._Loading) -> None:
        for _ in range(3):
            interrupt()
            await asyncio.sleep(0)
        collected.append(True)

    monkeypatch.setattr(module, "generators", generators)
    monkeypatch.setattr(module._Loading, "_collect", collect)

    async def main() -> bool:
        return await loading(tmp_path, recorder).run()

    assert asyncio.run(main()) is False
    assert collected == [True]


def test_a_load_gives_the_signals_back_as_it_found_them(tmp_path: Path, recorder: Recorder) -> None:
    def heard(*_: object) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        with loading(tmp_path, recorder)._interruptible():
            assert signal.getsignal(signal.SIGTERM) is not heard
        assert signal.getsignal(signal.SIGTERM) is heard

    before = signal.signal(signal.SIGTERM, heard)
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGTERM, before)


def test_settlements_get_their_time_unless_it_comes_twice(tmp_path: Path, recorder: Recorder) -> None:
    async def main() -> None:
        one = loading(tmp_path, recorder, settle_ms=60_000)
        with one._interruptible():
            interrupt()
            await asyncio.wait_for(one._stop.wait(), 30)
            settling = asyncio.create_task(one._settle())
            for _ in range(9):
                await asyncio.sleep(0)
            assert not settling.done()
            interrupt()
            await asyncio.wait_for(settling, 30)
            assert one._hurry.is_set()

    asyncio.run(main())


@pytest.mark.parametrize("wanted", [True, False])
def test_books_that_had_no_time_to_be_settled_are_no_tap(wanted: bool, recorder: Recorder) -> None:
    async def books(*_: object) -> AsyncIterator[bytes]:
        yield b'{"span":"ledger","at":5}\n'

    async def main() -> set[str]:
        taps = Taps(stage(1, books=books), recorder, lambda: 0)
        await taps.collect(0.0, books=wanted)
        return taps.read

    assert asyncio.run(main()) == ({"books"} if wanted else set())
    assert any(b"ledger" in line for line in recorder.spans()) is wanted
