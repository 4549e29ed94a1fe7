"""One call over a scripted transport, in virtual time: what the caller sees, when, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import fields, replace
from typing import Any

import httpx
import orjson
import pytest
from client_streams import CHAT_WHOLE, HYPEREAL, JSON, SSE, STREAMS, WHOLE, chunk, events

from harness.clients import build, drive
from harness.clients.exchange import BLOT, CHUNKS_KEPT
from harness.contract import load_contract
from harness.history import CallSpan, Reading, Recorder, span_line
from harness.scenario import Call, chat, models, raw

SECRET = "ck_0123456789abcdef"
CONTRACT = load_contract()
Step = bytes | float | Exception
"""What a script does: send bytes, wait so many seconds, or fail."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when nothing else is to be done."""

    _now = 100.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0]._when)
        super()._run_once()


def run(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


class Script(httpx.AsyncBaseTransport):
    """A transport that waits, answers ``status`` and ``headers``, and then follows the steps of the body."""

    def __init__(
        self,
        *steps: Step,
        status: int = 200,
        headers: list[tuple[str, str]] | None = None,
        content_type: str = JSON,
        before: tuple[Step, ...] = (),
        closing_s: float = 0,
    ) -> None:
        self.steps, self.before, self.status = steps, before, status
        self.headers = [("Content-Type", content_type)] if headers is None else headers
        self.closing_s = closing_s
        self.request: httpx.Request | None = None
        self.closed = 0
        self.left_at: float | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.request = request
        try:
            async with aclosing(self._play(self.before)) as steps:
                async for _ in steps:
                    raise AssertionError("a body before the head")
        except asyncio.CancelledError:
            self.left_at = asyncio.get_running_loop().time()
            raise
        return httpx.Response(self.status, headers=self.headers, stream=_Body(self))

    async def _play(self, steps: tuple[Step, ...]) -> AsyncGenerator[bytes, None]:
        for step in steps:
            if isinstance(step, bytes):
                yield step
            elif isinstance(step, Exception):
                raise step
            else:
                await asyncio.sleep(step)


class _Body(httpx.AsyncByteStream):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(self.script._play(self.script.steps)) as steps:
                async for data in steps:
                    yield data
        except (asyncio.CancelledError, GeneratorExit):
            self.script.left_at = asyncio.get_running_loop().time()
            raise

    async def aclose(self) -> None:
        await asyncio.sleep(self.script.closing_s)
        self.script.closed += 1


def driven(
    call: Call, script: Script, *, limit_s: float = 600, secret: str = SECRET
) -> tuple[dict[str, Any], bytes, bytes]:
    """Drive ``call`` on ``script`` from the instant 0; return its span, the body sent and the body received."""

    async def main() -> tuple[dict[str, Any], bytes, bytes]:
        loop = asyncio.get_running_loop()
        zero = loop.time()
        named = call if call.id else replace(call, id="c1")
        request = build(named, secret=secret, contract=CONTRACT)

        def clock_us() -> int:
            return round((loop.time() - zero) * 1e6)

        exchange = await drive(named, request, script, "http://gateway:8080", clock_us, limit_s=limit_s)
        assert len(asyncio.all_tasks()) == 1
        if script.left_at is not None:
            script.left_at -= zero
        span, line, received = exchange.finished("a-key", len(request.body), request.credentials)
        assert line == span_line("call", span)
        return span, request.body, received

    result: tuple[dict[str, Any], bytes, bytes] = run(main())
    return result


def stream(*values: Any) -> tuple[bytes, ...]:
    return tuple(events(value) for value in values)


WORDS = tuple(chunk({"content": f"w{n} "}) for n in range(6))
LAST = (chunk({}, finish="stop"), chunk(usage={"total_tokens": 3}), "data: [DONE]\n\n")
BODY = orjson.dumps(CHAT_WHOLE)


def test_an_unstreamed_call_becomes_a_span() -> None:
    script = Script(BODY[:20], 0.25, BODY[20:], before=(1.5,), headers=[("Content-Type", JSON), ("X-Request-Id", "r1")])
    span, sent, received = driven(chat("m", account="b"), script)
    asked = build(chat("m", account="b", id="c1"), secret="ck_a", contract=CONTRACT)
    assert span["request_bytes"] == len(asked.body)
    assert {name: span[name] for name in span if name not in ("reading", "claims", "request_bytes")} == {
        "id": "c1",
        "account": "b",
        "key": "a-key",
        "surface": "chat",
        "model": "m",
        "stream": False,
        "sent": 0,
        "first_byte": 1_500_000,
        "first_content": 1_750_000,
        "end": 1_750_000,
        "outcome": "ok",
        "status": 200,
        "headers": {"content-type": JSON, "x-request-id": "r1"},
        "chunks": [1_500_000, 1_750_000],
        "pings": [],
        "request_sha": "",
        "answer_sha": "",
        "answer_bytes": len(BODY),
        "detail": "",
    }
    assert span["reading"]["finish"] == "tool_calls"
    assert span["claims"] == {**HYPEREAL, "where": "json"}
    assert (sent, received) == (asked.body, BODY)
    assert script.closed == 1


def test_a_span_is_what_a_history_keeps() -> None:
    span, _, _ = driven(chat("m", stream=True), Script(STREAMS["chat"], content_type=SSE))
    assert [field.name for field in fields(CallSpan)] == list(span)
    recorder = Recorder()
    recorder.plan({})
    recorder.span("call", span["end"], span)
    line = orjson.loads(list(recorder.lines())[1])
    recorder.close()
    assert {"span": "call", **orjson.loads(orjson.dumps(span))} == line
    assert set(line["reading"]) == {field.name for field in fields(Reading)}


def test_the_request_is_sent_as_it_was_built() -> None:
    script = Script(BODY)
    _, sent, received = driven(chat("m", prompt="Hi"), script)
    assert script.request is not None
    assert sent == script.request.read()
    assert b"[call:c1" in sent
    assert received == BODY


def test_the_request_is_whole_as_httpx_has_it() -> None:
    script = Script(BODY)
    driven(chat("m", path="/v1/x?beta=true", headers={"X-Name": "Grüße"}), script)
    request = script.request
    assert request is not None
    assert (request.method, str(request.url)) == ("POST", "http://gateway:8080/v1/x?beta=true")
    assert request.headers["host"] == "gateway:8080"
    assert request.headers["content-length"] == str(len(request.read()))
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert dict(request.headers.raw)[b"X-Name"] == "Grüße".encode()
    assert isinstance(request.stream, httpx.AsyncByteStream)


def test_a_given_host_and_length_stand() -> None:
    script = Script(b"{}")
    driven(raw("/x", b"abc", headers={"Host": "other", "Content-Length": "7"}), script)
    assert script.request is not None
    assert script.request.headers.get_list("host") == ["other"]
    assert script.request.headers.get_list("content-length") == ["7"]


def test_a_get_has_no_body_headers() -> None:
    script = Script(b'{"data": []}')
    span, _, _ = driven(models(), script)
    assert span["outcome"] == "ok"
    assert script.request is not None
    assert not {"content-length", "content-type", "transfer-encoding"} & set(script.request.headers)


def test_the_instants_of_a_stream() -> None:
    steps = (
        0.5,
        *stream(chunk({"role": "assistant", "content": ""})),
        1,
        b": ping\n\n",
        1,
        *stream(WORDS[0]),
        0.25,
        *stream(*LAST),
    )
    span, _, _ = driven(chat("m", stream=True), Script(*steps, content_type=SSE, before=(0.5,)))
    assert (span["sent"], span["first_byte"], span["first_content"], span["end"]) == (0, 500_000, 3_000_000, 3_250_000)
    assert span["chunks"] == [1_000_000, 2_000_000, 3_000_000, 3_250_000, 3_250_000, 3_250_000]
    assert span["pings"] == [2_000_000]
    assert span["outcome"] == "ok"


def test_empty_pieces_are_no_chunks() -> None:
    span, _, _ = driven(chat("m", stream=True), Script(b"", STREAMS["chat"], b"", content_type=SSE))
    assert len(span["chunks"]) == 1


def test_the_instants_kept_are_bounded() -> None:
    many = stream(*[WORDS[0]] * (CHUNKS_KEPT + 10), *LAST)
    span, _, _ = driven(chat("m", stream=True), Script(*many, content_type=SSE))
    assert len(span["chunks"]) == CHUNKS_KEPT
    assert span["detail"] == "13 more chunks"
    assert span["outcome"] == "ok"


ERROR = orjson.dumps({"type": "error", "error": {"type": "api_error", "message": "no"}})
UNREAD = {"text/html": b"<html>", JSON: b'{"choices": [', "": b"x"}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, "refused"),
        (401, "refused"),
        (402, "refused"),
        (413, "refused"),
        (429, "refused"),
        (499, "refused"),
        (503, "refused"),
        (500, "error"),
        (502, "error"),
        (504, "error"),
        (529, "error"),
        (302, "error"),
    ],
)
@pytest.mark.parametrize("body", [ERROR, b"", b"<html>", BODY])
def test_an_error_status_decides_whatever_the_body(status: int, outcome: str, body: bytes) -> None:
    span, _, _ = driven(chat("m", stream=True), Script(body, status=status))
    assert (span["outcome"], span["status"]) == (outcome, status)
    assert span["reading"]["error_type"] == ("api_error" if body == ERROR else None)


