"""Failover of unstreamed calls, and of streams before their content: who is tried, when, and what the client gets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
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
    chat_answer,
    chat_chunk,
    chat_events,
    data,
    message_answer,
    message_events,
    named,
    ok,
    response_answer,
    response_events,
    status,
    stream,
)

SURFACES = {
    "chat": (MANAGED_CHAT, CHAT, chat_answer, chat_events),
    "messages": (MANAGED_MESSAGES, MESSAGE, message_answer, message_events),
    "responses": (MANAGED_RESPONSES, RESPONSE, response_answer, response_events),
}
HTML = b"<!doctype html><html><body>Sorry</body></html>"


def asked(upstreams: Upstreams, surface: str = "chat", **options: Any) -> tuple[Heard, Bench]:
    """Send one call of a surface to a fresh gateway."""
    path, body, _, _ = SURFACES[surface]
    overlay = options.pop("overlay", None)
    body = {**body, "stream": options.pop("stream", False), "model": options.pop("model", body["model"])}
    path = options.pop("path", path)

    async def test(gateway: Bench) -> tuple[Heard, Bench]:
        return await gateway.ask(path, body, **options), gateway

    result: tuple[Heard, Bench] = bench(test, upstreams, overlay=overlay)
    return result


def good(surface: str, streamed: bool, word: str = "second") -> Reply:
    _, _, answer, events = SURFACES[surface]
    return stream(*events(word)) if streamed else ok(answer(word))


# Each way to fail once, on every surface, streamed and not; the primary is tried twice, the second answers.

_TIMEOUTS = {"timeouts.silence_ms": 2_000, "timeouts.ping_ms": 60_000}
FAILURES: dict[str, Reply] = {
    "500": status(500),
    "503": status(503),
    "529": status(529),
    "429": status(429),
    "408": status(408),
    "connect timeout": Reply(refuse=httpx.ConnectTimeout("slow")),
    "refused": Reply(refuse=httpx.ConnectError("no")),
    "reset before the head": Reply(refuse=httpx.ReadError("reset")),
    "cut before the head": Reply(refuse=httpx.RemoteProtocolError("cut")),
    "no first byte": Reply(head_after_s=9, parts=(b"late",)),
    "silence after the head": Reply(parts=(9.0, b"{}")),
    "reset in the body": Reply(parts=(b'{"id":', httpx.ReadError("reset"))),
    "body cut short": Reply(parts=(b'{"id":', httpx.RemoteProtocolError("short"))),
    "JSON cut short": Reply(parts=(b'{"id": "chatcmpl-1", "choi',)),
    "empty": Reply(),
    "empty, nothing said of it": Reply(status=204, content_type=""),
    "HTML": Reply(content_type="text/html", parts=(HTML,)),
    "HTML that says JSON": Reply(parts=(HTML,)),
    "an error object": Reply(parts=(b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}',)),
    "another object": Reply(parts=(b'{"hello": "world"}',)),
    "no object": Reply(parts=(b"[]",)),
    "a stream without events": stream(b": hello\n\n"),
    "a stream of an error": stream(data({"error": {"message": "no"}, "type": "error"})),
    "no stream": stream(HTML),
    "bad gzip": Reply(headers={"content-encoding": "gzip"}, parts=(b"nope",)),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failed_attempt_moves_the_call_on(failure: Reply, surface: str, streamed: bool) -> None:
    upstreams = Upstreams(primary=failure, second=good(surface, streamed))
    heard, gateway = asked(upstreams, surface, stream=streamed, overlay=_TIMEOUTS)
    assert heard.status == 200
    assert b"second" in heard.body
    assert upstreams.roles == ["primary", "primary", "second"]
    assert gateway.kinds() == ["hold", "post"]
    assert gateway.row()["usage"] == {"input": 1_000, "cache_read": 0, "cache_write": 0, "output": 200}
    assert gateway.free_slots() == 80


_CHAT_OPENS: list[bytes | float | Exception] = [data(chat_chunk())]
STREAM_FAILURES: dict[str, tuple[str, list[bytes | float | Exception]]] = {
    "chat cut after its role": ("chat", _CHAT_OPENS),
    "chat reset after its role": ("chat", [*_CHAT_OPENS, httpx.ReadError("reset")]),
    "chat malformed after its role": ("chat", [*_CHAT_OPENS, b"data: {oops\n\n"]),
    "chat error after its role": ("chat", [*_CHAT_OPENS, data({"error": {"message": "no"}})]),
    "chat silent after its role": ("chat", [*_CHAT_OPENS, 9.0]),
    "chat done at once is cut": ("chat", [b"data: [DONE]\n"]),
    "messages cut after their start": ("messages", [*message_events("a")[:2]]),
    "messages error after their start": (
        "messages",
        [message_events("a")[0], named({"type": "error", "error": {"type": "overloaded_error", "message": "no"}})],
    ),
    "responses cut after their creation": ("responses", [*response_events("a")[:3]]),
    "responses failed after their creation": (
        "responses",
        [response_events("a")[0], named({"type": "response.failed", "response": response_answer()})],
    ),
}


@pytest.mark.parametrize(("surface", "parts"), STREAM_FAILURES.values(), ids=STREAM_FAILURES)
def test_a_stream_that_breaks_before_its_content_leaves_no_trace(
    surface: str, parts: list[bytes | float | Exception]
) -> None:
    upstreams = Upstreams(primary=stream(*parts), second=good(surface, True))
    heard, _ = asked(upstreams, surface, stream=True, overlay=_TIMEOUTS)
    events = b"".join(SURFACES[surface][3]("second"))
    wanted = [line.split(b": ", 1)[1] for line in events.split(b"\n") if line.startswith(b"data: ")]
    assert len(heard.events) == len(wanted)
    assert upstreams.roles == ["primary", "primary", "second"]


@pytest.mark.parametrize("content_type", ["text/html", "text/plain; charset=utf-8", "application/octet-stream", ""])
def test_a_right_answer_under_a_wrong_type_is_none(content_type: str) -> None:
    wrong = Reply(content_type=content_type, parts=(orjson.dumps(chat_answer("primary")),))
    upstreams = Upstreams(primary=wrong, second=good("chat", False))
    heard, _ = asked(upstreams)
    assert heard.json["choices"][0]["message"]["content"] == "second"
    assert upstreams.roles == ["primary", "primary", "second"]


@pytest.mark.parametrize("code", [400, 409, 413, 422])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_clients_own_fault_comes_back_at_once(code: int, streamed: bool) -> None:
    leaky = "max_tokens is odd, says up-primary-xyz at http://primary.upstream:80/run to ck_abcdef via 10.0.0.7:99"
    upstreams = Upstreams(primary=status(code, leaky))
    heard, gateway = asked(upstreams, stream=streamed)
    assert heard.status == code
    assert heard.error["message"].startswith("max_tokens is odd")
    for secret in ("up-primary-xyz", "primary.upstream", "ck_abcdef", "10.0.0.7"):
        assert secret not in heard.body.decode()
    assert upstreams.roles == ["primary"]
    assert gateway.kinds() == ["hold", "void"]
    assert (gateway.row()["status"], gateway.row()["outcome"]) == (code, "failed")
    assert heard.headers["x-hypereal-managed-model-concurrency-remaining"] == "79"


@pytest.mark.parametrize("parts", [(30.0,), (b'{"error":', 30.0), (httpx.ReadError("x"),), (b"x" * 100_000,)])
@pytest.mark.parametrize(("code", "wanted"), [(400, 400), (503, 200)])
def test_an_error_body_that_never_comes_keeps_nobody_waiting(parts: Any, code: int, wanted: int) -> None:
    upstreams = Upstreams(primary=Reply(code, parts=parts), second=ok(chat_answer()))
    heard, gateway = asked(upstreams)
    assert heard.status == wanted
    assert gateway.row()["at"] < 3_000_000
    if wanted == 400:
        assert heard.error["message"]


@pytest.mark.parametrize("code", [401, 402, 403, 404])
def test_a_targets_own_fault_is_left_at_once_and_never_told(code: int) -> None:
    upstreams = Upstreams(primary=status(code, "bad key up-primary-xyz"))
    heard, _ = asked(upstreams)
    assert (heard.status, heard.error["type"]) == (502, "api_error")
    assert "up-primary" not in heard.body.decode()
    assert upstreams.roles == ["primary", "second", "third"]
    assert [a.start_s for a in upstreams.attempts] == [upstreams.attempts[0].start_s] * 3


def test_pauses_lie_before_each_second_try_and_grow() -> None:
    upstreams = Upstreams(primary=status(500))
    asked(upstreams)
    assert upstreams.roles == ["primary", "primary", "second", "second", "third", "third"]
    starts = [attempt.start_s for attempt in upstreams.attempts]
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses[1] == pauses[3] == 0
    for n, pause in enumerate(pauses[0::2]):
        assert 0.125 * 2**n <= pause <= 0.25 * 2**n


@pytest.mark.parametrize(
    ("asked_s", "roles", "first_pause_s"),
    [("3", ["primary", "primary", "second"], 3.0), ("5", ["primary", "second"], 0.0)],
)
def test_a_short_retry_after_is_kept_and_a_long_one_leaves_the_target(
    asked_s: str, roles: list[str], first_pause_s: float
) -> None:
    upstreams = Upstreams(primary=status(429, retry_after=asked_s), second=ok(chat_answer()))
    asked(upstreams)
    assert upstreams.roles == roles
    assert upstreams.attempts[1].start_s - upstreams.attempts[0].start_s == pytest.approx(first_pause_s)


_LATE = Reply(head_after_s=9, parts=(b"late",))


@pytest.mark.parametrize(
    ("primary", "second", "third", "wanted", "type_", "retry_after"),
    [
        (status(500), status(429), status(503), 502, "api_error", None),
        (_LATE, _LATE, status(500), 502, "api_error", None),
        (status(500), status(500), _LATE, 504, "timeout_error", None),
        (status(500), status(500), Reply(refuse=httpx.ConnectTimeout("x")), 504, "timeout_error", None),
        (status(500), status(500), status(504), 502, "api_error", None),
        (status(429), status(429), status(429), 429, "rate_limit_error", "2"),
        (status(429, retry_after="1"), status(429, retry_after="6.2"), status(429), 429, "rate_limit_error", "7"),
        (status(404), status(401), status(402), 502, "api_error", None),
    ],
)
def test_when_all_fail_the_last_word_is_one_clean_error(
    primary: Reply, second: Reply, third: Reply, wanted: int, type_: str, retry_after: str | None
) -> None:
    upstreams = Upstreams(primary=primary, second=second, third=third)
    heard, gateway = asked(upstreams, overlay=_TIMEOUTS)
    assert (heard.status, heard.error["type"], heard.headers.get("retry-after")) == (wanted, type_, retry_after)
    assert "upstream" not in heard.error["message"]
    assert gateway.kinds() == ["hold", "void"]
    assert (gateway.row()["outcome"], gateway.row()["credits"]) == ("failed", 0)
    assert gateway.free_slots() == 80


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_call_ends_at_its_time_limit(streamed: bool) -> None:
    upstreams = Upstreams(primary=Reply(head_after_s=100), second=Reply(head_after_s=100))
    overlay = {"timeouts.text_call_ms": 250_000, "timeouts.ping_ms": 400_000, "timeouts.silence_ms": 120_000}
    heard, gateway = asked(upstreams, stream=streamed, overlay=overlay)
    assert (heard.status, heard.error["type"]) == (504, "timeout_error")
    assert gateway.row()["at"] == pytest.approx(250_000_000, abs=5_000)
    assert upstreams.attempts[-1].end_s == pytest.approx(250, abs=0.01)
    assert gateway.free_slots() == 80
    assert gateway.kinds() == ["hold", "void"]


def test_an_image_model_has_its_own_time_limit() -> None:
    upstreams = Upstreams(primary=Reply(head_after_s=119))
    _, gateway = asked(upstreams, model="nano-banana-2")
    assert gateway.row()["at"] == pytest.approx(120_000_000, abs=5_000)


# Circuits.

_OPEN = {"breaker.min_calls": 1, "breaker.cooldown_ms": 50_000}


def test_an_open_path_gets_no_calls_and_the_header_tells_it() -> None:
    async def test(gateway: Bench) -> list[Heard]:
        return [await gateway.ask(MANAGED_CHAT, CHAT) for _ in range(2)]

    upstreams = Upstreams(primary=status(500), second=ok(chat_answer()))
    first, second = bench(test, upstreams, overlay=_OPEN)
    # The first failure opened the circuit, so there was no second try either.
    assert upstreams.roles == ["primary", "second", "second"]
    assert (first.headers["x-hypereal-managed-circuit"], second.headers["x-hypereal-managed-circuit"]) == (
        "closed",
        "open",
    )


@pytest.mark.parametrize("path", [MANAGED_CHAT, GENERAL_CHAT])
def test_with_every_circuit_open_the_call_is_refused_at_once(path: str) -> None:
    body = CHAT if path == MANAGED_CHAT else {**CHAT, "model": "gpt-5"}

    async def test(gateway: Bench) -> Heard:
        await gateway.ask(path, body)
        tried = len(gateway.upstreams.attempts)
        heard = await gateway.ask(path, body)
        await gateway.committed()
        assert len(gateway.upstreams.attempts) == tried == 3
        assert gateway.kinds() == ["hold", "void"]
        assert gateway.rows()[-1]["outcome"] == "refused"
        return heard

    heard = bench(test, Upstreams(primary=status(500)), overlay=_OPEN)
    assert (heard.status, heard.error["type"]) == (503, "overloaded_error")
    assert 1 <= int(heard.headers["retry-after"]) <= 50
    assert "x-hypereal-managed-circuit" not in heard.headers


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (status(400), "closed"),
        (status(422), "closed"),
        (status(401), "open"),
        (status(404), "open"),
        (status(429), "open"),
        (status(500), "open"),
        (Reply(refuse=httpx.ConnectError("x")), "open"),
        (stream(data({"error": {}})), "open"),
        (Reply(), "open"),
    ],
)
def test_what_a_circuit_hears_of(failure: Reply, state: str) -> None:
    async def test(gateway: Bench) -> str:
        await gateway.ask(MANAGED_CHAT, CHAT)
        result: str = gateway.parts.breaker.state(("gpt-5-5", "primary"), gateway.parts.clock.now_us())
        return result

    assert bench(test, Upstreams(primary=failure, second=ok(chat_answer())), overlay=_OPEN) == state


# SSE although stream is false.


@pytest.mark.parametrize("surface", SURFACES)
def test_an_unasked_stream_is_gathered_into_the_answer(surface: str) -> None:
    _, _, answer, events = SURFACES[surface]
    heard, gateway = asked(Upstreams(primary=stream(*events("one ", "two"))), surface)
    assert heard.headers["content-type"] == "application/json"
    told = heard.json
    assert told.pop("hypereal")["billing"]["credits_charged"] == gateway.row()["credits"] > 0
    assert told == {**answer("one two"), "model": told["model"]}
    assert told["model"] == SURFACES[surface][1]["model"]


def test_what_follows_the_end_of_an_unasked_stream_does_not_matter() -> None:
    events = [*chat_events("a"), b"data: {oops\n\n"]
    heard, _ = asked(Upstreams(primary=stream(*events)))
    assert heard.json["choices"][0]["message"]["content"] == "a"


@pytest.mark.parametrize(
    "events",
    [
        chat_events("a")[:-1],
        [*chat_events("a")[:2], data({"error": {"message": "no"}})],
        [*chat_events("a")[:2], b"data: {oops\n\n"],
        [data(chat_chunk(choices=[{"index": {}, "delta": {}}])), b"data: [DONE]\n\n"],
    ],
)
def test_an_unasked_stream_that_is_no_whole_answer_moves_the_call_on(events: Sequence[bytes]) -> None:
    upstreams = Upstreams(primary=stream(*events), second=ok(chat_answer("second")))
    heard, _ = asked(upstreams)
    assert heard.json["choices"][0]["message"]["content"] == "second"
    assert upstreams.roles == ["primary", "primary", "second"]


# count_tokens.


def test_count_tokens_passes_uncharged_and_outside_the_rate_window() -> None:
    async def test(gateway: Bench) -> None:
        for path in (f"{MANAGED_MESSAGES}/count_tokens", "/v1/messages/count_tokens"):
            heard = await gateway.ask(path, {k: v for k, v in MESSAGE.items() if k != "max_tokens"})
            assert (heard.status, heard.json) == (200, {"input_tokens": 42})
        gateway.upstreams.scripts["primary"] = [ok(message_answer())]
        heard = await gateway.ask(MANAGED_MESSAGES, MESSAGE)
        assert heard.headers["x-hypereal-managed-model-rpm-remaining"] == "14999"
        await gateway.committed()
        assert gateway.kinds() == ["hold", "post"]
        assert [row["credits"] for row in gateway.rows()] == [0, 0, 1]
        assert gateway.upstreams.attempts[0].request.url.path == "/run/primary/anthropic/v1/messages/count_tokens"

    bench(test, Upstreams(primary=Reply(parts=(orjson.dumps({"input_tokens": 42}),))))


def test_count_tokens_fails_over_and_tells_errors_like_any_call() -> None:
    upstreams = Upstreams(primary=status(503), second=Reply(parts=(b'{"input_tokens": 42}',)))
    heard, _ = asked(upstreams, "messages", path=f"{MANAGED_MESSAGES}/count_tokens")
    assert heard.json == {"input_tokens": 42}
    heard, _ = asked(Upstreams(primary=status(400, "no")), "messages", path=f"{MANAGED_MESSAGES}/count_tokens")
    assert (heard.status, heard.error["message"]) == (400, "no")
