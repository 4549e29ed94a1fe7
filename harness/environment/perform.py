"""One run of one scenario, the same in every mode: plan, calls, healing, recovery, and what everybody's books say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.checkers.recovery import bound_ms
from harness.clients import next_try_s, with_tries
from harness.environment.caller import Caller
from harness.environment.mishaps import Mishaps
from harness.environment.plan import injections_of, plan_of
from harness.environment.probes import recovers, recovery_calls, with_probe_account
from harness.environment.stage import Stage
from harness.environment.taps import Taps
from harness.history import Recorder
from harness.scenario import Call, Scenario, Workload

LEAD_S = 0.05
"""From the end of the preparations to the run's zero."""


class Performance:
    """Runs one scenario on a stage into a recorder."""

    def __init__(self, scenario: Scenario, stage: Stage, recorder: Recorder, seed: int, *, probes: bool = True) -> None:
        self.calls = with_tries(scenario.workload.numbered(scenario.crashes))
        self.scenario = scenario = replace(scenario, workload=Workload(self.calls))
        self.stage = stage
        self.recorder = recorder
        self.seed = seed
        self.world = with_probe_account(scenario.world) if probes else scenario.world
        self.recovers = recovers(scenario)
        self.probes = recovery_calls(scenario, stage.contract) if self.recovers and probes else ()
        self._loop = asyncio.get_running_loop()
        self._zero_s = 0.0
        self._done: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        """What somebody follows, by id: the span of a call that is over; None for a try that its client did not make,
        and for a crash that the gateway is back from."""
        self._tries: dict[str, list[dict[str, Any]]] = {}
        """The spans of each turn's tries so far."""
        self._taps = Taps(stage, recorder, self.now_us)
        self._caller = Caller(stage, self.world, recorder, self._taps.scanner, self.now_us, bodies=scenario.bodies)

    def now_us(self) -> int:
        """Return the time since the run's zero in whole microseconds."""
        return round((self._loop.time() - self._zero_s) * 1e6)

    async def run(self) -> None:
        """Plan, run the calls, heal, probe for recovery and read everybody's records.

        Raises TargetError when the gateway or the upstreams are gone; what was recorded until then stays.
        """
        stage = self.stage
        injections = injections_of(self.scenario, self.calls)
        self._zero_s = self._loop.time() + LEAD_S if stage.zero_s is None else stage.zero_s
        self.recorder.plan(
            plan_of(
                self.scenario,
                self.world,
                (*self.calls, *self.probes),
                injections,
                stage,
                seed=self.seed,
                zero_s=self._zero_s,
            )
        )
        if stage.control is not None:
            await stage.control.start(
                zero_s=self._zero_s, seed=self.seed, injections=injections, bodies=self.scenario.bodies
            )
        await self._until(0)
        self.recorder.note("start", 0)
        followed = [call.after for call in (*self.calls, *self.probes)] + [c.after for c in self.scenario.crashes]
        awaited = dict.fromkeys(name for names in followed for name in names)
        self._done.update((name, self._loop.create_future()) for name in awaited)
        mishaps = Mishaps(self.scenario, stage, self.recorder, self._done, until=self._until, now_us=self.now_us)
        planned = mishaps.planned()
        await self._workload(self.calls)
        for mishap in planned:
            await mishap
        await self._settle()
        if stage.control is not None:
            await stage.control.heal()
        await self._recover()
        self.recorder.note("end", self.now_us())
        await self._taps.collect(self._zero_s, bodies=self.scenario.bodies)

    async def _until(self, at_us: float) -> None:
        delay = self._zero_s + at_us / 1e6 - self._loop.time()
        if delay > 0:
            await asyncio.sleep(delay)

    async def _settle(self) -> None:
        contract = self.stage.contract
        default = contract.timeouts.drain_ms + contract.insurance.settle_within_ms
        settle_ms = self.scenario.settle_ms if self.scenario.settle_ms is not None else default
        await asyncio.sleep(settle_ms / 1e3)

    async def _recover(self) -> None:
        """Give the healed gateway the time in which it must have recovered, then send the calls that show whether."""
        if not self.recovers:
            self.recorder.note("heal", self.now_us())
            return
        rest_ms = bound_ms(self.stage.contract)
        self.recorder.note("heal", self.now_us(), bound_ms=rest_ms)
        if self.probes:
            await asyncio.sleep(rest_ms / 1e3)
            await self._workload(self.probes)
            await self._settle()

    async def _workload(self, calls: Sequence[Call]) -> None:
        """Send scheduled calls at their instants, whatever became of the others, and followers after theirs."""
        late_us = 0
        tasks: list[asyncio.Task[None]] = []
        followers = [call for call in calls if call.after or call.at_ms is None]
        scheduled = sorted((call for call in calls if not call.after and call.at_ms is not None), key=_at_ms)
        tasks.extend(self._loop.create_task(self._follow(call), name=call.id) for call in followers)
        for call in scheduled:
            at_us = round(_at_ms(call) * 1e3)  # as the plan has it, so that a plan alone repeats the run
            await self._until(at_us)
            late_us = max(late_us, self.now_us() - at_us)
            tasks.append(self._loop.create_task(self._call(call), name=call.id))
            self.stage.running.alive()
        for task in tasks:
            await task
        if scheduled:
            self.recorder.note("lateness", self.now_us(), max_us=late_us, calls=len(scheduled))

    async def _follow(self, call: Call) -> None:
        spans = [await asyncio.shield(self._done[before]) for before in call.after]
        if call.turn not in ("", call.id):
            wait_s = next_try_s(call, self._tries[call.turn])
        else:
            wait_s = call.delay_ms / 1e3
            if call.wait_retry_after:
                told = [float(span["headers"].get("retry-after", 0)) for span in spans if span is not None]
                wait_s += max(told, default=0.0)
        if wait_s is None:
            self._over(call, None)
            return
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await self._call(call)

    async def _call(self, call: Call) -> None:
        span = await self._caller.call(call)
        if call.turn:
            self._tries.setdefault(call.turn, []).append(span)
        self._over(call, span)

    def _over(self, call: Call, span: dict[str, Any] | None) -> None:
        """Tell those that follow ``call`` what became of it."""
        if call.id in self._done:
            self._done[call.id].set_result(span)


def _at_ms(call: Call) -> float:
    assert call.at_ms is not None
    return call.at_ms
