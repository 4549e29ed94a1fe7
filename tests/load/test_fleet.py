"""Workers that come by themselves: who gets a seat, who is refused and why, and what is kept of one that is lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

import harness.load.shapes  # noqa: F401 - registers them
from harness.cli.suite import make_target, target_spec
from harness.contract import contract_to_json, load_contract
from harness.environment import load as loads
from harness.environment.load import LoadRun
from harness.environment.stage import Stage
from harness.history import UNBOUNDED_US, Recorder, read_history
from harness.load import fleet as module
from harness.load.fleet import Fleet, FleetAsked, Member, fleet
from harness.load.order import Order, digest_of, this_build, this_clock
from harness.load.process import LocustProcess
from harness.load.shape import SHAPES, Asked
from harness.load.workers import Workers
from harness.runner import EXIT_UNREACHABLE
from harness.target import TargetError
from tests.load.tiny import LIMITS

ROOT = Path(__file__).parents[2]
HOST = "there"
PROGRESS = {"sent": 3, "ended": 2, "outcomes": {"ok": 2}, "late_us": 1, "cpu_s": 0.1, "starved": 0}


class Master:
    """As much of a Locust master as a fleet talks to: ``hears`` what workers say, and keeps what they are told."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.inbox: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self._handed = False

    def tell(self, kind: str, *, node: str, **value: Any) -> None:
        self.sent.append((node, kind, value))

    async def said(self) -> tuple[str, dict[str, Any]]:
        if self._handed:
            self.inbox.task_done()
        told = await self.inbox.get()
        self._handed = True
        return told

    def last_words(self) -> str:
        return "its last words"

    def hears(self, node: str, kind: str, **value: Any) -> None:
        self.inbox.put_nowait((kind, {"node": node, **value}))

    def comes(self, node: str, **other: Any) -> None:
        self.hears(node, "hello", **{"build": this_build(), "clock": this_clock(), "host": HOST, **other})

    def told(self, node: str) -> list[str]:
        return [kind for to, kind, _ in self.sent if to == node]


def order(index: int = 0, **other: Any) -> Order:
    """Return one for calls of two seconds to a gateway that nobody is."""
    limits = {**LIMITS, "text.window_ms": 2_000, "text.requests": 20, "text.tokens": 53_340}
    made = Order(
        shape="ceiling-text",
        asked=Asked(arrivals="constant").as_data(),
        contract=contract_to_json(load_contract(overlays=[limits])),
        base_url="http://127.0.0.1:9",
        keys={"a": ("a-key", "ck_secret")},
        rows="",
        index=index,
        workers=2,
        limit_s=1,
    )
    return replace(made, **other)


Story = Callable[[Master, Fleet, "asyncio.Task[None]"], Coroutine[Any, Any, None]]


def play(story: Story, folder: Path, *, wait_s: float = 30, apart: bool = False) -> list[str]:
    """Play a story with a fleet of two, and return what the person was told."""
    said: list[str] = []

    async def main() -> None:
        master = Master()
        asked = FleetAsked(2, "127.0.0.1", 0, wait_s, apart, said.append)
        rows = [folder / "rows-0", folder / "rows-1"]
        made = Fleet(asked, [order(0), order(1)], rows, cast(LocustProcess, master))
        listening = asyncio.create_task(made.listen())
        await asyncio.wait_for(story(master, made, listening), 30)
        listening.cancel()

    asyncio.run(main())
    return said


async def begun(master: Master, made: Fleet, listening: asyncio.Task[None], **other: Any) -> Workers:
    """Return the workers ``x`` and ``y``, ready; ``other``: what they say of themselves."""
    for node in ("x", "y"):
        master.comes(node, **other)
        master.hears(node, "ready")
    return await made.gathered(listening)


def test_workers_that_come_have_a_share_each_and_begin_at_one_instant_of_the_clock_that_they_share(
    tmp_path: Path,
) -> None:
    async def story(master: Master, made: Fleet, listening: asyncio.Task[None]) -> None:
        workers = await begun(master, made, listening)
        orders = [value["order"]["index"] for _, kind, value in master.sent if kind == "order"]
        assert orders == [0, 1] == [worker.index for worker in workers.all]
        workers.go(5_000_000)
        assert master.sent[-2:] == [("x", "go", {"zero_us": 5_000_000}), ("y", "go", {"zero_us": 5_000_000})]
        assert [worker.clock for worker in workers.all] == [0, 0]
        for node in ("x", "y"):
            master.hears(node, "rows", rows='{"id":"s1"}\n')
            master.hears(node, "rows", rows='{"id":"s3"}\n')
            master.hears(node, "done", **PROGRESS)
        await workers.ended(lambda: 7)
        assert workers.lost == 0
        assert workers.progress()["sent"] == 6
        assert (tmp_path / "rows-0").read_text() == '{"id":"s1"}\n{"id":"s3"}\n'

    said = play(story, tmp_path)
    assert said == ["1 of 2 workers are ready; this one is of there", "2 of 2 workers are ready; this one is of there"]


