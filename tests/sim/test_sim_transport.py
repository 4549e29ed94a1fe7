"""The transport: connecting, times to the microsecond, timeouts, and answers as httpx knows them."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from harness.sim import Link, Network, SimTransport, VirtualLoop, run
from harness.sim.asgi import Receive, Scope, Send, WireHeaders
from tests.sim.sim_support import SECOND, call, echo, now_us, request, ticking

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


def test_a_timeout_of_the_clients_own_is_not_taken_for_a_write_timeout() -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"x"
        async with asyncio.timeout(1):
            await asyncio.sleep(2)

    async def main() -> None:
        network = Network()
        network.serve("server", echo)
        sent = httpx.Request("POST", "http://server/", content=content())
        with pytest.raises(TimeoutError):
            await SimTransport(network, "client").handle_async_request(sent)

    run(main())


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


def test_it_runs_on_a_stock_loop_as_well() -> None:
    async def main() -> bytes:
        network = Network(link=Link(latency_s=0.001, chop=True))
        network.serve("server", echo)
        await network.start("server")
        return await call(SimTransport(network, "client"), request(content=b"body", read=5))

    assert asyncio.run(main()) == b"body"


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(b"content-type", b"application/json"), (b"x-twice", b"a"), (b"x-twice", b"b")],
        [(b"x-latin", "caf\u00e9".encode("latin-1")), (b"x-utf8", "\u2713".encode())],
    ],
)
def test_headers_off_the_wire_are_what_httpx_makes_of_them(pairs: list[tuple[bytes, bytes]]) -> None:
    made, stock = httpx.Headers(WireHeaders(pairs)), httpx.Headers(pairs)
    assert made == stock
    assert made.raw == stock.raw
    assert made.multi_items() == stock.multi_items()
    assert (made.get("X-Twice"), made.encoding) == (stock.get("X-Twice"), stock.encoding)


def test_headers_off_the_wire_can_be_changed() -> None:
    headers = WireHeaders([(b"x-one", b"1")])
    assert headers.raw == [(b"x-one", b"1")]
    headers.raw.clear()
    headers["x-two"] = "2"
    assert headers.raw == [(b"x-one", b"1"), (b"x-two", b"2")]


def test_a_response_off_the_wire_has_all_that_httpx_gives_one() -> None:
    async def main() -> tuple[dict[str, object], dict[str, object]]:
        network = Network()
        network.serve("server", echo)
        sent = request(content=b"abc")
        made = await SimTransport(network, "client").handle_async_request(sent)
        extensions = {"http_version": b"HTTP/1.1", "reason_phrase": b"OK"}
        stock = httpx.Response(200, headers=made.headers, stream=made.stream, extensions=extensions, request=sent)
        before = dict(vars(made)), dict(vars(stock))
        assert await made.aread() == b"abc"
        assert made.is_closed
        return before

    made, stock = run(main())
    assert made == stock


def test_headers_may_be_lists_as_asgi_has_them() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [[b"transfer-encoding", b"chunked"], [b"x-a", b"b"]]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    async def main() -> tuple[list[bytes], dict[str, str]]:
        network = Network()
        network.serve("server", app)
        response = await SimTransport(network, "client").handle_async_request(request())
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return [chunk async for chunk in response.stream], dict(response.headers)

    # Chunks are told apart: the client knows the framing.
    assert run(main()) == ([b"one", b"two"], {"transfer-encoding": "chunked", "x-a": "b"})
