"""Lawful answers of every surface and shape: the wire and the normal form agree, and every word is provable."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from mock_asgi import BILLED, PATHS, ask, journal, request, run

from mock_upstreams.answer import LARGE_NUMBER, SPACE
from mock_upstreams.marker import SHAPES
from mock_upstreams.normal import blank
from mock_upstreams.reading import read_answer
from mock_upstreams.schema import instance
from mock_upstreams.server import create_app


def served(surface: str, directives: str = "", *, stream: bool = False, role: str = "primary", **more: Any) -> Any:
    """Return (link, attempt) of one call."""

    async def work() -> Any:
        app = create_app()
        link = await ask(app, f"/r/{role}/{PATHS[surface]}", request(surface, directives, stream=stream, **more))
        return link, (await journal(app))[0][-1]

    return run(work())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", BILLED)
def test_what_the_bytes_say_is_what_the_journal_says(surface: str, stream: bool, shape: str) -> None:
    link, attempt = served(surface, f"chunks=3 shape={shape} in=10 cached=20 written=30 out=40", stream=stream)
    assert link.ended
    assert attempt["ended"] == "served"
    assert attempt["reading"] == link.reading(surface)
    assert attempt["reading"].keys() == blank().keys()
    assert attempt["reading"]["terminal"] is True
    assert attempt["reading"]["usage"] is not None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("surface", BILLED)
def test_a_stream_says_what_the_unstreamed_answer_says(surface: str, shape: str) -> None:
    whole, stream = (served(surface, f"shape={shape} in=9", stream=s)[1]["reading"] for s in (False, True))
    assert whole.pop("sequence") == "json"
    assert stream.pop("sequence") != "json"
    assert whole == stream


@pytest.mark.parametrize("surface", BILLED)
def test_text_is_distinct_per_upstream_and_call(surface: str) -> None:
    def text(role: str, call: str) -> str:
        return str(served(surface, role=role, call=call)[1]["reading"]["text"])

    assert text("primary", "c1").split() == [f"primary:c1:{n}" for n in range(4)]
    assert text("second", "c1").split() == [f"second:c1:{n}" for n in range(4)]
    assert text("primary", "c2").split() == [f"primary:c2:{n}" for n in range(4)]
    assert SPACE in text("primary", "c1")


def test_a_chat_stream_has_usage_only_if_asked() -> None:
    link, attempt = served("chat", stream=True)
    assert attempt["reading"]["sequence"] == "role content*4 finish usage done"
    assert link.events[-1]["choices"] == []
    assert all(event["usage"] is None for event in link.events[:-1])
    link, attempt = served("chat", stream=True, stream_options=None)
    assert attempt["reading"]["sequence"] == "role content*4 finish done"
    assert attempt["reading"]["usage"] is None
    assert not any("usage" in event for event in link.events)


def test_a_message_stream_keeps_the_protocols_order() -> None:
    link, attempt = served("messages", "chunks=2 shape=mixed", stream=True)
    block = "content_block_start content_block_delta{n} content_block_stop"
    blocks = [block.format(n="*3"), "content_block_start content_block_stop", block.format(n="*2")]
    tool = block.format(n="*3")
    assert attempt["reading"]["sequence"] == " ".join(
        ["message_start", *blocks, tool, tool, "message_delta message_stop"]
    )
    names = [line[7:] for line in link.body.decode().splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in link.events]
    assert names.count("ping") == 1


def test_a_message_stream_counts_up_to_its_usage() -> None:
    link, _ = served("messages", "in=5 cached=6 written=7 out=40", stream=True)
    begun, ended = link.events[0]["message"]["usage"], link.events[-2]["usage"]
    assert (begun["output_tokens"], ended["output_tokens"]) == (1, 40)
    for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        assert begun[name] == ended[name] > 0


def test_a_responses_stream_is_numbered_and_closes_what_it_opens() -> None:
    link, attempt = served("responses", "chunks=2 shape=mixed", stream=True)
    assert [event["sequence_number"] for event in link.events] == list(range(len(link.events)))
    types = [event["type"] for event in link.events]
    assert types[:2] == ["response.created", "response.in_progress"]
    assert types[-1] == "response.completed"
    assert types.count("response.output_item.added") == types.count("response.output_item.done") == 4
    assert attempt["reading"]["signature"] == "signature:primary:c1:1"


@pytest.mark.parametrize(
    ("surface", "usage"),
    [
        (
            "chat",
            {
                "prompt_tokens": 60,
                "completion_tokens": 40,
                "total_tokens": 100,
                "prompt_tokens_details.cached_tokens": 20,
            }
            | {"prompt_tokens_details.cache_write_tokens": 30, "completion_tokens_details.reasoning_tokens": 5},
        ),
        (
            "responses",
            {"input_tokens": 60, "output_tokens": 40, "total_tokens": 100, "input_tokens_details.cached_tokens": 20}
            | {"input_tokens_details.cache_write_tokens": 30, "output_tokens_details.reasoning_tokens": 5},
        ),
        (
            "messages",
            {"input_tokens": 10, "output_tokens": 40, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 30}
            | {"cache_creation.ephemeral_5m_input_tokens": 30, "output_tokens_details.thinking_tokens": 5},
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_usage_is_told_in_the_providers_own_shape(surface: str, usage: dict[str, int], stream: bool) -> None:
    told = served(surface, "in=10 cached=20 written=30 out=40 reasoning=5", stream=stream)[1]["reading"]["usage"]
    for path, count in usage.items():
        value: Any = told
        for step in path.split("."):
            value = value[step]
        assert value == count, path


@pytest.mark.parametrize("surface", BILLED)
def test_usage_that_nobody_told_follows_from_the_sizes(surface: str) -> None:
    body = request(surface, "chunks=7")
    usage = served(surface, "chunks=7")[1]["reading"]["usage"]
    size = -(-len(orjson.dumps(body)) // 4)
    assert usage.get("prompt_tokens", usage.get("input_tokens")) == size
    assert usage.get("completion_tokens", usage.get("output_tokens")) == 7


def test_count_tokens_counts_and_bills_nothing() -> None:
    link, attempt = served("count_tokens", "in=77")
    assert link.json == {"input_tokens": 77}
    assert attempt["reading"] == link.reading("count_tokens")
    assert (attempt["reading"]["usage"], attempt["reading"]["terminal"]) == (None, True)


TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
CLAUDE_TOOL = {"name": "get_weather", "input_schema": {"type": "object"}}
FLAT_TOOL = {"type": "function", "name": "get_weather", "parameters": {}}


@pytest.mark.parametrize(
    ("surface", "fields"),
    [
        ("chat", {"tools": [TOOL], "tool_choice": "required"}),
        ("chat", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}),
        ("responses", {"tools": [{"type": "web_search"}, FLAT_TOOL], "tool_choice": "required"}),
        ("messages", {"tools": [CLAUDE_TOOL], "tool_choice": {"type": "any"}}),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_tool_that_must_be_called_is_called_by_name(surface: str, fields: dict[str, Any], stream: bool) -> None:
    attempt = served(surface, "chunks=3", stream=stream, **fields)[1]
    tools = attempt["reading"]["tools"]
    assert [tool["name"] for tool in tools] == ["get_weather", "get_weather"]
    assert len({tool["id"] for tool in tools}) == 2
    for n, tool in enumerate(tools):
        assert orjson.loads(tool["arguments"]) == {"mark": f"primary:c1:{n}", "steps": [0, 1, 2]}
    assert attempt["reading"]["text"] == ""


def test_arguments_come_in_fragments() -> None:
    attempt = served("chat", "chunks=5 shape=tools", stream=True)[1]
    assert attempt["reading"]["sequence"] == "role tool*12 finish usage done"


@pytest.mark.parametrize(
    ("surface", "fields"),
    [
        ("chat", {"parallel_tool_calls": False}),
        ("responses", {"parallel_tool_calls": False}),
        ("messages", {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ],
)
def test_parallel_calls_can_be_forbidden(surface: str, fields: dict[str, Any]) -> None:
    assert len(served(surface, "shape=tools", **fields)[1]["reading"]["tools"]) == 1


def test_a_tools_result_is_answered_by_text() -> None:
    turns = [
        {"role": "user", "content": "[call:c1 shape=tools]"},
        {"role": "assistant", "tool_calls": []},
        {"role": "tool", "tool_call_id": "x", "content": "sunny"},
    ]
    reading = served("chat", messages=turns)[1]["reading"]
    assert (reading["tools"], reading["finish"]) == ([], "stop")
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "sunny"}]}
    reading = served("messages", messages=[{"role": "user", "content": "[call:c1 shape=mixed]"}, result])[1]["reading"]
    assert reading["tools"] == []
    assert reading["thinking"] != ""


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}},
        "child": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
}


@pytest.mark.parametrize(
    ("surface", "fields"),
    [
        ("chat", {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}),
        ("responses", {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}}),
        ("messages", {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_structured_output_fits_its_schema(surface: str, fields: dict[str, Any], stream: bool) -> None:
    value = orjson.loads(served(surface, stream=stream, **fields)[1]["reading"]["text"])
    assert value["name"].startswith("primary:c1:")
    assert isinstance(value["age"], int)
    assert value["tags"] == ["red"]
    assert value["child"]["tags"] == ["red"]


def test_any_json_object_will_do_without_a_schema() -> None:
    reading = served("chat", response_format={"type": "json_object"})[1]["reading"]
    assert orjson.loads(reading["text"])["answer"].startswith("primary:c1:0")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "array", "minItems": 10**12, "items": {"$ref": "#"}},
        {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}},
        {"type": {"no": "type"}, "enum": 7},
        {"properties": 7, "type": "object"},
        {"type": "integer", "minimum": "x"},
        {"allOf": [7, {"properties": {"a": {}}}]},
        {"anyOf": []},
        {"$ref": "#/$defs/nowhere"},
    ],
)
def test_a_hostile_schema_still_gets_an_answer_of_bounded_size(schema: dict[str, Any]) -> None:
    assert len(orjson.dumps(instance(schema, "m"))) < 100_000


def test_thinking_that_the_request_enables_is_signed() -> None:
    reading = served("messages", thinking={"type": "enabled", "budget_tokens": 99_999})[1]["reading"]
    assert reading["thinking"].startswith("primary:c1:thought:0")
    assert reading["signature"] == "signature:primary:c1:1"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("surface", BILLED)
def test_an_answer_may_hold_what_no_gateway_knows(surface: str, stream: bool) -> None:
    link, attempt = served(surface, "shape=unknown", stream=stream)
    assert str(LARGE_NUMBER).encode() in link.body
    assert attempt["reading"]["text"] != ""


def test_what_the_upstream_says_of_itself_is_never_the_gateways_addition() -> None:
    link, attempt = served("chat")
    value = {**link.json, "hypereal": {"billing": {}}}
    value["choices"][0]["message"]["hypereal"] = {"x": 1}
    assert read_answer("chat", "application/json", orjson.dumps(value)) == attempt["reading"]


def test_the_same_run_is_answered_with_the_same_bytes() -> None:
    assert (
        served("messages", "shape=mixed", stream=True)[0].body == served("messages", "shape=mixed", stream=True)[0].body
    )


@pytest.mark.parametrize(
    ("surface", "body", "status", "words"),
    [
        ("chat", {"messages": [{"role": "user"}]}, 400, "model"),
        ("chat", {"model": 7, "messages": [{"role": "user"}]}, 400, "model"),
        ("chat", {"model": "x"}, 400, "messages"),
        ("chat", {"model": "x", "messages": []}, 400, "messages"),
        ("chat", {"model": "x", "messages": ["hi"]}, 400, "messages[0].role"),
        ("chat", {"model": "x", "messages": [{"role": "user"}], "stream": "yes"}, 400, "stream"),
        ("responses", {"input": "hi"}, 400, "model"),
        ("responses", {"model": "x"}, 400, "input"),
        ("responses", {"model": "x", "input": 7}, 400, "input"),
        ("messages", {"model": "x", "messages": [{"role": "user"}]}, 400, "max_tokens"),
        ("messages", {"model": "x", "messages": [{"role": "user"}], "max_tokens": 0}, 400, "max_tokens"),
        ("messages", {"model": "x", "messages": [{"role": "user"}], "max_tokens": True}, 400, "max_tokens"),
        ("messages", {"model": "x", "max_tokens": 1}, 400, "messages"),
        ("messages", {"model": "x", "max_tokens": 1, "messages": [{}]}, 400, "messages.0.role"),
        ("count_tokens", {"model": "x"}, 400, "messages"),
        ("images", {"prompt": "a cat"}, 400, "model"),
        ("images", {"model": "x"}, 400, "prompt"),
        ("images", {"model": "x", "prompt": ["a cat"]}, 400, "prompt"),
        ("images", {"model": "x", "prompt": "a cat", "stream": True}, 400, "streamed"),
        ("images", {"model": "x", "prompt": "a cat", "n": 11}, 400, "1 to 10"),
        ("images", {"model": "x", "prompt": "a cat", "n": 0}, 400, "1 to 10"),
        ("images", {"model": "x", "prompt": "a cat", "n": True}, 400, "1 to 10"),
        ("images", {"model": "x", "prompt": "a cat", "response_format": "gif"}, 400, "gif"),
        ("images", {"model": "gpt-image-2", "prompt": "a cat", "response_format": "url"}, 400, "response_format"),
        ("chat", b"{nonsense", 400, "JSON"),
        ("messages", b"[1]", 400, "JSON"),
        ("chat", request("chat", "chunk=2"), 400, "near: chunks"),
    ],
)
def test_a_bad_request_is_refused_in_the_providers_shape(surface: str, body: Any, status: int, words: str) -> None:
    async def work() -> Any:
        app = create_app()
        return await ask(app, f"/r/primary/{PATHS[surface]}", body), (await journal(app))[0][0]

    link, attempt = run(work())
    assert link.status == status
    error = link.json["error"]
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert (link.json.get("type") == "error") == (surface in ("messages", "count_tokens"))
    assert (attempt["ended"], attempt["fault"], attempt["reading"]["terminal"]) == ("fault", "", False)
    assert attempt["reading"]["error_message"] == error["message"]
    assert words in attempt["detail"]


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize("headers", [(), ((b"authorization", b"Bearer "),), ((b"x-api-key", b""),)])
def test_a_missing_credential_is_a_401_in_the_providers_shape(surface: str, headers: Any) -> None:
    async def work() -> Any:
        return await ask(create_app(), f"/r/primary/{PATHS[surface]}", request(surface), headers=headers)

    link = run(work())
    assert link.status == 401
    kind = link.json["error"]["type"]
    assert kind == ("authentication_error" if surface in ("messages", "count_tokens") else "invalid_request_error")


def test_json_nested_too_deeply_is_a_400() -> None:
    body = b'{"model":"x","input":"hi","metadata":' + b"[" * 300 + b"]" * 300 + b"}"

    async def work() -> Any:
        return await ask(create_app(), f"/r/primary/{PATHS['responses']}", body)

    link = run(work())
    assert (link.status, link.json["error"]["type"]) == (400, "invalid_request_error")
