"""Killed processes: not one more line of them runs, at the kill, later, or when their frames are freed."""

import asyncio
import contextlib
import gc
import sys
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator

import httpx
import pytest

from harness.sim import Link, Network, SimTransport, VirtualLoop, current_host, run
from harness.sim.asgi import Receive, Scope, Send

Log = list[object]


class Noisy:
    """A context manager that tells."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None:
        self.log.append("__exit__")

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *error: object) -> None:
        self.log.append("__aexit__")


@contextlib.asynccontextmanager
async def noisy(log: Log) -> AsyncIterator[None]:
    try:
        yield
    finally:
        log.append("asynccontextmanager")


async def ticks(log: Log) -> AsyncGenerator[int, None]:
    try:
        for number in range(1000):
            await asyncio.sleep(0.1)
            yield number
    finally:
        log.append("generator closed")


async def sleeps(log: Log) -> None:
    await asyncio.sleep(100)


async def waits_for_an_event(log: Log) -> None:
    await asyncio.Event().wait()


async def waits_with_a_timeout(log: Log) -> None:
    async with asyncio.timeout(3):
        await asyncio.sleep(100)


async def waits_for_many(log: Log) -> None:
    await asyncio.gather(sleeps(log), asyncio.wait_for(waits_for_an_event(log), 5), return_exceptions=True)


async def iterates(log: Log) -> None:
    async for _ in ticks(log):
        pass


async def holds_a_generator(log: Log) -> None:
    generator = ticks(log)
    await anext(generator)
    await asyncio.sleep(100)
    await generator.aclose()


async def holds_what_is_not_awaited(log: Log) -> None:
    def plain() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            log.append("plain generator closed")

    begun = plain()
    next(begun)
    never_begun = sleeps(log)
    await asyncio.sleep(100)
    await never_begun
    begun.close()


async def is_in_a_group(log: Log) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleeps(log))
        group.create_task(iterates(log))


async def swallows_everything(log: Log) -> None:
    while True:
        try:
            await asyncio.sleep(0.5)
        except BaseException:
            log.append("swallowed")


WAITS = [
    sleeps,
    waits_for_an_event,
    waits_with_a_timeout,
    waits_for_many,
    iterates,
    holds_a_generator,
    holds_what_is_not_awaited,
    is_in_a_group,
    swallows_everything,
]


@pytest.mark.parametrize("wait", WAITS)
def test_no_handler_of_a_killed_process_runs_ever(
    wait: Callable[[Log], Awaitable[None]], capfd: pytest.CaptureFixture[str]
) -> None:
    log: Log = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with Noisy(log):
            async with Noisy(log), noisy(log):
                try:
                    await wait(log)
                    log.append("went on")
                except BaseException:
                    log.append("except")
                    raise
                finally:
                    log.append("finally")
                    await asyncio.sleep(0)

    async def main() -> None:
        network = Network()
        network.serve("gateway", app)
        calling = asyncio.create_task(_get(network, "http://gateway/"))
        await asyncio.sleep(1)
        assert not log
        network.kill("gateway")
        assert isinstance(await calling, httpx.ReadError)
        gc.collect()
        await asyncio.sleep(1000)
        assert not log

    run(main())
    gc.collect()
    assert not log
    assert capfd.readouterr() == ("", "")


async def _get(network: Network, url: str) -> object:
    try:
        response = await SimTransport(network, "client").handle_async_request(httpx.Request("GET", url))
        return await response.aread()
    except httpx.TransportError as error:
        return error


def test_a_generator_of_a_killed_process_is_not_closed_when_somebody_else_drops_it() -> None:
    log: Log = []
    held: list[AsyncGenerator[int, None]] = []

    async def begin() -> None:
        held.append(ticks(log))
        await anext(held[0])

    async def main() -> None:
        network = Network()
        network.serve("gateway", _nothing)
        await network.spawn("gateway", begin())
        network.kill("gateway")
        held.clear()
        gc.collect()
        await asyncio.sleep(10)

    run(main())
    gc.collect()
    assert log == []


def test_timers_callbacks_and_wakeups_of_a_killed_process_are_dropped() -> None:
    log: Log = []

    async def main() -> None:
        network = Network()
        network.serve("gateway", _nothing)
        loop = asyncio.get_running_loop()
        outside = loop.create_future()

        async def inside() -> None:
            loop.call_later(5, log.append, "timer")
            loop.call_soon(log.append, "soon")
            outside.add_done_callback(lambda _: log.append("done callback"))
            asyncio.create_task(ready()).add_done_callback(lambda _: log.append("task's done callback"))
            await outside
            log.append("woken")

        async def ready() -> None:
            log.append("began")

        network.spawn("gateway", inside())
        await asyncio.sleep(0)
        network.kill("gateway")
        outside.set_result(None)
        outside.add_done_callback(lambda _: log.append("a living callback"))
        await asyncio.sleep(10)

    run(main())
    assert log == ["a living callback"]


def test_what_is_started_for_a_killed_process_never_begins() -> None:
    log: Log = []

    async def late() -> None:
        log.append("began")

    async def main() -> None:
        network = Network()
        network.serve("gateway", _nothing)

        async def kills_itself() -> None:
            network.kill("gateway")
            asyncio.create_task(late())  # noqa: RUF006
            asyncio.get_running_loop().call_soon(log.append, "soon")
            asyncio.get_running_loop().call_later(1, log.append, "later")
            log.append("gets to its next await")
            await asyncio.sleep(0)
            log.append("beyond")

        network.spawn("gateway", kills_itself())
        network_task = network.spawn("gateway", late())
        await asyncio.sleep(10)
        assert not network_task.done()
        network.spawn("gateway", late())
        await asyncio.sleep(10)

    run(main())
    assert log == ["gets to its next await"]


def test_a_killed_process_sends_no_byte() -> None:
    got: Log = []
    arrived: Log = []

    async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.append(scope["path"])

    async def main() -> None:
        network = Network()
        network.serve("upstream", upstream)

        async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"before", "more_body": True})
            await asyncio.sleep(1)
            network.kill("gateway")
            await send({"type": "http.response.body", "body": b"after", "more_body": True})
            await SimTransport(network, "gateway").handle_async_request(httpx.Request("GET", "http://upstream/late"))

        network.serve("gateway", gateway)
        response = await SimTransport(network, "client").handle_async_request(httpx.Request("GET", "http://gateway/"))
        stream = aiter(response.aiter_raw())
        got.append(await anext(stream))
        with pytest.raises(httpx.ReadError):
            await anext(stream)
        await asyncio.sleep(10)

    run(main())
    assert got == [b"before"]
    assert arrived == []


def test_connections_of_a_killed_process_are_reset_at_the_other_ends() -> None:
    log: Log = []

    async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        event = await receive()
        log.append((asyncio.get_running_loop().time(), event["type"]))

    async def main() -> None:
        network = Network()
        network.serve("upstream", upstream)
        inner = SimTransport(network, "gateway")

        async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
            await inner.handle_async_request(httpx.Request("POST", "http://upstream/", content=b"x"))

        network.serve("gateway", gateway)
        calling = asyncio.create_task(_get(network, "http://gateway/"))
        await asyncio.sleep(2)
        network.kill("gateway")
        assert isinstance(await calling, httpx.ReadError)
        log.append((asyncio.get_running_loop().time(), "reset"))
        assert isinstance(await _get(network, "http://gateway/"), httpx.ConnectError)
        await asyncio.sleep(1)
        assert not network.live

    run(main())
    assert sorted(log) == [(2.0, "http.disconnect"), (2.0, "reset")]  # type: ignore[type-var]


def test_what_was_under_way_when_the_sender_was_killed_still_arrives() -> None:
    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"under way", "more_body": True})
        await asyncio.sleep(100)

    async def main() -> list[object]:
        network = Network(link=Link(latency_s=0.5))
        network.serve("gateway", gateway)
        asyncio.get_running_loop().call_later(0.7, network.kill, "gateway")
        response = await SimTransport(network, "client").handle_async_request(httpx.Request("GET", "http://gateway/"))
        got: list[object] = []
        try:
            async for chunk in response.aiter_raw():
                got.append(chunk)
        except httpx.ReadError:
            got.append(asyncio.get_running_loop().time())
        return got

    assert run(main()) == [b"under way", 1.2]


@pytest.mark.parametrize("seed", range(20))
def test_what_chopping_held_back_when_the_sender_was_killed_still_arrives(seed: int) -> None:
    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
        await asyncio.sleep(100)

    async def main() -> int:
        network = Network(seed, Link(chop=True))
        network.serve("gateway", gateway)
        transport = SimTransport(network, "client")
        response = await transport.handle_async_request(httpx.Request("GET", "http://gateway/"))
        network.kill("gateway")
        size = 0
        with contextlib.suppress(httpx.ReadError):
            async for chunk in response.aiter_raw():
                size += len(chunk)
        return size

    assert run(main()) == 100


def test_a_request_under_way_when_its_client_was_killed_still_arrives() -> None:
    log: Log = []

    async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(2):
            log.append(((await receive())["type"], asyncio.get_running_loop().time()))

    async def main() -> None:
        network = Network(link=Link(latency_s=1))
        network.serve("upstream", upstream)
        network.serve("gateway", _nothing)
        request = httpx.Request("POST", "http://upstream/", content=b"x")
        network.spawn("gateway", SimTransport(network, "gateway").handle_async_request(request))
        await asyncio.sleep(0.5)
        network.kill("gateway")
        await asyncio.sleep(10)

    run(main())
    assert log == [("http.request", 1.0), ("http.disconnect", 1.5)]


def test_a_restarted_host_is_another_process() -> None:
    log: Log = []

    def gateway(life: int) -> Callable[..., Awaitable[None]]:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if life == 1:
                await asyncio.sleep(5)
            log.append((life, current_host()))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"life %d" % life})

        return app

    async def main() -> None:
        network = Network()
        network.serve("gateway", gateway(1))
        first = asyncio.create_task(_get(network, "http://gateway/"))
        await asyncio.sleep(1)
        with pytest.raises(ValueError, match="gateway is being served"):
            network.serve("gateway", gateway(2))
        network.kill("gateway")
        network.serve("gateway", gateway(2))
        assert await _get(network, "http://gateway/") == b"life 2"
        await asyncio.sleep(10)
        assert isinstance(await first, httpx.ReadError)

    run(main())
    assert log == [(2, "gateway")]


def test_other_processes_are_left_alone() -> None:
    log: Log = []

    async def beat(name: str) -> None:
        while True:
            await asyncio.sleep(1)
            log.append((name, current_host()))

    async def main() -> None:
        network = Network()
        for name in ("gateway", "upstream"):
            network.serve(name, _nothing)
            network.spawn(name, beat(name))
        beating = asyncio.create_task(beat("outside"))
        await asyncio.sleep(1.5)
        network.kill("gateway")
        await asyncio.sleep(1)
        beating.cancel()

    run(main())
    assert log == [
        ("gateway", "gateway"),
        ("upstream", "upstream"),
        ("outside", ""),
        ("upstream", "upstream"),
        ("outside", ""),
    ]


def test_frames_of_the_killed_are_freed_when_the_loop_closes() -> None:
    class Big:
        pass

    refs: list[weakref.ref[Big]] = []

    async def hold() -> None:
        big = Big()
        refs.append(weakref.ref(big))
        await asyncio.sleep(100)
        del big

    async def main() -> None:
        network = Network()
        network.serve("gateway", _nothing)
        network.spawn("gateway", hold())
        await asyncio.sleep(1)
        network.kill("gateway")

    loop = VirtualLoop()
    loop.run(main())
    assert refs[0]() is not None
    hook = sys.unraisablehook
    loop.close()
    assert sys.unraisablehook is hook
    gc.collect()
    assert refs[0]() is None


def test_only_a_virtual_loop_kills() -> None:
    async def main() -> None:
        network = Network()
        network.serve("gateway", _nothing)
        with pytest.raises(RuntimeError, match="virtual loop"):
            network.kill("gateway")
        with pytest.raises(KeyError, match="nobody is served as gatway; there are"):
            network.kill("gatway")

    asyncio.run(main())


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None: ...
