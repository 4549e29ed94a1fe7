"""A run in virtual time: gateway and mocks unmodified, on a modelled network, in one process and one thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from harness.contract import Contract
from harness.environment.control import UpstreamControl
from harness.environment.log import Log
from harness.environment.perform import LEAD_S, Performance
from harness.environment.probes import with_probe_account
from harness.environment.raised import note_raised
from harness.environment.secrets import made_up_secrets
from harness.environment.stage import CrashNeverCame, Kill, Stage
from harness.history import Recorder, Recording
from harness.scenario import Crash, Scenario
from harness.sim import (
    BlockingCallError,
    DeadlockError,
    Link,
    LivelockError,
    Network,
    SimTransport,
    SimulationError,
    StartupError,
    VirtualLoop,
)
from harness.sim.process import Process, current_process
from harness.sim.where import waiting_line
from harness.target import Mutate, Running, Target, TargetError, Unsupported, UpstreamAddress, Wiring
from mock_upstreams.server import create_app

EPOCH_S = 1_767_225_600
"""Wall time of a simulated run's zero: 2026-01-01T00:00:00Z."""
GATEWAY = "gateway.test"
UPSTREAMS = "upstreams.test"
START_LIMIT_S = 600
STOP_LIMIT_S = 3600
"""Virtual seconds after which a gateway that starts or stops is taken never to be done with it."""
APPEND_LIMIT_S = 3600
"""Virtual seconds after which a crash inside of an append will not come: there are fewer of them."""
LINES_SHOWN = 5
HELP = "what it does must be asynchronous, and must end or time out: docs/targets.md"


Perform = Callable[[Stage], Awaitable[None]]
"""What is done on a stage."""


def run_in_sim(
    scenario: Scenario,
    target: Target,
    contract: Contract,
    *,
    seed: int,
    recorder: Recorder,
    mutate: Mutate | None = None,
    mutant: str = "",
) -> str:
    """Run ``scenario`` against ``target`` in virtual time into ``recorder``: the same for the same seed, bit for bit.

    Returns and raises as ``perform_in_sim``, and raises Unsupported for what the target cannot be put through.
    """
    if scenario.process:
        raise Unsupported("it needs a gateway in a process of its own: local mode has one")

    async def perform(stage: Stage) -> None:
        if scenario.crashes and stage.crash is None:
            raise Unsupported("it cannot be crashed and started again on what it had committed")
        if scenario.store_failures and stage.running.fail_store is None:
            raise Unsupported("its store cannot be made to fail")
        await Performance(scenario, stage, recorder, seed).run()

    return perform_in_sim(
        perform, scenario, target, contract, seed=seed, recording=recorder, mutate=mutate, mutant=mutant
    )


def perform_in_sim(
    perform: Perform,
    scenario: Scenario,
    target: Target,
    contract: Contract,
    *,
    seed: int,
    recording: Recording,
    mutate: Mutate | None = None,
    mutant: str = "",
) -> str:
    """Start ``target`` in virtual time in the world and on the network of ``scenario``, and do ``perform`` there.

    Returns the traceback of the first exception that the target let out of a request or a task of its own, if any did:
    the history has a note of it. Raises Unsupported, TargetError, and whatever the simulation finds wrong (a
    deadlock, a blocking call): as TargetError if it comes from a target that is not the harness's own.
    """
    loop = VirtualLoop()
    link = Link(connect_s=scenario.connect_ms / 1e3, latency_s=scenario.latency_ms / 1e3, chop=scenario.chop)
    network = Network(seed, link)
    wiring = _wired(scenario, contract, network, seed, mutate, mutant)
    if not target.ours:
        loop.set_exception_handler(_forgiving(network))
    try:
        loop.run(_run(perform, scenario, target, network, wiring, recording))
    except SimulationError as error:
        if target.ours or GATEWAY not in error.hosts:
            raise
        raise _blame(target.name, error) from error
    except SystemExit as error:
        if target.ours:
            raise
        raise TargetError(f"{target.name} called for the end of the process", cause=repr(error), help=HELP) from error
    finally:
        loop.close()
        theirs = [crash for crash in network.crashes if crash.host == GATEWAY]
        secrets = (*wiring.secrets.values(), *(address.credential for address in wiring.upstreams.values()))
        count = network.crash_count - len(network.crashes) + len(theirs)
        traceback = note_raised(recording, theirs, count, wiring.zero_s, secrets)
    return traceback


def _wired(
    scenario: Scenario, contract: Contract, network: Network, seed: int, mutate: Mutate | None, mutant: str
) -> Wiring:
    """Return what the gateway is given; the run's zero comes a moment after the loop's."""
    world = with_probe_account(scenario.world)
    run = scenario.name
    return Wiring(
        mode="sim",
        contract=contract,
        world=world,
        secrets=secrets_in_sim(scenario, seed),
        upstreams={
            role: UpstreamAddress(
                f"{_scheme(scenario, role)}://{role}.upstream/{run}/{role}/openai",
                f"{_scheme(scenario, role)}://{role}.upstream/{run}/{role}/anthropic",
                f"up-{hashlib.sha256(f'{seed}/{role}'.encode()).hexdigest()[:24]}",
            )
            for role in roles_of(contract)
        },
        seed=seed,
        zero_s=LEAD_S,
        epoch_s=EPOCH_S,
        transport=SimTransport(network, GATEWAY),
        mutate=mutate,
        mutant=mutant,
    )