BREAK = httpx.ReadError("[Errno 104] peer 127.0.0.1:43211")
FAILURE = {"error": {"type": "api_error", "message": "no"}}


@pytest.mark.parametrize(
    ("steps", "content_type", "outcome", "detail"),
    [
        ((STREAMS["chat"],), SSE, "ok", ""),
        (stream(*WORDS, *LAST[:-1]), SSE, "cut", ""),
        ((*stream(*WORDS, *LAST)[:-1], b"data: [DONE]\n"), SSE, "cut", "an unterminated event at the end"),
        (stream(*WORDS, FAILURE), SSE, "error", ""),
        ((*stream(*WORDS, FAILURE), BREAK), SSE, "error", "ReadError after 7 chunks"),
        (stream(FAILURE, *WORDS, *LAST), SSE, "error", ""),
        ((*stream(*WORDS), BREAK), SSE, "cut", "ReadError after 6 chunks"),
        ((*stream(*WORDS, *LAST), BREAK), SSE, "cut", "ReadError after 9 chunks"),
        ((*stream(*WORDS), httpx.RemoteProtocolError("x")), SSE, "cut", "RemoteProtocolError after 6 chunks"),
        ((*stream(*WORDS), ConnectionResetError("x")), SSE, "cut", "ConnectionResetError after 6 chunks"),
        ((*stream(*WORDS), TimeoutError("x")), SSE, "cut", "TimeoutError after 6 chunks"),
        ((b"data: {\n\n", *stream(*WORDS, *LAST)), SSE, "cut", "malformed events: 1"),
        ((), SSE, "cut", ""),
        ((BODY,), JSON, "ok", ""),
        ((BODY, BREAK), JSON, "cut", "ReadError after 1 chunks"),
        ((BODY[:-1],), JSON, "cut", "the body is not a JSON object"),
        ((), JSON, "cut", "the body is empty"),
        ((b"{}",), JSON, "cut", "the JSON body is not in the surface's shape"),
        ((ERROR,), JSON, "error", ""),
        ((b"<html>",), "text/html", "cut", "content type text/html"),
    ],
)
def test_what_became_of_a_call(steps: tuple[Step, ...], content_type: str, outcome: str, detail: str) -> None:
    script = Script(*steps, content_type=content_type)
    span, _, _ = driven(chat("m", stream=True), script)
    assert (span["outcome"], span["detail"]) == (outcome, detail)
    assert script.closed == 1


