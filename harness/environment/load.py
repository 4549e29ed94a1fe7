"""One load on a stage: Locust started beside it, told when to begin, watched, and its records put together as a run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.checkers.load_memory import GATEWAY, NOTE
from harness.contract import Contract, contract_to_json
from harness.environment.caller import limit_s
from harness.environment.local import local_stage
from harness.environment.plan import plan_of, planned
from harness.environment.probes import with_probe_account
from harness.environment.processes import Cores, resident
from harness.environment.remote import remote_stage
from harness.environment.stage import Stage
from harness.environment.taps import Taps
from harness.history import UNBOUNDED_US, Recorder
from harness.load.collect import add_rows, add_unknown, write_history
from harness.load.fleet import FleetAsked, fleet
from harness.load.order import Order, digest_of
from harness.load.process import generators
from harness.load.shape import Asked, Load, Shape
from harness.load.workers import Worker, Workers
from harness.scenario import Scenario, Workload
from harness.target import Mode, Target, TargetError

LEAD_S = 0.5
"""From the order to go to the load's zero: by then every worker has its first calls made."""
WATCH_S = 0.25
SAMPLE_S = 1.0
"""How often it is looked how much memory each process has."""
STOPPING_S = 5.0
"""How long workers may take to end once they were told to."""
Watch = Callable[[Mapping[str, Any]], None]
"""Is told, a few times a second, how far the load is."""


@dataclass(frozen=True, slots=True)
class LoadRun:
    """What is to be run: a shape as asked, against a target, by so many workers, into a folder."""

    shape: Shape
    asked: Asked
    target: Target
    base: Contract
    """The contract that the shape is made from."""
    mode: Mode
    workers: int
    folder: Path
    mutant: str = ""
    locust: tuple[str, ...] = ()
    """More of Locust's own options."""
    fleet: FleetAsked | None = None
    """The workers to wait for; None: they are started here."""
    starve_ms: int = 0
    """How much of every second the generators are held up, on purpose."""

    @property
    def name(self) -> str:
        return f"load.{self.shape.name}"


async def run_load(run: LoadRun, load: Load, contract: Contract, watch: Watch) -> bool:
    """Run ``load`` under ``contract`` and write its history into the run's folder; return whether it ran to its end.

    A cancellation stops it and is no error: what there is is collected. Raises Unsupported for a world that the target
    has not got, TargetError if the target or a generator does not start, or if the target dies meanwhile: then too the
    history is written.
    """
    made = scenario_of_load(run, load)
    if run.mode == "local":
        stage_of = local_stage(run.name, load.world, run.target, contract, seed=run.asked.seed, mutant=run.mutant)
    else:
        stage_of = remote_stage(load.world, run.target, contract, seed=run.asked.seed)
    async with stage_of as stage:
        run.folder.mkdir(parents=True, exist_ok=True)
        with closing(Recorder()) as recorder:
            return await _Loading(run, load, made, stage, recorder, watch).run()


def scenario_of_load(run: LoadRun, load: Load) -> Scenario:
    """Return the load as a scenario whose calls are not in memory."""
    return Scenario(
        world=load.world,
        workload=Workload(()),
        checks=load.checks,
        recovers=False,
        name=run.name,
        promise=run.shape.promise,
    )


def load_options(run: LoadRun, load: Load, clocks: Sequence[int] = ()) -> dict[str, Any]:
    """Return what the plan's options say of the load; ``clocks`` are those of its workers."""
    return {
        "shape": run.shape.name,
        **run.asked.as_data(),
        "workers": run.workers,
        "clocks": list(clocks),
        "count": load.count,
        "length_ms": load.length_ms,
        "bound_us": load.bound_us,
        "flat": load.flat,
        "windows": [asdict(window) for window in load.windows],
        "steps": [dict(step) for step in load.steps],
    }


