"""A run in virtual time: gateway and mocks unmodified, on a modelled network, in one process and one thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from harness.contract import Contract
from harness.environment.control import UpstreamControl
from harness.environment.perform import LEAD_S, Performance
from harness.environment.probes import with_probe_account
from harness.environment.secrets import made_up_secrets
from harness.environment.stage import Stage
from harness.history import Recorder
from harness.scenario import Scenario
from harness.sim import Link, Network, SimTransport, VirtualLoop
from harness.target import Mutate, Target, Unsupported, UpstreamAddress, Wiring
from mock_upstreams.server import create_app

EPOCH_S = 1_767_225_600
"""Wall time of a simulated run's zero: 2026-01-01T00:00:00Z."""
GATEWAY = "gateway.test"
UPSTREAMS = "upstreams.test"


def run_in_sim(
    scenario: Scenario,
    target: Target,
    contract: Contract,
    *,
    seed: int,
    recorder: Recorder,
    mutate: Mutate | None = None,
    mutant: str = "",
) -> None:
    """Run ``scenario`` against ``target`` in virtual time into ``recorder``: the same for the same seed, bit for bit.

    Raises Unsupported, TargetError, and whatever the simulation finds wrong (a deadlock, a blocking call).
    """
    loop = VirtualLoop()
    try:
        loop.run(_run(scenario, target, contract, seed, recorder, mutate, mutant))
    finally:
        loop.close()


async def _run(
    scenario: Scenario,
    target: Target,
    contract: Contract,
    seed: int,
    recorder: Recorder,
    mutate: Mutate | None,
    mutant: str,
) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    link = Link(connect_s=scenario.connect_ms / 1e3, latency_s=scenario.latency_ms / 1e3, chop=scenario.chop)
    network = Network(seed, link)
    roles = roles_of(contract)
    network.serve(UPSTREAMS, create_app(), aliases=[f"{role}.upstream" for role in roles])
    for role, state in scenario.world.listeners.items():
        network.listen(f"{role}.upstream", state)
    world = with_probe_account(scenario.world)
    run = scenario.name
    log: list[str] = []
    wiring = Wiring(
        mode="sim",
        contract=contract,
        world=world,
        secrets=made_up_secrets(world, f"{seed}/{scenario.name}"),
        upstreams={
            role: UpstreamAddress(
                f"{_scheme(scenario, role)}://{role}.upstream/{run}/{role}/openai",
                f"{_scheme(scenario, role)}://{role}.upstream/{run}/{role}/anthropic",
                f"up-{hashlib.sha256(f'{seed}/{role}'.encode()).hexdigest()[:24]}",
            )
            for role in roles
        },
        seed=seed,
        zero_s=loop.time() + LEAD_S,
        epoch_s=EPOCH_S,
        transport=SimTransport(network, GATEWAY),
        log=log.append,
        mutate=mutate,
        mutant=mutant,
    )
    async with target.start(wiring) as running:
        assert running.app is not None
        network.serve(GATEWAY, running.app)
        await network.start(GATEWAY)
        client = SimTransport(network, "client")
        stage = Stage(
            mode="sim",
            target=target.name,
            mutant=mutant,
            claims=target.claims,
            contract=contract,
            base_url=f"http://{GATEWAY}",
            transport=client,
            running=running,
            control=UpstreamControl(SimTransport(network, "harness"), f"http://{UPSTREAMS}", run),
            upstreams=wiring.upstreams,
            secrets=wiring.secrets,
            zero_s=wiring.zero_s,
            gateway_zero_s=wiring.zero_s,
            epoch_s=EPOCH_S,
            skew_us=0,
            log=log,
        )
        if running.crash is not None and running.restart is not None:
            stage.crash = _crasher(network, stage)
        if scenario.store_failures and running.fail_store is None:
            raise Unsupported("its store cannot be made to fail")
        await Performance(scenario, stage, recorder, seed).run()
        await network.stop(GATEWAY)


def _crasher(network: Network, stage: Stage) -> Callable[[int | None], Awaitable[None]]:
    """Return what kills the gateway as kill -9 would, and starts it again on what was committed."""

    async def crash(after_appends: int | None) -> None:
        running = stage.running
        assert running.crash is not None
        assert running.restart is not None
        crashed = asyncio.Event()
        running.crash(after_appends, crashed.set)
        await crashed.wait()
        network.kill(GATEWAY)
        running.app = await running.restart()
        network.serve(GATEWAY, running.app)
        await network.start(GATEWAY)

    return crash


def _scheme(scenario: Scenario, role: str) -> str:
    return "https" if scenario.world.listeners.get(role) == "tls_failing" else "http"


def roles_of(contract: Contract) -> tuple[str, ...]:
    """Return every role of the contract's chains, in the chains' order."""
    return tuple(dict.fromkeys(target.role for model in contract.models for target in model.chain))