def test_an_answer_is_read_for_what_it_is_not_for_what_was_asked() -> None:
    streamed, _, _ = driven(chat("m", stream=False), Script(STREAMS["chat"], content_type=SSE))
    whole, _, _ = driven(chat("m", stream=True), Script(BODY))
    assert (streamed["outcome"], whole["outcome"]) == ("ok", "ok")
    assert streamed["reading"]["text"] == whole["reading"]["text"] == "Grüße aus 東京 🗼"


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("127.0.0.1:43211 refused"), ConnectionRefusedError(111, "x"), EOFError()]
)
def test_a_connection_that_fails_is_a_cut_that_names_no_address(error: Exception) -> None:
    span, _, received = driven(chat("m"), Script(before=(0.75, error)))
    assert span["outcome"] == "cut"
    assert (span["status"], span["first_byte"], span["end"], span["headers"]) == (None, None, 750_000, {})
    assert span["detail"] == f"{type(error).__name__} before the head"
    assert received == b""


def test_an_error_of_the_harness_itself_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        driven(chat("m"), Script(BODY, ZeroDivisionError()))


class Uploaded(Script):
    """A transport that first reads the request's body, and notes when each piece of it came."""

    pieces: list[tuple[float, bytes]]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        start, self.pieces = asyncio.get_running_loop().time(), []
        async for piece in request.stream:
            self.pieces.append((asyncio.get_running_loop().time() - start, piece))
        return await super().handle_async_request(request)


