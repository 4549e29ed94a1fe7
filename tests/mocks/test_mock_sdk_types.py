"""Answers, events and errors held against the official SDKs' own types, strictly: no coercion, no unknown member."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import anthropic.types as claude
import openai.types as models
import openai.types.chat as chat
import openai.types.responses as responses
import pydantic
import pytest
from mock_asgi import BILLED, PATHS, Link, ask, injection, request, run, start

from mock_upstreams.server import create_app

EXTRA = {
    "obfuscation": "members of deltas that the SDK does not type; OpenAI sends them to hide lengths",
    "store": "sent by OpenAI in every response object",
    "cached_tokens": "cache reads of an image's prompt, which have a price and no word of OpenAI's",
    "reasoning_content": "how compatible providers tell reasoning in chat completions",
}
SHAPES = ("text", "tools", "thinking", "structured", "mixed")
TOOLS = {
    "chat": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}],
    "responses": [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": True}],
    "messages": [{"name": "get_weather", "input_schema": {"type": "object"}}],
}


@cache
def event_types(union: Any) -> dict[str, Any]:
    """Return the members of a union of events by the ``type`` that each demands."""
    members: dict[str, Any] = {}
    for member in _members(union):
        members[member.model_fields["type"].annotation.__args__[0]] = member
    return members


def _members(union: Any) -> Iterator[Any]:
    for argument in getattr(union, "__args__", ()):
        if hasattr(argument, "model_fields"):
            yield argument
        else:
            yield from _members(argument)


def check(kind: Any, value: Any) -> None:
    """Validate ``value`` strictly as ``kind``, and see that nothing in it is unknown to ``kind``."""
    made = pydantic.TypeAdapter(kind).validate_python(value, strict=True)
    assert not list(_unknown(made)), list(_unknown(made))


def _unknown(value: Any, where: str = "") -> Iterator[str]:
    if isinstance(value, pydantic.BaseModel):
        yield from (f"{where}.{name}" for name in value.model_extra or {} if name not in EXTRA)
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{where}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _unknown(item, f"{where}[]")


def answer(surface: str, shape: str, *, stream: bool, **more: Any) -> Link:
    """Return the answer of an upstream to one call."""

    async def work() -> Link:
        directives = f"chunks=3 shape={shape} in=5 cached=6 written=7 out=8 reasoning=2"
        body = request(surface, directives, stream=stream, **more)
        return await ask(create_app(), f"/r/primary/{PATHS[surface]}", body)

    link: Link = run(work())
    assert link.status == 200
    return link


WHOLE = {"chat": chat.ChatCompletion, "responses": responses.Response, "messages": claude.Message}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("surface", BILLED)
def test_an_unstreamed_answer_is_of_the_sdks_type(surface: str, shape: str) -> None:
    check(WHOLE[surface], answer(surface, shape, stream=False, tools=TOOLS[surface]).json)


@pytest.mark.parametrize("shape", SHAPES)
def test_chat_chunks_are_of_the_sdks_type(shape: str) -> None:
    for event in answer("chat", shape, stream=True).events:
        check(chat.ChatCompletionChunk, event)


@pytest.mark.parametrize("shape", SHAPES)
def test_response_events_are_of_the_sdks_types(shape: str) -> None:
    known = event_types(responses.ResponseStreamEvent)
    for event in answer("responses", shape, stream=True, tools=TOOLS["responses"]).events:
        check(known[event["type"]], event)


@pytest.mark.parametrize("shape", SHAPES)
def test_message_events_are_of_the_sdks_types(shape: str) -> None:
    known = event_types(claude.RawMessageStreamEvent)
    for event in answer("messages", shape, stream=True).events:
        if event["type"] != "ping":
            check(known[event["type"]], event)


@pytest.mark.parametrize("asked", [{}, {"n": 2, "size": "1024x1536", "quality": "low"}, {"model": "dall-e-x"}])
def test_images_are_of_the_sdks_type(asked: dict[str, Any]) -> None:
    check(models.ImagesResponse, answer("images", "text", stream=False, **asked).json)


def test_counted_tokens_are_of_the_sdks_type() -> None:
    check(claude.MessageTokensCount, answer("count_tokens", "text", stream=False).json)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 504, 529])
def test_anthropic_errors_are_of_the_sdks_type(status: int) -> None:
    async def work() -> Link:
        app = create_app()
        await start(app, injections=[injection("respond", params={"status": status})])
        return await ask(app, f"/r/primary/{PATHS['messages']}", request("messages"))

    link: Link = run(work())
    assert link.status == status
    check(claude.ErrorResponse, link.json)


@pytest.mark.parametrize(("form", "kind"), [("error", "error"), ("failed", "response.failed")])
def test_errors_in_a_responses_stream_are_of_the_sdks_types(form: str, kind: str) -> None:
    async def work() -> Link:
        app = create_app()
        await start(app, injections=[injection("stream_error", params={"form": form})])
        return await ask(app, f"/r/primary/{PATHS['responses']}", request("responses", stream=True))

    event = run(work()).events[-1]
    assert event["type"] == kind
    check(event_types(responses.ResponseStreamEvent)[kind], event)
