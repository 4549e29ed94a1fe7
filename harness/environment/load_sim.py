"""One load in virtual time: calls that stream through the simulation, and a draft of its history in chapters.

A chapter ends between two windows of the load, at an instant at which nothing is under way: no call, no attempt, no
hold. What was planned and done until then is handed on to be written down, and forgotten here.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from types import FrameType

import orjson

from harness.contract import Contract
from harness.environment.caller import Caller
from harness.environment.draft import Draft, may_show_a_secret
from harness.environment.load import LoadRun, Watch, load_options, scenario_of_load
from harness.environment.plan import plan_of
from harness.environment.probes import with_probe_account
from harness.environment.sim import perform_in_sim
from harness.environment.stage import Stage
from harness.environment.taps import Taps
from harness.load.shape import Load
from harness.scenario import Call
from harness.sim import VirtualLoop
from harness.target import Mutate

Written = Callable[[Path, int], object]
"""What is told of a chapter's draft, and how many calls were planned in it."""
CHAPTER_CALLS = 10_000
"""A chapter has at least so many calls, as far as there are: what a chapter is held in is some 20 kB a call."""
REST_US = 250_000
"""How long nothing must have been under way before a chapter ends: by then every slot is back, whatever is judged."""
TIMERS_AHEAD = 50
"""For so many calls timers are set at once."""
WATCHED_CALLS = 500
"""After so many calls it is told how far the load is."""


def run_load_in_sim(
    run: LoadRun,
    load: Load,
    contract: Contract,
    watch: Watch,
    written: Written,
    *,
    mutate: Mutate | None = None,
    chapter_calls: int = CHAPTER_CALLS,
) -> bool:
    """Run ``load`` under ``contract`` in virtual time, the same for the same seed; return whether it ran to its end.

    ``written`` is told of each chapter. Ctrl-C stops the sending and is no error: what there is is collected. Raises as
    ``perform_in_sim``.
    """
    made = scenario_of_load(run, load)
    run.folder.mkdir(parents=True, exist_ok=True)
    with closing(Draft(run.folder)) as draft, _interruptible() as stop:
        loading = _Loading(run, load, draft, watch, written, stop, chapter_calls)
        try:
            perform_in_sim(
                loading.perform,
                made,
                run.target,
                contract,
                seed=run.asked.seed,
                recording=draft,
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
        draft: Draft,
        watch: Watch,
        written: Written,
        stop: list[int],
        chapter_calls: int,
    ) -> None:
        self._run = run
        self._load = load
        self._draft = draft
        self._watch = watch
        self._written = written
        self._stop = stop
        self._chapter_calls = chapter_calls
        windows = frozenset(window.word for window in load.windows)
        self._windows_of = lru_cache(maxsize=64)(lambda tag: windows.intersection(tag.split()))
        self._world = with_probe_account(load.world)
        self._planned = 0
        """How many calls the chapter has."""
        self._begun = False
        """Whether the history's first line is made."""
        self._sent = 0
        self._outcomes: Counter[str] = Counter()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        """The calls that have not ended, by id, and those that could not be made."""
        self._last_us = 0
        """When the last call ended."""

    def now_us(self) -> int:
        """Return the time since the load's zero in whole microseconds."""
        return self._loop.now_us - self._zero_us

    def write(self) -> None:
        """Hand on what was planned and recorded since the last chapter; nothing if nothing ever was."""
        if self._begun:
            self._written(self._draft.end_chapter(), self._planned)
            self._planned = 0

    async def perform(self, stage: Stage) -> None:
        """Send the load's calls at their instants, end chapters where there is rest, and read everybody's records."""
        assert stage.zero_s is not None
        assert stage.control is not None
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._stage, self._loop = stage, loop
        self._zero_s, self._zero_us = stage.zero_s, round(stage.zero_s * 1e6)
        self._taps = Taps(stage, self._draft, self.now_us)
        self._caller = Caller(stage, self._world, self._draft, self._taps.scanner, self.now_us, bodies=False)
        self._write_plan()
        await stage.control.start(zero_s=self._zero_s, seed=self._run.asked.seed, injections=[], bodies=False)
        await self._until(0)
        self._draft.note("start", 0)
        await self._send_all()
        for task in list(self._under_way.values()):
            await task
        settle_ms = stage.contract.timeouts.drain_ms + stage.contract.insurance.settle_within_ms
        await asyncio.sleep(settle_ms / 1e3)
        self._draft.note("end", self.now_us())
        await self._taps.collect(self._zero_s)

    def _write_plan(self) -> None:
        """Make the history's first line: it tells of no call, whose own lines stand in their chapters."""
        run = self._run
        made = scenario_of_load(run, self._load)
        plan = plan_of(made, self._world, (), (), self._stage, seed=run.asked.seed, zero_s=self._zero_s)
        plan["options"]["load"] = load_options(run, self._load)
        self._draft.stamped(orjson.dumps({"span": "plan", **plan}, option=orjson.OPT_APPEND_NEWLINE))
        self._begun = True

    async def _send_all(self) -> None:
        """Set timers that send the calls, some ahead: a task that slept until each call would cost much more."""
        window: frozenset[str] | None = None
        at_us = 0
        for number, call in enumerate(self._load.calls(self._stage.contract), 1):
            assert call.at_ms is not None
            at_us = round(call.at_ms * 1e3)
            ours = self._windows_of(call.tag)
            if window and ours and ours != window:
                await self._until(at_us)  # those before it are sent
                if self._planned >= self._chapter_calls:
                    await self._end_chapter()
            window = ours or window
            self._loop.call_at(self._zero_s + at_us / 1e6, self._send, call)
            if number % TIMERS_AHEAD == 0:
                await self._until(at_us)
                self._stage.running.alive()
                if self._stop:
                    return
        await self._until(at_us)

    def _send(self, call: Call) -> None:
        if self._stop:
            return
        self._planned += 1
        self._sent += 1
        self._under_way[call.id] = self._loop.create_task(self._call(call), name=call.id)
        if self._sent % WATCHED_CALLS == 0:
            self._tell()

    async def _end_chapter(self) -> None:
        """End the chapter if all is at rest now, when the next call is about to be sent; else it goes on."""
        if self._under_way or self.now_us() - self._last_us < REST_US or not await self._at_rest():
            return
        self._draft.note("chapter", self.now_us(), calls=self._planned)
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
        exchange, key, request = await self._caller.make(call)
        now_us = self.now_us()
        if may_show_a_secret(exchange, request.credentials):
            self._caller.record(exchange, key, request)
        else:
            self._draft.facts(exchange, key, request, now_us)
        self._outcomes[exchange.outcome_of_head()] += 1
        self._last_us = max(self._last_us, now_us)
        del self._under_way[call.id]

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
