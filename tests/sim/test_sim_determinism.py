"""One seed, one trace: alone, after other runs, in another process, under another hash seed."""

import asyncio
import hashlib
import os
import random
import subprocess
import sys

import httpx
import pytest

from harness.sim import Link, Network, SimTransport, VirtualLoop, run
from harness.sim.asgi import Receive, Scope, Send


def trace(seed: int) -> str:
    """Run clients, a gateway that races and retries, and upstreams that fail, and return the digest of all they saw."""
    digest = hashlib.sha256()

    def saw(*event: object) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        task = asyncio.current_task()
        digest.update(repr((loop.now_us, task.get_name() if task is not None else "", event)).encode())

    async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
        call = scope["path"]
        rng = random.Random(f"{seed}/{scope['server']}/{call}/{scope['client']}")
        await send({"type": "http.response.start", "status": 200})
        for number in range(rng.randrange(6)):
            await asyncio.sleep(rng.uniform(0, 0.02))
            await send({"type": "http.response.body", "body": f"{call}:{number} ".encode() * 9, "more_body": True})
        if rng.random() < 0.2:
            scope["extensions"]["harness.connection"].reset()
        await send({"type": "http.response.body"})

    async def main() -> None:
        network = Network(seed, Link(connect_s=0.001, latency_s=0.002, chop=True))
        network.serve("upstream", upstream, aliases=["other"])
        inner = SimTransport(network, "gateway", httpx.Limits(max_connections=20))

        async def attempt(host: str, path: str) -> bytes:
            response = await inner.handle_async_request(httpx.Request("GET", f"http://{host}{path}"))
            got = []
            async for chunk in response.aiter_raw():
                saw("chunk", chunk)
                got.append(chunk)
            return b"".join(got)

        async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
            racing = {asyncio.create_task(attempt(host, scope["path"])) for host in ("upstream", "other")}
            done, rest = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            for task in [*done, *rest]:
                saw("attempt", str((await asyncio.gather(task, return_exceptions=True))[0]))
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"done"})

        network.serve("gateway", gateway)
        client = SimTransport(network, "client")

        async def call(number: int) -> None:
            response = await client.handle_async_request(httpx.Request("GET", f"http://gateway/{number}"))
            saw("answer", response.status_code, await response.aread())

        calls = []
        rng = random.Random(f"{seed}/arrivals")
        for number in range(60):
            await asyncio.sleep(rng.expovariate(200))
            calls.append(asyncio.create_task(call(number)))
            if number == 40:
                network.kill("gateway")
                network.serve("gateway", gateway)
        for task in calls:
            saw("call", str((await asyncio.gather(task, return_exceptions=True))[0]))

    run(main())
    return digest.hexdigest()


def test_a_seed_gives_the_same_trace_alone_and_after_others() -> None:
    first = trace(7)
    others = {trace(seed) for seed in range(100, 120)}
    assert trace(7) == first
    assert len(others) == 20
    assert first not in others


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_a_seed_gives_the_same_trace_in_another_process(hash_seed: str) -> None:
    code = "from tests.sim.test_sim_determinism import trace; print(trace(7))"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    made = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == trace(7)
