"""One load in virtual time: calls that stream through the simulation, and a history written in chapters as it goes on.

A chapter ends between two windows of the load, at an instant at which nothing is under way: no call, no attempt, no
hold. What was planned and done until then is written in the order of (end, sequence), and forgotten here.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import IO

import orjson

from harness.contract import Contract
from harness.environment.caller import Caller
from harness.environment.load import LoadRun, Watch, load_options, scenario_of_load
from harness.environment.plan import plan_of, planned
from harness.environment.probes import with_probe_account
from harness.environment.sim import perform_in_sim
from harness.environment.stage import Stage
from harness.environment.taps import Taps
from harness.history import Recorder
from harness.load.shape import Load
from harness.scenario import Call
from harness.target import Mutate

CHAPTER_CALLS = 10_000
"""A chapter has at least so many calls, as far as there are: what a chapter is held in is some 20 kB a call."""
REST_US = 250_000
"""How long nothing must have been under way before a chapter ends: by then every slot is back, whatever is judged."""
WATCHED_CALLS = 500
"""After so many calls it is told how far the load is."""


def run_load_in_sim(
    run: LoadRun,
    load: Load,
    contract: Contract,
    watch: Watch,
    written: Callable[[int], None],
    *,
    mutate: Mutate | None = None,
    chapter_calls: int = CHAPTER_CALLS,
) -> bool:
    """Run ``load`` under ``contract`` in virtual time, the same for the same seed; return whether it ran to its end.

    Its history grows in the run's folder: ``written`` is told, after each chapter, how many bytes of it are final.
    Ctrl-C stops the sending and is no error: what there is is collected. Raises as ``perform_in_sim``.
    """
    made = scenario_of_load(run, load)
    run.folder.mkdir(parents=True, exist_ok=True)
    with closing(Recorder()) as recorder, (run.folder / "history.jsonl").open("wb") as file, _interruptible() as stop:
        loading = _Loading(run, load, recorder, file, watch, written, stop, chapter_calls)
        try:
            perform_in_sim(
                loading.perform,
                made,
                run.target,
                contract,
                seed=run.asked.seed,
                recorder=recorder,
                mutate=mutate,
                mutant=run.mutant,
            )
        finally:
            loading.write()
    return not stop


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Take the first Ctrl-C as the wish to stop, and yield the list that it is put into; the second one ends it all."""
    told: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        if told:
            raise KeyboardInterrupt
        told.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Loading:
    """A load under way."""

    def __init__(
        self,
        run: LoadRun,
        load: Load,
        recorder: Recorder,
        file: IO[bytes],
        watch: Watch,
        written: Callable[[int], None],
        stop: list[int],
        chapter_calls: int,
    ) -> None:
        self._run = run
        self._load = load
        self._recorder = recorder
        self._file = file
        self._watch = watch
        self._written = written
        self._stop = stop
        self._chapter_calls = chapter_calls
        self._windows = frozenset(window.word for window in load.windows)
        self._world = with_probe_account(load.world)
        self._planned: list[bytes] = []
        """The chapter's calls, as lines."""
        self._begun = False
        """Whether the history's first line is written."""
        self._sent = 0
        self._outcomes: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[None]] = set()
        self._last_us = 0
        """When the last call ended."""

    def now_us(self) -> int:
        """Return the time since the load's zero in whole microseconds."""
        return round((self._loop.time() - self._zero_s) * 1e6)

    def write(self) -> None:
        """Write what was planned and recorded since the last chapter, and forget it; nothing if nothing was planned."""
        if not self._begun:
            return
        self._file.writelines(self._planned)
        self._planned.clear()
        self._file.writelines(self._recorder.drain())
        self._file.flush()
        self._written(self._file.tell())

    async def perform(self, stage: Stage) -> None:
        """Send the load's calls at their instants, end chapters where there is rest, and read everybody's records."""
        assert stage.zero_s is not None
        assert stage.control is not None
        self._stage, self._loop, self._zero_s = stage, asyncio.get_running_loop(), stage.zero_s
        self._taps = Taps(stage, self._recorder, self.now_us)
        self._caller = Caller(stage, self._world, self._recorder, self._taps, self.now_us, bodies=False)
        self._write_plan()
        await stage.control.start(zero_s=self._zero_s, seed=self._run.asked.seed, injections=[], bodies=False)
        await self._until(0)
        self._recorder.note("start", 0)
        await self._send_all()
        for task in list(self._under_way):
            await task
        settle_ms = stage.contract.timeouts.drain_ms + stage.contract.insurance.settle_within_ms
        await asyncio.sleep(settle_ms / 1e3)
        self._recorder.note("end", self.now_us())
        await self._taps.collect(self._zero_s)

    def _write_plan(self) -> None:
        """Write the history's first line; each call's plan is written before the chapter in which it is sent."""
        run = self._run
        made = scenario_of_load(run, self._load)
        plan = plan_of(made, self._world, (), (), self._stage, seed=run.asked.seed, zero_s=self._zero_s)
        plan["options"]["load"] = load_options(run, self._load)
        self._file.write(orjson.dumps({"span": "plan", **plan}, option=orjson.OPT_APPEND_NEWLINE))
        self._begun = True

    async def _send_all(self) -> None:
        window: frozenset[str] | None = None
        create_task, under_way = self._loop.create_task, self._under_way
        for call in self._load.calls(self._stage.contract):
            assert call.at_ms is not None
            at_us = round(call.at_ms * 1e3)
            ours = self._windows.intersection(call.tag.split())
            if window and ours and ours != window and len(self._planned) >= self._chapter_calls:
                await self._end_chapter(at_us)
            window = ours or window
            await self._until(at_us)
            if self._stop:
                return
            self._planned.append(
                orjson.dumps({"span": "planned", **planned(call, self._world)}, option=orjson.OPT_APPEND_NEWLINE)
            )
            self._sent += 1
            task = create_task(self._call(call), name=call.id)
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            self._stage.running.alive()
            if self._sent % WATCHED_CALLS == 0:
                self._tell()

    async def _end_chapter(self, before_us: int) -> None:
        """End the chapter if all is at rest when the next call is about to be sent; else it goes on."""
        await self._until(before_us)
        if self._under_way or self.now_us() - self._last_us < REST_US or not await self._at_rest():
            return
        self._recorder.note("chapter", self.now_us(), calls=len(self._planned))
        self.write()

    async def _at_rest(self) -> bool:
        """Read the taps, and say whether they are at rest: reading takes no time, or the chapter would end too late."""
        now_us = self.now_us()
        return await self._taps.collect_ended(self._zero_s) and self.now_us() == now_us

    async def _until(self, at_us: float) -> None:
        delay = self._zero_s + at_us / 1e6 - self._loop.time()
        if delay > 0:
            await asyncio.sleep(delay)

    async def _call(self, call: Call) -> None:
        span = await self._caller.call(call)
        self._outcomes[span["outcome"]] += 1
        self._last_us = max(self._last_us, self.now_us())

    def _tell(self) -> None:
        self._watch(
            {
                "planned": self._load.count,
                "sent": self._sent,
                "ended": self._outcomes.total(),
                "outcomes": dict(self._outcomes),
                "late_us": 0,
                "lost": 0,
                "now_us": self.now_us(),
            }
        )
