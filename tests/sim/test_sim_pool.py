"""The pool: connections that are used again, limits, and slots that are never lost."""

import asyncio
from contextlib import suppress

import httpx
import pytest

from harness.sim import Link, Network, SimTransport, run
from harness.sim.answer import Answer
from harness.sim.asgi import Receive, Scope, Send
from tests.sim.sim_support import SECOND, call, echo, now_us, request, ticking


def test_a_connection_is_used_again_and_costs_no_second_connecting() -> None:
    async def main() -> list[int]:
        network = Network(link=Link(connect_s=1))
        network.serve("server", echo)
        transport = SimTransport(network, "client", httpx.Limits(keepalive_expiry=3))
        times = []

        async def lasts(sent: httpx.Request | None = None) -> None:
            began = now_us()
            await call(transport, sent)
            times.append(now_us() - began)

        await lasts()
        await lasts()
        await asyncio.sleep(2.9)
        await lasts()
        await asyncio.sleep(3)
        await lasts()
        await lasts(httpx.Request("POST", "http://server/", headers={"connection": "close"}))
        await lasts()
        await asyncio.gather(lasts(), lasts())
        await transport.aclose()
        await lasts()
        return times

    assert run(main()) == [SECOND, 0, 0, SECOND, 0, SECOND, 0, SECOND, SECOND]


@pytest.mark.parametrize(
    ("limits", "idle_s", "expected"),
    [
        (httpx.Limits(), 4.9, [0, 1]),
        (httpx.Limits(), 5.1, [2, 3]),
        (httpx.Limits(keepalive_expiry=60), 4.9, [0, 1]),
        (httpx.Limits(keepalive_expiry=60), 5.1, [2, 3]),
        (httpx.Limits(keepalive_expiry=None), 5.1, [2, 3]),
        (httpx.Limits(max_keepalive_connections=1), 1, [0, 2]),
        (httpx.Limits(max_keepalive_connections=0), 1, [2, 3]),
    ],
)
def test_idle_connections_are_kept_so_many_and_so_long(
    limits: httpx.Limits, idle_s: float, expected: list[int]
) -> None:
    ports: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ports.append(scope["client"][1])
        await asyncio.sleep(0.001)
        await echo(scope, receive, send)

    async def main() -> list[int]:
        network = Network()
        network.serve("server", app)
        transport = SimTransport(network, "client", limits)
        await asyncio.gather(call(transport), call(transport))
        await asyncio.sleep(idle_s)
        await asyncio.gather(call(transport), call(transport))
        return sorted(port - ports[0] for port in ports[2:])

    assert run(main()) == expected


def test_a_broken_or_abandoned_connection_is_not_used_again() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        if scope["path"] == "/cut":
            scope["extensions"]["harness.connection"].cut()
        elif scope["path"] == "/slow":
            await receive()
            await receive()
        await send({"type": "http.response.body", "body": b"ok"})
        if scope["path"] == "/cut-later":
            await asyncio.sleep(1)
            scope["extensions"]["harness.connection"].cut()

    async def main() -> list[int]:
        network = Network()
        ports: list[int] = []

        async def noting(scope: Scope, receive: Receive, send: Send) -> None:
            ports.append(scope["client"][1])
            await app(scope, receive, send)

        network.serve("server", noting)
        transport = SimTransport(network, "client")
        await call(transport)
        await call(transport)
        with pytest.raises(httpx.RemoteProtocolError):
            await call(transport, request("http://server/cut"))
        await call(transport)
        await (await transport.handle_async_request(request("http://server/slow"))).aclose()
        await call(transport, request("http://server/cut-later"))
        await asyncio.sleep(2)
        await call(transport)
        return [port - ports[0] for port in ports]

    assert run(main()) == [0, 0, 0, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("asked_s", "read_s", "told_s"), [(0.0, 1.0, 1.0), (1.5, 1.0, 1.5), (0.0, 5.0, None)], ids=["yes", "late", "whole"]
)
def test_a_server_is_told_when_its_client_left(asked_s: float, read_s: float, told_s: float | None) -> None:
    told: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(asked_s)
        scope["extensions"]["harness.connection"].when_left(lambda: told.append(loop.time()))
        await asyncio.sleep(2.0)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main() -> None:
        network = Network()
        network.serve("server", app)
        async with httpx.AsyncClient(transport=SimTransport(network, "client"), timeout=read_s) as client:
            with suppress(httpx.ReadTimeout):
                await client.get("http://server/")
            await asyncio.sleep(9.0)

    run(main())
    assert told == [told_s] * (told_s is not None)


def test_a_full_pool_serves_in_order_and_times_out() -> None:
    log: list[object] = []

    async def main() -> None:
        network = Network()
        network.serve("server", ticking(times=1, every_s=1))
        transport = SimTransport(network, "client", httpx.Limits(max_connections=2))

        async def one(name: int, pool: float) -> None:
            try:
                await call(transport, request(pool=pool))
                log.append((name, now_us()))
            except httpx.PoolTimeout:
                log.append((name, "PoolTimeout", now_us()))

        tasks = [asyncio.create_task(one(name, 10 if name != 3 else 0.5)) for name in range(6)]
        await asyncio.sleep(0.25)
        tasks[4].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        log.append(await call(transport, request(pool=0)))

    run(main())
    assert log == [(3, "PoolTimeout", 500_000), (0, SECOND), (1, SECOND), (2, 2 * SECOND), (5, 2 * SECOND), b"0"]


def test_a_slot_handed_over_in_the_instant_of_the_timeout_is_not_lost() -> None:
    async def main() -> bytes:
        network = Network()
        network.serve("server", ticking(times=1, every_s=100))
        network.serve("other", echo)
        transport = SimTransport(network, "client", httpx.Limits(max_connections=1))
        response = await transport.handle_async_request(request())
        assert isinstance(response.stream, Answer)
        asyncio.get_running_loop().call_later(1, response.stream.leave)
        with pytest.raises(httpx.PoolTimeout):
            await call(transport, request(pool=1))
        assert now_us() == SECOND
        return await call(transport, request("http://other/", content=b"goes on", pool=0))

    assert run(main()) == b"goes on"


def test_a_failed_connection_gives_its_slot_back() -> None:
    async def main() -> None:
        network = Network()
        network.serve("refusing", echo, state="refusing")
        network.serve("server", echo)
        transport = SimTransport(network, "client", httpx.Limits(max_connections=1))
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                await call(transport, request("http://refusing/", pool=0))
        assert await call(transport, request(content=b"x", pool=0)) == b"x"

    run(main())