def test_a_slow_upload_sends_its_second_half_later() -> None:
    script = Uploaded(BODY)
    span, sent, _ = driven(chat("m", upload_ms=45_000), script)
    assert [at for at, _ in script.pieces] == [0, 45]
    assert b"".join(piece for _, piece in script.pieces) == sent
    assert abs(len(script.pieces[0][1]) - len(script.pieces[1][1])) <= 1
    assert script.request is not None
    assert script.request.headers["content-length"] == str(len(sent))
    assert (span["outcome"], span["sent"], span["first_byte"]) == ("ok", 0, 45_000_000)


def test_a_client_may_leave_while_it_uploads() -> None:
    script = Uploaded(BODY)
    span, _, _ = driven(chat("m", upload_ms=45_000, abort_ms=20_000), script)
    assert (span["outcome"], span["status"], span["end"]) == ("aborted", None, 20_000_000)
    assert len(script.pieces) == 1


# A client that leaves.


@pytest.mark.parametrize(
    ("abort_ms", "left_s", "chunks"),
    [(0, 0.0, 0), (400, 0.4, 0), (1000, 1.0, 1), (2500.125, 2.500125, 2), (3999.999, 3.999999, 4)],
)
@pytest.mark.parametrize("head_s", [0.25, 0.75])
def test_a_client_leaves_at_its_instant(abort_ms: float, left_s: float, chunks: int, head_s: float) -> None:
    steps = [step for word in stream(*WORDS) for step in (word, 1.0)]
    script = Script(0.99 - head_s, *steps, before=(head_s,), content_type=SSE)
    span, _, _ = driven(chat("m", stream=True, abort_ms=abort_ms), script)
    assert span["outcome"] == "aborted"
    assert span["end"] == round(left_s * 1e6)
    assert script.left_at == pytest.approx(left_s, abs=1e-9)
    assert span["reading"]["text"] == "".join(f"w{n} " for n in range(chunks))
    assert (span["status"], script.closed) == ((None, 0) if left_s < head_s else (200, 1))


def test_a_client_that_would_have_left_later_stays() -> None:
    script = Script(1.0, BODY)
    span, _, _ = driven(chat("m", abort_ms=1001), script)
    assert (span["outcome"], span["end"], script.left_at) == ("ok", 1_000_000, None)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_client_leaves_after_so_many_chunks(count: int) -> None:
    script = Script(*stream(*WORDS), 1.0, *stream(*LAST), content_type=SSE, before=(0.5,))
    span, _, received = driven(chat("m", stream=True, abort_chunks=count), script)
    assert span["outcome"] == "aborted"
    assert (len(span["chunks"]), span["end"], script.closed) == (count, 500_000, 1)
    assert received == b"".join(stream(*WORDS)[:count])
    assert script.left_at == (0.5 if count else None)


