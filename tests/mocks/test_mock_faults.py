"""Every fault on every dialect, as parts: no server, no clock, no socket."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any

import orjson
import pytest
from mock_asgi import BILLED, request

from mock_upstreams.faults import (
    FAULTS,
    FaultSpec,
    apply,
    bom,
    comments,
    crlf,
    cut_after,
    cut_before_headers,
    delay,
    duplicate_event,
    empty_200,
    error_in_200,
    events_out_of_order,
    hang_after_headers,
    hang_before_headers,
    html_200,
    jitter,
    json_although_streamed,
    json_cut_short,
    long_event,
    malformed_event,
    multi_line_data,
    pings,
    reset_after,
    reset_before_headers,
    respond,
    silence,
    slow_drip,
    slower_under_load,
    split_crlf,
    split_utf8,
    sse_although_unstreamed,
    stall,
    stream_error,
    tell_usage,
    truncate,
    usage_absurd,
    usage_conflict,
    usage_missing,
    usage_negative,
    usage_with_finish,
    usage_zero,
    wrong_content_type,
)
from mock_upstreams.marker import find_marker
from mock_upstreams.normal import blank, fold
from mock_upstreams.parts import Chunk, Cut, Exchange, Part, Pause, Reply, Reset, Start
from mock_upstreams.providers import DIALECTS
from mock_upstreams.reading import read_answer, sse_events
from mock_upstreams.runs import EPOCH_S, Run, Settings

FOREVER = Pause(math.inf)
DIRECTIVES = "chunks=4 in=100 cached=20 written=30 out=40 reasoning=5"


def exchange_of(surface: str, *, stream: bool, directives: str = DIRECTIVES) -> Exchange:
    body = request(surface, directives, stream=stream)
    raw = orjson.dumps(body)
    call, asked = find_marker(raw)
    dialect = DIALECTS[surface]
    exchange = Exchange(dialect.provider, surface, "primary", call, 0, body["model"], stream, body, {})
    run = Run(Settings(0.0))
    run.arrive(exchange)
    exchange.answer = run.answer(dialect, exchange, asked, raw, 1.0)
    return exchange


def lawful(exchange: Exchange) -> list[Part]:
    dialect = DIALECTS[exchange.surface]
    assert exchange.answer is not None
    return dialect.stream(exchange, exchange.answer) if exchange.stream else dialect.whole(exchange, exchange.answer)


def struck(surface: str, *specs: FaultSpec, stream: bool, directives: str = DIRECTIVES, seed: str = "x") -> list[Part]:
    """Return the parts of a reply after ``specs``, applied in order."""
    exchange = exchange_of(surface, stream=stream, directives=directives)
    reply = Reply(lawful(exchange), exchange)
    for spec in specs:
        reply = apply(spec, reply, Random(seed))
    return list(reply)


def plain(surface: str, *, stream: bool, directives: str = DIRECTIVES) -> list[Part]:
    return struck(surface, stream=stream, directives=directives)


def body_of(parts: Iterable[Part]) -> bytes:
    return b"".join(part.data for part in parts if isinstance(part, Chunk))


def chunks_of(parts: Iterable[Part]) -> list[Chunk]:
    return [part for part in parts if isinstance(part, Chunk)]


def start_of(parts: Iterable[Part]) -> Start:
    return next(part for part in parts if isinstance(part, Start))


def headers_of(parts: Iterable[Part]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in start_of(parts).headers}


def read(surface: str, parts: list[Part]) -> dict[str, Any]:
    return read_answer(surface, headers_of(parts)["content-type"], body_of(parts))


def events_of(parts: list[Part]) -> list[Any]:
    return [orjson.loads(data) for _, data in sse_events(body_of(parts)) if data != "[DONE]"]


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
each = pytest.mark.parametrize("surface", BILLED)
PREAMBLE = {"chat": 1, "responses": 4, "messages": 3}
"""Body chunks before the first content."""


# connection


@each
@both
def test_nothing_is_answered_by_an_upstream_that_hangs_or_breaks_before_its_head(surface: str, stream: bool) -> None:
    assert struck(surface, hang_before_headers(), stream=stream) == [FOREVER]
    assert struck(surface, reset_before_headers(), stream=stream) == [Reset()]
    assert struck(surface, cut_before_headers(), stream=stream) == [Cut()]
    assert struck(surface, reset_before_headers(after_s=2.0), stream=stream) == [Pause(2.0), Reset()]


@each
@both
@pytest.mark.parametrize(
    ("spec", "last"),
    [(hang_after_headers(), FOREVER), (cut_after(chunks=0), Cut()), (reset_after(chunks=0), Reset())],
)
def test_a_head_alone_is_flushed(surface: str, stream: bool, spec: FaultSpec, last: Part) -> None:
    start, ending = struck(surface, spec, stream=stream)
    assert isinstance(start, Start)
    assert (start.flush, start.status, ending) == (True, 200, last)


@each
@pytest.mark.parametrize("fault", ["cut_after", "reset_after", "stall"])
@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_a_stream_breaks_after_so_many_chunks(surface: str, fault: str, chunks: int) -> None:
    whole = chunks_of(plain(surface, stream=True))
    parts = struck(surface, FaultSpec(fault, {"chunks": chunks}), stream=True)
    assert chunks_of(parts) == whole[:chunks]
    assert parts[-1] == {"cut_after": Cut(), "reset_after": Reset(), "stall": FOREVER}[fault]
    assert not start_of(parts).flush


@each
@pytest.mark.parametrize("content", [0, 1, 3])
def test_a_stream_breaks_after_so_much_content(surface: str, content: int) -> None:
    parts = struck(surface, cut_after(content=content), stream=True)
    assert len(chunks_of(parts)) == PREAMBLE[surface] + content
    assert read(surface, parts)["text"].split() == [f"primary:c1:{n}" for n in range(content)]


@each
def test_a_break_without_a_point_comes_after_the_first_content(surface: str) -> None:
    assert struck(surface, cut_after(), stream=True) == struck(surface, cut_after(content=1), stream=True)


@each
@pytest.mark.parametrize("point", [{"chunks": 9_999}, {"content": 9_999}])
def test_a_break_always_comes_before_the_terminal_event(surface: str, point: dict[str, int]) -> None:
    parts = struck(surface, FaultSpec("cut_after", point), stream=True)
    assert chunks_of(parts) == chunks_of(plain(surface, stream=True))[:-1]
    assert not read(surface, parts)["terminal"]


@each
def test_a_break_after_as_many_chunks_as_there_are_comes_before_the_last(surface: str) -> None:
    whole = chunks_of(plain(surface, stream=True))
    assert chunks_of(struck(surface, cut_after(chunks=len(whole)), stream=True)) == whole[:-1]


@each
def test_a_break_may_come_inside_an_event(surface: str) -> None:
    parts = struck(surface, reset_after(content=1, inside=True), stream=True)
    clean = struck(surface, reset_after(content=1), stream=True)
    assert len(chunks_of(parts)) == len(chunks_of(clean)) + 1
    assert body_of(plain(surface, stream=True)).startswith(body_of(parts))
    assert read(surface, parts)["text"] == read(surface, clean)["text"]


@each
@pytest.mark.parametrize("spec", [cut_after(), cut_after(chunks=3), reset_after(content=2)])
def test_an_unstreamed_body_breaks_in_its_middle_and_keeps_its_promised_length(surface: str, spec: FaultSpec) -> None:
    whole = body_of(plain(surface, stream=False))
    parts = struck(surface, spec, stream=False)
    assert body_of(parts) == whole[: len(whole) // 2]
    assert headers_of(parts)["content-length"] == str(len(whole))
    assert isinstance(parts[-1], Cut | Reset)


@each
@both
def test_silence_takes_nothing_away(surface: str, stream: bool) -> None:
    parts = struck(surface, silence(seconds=30.0), stream=stream)
    assert Pause(30.0) in parts
    assert 0 < parts.index(Pause(30.0)) < len(parts) - 1
    assert body_of(parts) == body_of(plain(surface, stream=stream))


@each
def test_a_truncated_stream_ends_cleanly_without_its_terminal_event(surface: str) -> None:
    parts = struck(surface, truncate(content=2), stream=True)
    assert isinstance(parts[-1], Chunk)
    reading = read(surface, parts)
    assert (reading["terminal"], reading["finish"]) == (False, None)
    assert reading["text"].split() == ["primary:c1:0", "primary:c1:1"]


# other answers


@each
@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504, 529])
def test_a_status_comes_in_the_providers_shape(surface: str, stream: bool, status: int) -> None:
    parts = struck(surface, respond(status=status, message="no luck"), stream=stream)
    start, chunk = parts
    assert isinstance(start, Start)
    assert isinstance(chunk, Chunk)
    assert start.status == status
    value = orjson.loads(chunk.data)
    assert value["error"]["message"] == "no luck"
    if surface == "messages":
        assert (value["type"], value["error"].keys()) == ("error", {"type", "message"})
        assert value["request_id"] == headers_of(parts)["request-id"]
    else:
        assert value["error"].keys() == {"message", "type", "param", "code"}
        assert "x-request-id" in headers_of(parts)
    assert headers_of(parts)["content-length"] == str(len(chunk.data))


def test_anthropics_529_is_overloaded() -> None:
    value = orjson.loads(body_of(struck("messages", respond(status=529), stream=True)))
    assert value["error"] == {"type": "overloaded_error", "message": "Overloaded"}


def test_a_429_tells_when_to_come_back_as_its_provider_does() -> None:
    headers = headers_of(struck("chat", respond(status=429, retry_after_s=90.5), stream=False))
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("91", "90500")
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"] == "1m30.5s"
    headers = headers_of(struck("messages", respond(status=429, retry_after_s=2.0), stream=False))
    assert headers["retry-after"] == "2"
    assert "retry-after-ms" not in headers
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert headers["anthropic-ratelimit-requests-reset"] == "2026-01-01T00:00:03Z"


@each
def test_a_retry_after_may_be_a_date(surface: str) -> None:
    fault = respond(status=429, retry_after_s=2.5, after_s=1.0, dated=True)
    headers = headers_of(struck(surface, fault, stream=False))
    asked = parsedate_to_datetime(headers["retry-after"]).timestamp()
    assert (
        asked - EPOCH_S == 7
    )  # it arrived at 1 s, is answered at 2 s, and may be asked again at 4.5 s at the earliest
    assert "retry-after-ms" not in headers


@each
def test_without_a_retry_after_none_is_told(surface: str) -> None:
    assert "retry-after" not in headers_of(struck(surface, respond(status=429), stream=False))


@each
def test_a_status_may_come_late_and_with_a_foreign_body(surface: str) -> None:
    parts = struck(surface, respond(status=502, body="html", after_s=3.0), stream=True)
    assert parts[0] == Pause(3.0)
    assert headers_of(parts)["content-type"].startswith("text/html")
    assert b"502" in body_of(parts)
    assert body_of(struck(surface, respond(status=502, body="empty"), stream=True)) == b""
    assert body_of(struck(surface, respond(status=502, body="text", message="bad"), stream=True)) == b"bad"


@each
@both
def test_an_empty_200_keeps_its_content_type(surface: str, stream: bool) -> None:
    parts = struck(surface, empty_200(), stream=stream)
    assert len(parts) == 1
    assert start_of(parts).status == 200
    assert headers_of(parts)["content-length"] == "0"
    assert headers_of(parts)["content-type"] == headers_of(plain(surface, stream=stream))["content-type"]


@each
@both
def test_a_200_may_be_a_page(surface: str, stream: bool) -> None:
    parts = struck(surface, html_200(), stream=stream)
    assert start_of(parts).status == 200
    assert body_of(parts).startswith(b"<!DOCTYPE html>")
    assert read(surface, parts) == blank()


@each
@both
def test_a_200_may_be_an_error(surface: str, stream: bool) -> None:
    parts = struck(surface, error_in_200(message="no luck"), stream=stream)
    reading = read(surface, parts)
    assert start_of(parts).status == 200
    assert (reading["error_message"], reading["terminal"]) == ("no luck", False)
    assert reading["sequence"] == ("error" if stream else "json")
    assert ("event-stream" in headers_of(parts)["content-type"]) == stream


@each
def test_a_stream_may_break_off_with_an_error(surface: str) -> None:
    parts = struck(surface, stream_error(content=1, message="no luck"), stream=True)
    reading = read(surface, parts)
    assert reading["sequence"].split()[-1] == "error"
    assert (reading["error_message"], reading["terminal"]) == ("no luck", False)
    assert reading["text"].split() == ["primary:c1:0"]


def test_a_response_may_fail() -> None:
    reading = read("responses", struck("responses", stream_error(form="failed", status=429), stream=True))
    assert (reading["error_type"], reading["finish"], reading["terminal"]) == ("rate_limit_exceeded", "failed", False)


@each
@pytest.mark.parametrize("length", ["told", "untold"])
def test_json_may_be_cut_short_under_a_clean_end(surface: str, length: str) -> None:
    parts = struck(surface, json_cut_short(length=length), stream=False)
    whole = body_of(plain(surface, stream=False))
    assert body_of(parts) == whole[: len(whole) // 2]
    assert headers_of(parts).get("content-length") == (str(len(whole) // 2) if length == "told" else None)
    assert read(surface, parts) == blank()


@each
@both
def test_only_the_content_type_is_wrong(surface: str, stream: bool) -> None:
    parts = struck(surface, wrong_content_type(content_type="text/plain"), stream=stream)
    assert headers_of(parts)["content-type"] == "text/plain"
    assert body_of(parts) == body_of(plain(surface, stream=stream))


@each
def test_an_unstreamed_request_may_get_a_stream_that_says_the_same(surface: str) -> None:
    parts = struck(surface, sse_although_unstreamed(), stream=False)
    assert "event-stream" in headers_of(parts)["content-type"]
    said, meant = read(surface, parts), read(surface, plain(surface, stream=False))
    assert said.pop("sequence") != meant.pop("sequence")
    assert said == meant


@each
def test_a_streamed_request_may_get_json_that_says_the_same(surface: str) -> None:
    parts = struck(surface, json_although_streamed(), stream=True)
    assert headers_of(parts)["content-type"] == "application/json"
    said, meant = read(surface, parts), read(surface, plain(surface, stream=True))
    assert (said.pop("sequence"), meant.pop("sequence") == "json") == ("json", False)
    assert said == meant


# events


@each
def test_one_event_may_be_malformed(surface: str) -> None:
    meant = read(surface, plain(surface, stream=True))
    said = read(surface, struck(surface, malformed_event(content=1), stream=True))
    assert said["sequence"].split().count("malformed") == 1
    assert said["terminal"]
    assert said["text"].split() == [word for word in meant["text"].split() if word != "primary:c1:1"]


@each
def test_the_very_first_event_may_be_malformed(surface: str) -> None:
    said = read(surface, struck(surface, malformed_event(chunks=0), stream=True))
    assert said["sequence"].split()[0] == "malformed"


@each
def test_an_event_may_come_twice(surface: str) -> None:
    said = read(surface, struck(surface, duplicate_event(content=2), stream=True))
    words = [f"primary:c1:{n}" for n in (0, 1, 1, 2, 3)]
    assert said["text"].split() == words
    assert said["terminal"]
    first = chunks_of(struck(surface, duplicate_event(chunks=0), stream=True))
    assert first[0] == first[1]


@each
@pytest.mark.parametrize(("content", "order"), [(0, (1, 0, 2, 3)), (1, (0, 2, 1, 3)), (99, (0, 1, 3, 2))])
def test_two_events_may_be_swapped(surface: str, content: int, order: tuple[int, ...]) -> None:
    said = read(surface, struck(surface, events_out_of_order(content=content), stream=True))
    assert said["text"].split() == [f"primary:c1:{n}" for n in order]
    assert said["sequence"] == read(surface, plain(surface, stream=True))["sequence"]


@each
@pytest.mark.parametrize(
    "spec",
    [
        crlf(),
        bom(),
        comments(),
        comments(every=3),
        pings(),
        pings(every=2),
        multi_line_data(),
        split_utf8(),
        split_crlf(),
        long_event(),
        slow_drip(),
    ],
    ids=lambda spec: spec.name,
)
def test_odd_framing_changes_the_bytes_and_not_what_they_say(surface: str, spec: FaultSpec) -> None:
    parts = struck(surface, spec, stream=True)
    assert parts != plain(surface, stream=True)
    assert read(surface, parts) == read(surface, plain(surface, stream=True))


@each
def test_every_framing_fault_may_act_at_once(surface: str) -> None:
    specs = [multi_line_data(), comments(), pings(), crlf(), bom(), split_utf8(), slow_drip(size=3)]
    parts = struck(surface, *specs, stream=True)
    assert read(surface, parts) == read(surface, plain(surface, stream=True))


@each
def test_characters_and_field_names_are_split(surface: str) -> None:
    chunks = chunks_of(struck(surface, split_utf8(), stream=True))
    assert any(b"\xe2" in chunk.data and chunk.data.endswith(b"\xe2") for chunk in chunks)
    assert any(chunk.data.endswith(b"da") for chunk in chunks)


@each
def test_line_ends_are_split_in_two(surface: str) -> None:
    sent = [chunk.data for chunk in chunks_of(struck(surface, split_crlf(gap_s=0), stream=True))]
    whole = body_of(struck(surface, crlf(), stream=True))
    assert b"".join(sent) == whole
    assert sum(data.endswith(b"\r") for data in sent) == whole.count(b"\r\n")


@each
def test_one_event_is_as_long_as_told(surface: str) -> None:
    usual = [chunk.data for chunk in chunks_of(plain(surface, stream=True))]
    longer = [chunk.data for chunk in chunks_of(struck(surface, long_event(content=1, size=500), stream=True))]
    assert sorted(len(b) - len(a) for a, b in zip(usual, longer, strict=True)) == [0] * (len(usual) - 1) + [500]


@each
def test_lines_end_as_told(surface: str) -> None:
    assert b"\n" not in body_of(struck(surface, crlf(), stream=True)).replace(b"\r\n", b"")
    assert body_of(struck(surface, bom(), stream=True)).startswith(b"\xef\xbb\xbf")
    assert body_of(struck(surface, multi_line_data(), stream=True)).count(b"\ndata: }") > 4


def test_pings_are_the_providers_own() -> None:
    assert body_of(struck("messages", pings(), stream=True)).startswith(b"event: ping\n")
    assert body_of(struck("chat", pings(), stream=True)).startswith(b": ping\n\n")


@each
@both
def test_a_dripping_body_comes_in_small_pieces(surface: str, stream: bool) -> None:
    parts = struck(surface, slow_drip(size=5, gap_s=0.5), stream=stream)
    assert max(len(chunk.data) for chunk in chunks_of(parts)) == 5
    assert parts.count(Pause(0.5)) > 50
    assert body_of(parts) == body_of(plain(surface, stream=stream))


# usage


@each
@both
@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (usage_zero(), lambda count: 0),
        (usage_negative(), lambda count: -count),
        (usage_absurd(), lambda count: count * 100_000_000),
    ],
    ids=["zero", "negative", "absurd"],
)
def test_usage_is_falsified_everywhere_alike(
    surface: str, stream: bool, spec: FaultSpec, change: Callable[[int], int]
) -> None:
    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: changed(inner) for name, inner in value.items()}
        return change(value) if isinstance(value, int) else value

    meant = read(surface, plain(surface, stream=stream))
    parts = struck(surface, spec, stream=stream)
    said = read(surface, parts)
    assert said.pop("usage") == changed(meant.pop("usage"))
    assert said == meant
    if not stream:
        assert headers_of(parts)["content-length"] == str(len(body_of(parts)))


@each
@both
def test_usage_may_be_missing(surface: str, stream: bool) -> None:
    meant = read(surface, plain(surface, stream=stream))
    said = read(surface, struck(surface, usage_missing(), stream=stream))
    assert said.pop("usage") is None
    assert meant.pop("usage") is not None
    if surface == "chat" and stream:
        assert said.pop("sequence") == meant.pop("sequence").replace("usage ", "")
    assert said == meant


@each
@both
def test_usage_is_told_as_told(surface: str, stream: bool) -> None:
    spec = tell_usage(input=1, cached=2, written=3, output=40, reasoning=4)
    said = read(surface, struck(surface, spec, stream=stream))
    like = read(surface, plain(surface, stream=stream, directives="in=1 cached=2 written=3 out=40 reasoning=4"))
    assert said["usage"] == like["usage"]
    assert said["terminal"]


@both
def test_conflicting_usage_breaks_the_providers_identities(stream: bool) -> None:
    usage = read("chat", struck("chat", usage_conflict(), stream=stream))["usage"]
    assert usage["total_tokens"] != usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > usage["prompt_tokens"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] > usage["completion_tokens"]
    usage = read("responses", struck("responses", usage_conflict(), stream=stream))["usage"]
    assert usage["total_tokens"] != usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"]["cached_tokens"] > usage["input_tokens"]
    usage = read("messages", struck("messages", usage_conflict(), stream=stream))["usage"]
    assert sum(usage["cache_creation"].values()) != usage["cache_creation_input_tokens"]
    assert usage["output_tokens_details"]["thinking_tokens"] > usage["output_tokens"]


def test_usage_may_come_with_the_finish() -> None:
    meant = read("chat", plain("chat", stream=True))
    parts = struck("chat", usage_with_finish(), stream=True)
    last = events_of(parts)[-1]
    assert (last["usage"], last["choices"][0]["finish_reason"]) == (meant["usage"], "stop")
    said = read("chat", parts)
    assert said.pop("sequence") == "role content*4 finish done"
    assert meant.pop("sequence") == "role content*4 finish usage done"
    assert said == meant


# time


@both
def test_delays_are_drawn_from_their_distribution(stream: bool) -> None:
    def drawn(spec: FaultSpec, seed: int) -> float:
        first = struck("chat", spec, stream=stream, seed=str(seed))[0]
        assert isinstance(first, Pause)
        return first.seconds

    assert {drawn(delay(seconds=2.0), n) for n in range(9)} == {2.0}
    uniform = [drawn(delay(seconds=2.0, kind="uniform", spread=0.25), n) for n in range(200)]
    assert 1.5 <= min(uniform) < 1.55
    assert 2.45 < max(uniform) <= 2.5
    lognormal = sorted(drawn(delay(seconds=2.0, kind="lognormal", spread=0.5), n) for n in range(401))
    assert 1.8 < lognormal[200] < 2.2
    assert lognormal[-1] > 4.0
    assert drawn(delay(seconds=2.0, kind="uniform"), 7) == drawn(delay(seconds=2.0, kind="uniform"), 7)


@each
def test_jitter_moves_pauses_and_nothing_else(surface: str) -> None:
    directives = "chunks=20 ttft=1 gap=0.1"
    before = plain(surface, stream=True, directives=directives)
    parts = struck(surface, jitter(spread=0.5), stream=True, directives=directives)
    pauses = [part.seconds for part in parts if isinstance(part, Pause)]
    assert len(pauses) == len([part for part in before if isinstance(part, Pause)]) == 20
    assert all(0.05 <= seconds <= 0.15 for seconds in pauses[1:])
    assert len(set(pauses)) == 20
    assert chunks_of(parts) == chunks_of(before)
    hung = struck(surface, stall(), jitter(), stream=True)
    assert hung[-1] == FOREVER


def test_an_upstream_slows_down_under_load() -> None:
    exchange = exchange_of("chat", stream=False)
    exchange.inflight = 4
    parts = list(apply(slower_under_load(per_attempt_s=0.5), Reply(lawful(exchange), exchange), Random(0)))
    assert parts[0] == Pause(1.5)
    exchange.inflight = 1
    parts = list(apply(slower_under_load(per_attempt_s=0.5), Reply(lawful(exchange), exchange), Random(0)))
    assert isinstance(parts[0], Start)


@each
def test_content_is_paced_by_the_marker(surface: str) -> None:
    parts = plain(surface, stream=True, directives="chunks=3 ttft=0.5 gap=0.25")
    at, times = 0.0, []
    for part in parts:
        if isinstance(part, Pause):
            at += part.seconds
        elif isinstance(part, Chunk) and part.event in DIALECTS[surface].content:
            times.append(at)
    assert times == [0.5, 0.75, 1.0]
    assert at == 1.0
    unstreamed = plain(surface, stream=False, directives="chunks=3 ttft=0.5 gap=0.25")
    assert [part for part in unstreamed if isinstance(part, Pause)] == [Pause(0.5)]


# composition


@each
def test_faults_are_applied_in_order(surface: str) -> None:
    parts = struck(surface, respond(status=503), delay(seconds=5.0), stream=True)
    assert parts[0] == Pause(5.0)
    assert start_of(parts).status == 503
    parts = struck(surface, tell_usage(input=7, output=7), usage_negative(), stream=True)
    assert read(surface, parts)["usage"]["total_tokens" if surface != "messages" else "input_tokens"] < 0


@each
@pytest.mark.parametrize("name", sorted(FAULTS))
@both
def test_no_fault_of_streams_spoils_an_error_body(surface: str, stream: bool, name: str) -> None:
    fault = FAULTS[name]
    required = {p.name: p.sample for p in fault.parameters.values() if p.required}
    parts = struck(surface, respond(status=503), FaultSpec(name, required), stream=stream)
    if fault.on == "stream":
        assert parts == struck(surface, respond(status=503), stream=stream)


@each
@both
@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_lawful_fault_leaves_a_whole_answer_and_no_other_does(surface: str, stream: bool, name: str) -> None:
    fault = FAULTS[name]
    exchange = exchange_of(surface, stream=stream)
    if not fault.fits(exchange):
        return
    required = {p.name: p.sample for p in fault.parameters.values() if p.required}
    parts = struck(surface, FaultSpec(name, required), stream=stream)
    broken = any(isinstance(part, Cut | Reset) or part == FOREVER for part in parts)
    whole = not broken and any(isinstance(p, Start) for p in parts) and read(surface, parts)["terminal"]
    malformed = whole and "malformed" in read(surface, parts)["sequence"]
    foreign = name in ("json_although_streamed", "wrong_content_type")
    assert fault.lawful == (whole and not malformed and not foreign)


def test_kinds_fold() -> None:
    assert fold(["a", "b", "b", "b", "c", "a"]) == "a b*3 c a"
    assert fold([]) == ""


@pytest.mark.parametrize("surface", ["chat", "messages", "responses"])
@pytest.mark.parametrize(
    "specs",
    [(crlf(), crlf()), (crlf(), multi_line_data()), (multi_line_data(), crlf()), (slow_drip(size=1), crlf(), crlf())],
    ids=["crlf twice", "crlf, lines", "lines, crlf", "drip, crlf twice"],
)
def test_framings_on_top_of_each_other_change_nothing_of_what_is_read(
    surface: str, specs: tuple[FaultSpec, ...]
) -> None:
    assert read(surface, struck(surface, *specs, stream=True)) == read(surface, plain(surface, stream=True))


def test_a_malformed_event_is_the_last_that_has_any_json_if_none_comes_later() -> None:
    said = read("chat", struck("chat", malformed_event(content=1_000), stream=True))
    assert said["sequence"].split()[-2:] == ["malformed", "done"]


def test_a_changed_usage_leaves_a_hanging_body_unfinished() -> None:
    parts = struck("chat", hang_after_headers(), usage_zero(), stream=False)
    (start,) = (part for part in parts if isinstance(part, Start))
    told = next(int(value) for name, value in start.headers if name == b"content-length")
    assert told > 0
    assert not body_of(parts)


def test_an_error_event_behind_an_empty_answer_is_within_its_length() -> None:
    parts = struck("chat", empty_200(), stream_error(), stream=True)
    assert body_of(parts)
    assert not any(name == b"content-length" for p in parts if isinstance(p, Start) for name, _ in p.headers)
