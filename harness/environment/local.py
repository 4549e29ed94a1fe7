"""A run on loopback sockets in real time: mocks and gateway as child processes, stopped on every way out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import orjson

from harness.contract import Contract
from harness.environment.control import UpstreamControl
from harness.environment.log import Log
from harness.environment.perform import Performance
from harness.environment.probes import with_probe_account
from harness.environment.secrets import random_secrets
from harness.environment.sim import roles_of
from harness.environment.stage import Kill, Stage
from harness.history import Recorder
from harness.scenario import Crash, Scenario, World
from harness.target import Process, Start, Target, TargetError, Unsupported, UpstreamAddress, Wiring
from harness.targets.child import start_child

SKEW_US = 2_000
"""uvloop's clock has steps of a millisecond; two processes' stamps may be that far apart, and then some."""


class UpstreamsDiedError(Exception):
    """The mock upstreams ended before the run did: they are the harness's own, and it is no fault of the gateway's."""


def run_locally(
    scenario: Scenario, target: Target, contract: Contract, *, seed: int, recorder: Recorder, mutant: str = ""
) -> None:
    """Run ``scenario`` against ``target`` on loopback into ``recorder``.

    Raises Unsupported for what sockets cannot judge, TargetError if a child does not start or dies.
    """
    if scenario.exact:
        raise Unsupported("its verdict needs exact times: sim judges it")
    if any(crash.after_appends is not None for crash in scenario.crashes):
        raise Unsupported("a crash inside a commit of one's choice is for sim")
    if scenario.store_failures:
        raise Unsupported("the simulated store's failures are for sim")
    asyncio.run(_run(scenario, target, contract, seed, recorder, mutant))


def _crasher(process: Process) -> Kill:
    """Return what kills the gateway's process, and starts another on the file that it left."""

    async def crash(how: Crash, killed: Callable[[], None]) -> Start | None:
        process.kill()
        killed()
        await process.gone()
        start = await process.start_second(read_only=True) if how.read_only else None
        await process.restart()
        return start

    return crash


def socket_transport() -> httpx.AsyncHTTPTransport:
    """Return the caller's side of a socket: no connection is reused near the end of a server's keep-alive."""
    return httpx.AsyncHTTPTransport(
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=1.0)
    )


async def _run(
    scenario: Scenario, target: Target, contract: Contract, seed: int, recorder: Recorder, mutant: str
) -> None:
    async with local_stage(scenario.name, scenario.world, target, contract, seed=seed, mutant=mutant) as stage:
        if (scenario.crashes or scenario.process) and stage.crash is None:
            raise Unsupported("it cannot be killed and started again on what it had committed")
        await Performance(scenario, stage, recorder, seed).run()


@asynccontextmanager
async def local_stage(
    name: str, world: World, target: Target, contract: Contract, *, seed: int, mutant: str = ""
) -> AsyncIterator[Stage]:
    """Start mocks and gateway for the run called ``name``, and stop them on the way out.

    Raises Unsupported for a world that the target has not got, TargetError if a child does not start or dies,
    UpstreamsDiedError if those that died are the mocks.
    """
    loop = asyncio.get_running_loop()
    roles = roles_of(contract)
    listeners = {role: world.listeners.get(role, "open") for role in roles}
    world = with_probe_account(world)
    secrets = random_secrets(world)
    log = Log()
    async with (
        start_child(["serve", "upstreams", "--config", "-"], orjson.dumps({"listeners": listeners})) as mocks,
        socket_transport() as transport,
    ):
        upstreams = {
            role: UpstreamAddress(
                f"{mocks.named[role]}/{name}/{role}/openai",
                f"{mocks.named[role]}/{name}/{role}/anthropic",
                f"up-{role}-{seed}",
            )
            for role in roles
        }
        wiring = Wiring(
            mode="local",
            contract=contract,
            world=world,
            secrets=secrets,
            upstreams=upstreams,
            seed=seed,
            zero_s=loop.time(),
            epoch_s=0,
            log=log.append,
            mutant=mutant,
        )
        async with target.start(wiring) as running:
            stage = Stage(
                mode="local",
                target=target.name,
                mutant=mutant,
                claims=target.claims,
                contract=contract,
                base_url=running.base_url,
                transport=transport,
                running=running,
                control=UpstreamControl(transport, mocks.base_url, name),
                upstreams=upstreams,
                secrets=secrets,
                zero_s=None,
                gateway_zero_s=wiring.zero_s,
                epoch_s=wiring.epoch_s,
                skew_us=SKEW_US,
                log=log,
                upstreams_pid=mocks.process.pid,
                upstreams_alive=mocks.alive,
            )
            stage.crash = _crasher(running.process) if running.process is not None else None
            try:
                yield stage
            except TargetError as error:
                if mocks.process.returncode is not None:
                    raise UpstreamsDiedError(f"the mock upstreams died (exit {mocks.process.returncode})") from error
                raise