def test_a_client_that_counts_more_chunks_than_come_stays() -> None:
    span, _, _ = driven(chat("m", stream=True, abort_chunks=99), Script(STREAMS["chat"], content_type=SSE))
    assert span["outcome"] == "ok"


def test_a_call_without_end_is_open_when_its_time_is_up() -> None:
    script = Script(*stream(WORDS[0]), *(15.0, b": ping\n\n") * 100, content_type=SSE)
    span, _, _ = driven(chat("m", stream=True), script, limit_s=100)
    assert (span["outcome"], span["end"], len(span["pings"])) == ("open", 100_000_000, 6)
    assert (script.left_at, script.closed) == (100, 1)


def test_a_call_that_never_gets_a_head_is_open_too() -> None:
    span, _, _ = driven(chat("m", abort_ms=500_000), Script(before=(1e9,)), limit_s=100)
    assert (span["outcome"], span["status"], span["end"]) == ("open", None, 100_000_000)


def test_a_slow_reader_pauses_between_chunks() -> None:
    span, _, _ = driven(chat("m", stream=True, read_pause_ms=250), Script(*stream(*WORDS[:2], *LAST), content_type=SSE))
    assert span["chunks"] == [0, 250_000, 500_000, 750_000, 1_000_000]
    assert (span["outcome"], span["end"]) == ("ok", 1_250_000)


def test_a_slow_reader_may_leave_in_its_pause() -> None:
    call = chat("m", stream=True, read_pause_ms=250, abort_ms=600)
    span, _, _ = driven(call, Script(*stream(*WORDS, *LAST), content_type=SSE))
    assert (span["outcome"], span["end"], len(span["chunks"])) == ("aborted", 600_000, 3)


def test_a_request_has_all_that_httpx_gives_one() -> None:
    script = Script(BODY)
    driven(chat("m", id="c1"), script)
    made = script.request
    assert made is not None
    stock = httpx.Request(
        made.method, str(made.url), headers=made.headers.raw, stream=made.stream, extensions=made.extensions
    )
    assert vars(made) == vars(stock)
    assert made.headers["content-length"] == str(len(b"".join(made.stream)))  # type: ignore[arg-type]  # it is both


def test_a_client_without_any_patience_leaves_before_it_has_an_answer() -> None:
    span, _, _ = driven(chat("m", id="c1", abort_ms=0), Script(BODY, before=(1,)))
    assert (span["outcome"], span["sent"], span["end"], span["status"]) == ("aborted", 0, 0, None)


def test_a_cancelled_run_closes_the_answer_and_is_told() -> None:
    script = Script(*stream(*WORDS), 50.0, content_type=SSE)

    async def main() -> None:
        call = replace(chat("m", stream=True, abort_ms=60_000), id="c1")
        request = build(call, secret=SECRET, contract=CONTRACT)
        task = asyncio.create_task(drive(call, request, script, "http://g", lambda: 0, limit_s=600))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        script.left_at = (script.left_at or 0) - 100.0

    run(main())
    assert (script.closed, script.left_at) == (1, 5)


def test_a_call_ends_before_its_connection_is_closed() -> None:
    script = Script(1.0, BODY, closing_s=3)
    assert driven(chat("m"), script)[0]["end"] == 1_000_000
    assert driven(chat("m", abort_ms=500), script)[0]["end"] == 500_000


def test_a_head_has_no_body_whatever_its_type() -> None:
    script = Script()
    span, _, _ = driven(raw("/", method="HEAD"), script)
    assert (span["outcome"], span["headers"], span["detail"]) == ("ok", {"content-type": JSON}, "")
    assert driven(raw("/"), script)[0]["outcome"] == "cut"


def test_what_fails_while_closing_changes_nothing() -> None:
    class Broken(Script):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)

            async def aclose() -> None:
                raise httpx.CloseError("gone")

            response.stream.aclose = aclose  # type: ignore[union-attr,method-assign]  # async side
            return response

    assert driven(chat("m"), Broken(BODY))[0]["outcome"] == "ok"


