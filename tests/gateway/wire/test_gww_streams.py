"""Streams: what goes out when, pings in silence, how a stream breaks, and that nothing is told before it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
from gww_bench import (
    CHAT,
    GENERAL_CHAT,
    MANAGED_CHAT,
    MANAGED_MESSAGES,
    MANAGED_RESPONSES,
    MESSAGE,
    RESPONSE,
    Bench,
    Heard,
    Reply,
    Upstreams,
    bench,
    chat_chunk,
    chat_events,
    chat_usage,
    data,
    gapped,
    message_events,
    named,
    ok,
    response_answer,
    response_events,
    status,
    stream,
)

from harness.gateway.sse import BOM

Events = Callable[..., list[bytes]]
SURFACES: dict[str, tuple[str, dict[str, Any], Events]] = {
    "chat": (MANAGED_CHAT, CHAT, chat_events),
    "messages": (MANAGED_MESSAGES, MESSAGE, message_events),
    "responses": (MANAGED_RESPONSES, RESPONSE, response_events),
}
PING = {"chat": b": ping\n\n", "messages": b'event: ping\ndata: {"type": "ping"}\n\n', "responses": b": ping\n\n"}


def asked(upstreams: Upstreams, surface: str, **options: Any) -> tuple[Heard, Bench]:
    """Ask a fresh gateway for a stream."""
    path, body, _ = SURFACES[surface]
    overlay, credits = options.pop("overlay", None), options.pop("credits", 100_000)
    commit_s = options.pop("commit_s", 0.001)

    async def test(gateway: Bench) -> tuple[Heard, Bench]:
        return await gateway.ask(options.pop("path", path), {**body, "stream": True}, **options), gateway

    result: tuple[Heard, Bench] = bench(test, upstreams, overlay=overlay, credits=credits, commit_s=commit_s)
    return result


def values(surface: str, heard: Heard) -> list[Any]:
    """The values of the events that were heard, without what the gateway adds."""
    found = [orjson.loads(text) for text in heard.events if text != "[DONE]"]
    for value in found:
        value.pop("hypereal", None)
        value.get("response", {}).pop("hypereal", None)
    return found


def sent(surface: str, events: Sequence[bytes]) -> list[Any]:
    """The values of the events that an upstream sent, under the id that the client asked for."""
    found = []
    for event in events:
        text = event.partition(b"data: ")[2].strip()
        if text != b"[DONE]":
            value = orjson.loads(text)
            for holder in (value, value.get("message"), value.get("response")):
                if isinstance(holder, dict) and "model" in holder:
                    holder["model"] = SURFACES[surface][1]["model"]
            found.append(value)
    return found


@pytest.mark.parametrize("surface", SURFACES)
def test_a_stream_comes_as_the_upstream_sent_it(surface: str) -> None:
    events = SURFACES[surface][2]("one ", "two ", "three")
    heard, gateway = asked(Upstreams(primary=stream(*gapped(events, 0.5))), surface)
    assert heard.complete
    assert heard.headers["content-type"].startswith("text/event-stream")
    assert values(surface, heard) == sent(surface, events)
    # As it arrives: the first piece goes out with the first content, the last when all was read and charged.
    times = [at_s for at_s, _ in heard.pieces]
    first = next(n for n, event in enumerate(events) if b"one " in event)
    assert times[0] == pytest.approx(0.002 + 0.5 * (first + 1), abs=1e-3)
    assert times[-1] == pytest.approx(0.003 + 0.5 * len(events), abs=1e-3)
    assert len(times) == len(set(times)) > 3
    assert gateway.row()["latency_ms"] == 500 * len(events)


@pytest.mark.parametrize("surface", SURFACES)
def test_usage_and_bill_are_told_once_the_charge_stands(surface: str) -> None:
    events = SURFACES[surface][2]("a")
    heard, gateway = asked(Upstreams(primary=stream(*events)), surface, commit_s=3.0)
    (late_s, last) = heard.pieces[-1]
    assert late_s - heard.pieces[0][0] >= 3.0
    credits = gateway.row()["credits"]
    billing = {
        "model": SURFACES[surface][1]["model"],
        "credits_charged": credits,
        "balance_before": 100_000,
        "balance_after": 100_000 - credits,
    }
    told = [orjson.loads(text) for text in heard.events if text != "[DONE]"]
    blocks = [value.get("hypereal") or value.get("response", {}).get("hypereal") for value in told]
    assert [block for block in blocks if block] == [{"billing": billing}]
    assert orjson.dumps(billing) in last
    for _, piece in heard.pieces[:-1]:
        assert b"usage" not in piece or b'"usage":null' in piece or b"message_start" in piece


def test_chat_ends_with_its_usage_and_done_whether_the_client_asked_for_usage_or_not() -> None:
    heard, gateway = asked(Upstreams(primary=stream(*chat_events("a"))), "chat")
    assert heard.events[-1] == "[DONE]"
    assert orjson.loads(heard.events[-2])["usage"] == chat_usage()
    assert gateway.upstreams.attempts[0].body["stream_options"] == {"include_usage": True}


def test_a_general_stream_tells_its_usage_and_has_no_block() -> None:
    async def test(gateway: Bench) -> Heard:
        return await gateway.ask(GENERAL_CHAT, {**CHAT, "model": "gpt-5", "stream": True})

    heard = bench(test, Upstreams(primary=stream(*chat_events("a"))))
    assert "hypereal" not in heard.body.decode()
    assert not any(name.startswith("x-hypereal") for name in heard.headers)
    assert orjson.loads(heard.events[-2])["usage"] == chat_usage()


def test_a_finish_chunk_that_carries_the_usage_is_held_back_whole() -> None:
    events = [data(chat_chunk("a")), data(chat_chunk(finish="stop", usage=chat_usage())), b"data: [DONE]\n\n"]
    heard, gateway = asked(Upstreams(primary=stream(*gapped(events, 1.0))), "chat")
    assert [round(at_s) for at_s, _ in heard.pieces] == [1, 3]
    last = orjson.loads(heard.events[-2])
    assert (last["choices"][0]["finish_reason"], "hypereal" in last) == ("stop", True)
    assert gateway.row()["credits"] == 2


def test_a_running_usage_does_not_hold_the_content_back() -> None:
    events = [
        data(chat_chunk("a", usage=chat_usage(10, 1))),
        data(chat_chunk("b", usage=chat_usage(10, 2))),
        data(chat_chunk(choices=[], usage=chat_usage(1_000, 200))),
        b"data: [DONE]\n\n",
    ]
    heard, gateway = asked(Upstreams(primary=stream(*gapped(events, 1.0))), "chat")
    assert [round(at_s) for at_s, _ in heard.pieces] == [1, 2, 4]
    assert gateway.row()["usage"]["output"] == 200


# However the bytes come.


def _crlf(events: Sequence[bytes]) -> bytes:
    return b"".join(events).replace(b"\n", b"\r\n")


FRAMINGS: dict[str, Callable[[list[bytes]], list[bytes | float | Exception]]] = {
    "all at once": lambda events: [b"".join(events)],
    "byte by byte": lambda events: [bytes([byte]) for byte in b"".join(events)],
    "byte by byte, slowly": lambda events: [x for byte in b"".join(events) for x in (0.001, bytes([byte]))],
    "CRLF": lambda events: [_crlf(events)],
    "CRLF cut in two": lambda events: [bytes([byte]) for byte in _crlf(events)],
    "a BOM": lambda events: [BOM + b"".join(events)],
    "comments": lambda events: [x for event in events for x in (b": hello\n\n", event)],
    "comments inside": lambda events: [event.replace(b"data: ", b": hi\ndata: ", 1) for event in events],
    "pings": lambda events: [x for event in events for x in (named({"type": "ping"}), event)],
    "no space": lambda events: [event.replace(b"data: ", b"data:") for event in events],
    "several data lines": lambda events: [event.replace(b'{"', b'{\ndata: "', 1) for event in events],
}


@pytest.mark.parametrize(
    ("surface", "framing"),
    # A ping event is no event of chat completions.
    [(surface, framing) for surface in SURFACES for framing in FRAMINGS if (surface, framing) != ("chat", "pings")],
)
def test_framing_changes_nothing(surface: str, framing: str) -> None:
    events = SURFACES[surface][2]("žluť", "oučký 🦊")
    parts = FRAMINGS[framing](events)
    heard, gateway = asked(Upstreams(primary=stream(*parts)), surface)
    told = [orjson.loads(text) for text in _joined(heard) if text != "[DONE]"]
    for value in told:
        value.pop("hypereal", None)
        value.get("response", {}).pop("hypereal", None)
    assert told == sent(surface, events)
    assert not heard.body.startswith(BOM)
    assert b":" not in {line[:1] for line in heard.body.split(b"\n")}
    assert gateway.row()["credits"] > 0


def _joined(heard: Heard) -> list[str]:
    """The data of each event, its lines joined as a client does."""
    events = []
    for block in heard.body.decode().split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if lines and "\n".join(lines) != '{"type": "ping"}':
            events.append("\n".join(lines))
    return events


@pytest.mark.parametrize("surface", SURFACES)
def test_duplicates_and_disorder_pass_as_they_came(surface: str) -> None:
    events = SURFACES[surface][2]("a", "b")
    for n in range(len(events) - 1):
        twice = [*events[: n + 1], *events[n:]]
        assert values(surface, asked(Upstreams(primary=stream(*twice)), surface)[0]) == sent(surface, twice), n
        swapped = [*events[:n], events[n + 1], events[n], *events[n + 2 :]]
        heard, gateway = asked(Upstreams(primary=stream(*swapped)), surface)
        assert values(surface, heard) == sent(surface, swapped), n
        assert gateway.row()["credits"] > 0, n


# Pings.


@pytest.mark.parametrize("surface", SURFACES)
def test_silence_is_filled_from_the_first_interval_on_and_behind_failures(surface: str) -> None:
    events = SURFACES[surface][2]("a", "b")
    silent = replace(stream(*events[:-2], 32.0, *events[-2:]), head_after_s=40.0)
    upstreams = Upstreams(primary=[replace(status(503), head_after_s=20.0), silent])
    heard, gateway = asked(upstreams, surface)
    pings = [at_s for at_s, piece in heard.pieces if piece == PING[surface]]
    first, second = (attempt.start_s for attempt in gateway.upstreams.attempts)
    content = second + 40
    wanted = [first + 15, first + 30, first + 45, first + 60, content + 15, content + 30]
    assert pings == pytest.approx(wanted, abs=1e-3)
    assert values(surface, heard) == sent(surface, events)
    assert upstreams.roles == ["primary", "primary"]


def test_a_ping_is_no_content_and_an_error_behind_it_is_an_event() -> None:
    for surface in SURFACES:
        upstreams = Upstreams(primary=Reply(head_after_s=50))
        heard, gateway = asked(
            upstreams, surface, overlay={"timeouts.silence_ms": 40_000, "timeouts.text_call_ms": 900_000}
        )
        assert heard.status == 200
        assert upstreams.roles == ["primary", "primary", "second", "second", "third", "third"]
        (text,) = heard.events
        error = orjson.loads(text)
        assert error["error"]["type"] == "timeout_error"
        assert error["type"] == "error"
        assert heard.body.count(PING[surface]) >= 12
        assert (gateway.row()["status"], gateway.row()["outcome"]) == (504, "failed")
        assert gateway.kinds() == ["hold", "void"]
        assert gateway.free_slots(SURFACES[surface][1]["model"]) == 80


def test_a_clients_fault_behind_a_ping_is_an_event_of_its_type() -> None:
    heard, _ = asked(Upstreams(primary=replace(status(413, "too long"), head_after_s=20)), "chat")
    assert orjson.loads(heard.events[0])["error"] == {
        "type": "request_too_large",
        "message": "too long",
        "code": "too_large",
        "param": None,
    }


def test_a_fast_failure_is_a_status() -> None:
    heard, _ = asked(Upstreams(primary=status(503)), "messages")
    assert (heard.status, heard.headers["content-type"]) == (502, "application/json")


# Broken after content.

BREAKS: dict[str, list[bytes | float | Exception]] = {
    "reset": [httpx.ReadError("reset")],
    "cut": [httpx.RemoteProtocolError("cut")],
    "silence": [60.0],
    "not JSON": [b"data: {oops\n\n"],
    "not JSON, named": [b"event: message_delta\ndata: {\n\n"],
    "wrong shape": [b'data: {"choices": 7, "response": 7}\n\n'],
    "end": [],
    "end in the middle of an event": [b"data: [DO"],
}


@pytest.mark.parametrize("cut", BREAKS)
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("merged", [False, True], ids=["apart", "merged"])
def test_a_stream_that_breaks_after_content_ends_with_an_error(surface: str, cut: str, merged: bool) -> None:
    events = SURFACES[surface][2]("one", "two")
    kept = events[: next(n for n, event in enumerate(events) if b'"two"' in event)]
    parts: list[bytes | float | Exception] = [*kept, *BREAKS[cut]]
    if merged and BREAKS[cut] and isinstance(BREAKS[cut][0], bytes):
        parts = [b"".join(part for part in parts if isinstance(part, bytes))]
    upstreams = Upstreams(primary=stream(*parts), second=stream(*SURFACES[surface][2]("second")))
    heard, gateway = asked(upstreams, surface, overlay={"timeouts.silence_ms": 30_000})
    assert upstreams.roles == ["primary"]
    told = values(surface, heard)
    assert told[:-1] == sent(surface, kept)
    error = told[-1]
    assert (error["type"], error["error"]["type"], error["error"]["code"]) == ("error", "api_error", "stream_broken")
    if surface == "responses":
        assert error["sequence_number"] == len(kept)
        assert error["code"] == "stream_broken"
    named_error = b"event: error\n" in heard.body
    assert named_error == (surface != "chat")
    assert heard.complete
    assert b"[DONE]" not in heard.body
    assert b'"finish_reason":"stop"' not in heard.body
    assert gateway.kinds() == ["hold", "void"]
    assert (gateway.row()["status"], gateway.row()["outcome"], gateway.row()["credits"]) == (502, "failed", 0)
    assert gateway.free_slots(SURFACES[surface][1]["model"]) == 80


@pytest.mark.parametrize("surface", SURFACES)
def test_a_stream_that_breaks_after_its_usage_never_told_it(surface: str) -> None:
    events = SURFACES[surface][2]("one")
    heard, gateway = asked(Upstreams(primary=stream(*events[:-1])), surface)
    assert b"hypereal" not in heard.body
    assert b'"completion_tokens"' not in heard.body
    assert b'"output_tokens":200' not in heard.body
    assert orjson.loads(heard.events[-1])["error"]["code"] == "stream_broken"
    assert gateway.kinds() == ["hold", "void"]


@pytest.mark.parametrize(
    ("surface", "event"),
    [
        ("chat", data({"error": {"message": "key up-primary-xyz overloaded", "type": "server_error"}})),
        (
            "messages",
            named({"type": "error", "error": {"type": "overloaded_error", "message": "at http://x.upstream"}}),
        ),
        ("responses", named({"type": "error", "code": "server_error", "message": "up-primary-xyz"})),
        ("responses", named({"type": "response.failed", "response": {**response_answer(), "error": {"code": "x"}}})),
    ],
)
def test_an_upstreams_error_after_content_becomes_the_gateways_own(surface: str, event: bytes) -> None:
    events = SURFACES[surface][2]("one", "two")
    heard, _ = asked(Upstreams(primary=stream(*events[:4], event)), surface)
    error = orjson.loads(heard.events[-1])
    assert error["error"]["code"] == "stream_broken"
    assert "upstream" not in heard.body.decode()
    assert "up-primary" not in heard.body.decode()


def test_a_call_limit_after_content_breaks_the_stream() -> None:
    events = chat_events(*"abcdefgh")
    heard, gateway = asked(
        Upstreams(primary=stream(*gapped(events, 3.0))), "chat", overlay={"timeouts.text_call_ms": 13_000}
    )
    assert orjson.loads(heard.events[-1])["error"]["code"] == "stream_broken"
    assert gateway.row()["at"] == pytest.approx(13_000_000, abs=5_000)
    assert gateway.kinds() == ["hold", "void"]


# The end behind the end.


@pytest.mark.parametrize("after", [[httpx.ReadError("reset")], [100.0], [b"data: {oops\n\n"], [b"junk"]])
def test_what_follows_the_protocols_end_no_longer_matters(after: list[bytes | float | Exception]) -> None:
    heard, gateway = asked(Upstreams(primary=stream(*chat_events("a"), *after)), "chat")
    assert heard.events[-1] == "[DONE]"
    assert gateway.row()["outcome"] == "ok"
    assert gateway.row()["credits"] == 2
    assert gateway.row()["latency_ms"] == 0
    assert heard.pieces[-1][0] < 0.3
    assert gateway.upstreams.attempts[0].end_s < 0.3


@pytest.mark.parametrize("junk", [b"data: {oops\n\n", data({"error": {"message": "no"}})])
def test_nor_does_it_when_it_comes_in_one_piece_with_the_end(junk: bytes) -> None:
    whole = b"".join(chat_events("a")) + junk
    heard, gateway = asked(Upstreams(primary=stream(whole)), "chat")
    assert heard.events[-1] == "[DONE]"
    assert (gateway.row()["outcome"], gateway.row()["credits"]) == ("ok", 2)


def test_usage_that_comes_behind_the_end_still_counts() -> None:
    events = chat_events("a")
    events[-2:] = [events[-1], events[-2]]
    heard, gateway = asked(Upstreams(primary=stream(*events)), "chat")
    assert gateway.row()["credits"] == 2
    assert orjson.loads(heard.events[-1])["hypereal"]["billing"]["credits_charged"] == 2


def test_a_json_answer_to_a_stream_is_none() -> None:
    upstreams = Upstreams(primary=ok({"id": "x", "choices": []}), second=stream(*chat_events("second")))
    heard, _ = asked(upstreams, "chat")
    assert b"second" in heard.body
    assert upstreams.roles == ["primary", "primary", "second"]


# A client that reads slowly.


def test_a_slow_reader_holds_neither_slot_nor_clock() -> None:
    events = chat_events(*(f"word{n} " for n in range(200)))

    async def test(gateway: Bench) -> tuple[Heard, Bench]:
        heard = await gateway.ask(MANAGED_CHAT, {**CHAT, "stream": True}, reads_slowly_s=5.0)
        return heard, gateway

    upstreams = Upstreams(primary=stream(*gapped(events, 0.1)))
    heard, gateway = bench(test, upstreams)
    assert upstreams.attempts[0].end_s == pytest.approx(20.4, abs=0.1)
    assert gateway.row()["latency_ms"] == 20_400
    assert gateway.row()["at"] < 21_000_000
    assert heard.pieces[-1][0] > 25
    assert len(values("chat", heard)) == 203


def test_a_very_slow_reader_of_much_stops_the_upstream_and_that_time_is_not_the_upstreams() -> None:
    events = chat_events(*("x" * 500_000 for _ in range(24)))

    async def test(gateway: Bench) -> tuple[Heard, Bench]:
        heard = await gateway.ask(MANAGED_CHAT, {**CHAT, "stream": True}, reads_slowly_s=10.0)
        return heard, gateway

    upstreams = Upstreams(primary=stream(*gapped(events, 0.01)))
    heard, gateway = bench(test, upstreams)
    assert upstreams.attempts[0].end_s > 10
    assert 270 <= gateway.row()["latency_ms"] <= 300
    assert len(values("chat", heard)) == 27
    assert gateway.row()["outcome"] == "ok"
