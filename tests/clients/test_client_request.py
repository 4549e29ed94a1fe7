"""What goes over the wire for a planned call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clients import Request, Requests, build, path_of
from harness.clients.request import marker
from harness.contract import Contract, load_contract
from harness.scenario import Call, Reply, chat, count_tokens, messages, models, raw, responses

SECRET = "ck_0123456789abcdef"
QUIET = Reply(ttft_ms=0, gap_ms=0)
CONTRACT = load_contract()


def made(call: Call, secret: str = SECRET, contract: Contract = CONTRACT) -> Request:
    return build(call if call.id else replace(call, id="c1"), secret=secret, contract=contract)


def body_of(call: Call) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(made(call).body)
    return value


def header(call: Call, name: str) -> list[str]:
    return [value for key, value in made(call).headers if key.lower() == name]


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (chat("m"), "/v1/managed/chat/completions"),
        (chat("m", tier="general"), "/api/v1/chat/completions"),
        (messages("m"), "/v1/managed/messages"),
        (messages("m", tier="general"), "/api/v1/messages"),
        (responses("m"), "/v1/managed/responses"),
        (responses("m", tier="general"), "/api/v1/responses"),
        (count_tokens("m"), "/v1/managed/messages/count_tokens"),
        (count_tokens("m", tier="general"), "/api/v1/messages/count_tokens"),
        (models(), "/v1/managed/models"),
        (models(tier="general"), "/api/v1/models"),
        (models(path="/v1/models"), "/v1/models"),
        (messages("m", path="/v1/messages?beta=true"), "/v1/messages?beta=true"),
        (raw("/", method="HEAD"), "/"),
    ],
)
def test_a_call_asks_its_surfaces_path_unless_it_names_one(call: Call, path: str) -> None:
    assert path_of(call) == path
    request = made(call)
    assert (request.path, request.query) == (path.partition("?")[0], path.partition("?")[2])
    assert request.method == call.method


@pytest.mark.parametrize("call", [Call("chatt", "m"), raw(""), raw("v1/messages"), chat("m", tier="gold")])
def test_a_call_without_a_path_is_refused(call: Call) -> None:
    with pytest.raises(ValueError, match="no path"):
        made(call)


@pytest.mark.parametrize(
    ("reply", "marker"),
    [
        (QUIET, "[call:c1]"),
        (Reply(), "[call:c1 ttft=0.05 gap=0.005]"),
        (Reply(50, ttft_ms=89_999, gap_ms=0), "[call:c1 chunks=50 ttft=89.999]"),
        (Reply(1, ttft_ms=0.001, gap_ms=0), "[call:c1 chunks=1 ttft=0.000001]"),
        (replace(QUIET, input=10), "[call:c1 in=10 cached=0 written=0]"),
        (replace(QUIET, cached=7), "[call:c1 cached=7]"),
        (
            replace(QUIET, input=0, cached=2, written=3, output=4, reasoning=1, shape="tools"),
            "[call:c1 in=0 cached=2 written=3 out=4 reasoning=1 shape=tools]",
        ),
    ],
)
def test_the_marker_tells_what_differs_from_the_upstreams_defaults(reply: Reply, marker: str) -> None:
    sent = body_of(chat("m", prompt="Hi", reply=reply))
    assert sent["messages"] == [{"role": "user", "content": f"{marker} Hi"}]


@pytest.mark.parametrize("bad", ["c 1", "c]1", "", "c" * 129, "ç"])
def test_an_id_that_no_marker_can_carry_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="id"):
        build(replace(chat("m"), id=bad), secret=SECRET, contract=CONTRACT)


def test_chat_says_no_more_than_it_is_asked_to() -> None:
    assert set(body_of(chat("m"))) == {"model", "messages"}
    streamed = body_of(chat("m", stream=True, max_tokens=5))
    assert streamed.items() >= {"model": "m", "stream": True, "max_tokens": 5}.items()
    assert "stream_options" not in streamed


def test_responses_has_its_own_names() -> None:
    sent = body_of(responses("m", prompt="Hi", stream=True, max_tokens=5, reply=QUIET))
    assert sent == {"model": "m", "input": "[call:c1] Hi", "stream": True, "max_output_tokens": 5}


def test_messages_without_max_tokens_asks_for_what_a_gateway_would_reserve() -> None:
    known = next(model for model in CONTRACT.models if model.tier == "enterprise" and "messages" in model.surfaces)
    assert body_of(messages(known.id))["max_tokens"] == known.default_output_tokens
    general = next(model for model in CONTRACT.models if model.tier == "general" and "messages" in model.surfaces)
    assert body_of(messages(general.id, tier="general"))["max_tokens"] == general.default_output_tokens
    assert body_of(messages("claude-unheard-of"))["max_tokens"] > 0
    assert body_of(messages(known.id, max_tokens=3))["max_tokens"] == 3


def test_a_token_count_has_neither_stream_nor_max_tokens() -> None:
    assert set(body_of(count_tokens("m", stream=True, max_tokens=3))) == {"model", "messages"}


def test_fields_replace_add_and_leave_out() -> None:
    sent = body_of(chat("m", max_tokens=5, fields={"temperature": 0.5, "max_tokens": None, "model": ..., "n": 2**63}))
    assert sent.items() >= {"temperature": 0.5, "max_tokens": None, "n": 2**63}.items()
    assert "model" not in sent


TOOL_RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("Hi", "[call:c1] Hi"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "[call:c1] c"},
            ],
        ),
        (
            [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]},
                {"role": "system", "content": "s"},
            ],
            [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "[call:c1] a"}]},
                {"role": "system", "content": "s"},
            ],
        ),
        (
            [{"role": "user", "content": [TOOL_RESULT]}],
            [{"role": "user", "content": [{**TOOL_RESULT, "content": "[call:c1] ok"}]}],
        ),
        ([{"role": "system", "content": "s"}], [{"role": "system", "content": "[call:c1] s"}]),
        (
            [{"type": "function_call_output", "call_id": "f", "output": "42"}],
            [{"type": "function_call_output", "call_id": "f", "output": "[call:c1] 42"}],
        ),
        ([], []),
        ({}, {}),
        (5, 5),
        (None, None),
        ([1, None, {"role": "user"}], [1, None, {"role": "user"}]),
    ],
)
def test_the_marker_finds_the_last_user_text_of_a_given_prompt(given: Any, sent: Any) -> None:
    before = orjson.dumps(given)
    assert body_of(messages("m", fields={"messages": given}, reply=QUIET))["messages"] == sent
    assert body_of(responses("m", fields={"input": given}, reply=QUIET))["input"] == sent
    assert orjson.dumps(given) == before


def test_a_prompt_left_out_is_not_there() -> None:
    assert body_of(chat("m", fields={"messages": ...})) == {"model": "m"}


@given(
    st.integers(300, 5000),
    st.sampled_from([chat, messages, responses, count_tokens]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)
def test_a_padded_body_has_exactly_the_bytes_asked_for(size: int, make: Any, prompt: str) -> None:
    body = made(make("m", prompt=prompt, prompt_bytes=size)).body
    sent = orjson.loads(body)
    text = sent["input"] if make is responses else sent["messages"][0]["content"]
    assert len(body) == size
    assert text.startswith("[call:c1 ")
    assert text.endswith(prompt)


def test_a_padded_body_may_be_large() -> None:
    assert len(made(chat("m", prompt_bytes=3_000_001)).body) == 3_000_001


@pytest.mark.parametrize(
    "call",
    [
        chat("m", prompt_bytes=20),
        chat("m", prompt_bytes=1000, fields={"messages": []}),
        chat("m", prompt_bytes=1000, body=b"{}"),
    ],
)
def test_padding_that_cannot_be_done_is_refused(call: Call) -> None:
    with pytest.raises(ValueError, match=r"c1: .*(pad|prompt_bytes)"):
        made(call)


def test_a_given_body_goes_as_it_is() -> None:
    assert made(chat("m", body=b"\xff{")).body == b"\xff{"
    assert made(raw("/x", b"abc")).body == b"abc"
    assert made(models()).body == b""


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        ("bearer", [("authorization", f"Bearer {SECRET}")]),
        ("x-api-key", [("x-api-key", SECRET)]),
        ("anthropic-api-key", [("anthropic-api-key", SECRET)]),
        ("none", []),
        (("x-api-key", "bearer"), [("x-api-key", SECRET), ("authorization", f"Bearer {SECRET}")]),
    ],
)
def test_each_form_of_credential(auth: Any, sent: list[tuple[str, str]]) -> None:
    request = made(messages("m", auth=auth))
    assert [h for h in request.headers if h[0] in ("authorization", "x-api-key", "anthropic-api-key")] == sent
    assert request.credentials == ((SECRET,) if sent else ())


def test_a_literal_credential_stands_in_for_the_keys_own() -> None:
    assert header(chat("m", secret="sk-wrong"), "authorization") == ["Bearer sk-wrong"]
    assert header(chat("m", secret=""), "authorization") == ["Bearer "]
    assert made(chat("m", secret="")).credentials == ()


def test_disagreeing_credentials_are_both_known() -> None:
    request = made(chat("m", headers={"X-Api-Key": "ck_another"}))
    assert request.credentials == (SECRET, "ck_another")


def test_a_key_may_go_without_its_prefix() -> None:
    call = replace(chat("m", auth=("bearer", "x-api-key"), bare_key=True), id="c1")
    request = build(call, secret="ck_a", contract=CONTRACT)
    assert dict(request.headers)["authorization"] == "Bearer a"
    assert dict(request.headers)["x-api-key"] == "a"


def test_the_last_of_several_forms_may_carry_another_key() -> None:
    call = replace(chat("m", auth=("bearer", "x-api-key"), other_key="b-key"), id="c1")
    request = build(call, secret=SECRET, contract=CONTRACT, other_secret="ck_another")
    assert [h[1] for h in request.headers if h[0] in ("authorization", "x-api-key")] == [
        f"Bearer {SECRET}",
        "ck_another",
    ]
    assert request.credentials == (SECRET, "ck_another")
    alone = build(replace(call, auth="bearer"), secret=SECRET, contract=CONTRACT, other_secret="ck_another")
    assert alone.credentials == (SECRET,)


def test_a_request_shows_no_secret_when_printed() -> None:
    assert SECRET not in repr(made(chat("m")))


def test_every_request_names_its_call_and_its_client() -> None:
    for call in (chat("m"), models(), raw("/x")):
        assert header(call, "x-client-request-id") == ["c1"]
        assert header(call, "accept") == ["application/json"]
        assert header(call, "accept-encoding") == ["identity"]
        assert len(header(call, "user-agent")) == 1


@pytest.mark.parametrize(
    ("call", "version"),
    [(messages("m"), 1), (count_tokens("m"), 1), (chat("m"), 0), (responses("m"), 0), (models(), 0)],
)
def test_anthropic_paths_get_their_version(call: Call, version: int) -> None:
    assert len(header(call, "anthropic-version")) == version


def test_given_headers_replace_the_defaults_whatever_their_case() -> None:
    call = messages(
        "m", headers={"Anthropic-Version": "2026-10-21", "User-Agent": "claude-cli/2.1", "X-Session-Id": "s"}
    )
    assert header(call, "anthropic-version") == ["2026-10-21"]
    assert header(call, "user-agent") == ["claude-cli/2.1"]
    assert header(call, "x-session-id") == ["s"]


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        (chat("m"), ["application/json"]),
        (chat("m", content_type="text/plain"), ["text/plain"]),
        (chat("m", content_type=""), []),
        (models(), []),
        (raw("/", method="HEAD"), []),
    ],
)
def test_the_content_type_is_the_calls(call: Call, sent: list[str]) -> None:
    assert header(call, "content-type") == sent


def test_each_of_many_requests_of_a_kind_is_the_one_that_its_call_asks_for() -> None:
    requests = Requests(CONTRACT)
    calls = [
        chat("gpt-x", id=name, prompt_bytes=size, reply=reply, max_tokens=9)
        for name in ("s9", "s10", "s11")
        for size in (400, 500)
        for reply in (Reply(), Reply(input=7, output=2))
    ]
    for call in calls:
        request = requests.build(call, SECRET)
        body = orjson.loads(request.body)
        assert len(request.body) == call.prompt_bytes
        assert body["messages"][0]["content"].startswith(f"{marker(call)} lorem")
        assert request == made(call)
    with pytest.raises(ValueError, match="call s12: cannot pad to 10 bytes"):
        requests.build(replace(calls[0], id="s12", prompt_bytes=10), SECRET)
