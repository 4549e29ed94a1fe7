"""The load generator against a server that says what it is told to: times, and answers that are none, are seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from harness.bench import caller as module
from harness.bench.caller import Caller, Connection, Timing
from harness.bench.plan import CHUNKS
from harness.target import TargetError

WHOLE = b'{"choices":[]}'
STREAM = b"data: {}\n\n" * CHUNKS + b"data: [DONE]\n\n"
Then = Callable[[Caller], Awaitable[object]]


def answer(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, more, len(body), body)


def calling(says: bytes, then: Then) -> tuple[Caller, object, int]:
    """Return the caller, what ``then`` gave and how many connections were made, with a server that says ``says``."""
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                if not says:
                    break
                writer.write(says)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main() -> tuple[Caller, object]:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        made = Caller("it", "127.0.0.1", server.sockets[0].getsockname()[1])
        try:
            return made, await then(made)
        finally:
            made.close()
            server.close()
            await asyncio.sleep(0)

    made, gave = asyncio.run(main())
    return made, gave, connections


REQUEST = b"POST / HTTP/1.1\r\n\r\n"


def test_an_answer_has_its_times_in_order() -> None:
    _, timing, _ = calling(answer(WHOLE), lambda made: made.call(REQUEST))
    assert isinstance(timing, Timing)
    assert 0 < timing.sent_ns <= timing.first_ns <= timing.last_ns
    assert (timing.status, timing.body) == (200, WHOLE)


@pytest.mark.parametrize(
    ("says", "chunks", "told"),
    [
        (answer(b"no", b"503 Unavailable"), 0, "status 503: no"),
        (answer(b"{}"), 0, "status 200: {}"),
        (answer(b"data: {}\n\n" * CHUNKS), CHUNKS, "status 200"),
        (answer(b"data: {}\n\ndata: [DONE]\n\n"), CHUNKS, "status 200"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", 0, "the connection broke"),
        (b"", 0, "the connection broke"),
    ],
)
def test_what_is_no_whole_answer_is_counted_and_told(says: bytes, chunks: int, told: str) -> None:
    made, timing, _ = calling(says, lambda one: one.call(REQUEST, chunks))
    assert timing is None
    assert made.failed == 1
    assert made.first_failure.startswith(told)


@pytest.mark.parametrize("behind", [answer(WHOLE), answer(b"no", b"503 No"), b"HTTP/1.1 ", b"garbage\r\n\r\n"])
def test_what_comes_behind_an_answer_is_no_part_of_any_call_and_ends_the_connection(behind: bytes) -> None:
    async def twice(made: Caller) -> list[object]:
        return [await made.call(REQUEST), await made.call(REQUEST)]

    made, timings, connections = calling(answer(WHOLE) + behind, twice)
    assert made.failed == 0, made.first_failure
    assert isinstance(timings, list)
    assert [(one.status, one.body) for one in timings] == [(200, WHOLE)] * 2
    assert all(0 < one.sent_ns <= one.first_ns <= one.last_ns for one in timings)
    assert connections == 2


class Wire:
    """A transport that takes everything."""

    aborted = False

    def write(self, data: bytes) -> None:
        assert data == REQUEST

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


def test_an_interim_answer_is_not_the_answer_and_what_comes_late_is_none() -> None:
    async def main() -> None:
        connection, wire = Connection(), Wire()
        connection.connection_made(wire)
        told = connection.call(REQUEST)
        connection.data_received(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        await asyncio.sleep(0)
        assert not told.done()
        connection.data_received(answer(WHOLE))
        timing = await told
        assert (timing.status, timing.body) == (200, WHOLE)
        assert not connection.closed
        connection.data_received(answer(WHOLE))
        assert connection.closed
        assert wire.aborted

    asyncio.run(main())


@pytest.mark.parametrize(("more", "wanted"), [(b"", 1), (b"connection: close\r\n", 3)])
def test_a_connection_is_used_again_where_its_server_keeps_it(more: bytes, wanted: int) -> None:
    async def thrice(made: Caller) -> None:
        for _ in range(3):
            assert await made.call(REQUEST, CHUNKS) is not None

    _, _, connections = calling(answer(STREAM, more=more), thrice)
    assert connections == wanted


def test_a_closed_loop_counts_what_was_answered_and_waits_for_what_was_sent() -> None:
    made, gave, connections = calling(answer(WHOLE), lambda one: one.closed_loop(3, 0.02, lambda: REQUEST))
    assert isinstance(gave, tuple)
    calls, seconds = gave
    assert calls >= 3
    assert seconds >= 0.02
    assert (made.failed, connections) == (0, 3)


def test_who_never_answers_is_told_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    with pytest.raises(TargetError, match="did not answer within"):
        calling(b"HTTP/1.1 200 OK\r\n", lambda made: made.call(REQUEST))


def test_a_port_where_nobody_listens_is_told() -> None:
    with pytest.raises(TargetError, match="takes no connection"):
        asyncio.run(Caller("it", "127.0.0.1", 1).call(REQUEST))
