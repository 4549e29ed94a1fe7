"""Chopping: bytes split and merge at random, keyed by the seed; order and content stay."""

import asyncio

import httpx

from harness.sim import Link, Network, SimTransport, run
from harness.sim.asgi import Receive, Scope, Send
from tests.sim.sim_support import call, now_us, request


def _reads(seed: int) -> list[tuple[str, int]]:
    chunks = [f"event-{number};".encode() for number in range(200)]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        for number, chunk in enumerate(chunks):
            if number % 3 == 0:
                await asyncio.sleep(0.001)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    async def main() -> list[tuple[str, int]]:
        network = Network(seed, Link(chop=True))
        network.serve("server", app)
        response = await SimTransport(network, "client").handle_async_request(request())
        return [(chunk.decode(), now_us()) async for chunk in response.aiter_raw()]

    reads = run(main())
    assert "".join(text for text, _ in reads) == b"".join(chunks).decode()
    return reads


def test_chopping_splits_and_merges_and_loses_nothing() -> None:
    texts = [text for text, _ in _reads(1)]
    assert any(text.count(";") > 1 for text in texts)
    assert any(";" not in text for text in texts)
    assert any(text.startswith("vent") for text in texts)


def test_chopping_splits_what_arrives_at_once() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x" * 100})

    async def main(seed: int) -> list[int]:
        network = Network(seed, Link(chop=True))
        network.serve("server", app)
        response = await SimTransport(network, "client").handle_async_request(request())
        return [now_us() async for _ in response.aiter_raw()]

    times = [run(main(seed)) for seed in range(30)]
    assert any(instants == [0, 0] for instants in times)
    assert any(instants[-1] > 0 for instants in times)


def test_chopping_is_the_same_for_a_seed_and_another_for_another() -> None:
    assert _reads(1) == _reads(1)
    assert _reads(1) != _reads(2)


def test_chopping_splits_requests_too() -> None:
    sizes: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            event = await receive()
            sizes.append(len(event["body"]))
            more = event["more_body"]
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def main() -> None:
        network = Network(3, Link(chop=True))
        network.serve("server", app)
        for _ in range(20):
            await call(SimTransport(network, "client"), request(content=b"x" * 1000))

    run(main())
    assert sum(sizes) == 20 * 1000
    assert len([size for size in sizes if 0 < size < 1000]) > 10


def test_a_break_comes_after_the_bytes_that_chopping_held_back() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
        scope["extensions"]["harness.connection"].reset()

    async def main(seed: int) -> int:
        network = Network(seed, Link(chop=True))
        network.serve("server", app)
        response = await SimTransport(network, "client").handle_async_request(request())
        size = 0
        try:
            async for chunk in response.aiter_raw():
                size += len(chunk)
        except httpx.ReadError:
            return size
        return -1

    assert {run(main(seed)) for seed in range(30)} == {100}
