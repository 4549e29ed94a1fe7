"""What befalls the gateway itself in a run: kills, restarts, a store that refuses, a full disk; it judges nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from harness.environment.stage import CrashNeverCame, Stage
from harness.history import Recorder
from harness.scenario import Crash, FullDisk, Scenario, SecondGateway, StoreFailure
from harness.target import Process, Start, TargetError


class Mishaps:
    """Brings about what a scenario plans for its gateway, and notes when it was.

    ``done`` are the futures of all that somebody follows; those of crashes it resolves when the gateway is there again,
    or it is certain that a crash never comes.
    """

    def __init__(
        self,
        scenario: Scenario,
        stage: Stage,
        recorder: Recorder,
        done: Mapping[str, asyncio.Future[dict[str, Any] | None]],
        *,
        until: Callable[[float], Awaitable[None]],
        now_us: Callable[[], int],
    ) -> None:
        self._scenario = scenario
        self._stage = stage
        self._recorder = recorder
        self._done = done
        self._until = until
        self._now_us = now_us

    def planned(self) -> list[asyncio.Task[None]]:
        """Return a task for each of them, each of which waits for its instant."""
        made: list[Coroutine[Any, Any, None]] = [
            *(self._crash(crash) for crash in self._scenario.crashes),
            *(self._fail_store(failure) for failure in self._scenario.store_failures),
            *(self._fill_disk(disk) for disk in self._scenario.full_disks),
            *(self._second_gateway(second) for second in self._scenario.second_gateways),
        ]
        loop = asyncio.get_running_loop()
        return [loop.create_task(one) for one in made]

    async def _crash(self, crash: Crash) -> None:
        assert self._stage.crash is not None
        await self._until(crash.at_ms * 1e3)
        for before in crash.after:
            await asyncio.shield(self._done[before])
        if crash.delay_ms:
            await asyncio.sleep(crash.delay_ms / 1e3)
        try:
            start = await self._stage.crash(crash, lambda: self._recorder.note("kill", self._now_us(), id=crash.id))
        except CrashNeverCame:
            self._recorder.note("crash_never_came", self._now_us(), id=crash.id, after_appends=crash.after_appends)
        except TargetError as error:
            if crash.id in self._done:
                self._done[crash.id].set_exception(error)  # whoever follows would wait for ever
            raise
        else:
            if crash.read_only:
                self._note_start("read_only", start)
            self._recorder.note("crash", self._now_us(), after_appends=crash.after_appends)
        if crash.id in self._done:
            self._done[crash.id].set_result(None)

    async def _fail_store(self, failure: StoreFailure) -> None:
        assert self._stage.running.fail_store is not None
        await self._until(failure.at_ms * 1e3)
        self._stage.running.fail_store(failure.appends)
        self._recorder.note("store_failure", self._now_us(), appends=failure.appends)

    async def _fill_disk(self, disk: FullDisk) -> None:
        await self._until(disk.at_ms * 1e3)
        if self._process.fill_disk(disk.room_bytes):
            self._recorder.note("disk_full", self._now_us(), room_bytes=disk.room_bytes)

    async def _second_gateway(self, second: SecondGateway) -> None:
        await self._until(second.at_ms * 1e3)
        self._note_start("in_use", await self._process.start_second())

    def _note_start(self, case: str, start: Start | None) -> None:
        """Note a start that had to fail, and why; ``made`` is False if it could not be tried here."""
        told = {"refused": start.refused, "said": start.said, "untouched": start.untouched} if start is not None else {}
        self._recorder.note("second_start", self._now_us(), case=case, made=start is not None, **told)

    @property
    def _process(self) -> Process:
        assert self._stage.running.process is not None
        return self._stage.running.process
