"""The client's side by itself: what a slow, a silent and a gone client get, and how much is kept for one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harness.gateway import passage as passages
from harness.gateway.asgi import Client, ClientStream
from harness.gateway.passage import Passage
from harness.gateway.surfaces import Chat
from harness.sim.loop import run

HEAD = [(b"content-type", b"text/event-stream")]


class Wire:
    """An ASGI server that sends slowly, and whose client leaves when told to; ``tells``: it can tell of that itself."""

    def __init__(self, send_s: float = 0.0, *, tells: bool = False) -> None:
        self.send_s = send_s
        self.extensions = {"harness.connection": self} if tells else {}
        self.told_left: Callable[[], object] | None = None
        self.sent: list[tuple[float, Any]] = []
        self.left = asyncio.Event()

    def when_left(self, told: Callable[[], object]) -> None:
        self.told_left = told

    def leave(self) -> None:
        self.left.set()
        if self.told_left is not None:
            asyncio.get_running_loop().call_soon(self.told_left)

    async def receive(self) -> dict[str, Any]:
        assert not self.extensions, "a server that tells needs nobody who waits"
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await asyncio.sleep(self.send_s)
        if self.left.is_set():
            raise OSError("gone")
        self.sent.append((asyncio.get_running_loop().time(), message))

    @property
    def body(self) -> list[tuple[float, bytes]]:
        return [(at_s, message["body"]) for at_s, message in self.sent if message.get("body")]


def client_of(wire: Wire) -> Client:
    scope = {"method": "POST", "path": "/", "headers": [], "extensions": wire.extensions}
    return Client(scope, wire.receive, wire.send)


def streamed(
    test: Callable[[ClientStream, Client, Wire], Awaitable[Any]], *, send_s: float = 0.0, tells: bool = False
) -> Wire:
    """Run ``test`` with a stream whose client hears a ping after each second of silence."""

    async def main() -> Wire:
        wire = Wire(send_s, tells=tells)
        client = client_of(wire)
        out = ClientStream(client, HEAD, b"ping", 1.0)
        await test(out, client, wire)
        out.abandon()
        client.close()
        return wire

    return run(main())


def test_nothing_goes_out_before_the_first_bytes() -> None:
    async def test(out: ClientStream, client: Client, wire: Wire) -> None:
        await asyncio.sleep(0.9)
        assert (wire.sent, out.started) == ([], False)
        out.write(b"a")
        await asyncio.sleep(0.5)
        out.write(b"b")
        out.write(b"c")
        out.end()
        await out.flushed()

    wire = streamed(test)
    assert wire.body == [(0.9, b"a"), (1.4, b"bc")]
    assert [message["type"] for _, message in wire.sent] == ["http.response.start", *["http.response.body"] * 2]
    assert [message.get("more_body", False) for _, message in wire.sent] == [False, True, False]


def test_a_ping_comes_after_each_interval_of_silence_and_none_after_the_end() -> None:
    async def test(out: ClientStream, client: Client, wire: Wire) -> None:
        await asyncio.sleep(2.5)
        out.write(b"a")
        await asyncio.sleep(2.2)
        out.end()
        await asyncio.sleep(5)
        await out.flushed()

    assert streamed(test).body == [(1.0, b"ping"), (2.0, b"ping"), (2.5, b"a"), (3.5, b"ping"), (4.5, b"ping")]


def test_pings_do_not_pile_up_for_a_client_that_is_behind() -> None:
    async def test(out: ClientStream, client: Client, wire: Wire) -> None:
        out.write(b"a")
        await asyncio.sleep(60)
        out.end()
        await out.flushed()

    assert [data for _, data in streamed(test, send_s=20.0).body] == [b"a", b"ping"]


def test_writing_never_waits_and_a_full_backlog_says_so() -> None:
    async def test(out: ClientStream, client: Client, wire: Wire) -> None:
        for _ in range(5):
            assert not out.full
            out.write(b"x" * (1 << 20))
        assert out.full
        await out.room()
        assert asyncio.get_running_loop().time() == pytest.approx(20.0)
        out.end()
        await out.flushed()

    assert sum(len(data) for _, data in streamed(test, send_s=10.0).body) == 5 << 20


@pytest.mark.parametrize("tells", [False, True])
def test_a_client_that_leaves_is_told_once_and_hears_no_more(*, tells: bool) -> None:
    told: list[float] = []

    async def test(out: ClientStream, client: Client, wire: Wire) -> None:
        client.watch(lambda: told.append(asyncio.get_running_loop().time()))
        out.write(b"a")
        await asyncio.sleep(0.5)
        wire.leave()
        await asyncio.sleep(3)
        assert client.gone
        out.write(b"b")
        out.end()

    assert streamed(test, tells=tells).body == [(0.0, b"a")]
    assert told == [0.5]


@pytest.mark.parametrize("tells", [False, True])
def test_a_client_may_leave_once_its_answer_is_complete(*, tells: bool) -> None:
    async def test(out: ClientStream, client: Client, wire: Wire) -> None:
        client.watch(lambda: pytest.fail("it had its answer"))
        out.write(b"a")
        out.end()
        await out.flushed()
        wire.leave()
        await asyncio.sleep(1)
        assert not client.gone

    streamed(test, tells=tells)


def test_a_server_that_raises_for_a_gone_client_is_understood() -> None:
    async def test(out: ClientStream, client: Client, wire: Wire) -> None:
        wire.leave()
        out.write(b"a")
        out.end()
        await out.flushed()
        assert client.gone

    assert streamed(test).sent == []


def test_what_is_held_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "EVENT_BYTES", 1_000)
    passage = Passage(Chat(), "gpt-5-5")
    event = b'data: {"choices":[],"x":"' + b"y" * 200 + b'"}\n\n'
    for _ in range(4):
        assert passage.take(event) == b""
    assert passage.broken == ""
    passage.take(event)
    assert passage.broken == "malformed"
