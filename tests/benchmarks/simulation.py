"""Prints what simulated calls and streams cost, beside stock httpx over its own ASGITransport in the same run.

python tests/benchmarks/simulation.py [calls] [streams]
"""

from __future__ import annotations

import asyncio
import random
import resource
import sys
import time
from collections.abc import Callable

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from harness.environment.sim import run_in_sim
from harness.history import Recorder
from harness.scenario import Account, Reply, Scenario, Workload, World, chat, drawn
from harness.targets.reference import Reference

CALLS = 15_000


def cpu(work: Callable[[], object]) -> tuple[float, object]:
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


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    streams = int(sys.argv[2]) if len(sys.argv) > 2 else CALLS
    simulate(unstreamed(200))  # imports and caches are not what is measured
    stock = stock_httpx(3_000) / 3_000
    seconds, made, answered, digest = simulate(unstreamed(calls))
    print(f"stock httpx, ASGITransport, Starlette echo   {stock * 1e6:7.0f} us a call")
    print(
        f"unstreamed  {made} calls, {answered} answered 200, {seconds:.2f} s CPU, {seconds / made * 1e6:.0f} us each, "
        f"{seconds / made / stock:.2f} x stock httpx   history {digest}"
    )
    seconds, made, answered, digest = simulate(streamed(streams))
    print(
        f"streamed    {made} streams of 50 chunks, {answered} answered 200, {seconds:.2f} s CPU, "
        f"{seconds / made * 1e6:.0f} us a stream   history {digest}"
    )
    quick, slow = (min(simulate(one_slow_call(ttft_ms))[0] for _ in range(9)) for ttft_ms in (1, 90_000))
    print(f"a 90-second upstream costs {1e3 * (slow - quick):+.2f} ms of CPU more than one of a millisecond")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