@pytest.mark.parametrize(("clock", "apart"), [("another machine's", False), ("", False), (this_clock(), True)])
def test_a_worker_whose_clock_does_not_compare_begins_so_long_after_it_hears_it(
    clock: str, apart: bool, tmp_path: Path
) -> None:
    async def story(master: Master, made: Fleet, listening: asyncio.Task[None]) -> None:
        workers = await begun(master, made, listening, clock=clock)
        assert [worker.clock for worker in workers.all] == [1, 2]
        workers.go(round(asyncio.get_running_loop().time() * 1e6) + 500_000)
        _, kind, value = master.sent[-1]
        assert kind == "go"
        assert 0 < value["in_us"] <= 500_000

    play(story, tmp_path, apart=apart)


def test_one_of_another_build_and_one_too_many_are_refused_and_told_why(tmp_path: Path) -> None:
    async def story(master: Master, made: Fleet, listening: asyncio.Task[None]) -> None:
        master.comes("old", build="0.0.1 (0000)")
        master.hears("old", "gone")
        master.comes("x")
        master.comes("y")
        master.comes("z")
        await master.inbox.join()
        assert master.told("old") == ["refused"]
        assert master.told("z") == ["refused"]
        assert master.told("y") == ["order"]

    said = play(story, tmp_path)
    assert f"of another build: 0.0.1 (0000), and the harness is {this_build()}" in said[0]
    assert "one too many" in said[1]


@pytest.mark.parametrize("end", ["gone", "failed"])
def test_a_seat_that_is_left_before_the_load_began_is_the_next_ones(end: str, tmp_path: Path) -> None:
    async def story(master: Master, made: Fleet, listening: asyncio.Task[None]) -> None:
        master.comes("x")
        master.hears("x", "ready")
        master.hears("x", end, why="cannot read the trace")
        workers = await begun(master, made, listening)
        assert sorted(worker.index for worker in workers.all) == [0, 1]
        assert workers.lost == 0

    assert any("worker 0 of there cannot read the trace" in text for text in play(story, tmp_path))


def test_one_that_comes_when_the_load_has_begun_is_refused(tmp_path: Path) -> None:
    async def story(master: Master, made: Fleet, listening: asyncio.Task[None]) -> None:
        await begun(master, made, listening)
        master.comes("late")
        await master.inbox.join()
        assert master.told("late") == ["refused"]

    assert "came too late" in play(story, tmp_path)[-1]


def test_one_that_is_missed_is_lost_with_its_rows_kept_and_may_go_on(tmp_path: Path) -> None:
    async def story(master: Master, made: Fleet, listening: asyncio.Task[None]) -> None:
        workers = await begun(master, made, listening)
        master.hears("x", "rows", rows='{"id":"s1"}\n')
        master.hears("x", "gone")
        master.hears("x", "rows", rows='{"id":"s3"}\n')  # what was under way comes late
        master.hears("y", "done", **PROGRESS)
        await workers.ended(lambda: 7)
        assert [worker.lost_us for worker in workers.all] == [7, None]
        assert workers.all[0].may_go_on
        assert master.told("x")[-1] == "stop"  # should it hear again
        assert (tmp_path / "rows-0").read_text() == '{"id":"s1"}\n{"id":"s3"}\n'

    play(story, tmp_path)


def test_a_silent_worker_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_LIMIT_S", 0.01)

    async def story(master: Master, made: Fleet, listening: asyncio.Task[None]) -> None:
        workers = await begun(master, made, listening)
        master.hears("y", "done", **PROGRESS)
        await workers.ended(lambda: 7)
        assert [worker.lost_us for worker in workers.all] == [7, None]

    play(story, tmp_path)


@pytest.mark.parametrize("kind", ["master", "disk"])
def test_all_are_lost_when_the_master_is_gone_or_rows_cannot_be_kept(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "none" if kind == "disk" else tmp_path

    async def story(master: Master, made: Fleet, listening: asyncio.Task[None]) -> None:
        workers = await begun(master, made, listening)
        if kind == "disk":
            master.hears("x", "rows", rows="{}\n")
        else:
            master.inbox.put_nowait(("", {}))
        await workers.ended(lambda: 7)
        assert workers.lost == 2

    said = play(story, folder)
    assert any("cannot be kept: No such file" in text for text in said) is (kind == "disk")


def test_a_fleet_that_does_not_come_together_in_time_says_how_far_it_is(tmp_path: Path) -> None:
    async def story(master: Master, made: Fleet, listening: asyncio.Task[None]) -> None:
        master.comes("x")
        master.hears("x", "ready")
        with pytest.raises(TargetError, match=r"1 of 2 load workers came in 0\.01 s") as raised:
            await made.gathered(listening)
        assert "harness load-worker" in raised.value.help

    play(story, tmp_path, wait_s=0.01)


def test_a_master_that_ends_while_it_is_waited_says_why(tmp_path: Path) -> None:
    async def story(master: Master, made: Fleet, listening: asyncio.Task[None]) -> None:
        master.inbox.put_nowait(("", {}))
        with pytest.raises(TargetError, match="the Locust master ended") as raised:
            await made.gathered(listening)
        assert raised.value.cause == "its last words"

    play(story, tmp_path)


def test_an_order_for_another_trace_than_the_one_that_is_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"timestamp": 0, "input_length": 100, "output_length": 10}\n')
    asked = Asked(trace=str(path)).as_data()
    made = order(shape="trace", asked=asked, trace_sha=digest_of(str(path)))
    load, _ = made.made()
    assert load.count == 1
    path.write_text('{"timestamp": 0, "input_length": 101, "output_length": 10}\n')
    with pytest.raises(ValueError, match=r"trace\.jsonl is another trace here"):
        made.made()


