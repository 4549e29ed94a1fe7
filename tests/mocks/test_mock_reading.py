"""The normal form on answers written by hand: what docs/normal-form.md says, case by case."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest

from mock_upstreams.normal import blank
from mock_upstreams.reading import read_answer, sse_events

SSE = "text/event-stream"


def stream(*events: Any) -> bytes:
    """Return a stream; objects that have a type are named by it, and those of a response are numbered."""
    return b"".join(block(n, event) for n, event in enumerate(events))


def block(number: int, event: Any) -> bytes:
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    kind = event.get("type", "")
    numbered = {"sequence_number": number, **event} if kind.startswith("response.") else event
    return (f"event: {kind}\n" if kind else "").encode() + b"data: " + orjson.dumps(numbered) + b"\n\n"


def sha(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data:a\r\n\r\ndata: b\r\r", ["a", "b"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b": comment\n\ndata: a\n: c\ndata: b\n\n", ["a\nb"]),
        (b"event: x\n\nid: 1\n\nretry: 5\n\ndata\n\n", [""]),
        (b"data: a\n\ndata: cut", ["a"]),
        (b"data: a\n\ndata: no blank line\n", ["a"]),
        (b"data:  two spaces\n\n", [" two spaces"]),
        ("data: é€\n\n".encode(), ["é€"]),
    ],
)
def test_events_are_parsed_as_whatwg_says(body: bytes, data: list[str]) -> None:
    assert [told for _, told in sse_events(body)] == data


def test_a_chat_stream() -> None:
    body = stream(
        chunk({"role": "assistant", "content": "", "refusal": None}, hypereal={"x": 1}),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "a"}),
        chunk({"content": "b"}),
        chunk({"tool_calls": [{"index": 0, "id": "t0", "function": {"name": "f", "arguments": ""}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "t1", "function": {"name": "g", "arguments": "{}"}}]}),
        chunk({"tool_calls": [{"index": 0, "id": "other", "function": {"arguments": ":1}"}}]}),
        chunk({}, "tool_calls"),
        {"choices": [], "usage": {"total_tokens": 3}},
        "[DONE]",
    )
    calls = [
        {"id": "t0", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "t1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert read_answer("chat", SSE, body) == {
        **blank(),
        "text": "ab",
        "thinking": "hm",
        "tools": [
            {"id": "t0", "name": "f", "arguments": '{"x":1}'},
            {"id": "t1", "name": "g", "arguments": "{}"},
        ],
        "finish": "tool_calls",
        "usage": {"total_tokens": 3},
        "terminal": True,
        "sequence": "role reasoning content*2 tool*4 finish usage done",
        "model": "m",
        "items": sha({"content": "ab", "reasoning_content": "hm", "tool_calls": calls}),
    }


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("[DONE]", "done"),
        ("{broken", "malformed"),
        ("[1]", "malformed"),
        ({"error": {"message": "x"}}, "error"),
        (chunk({"content": "x"}, "stop"), "finish"),
        (chunk({"content": "x", "tool_calls": [{"index": 0}]}), "tool"),
        (chunk({"reasoning": "x", "content": "y"}), "reasoning"),
        (chunk({"role": "assistant", "content": "x"}), "content"),
        (chunk({}), "role"),
        ({"choices": [], "usage": {}}, "usage"),
        ({"choices": [], "usage": None}, "other"),
        ({}, "other"),
    ],
)
def test_the_kinds_of_chat_events(event: Any, kind: str) -> None:
    assert read_answer("chat", SSE, stream(event))["sequence"] == kind


def test_a_message_stream() -> None:
    body = stream(
        {
            "type": "message_start",
            "message": {"model": "m", "usage": {"input_tokens": 5, "output_tokens": 1, "x": None}},
        },
        {"type": "ping"},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "", "citations": None}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": {"n": 1}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "new_delta", "odd": "o", "list": [1]}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "new_delta", "odd": "p", "list": [2]}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        },
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"b": 2,'}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ' "a": 1}'}},
        {"type": "content_block_stop", "index": 2},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 9, "input_tokens": None},
        },
        {"type": "message_stop", "hypereal": {"billing": {}}},
    )
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "a", "citations": [{"n": 1}], "odd": "op", "list": [2]},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1, "b": 2}},
    ]
    block = "content_block_start content_block_delta{} content_block_stop"
    assert read_answer("messages", SSE, body) == {
        **blank(),
        "text": "a",
        "thinking": "hm",
        "signature": "s",
        "tools": [{"id": "t", "name": "f", "arguments": '{"a":1,"b":2}'}],
        "finish": "tool_use",
        "usage": {"input_tokens": 5, "output_tokens": 9, "x": None},
        "terminal": True,
        "sequence": " ".join(
            ["message_start", block.format("*2"), block.format("*4"), block.format("*2"), "message_delta message_stop"]
        ),
        "model": "m",
        "items": sha(blocks),
    }


def test_arguments_that_never_became_json_are_kept_as_they_are() -> None:
    body = stream(
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a": '}},
    )
    reading = read_answer("messages", SSE, body)
    assert reading["tools"] == [{"id": "t", "name": "f", "arguments": '{"a": '}]
    assert reading["items"] == sha([{"type": "tool_use", "id": "t", "name": "f", "input": '{"a": '}])


def test_a_responses_stream() -> None:
    call = {"type": "function_call", "call_id": "t", "name": "f", "arguments": '{"a":1}'}
    custom = {"type": "custom_tool_call", "call_id": "u", "name": "g", "input": "free"}
    odd = {"type": "odd_item", "payload": 1, "hypereal": 2, "none": None}
    reasoning = {"type": "reasoning", "summary": [], "encrypted_content": "secret"}
    output = [reasoning, call, custom, odd]
    done = {"status": "completed", "model": "m", "usage": {"total_tokens": 2}, "output": output}
    body = stream(
        {"type": "response.created", "response": {"model": "m", "status": "in_progress"}},
        {"type": "response.reasoning_summary_text.delta", "delta": "h"},
        {"type": "response.reasoning_text.delta", "delta": "m"},
        {"type": "response.output_item.done", "output_index": 0, "item": reasoning},
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": "response.output_item.added", "output_index": 2, "item": {**call, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"},
        {"type": "response.output_item.done", "output_index": 2, "item": call},
        {"type": "response.output_item.done", "output_index": 3, "item": custom},
        {"type": "response.output_item.done", "output_index": 4, "item": odd},
        {"type": "response.completed", "response": done},
    )
    reading = read_answer("responses", SSE, body)
    assert reading.pop("sequence").endswith("response.output_item.done*3 response.completed")
    del (expected := blank())["sequence"]
    assert reading == {
        **expected,
        "text": "a",
        "thinking": "hm",
        "signature": "secret",
        "tools": [
            {"id": "t", "name": "f", "arguments": '{"a":1}'},
            {"id": "u", "name": "g", "arguments": "free"},
        ],
        "finish": "completed",
        "usage": {"total_tokens": 2},
        "terminal": True,
        "model": "m",
        "items": sha(
            [{"type": "reasoning", "encrypted_content": "secret"}, call, custom, {"type": "odd_item", "payload": 1}]
        ),
    }


def test_a_final_response_with_another_output_than_its_items_reads_otherwise() -> None:
    item = {"type": "odd_item", "payload": 1}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    for output, items in (
        ([item], [item]),
        ([], [item, []]),
        ([{**item, "payload": 2}], [item, [{**item, "payload": 2}]]),
    ):
        ended = {"type": "response.completed", "response": {"status": "completed", "output": output}}
        assert read_answer("responses", SSE, stream(done, ended))["items"] == sha(items)


def test_events_without_name_or_number_are_told() -> None:
    stopped = {"type": "message_stop"}
    assert read_answer("messages", SSE, stream(stopped))["sequence"] == "message_stop"
    assert read_answer("messages", SSE, stream(orjson.dumps(stopped).decode()))["sequence"] == "unnamed"
    assert read_answer("messages", SSE, stream('{"type":"ping"}', "{oops"))["sequence"] == "malformed"
    begun = {"type": "response.created"}
    assert read_answer("responses", SSE, stream(begun))["sequence"] == "response.created"
    assert read_answer("responses", SSE, stream(orjson.dumps(begun).decode()))["sequence"] == "unnumbered"


@pytest.mark.parametrize(
    ("surface", "event", "error"),
    [
        ("chat", {"error": {"type": "server_error", "message": "x"}}, ("server_error", "x")),
        ("chat", {"error": {"code": "odd", "message": "x"}}, ("odd", "x")),
        (
            "messages",
            {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
            ("overloaded_error", "x"),
        ),
        ("responses", {"type": "error", "code": "odd", "message": "x"}, ("odd", "x")),
        ("responses", {"type": "error", "code": None, "message": "x"}, ("error", "x")),
        (
            "responses",
            {"type": "response.failed", "response": {"status": "failed", "error": {"code": "odd", "message": "x"}}},
            ("odd", "x"),
        ),
    ],
)
def test_errors_in_streams(surface: str, event: dict[str, Any], error: tuple[str, str]) -> None:
    reading = read_answer(surface, SSE, stream(event))
    assert (reading["error_type"], reading["error_message"]) == error
    assert reading["terminal"] is False


@pytest.mark.parametrize("surface", ["chat", "messages", "responses", "count_tokens"])
def test_errors_in_json(surface: str) -> None:
    body = orjson.dumps({"error": {"type": "t", "message": "x"}, "usage": {"total_tokens": 1}})
    expected = {**blank(), "error_type": "t", "error_message": "x", "sequence": "json"}
    assert read_answer(surface, "application/json", body) == expected


@pytest.mark.parametrize("surface", ["chat", "messages", "responses", "count_tokens"])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"cut": ', b"[]", b"data: {}\n\n"])
def test_what_cannot_be_read_says_nothing(surface: str, body: bytes) -> None:
    assert read_answer(surface, "application/json", body) == blank()


def test_an_incomplete_response_is_terminal() -> None:
    body = stream({"type": "response.incomplete", "response": {"status": "incomplete", "usage": {}}})
    reading = read_answer("responses", SSE, body)
    assert (reading["terminal"], reading["finish"]) == (True, "incomplete")