class _Loading:
    """A load under way."""

    def __init__(
        self, run: LoadRun, load: Load, made: Scenario, stage: Stage, recorder: Recorder, watch: Watch
    ) -> None:
        self._run = run
        self._load = load
        self._made = made
        self._stage = stage
        self._recorder = recorder
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._zero_s = 0.0
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        """Asked to stop once more: nothing is waited for."""
        self._cores = Cores()
        self._died: TargetError | None = None
        self._lost: list[Worker] = []
        self._clocks: list[int] = []
        self._folder = run.folder.absolute()
        self._rows = [self._folder / f"rows-{index}.jsonl" for index in range(run.workers)]

    def now_us(self) -> int:
        """Return the time since the load's zero in whole microseconds."""
        return round((self._loop.time() - self._zero_s) * 1e6)

    async def run(self) -> bool:
        """Run the load, wait for what is under way, and collect; return whether it ran to its end."""
        run, stage = self._run, self._stage
        with ExitStack() as interruptible:
            async with self._workers() as workers:
                interruptible.enter_context(self._interruptible())  # until now nothing is there to be kept
                self._zero_s = self._loop.time() + LEAD_S
                if stage.control is not None:
                    await stage.control.start(zero_s=self._zero_s, seed=run.asked.seed, injections=[], bodies=False)
                self._recorder.note("start", 0)
                workers.go(round(self._zero_s * 1e6))
                await self._until_ended(workers)
                told = {name: value for name, value in workers.progress().items() if name != "pids"}
                self._recorder.note("generators", self.now_us(), **told, workers=run.workers, cores=self._cores.used())
                self._lost = [worker for worker in workers.all if worker.lost_us is not None]
                self._clocks = [worker.clock for worker in workers.all]
            await self._settle()
            self._recorder.note("end", self.now_us())
            await self._collect()
        if self._died is not None:
            raise self._died
        return not self._stop.is_set()

    def _workers(self) -> AbstractAsyncContextManager[Workers]:
        """Return what yields the workers: those that are started here, or those that came by themselves."""
        run = self._run
        orders = [self._order(index) for index in range(run.workers)]
        if run.fleet is None:
            return generators(orders, self._folder, run.locust)
        return fleet(run.fleet, orders, self._rows, self._folder, run.locust)

    def _order(self, index: int) -> Order:
        run, stage = self._run, self._stage
        keys = {account.id: account.all_keys()[0].id for account in self._load.world.accounts}
        return Order(
            shape=run.shape.name,
            asked={**run.asked.as_data(), "trace": os.path.abspath(run.asked.trace) if run.asked.trace else ""},
            contract=contract_to_json(run.base),
            base_url=stage.base_url,
            keys={account: (key, stage.secrets[key]) for account, key in keys.items()},
            rows="" if run.fleet else str(self._rows[index]),
            index=index,
            workers=run.workers,
            limit_s=limit_s(stage.contract),
            trace_sha=digest_of(run.asked.trace) if run.fleet and run.asked.trace else "",
            starve_ms=run.starve_ms,
        )

    async def _until_ended(self, workers: Workers) -> None:
        """Wait until all workers are done; stop them when asked to, and when the gateway is gone."""
        ended = self._loop.create_task(workers.ended(self.now_us))
        told_s: float | None = None
        sample_s = self._zero_s
        while not ended.done():
            await asyncio.wait({ended}, timeout=WATCH_S)
            progress = workers.progress()
            self._watch({**progress, "planned": self._load.count, "now_us": self.now_us()})
            if self._loop.time() >= sample_s:
                roots = self._processes(workers)
                self._recorder.note(NOTE, self.now_us(), ended=progress["ended"], resident=resident(roots))
                self._cores.look(self._loop.time(), roots)
                sample_s = self._loop.time() + SAMPLE_S
            try:
                self._stage.running.alive()
                self._stage.upstreams_alive()
            except TargetError as error:
                self._died = self._died or error
            if told_s is None and (self._stop.is_set() or self._died is not None):
                workers.stop()
                told_s = self._loop.time()
            if told_s is not None and self._loop.time() > told_s + STOPPING_S:
                ended.cancel()
                break
        with suppress(asyncio.CancelledError):
            await ended

    def _processes(self, workers: Workers) -> dict[str, int]:
        """Return each process that is ours, by its name."""
        process = self._stage.running.process
        roots: dict[str, int | None] = {GATEWAY: process.pid if process is not None else None}
        roots |= {"upstreams": self._stage.upstreams_pid, "harness": os.getpid()}
        roots |= {f"generator {worker.index}": worker.pid for worker in workers.all}
        return {name: pid for name, pid in roots.items() if pid is not None}

    async def _settle(self) -> None:
        """Give drains and settlements the time that the contract gives them, unless somebody cannot wait."""
        contract = self._stage.contract
        with suppress(TimeoutError):
            settle_ms = contract.timeouts.drain_ms + contract.insurance.settle_within_ms
            await asyncio.wait_for(self._hurry.wait(), settle_ms / 1e3)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Take Ctrl-C as the wish to stop: what was recorded until then is collected and judged.

        The second one is the wish to wait for nothing.
        """
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            self._loop.add_signal_handler(number, self._interrupted)
        try:
            yield
        finally:
            for number, handler in before.items():
                self._loop.remove_signal_handler(number)  # which leaves the system's own behind
                signal.signal(number, handler)

    def _interrupted(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _collect(self) -> None:
        """Put rows, journal and books together as the run's history."""
        run, load, stage = self._run, self._load, self._stage
        taps = Taps(stage, self._recorder, self.now_us)
        add_rows(self._recorder, self._rows, lambda line: taps.scan("answer", "", line))
        for lost in self._lost:
            assert lost.lost_us is not None
            share, end_us = load.share(stage.contract, lost.index, run.workers), self.now_us()
            by_us = end_us if lost.may_go_on else lost.lost_us
            add_unknown(self._recorder, self._rows[lost.index], share, sent_by_us=by_us, end_us=end_us)
        try:
            # Books that were given no time to be settled prove nothing.
            await taps.collect(self._zero_s, books=not self._hurry.is_set())
        except TargetError as error:
            self._died = self._died or error  # whose books can be read no more
        world = with_probe_account(load.world) if run.mode == "local" else load.world
        # What could not be read is no tap of this run: nothing in it must not be taken for nothing done.
        seen = {*stage.running.taps} - {"books"} | taps.read
        plan = plan_of(self._made, world, (), (), stage, seed=run.asked.seed, zero_s=self._zero_s)
        plan["taps"] = [tap for tap in plan["taps"] if tap in seen]
        plan["options"]["load"] = load_options(run, load, self._clocks)
        if any(self._clocks):
            plan["skew_us"] = UNBOUNDED_US
        write_history(run.folder, plan, (planned(call, world) for call in load.calls(stage.contract)), self._recorder)
        for rows in self._rows:
            rows.unlink(missing_ok=True)