@pytest.mark.local
def test_over_loopback_a_worker_that_is_ended_is_lost_the_others_rows_come_and_no_process_stays(tmp_path: Path) -> None:
    """Two workers of Locust's own, started as docs/load.md says."""
    processes: list[subprocess.Popen[str]] = []

    def told(text: str) -> None:
        if not processes:
            at = text.rpartition(" ")[2]
            command = (sys.executable, "-m", "harness.cli", "load-worker", at)
            processes.extend(subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE) for _ in range(2))

    async def main() -> Workers:
        asked = FleetAsked(2, "127.0.0.1", 0, 60, True, told)
        rows = [tmp_path / "rows-0", tmp_path / "rows-1"]
        async with fleet(asked, [order(0), order(1)], rows, tmp_path) as workers:
            processes[0].terminate()
            workers.go(round(asyncio.get_running_loop().time() * 1e6) + 100_000)
            await asyncio.wait_for(workers.ended(lambda: 7), 30)
            return workers

    workers = asyncio.run(main())
    said = [process.communicate(timeout=30)[1] for process in processes]
    assert [process.returncode for process in processes] == [EXIT_UNREACHABLE, 0], said
    assert "ended before its share was sent" in said[0]
    assert "its share was sent, and told" in said[1]
    assert sorted(worker.done for worker in workers.all) == [False, True]
    assert workers.lost == 1
    (kept,) = tmp_path.glob("rows-*")
    spans = [orjson.loads(line) for line in kept.read_bytes().splitlines()]
    assert len(spans) == 10
    assert {span["outcome"] for span in spans} == {"cut"}  # nobody listens there
    assert all(abs(span["sent"]) < 30_000_000 for span in spans)  # by its own clock's zero
    assert "ck_secret" not in "".join(path.read_text(errors="replace") for path in tmp_path.iterdir())


@pytest.mark.parametrize(("clocks", "skew_us"), [((0, 0), 2_000), ((0, 2), UNBOUNDED_US)])
def test_the_record_tells_whose_clocks_compare_and_every_call_that_a_lost_worker_may_have_sent(
    clocks: tuple[int, int], skew_us: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_target(target_spec("reference"))
    contract = load_contract(overlays=[LIMITS])
    shape, asked = SHAPES["ceiling-text"], Asked(arrivals="constant")
    load = shape.build(contract, asked)
    orders: list[Order] = []

    @asynccontextmanager
    async def come(_: FleetAsked, given: Sequence[Order], *__: object) -> AsyncIterator[Workers]:
        orders.extend(given)
        master = cast(LocustProcess, Master())
        members = [Member(index, f"x{index}", HOST, clock, tmp_path, master) for index, clock in enumerate(clocks)]
        members[0].done = True
        for member in members:
            member.over.set()
        yield Workers(members)

    monkeypatch.setattr(loads, "fleet", come)
    monkeypatch.setattr(loads, "LEAD_S", -1.0)  # as if a second of it were over
    fleet_asked = FleetAsked(2, "127.0.0.1", 0, 1, False, lambda _: None)
    run = LoadRun(shape, asked, target, contract, "local", workers=2, folder=tmp_path / "run", fleet=fleet_asked)
    run.folder.mkdir()
    running = SimpleNamespace(alive=lambda: None, process=None, taps=(), books=None, crashed=lambda said: "")
    settings = {
        "mode": "local",
        "target": "reference",
        "mutant": "",
        "claims": (),
        "epoch_s": 0,
        "upstreams": {},
        "upstreams_pid": None,
        "upstreams_alive": lambda: None,
    }
    given = {"control": None, "base_url": "", "secrets": defaultdict(str), "gateway_zero_s": 0.0, "log": []}
    stage = SimpleNamespace(**settings, **given, contract=contract, running=running, skew_us=2_000)

    async def main() -> None:
        with closing(Recorder()) as recorder:
            made = loads.scenario_of_load(run, load)
            assert await loads._Loading(run, load, made, cast(Stage, stage), recorder, lambda _: None).run()

    asyncio.run(main())
    history = read_history(run.folder)
    assert [made.rows for made in orders] == ["", ""]
    assert history.skew_us == skew_us
    assert history.plan.options["load"]["clocks"] == list(clocks)
    # Nothing was heard of the second worker: what was due of its share until the end is open, nothing of the first's.
    assert history.calls
    assert {call.outcome for call in history.calls} == {"open"}
    assert all(int(call.id[1:]) % 2 == 0 for call in history.calls)
