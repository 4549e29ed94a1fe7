"""The checkers of framing and of pings in silence: each clause seen to hold and seen to be broken."""

from __future__ import annotations

from dataclasses import replace

from harness.checkers.streams import silence_is_filled_with_pings, streams_are_read_whatever_their_packets
from harness.contract import load_contract
from harness.history import Reading
from tests.checkers.wire_histories import (
    CHAT,
    CLAUDE,
    GPT,
    MESSAGES,
    Case,
    Judgements,
    Wire,
)
from tests.checkers.wire_steps import (
    OTHER_TOOLS,
    PASS,
    TOOLS,
    Step,
    in_turn,
    kept,
    served,
)

PING_US = load_contract().timeouts.ping_ms * 1000
EVERY = [PING_US, 2 * PING_US, 3 * PING_US]
EARLY = [PING_US // 2, 3 * PING_US // 2, 5 * PING_US // 2, 7 * PING_US // 2]
MIDDLE = [10_000 + n * PING_US for n in (1, 2, 3)]


def framed(clause: str, fault: str) -> list[Case]:
    """A framing that made no difference, lost a piece, or sent the call to another target."""

    def elsewhere(wire: Wire) -> None:
        served(stream=True)(wire)
        wire.attempts[-1] = replace(wire.attempts[-1], ended="left", left=(0, 1), reading=Reading())
        wire.fault(fault)
        wire.attempt("c1", upstream="second")

    def hit(wire: Wire) -> None:
        wire.fault(fault)

    check, whole = streams_are_read_whatever_their_packets, in_turn(served(stream=True), hit)
    return [
        Case(
            check, clause, in_turn(served(stream=True), hit), in_turn(served(stream=True, saw={"text": "short"}), hit)
        ),
        Case(check, clause, whole, elsewhere),
    ]


def chopped(step: Step) -> Step:
    def run(wire: Wire) -> None:
        wire.options["chop"] = True
        step(wire)

    return run


def silent(path: str, model: str, pings: list[int], *, first_chunk: int, body: bytes = b"") -> Step:
    """A stream of four ping intervals, its first chunk at ``first_chunk`` and its last at the end; pings as given."""
    end = 4 * PING_US

    def run(wire: Wire) -> None:
        chunks = (first_chunk, end)
        form = b"event: ping\ndata: {}\n\n" if "messages" in path else b": ping\n\n"
        wire.served(
            path,
            model,
            stream=True,
            sent=0,
            first_content=first_chunk,
            chunks=chunks,
            pings=tuple(pings),
            end=end,
            upstream={"start": 0, "first_chunk": first_chunk, "end": end},
        )
        content = (body or form) * len(pings) + b"data: {}\n\n"
        wire.calls[-1] = replace(wire.calls[-1], answer_sha=wire.body(content), answer_bytes=len(content))

    return run


CASES = [
    # CHAT-07
    kept(streams_are_read_whatever_their_packets, "text", CHAT, GPT, "text", "a\u2002b", "a\ufffdb"),
    kept(streams_are_read_whatever_their_packets, "tool_arguments", CHAT, GPT, "tools", TOOLS, OTHER_TOOLS),
    kept(streams_are_read_whatever_their_packets, "finish_reason", CHAT, GPT, "finish", "length", "stop"),
    kept(
        streams_are_read_whatever_their_packets,
        "usage",
        CHAT,
        GPT,
        "usage",
        {"total_tokens": 1},
        {"total_tokens": True},
    ),
    *framed("split_character", "split_utf8"),
    *framed("crlf", "crlf"),
    *framed("comments", "comments"),
    *framed("several_data_lines", "multi_line_data"),
    *framed("duplicates", "duplicate_event"),
    *framed("disorder", "events_out_of_order"),
    Case(
        streams_are_read_whatever_their_packets,
        "split_line",
        chopped(served(stream=True)),
        chopped(served(stream=True, outcome="error", saw={"error_type": "api_error"})),
    ),
    # MSG-03
    Case(
        silence_is_filled_with_pings,
        "before_first_byte",
        silent(MESSAGES, CLAUDE, EVERY, first_chunk=4 * PING_US - 1_000),
        silent(MESSAGES, CLAUDE, EVERY[1:], first_chunk=4 * PING_US - 1_000),
    ),
    Case(
        silence_is_filled_with_pings,
        "before_first_byte",
        silent(CHAT, GPT, EVERY, first_chunk=4 * PING_US - 1_000),
        silent(CHAT, GPT, EARLY, first_chunk=4 * PING_US - 1_000),
    ),
    Case(
        silence_is_filled_with_pings,
        "ping_interval",
        silent(MESSAGES, CLAUDE, MIDDLE, first_chunk=10_000),
        silent(MESSAGES, CLAUDE, MIDDLE[:2], first_chunk=10_000),
    ),
    Case(
        silence_is_filled_with_pings,
        "ping_interval",
        silent(MESSAGES, CLAUDE, MIDDLE, first_chunk=10_000),
        silent(MESSAGES, CLAUDE, MIDDLE, first_chunk=10_000, body=b": ping\n\n"),
    ),
    Case(
        silence_is_filled_with_pings,
        "openai_comment",
        silent(CHAT, GPT, MIDDLE, first_chunk=10_000),
        silent(CHAT, GPT, MIDDLE, first_chunk=10_000, body=b"event: ping\ndata: {}\n\n"),
    ),
    Case(
        silence_is_filled_with_pings,
        "openai_comment",
        silent(CHAT, GPT, MIDDLE, first_chunk=10_000),
        silent(CHAT, GPT, [], first_chunk=10_000),
    ),
]
JUDGED: Judgements = [
    (streams_are_read_whatever_their_packets, served(), set()),
    (streams_are_read_whatever_their_packets, served(stream=True), {"text", "finish_reason", "usage"}),
    (silence_is_filled_with_pings, served(stream=True), set()),
    (silence_is_filled_with_pings, served(), set()),
]


def test_no_ping_is_owed_between_two_attempts() -> None:
    wire = Wire()
    pause = PING_US // 2
    wire.served(
        MESSAGES, CLAUDE, stream=True, sent=0, first_content=2 * PING_US, chunks=(2 * PING_US,), end=2 * PING_US + 1
    )
    first = replace(wire.attempts[-1], start=0, first_chunk=None, end=PING_US - pause, ended="fault", status=503)
    second = replace(
        wire.attempts[-1],
        id="second-1",
        upstream="second",
        start=PING_US + pause,
        first_chunk=2 * PING_US,
        end=2 * PING_US,
    )
    wire.attempts[:] = [first, second]
    assert wire.outcome(silence_is_filled_with_pings, "before_first_byte") is None


def test_an_upstream_s_own_ping_that_was_passed_on_is_not_early() -> None:
    wire = Wire()
    silent(MESSAGES, CLAUDE, [10_500, *(at + 500 for at in MIDDLE)], first_chunk=10_000)(wire)
    assert wire.outcome(silence_is_filled_with_pings, "ping_interval") is PASS


def test_pings_of_an_upstream_that_sends_its_own_are_not_judged() -> None:
    wire = Wire()
    silent(CHAT, GPT, [PING_US // 2], first_chunk=10_000)(wire)
    wire.fault("comments")
    assert wire.outcome(silence_is_filled_with_pings, "openai_comment") is None
