"""The transport: connecting, times to the microsecond, timeouts, the pool, and answers as httpx knows them."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from harness.sim import ASGIApp, Link, Network, SimTransport, VirtualLoop, run
from harness.sim.answer import Answer
from harness.sim.asgi import Receive, Scope, Send

SECOND = 1_000_000


def now_us() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.now_us


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was sent."""
    body = b""
    while True:
        event = await receive()
        body += event["body"]
        if not event["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def ticking(*, times: int, every_s: float) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(times):
            await asyncio.sleep(every_s)
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
        await send({"type": "http.response.body"})

    return app


def request(
    url: str = "http://server/", method: str = "POST", content: object = b"", **timeouts: float
) -> httpx.Request:
    return httpx.Request(method, url, content=content, extensions={"timeout": timeouts})  # type: ignore[arg-type]


async def call(transport: SimTransport, sent: httpx.Request | None = None) -> bytes:
    response = await transport.handle_async_request(sent if sent is not None else request())
    return await response.aread()


# Connecting


async def _connects(network: Network, url: str, **timeouts: float) -> tuple[str, str, object, int]:
    try:
        sent = httpx.Request("POST", url, extensions={"timeout": timeouts})
        await SimTransport(network, "client").handle_async_request(sent)
    except httpx.TransportError as error:
        return f"{type(error).__name__} {error.request.method}", str(error), type(error.__cause__), now_us()
    return "connected", "", None, now_us()


@pytest.mark.parametrize(
    ("url", "timeouts", "expected"),
    [
        ("http://open/", {}, ("connected", "", None, 500_000)),
        ("http://open:8080/", {"connect": 0.5}, ("connected", "", None, 500_000)),
        ("http://open/", {"connect": 0.499}, ("ConnectTimeout POST", "", type(None), 499_000)),
        ("http://hanging/", {"connect": 3}, ("ConnectTimeout POST", "", type(None), 3 * SECOND)),
        (
            "http://refusing/",
            {},
            ("ConnectError POST", "All connection attempts failed", ConnectionRefusedError, 500_000),
        ),
        (
            "https://tls_failing/",
            {},
            ("ConnectError POST", "[SSL: WRONG_VERSION_NUMBER] wrong version number", ssl.SSLError, 500_000),
        ),
        (
            "http://opne/",
            {},
            ("ConnectError POST", "[Errno -2] Name or service not known", socket.gaierror, 0),
        ),
        (
            "ftp://open/",
            {},
            ("UnsupportedProtocol POST", "Request URL has an unsupported protocol 'ftp://'.", type(None), 0),
        ),
    ],
)
def test_connecting(url: str, timeouts: dict[str, float], expected: object) -> None:
    async def main() -> object:
        network = Network(link=Link(connect_s=0.5))
        network.serve("open", echo)
        network.serve("refusing", echo, state="refusing")
        network.serve("hanging", echo, state="hanging")
        network.serve("tls_failing", echo, state="tls_failing")
        return await _connects(network, url, **timeouts)

    assert run(main()) == expected


def test_a_listener_changes_for_those_who_connect_later() -> None:
    async def main() -> list[str]:
        network = Network()
        network.serve("server", echo, aliases=["other"])
        seen = []
        for state in ("open", "refusing", "tls_failing", "open"):
            network.listen("server", state)
            seen.append((await _connects(network, "http://server/"))[0])
            seen.append((await _connects(network, "http://other/"))[0])
        return seen

    assert run(main()) == [
        "connected",
        "connected",
        "ConnectError POST",
        "connected",
        "ConnectError POST",
        "connected",
        "connected",
        "connected",
    ]


# Time on the way


def test_everything_arrives_after_the_latency_in_order() -> None:
    seen: list[tuple[str, int]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(("called", now_us()))
        assert (await receive())["body"] == b"body"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        await asyncio.sleep(1)
        await send({"type": "http.response.body", "body": b"three", "more_body": True})
        await receive()
        seen.append(("left", now_us()))

    async def main() -> None:
        network = Network(link=Link(connect_s=0.25, latency_s=0.1))
        network.serve("server", app)
        response = await SimTransport(network, "client").handle_async_request(request(content=b"body"))
        seen.append(("head", now_us()))
        chunks = response.aiter_raw()
        for _ in range(3):
            seen.append(((await anext(chunks)).decode(), now_us()))
        await response.aclose()
        await asyncio.sleep(1)

    run(main())
    assert seen == [
        ("called", 350_000),
        ("head", 450_000),
        ("one", 450_000),
        ("two", 450_000),
        ("three", 1_450_000),
        ("left", 1_550_000),
    ]


def _counting_timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    set_timers: list[float] = []
    original = VirtualLoop._set_timer

    def counting(self: VirtualLoop, when_us: float, *rest: object) -> object:
        set_timers.append(when_us)
        return original(self, when_us, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(VirtualLoop, "_set_timer", counting)
    return set_timers


def test_a_link_without_delay_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = _counting_timers(monkeypatch)

    async def main() -> None:
        network = Network()
        network.serve("server", echo)
        transport = SimTransport(network, "client")
        for _ in range(10):
            assert await call(transport, request(content=b"body")) == b"body"

    run(main())
    assert timers == []


def test_one_timer_watches_over_many_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = _counting_timers(monkeypatch)

    async def main() -> bytes:
        network = Network()
        network.serve("server", ticking(times=100, every_s=0.01))
        return await call(SimTransport(network, "client"), request(read=60))

    assert len(run(main())) == 190
    assert len(timers) == 100 + 1


def test_an_answer_that_was_read_leaves_no_timer() -> None:
    async def main() -> int:
        network = Network()
        network.serve("server", ticking(times=1, every_s=0.001))
        transport = SimTransport(network, "client")
        for _ in range(1000):
            await call(transport, request(read=600))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return len(loop._timers)

    assert run(main()) < 300


@pytest.mark.parametrize("silence_s", [0.0, 0.3, 0.999_999])
def test_a_read_times_out_exactly_so_long_after_it_began(silence_s: float) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(7):
            await asyncio.sleep(silence_s)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(10)

    async def main() -> int:
        network = Network()
        network.serve("server", app)
        with pytest.raises(httpx.ReadTimeout) as caught:
            await call(SimTransport(network, "client"), request(read=1))
        assert caught.value.request.url == "http://server/"
        return now_us()

    assert run(main()) == round(7 * silence_s * SECOND) + SECOND


def test_a_read_that_ends_just_in_time_is_in_time() -> None:
    async def main(after_s: float) -> object:
        network = Network()
        network.serve("server", ticking(times=1, every_s=after_s))
        try:
            return await call(SimTransport(network, "client"), request(read=1))
        except httpx.ReadTimeout:
            return "late"

    assert [run(main(after_s)) for after_s in (0.999_999, 1.000_001)] == [b"0", "late"]


# Requests


class Pieces(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield from (b"one ", b"", b"two")


class AsyncPieces(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in (b"one ", b"", b"two"):
            await asyncio.sleep(0.1)
            yield piece


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (httpx.ByteStream(b"one two"), b"one two"),
        (Pieces(), b"one two"),
        (AsyncPieces(), b"one two"),
        (httpx.ByteStream(b"x" * 1_000_000), b"x" * 1_000_000),
        (httpx.ByteStream(b""), b""),
    ],
)
@pytest.mark.parametrize("link", [Link(), Link(latency_s=0.01), Link(chop=True), Link(latency_s=0.01, chop=True)])
def test_any_body_arrives_whole(stream: httpx.SyncByteStream, expected: bytes, link: Link) -> None:
    async def main() -> bytes:
        network = Network(link=link)
        network.serve("server", echo)
        return await call(SimTransport(network, "client"), httpx.Request("POST", "http://server/", stream=stream))

    assert run(main()) == expected


def test_the_scope_says_what_was_sent() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def main() -> None:
        network = Network()
        network.serve("server", app)
        transport = SimTransport(network, "client")
        headers = [("X-Upper", "Value"), ("x-twice", "1"), ("x-twice", "2")]
        await call(transport, httpx.Request("DELETE", "https://server/a%20b/%C3%BC?x=%20y&z", headers=headers))

    run(main())
    scope = scopes[0]
    connection = scope.pop("extensions")["harness.connection"]
    assert callable(connection.reset)
    assert callable(connection.cut)
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "DELETE",
        "scheme": "https",
        "path": "/a b/ü",
        "raw_path": b"/a%20b/%C3%BC",
        "query_string": b"x=%20y&z",
        "root_path": "",
        "headers": [(b"host", b"server"), (b"x-upper", b"Value"), (b"x-twice", b"1"), (b"x-twice", b"2")],
        "client": ("127.0.0.1", 32_769),
        "server": ("127.0.0.1", 443),
        "state": {},
    }


# Answers


def test_an_answer_is_a_response_like_any_other() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"Content-Type", b"application/json"), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": bytearray(b'{"a":'), "more_body": True})
        await send({"type": "http.response.body", "body": memoryview(b"1}")})

    async def main() -> None:
        network = Network()
        network.serve("server", app)
        response = await SimTransport(network, "client").handle_async_request(request())
        assert response.status_code == 429
        assert response.headers["content-type"] == "application/json"
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert response.extensions == {"http_version": b"HTTP/1.1", "reason_phrase": b"Too Many Requests"}
        assert isinstance(response.stream, httpx.AsyncByteStream)
        assert await response.aread() == b'{"a":1}'
        assert response.json() == {"a": 1}
        with pytest.raises(httpx.HTTPStatusError):
            response.raise_for_status()
        async with httpx.AsyncClient(transport=SimTransport(network, "client"), base_url="http://server") as client:
            assert (await client.post("/x", json={})).text == '{"a":1}'
            async with client.stream("GET", "/") as streamed:
                assert [chunk async for chunk in streamed.aiter_raw()] == [b'{"a":', b"1}"]

    run(main())


def test_an_answer_that_was_read_or_closed_has_nothing_more() -> None:
    async def main() -> None:
        network = Network()
        network.serve("server", echo)
        transport = SimTransport(network, "client")
        for reads in (0, 1):
            response = await transport.handle_async_request(request(content=b"body"))
            stream = response.stream
            assert isinstance(stream, httpx.AsyncByteStream)
            if reads:
                assert [chunk async for chunk in stream] == [b"body"]
            await stream.aclose()
            await stream.aclose()
            assert [chunk async for chunk in stream] == []

    run(main())


def test_a_sender_waits_until_three_quarters_of_the_buffer_are_read() -> None:
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        for number in range(20):
            await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
            sent.append(number)

    async def main() -> list[int]:
        network = Network(link=Link(buffer_bytes=800))
        network.serve("server", app)
        response = await SimTransport(network, "client").handle_async_request(request())
        chunks = response.aiter_raw()
        progress = []
        for _ in range(12):
            await asyncio.sleep(1)
            progress.append(len(sent))
            await anext(chunks)
        await response.aclose()
        await asyncio.sleep(1)
        return progress

    # The ninth send overflows and returns, the tenth waits until no more than 200 bytes are unread; and so on.
    assert run(main()) == [9, 9, 9, 9, 9, 9, 9, 16, 16, 16, 16, 16]


def test_crashes_of_applications_are_kept_with_their_traceback() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("broken")

    async def main() -> Network:
        network = Network()
        network.serve("server", app)
        for _ in range(30):
            assert await call(SimTransport(network, "client"), request("http://server/x?y")) == b"Internal Server Error"
        return network

    network = run(main())
    assert network.crash_count == 30
    assert len(network.crashes) == 20
    crash = network.crashes[0]
    assert (crash.host, crash.request, crash.error) == ("server", "POST /x", "ValueError('broken')")
    assert "in app\n" in crash.traceback


def test_no_answer_to_a_client_that_left_is_no_crash() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    async def main() -> int:
        network = Network()
        network.serve("server", app)
        with pytest.raises(httpx.ReadTimeout):
            await call(SimTransport(network, "client"), request(read=1))
        await asyncio.sleep(1)
        assert not network.live
        return network.crash_count

    assert run(main()) == 0


# The pool


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


# Chopping


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


def test_it_runs_on_a_stock_loop_as_well() -> None:
    async def main() -> bytes:
        network = Network(link=Link(latency_s=0.001, chop=True))
        network.serve("server", echo)
        await network.start("server")
        return await call(SimTransport(network, "client"), request(content=b"body", read=5))

    assert asyncio.run(main()) == b"body"
