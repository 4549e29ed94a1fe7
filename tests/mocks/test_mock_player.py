"""Playing parts over ASGI: when what is sent, how breaks reach the connection, how a departure is noticed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from mock_asgi import Link, ask, run

from mock_upstreams.parts import Chunk, Cut, Part, Pause, Reset, Start
from mock_upstreams.player import CannotBreak, Tape, play
from mock_upstreams.requests import read_body

START = Start(200, ((b"content-type", b"text/plain"),))


def played(parts: Sequence[Part], **how: Any) -> tuple[Link, Tape, list[str]]:
    """Play ``parts`` to a caller and return what it saw, the tape, and how the playing ended."""
    tape, endings = Tape(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        connection = scope.get("extensions", {}).get("harness.connection")
        endings.append(await play(parts, receive, send, connection, tape))

    async def work() -> Link:
        return await ask(app, "/", b"x", **how)

    return run(work()), tape, endings  # type: ignore[return-value]  # endings are words


def kinds(link: Link) -> list[str]:
    return [
        f"start {m['status']}" if m["type"] == "http.response.start" else f"{m['body'].decode()}{'+' * m['more_body']}"
        for _, m in link.messages
    ]


def test_each_chunk_is_one_message_and_the_last_ends_the_answer() -> None:
    link, tape, endings = played([START, Chunk(b"a"), Chunk(b"b"), Chunk(b"c")])
    assert kinds(link) == ["start 200", "a+", "b+", "c"]
    assert endings == ["whole"]
    assert (tape.status, tape.content_type, tape.sent) == (200, "text/plain", [b"a", b"b", b"c"])


def test_the_head_is_held_back_until_the_first_chunk() -> None:
    link, tape, _ = played([START, Pause(2.0), Chunk(b"a")])
    assert kinds(link) == ["start 200", "a"]
    assert link.times == [2.0, 2.0]
    assert tape.head_s is not None
    assert tape.first_chunk_s == tape.head_s == link.started + 2.0


def test_a_head_may_be_flushed() -> None:
    link, tape, _ = played([Start(200, flush=True), Pause(2.0), Chunk(b"a")])
    assert kinds(link) == ["start 200", "+", "a"]
    assert link.times == [0.0, 0.0, 2.0]
    assert tape.head_s == link.started
    assert tape.first_chunk_s == link.started + 2.0


def test_pauses_separate_chunks_in_time() -> None:
    link, _, _ = played([Pause(0.5), START, Chunk(b"a"), Pause(0.25), Chunk(b"b"), Pause(0.25)])
    assert kinds(link) == ["start 200", "a+", "b+", ""]
    assert link.times == [0.5, 0.5, 0.75, 1.0]


def test_a_head_without_a_body_is_an_answer() -> None:
    link, _, endings = played([Start(200, ((b"content-length", b"0"),))])
    assert kinds(link) == ["start 200", ""]
    assert endings == ["whole"]


@pytest.mark.parametrize(("part", "broken"), [(Reset(), "reset"), (Cut(), "cut")])
def test_breaks_reach_the_connection_after_what_was_sent_before(part: Part, broken: str) -> None:
    link, tape, endings = played([START, Chunk(b"a"), Chunk(b"b"), part, Chunk(b"never")])
    assert (kinds(link), link.broken, endings) == (["start 200", "a+", "b+"], broken, ["broken"])
    assert not link.ended
    link, tape, endings = played([part])
    assert (kinds(link), link.broken, tape.status) == ([], broken, None)


def test_a_host_that_cannot_break_is_told_so() -> None:
    with pytest.raises(CannotBreak, match=r"harness\.connection"):
        played([Reset()], breakable=False)


NOTICED = pytest.mark.parametrize("tells", [False, True], ids=["by a task", "by the connection"])


@NOTICED
@pytest.mark.parametrize("before", [[], [Start(200, flush=True)], [START, Chunk(b"a")]])
def test_a_hang_lasts_until_the_caller_leaves(before: list[Part], tells: bool) -> None:
    _, tape, endings = played([*before, Pause(math.inf), Chunk(b"never")], leave_after=120.0, tells=tells)
    assert endings == ["left"]
    assert tape.left_s == 220.0
    assert b"never" not in tape.sent


@NOTICED
def test_a_departure_is_noticed_at_once_while_pausing(tells: bool) -> None:
    link, tape, endings = played([START, Chunk(b"a"), Pause(10.0), Chunk(b"b")], leave_after=3.0, tells=tells)
    assert (endings, tape.sent, tape.left_s) == (["left"], [b"a"], link.started + 3.0)


@NOTICED
def test_a_departure_is_noticed_in_a_long_row_of_pauses(tells: bool) -> None:
    parts: list[Part] = [START]
    for _ in range(10):
        parts += [Pause(1.0), Chunk(b"a")]
    link, tape, endings = played(parts, leave_after=4.5, tells=tells)
    assert (endings, len(tape.sent), tape.left_s) == (["left"], 4, link.started + 4.5)


@NOTICED
def test_a_departure_is_noticed_behind_a_transport_that_was_full(tells: bool) -> None:
    link, tape, endings = played(
        [START, *[Chunk(b"a")] * 10], slow=lambda: asyncio.sleep(1.0), leave_after=2.5, tells=tells
    )
    assert endings == ["left"]
    assert len(tape.sent) == 2
    assert tape.left_s == link.started + 2.5


PACED: list[Part] = [
    *[Pause(0.5), START, Chunk(b"a"), Chunk(b"b"), Pause(0.25), Chunk(b"c"), Pause(0.25), Pause(0.0), Chunk(b"d")],
    *[Chunk(b"e"), Pause(1.0), Pause(1.0), Chunk(b"f"), Chunk(b"g")],
]


@pytest.mark.parametrize("parts", [PACED, [*PACED, Pause(0.5)], [*PACED, Cut()], [*PACED, Pause(math.inf)]])
@pytest.mark.parametrize("refused", [b"", b"b", b"c", b"e", b"bcdefg"])
@pytest.mark.parametrize("leave_after", [0.9, 1.7, 100.0])
def test_what_is_pushed_is_sent_as_messages_are(parts: list[Part], refused: bytes, leave_after: float) -> None:
    plain, tape, endings = played(parts, leave_after=leave_after)
    link, pushed, ended = played(parts, leave_after=leave_after, takes=lambda data: data not in refused)
    assert (kinds(link), link.times, link.broken) == (kinds(plain), plain.times, plain.broken)
    assert (pushed, ended) == (tape, endings)


def test_a_task_sleeps_through_a_paced_stream() -> None:
    woken = 0

    def takes(data: bytes) -> bool:
        nonlocal woken
        with suppress(RuntimeError):
            woken += asyncio.current_task() is not None
        return True

    link, _, _ = played([START, *[Chunk(b"a"), Pause(0.1)] * 10, Chunk(b"b")], takes=takes)
    assert (kinds(link), woken) == (["start 200", *["a+"] * 10, "b"], 0)


def test_what_fails_in_making_a_paced_stream_is_raised() -> None:
    def parts() -> Iterator[Part]:
        yield from [START, Chunk(b"a"), Pause(0.1), Chunk(b"b"), Pause(0.1)]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        played(parts(), takes=lambda _: True)  # type: ignore[arg-type]  # an iterable will do


@pytest.mark.parametrize(
    ("parts", "tells"), [([START, *[Chunk(b"a")] * 50], False), ([START, Pause(1.0), Chunk(b"a"), Pause(1.0)], True)]
)
def test_what_is_sent_at_once_or_over_a_connection_that_tells_needs_no_watcher(parts: list[Part], tells: bool) -> None:
    async def work() -> int:
        seen = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal seen
            await read_body(receive)
            await play(parts, receive, send, scope["extensions"]["harness.connection"], Tape())
            seen = len(asyncio.all_tasks())

        await ask(app, "/", b"x", tells=tells)
        return seen

    assert run(work()) == 1
