"""A run against a gateway that is already there, by its address: what can be seen from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from harness.contract import Contract
from harness.environment.control import UpstreamControl
from harness.environment.local import SKEW_US, socket_transport
from harness.environment.log import Log
from harness.environment.perform import Performance
from harness.environment.probes import PROBE_ACCOUNT
from harness.environment.stage import Stage
from harness.history import Recorder
from harness.scenario import Scenario, World
from harness.target import Target, Unsupported, Wiring


def run_remotely(scenario: Scenario, target: Target, contract: Contract, *, seed: int, recorder: Recorder) -> None:
    """Run ``scenario`` against the gateway that ``target`` names.

    Raises Unsupported for a scenario that needs what cannot be had from outside (another world, faults without the
    mock upstreams behind the gateway, exact times), TargetError if nothing answers.
    """
    if scenario.exact:
        raise Unsupported("its verdict needs exact times: sim judges it")
    if scenario.crashes or scenario.process:
        raise Unsupported("it kills the gateway, which is not the harness's to kill")
    if scenario.store_failures:
        raise Unsupported("the simulated store's failures are for sim")
    asyncio.run(_run(scenario, target, contract, seed, recorder))


async def _run(scenario: Scenario, target: Target, contract: Contract, seed: int, recorder: Recorder) -> None:
    async with remote_stage(scenario.world, target, contract, seed=seed) as stage:
        if stage.control is None and scenario.injections:
            raise Unsupported(
                "it injects faults, and the mock upstreams behind this gateway are not known (--upstreams)"
            )
        probes = PROBE_ACCOUNT in {key.removesuffix("-key") for key in stage.secrets}
        await Performance(scenario, stage, recorder, seed, probes=probes).run()


@asynccontextmanager
async def remote_stage(world: World, target: Target, contract: Contract, *, seed: int) -> AsyncIterator[Stage]:
    """Find the gateway that ``target`` names. Raises Unsupported for a world that it has not got, TargetError."""
    loop = asyncio.get_running_loop()
    wiring = Wiring(
        mode="remote",
        contract=contract,
        world=world,
        secrets={},
        upstreams={},
        seed=seed,
        zero_s=loop.time(),
        epoch_s=0,
    )
    async with target.start(wiring) as running, socket_transport() as transport:
        control = _control(transport, running.upstreams_url) if running.upstreams_url else None
        # Mocks on another machine count from an instant of their own clock.
        apart_us = 0 if control is None else await control.compare_clocks(loop.time)
        yield Stage(
            mode="remote",
            target=target.name,
            mutant="",
            claims=target.claims,
            contract=contract,
            base_url=running.base_url,
            transport=transport,
            running=running,
            control=control,
            upstreams={},
            secrets=running.secrets,
            zero_s=None,
            gateway_zero_s=wiring.zero_s,
            epoch_s=0,
            skew_us=SKEW_US + apart_us,
            log=Log(),
        )


def _control(transport: httpx.AsyncBaseTransport, url: str) -> UpstreamControl:
    """Return the control of the run that the gateway's providers are configured with: the URL's path, or ``serve``."""
    address = httpx.URL(url)
    base = str(address.copy_with(path="/")).rstrip("/")
    return UpstreamControl(transport, base, address.path.strip("/") or "serve")
