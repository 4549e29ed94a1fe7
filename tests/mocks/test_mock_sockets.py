"""The upstreams on loopback sockets: what breaks, hangs, refusals and failing TLS handshakes look like on the wire."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
import uvloop
from mock_asgi import PATHS, injection, request

from mock_upstreams.sockets import serving

pytestmark = pytest.mark.local

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=sorted(LOOPS))
def run(request: pytest.FixtureRequest) -> Any:
    """Run a coroutine on each kind of loop."""

    def runner(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as made:
            return made.run(asyncio.wait_for(work, 30))

    return runner


class Client:
    """A raw HTTP/1.1 client that shows how a connection ends."""

    def __init__(self, url: str) -> None:
        self.host, self.port = urlsplit(url).hostname, urlsplit(url).port

    @asynccontextmanager
    async def sent(self, method: str, path: str, body: bytes) -> AsyncIterator[tuple[Any, Any]]:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n\r\n"
        try:
            writer.write(head.encode() + body)
            yield reader, writer
        finally:
            writer.transport.abort()

    async def ask(self, path: str, value: Any = None, method: str = "POST") -> tuple[bytes, str]:
        """Return what came, head included, and how it ended: ``fin``, ``reset``, or ``whole`` for a clean answer."""
        body = b"" if value is None else orjson.dumps(value)
        async with self.sent(method, path, body) as (reader, _):
            came = b""
            while True:
                try:
                    piece = await reader.read(65536)
                except ConnectionResetError:
                    return came, "reset"
                came += piece
                if not piece:
                    return came, "fin"
                if is_whole(came):
                    return came, "whole"

    async def json(self, path: str, value: Any = None, method: str = "POST") -> Any:
        came, _ = await self.ask(path, value, method)
        return orjson.loads(came.partition(b"\r\n\r\n")[2])


def is_whole(came: bytes) -> bool:
    head, found, body = came.partition(b"\r\n\r\n")
    if not found:
        return False
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
    return body.endswith(b"0\r\n\r\n") if length is None else len(body) >= int(length.partition(b":")[2])


async def attempts(client: Client) -> list[dict[str, Any]]:
    came, _ = await client.ask("/control/r/journal", method="GET")
    lines = [line for line in came.splitlines() if line.startswith(b"{")]
    return [span for span in map(orjson.loads, lines) if span["span"] == "attempt"]


@asynccontextmanager
async def served(*faults: dict[str, Any], **listeners: str) -> AsyncIterator[tuple[Client, dict[str, str]]]:
    """Serve two roles with ``faults`` declared, and yield a client of the primary."""
    async with serving(("primary", "second"), listeners) as addresses:
        control = Client(addresses["control"])
        zero_s = asyncio.get_running_loop().time()
        await control.json("/control/r/start", {"zero_s": zero_s, "seed": 1, "injections": list(faults)})
        yield Client(addresses["primary"]), addresses


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_is_whole(run: Any, stream: bool) -> None:
    async def work() -> None:
        async with served() as (client, _):
            for surface in ("chat", "messages", "responses"):
                came, ending = await client.ask(f"/r/primary/{PATHS[surface]}", request(surface, stream=stream))
                assert (came[:15], ending) == (b"HTTP/1.1 200 OK", "whole")
                assert b"primary:c1:3" in came

    run(work())


@pytest.mark.parametrize(("fault", "ending"), [("cut", "fin"), ("reset", "reset")])
def test_a_connection_is_broken_before_its_head(run: Any, fault: str, ending: str) -> None:
    async def work() -> None:
        async with served(injection(f"{fault}_before_headers")) as (client, _):
            assert await client.ask(f"/r/primary/{PATHS['chat']}", request("chat")) == (b"", ending)
            (attempt,) = await attempts(client)
            assert (attempt["ended"], attempt["fault"]) == ("fault", f"{fault}_before_headers")

    run(work())


@pytest.mark.parametrize(("fault", "ending"), [("cut_after", "fin"), ("reset_after", "reset")])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("point", [{"chunks": 0}, {"content": 2}, {"content": 2, "inside": True}])
def test_a_connection_is_broken_in_the_middle(
    run: Any, fault: str, ending: str, stream: bool, point: dict[str, Any]
) -> None:
    async def work() -> None:
        async with served(injection(fault, params=point)) as (client, _):
            came, how = await client.ask(f"/r/primary/{PATHS['chat']}", request("chat", stream=stream))
            assert how == ending
            head, _, body = came.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            (attempt,) = await attempts(client)
            assert attempt["ended"] == "fault"
            if point.get("chunks") == 0:
                assert body == b""
            elif stream:
                assert (b"primary:c1:1" in body, b"primary:c1:3" in body, b"0\r\n\r\n" in body) == (True, False, False)
            else:
                assert len(body) == attempt["bytes"] > 0

    run(work())


@pytest.mark.parametrize("fault", ["hang_before_headers", "hang_after_headers", "stall"])
def test_a_hang_ends_when_the_caller_leaves(run: Any, fault: str) -> None:
    async def work() -> None:
        async with served(injection(fault)) as (client, addresses):
            body = orjson.dumps(request("chat", stream=True))
            path = f"/r/primary/{PATHS['chat']}"
            async with client.sent("POST", path, body) as (reader, _):
                if fault == "hang_before_headers":
                    while not await attempts(client):
                        pass
                else:
                    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            while (attempt := (await attempts(Client(addresses["control"])))[0])["ended"] == "open":
                pass
            assert (attempt["ended"], attempt["fault"]) == ("left", fault)
            assert 0 <= attempt["left"][0] <= attempt["left"][1] == attempt["end"]
            assert attempt["attached"] == attempt["left"][0]
            assert (attempt["status"] is None) == (fault == "hang_before_headers")

    run(work())


def test_a_departure_that_a_busy_loop_notices_late_is_not_taken_for_a_late_one(run: Any) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        async with served(injection("hang_after_headers")) as (client, addresses):
            body = orjson.dumps(request("chat", stream=True))
            zero_s = loop.time()
            async with client.sent("POST", f"/r/primary/{PATHS['chat']}", body) as (reader, _):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            left_s = loop.time()
            while loop.time() < left_s + 0.05:
                pass  # the loop is busy with something else
            while (attempt := (await attempts(Client(addresses["control"])))[0])["ended"] == "open":
                pass
            early, late = attempt["left"]
            assert early <= (left_s - zero_s) * 1e6 + attempt["start"] + 2_000
            assert late - early >= 50_000

    run(work())


def test_a_connection_is_kept_for_the_next_request(run: Any) -> None:
    async def work() -> None:
        async with served() as (client, _):
            body = orjson.dumps(request("chat"))
            async with client.sent("POST", f"/r/primary/{PATHS['chat']}", body) as (reader, writer):
                for _ in range(3):
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
                    await reader.readexactly(int(length.partition(b":")[2]))
                    lines = f"POST /r/primary/{PATHS['chat']} HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\n"
                    writer.write(f"{lines}content-length: {len(body)}\r\n\r\n".encode() + body)

    run(work())


def test_a_refusing_listener_refuses_and_leaves_the_others_alone(run: Any) -> None:
    async def work() -> None:
        async with served(second="refusing") as (client, addresses):
            with pytest.raises(ConnectionRefusedError):
                await Client(addresses["second"]).ask("/healthz", method="GET")
            assert addresses["second"].startswith("http://127.0.0.1:")
            assert (await client.json("/healthz", method="GET"))["status"] == "ok"

    run(work())


def test_a_tls_handshake_fails(run: Any) -> None:
    async def work() -> None:
        async with served(second="tls_failing") as (_, addresses):
            where = urlsplit(addresses["second"])
            assert where.scheme == "https"
            with pytest.raises(ssl.SSLError):
                await asyncio.open_connection(where.hostname, where.port, ssl=ssl.create_default_context())

    run(work())


def test_the_control_api_is_reached_though_every_upstream_is_down(run: Any) -> None:
    async def work() -> None:
        async with served(primary="refusing", second="tls_failing") as (_, addresses):
            assert (await Client(addresses["control"]).json("/healthz", method="GET"))["runs"] == 1
            assert len(set(addresses.values())) == 3

    run(work())


def test_the_control_apis_port_can_be_chosen(run: Any) -> None:
    async def work() -> None:
        async with serving(("primary",)) as addresses:
            free = urlsplit(addresses["control"]).port
        assert free is not None
        async with serving(("primary",), control_port=free) as addresses:
            assert addresses["control"] == f"http://127.0.0.1:{free}"
            with pytest.raises(OSError, match="in use"):
                async with serving(("primary",), control_port=free):
                    raise AssertionError("nothing may be served")

    run(work())


def test_a_head_without_end_is_refused(run: Any) -> None:
    async def work() -> None:
        async with served() as (client, _):
            reader, writer = await asyncio.open_connection(client.host, client.port)
            writer.write(b"POST / HTTP/1.1\r\n" + b"x-long: " + b"y" * 300_000 + b"\r\n" + b"x-more: " + b"z" * 300_000)
            writer.write(b"\r\n\r\n")
            # What was still on its way is answered by a reset, which may overtake the 400.
            with suppress(ConnectionResetError):
                assert (await reader.read(15)).startswith(b"HTTP/1.1 400")
            writer.transport.abort()
            assert (await client.json("/healthz", method="GET"))["status"] == "ok"

    run(work())


@pytest.mark.parametrize(
    ("roles", "listeners", "words"),
    [
        ((), {}, "roles must be"),
        (("a", "a"), {}, "roles must be distinct"),
        (("control",), {}, "none of them 'control'"),
        (("primary",), {"primry": "open"}, "no role 'primry'; near: primary"),
        (("primary",), {"primary": "refused"}, "no listener state 'refused'; near: refusing"),
    ],
)
def test_listeners_that_cannot_be_are_told(run: Any, roles: Any, listeners: Any, words: str) -> None:
    async def work() -> None:
        async with serving(roles, listeners):
            raise AssertionError("nothing may be served")

    with pytest.raises(ValueError, match=words):
        run(work())


def test_the_server_ends_with_its_callers_still_hanging(run: Any) -> None:
    async def work() -> Any:
        server = serving(("primary",))
        addresses = await server.__aenter__()
        client = Client(addresses["primary"])
        path = f"/r/primary/{PATHS['chat']}"
        async with client.sent("POST", path, orjson.dumps(request("chat", "ttft=9999"))) as (reader, _):
            while not (await client.json("/healthz", method="GET"))["runs"]:
                pass
            await server.__aexit__(None, None, None)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await client.ask("/healthz", method="GET")

    run(work())
