"""The official OpenAI and Anthropic SDKs against the served gateway over loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.local.served import Served, serving

pytestmark = pytest.mark.local

CHAT_MODEL = "gpt-5-5"
CLAUDE = "claude-sonnet-4-7"
SAY = [{"role": "user", "content": "[call:c1 chunks=3 shape=text] Say something."}]
TOOL = {
    "type": "function",
    "function": {"name": "find", "description": "Find.", "parameters": {"type": "object", "properties": {}}},
}
CLAUDE_TOOL = {"name": "find", "description": "Find.", "input_schema": {"type": "object", "properties": {}}}


def asked(shape: str, chunks: int = 3) -> list[Any]:
    return [{"role": "user", "content": f"[call:c1 chunks={chunks} shape={shape}] Go on."}]


@pytest.fixture
def chat(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=gateway.key, base_url=f"{gateway.url}/v1/managed", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(gateway: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key=gateway.key, base_url=gateway.url, max_retries=0) as client:
        yield client


WORDS = [f"primary:c1:{n}\u2002" for n in range(6)]
"""What a mock upstream answers to call c1, chunk by chunk."""
TEXT = "".join(WORDS[:3])


def test_chat_plain_with_the_bill_in_the_object(chat: openai.OpenAI) -> None:
    answer = chat.chat.completions.create(model=CHAT_MODEL, messages=asked("text"))
    assert answer.choices[0].message.content == TEXT
    assert answer.model == CHAT_MODEL
    assert answer.usage is not None
    hypereal = answer.model_extra["hypereal"]  # type: ignore[index] # extras are what is tested
    assert hypereal["billing"]["credits_charged"] >= 1
    assert hypereal["insurance"]["status"] in ("not_triggered", "paid")


def test_chat_streamed_with_usage_and_bill_in_the_last_chunk(chat: openai.OpenAI) -> None:
    chunks = list(chat.chat.completions.create(model=CHAT_MODEL, messages=asked("text"), stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert chunks[-1].usage is not None
    assert chunks[-1].model_extra["hypereal"]["billing"]["model"] == CHAT_MODEL  # type: ignore[index]


@pytest.mark.parametrize("stream", [False, True])
def test_chat_tools_come_back_with_ids_and_arguments(chat: openai.OpenAI, stream: bool) -> None:
    if not stream:
        answer = chat.chat.completions.create(model=CHAT_MODEL, messages=asked("tools"), tools=[TOOL])  # type: ignore[list-item]
        calls = answer.choices[0].message.tool_calls or []
        found = [(call.id, call.function.name, call.function.arguments) for call in calls]  # type: ignore[union-attr]
    else:
        parts: dict[int, list[str]] = {}
        for chunk in chat.chat.completions.create(
            model=CHAT_MODEL,
            messages=asked("tools"),
            tools=[TOOL],  # type: ignore[list-item]
            stream=True,
        ):
            for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                seen = parts.setdefault(call.index, ["", "", ""])
                seen[0] += call.id or ""
                seen[1] += (call.function and call.function.name) or ""
                seen[2] += (call.function and call.function.arguments) or ""
        found = [tuple(part) for part in parts.values()]  # type: ignore[misc]
    assert found
    for identifier, name, arguments in found:
        assert identifier
        assert name == "find"
        json.loads(arguments)


def test_responses_plain_and_streamed(chat: openai.OpenAI) -> None:
    answer = chat.responses.create(model=CHAT_MODEL, input=asked("text"))
    assert answer.output_text == TEXT
    assert answer.model_extra["hypereal"]["billing"]["credits_charged"] >= 1  # type: ignore[index]
    events = list(chat.responses.create(model=CHAT_MODEL, input=asked("text"), stream=True))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    assert events[-1].response.model_extra["hypereal"]["billing"]  # type: ignore[index,union-attr]


def test_the_responses_stream_helper_reaches_its_final_object(chat: openai.OpenAI) -> None:
    with chat.responses.stream(model=CHAT_MODEL, input=asked("text")) as stream:
        assert stream.get_final_response().output_text == TEXT


def test_messages_plain_with_the_bill_in_the_object(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(model=CLAUDE, max_tokens=64, messages=asked("text"))
    assert answer.content[0].text == TEXT  # type: ignore[union-attr]
    assert answer.model == CLAUDE
    assert answer.model_extra["hypereal"]["billing"]["credits_charged"] >= 1  # type: ignore[index]


def test_messages_stream_helper_sees_text_and_bill(claude: anthropic.Anthropic) -> None:
    bills = []
    with claude.messages.stream(model=CLAUDE, max_tokens=64, messages=asked("text")) as stream:
        for event in stream:
            if event.type == "message_delta":
                bills.append((event.model_extra or {}).get("hypereal"))
        final = stream.get_final_message()
    assert final.content[0].text == TEXT  # type: ignore[union-attr]
    assert final.stop_reason == "end_turn"
    assert bills[0]["billing"]["model"] == CLAUDE  # type: ignore[index]


@pytest.mark.parametrize("stream", [False, True])
def test_messages_thinking_and_signature_come_back(claude: anthropic.Anthropic, stream: bool) -> None:
    options: dict[str, Any] = {
        "model": CLAUDE,
        "max_tokens": 2_000,
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "messages": asked("thinking"),
    }
    if stream:
        with claude.messages.stream(**options) as running:
            final = running.get_final_message()
    else:
        final = claude.messages.create(**options)
    thought = next(block for block in final.content if block.type == "thinking")
    assert thought.thinking
    assert thought.signature


def test_messages_tools_come_back(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(model=CLAUDE, max_tokens=64, messages=asked("tools"), tools=[CLAUDE_TOOL]) as stream:  # type: ignore[list-item]
        final = stream.get_final_message()
    used = [block for block in final.content if block.type == "tool_use"]
    assert used
    assert used[0].id
    assert used[0].name == "find"
    assert isinstance(used[0].input, dict)


def test_images_with_the_bill_in_the_object(chat: openai.OpenAI) -> None:
    answer = chat.images.generate(model="gpt-image-2", prompt="[call:pictures] a cat", n=2, size="1024x1536")
    assert answer.data is not None
    assert answer.usage is not None
    assert len({image.b64_json for image in answer.data}) == 2
    assert answer.size == "1024x1536"
    assert answer.model_extra["hypereal"]["billing"]["model"] == "gpt-image-2"  # type: ignore[index]


def test_count_tokens(claude: anthropic.Anthropic) -> None:
    assert claude.messages.count_tokens(model=CLAUDE, messages=asked("text")).input_tokens > 0


def test_model_lists_in_both_shapes(chat: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    managed = {model.id for model in chat.models.list()}
    assert {CHAT_MODEL, CLAUDE} <= managed
    assert len(managed) == 16
    general = {model.id for model in claude.models.list()}
    assert "claude-sonnet-4-6" in general


@pytest.mark.parametrize("options", [{"model": "no-such-model"}, {"messages": "not a list"}])
def test_a_bad_request_is_a_bad_request_error(chat: openai.OpenAI, options: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        chat.chat.completions.create(**{"model": CHAT_MODEL, "messages": SAY, **options})
    assert raised.value.body["type"] == "invalid_request_error"  # type: ignore[index] # a body is what is tested


def test_a_cli_only_model_costs_an_sdk_its_key() -> None:
    with serving() as own, anthropic.Anthropic(api_key=own.key, base_url=own.url, max_retries=0) as claude:
        for model in ("claude-opus-4-7-max", CLAUDE):  # the second call only meets the suspended key
            with pytest.raises(anthropic.PermissionDeniedError):
                claude.messages.create(model=model, max_tokens=9, messages=SAY)  # type: ignore[arg-type] # plain dicts


def test_a_wrong_key_is_an_authentication_error(gateway: Served) -> None:
    wrong = openai.OpenAI(api_key="ck_wrong", base_url=f"{gateway.url}/v1/managed", max_retries=0)
    with wrong as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=CHAT_MODEL, messages=SAY)  # type: ignore[arg-type]
    wrong_too = anthropic.Anthropic(api_key="ck_wrong", base_url=gateway.url, max_retries=0)
    with wrong_too as claude, pytest.raises(anthropic.AuthenticationError):
        claude.messages.create(model=CLAUDE, max_tokens=9, messages=SAY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "openai_error", "anthropic_error"),
    [
        (429, openai.RateLimitError, anthropic.RateLimitError),
        (503, openai.InternalServerError, anthropic.InternalServerError),
        (401, openai.InternalServerError, anthropic.InternalServerError),
        (422, openai.UnprocessableEntityError, anthropic.UnprocessableEntityError),
    ],
)
def test_upstream_failures_have_their_class(
    chat: openai.OpenAI,
    claude: anthropic.Anthropic,
    gateway: Served,
    status: int,
    openai_error: type[Exception],
    anthropic_error: type[Exception],
) -> None:
    gateway.inject({"fault": {"name": "respond", "params": {"status": status}}})
    with pytest.raises(openai_error):
        chat.chat.completions.create(model="kimi-latest", messages=SAY)  # type: ignore[arg-type]
    with pytest.raises(anthropic_error):
        claude.messages.create(model="claude-haiku-latest", max_tokens=9, messages=SAY)  # type: ignore[arg-type]


def test_a_stream_cut_in_the_middle_raises_and_keeps_what_came(
    chat: openai.OpenAI, claude: anthropic.Anthropic, gateway: Served
) -> None:
    gateway.inject({"fault": {"name": "cut_after", "params": {"content": 2}}})
    stream = chat.chat.completions.create(model=CHAT_MODEL, messages=asked("text", 6), stream=True)
    with pytest.raises(openai.APIError):
        list(stream)
    seen = chat.chat.completions.create(model=CHAT_MODEL, messages=asked("text", 6), stream=True)
    assert "".join(_until_broken(seen)) == "".join(WORDS[:2])
    options: dict[str, Any] = {"model": CLAUDE, "max_tokens": 64, "messages": asked("text", 6)}
    with claude.messages.stream(**options) as running, pytest.raises(anthropic.APIError):
        running.get_final_message()


def _until_broken(stream: openai.Stream[Any]) -> Iterator[str]:
    """Yield a stream's text until it raises."""
    try:
        for chunk in stream:
            if chunk.choices:
                yield chunk.choices[0].delta.content or ""
    except openai.APIError:
        return
