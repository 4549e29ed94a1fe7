"""Prints what simulated calls, streams and the core of the suite cost, beside stock httpx over its own ASGITransport.

All figures are CPU time of one process. On a shared machine only the ratio to stock httpx, which is measured before and
after the calls, says much: python tests/benchmarks/simulation.py --help tells how to run a part or a smaller size.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from harness.cli.suite import SUITE, target_spec
from harness.environment.sim import run_in_sim
from harness.history import Recorder
from harness.runner import Job, run_job
from harness.scenario import SCENARIOS, Account, Reply, Scenario, Workload, World, chat, drawn
from harness.targets.reference import Reference

T = TypeVar("T")
CALLS = 15_000
"""What the bounds are said for; other sizes are scaled up to it, which is fair, as costs do not grow with the size."""
STOCK_CALLS = 3_000


def cpu(work: Callable[[], T]) -> tuple[float, T]:
    """Return the CPU seconds that ``work`` took, and its result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def simulate(scenario: Scenario) -> tuple[float, int, int, str]:
    """Return CPU seconds, calls, calls answered 200, and the history's digest."""
    target = Reference()
    contract = target.contract([scenario.world.overlay] if scenario.world.overlay else [])
    recorder = Recorder()
    seconds, _ = cpu(lambda: run_in_sim(scenario, target, contract, seed=1, recorder=recorder))
    history = recorder.history()
    answered = sum(call.outcome == "ok" and call.status == 200 for call in history.calls)
    return seconds, len(history.calls), answered, recorder.digest()[:16]


def unstreamed(count: int) -> Scenario:
    """15,000 chat calls at exact arrivals over one minute, 0.1 to 0.3 s upstream, through the full gateway."""
    rng = random.Random("benchmark")
    calls = tuple(
        chat(
            "gpt-5-5",
            at_ms=at_ms,
            max_tokens=64,
            reply=Reply(chunks=8, ttft_ms=rng.randrange(100, 300), gap_ms=0, input=100, output=50),
        )
        for at_ms in drawn(count, 60_000, rng)
    )
    return Scenario(World((Account("a", 10**9),)), Workload(calls), (), recovers=False, name="benchmark.unstreamed")


def streamed(count: int) -> Scenario:
    """15,000 streams of 50 chunks 20 ms apart, started over one minute, with slots for all of them."""
    rng = random.Random("benchmark")
    reply = Reply(chunks=50, ttft_ms=20, gap_ms=20, input=100, output=50)
    calls = tuple(
        chat("gpt-5-5", at_ms=at_ms, max_tokens=64, stream=True, reply=reply) for at_ms in drawn(count, 60_000, rng)
    )
    world = World((Account("a", 10**9),), overlay={"text.concurrency": 2_000})
    return Scenario(world, Workload(calls), (), recovers=False, name="benchmark.streamed")


def core(seed: int) -> tuple[float, int, int]:
    """Return the CPU seconds of every core scenario under ``seed``, judged as well, how many there are and passed."""
    target = target_spec("reference", (), "", "")
    names = [name for name, scenario in SCENARIOS.items() if scenario.part == "core"]
    seconds, records = cpu(lambda: [run_job(Job(name, seed, "sim", target), SUITE) for name in names])
    return seconds, len(names), sum(record["outcome"] == "pass" for record in records)


def one_slow_call(ttft_ms: float) -> Scenario:
    """One call whose upstream takes ``ttft_ms``."""
    call = chat("gpt-5-5", max_tokens=64, reply=Reply(chunks=1, ttft_ms=ttft_ms, gap_ms=0, input=100, output=50))
    return Scenario(World(), Workload((call,)), (), recovers=False, name="benchmark.slow")


def stock_httpx(count: int) -> float:
    """Return CPU seconds of ``count`` calls of stock httpx over its ASGITransport to a Starlette JSON echo."""

    async def echo(request: Request) -> JSONResponse:
        return JSONResponse(await request.json())

    async def main() -> None:
        app = Starlette(routes=[Route("/", echo, methods=["POST"])])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://echo") as client:
            for _ in range(count):
                response = await client.post("/", json={"messages": [{"role": "user", "content": "x" * 80}]})
                response.raise_for_status()

    seconds, _ = cpu(lambda: asyncio.run(main()))
    return seconds


def peak_mb() -> float:
    """Return the most memory that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show_calls(count: int) -> None:
    """Print what an unstreamed call costs, and stock httpx beside it."""
    before = stock_httpx(STOCK_CALLS)
    seconds, made, answered, digest = simulate(unstreamed(count))
    stock = (before + stock_httpx(STOCK_CALLS)) / 2 / STOCK_CALLS
    each = seconds / made
    print(f"stock httpx  {stock * 1e6:.0f} us a call to a Starlette JSON echo over ASGITransport")
    print(
        f"unstreamed   {each * 1e6:.0f} us a call, {each / stock:.2f} x stock httpx, {each * CALLS:.1f} s for {CALLS:,}"
        f"   ({made} calls, {answered} answered 200, history {digest})"
    )


def show_streams(count: int) -> None:
    """Print what a stream costs."""
    seconds, made, answered, digest = simulate(streamed(count))
    each = seconds / made
    print(
        f"streamed     {each * 1e3:.2f} ms a stream of 50 chunks, {each * CALLS:.1f} s for {CALLS:,}"
        f"   ({made} streams, {answered} answered 200, history {digest})"
    )


def show_slow_call() -> None:
    """Print what waiting for 90 virtual seconds costs."""
    quick, slow = (min(simulate(one_slow_call(ttft_ms))[0] for _ in range(9)) for ttft_ms in (1, 90_000))
    print(f"90 seconds   {1e3 * (slow - quick):+.2f} ms more for a 90-second upstream than for one of a millisecond")


def show_core(seeds: int) -> None:
    """Print what the core of the suite costs per seed; the first one also makes every contract."""
    SUITE.load()
    for seed in range(1, seeds + 1):
        seconds, scenarios, passed = core(seed)
        print(f"core         {seconds:.2f} s for seed {seed}   ({scenarios} scenarios, {passed} passed)")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=CALLS, help="unstreamed calls (%(default)s); 0 leaves them out")
    parser.add_argument("--streams", type=int, default=CALLS, help="streams (%(default)s); 0 leaves them out")
    parser.add_argument("--seeds", type=int, default=2, help="seeds of the core (%(default)s); 0 leaves it out")
    parser.add_argument("--small", action="store_true", help="the same as --calls 2000 --streams 500 --seeds 1")
    asked = parser.parse_args()
    calls, streams, seeds = (2_000, 500, 1) if asked.small else (asked.calls, asked.streams, asked.seeds)
    simulate(unstreamed(200))  # imports and caches are not what is measured
    if calls:
        show_calls(calls)
    if streams:
        show_streams(streams)
    show_slow_call()
    print(f"memory       {peak_mb():.0f} MB at most")
    if seeds:
        show_core(seeds)


if __name__ == "__main__":
    main()