# What a span holds, and what it must not.


def test_headers_are_kept_but_for_framing_and_date() -> None:
    headers = [
        ("Content-Type", JSON),
        ("Date", "today"),
        ("Server", "s"),
        ("Content-Length", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("X-Hypereal-Managed-Governor", "active"),
        ("Retry-After", "3"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-Name", "Gr\u00fc\u00dfe"),
    ]
    script = Script(BODY)
    script.headers = [(name, value.encode("latin-1")) for name, value in headers]  # type: ignore[misc]  # as on the wire
    assert driven(chat("m"), script)[0]["headers"] == {
        "content-type": JSON,
        "x-hypereal-managed-governor": "active",
        "retry-after": "3",
        "set-cookie": "a=1, b=2",
        "x-name": "Gr\u00fc\u00dfe",
    }


def test_an_encoded_answer_is_not_what_was_asked_for() -> None:
    packed = gzip.compress(BODY)
    script = Script(packed, headers=[("content-type", JSON), ("content-encoding", "gzip")])
    span, _, received = driven(chat("m"), script)
    assert (span["outcome"], received) == ("cut", packed)
    assert span["detail"] == "content-encoding gzip, and identity was asked for; the body is not a JSON object"


LEAKS = {
    "text": (stream(chunk({"content": f"your key is {SECRET}!"})), []),
    "text in pieces": (stream(*(chunk({"content": letter}) for letter in f"key {SECRET}!")), []),
    "error": (stream({"error": {"type": "x", "message": f"bad key {SECRET}"}}), []),
    "claims": (stream(chunk(hypereal={SECRET: {"deep": [SECRET]}})), []),
    "header": (stream(*WORDS), [("X-Echo", f"Bearer {SECRET}")]),
}


@pytest.mark.parametrize("place", LEAKS)
def test_no_credential_gets_into_a_span(place: str) -> None:
    steps, headers = LEAKS[place]
    script = Script(*steps, headers=[("content-type", SSE), *headers])
    span, _, received = driven(chat("m", stream=True), script)
    assert SECRET not in orjson.dumps(span).decode()
    assert BLOT in orjson.dumps(span).decode()
    assert span["claims"]["leaked"] is True
    assert "the answer held the caller's credential" in span["detail"]
    assert received == b"".join(steps)


def test_other_secrets_and_quoted_ones_are_blotted_as_well() -> None:
    odd = 'se"cret\\key'
    script = Script(orjson.dumps({"error": {"message": f"{odd} or {SECRET}"}}))
    span, _, _ = driven(chat("m", headers={"x-api-key": odd}), script)
    assert span["reading"]["error_message"] == f"{BLOT} or {BLOT}"


def test_a_short_nonsense_credential_leaves_honest_text_alone() -> None:
    span, _, _ = driven(chat("m", secret="a"), Script(BODY))
    assert span["detail"] == ""
    assert "Grüße aus" in span["reading"]["text"]


def test_claims_nested_too_deeply_are_dropped_not_fatal() -> None:
    deep = b'{"choices": [], "hypereal": {"a": ' + b"[" * 600 + b"]" * 600 + b"}}"
    span, _, _ = driven(chat("m", stream=True), Script(b"data: " + deep + b"\n\n", content_type=SSE))
    assert span["claims"] == {}
    orjson.dumps(span)


@pytest.mark.parametrize("surface", list(WHOLE))
def test_every_surface_is_driven_alike(surface: str) -> None:
    streamed, _, _ = driven(Call(surface, "m", stream=True), Script(STREAMS[surface], content_type=SSE))
    whole, _, _ = driven(Call(surface, "m"), Script(orjson.dumps(WHOLE[surface])))
    assert (streamed["outcome"], streamed["detail"]) == (whole["outcome"], whole["detail"]) == ("ok", "")
    assert streamed["reading"]["items"] == whole["reading"]["items"] != ""
