"""The journal is the truth of every ending: what was sent, when, how it ended and who had left."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import fields
from typing import Any

import pytest
from mock_asgi import BILLED, KEY, PATHS, ask, injection, journal, request, run, start

from harness.history import AttemptSpan, FaultSpan, Reading
from mock_upstreams.journal import NOTICE_US
from mock_upstreams.player import CannotBreak
from mock_upstreams.server import create_app


def one(
    surface: str = "chat", directives: str = "", *faults: dict[str, Any], stream: bool = False, **how: Any
) -> tuple[Any, dict[str, Any]]:
    """Return (link, attempt) of one call on a run that was started with ``faults``."""

    async def work() -> Any:
        app = create_app()
        await start(app, injections=list(faults))
        link = await ask(app, f"/r/primary/{PATHS[surface]}", request(surface, directives, stream=stream), **how)
        attempts, _ = await journal(app)
        return link, attempts[0]

    found: tuple[Any, dict[str, Any]] = run(work())
    return found


def test_spans_have_the_fields_of_the_history() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app, injections=[injection("crlf")])
        await ask(app, f"/r/primary/{PATHS['chat']}", request("chat", stream=True))
        return await journal(app)

    (attempt,), (fault,) = run(work())
    assert list(attempt) == ["span", *(field.name for field in fields(AttemptSpan))]
    assert list(attempt["reading"]) == [field.name for field in fields(Reading)]
    assert list(fault) == ["span", *(field.name for field in fields(FaultSpan))]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", BILLED)
def test_a_served_attempt_tells_its_times_and_sizes(surface: str, stream: bool) -> None:
    link, attempt = one(surface, "chunks=3 ttft=0.5 gap=0.25", stream=stream)
    end = 1_000_000 if stream else 500_000
    assert (attempt["start"], attempt["head"], attempt["first_chunk"]) == (0, 500_000, 500_000)
    assert (attempt["attached"], attempt["end"], attempt["left"]) == (end, end, None)
    assert (attempt["ended"], attempt["fault"], attempt["status"]) == ("served", "", 200)
    assert (attempt["bytes"], attempt["chunks"]) == (len(link.body), len(link.chunks))
    assert attempt["reading"] == link.reading(surface)


@pytest.mark.parametrize("surface", BILLED)
@pytest.mark.parametrize("fault", ["reset_after", "cut_after", "truncate"])
def test_a_broken_stream_tells_what_went_out_before(surface: str, fault: str) -> None:
    link, attempt = one(surface, "chunks=5", injection(fault, params={"content": 2}), stream=True)
    assert (attempt["ended"], attempt["fault"], attempt["left"]) == ("fault", fault, None)
    assert attempt["reading"] == link.reading(surface)
    assert attempt["reading"]["text"].split() == ["primary:c1:0", "primary:c1:1"]
    assert attempt["reading"]["terminal"] is False
    assert attempt["bytes"] == len(link.body)


def test_an_attempt_that_was_broken_before_its_head_said_nothing() -> None:
    _, attempt = one("chat", "", injection("reset_before_headers"))
    assert (attempt["status"], attempt["head"], attempt["first_chunk"], attempt["bytes"]) == (None, None, None, 0)
    assert attempt["reading"]["sequence"] == ""


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("surface", BILLED)
def test_an_error_answer_is_the_faults_and_says_its_error(surface: str, status: int) -> None:
    link, attempt = one(surface, "", injection("respond", params={"status": status}), stream=True)
    assert (attempt["ended"], attempt["fault"], attempt["status"]) == ("fault", "respond", status)
    assert attempt["reading"]["error_message"] == link.json["error"]["message"]
    assert (attempt["reading"]["terminal"], attempt["reading"]["sequence"]) == (False, "json")


@pytest.mark.parametrize(
    ("fault", "params"),
    [
        ("crlf", {}),
        ("delay", {"seconds": 1.0}),
        ("usage_negative", {}),
        ("duplicate_event", {}),
        ("silence", {"seconds": 9.0}),
    ],
)
@pytest.mark.parametrize("surface", BILLED)
def test_a_lawful_fault_is_served_and_read_as_it_was_sent(surface: str, fault: str, params: dict[str, Any]) -> None:
    link, attempt = one(surface, "", injection(fault, params=params), stream=True)
    assert (attempt["ended"], attempt["fault"]) == ("served", fault)
    assert attempt["reading"] == link.reading(surface)
    assert attempt["reading"]["terminal"] is True


@pytest.mark.parametrize("fault", ["wrong_content_type", "json_although_streamed"])
def test_an_answer_that_could_be_read_but_not_relied_on_is_not_terminal(fault: str) -> None:
    _, attempt = one("chat", "", injection(fault, params={}), stream=fault == "json_although_streamed")
    assert (attempt["ended"], attempt["reading"]["terminal"]) == ("fault", False)
    assert attempt["reading"]["text"] != ""


def test_several_faults_are_all_named() -> None:
    _, attempt = one("chat", "", injection("crlf"), injection("cut_after"), stream=True)
    assert (attempt["fault"], attempt["ended"]) == ("crlf+cut_after", "fault")


@pytest.mark.parametrize("surface", BILLED)
def test_a_caller_that_left_has_an_interval_in_which_it_did(surface: str) -> None:
    link, attempt = one(surface, "chunks=9 ttft=1 gap=1", stream=True, leave_after=3.5)
    assert attempt["ended"] == "left"
    assert attempt["left"] == [3_500_000 - NOTICE_US, 3_500_000]
    assert (attempt["attached"], attempt["end"]) == (attempt["left"][0], 3_500_000)
    assert attempt["reading"] == link.reading(surface)
    assert attempt["reading"]["text"].split() == [f"primary:c1:{n}" for n in range(3)]


def test_a_caller_that_left_an_upstream_which_hangs() -> None:
    _, attempt = one("chat", "", injection("hang_before_headers"), leave_after=120.0)
    assert (attempt["ended"], attempt["fault"]) == ("left", "hang_before_headers")
    assert attempt["left"][1] == 120_000_000
    assert (attempt["status"], attempt["first_chunk"]) == (None, None)


def test_nobody_left_before_they_came() -> None:
    _, attempt = one("chat", "ttft=9", leave_after=0.001)
    assert attempt["left"] == [0, 1_000]
    assert attempt["attached"] == 0


def test_a_caller_that_leaves_within_its_request_is_recorded() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app)

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: Any) -> None:
            raise AssertionError("nothing is to be sent")

        messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
        scope = {"type": "http", "method": "POST", "path": f"/r/primary/{PATHS['chat']}", "headers": []}
        await app(scope, receive, send)
        return (await journal(app))[0]

    (attempt,) = run(work())
    assert (attempt["ended"], attempt["call"], attempt["status"]) == ("left", "", None)
    assert "before its request was whole" in attempt["detail"]


def test_an_attempt_under_way_is_open() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app)
        body = request("chat", "chunks=9 ttft=1 gap=1", stream=True)
        call = asyncio.create_task(ask(app, f"/r/primary/{PATHS['chat']}", body))
        await asyncio.sleep(2.5)
        (early,), _ = await journal(app)
        await call
        (late,), _ = await journal(app)
        return early, late

    early, late = run(work())
    assert (early["ended"], early["end"], early["chunks"]) == ("open", 2_500_000, 3)
    assert early["reading"]["text"].split() == ["primary:c1:0", "primary:c1:1"]
    assert early["reading"]["terminal"] is False
    assert (late["ended"], late["id"]) == ("served", early["id"])


def test_a_host_that_cannot_break_leaves_a_trace() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app, injections=[injection("cut_after")])
        with pytest.raises(CannotBreak):
            await ask(app, f"/r/primary/{PATHS['chat']}", request("chat", stream=True), breakable=False)
        return (await journal(app))[0][0]

    attempt = run(work())
    assert attempt["ended"] == "fault"
    assert "harness.connection" in attempt["detail"]


@pytest.mark.parametrize(
    "header",
    [KEY, (b"authorization", b"bearer sk-upstream"), (b"x-api-key", b"sk-upstream"), (b"api-key", b" sk-upstream ")],
)
def test_credentials_are_recorded_as_digests_alone(header: tuple[bytes, bytes]) -> None:
    headers = (header, (b"host", b"127.0.0.1:4711"), (b"x-tag", b"a"), (b"x-tag", b"b"), (b"cookie", b"k=sk-upstream"))
    _, attempt = one(headers=headers)
    digest = hashlib.sha256(b"sk-upstream").hexdigest()[:16]
    assert attempt["credential"] == digest
    assert attempt["headers"][header[0].decode()] == digest
    assert attempt["headers"]["x-tag"] == "a, b"
    assert "sk-upstream" not in str(attempt)
    assert "host" not in attempt["headers"]


def test_bodies_are_kept_only_if_asked() -> None:
    async def work(bodies: bool) -> Any:
        app = create_app()
        await start(app, bodies=bodies)
        await ask(app, f"/r/primary/{PATHS['chat']}", b'{"model":"x","messages":[{"role":"user"}]}', pieces=3)
        (attempt,), _ = await journal(app)
        body = await ask(app, f"/control/r/bodies/{attempt['request_sha'] or 'none'}", method="GET", headers=())
        return attempt, body

    attempt, body = run(work(bodies=True))
    assert (body.status, body.body) == (200, b'{"model":"x","messages":[{"role":"user"}]}')
    assert attempt["request_sha"] == hashlib.sha256(body.body).hexdigest()
    attempt, body = run(work(bodies=False))
    assert (attempt["request_sha"], body.status) == ("", 404)
    assert "bodies: true" in body.json["error"]["message"]


def test_attempts_under_way_are_counted_per_upstream() -> None:
    async def work() -> Any:
        app = create_app()
        slow = injection("slower_under_load", role="*", params={"per_attempt_s": 1.0})
        await start(app, injections=[slow])
        roles = ["primary", "primary", "primary", "second"]
        bodies = [request("chat", "ttft=0.5", call=f"c{n}") for n in range(len(roles))]
        calls = [ask(app, f"/r/{role}/{PATHS['chat']}", body) for role, body in zip(roles, bodies, strict=True)]
        await asyncio.gather(*calls)
        await ask(app, f"/r/primary/{PATHS['chat']}", request("chat", "ttft=0.5", call="late"))
        return {a["call"]: a["end"] - a["start"] for a in (await journal(app))[0]}

    half = 500_000
    assert run(work()) == {"c0": half, "c1": 1_000_000 + half, "c2": 2_000_000 + half, "c3": half, "late": half}