async def _run(
    perform: Perform, scenario: Scenario, target: Target, network: Network, wiring: Wiring, recording: Recording
) -> None:
    network.serve(UPSTREAMS, create_app(), aliases=[f"{role}.upstream" for role in wiring.upstreams])
    for role, state in scenario.world.listeners.items():
        network.listen(f"{role}.upstream", state)
    log = Log()
    wiring = replace(wiring, log=log.append)
    async with AsyncExitStack() as stack:
        running = await _started(stack, target, wiring, network)
        stage = Stage(
            mode="sim",
            target=target.name,
            mutant=wiring.mutant,
            claims=target.claims,
            contract=wiring.contract,
            base_url=f"http://{GATEWAY}",
            transport=SimTransport(network, "client"),
            running=running,
            control=UpstreamControl(SimTransport(network, "harness"), f"http://{UPSTREAMS}", scenario.name),
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
        await perform(stage)
        await _stop(target, network, recording, wiring)


async def _started(stack: AsyncExitStack, target: Target, wiring: Wiring, network: Network) -> Running:
    """Start the gateway and serve it. Raises TargetError if it is never done with that."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    making = Process(GATEWAY)  # what the target starts before it is served is its own too, and ends with it
    stack.callback(loop.kill, making)
    stuck: list[str] = []
    told = loop.call_later(START_LIMIT_S - 1, lambda: stuck.extend(map(waiting_line, loop.tasks())))
    outside = current_process.set(making)
    try:
        async with asyncio.timeout(START_LIMIT_S):
            try:
                running = await stack.enter_async_context(target.start(wiring))
            finally:
                current_process.reset(outside)
            assert running.app is not None
            network.serve(GATEWAY, running.app)
            if not target.ours:  # an app that nobody made for this wiring finds it where a lifespan keeps its state
                network.host(GATEWAY).lifespan.state["harness"] = wiring
            await network.start(GATEWAY)
    except TimeoutError as error:
        said = f"{target.name} did not start in {START_LIMIT_S} s of virtual time"
        raise TargetError(said, cause="\n".join(stuck[:LINES_SHOWN]), help=HELP) from error
    finally:
        told.cancel()
    return running


async def _stop(target: Target, network: Network, recording: Recording, wiring: Wiring) -> None:
    """Stop the gateway; one that is not done with it is killed, which a note tells, unless it is the harness's own."""
    try:
        async with asyncio.timeout(STOP_LIMIT_S):
            await network.stop(GATEWAY)
    except TimeoutError:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        left = [task for task in loop.tasks() if task.process is network.host(GATEWAY).process]
        if target.ours and not wiring.mutant:
            lines = "\n".join(map(waiting_line, left))
            raise SimulationError(f"{target.name} did not stop in {STOP_LIMIT_S} s of virtual time:\n{lines}") from None
        recording.note("target_stuck", round((loop.time() - wiring.zero_s) * 1e6), tasks=len(left))
        network.kill(GATEWAY)


def _forgiving(network: Network) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Return a handler that keeps what a task of the gateway raised and nobody awaited: on a server it is logged."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task, error = context.get("task") or context.get("future"), context.get("exception")
        process = getattr(task, "process", None)
        if isinstance(task, asyncio.Task) and process is not None and process.name == GATEWAY and error is not None:
            name = getattr(task.get_coro(), "__qualname__", "without a name")
            network.crashed(GATEWAY, f"task {name}", error, round(loop.time() * 1e6))
        else:
            loop.default_exception_handler(context)

    return handle


def _blame(name: str, error: SimulationError) -> TargetError:
    """Return what the simulation found wrong as a fault of the target, with the lines about its own tasks."""
    said = str(error).splitlines()
    theirs = [line.strip() for line in said if f" on {GATEWAY}" in line][:LINES_SHOWN]
    what = {
        BlockingCallError: "blocks",
        DeadlockError: "hangs: nothing of it can ever wake up",
        LivelockError: "turns without end and waits for nothing",
        StartupError: "did not start or stop as it should",
    }.get(type(error), "cannot be simulated")
    return TargetError(f"{name} {what}", cause="\n".join(theirs or said[-LINES_SHOWN:]), help=HELP)


def _crasher(network: Network, stage: Stage) -> Kill:
    """Return what kills the gateway as kill -9 would, and starts it again on what was committed."""

    async def crash(how: Crash, killed: Callable[[], None]) -> None:
        running = stage.running
        assert running.crash is not None
        assert running.restart is not None
        crashed = asyncio.Event()
        call_off = running.crash(how.after_appends, crashed.set)
        try:
            async with asyncio.timeout(APPEND_LIMIT_S):
                await crashed.wait()
        except TimeoutError:
            call_off()
            raise CrashNeverCame from None
        network.kill(GATEWAY)
        killed()
        running.app = await running.restart()
        network.serve(GATEWAY, running.app)
        await network.start(GATEWAY)

    return crash


def secrets_in_sim(scenario: Scenario, seed: int) -> Mapping[str, str]:
    """Return the secret of each key of a simulated run, by the key's id."""
    return made_up_secrets(with_probe_account(scenario.world), f"{seed}/{scenario.name}")


def _scheme(scenario: Scenario, role: str) -> str:
    return "https" if scenario.world.listeners.get(role) == "tls_failing" else "http"


def roles_of(contract: Contract) -> tuple[str, ...]:
    """Return every role of the contract's chains, in the chains' order."""
    return tuple(dict.fromkeys(target.role for model in contract.models for target in model.chain))
