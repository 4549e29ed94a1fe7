"""Hosts: how they start, serve under several names, stop, and whose code is whose."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from harness.sim import Link, Network, SimTransport, StartupError, current_host, run
from harness.sim.asgi import ASGIApp, Receive, Scope, Send

Log = list[object]


async def get(network: Network, url: str, source: str = "client") -> object:
    try:
        response = await SimTransport(network, source).handle_async_request(httpx.Request("GET", url))
        return (await response.aread()).decode()
    except httpx.TransportError as error:
        return type(error).__name__


async def answer(send: Send, text: str) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": text.encode()})


def with_lifespan(log: Log, *, startup: str = "complete", shutdown: str = "complete") -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["state"]["own"] = True
            await answer(send, f"{sorted(scope['state'])}")
            return
        assert scope["type"] == "lifespan"
        assert scope["asgi"]["spec_version"] == "2.0"
        for phase, outcome in (("startup", startup), ("shutdown", shutdown)):
            event = await receive()
            log.append((event["type"], current_host()))
            await asyncio.sleep(1)
            scope["state"]["shared"] = log
            await send({"type": f"lifespan.{phase}.{outcome}", "message": "no database"})

    return app


def test_an_application_starts_serves_and_stops() -> None:
    log: Log = []

    async def main() -> None:
        network = Network()
        network.serve("server", with_lifespan(log))
        await network.start("server")
        assert asyncio.get_running_loop().time() == 1
        assert await get(network, "http://server/") == "['own', 'shared']"
        assert network.host("server").lifespan.state == {"shared": log}
        await network.stop("server")
        assert asyncio.get_running_loop().time() == 2
        assert await get(network, "http://server/") == "ConnectError"

    run(main())
    assert log == [("lifespan.startup", "server"), ("lifespan.shutdown", "server")]


def test_an_application_that_cannot_start_says_so() -> None:
    async def main() -> None:
        network = Network()
        network.serve("server", with_lifespan([], startup="failed"))
        with pytest.raises(StartupError, match="server did not start: no database"):
            await network.start("server")

    run(main())


def test_an_application_that_cannot_stop_says_so() -> None:
    async def main() -> None:
        network = Network()
        network.serve("server", with_lifespan([], shutdown="failed"))
        await network.start("server")
        with pytest.raises(StartupError, match="server did not shut down: no database"):
            await network.stop("server")

    run(main())


async def _raises(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    await answer(send, "served")


async def _returns(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await answer(send, "served")


async def _says_nonsense(scope: Scope, receive: Receive, send: Send) -> None:
    await (answer(send, "served") if scope["type"] == "http" else send({"type": "lifespan.nonsense"}))


@pytest.mark.parametrize("app", [_raises, _returns, _says_nonsense])
def test_an_application_needs_no_lifespan(app: ASGIApp) -> None:
    async def main() -> object:
        network = Network()
        network.serve("server", app)
        await network.start("server")
        seen = await get(network, "http://server/")
        await network.stop("server")
        return seen

    assert run(main()) == "served"


def test_stopping_lets_requests_end_and_cancels_what_is_left() -> None:
    log: Log = []

    async def background() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.5)
            log.append(("background cancelled", asyncio.get_running_loop().time()))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        tasks.append(asyncio.create_task(background()))
        await asyncio.sleep(5)
        await answer(send, "in the end")

    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        network = Network()
        network.serve("server", app)
        other = asyncio.create_task(asyncio.sleep(1000))
        calling = asyncio.create_task(get(network, "http://server/"))
        await asyncio.sleep(1)
        stopping = asyncio.create_task(network.stop("server"))
        await asyncio.sleep(0)
        log.append(await get(network, "http://server/"))
        log.append((await calling, asyncio.get_running_loop().time()))
        await stopping
        assert not other.done()
        network.serve("server", _raises)
        log.append(await get(network, "http://server/"))

    run(main())
    assert log == ["ConnectError", ("in the end", 5.0), ("background cancelled", 5.5), "served"]


def test_a_request_that_arrives_after_the_stop_is_reset() -> None:
    async def main() -> object:
        network = Network(link=Link(latency_s=1))
        network.serve("server", _raises)
        calling = asyncio.create_task(get(network, "http://server/"))
        await asyncio.sleep(0.5)
        await network.stop("server")
        return await calling

    assert run(main()) == "ReadError"


def test_a_request_that_is_cancelled_with_its_process_is_no_crash() -> None:
    network = Network()
    log: Log = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            log.append("cancelled")

    async def main() -> None:
        network.serve("server", app)
        calls.append(asyncio.create_task(get(network, "http://server/")))
        await asyncio.sleep(1)

    calls: list[asyncio.Task[object]] = []
    run(main())
    assert log == ["cancelled"]
    assert network.crash_count == 0


def test_kept_connections_do_not_outlive_a_stop() -> None:
    async def main() -> list[object]:
        network = Network()
        network.serve("server", _raises)
        transport = SimTransport(network, "client")
        seen: list[object] = []
        for _ in range(2):
            try:
                response = await transport.handle_async_request(httpx.Request("GET", "http://server/"))
                seen.append((await response.aread()).decode())
            except httpx.ConnectError:
                seen.append("refused")
            if network.host("server").process.alive:
                await network.stop("server")
        return seen

    assert run(main()) == ["served", "refused"]


def test_several_names_are_one_process() -> None:
    log: Log = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        log.append((dict(scope["headers"])[b"host"], current_host()))
        await answer(send, "served")

    async def main() -> None:
        network = Network()
        network.serve("upstreams", app, aliases=["primary.upstream", "second.upstream"])
        for name in ("primary.upstream", "second.upstream", "upstreams"):
            assert await get(network, f"http://{name}/") == "served"
        network.kill("second.upstream")
        assert await get(network, "http://primary.upstream/") == "ConnectError"

    run(main())
    assert log == [
        (b"primary.upstream", "upstreams"),
        (b"second.upstream", "upstreams"),
        (b"upstreams", "upstreams"),
    ]


def test_code_belongs_to_the_host_that_runs_it() -> None:
    log: Log = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        log.append(current_host())
        asyncio.get_running_loop().call_soon(lambda: log.append(f"callback on {current_host()}"))
        await asyncio.create_task(inner())
        await answer(send, "served")

    async def inner() -> None:
        log.append(f"task on {current_host()}")

    async def main() -> None:
        network = Network(link=Link(latency_s=0.1))
        network.serve("server", app)
        await get(network, "http://server/")
        await network.spawn("server", inner())
        log.append(current_host())

    run(main())
    assert log == ["server", "callback on server", "task on server", "task on server", ""]


def test_links_differ_by_host() -> None:
    async def main() -> list[float]:
        network = Network(link=Link(latency_s=0.5))
        network.serve("far", _raises)
        network.serve("near", _raises, link=Link(latency_s=0.1))
        times = []
        for name in ("far", "near"):
            began = asyncio.get_running_loop().time()
            await get(network, f"http://{name}/")
            times.append(round(asyncio.get_running_loop().time() - began, 6))
        return times

    assert run(main()) == [1.0, 0.2]


@pytest.mark.parametrize("act", [Network.kill, Network.host, Network.start, Network.stop])
def test_a_wrong_name_is_answered_with_the_names_that_there_are(act: Callable[[Network, str], object]) -> None:
    async def main() -> None:
        network = Network()
        network.serve("gateway", _raises)
        result = act(network, "gatway")
        if isinstance(result, Awaitable):
            await result

    with pytest.raises(KeyError, match=r"nobody is served as gatway; there are \['gateway'\]"):
        run(main())


def test_several_tasks_of_an_application_may_listen_and_stop_listening() -> None:
    log: Log = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen(name: str) -> None:
            log.append((name, (await receive())["type"]))

        await receive()
        listening = [asyncio.create_task(listen(name)) for name in ("first", "second", "third")]
        for _ in range(3):  # as one who polls
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receive(), 0.1)
        listening[1].cancel()
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        await asyncio.gather(listening[0], listening[2])
        log.append(listening[1].cancelled())

    async def main() -> object:
        network = Network()
        network.serve("server", app)
        answer = await get(network, "http://server/")
        await asyncio.sleep(1)
        return answer

    assert run(main()) == "ok"
    assert log == [("first", "http.disconnect"), ("third", "http.disconnect"), True]
