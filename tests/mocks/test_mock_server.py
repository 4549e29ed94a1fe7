"""The application around the providers: control API, paths that are not served, bounds, isolation of runs."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from mock_asgi import KEY, PATHS, Link, ask, injection, journal, request, run, start

from mock_upstreams import requests, runs
from mock_upstreams.faults import FAULTS
from mock_upstreams.server import create_app


def asked(path: str, body: Any = b"", **how: Any) -> Link:
    """Return what a fresh application answers."""

    async def work() -> Link:
        return await ask(create_app(), path, body, **how)

    link: Link = run(work())
    return link


def test_health_and_faults_are_told() -> None:
    assert asked("/healthz", method="GET").json == {"status": "ok", "runs": 0}
    described = asked("/control/faults", method="GET").json["faults"]
    assert {item["name"] for item in described} == FAULTS.keys()


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/r/primary/openai/chat/completions", "did you mean /r/primary/openai/v1/chat/completions"),
        ("/r/primary/openai/v1/chat/completion", "did you mean /r/primary/openai/v1/chat/completions"),
        ("/r/primary/anthropic/messages", "did you mean /r/primary/anthropic/v1/messages"),
        ("/v1/chat/completions", "did you mean /{run}/{role}/openai/v1/chat/completions"),
        ("/", "served are POST"),
        ("/r/../openai/v1/responses", "served are POST"),
        ("/r/a%20b c/openai/v1/responses", "served are POST"),
    ],
)
def test_a_path_that_is_not_served_names_what_is(path: str, near: str) -> None:
    link = asked(path, b"{}")
    assert (link.status, link.json["error"]["type"]) == (404, "not_found_error")
    assert near in link.json["error"]["message"]


def test_a_provider_takes_post_alone() -> None:
    link = asked(f"/r/primary/{PATHS['chat']}", method="GET")
    assert (link.status, "takes POST, not GET" in link.json["error"]["message"]) == (405, True)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/control/r/start", b"{", 400, "not JSON"),
        ("POST", "/control/r/start", b"[]", 400, "is an object"),
        ("POST", "/control/r/start", b"{}", 400, "zero_s must be given"),
        ("POST", "/control/r/start", b'{"zero_s": 0, "sead": 1}', 400, "no field 'sead'; near: seed"),
        ("POST", "/control/r/start", b'{"zero_s": 0, "seed": "x"}', 400, "seed must be a whole number"),
        ("POST", "/control/r/start", b'{"zero_s": 0, "bodies": 1}', 400, "bodies must be"),
        (
            "POST",
            "/control/r/start",
            b'{"zero_s": 0, "models": {"opena": []}}',
            400,
            "no provider 'opena'; near: openai",
        ),
        ("POST", "/control/r/start", b'{"zero_s": 0, "models": {"openai": "x"}}', 400, "must be a list"),
        ("POST", "/control/r/heal", b"{}", 404, "no run 'r' was started"),
        ("GET", "/control/r/journal", b"", 404, "no run 'r' was started"),
        ("GET", "/control/r/jurnal", b"", 404, "GET /control/{run}/journal"),
        ("GET", "/control", b"", 404, "GET /control/faults"),
    ],
)
def test_a_control_request_that_cannot_be_is_told(method: str, path: str, body: bytes, status: int, words: str) -> None:
    link = asked(path, body, method=method)
    assert link.status == status
    assert words in link.json["error"]["message"]


def test_a_refused_start_names_every_problem_and_leaves_the_run_as_it_was() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app, injections=[injection("crlf", id="kept")])
        bad = await start(app, injections=[injection("crlff"), injection("cut_after", params={"chunk": 3})], seed="x")
        link = await ask(app, f"/r/primary/{PATHS['chat']}", request("chat", stream=True))
        return bad, link

    bad, link = run(work())
    message = bad.json["error"]["message"]
    assert bad.status == 400
    assert "seed must be" in message
    assert "no fault 'crlff'; near: crlf" in message
    assert "no parameter 'chunk'; near: chunks" in message
    assert b"\r\n" in link.body


def test_start_resets_the_run_and_no_other() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app, "r")
        await start(app, "other")
        for name in ("r", "other"):
            await ask(app, f"/{name}/primary/{PATHS['chat']}", request("chat"))
        again = await start(app, "r", injections=[injection("crlf")])
        return again.json, len((await journal(app, "r"))[0]), len((await journal(app, "other"))[0])

    assert run(work()) == ({"run": "r", "injections": ["i1"]}, 0, 1)


def test_a_run_that_nobody_started_begins_with_its_first_call() -> None:
    async def work() -> Any:
        app = create_app()
        link = await ask(app, f"/mine/primary/{PATHS['chat']}", {"model": "x", "messages": [{"role": "user"}]})
        return link, (await journal(app, "mine"))[0][0]

    link, attempt = run(work())
    assert (attempt["call"], attempt["id"], attempt["start"]) == ("", "primary:-:1", 0)
    assert link.json["choices"][0]["message"]["content"].startswith("primary:-:0")


def test_models_may_be_limited() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app, models={"openai": ["gpt-y"]})
        return [await ask(app, f"/r/primary/{PATHS[surface]}", request(surface)) for surface in ("chat", "messages")]

    refused, served = run(work())
    assert (refused.status, refused.json["error"]["code"]) == (404, "model_not_found")
    assert served.status == 200


def test_bodies_past_the_bound_are_refused_in_the_providers_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests.read_body, "__defaults__", (1_000,))
    body = request("messages", system="x" * 2_000)
    for pieces in (1, 7):
        link = asked(f"/r/primary/{PATHS['messages']}", body, pieces=pieces)
        assert (link.status, link.json["error"]["type"]) == (413, "request_too_large")


def test_runs_are_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MOST_RUNS", 3)

    async def work() -> Any:
        app = create_app()
        for name in ("a", "b", "c", "d", "d", "d"):
            await start(app, name)
        return [(await ask(app, f"/control/{name}/journal", method="GET")).status for name in ("a", "b", "d")]

    assert run(work()) == [404, 200, 200]


def test_a_run_without_a_start_keeps_a_bounded_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "UNSTARTED_KEEPS", 5)

    async def work() -> Any:
        app = create_app()
        for n in range(50):
            await ask(app, f"/mine/primary/{PATHS['chat']}", request("chat", call=f"c{n}"))
        return [a["call"] for a in (await journal(app, "mine"))[0]]

    kept = run(work())
    assert kept == ["c45", "c46", "c47", "c48", "c49"]


def test_a_long_journal_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> Any:
        app = create_app()
        await start(app)
        for n in range(400):
            await ask(app, f"/r/primary/{PATHS['chat']}", request("chat", call=f"c{n}"))
        return await ask(app, "/control/r/journal", method="GET")

    link = run(work())
    assert len(link.chunks) > 1
    assert [orjson.loads(line)["call"] for line in link.body.splitlines()] == [f"c{n}" for n in range(400)]


def test_rate_limits_are_told_as_each_provider_does() -> None:
    async def work() -> Any:
        app = create_app()
        await start(app)
        return [
            [await ask(app, f"/r/primary/{PATHS[surface]}", request(surface, "in=10 out=5")) for _ in range(2)]
            for surface in ("chat", "messages")
        ]

    (chat, chat_again), (claude, claude_again) = run(work())
    assert chat.headers["x-ratelimit-remaining-requests"] == "999999"
    assert chat_again.headers["x-ratelimit-remaining-requests"] == "999998"
    assert chat_again.headers["x-ratelimit-remaining-tokens"] == str(4_000_000_000 - 30)
    assert chat.headers["x-ratelimit-reset-requests"] == "1m0s"
    assert claude.headers["anthropic-ratelimit-requests-remaining"] == "999997"
    assert claude_again.headers["anthropic-ratelimit-tokens-reset"] == "2026-01-01T00:01:00Z"
    assert {link.headers["request-id"] for link in (claude, claude_again)} == {"req_primary-c1-3", "req_primary-c1-4"}


def test_the_lifespan_is_answered() -> None:
    sent = []

    async def work() -> None:
        incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> dict[str, Any]:
            return incoming.pop(0)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await create_app()({"type": "lifespan"}, receive, send)

    run(work())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("header", [KEY, (b"x-api-key", b"k")])
def test_either_credential_will_do(header: tuple[bytes, bytes]) -> None:
    for surface in PATHS:
        assert asked(f"/r/primary/{PATHS[surface]}", request(surface), headers=(header,)).status == 200
