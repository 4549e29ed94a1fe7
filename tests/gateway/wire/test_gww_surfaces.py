"""The surfaces' codecs by themselves: what an event is, how a model is renamed, what a stream gathers to."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from gww_bench import (
    CHAT,
    MESSAGE,
    RESPONSE,
    chat_answer,
    chat_chunk,
    chat_events,
    chat_usage,
    data,
    message_answer,
    message_events,
    named,
    response_answer,
    response_events,
)

from harness.gateway.errors import Refusal
from harness.gateway.sse import Event, EventReader
from harness.gateway.surfaces import Chat, CountTokens, Images, Messages, Responses, Surface
from harness.gateway.surfaces.base import Declined, Malformed, StreamState, encode

IMAGE = {"model": "gpt-image-2", "prompt": "a cat"}


def event_of(stream: bytes) -> Event:
    (event,) = EventReader().feed(stream)
    return event


def delta(**fields: Any) -> bytes:
    return data(chat_chunk(choices=[{"index": 0, "delta": fields, "finish_reason": None}]))


def block(type_: str, **fields: Any) -> bytes:
    return named({"type": "content_block_delta", "index": 0, "delta": {"type": type_, **fields}})


KINDS: list[tuple[Surface, str, bytes]] = [
    (Chat(), "preamble", data(chat_chunk())),
    (Chat(), "preamble", data(chat_chunk(choices=[]))),
    (Chat(), "content", data(chat_chunk("hi"))),
    (Chat(), "content", delta(tool_calls=[{"index": 0, "id": "t", "function": {"name": "f", "arguments": ""}}])),
    (Chat(), "content", delta(reasoning_content="hm")),
    (Chat(), "content", data(chat_chunk(finish="stop"))),
    (Chat(), "content", data(chat_chunk("hi", usage=chat_usage()))),
    (Chat(), "usage", data(chat_chunk(choices=[], usage=chat_usage()))),
    (Chat(), "usage", data(chat_chunk(finish="stop", usage=chat_usage()))),
    (Chat(), "terminal", data("[DONE]")),
    (Chat(), "error", data({"error": {"message": "no"}})),
    (Chat(), "noise", b"data:\n\n"),
    (Messages(), "preamble", message_events("a")[0]),
    (Messages(), "preamble", message_events("a")[1]),
    (Messages(), "content", message_events("a")[2]),
    (Messages(), "content", block("thinking_delta", thinking="hm")),
    (Messages(), "content", block("signature_delta", signature="s")),
    (Messages(), "content", block("input_json_delta", partial_json="{")),
    (Messages(), "preamble", block("input_json_delta", partial_json="")),
    (Messages(), "content", named({"type": "content_block_stop", "index": 0})),
    (Messages(), "usage", message_events("a")[-2]),
    (Messages(), "terminal", message_events("a")[-1]),
    (Messages(), "noise", named({"type": "ping"})),
    (Messages(), "error", named({"type": "error", "error": {"type": "overloaded_error", "message": "no"}})),
    (Messages(), "preamble", named({"type": "something_new"})),
    *((Responses(), "preamble", event) for event in response_events("a")[:3]),
    (Responses(), "content", response_events("a")[3]),
    (Responses(), "terminal", response_events("a")[-1]),
    (Responses(), "terminal", named({"type": "response.incomplete", "response": response_answer()})),
    (Responses(), "error", named({"type": "response.failed", "response": response_answer()})),
    (Responses(), "error", named({"type": "error", "code": "x", "message": "no"})),
    (Responses(), "noise", named({"type": "keepalive"})),
    (Responses(), "content", named({"type": "response.something.new"})),
]


@pytest.mark.parametrize(("surface", "kind", "stream"), KINDS)
def test_each_event_is_what_its_protocol_says(surface: Surface, kind: str, stream: bytes) -> None:
    assert surface.read(event_of(stream), StreamState("m")) == kind


@pytest.mark.parametrize(
    ("surface", "stream"),
    [
        (Chat(), b"data: {oops\n\n"),
        (Chat(), b"data: [1]\n\n"),
        (Chat(), data({"object": "chat.completion.chunk"})),
        (Chat(), data({"choices": {}})),
        (Chat(), data({"choices": [1]})),
        (Chat(), data({"choices": [{"index": 0}]})),
        (Chat(), b'data: {"choices": [], "x": "\xff"}\n\n'),
        (Messages(), b"event: message_start\ndata: {\n\n"),
        (Messages(), b"event: x\ndata: {}\n\n"),
        (Messages(), named({"type": "message_start"})),
        (Messages(), named({"type": "content_block_delta", "index": 0})),
        (Messages(), named({"type": "message_delta", "usage": {}})),
        (Responses(), b"data: nope\n\n"),
        (Responses(), data({"response": {}})),
        (Responses(), named({"type": "response.completed"})),
        (Responses(), named({"type": "response.created", "response": "x"})),
    ],
)
def test_an_event_of_the_wrong_shape_is_malformed(surface: Surface, stream: bytes) -> None:
    with pytest.raises(Malformed):
        surface.read(event_of(stream), StreamState("m"))


def test_a_stream_names_the_model_that_was_asked_for_and_changes_nothing_else() -> None:
    raw = (
        b'data: {"model":"up:east","choices":[{"delta":{"content":"the \\"model\\":\\"up:east\\" here"}}],"n":1.50}\n\n'
    )
    event = event_of(raw)
    Chat().read(event, StreamState("gpt-5-5"))
    assert event.raw == raw.replace(b'"model":"up:east",', b'"model":"gpt-5-5",', 1)


@pytest.mark.parametrize(
    "raw",
    [
        b'data: {"model": "up:east", "choices": []}\n\n',
        b'data: {"x":{"model":"up:east"},"model":"up:east","choices":[]}\n\n',
        b'data: {"x\\"model":"up:east","model": "up:east","choices":[]}\n\n',
        b'data: {"model":\ndata: "up:east",\ndata: "choices":[]}\n\n',
    ],
)
def test_where_the_models_place_is_not_certain_the_event_is_written_anew(raw: bytes) -> None:
    event = event_of(raw)
    before = orjson.loads(event.data)
    Chat().read(event, StreamState("gpt-5-5"))
    assert orjson.loads(event_of(event.raw).data) == {**before, "model": "gpt-5-5"}


def test_usage_of_a_messages_stream_is_cumulative_and_needs_its_final_figures() -> None:
    surface, state = Messages(), StreamState("m")
    start = {**message_answer(), "usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}}
    surface.read(event_of(named({"type": "message_start", "message": start})), state)
    assert state.usage is None
    for usage in ({"output_tokens": 5}, {"output_tokens": 9, "input_tokens": None}):
        surface.read(event_of(named({"type": "message_delta", "delta": {}, "usage": usage})), state)
    assert state.usage == {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 9}


def test_what_a_messages_stream_opens_with_is_no_output_count() -> None:
    surface, state = Messages(), StreamState("m")
    surface.read(event_of(message_events("a")[0]), state)
    surface.read(event_of(named({"type": "message_delta", "delta": {}, "usage": {"input_tokens": 8}})), state)
    assert state.usage == {"input_tokens": 8}


GATHERED: list[tuple[Surface, list[bytes], dict[str, Any]]] = [
    (Chat(), chat_events("a", "b"), chat_answer("ab")),
    (Messages(), message_events("a", "b"), message_answer("ab")),
    (Responses(), response_events("a", "b"), response_answer("ab")),
]


@pytest.mark.parametrize(("surface", "stream", "answer"), GATHERED)
def test_a_stream_gathers_to_the_answer_it_amounts_to(
    surface: Surface, stream: list[bytes], answer: dict[str, Any]
) -> None:
    state = StreamState(answer["model"])
    events = [event_of(raw) for raw in stream]
    for event in events:
        surface.read(event, state)
    assert surface.verify(surface.gather(events)) == answer
    assert state.usage == answer["usage"]


def test_chat_gathers_tool_calls_reasoning_and_several_choices() -> None:
    def part(index: int, **delta: Any) -> bytes:
        return data(chat_chunk(choices=[{"index": index, "delta": delta, "finish_reason": None}]))

    call = {"id": "call_1", "type": "function"}
    stream = [
        part(0, role="assistant", content=None, reasoning_content="h"),
        part(0, reasoning_content="m"),
        part(0, tool_calls=[{"index": 0, **call, "function": {"name": "f", "arguments": '{"a"'}}]),
        part(1, role="assistant", content="other"),
        part(0, tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}]),
        part(
            0, tool_calls=[{"index": 1, "id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}]
        ),
        data(chat_chunk(finish="tool_calls")),
    ]
    surface, events = Chat(), [event_of(raw) for raw in stream]
    for event in events:
        surface.read(event, StreamState("m"))
    first, second = surface.gather(events)["choices"]
    assert first["finish_reason"] == "tool_calls"
    assert first["message"]["reasoning_content"] == "hm"
    assert first["message"]["tool_calls"] == [
        {**call, "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    assert second["message"]["content"] == "other"


def test_messages_gather_thinking_tools_and_whole_blocks() -> None:
    stream: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message_answer(), "content": []}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "xyz"}},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        },
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    surface, events = Messages(), [event_of(named(value)) for value in stream]
    for event in events:
        surface.read(event, StreamState("m"))
    answer = surface.gather(events)
    assert answer["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
    ]
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("tool_use", 3)


@pytest.mark.parametrize(
    ("surface", "answer", "finding"),
    [
        (Chat(), [], Malformed),
        (Chat(), {}, Malformed),
        (Chat(), {"choices": [{}]}, Malformed),
        (Chat(), {"error": {"message": "no"}}, Declined),
        (Messages(), {"type": "message"}, Malformed),
        (Messages(), {"content": []}, Malformed),
        (Messages(), {"type": "error", "error": {}}, Declined),
        (Responses(), {"object": "response"}, Malformed),
        (Responses(), {"output": []}, Malformed),
        (Responses(), {**response_answer(), "error": {"code": "x"}}, Declined),
        (Responses(), {**response_answer(), "status": "failed"}, Declined),
        (CountTokens(), {"input_tokens": "7"}, Malformed),
        (CountTokens(), {"type": "error", "error": {"message": "no"}}, Declined),
        (Images(), [], Malformed),
        (Images(), {"created": 1}, Malformed),
        (Images(), {"created": 1, "data": []}, Malformed),
        (Images(), {"data": [{"url": "https://a"}, {"revised_prompt": "a cat"}]}, Malformed),
        (Images(), {"data": [{"b64_json": None}]}, Malformed),
        (Images(), {"data": ["AA=="]}, Malformed),
        (Images(), {"error": {"message": "no"}, "data": [{"url": "https://a"}]}, Declined),
    ],
)
def test_what_is_no_answer_is_told_apart(surface: Surface, answer: Any, finding: type[Exception]) -> None:
    with pytest.raises(finding):
        surface.verify(answer)


@pytest.mark.parametrize(
    ("surface", "body"),
    [
        (Chat(), {**CHAT, "messages": "hi"}),
        (Chat(), {"model": "gpt-5-5"}),
        (Chat(), {**CHAT, "stream": "yes"}),
        (Chat(), {**CHAT, "stream": 1}),
        (Chat(), {**CHAT, "max_tokens": 0}),
        (Chat(), {**CHAT, "max_tokens": -1}),
        (Chat(), {**CHAT, "max_tokens": True}),
        (Chat(), {**CHAT, "max_completion_tokens": 1.5}),
        (Chat(), {**CHAT, "stream_options": []}),
        (Messages(), {**MESSAGE, "messages": {}}),
        (Messages(), {**MESSAGE, "max_tokens": "100"}),
        (CountTokens(), {"model": "claude-sonnet-4-7"}),
        (Responses(), {**RESPONSE, "input": 7}),
        (Responses(), {"model": "gpt-5-5"}),
        (Responses(), {**RESPONSE, "max_output_tokens": []}),
        (Images(), {"model": "gpt-image-2"}),
        (Images(), {**IMAGE, "prompt": ["a cat"]}),
        (Images(), {**IMAGE, "stream": True}),
        (Images(), {**IMAGE, "stream": "yes"}),
        (Images(), {**IMAGE, "n": 0}),
        (Images(), {**IMAGE, "n": -1}),
        (Images(), {**IMAGE, "n": True}),
        (Images(), {**IMAGE, "n": 1.0}),
        (Images(), {**IMAGE, "n": "2"}),
    ],
)
def test_a_field_that_the_gateway_needs_must_have_its_type(surface: Surface, body: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=r"must be|missing") as refused:
        surface.check(body)
    assert refused.value.name == "bad_request"


@pytest.mark.parametrize(
    ("surface", "body", "tokens"),
    [
        (Chat(), {**CHAT, "stream": None, "max_tokens": None, "stream_options": None}, None),
        (Chat(), {**CHAT, "max_completion_tokens": 7}, 7),
        (Chat(), CHAT, 100),
        (Messages(), {**MESSAGE, "tools": [], "system": [], "unknown": {"deep": [1]}}, 100),
        (Responses(), RESPONSE, 100),
        (Responses(), {"model": "gpt-5-5", "prompt": {"id": "p"}}, None),
        (Images(), {**IMAGE, "n": None, "stream": False, "size": 7, "max_tokens": "any"}, None),
    ],
)
def test_everything_else_passes(surface: Surface, body: dict[str, Any], tokens: int | None) -> None:
    surface.check(body)
    assert surface.output_tokens(body) == tokens


@pytest.mark.parametrize(
    ("surface", "body", "asked"),
    [
        (Images(), {"n": 7}, 7),
        (Images(), {"n": None}, 1),
        (Images(), {}, 1),
        (Chat(), {**CHAT, "n": 7}, 1),
    ],
)
def test_images_are_counted_as_they_are_asked_for(surface: Surface, body: dict[str, Any], asked: int) -> None:
    assert surface.images_asked(body) == asked


def test_images_are_counted_as_they_came() -> None:
    assert Images().images_in({"data": [{"url": "https://a"}, {"b64_json": "AA=="}]}) == 2
    assert Chat().images_in(chat_answer("a picture")) == 1


def test_images_that_come_as_a_stream_are_no_answer() -> None:
    with pytest.raises(Malformed):
        Images().read(event_of(data({"type": "image_generation.completed"})), StreamState("m"))


def test_only_the_lawful_differences_are_made() -> None:
    body = {
        **CHAT,
        "hypereal": {"cache": "auto"},
        "wide": 18446744073709551615,
        "low": -9223372036854775808,
        "x": [1.5, None],
    }
    sent = orjson.loads(Chat().upstream_body(body, "gpt-5-5:us-east"))
    assert sent == {**{k: v for k, v in body.items() if k != "hypereal"}, "model": "gpt-5-5:us-east"}
    streamed = Chat().upstream_body({**body, "stream": True, "stream_options": {"x": 1, "include_usage": False}}, "m")
    assert orjson.loads(streamed)["stream_options"] == {"x": 1, "include_usage": True}
    assert "stream_options" not in orjson.loads(Responses().upstream_body({**RESPONSE, "stream": True}, "m"))


def test_an_answer_of_any_depth_can_be_written_again() -> None:
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    assert orjson.loads(encode({"deep": deep})) == {"deep": deep}
