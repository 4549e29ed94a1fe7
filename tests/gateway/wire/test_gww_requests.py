"""From the client's request to the upstream's: credentials, bodies, models, errors, lawful differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from gww_bench import (
    BOB_SECRET,
    CHAT,
    GENERAL_CHAT,
    MANAGED_CHAT,
    MANAGED_MESSAGES,
    MANAGED_RESPONSES,
    MESSAGE,
    OTHER_SECRET,
    RESPONSE,
    SECRET,
    Bench,
    Heard,
    Upstreams,
    bench,
    chat_answer,
    message_answer,
    ok,
    response_answer,
)

from harness.gateway.app import call_endpoints

CLI = {
    "user-agent": "claude-cli/2.1.197 (external, cli)",
    "x-app": "cli",
    "anthropic-beta": "interleaved-thinking-2025-05-14,claude-code-20250219",
    "x-claude-code-session-id": "s-1",
}
MAX = {**MESSAGE, "model": "claude-opus-4-7-max"}


def ask(path: str, body: Any = CHAT, *, answer: Mapping[str, Any] | None = None, **options: Any) -> tuple[Heard, Bench]:
    """Send one request to a fresh gateway."""
    overlay, credits = options.pop("overlay", None), options.pop("credits", 100_000)

    async def test(gateway: Bench) -> tuple[Heard, Bench]:
        return await gateway.ask(path, body, **options), gateway

    result: tuple[Heard, Bench] = bench(
        test, Upstreams(primary=ok(answer or chat_answer())), overlay=overlay, credits=credits
    )
    return result


def assert_refused(heard: Heard, gateway: Bench, status: int, type_: str) -> None:
    assert (heard.status, heard.error["type"]) == (status, type_)
    assert heard.json["type"] == "error"
    assert heard.error["message"]
    assert heard.json["request_id"] == heard.headers["x-request-id"]
    assert gateway.upstreams.attempts == []
    assert "post" not in gateway.kinds()
    row = gateway.row()
    assert (row["status"], row["outcome"], row["credits"]) == (status, "refused", 0)


# Credentials.


@pytest.mark.parametrize(
    ("path", "header", "accepted"),
    [
        (MANAGED_CHAT, "authorization", True),
        (MANAGED_CHAT, "x-api-key", False),
        (MANAGED_CHAT, "anthropic-api-key", False),
        (MANAGED_RESPONSES, "x-api-key", False),
        (MANAGED_MESSAGES, "authorization", True),
        (MANAGED_MESSAGES, "x-api-key", True),
        (MANAGED_MESSAGES, "anthropic-api-key", True),
        ("/v1/messages", "x-api-key", True),
        ("/v1/messages", "authorization", True),
        ("/v1/messages", "anthropic-api-key", False),
        ("/v1/managed/messages/count_tokens", "x-api-key", True),
    ],
)
def test_a_key_counts_where_its_header_is_promised(path: str, header: str, accepted: bool) -> None:
    body = RESPONSE if "responses" in path else CHAT if "chat" in path else MESSAGE
    answer = {"input_tokens": 7} if "count" in path else response_answer() if body is RESPONSE else message_answer()
    answer = chat_answer() if body is CHAT else answer
    value = f"Bearer {SECRET}" if header == "authorization" else SECRET
    heard, _ = ask(path, body, answer=answer, secret=None, headers={header: value})
    assert heard.status == (200 if accepted else 401)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 401),
        ([("authorization", "Bearer ")], 401),
        ([("authorization", "Bearer"), ("x-api-key", "")], 401),
        ([("authorization", "Bearer sk-something")], 401),
        ([("authorization", "Bearer ck_unknown")], 401),
        ([("authorization", f"Basic {SECRET}")], 401),
        ([("authorization", SECRET[3:])], 401),
        ([("authorization", "Bearer ck_\xff\xfe")], 401),
        ([("authorization", "Bearer ck_disabled_key")], 401),
        ([("authorization", "Bearer ck_expired_key")], 401),
        ([("authorization", "Bearer ck_suspended_key")], 403),
        ([("authorization", f"Bearer {SECRET}"), ("x-api-key", OTHER_SECRET)], 401),
        ([("authorization", f"Bearer {SECRET}"), ("authorization", f"Bearer {BOB_SECRET}")], 401),
        ([("authorization", f"Bearer {SECRET}"), ("x-api-key", SECRET)], 200),
        ([("authorization", f"bearer {SECRET}"), ("x-api-key", "")], 200),
        ([("authorization", "Bearer "), ("x-api-key", SECRET)], 200),
    ],
)
def test_credentials_agree_or_the_request_is_refused(headers: list[tuple[str, str]], status: int) -> None:
    heard, gateway = ask(MANAGED_MESSAGES, MESSAGE, answer=message_answer(), secret=None, headers=headers)
    assert heard.status == status
    if status == 401:
        assert_refused(heard, gateway, 401, "authentication_error")
    elif status == 403:
        assert_refused(heard, gateway, 403, "permission_error")


def test_the_customers_key_goes_nowhere() -> None:
    headers = {"x-api-key": SECRET, "x-note": f"my key is {SECRET}", "cookie": "a=b", "x-trace": "t"}
    heard, gateway = ask(MANAGED_CHAT, {**CHAT, "model": SECRET}, headers={"x-client-request-id": SECRET})
    assert heard.status == 400
    told = heard.body + "".join(gateway.lines).encode() + orjson.dumps(gateway.rows())
    heard, gateway = ask(MANAGED_CHAT, headers=headers)
    assert heard.status == 200
    (attempt,) = gateway.upstreams.attempts
    sent = attempt.request.headers
    assert sent["authorization"] == "Bearer up-primary-xyz"
    assert sent["x-trace"] == "t"
    told += heard.body + "".join(gateway.lines).encode() + orjson.dumps(gateway.rows())
    told += b"".join(name + value for name, value in sent.raw) + attempt.request.content
    assert SECRET.encode() not in told
    assert SECRET[3:].encode() not in told
    assert b"a=b" not in told


# Bodies.


@pytest.mark.parametrize(
    ("body", "options", "status"),
    [
        (b"{", {}, 400),
        (b"", {}, 400),
        (b"[]", {}, 400),
        (b'"hi"', {}, 400),
        (b'{"model": "gpt-5-5", "messages": [\xff]}', {}, 400),
        (b'{"model": "gpt-5-5", "messages": ["\xff"]}', {}, 400),
        (b'{"model": NaN}', {}, 400),
        (b'{"model": "gpt-5-5", "messages": ' + b"[" * 128 + b"]" * 128 + b"}", {}, 400),
        (b'{"model": "gpt-5-5", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 400),
        (b'{"model": "gpt-5-5", "x": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}", {}, 400),
        ({"messages": []}, {}, 400),
        ({**CHAT, "model": None}, {}, 400),
        ({**CHAT, "model": ""}, {}, 400),
        ({**CHAT, "model": 7}, {}, 400),
        ({**CHAT, "messages": "hi"}, {}, 400),
        ({**CHAT, "stream": "true"}, {}, 400),
        (CHAT, {"content_type": "text/plain"}, 415),
        (CHAT, {"content_type": None}, 415),
        (CHAT, {"content_type": "application/json; charset=utf-16"}, 415),
        (CHAT, {"headers": {"content-encoding": "gzip"}}, 415),
        ({**CHAT, "x": "y" * 3_000}, {"overlay": {"sizes.body_bytes": 2_000}}, 413),
        (CHAT, {"headers": {"content-length": "99999999999999999999"}}, 413),
    ],
)
def test_bad_input_is_refused(body: Any, options: dict[str, Any], status: int) -> None:
    heard, gateway = ask(MANAGED_CHAT, body, **options)
    type_ = "request_too_large" if status == 413 else "invalid_request_error"
    assert_refused(heard, gateway, status, type_)
    assert heard.headers["x-hypereal-managed-governor"] == "active"
    assert not any(name.startswith("x-hypereal-managed-model") for name in heard.headers)


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (b'{"model": "gpt-5-5", "messages": ' + b"[" * 127 + b"]" * 127 + b"}", {}),
        ({**CHAT, "x": "[" * 500}, {}),
        (CHAT, {"content_type": "application/json; charset=UTF-8"}),
        (CHAT, {"content_type": "application/vnd.x+json"}),
        ({**CHAT, "tools": [], "x_unknown": {"a": [None]}}, {}),
    ],
)
def test_odd_but_lawful_input_is_served(body: Any, options: dict[str, Any]) -> None:
    assert ask(MANAGED_CHAT, body, **options)[0].status == 200


def test_a_body_past_the_limit_is_not_read_to_its_end() -> None:
    async def test(gateway: Bench) -> int:
        asked = 0

        async def receive() -> dict[str, Any]:
            nonlocal asked
            asked += 1
            return {"type": "http.request", "body": b"x" * 1_000, "more_body": True}

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        statuses: list[int | None] = []
        headers = [(b"authorization", f"Bearer {SECRET}".encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": MANAGED_CHAT, "headers": headers}
        await gateway.app(scope, receive, send)
        assert statuses[0] == 413
        return asked

    assert bench(test, Upstreams(primary=ok(chat_answer())), overlay={"sizes.body_bytes": 10_000}) == 11


def test_more_images_than_any_window_takes_are_no_matter_of_waiting() -> None:
    path, body, overlay = "/v1/managed/images/generations", {"model": "gpt-image-2", "prompt": "x"}, {"image.images": 3}
    heard, gateway = ask(path, {**body, "n": 4}, overlay=overlay)
    assert_refused(heard, gateway, 400, "invalid_request_error")
    assert "n must be at most 3" in heard.error["message"]
    heard, _ = ask(path, {**body, "n": 3}, overlay=overlay, answer={"created": 1, "data": [{"url": "https://a"}] * 3})
    assert heard.status == 200


# Models and paths.


@pytest.mark.parametrize(
    ("path", "model", "code", "names"),
    [
        (MANAGED_CHAT, "gpt-9", "unknown_model", ""),
        (MANAGED_CHAT, "gpt-5", "unknown_model", "/api/v1/chat/completions"),
        (MANAGED_MESSAGES, "gpt-5-5", "wrong_endpoint", "/v1/managed/chat/completions"),
        (MANAGED_CHAT, "gpt-image-2", "wrong_endpoint", "/v1/managed/images/generations"),
        (GENERAL_CHAT, "claude-sonnet-4-6", "wrong_endpoint", "/api/v1/messages"),
        ("/api/v1/responses", "claude-sonnet-4-6", "wrong_endpoint", "/api/v1/messages"),
        ("/v1/messages", "gpt-5", "wrong_endpoint", "/api/v1/chat/completions"),
        ("/v1/messages", "gpt-5-5", "wrong_endpoint", "/v1/managed/chat/completions"),
        ("/api/v1/messages", "gpt-5", "wrong_endpoint", "/api/v1/chat/completions"),
        ("/api/v1/messages", "claude-sonnet-4-7", "unknown_model", "/v1/managed/messages"),
        ("/api/v1/v1/messages", "claude-sonnet-4-7", "unknown_model", "/v1/managed/messages"),
        (GENERAL_CHAT, "gpt-5-5", "unknown_model", "/v1/managed/chat/completions"),
        (GENERAL_CHAT, "flux-2-pro", "wrong_endpoint", "/api/v1/images/generations"),
        ("/v1/codex/responses", "gpt-5", "wrong_endpoint", "/api/v1/chat/completions"),
    ],
)
def test_a_model_out_of_place_is_told_its_place(path: str, model: str, code: str, names: str) -> None:
    heard, gateway = ask(path, {**CHAT, "model": model, "input": "hi"})
    assert_refused(heard, gateway, 400, "invalid_request_error")
    assert heard.error["code"] == code
    assert names in heard.error["message"]
    if code == "unknown_model":
        available = heard.error["available_models"]
        tier = "enterprise" if path.startswith("/v1/managed") else "general"
        surface = "chat" if "chat" in path else "messages" if "messages" in path else "responses"
        wanted = [
            m.id
            for m in gateway.contract.models
            if m.tier == tier and surface in m.surfaces and (surface == "messages" or not m.cli_only)
        ]
        assert sorted(available) == sorted(wanted) != []


def test_a_strangers_model_id_gets_into_no_book_as_it_is() -> None:
    heard, gateway = ask(MANAGED_CHAT, {**CHAT, "model": "x\n" + "y" * 500})
    assert heard.status == 400
    assert len(gateway.row()["model"]) <= 131
    assert "\n" not in gateway.row()["model"]


@pytest.mark.parametrize(
    ("path", "model", "tier"),
    [
        ("/v1/messages", "claude-sonnet-4-7", "enterprise"),
        ("/v1/messages", "claude-sonnet-4-6", "general"),
        ("/v1/messages", "claude-3-5-haiku-20241022", "general"),
        ("/api/v1/messages", "claude-sonnet-4-6", "general"),
        ("/api/v1/v1/messages", "claude-sonnet-4-6", "general"),
        (MANAGED_MESSAGES, "claude-sonnet-4-7", "enterprise"),
        ("/v1/messages?beta=true", "claude-sonnet-4-7", "enterprise"),
    ],
)
def test_the_model_decides_whose_rules_hold_at_the_root(path: str, model: str, tier: str) -> None:
    heard, gateway = ask(path, {**MESSAGE, "model": model}, answer=message_answer())
    assert heard.status == 200
    assert heard.json["model"] == model
    assert ("hypereal" in heard.json) == (tier == "enterprise")
    assert any(name.startswith("x-hypereal") for name in heard.headers) == (tier == "enterprise")
    (attempt,) = gateway.upstreams.attempts
    assert attempt.request.url.path == "/run/primary/anthropic/v1/messages"
    assert attempt.request.url.query == (b"beta=true" if "?" in path else b"")
    assert attempt.request.headers["x-api-key"] == "up-primary-xyz"
    assert "authorization" not in attempt.request.headers
    named = gateway.parts.catalogue.find(call_endpoints()[path.partition("?")[0]], model)
    assert attempt.body["model"] == named.chain[0].upstream_model


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/v1/chat/completions", {**CHAT, "model": "gpt-5"}, chat_answer()),
        ("/api/v1/chat/completions", {**CHAT, "model": "gpt-5"}, chat_answer()),
        ("/v1/responses", {**RESPONSE, "model": "gpt-5-codex"}, response_answer()),
        ("/api/v1/responses", {**RESPONSE, "model": "gpt-5-codex"}, response_answer()),
        ("/v1/codex/responses", {**RESPONSE, "model": "gpt-5-codex"}, response_answer()),
        ("/api/v1/codex/responses", {**RESPONSE, "model": "gpt-5-codex"}, response_answer()),
    ],
)
@pytest.mark.parametrize("host", ["api.hypereal.cloud", "hypereal.build", "localhost:1"])
def test_every_general_path_is_served_whatever_the_host(path: str, body: Any, answer: Any, host: str) -> None:
    heard, gateway = ask(path, body, answer=answer, headers={"host": host})
    assert (heard.status, heard.json["model"]) == (200, body["model"])
    assert "hypereal" not in heard.json
    assert not any(name.startswith("x-hypereal") for name in heard.headers)
    assert gateway.kinds() == ["hold", "post"]


def test_all_but_the_lawful_differences_reaches_the_upstream() -> None:
    body = {
        **MESSAGE,
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "tool_result", "x": 1}]},
        ],
        "tools": [],
        "thinking": {"type": "enabled", "budget_tokens": 9_000},
        "wide": 9007199254740993,
        "hypereal": {"cache": False},
    }
    headers = {
        "anthropic-version": "2099-01-01",
        "anthropic-beta": "a,b",
        "user-agent": "agent/1",
        "x-claude-code-session-id": "s",
        "connection": "keep-alive, x-hop",
        "x-hop": "no",
        "proxy-authorization": "no",
        "te": "trailers",
        "x-hypereal-cache": "true",
        "x-session-id": "mine",
        "accept-encoding": "gzip",
        "x-client-request-id": "c7",
    }
    heard, gateway = ask(MANAGED_MESSAGES, body, answer=message_answer(), headers=headers)
    assert heard.status == 200
    (attempt,) = gateway.upstreams.attempts
    assert attempt.body == {**{k: v for k, v in body.items() if k != "hypereal"}, "model": "claude-sonnet-4-7:us-east"}
    sent = dict(attempt.request.headers)
    assert sent == {
        "anthropic-version": "2099-01-01",
        "anthropic-beta": "a,b",
        "user-agent": "agent/1",
        "x-claude-code-session-id": "s",
        "content-type": "application/json",
        "x-api-key": "up-primary-xyz",
        "host": "primary.upstream",
        "content-length": str(len(attempt.request.content)),
    }
    assert gateway.row()["call"] == "c7"


def test_an_anthropic_upstream_is_always_told_a_version() -> None:
    _, gateway = ask(MANAGED_MESSAGES, MESSAGE, answer=message_answer())
    assert gateway.upstreams.attempts[0].request.headers["anthropic-version"] == "2023-06-01"


# The CLI-only models.


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        (MANAGED_MESSAGES, MAX, CLI, 200),
        ("/v1/messages?beta=true", MAX, CLI, 200),
        (MANAGED_MESSAGES, MAX, {**CLI, "user-agent": "claude-cli/2.1.197 (external, sdk-cli)"}, 200),
        (MANAGED_MESSAGES, {**MAX, "metadata": {"user_id": '{"session_id": "s-1"}'}}, CLI, 200),
        (MANAGED_MESSAGES, {**MAX, "metadata": {"user_id": '{"session_id": "s-2"}'}}, CLI, 403),
        (MANAGED_MESSAGES, {**MAX, "metadata": {"user_id": "just a name"}}, CLI, 200),
        (MANAGED_MESSAGES, MAX, {}, 403),
        (MANAGED_MESSAGES, MAX, {**CLI, "user-agent": "Anthropic/Python 2.11.0"}, 403),
        (MANAGED_MESSAGES, MAX, {**CLI, "user-agent": "my claude-cli/2"}, 403),
        (MANAGED_MESSAGES, MAX, {**CLI, "x-app": "web"}, 403),
        (MANAGED_MESSAGES, MAX, {**CLI, "anthropic-beta": "interleaved-thinking-2025-05-14"}, 403),
        (MANAGED_MESSAGES, MAX, {**CLI, "x-claude-code-session-id": ""}, 403),
        (MANAGED_CHAT, {**CHAT, "model": "claude-opus-4-7-max"}, CLI, 403),
        (MANAGED_RESPONSES, {**RESPONSE, "model": "claude-opus-4-7-max"}, CLI, 403),
        (f"{MANAGED_MESSAGES}/count_tokens", MAX, {}, 403),
        (MANAGED_CHAT, {**CHAT, "model": "qwen3-7-max"}, {}, 200),
        (MANAGED_MESSAGES, {**MAX, "max_tokens": "x"}, {}, 400),
        ("/api/v1/messages", MAX, {}, 400),
    ],
)
def test_the_max_models_are_for_the_official_client(path: str, body: Any, headers: dict[str, str], status: int) -> None:
    async def test(gateway: Bench) -> None:
        heard = await gateway.ask(path, body, headers=headers)
        assert heard.status == status
        assert len(gateway.upstreams.attempts) == (status == 200)
        if status == 403:
            assert heard.error["type"] == "permission_error"
            assert heard.error["code"] == "cli_only"
        # Suspended is the key, for every later call; nobody else is, and after a 400 nobody at all.
        later = await gateway.ask(MANAGED_CHAT, CHAT)
        assert later.status == (403 if status == 403 else 200)
        assert (await gateway.ask(MANAGED_CHAT, CHAT, secret=OTHER_SECRET)).status == 200
        assert {entry["kind"] for entry in gateway.entries("alice")} <= {"opening", "hold", "post"}

    answer = message_answer() if "messages" in path else response_answer() if "responses" in path else chat_answer()
    bench(test, Upstreams(primary=[ok(answer), ok(chat_answer())] if status == 200 else ok(chat_answer())))


# Precedence.

_UNKNOWN = {"secret": "ck_nobody"}
_SUSPENDED = {"secret": "ck_suspended_key"}
_POOR = {"credits": 0}


@pytest.mark.parametrize(
    ("path", "body", "options", "status"),
    [
        (MANAGED_CHAT, b"{", _UNKNOWN, 401),
        (MANAGED_CHAT, b"{", _SUSPENDED, 403),
        (MANAGED_CHAT, {**CHAT, "model": "gpt-9"}, _SUSPENDED, 403),
        (MANAGED_CHAT, b"{", _POOR, 400),
        (MANAGED_MESSAGES, {**CHAT, "model": "gpt-5-5"}, _POOR, 400),
        (MANAGED_MESSAGES, {**MAX, "stream": 1}, _POOR, 400),
        (MANAGED_MESSAGES, MAX, _POOR, 403),
        (MANAGED_CHAT, CHAT, _POOR, 402),
        (MANAGED_CHAT, CHAT, {**_POOR, "overlay": {"text.tokens": 1}}, 402),
        (MANAGED_CHAT, CHAT, {"overlay": {"text.tokens": 1}}, 429),
    ],
)
def test_of_several_flaws_the_first_wins(path: str, body: Any, options: dict[str, Any], status: int) -> None:
    heard, gateway = ask(path, body, **options)
    assert heard.status == status
    assert gateway.upstreams.attempts == []
