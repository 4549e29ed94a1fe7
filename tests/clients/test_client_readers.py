"""What a client makes of an answer, on every surface: the normal form, whatever the chunks, whatever the damage."""

from __future__ import annotations

import hashlib
import random
from dataclasses import asdict
from typing import Any

import orjson
import pytest
from client_streams import (
    CHAT,
    CHAT_USAGE,
    CITATION,
    CUSTOM,
    FUNCTION,
    HYPEREAL,
    JSON,
    MESSAGE,
    MESSAGES,
    REASONING,
    RESPONSE,
    RESPONSES,
    RESPONSES_USAGE,
    RESPONSES_WHOLE,
    SSE,
    STREAMS,
    WHOLE,
    block,
    chunk,
    cut,
    delta,
    events,
    item,
    piece,
    read,
)
from hypothesis import given
from hypothesis import strategies as st

from harness.clients import reader_for
from harness.history import Reading
from harness.shape import problems

SURFACES = tuple(STREAMS)


def digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


TOOLS = ({"id": "call_1", "name": "look", "arguments": '{"at":"5"}'}, {"id": "call_2", "name": "go", "arguments": "{}"})
EXPECTED = {
    "chat": Reading(
        text="Grüße aus 東京 🗼",
        thinking="Hmm, ja.",
        tools=TOOLS,
        finish="tool_calls",
        usage=CHAT_USAGE,
        terminal=True,
        sequence="role reasoning*2 content*3 tool*4 finish usage done",
        model="gpt-5-5",
        items=digest(
            {
                "content": "Grüße aus 東京 🗼",
                "reasoning_content": "Hmm, ja.",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"5"}'}},
                    {"id": "call_2", "type": "function", "function": {"name": "go", "arguments": "{}"}},
                ],
            }
        ),
    ),
    "messages": Reading(
        text="Grüße 🗼",
        thinking="Hmm, ja.",
        signature="SIG==",
        tools=(
            {"id": "toolu_1", "name": "look", "arguments": '{"a":2,"b":1}'},
            {"id": "toolu_2", "name": "go", "arguments": "{}"},
        ),
        finish="tool_use",
        usage={
            "input_tokens": 20,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": None,
            "output_tokens": 17,
        },
        terminal=True,
        sequence="message_start content_block_start content_block_delta*3 content_block_stop content_block_start "
        "content_block_stop content_block_start content_block_delta*3 content_block_stop content_block_start "
        "content_block_delta*3 content_block_stop content_block_start content_block_stop message_delta message_stop",
        model="claude-opus-4-8",
        items=digest(
            [
                {"type": "thinking", "thinking": "Hmm, ja.", "signature": "SIG=="},
                {"type": "redacted_thinking", "data": "opaque"},
                {"type": "text", "text": "Grüße 🗼", "citations": [CITATION]},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 2, "b": 1}},
                {"type": "tool_use", "id": "toolu_2", "name": "go"},
            ]
        ),
    ),
    "responses": Reading(
        text="Grüße 🗼",
        thinking="Hmm, ja.",
        signature="ENC==",
        tools=(
            {"id": "call_1", "name": "look", "arguments": '{"at":"5"}'},
            {"id": "call_2", "name": "patch", "arguments": "diff"},
        ),
        finish="completed",
        usage=RESPONSES_USAGE,
        terminal=True,
        sequence="response.created response.in_progress response.output_item.added "
        "response.reasoning_summary_text.delta*2 response.output_item.done response.output_item.added "
        "response.content_part.added response.output_text.delta*2 response.output_text.done response.output_item.done "
        "response.output_item.added response.function_call_arguments.delta*2 response.output_item.done "
        "response.output_item.added response.output_item.done response.completed",
        model="gpt-5-5",
        items=digest([REASONING, MESSAGE, FUNCTION, CUSTOM]),
    ),
}
FIELDS = tuple(Reading.__dataclass_fields__)


def differing(one: Reading, other: Reading) -> dict[str, Any]:
    """Return the fields in which two readings differ: a failing test shows them and no more."""
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in FIELDS}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("surface", SURFACES)
def test_a_stream_reads_as_its_provider_meant_it(surface: str) -> None:
    reading, reader = read(surface, SSE, STREAMS[surface])
    assert differing(reading, EXPECTED[surface]) == {}
    assert (reader.notes, reader.malformed, reader.failed) == ([], 0, False)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_whole_answer_says_what_the_stream_says(surface: str) -> None:
    reading, reader = read(surface, JSON, orjson.dumps(WHOLE[surface]))
    assert set(differing(reading, EXPECTED[surface])) == {"sequence"}
    assert reading.sequence == "json"
    assert (reader.notes, reader.malformed, reader.failed) == ([], 0, False)


@given(
    st.sampled_from(SURFACES),
    st.lists(st.integers(1, 6000), max_size=40),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_neither_chunks_nor_line_ends_nor_a_byte_order_mark_change_a_reading(
    surface: str, cuts: list[int], end: str, bom: bool
) -> None:
    sent = STREAMS[surface].replace(b"\n", end.encode())
    reading, reader = read(surface, SSE, *cut(b"\xef\xbb\xbf" * bom + sent, cuts))
    assert differing(reading, EXPECTED[surface]) == {}
    assert len(reader.pings) == (surface != "responses")
    assert reader.claims == read(surface, SSE, STREAMS[surface])[1].claims


@pytest.mark.parametrize("surface", SURFACES)
def test_single_bytes_read_as_well(surface: str) -> None:
    sent = STREAMS[surface]
    assert differing(read(surface, SSE, *cut(sent, range(len(sent))))[0], EXPECTED[surface]) == {}
    body = orjson.dumps(WHOLE[surface])
    assert set(differing(read(surface, JSON, *cut(body, range(len(body))))[0], EXPECTED[surface])) == {"sequence"}


@pytest.mark.parametrize(
    ("surface", "where"), [("chat", "usage"), ("messages", "message_delta"), ("responses", "response.completed")]
)
def test_what_the_gateway_claims_is_kept_with_its_place(surface: str, where: str) -> None:
    assert read(surface, SSE, STREAMS[surface])[1].claims == {**HYPEREAL, "where": where}
    assert read(surface, JSON, orjson.dumps(WHOLE[surface]))[1].claims == {**HYPEREAL, "where": "json"}


@pytest.mark.parametrize(
    ("surface", "sent", "where"),
    [
        (
            "chat",
            events(chunk({"content": "x"}, hypereal={"a": 1}), chunk(usage={}, hypereal={"b": 2})),
            "content usage",
        ),
        (
            "messages",
            events(
                {"type": "message_start", "message": {"hypereal": {"a": 1}}}, {"type": "ping", "hypereal": {"b": 2}}
            ),
            "message_start ping",
        ),
        (
            "responses",
            events(
                {"type": "response.created", "sequence_number": 0, "response": {"hypereal": {"a": 1}}},
                {"type": "x", "hypereal": {"b": 2}},
            ),
            "response.created x",
        ),
    ],
)
def test_claims_in_several_places_are_all_told(surface: str, sent: bytes, where: str) -> None:
    assert read(surface, SSE, sent)[1].claims == {"a": 1, "b": 2, "where": where}


def test_a_claim_that_is_no_object_is_kept_as_it_is() -> None:
    assert read("chat", SSE, events(chunk(hypereal="yes")))[1].claims == {"hypereal": "yes", "where": "other"}


def test_the_gateways_own_members_are_no_part_of_a_reading() -> None:
    own = {"hypereal": {"cache": "hit"}}
    plain = {"role": "assistant", "content": "x", "extra": {"deep": [1]}}
    tagged = {**plain, **own, "extra": {"deep": [1], **own}}
    readings = [
        read("chat", JSON, orjson.dumps({"choices": [{"message": message}], "usage": {"total_tokens": 1, **more}}))[0]
        for message, more in ((plain, {}), (tagged, own))
    ]
    assert differing(*readings) == {}
    assert readings[0].items == digest({"content": "x", "extra": {"deep": [1]}})


# What counts as content, and when.


@pytest.mark.parametrize(
    ("surface", "before", "content"),
    [
        (
            "chat",
            [chunk({"role": "assistant", "content": ""}), ": ping\n\n", chunk({}), chunk(usage={})],
            chunk({"content": "x"}),
        ),
        ("chat", [chunk({"role": "assistant", "content": None})], chunk({"reasoning_content": "x"})),
        ("chat", [chunk({"role": "assistant"})], chunk({"reasoning": "x"})),
        (
            "chat",
            [chunk({"role": "assistant"})],
            chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}),
        ),
        ("chat", [chunk({"role": "assistant"})], chunk({"content": "x"}, finish="stop")),
        (
            "messages",
            [MESSAGES[0], {"type": "ping"}, block(0, type="text", text=""), delta(0, "text_delta", text="")],
            delta(0, "text_delta", text="x"),
        ),
        (
            "messages",
            [MESSAGES[0], block(0, type="thinking", thinking="", signature="")],
            delta(0, "thinking_delta", thinking="x"),
        ),
        ("messages", [MESSAGES[0]], block(0, type="tool_use", id="t", name="f", input={})),
        ("messages", [MESSAGES[0]], block(0, type="redacted_thinking", data="x")),
        ("responses", [*RESPONSES[:3], piece(0, "output_text", "")], piece(0, "output_text", "x")),
        ("responses", [*RESPONSES[:3]], piece(0, "reasoning_summary_text", "x")),
        ("responses", [*RESPONSES[:3]], piece(0, "refusal", "x")),
        ("responses", [*RESPONSES[:2]], item(0, "added", FUNCTION)),
        ("responses", [*RESPONSES[:2]], item(0, "done", MESSAGE)),
    ],
)
def test_the_first_content_is_the_first_that_says_something(surface: str, before: list[Any], content: Any) -> None:
    reader = read(surface, SSE, *(events(value) for value in before))[1]
    assert reader.first_content is None
    later = read(surface, SSE, *(events(value) for value in (*before, content, content)))[1]
    assert later.first_content == len(before) * 1000


@pytest.mark.parametrize("surface", SURFACES)
def test_the_content_of_a_whole_answer_is_there_with_its_last_byte(surface: str) -> None:
    body = orjson.dumps(WHOLE[surface])
    assert read(surface, JSON, body[:9], body[9:50], body[50:])[1].first_content == 2000
    assert read("chat", JSON, orjson.dumps({"choices": [{"message": {"content": ""}}]}))[1].first_content is None


def test_pings_and_comments_are_kept_with_their_instants() -> None:
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    for surface in SURFACES[:2]:
        reading, reader = read(surface, SSE, b": a\n\n", b": b\n\n: c\n\n", b"data: 5\n\n")
        assert reader.pings == [0, 1000, 1000]
        assert reading.sequence == "malformed"
    reading, reader = read("messages", SSE, ping, b": x\n\n", ping)
    assert (reader.pings, reading.sequence, reading.terminal) == ([0, 1000, 2000], "", False)


# How streams end, and how they break.

ERROR = {"type": "overloaded_error", "message": "too much", "code": "circuits_open", "available_models": ["a", "b"]}
ENVELOPE = {"type": "error", "error": ERROR, "request_id": "r1"}
FLAT = {"type": "error", "code": "overloaded_error", "message": "too much", "param": None, "sequence_number": 7}
FAILED = {
    "type": "response.failed",
    "sequence_number": 7,
    "response": {**RESPONSE, "status": "failed", "error": {"code": "overloaded_error", "message": "too much"}},
}


@pytest.mark.parametrize(
    ("surface", "event", "kind"),
    [
        ("chat", {"error": ERROR}, "error"),
        ("chat", ENVELOPE, "error"),
        ("messages", ENVELOPE, "error"),
        ("responses", FLAT, "error"),
        ("responses", FAILED, "response.failed"),
        ("raw", ENVELOPE, "error"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_an_error_event_is_read_in_each_surfaces_form(surface: str, event: Any, kind: str, named: bool) -> None:
    head = STREAMS.get(surface, b"")[:700].rpartition(b"\n\n")[0]
    sent = b"event: error\n" * named + events(event)
    reading, reader = read(surface, SSE, head + b"\n\n", sent)
    assert (reading.error_type, reading.error_message) == ("overloaded_error", "too much")
    assert reading.sequence.split()[-1] == (kind if named or surface != "messages" else "foreign_error")
    assert reader.failed
    assert not reading.terminal


@pytest.mark.parametrize(
    ("surface", "sent"),
    [("messages", events(ENVELOPE)), ("responses", b"event: error\n" + events(ENVELOPE))],
    ids=["without its name", "not flat"],
)
def test_an_error_event_in_anothers_form_is_an_error_and_foreign(surface: str, sent: bytes) -> None:
    reading, reader = read(surface, SSE, sent)
    assert (reading.sequence, reading.error_type, reader.failed) == ("foreign_error", "overloaded_error", True)


@pytest.mark.parametrize("surface", SURFACES)
def test_no_stream_with_an_error_in_it_is_whole(surface: str) -> None:
    error = {"error": ERROR} if surface == "chat" else ENVELOPE
    reading, reader = read(surface, SSE, events(error) + STREAMS[surface])
    assert reader.failed
    assert not reading.terminal
    assert reading.text == EXPECTED[surface].text


@pytest.mark.parametrize("surface", SURFACES)
def test_a_stream_without_its_last_event_is_not_terminal(surface: str) -> None:
    sent = STREAMS[surface]
    kept = sent[: sent[:-2].rfind(b"\n\n") + 2]
    reading, reader = read(surface, SSE, kept)
    assert not reading.terminal
    assert reader.notes == []
    reading, reader = read(surface, SSE, sent[:-1])
    assert not reading.terminal
    assert reader.notes == ["an unterminated event at the end"]
    assert read(surface, SSE, sent[:-1], clean=False)[1].notes == []


def test_an_incomplete_response_is_terminal() -> None:
    sent = events({"type": "response.incomplete", "response": {**RESPONSES_WHOLE, "status": "incomplete"}})
    reading = read("responses", SSE, sent)[0]
    assert (reading.terminal, reading.finish) == (True, "incomplete")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("bad", [b"data: {\n\n", b"data: 5\n\n", b"data: []\n\n", b"data: \n\n", b"data: {} {}\n\n"])
def test_an_event_that_is_no_object_is_malformed_and_says_nothing(surface: str, bad: bytes) -> None:
    sent = STREAMS[surface]
    middle = sent.index(b"\n\n", len(sent) // 2) + 2
    reading, reader = read(surface, SSE, sent[:middle], bad + bad, sent[middle:])
    assert set(differing(reading, EXPECTED[surface])) == {"sequence"}
    assert reading.sequence.split().count("malformed*2") == 1
    assert reader.notes == ["malformed events: 2"]


@pytest.mark.parametrize("surface", ["messages", "responses"])
def test_the_end_mark_of_chat_is_no_event_elsewhere(surface: str) -> None:
    assert read(surface, SSE, b"data: [DONE]\n\n")[0].sequence == "malformed"


def test_bytes_that_are_no_utf8_are_replaced_as_in_any_event_stream() -> None:
    sent = events(chunk({"content": "a?b"})).replace(b"?", b"\xff")
    assert read("chat", SSE, sent)[0].text == "a\ufffdb"


@pytest.mark.parametrize("surface", SURFACES)
def test_a_duplicated_event_counts_twice(surface: str) -> None:
    once = {"chat": events(CHAT[4]), "messages": events(MESSAGES[10]), "responses": events(RESPONSES[9])}[surface]
    reading = read(surface, SSE, once + once)[0]
    assert reading.text == "Grüße Grüße "
    assert reading.sequence.endswith("*2")


def test_members_that_are_null_say_nothing() -> None:
    sent = events(chunk({"content": "x", "tool_calls": None, "reasoning_content": None}, usage=None, error=None))
    reading, reader = read("chat", SSE, sent)
    assert (reading.sequence, reading.items, reader.malformed) == ("content", digest({"content": "x"}), 0)


def test_an_answer_that_carries_nothing_has_no_items() -> None:
    message = {
        "role": "assistant",
        "content": "",
        "refusal": None,
        "annotations": [],
        "audio": {},
        "hypereal": {"a": 1},
    }
    assert read("chat", JSON, orjson.dumps({"choices": [{"message": message}]}))[0].items == ""
    assert read("chat", SSE, events(chunk(message)))[0].items == ""


def test_several_data_lines_are_one_event() -> None:
    pretty = orjson.dumps(chunk({"content": "x"}), option=orjson.OPT_INDENT_2).splitlines()
    sent = b"".join(b"data: " + line + b"\n" for line in pretty) + b"\n"
    assert read("chat", SSE, sent)[0].sequence == "content"


def test_tool_calls_of_other_kinds_pass() -> None:
    custom = {"id": "call_1", "type": "custom", "custom": {"name": "patch", "input": "diff"}}
    tool = {"id": "call_1", "name": "patch", "arguments": "diff"}
    streamed = read("chat", SSE, events(chunk({"tool_calls": [{"index": 0, **custom}]})))[0]
    whole = read("chat", JSON, orjson.dumps({"choices": [{"message": {"role": "assistant", "tool_calls": [custom]}}]}))[
        0
    ]
    assert streamed.tools == whole.tools == (tool,)
    assert streamed.items == whole.items == digest({"tool_calls": [custom]})


def test_tool_input_that_is_no_json_stays_as_it_came() -> None:
    sent = events(
        block(0, type="tool_use", id="t", name="f", input={}), delta(0, "input_json_delta", partial_json='{"a":')
    )
    reading = read("messages", SSE, sent)[0]
    assert reading.tools == ({"id": "t", "name": "f", "arguments": '{"a":'},)
    assert reading.items == digest([{"type": "tool_use", "id": "t", "name": "f", "input": '{"a":'}])


def test_deltas_of_an_unknown_kind_are_kept_in_their_block() -> None:
    sent = events(block(0, type="new", note="a"), delta(0, "new_delta", note="b", level=2**63))
    assert read("messages", SSE, sent)[0].items == digest([{"type": "new", "note": "ab", "level": 2**63}])


def test_arguments_without_fragments_are_those_of_the_finished_item() -> None:
    reading = read("responses", SSE, events(item(0, "done", FUNCTION)))[0]
    assert reading.tools == ({"id": "call_1", "name": "look", "arguments": '{"at":"5"}'},)


# Whole answers that are none, and errors.


@pytest.mark.parametrize("odd", [7, "x", [1], True])
@pytest.mark.parametrize("surface", SURFACES)
def test_what_is_of_the_wrong_type_is_no_part_of_a_reading(surface: str, odd: Any) -> None:
    whole = orjson.loads(orjson.dumps(WHOLE[surface]))
    whole["usage"] = odd
    where = {"chat": lambda: whole["choices"][0], "messages": lambda: whole, "responses": lambda: whole}[surface]()
    where[{"chat": "finish_reason", "messages": "stop_reason", "responses": "status"}[surface]] = odd
    reading, reader = read(surface, JSON, orjson.dumps(whole))
    assert (reading.usage, reader.notes) == (None, ["the usage is no object"])
    assert reading.finish == (odd if isinstance(odd, str) else None)
    assert not list(problems(orjson.loads(orjson.dumps(asdict(reading))), Reading, "reading"))


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({"billing": 7, "insurance": [3]}, {"billing": {}, "insurance": {}}),
        ({"billing": {"model": 1, "credits_charged": "5", "balance_before": None, "balance_after": 2.5}},
         {"billing": {"model": 1, "balance_after": 2.5}}),
    ],
)  # fmt: skip
def test_claims_that_are_no_numbers_were_not_told(told: dict[str, Any], kept: dict[str, Any]) -> None:
    body = orjson.dumps({"choices": [{"message": {}}], "hypereal": told})
    for reader in (read("chat", JSON, body)[1], read("chat", SSE, b"data: " + body + b"\n\n")[1]):
        assert {name: claim for name, claim in reader.claims.items() if name != "where"} == kept


@pytest.mark.parametrize("surface", [*SURFACES, "count_tokens", "models", "raw"])
def test_an_error_object_is_read_and_claimed(surface: str) -> None:
    reading, reader = read(surface, JSON, orjson.dumps(ENVELOPE))
    assert reading == Reading(sequence="json", error_type="overloaded_error", error_message="too much")
    assert reader.failed
    assert reader.claims == {"code": "circuits_open", "available_models": ["a", "b"], "envelope": "error"}


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ({"code": "c", "message": "m"}, "c", "m"),
        ({"type": 5, "message": None}, None, None),
        ({}, None, None),
        ("boom", None, "boom"),
        (17, None, None),
    ],
)
def test_errors_of_any_shape_are_errors(error: Any, kind: str | None, message: str | None) -> None:
    reading, reader = read("chat", JSON, orjson.dumps({"error": error}))
    assert (reading.error_type, reading.error_message, reading.terminal) == (kind, message, False)
    assert reader.failed


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (b"", "the body is empty"),
        (b"{", "the body is not a JSON object"),
        (b"[1]", "the body is not a JSON object"),
        (b"<html>", "the body is not a JSON object"),
    ],
)
def test_a_body_that_is_no_object_reads_as_nothing(body: bytes, note: str) -> None:
    reading, reader = read("chat", JSON, *([body] if body else []))
    assert reading == Reading()
    assert reader.notes == [note]


@pytest.mark.parametrize("surface", [*SURFACES, "models"])
def test_an_object_of_another_shape_is_noted(surface: str) -> None:
    reading, reader = read(surface, JSON, b'{"a": 1}')
    assert reading.sequence == "json"
    assert reader.malformed == 1
    assert reader.notes == ["the JSON body is not in the surface's shape"]


@pytest.mark.parametrize("content_type", ["text/html", "", "application/octet-stream"])
def test_another_content_type_is_the_empty_reading(content_type: str) -> None:
    reading, reader = read("chat", content_type, orjson.dumps(WHOLE["chat"]))
    assert reading == Reading()
    assert reader.notes == [f"content type {content_type or 'missing'}"]


def test_an_answer_is_read_for_what_it_is() -> None:
    assert read("chat", "Application/JSON;charset=utf-8", orjson.dumps(WHOLE["chat"]))[0].sequence == "json"
    assert read("chat", "application/problem+json", orjson.dumps(ENVELOPE))[0].error_type == "overloaded_error"
    assert read("responses", "TEXT/EVENT-STREAM", STREAMS["responses"])[0].terminal


def test_a_token_count_is_all_items() -> None:
    reading = read("count_tokens", JSON, b'{"input_tokens": 14, "hypereal": {"a": 1}, "x": null}')[0]
    assert reading == Reading(terminal=True, sequence="json", items=digest({"input_tokens": 14}))


def test_a_model_list_claims_its_ids() -> None:
    reader = read("models", JSON, b'{"object": "list", "data": [{"id": "b"}, {"id": "a"}]}')[1]
    assert reader.claims == {"models": ["b", "a"]}
    assert (reader.terminal, reader.first_content) == (True, None)


def test_a_raw_path_takes_any_body_that_ends_cleanly() -> None:
    assert read("raw", JSON, b'{"entries": []}')[0].terminal
    assert read("raw", "text/plain", b"hello")[0].terminal
    assert not read("raw", "text/plain", b"hel", clean=False)[0].terminal
    assert read("raw", SSE, events({"type": "a"}, {"object": "b"}, {}))[0].sequence == "a b other"
    assert not read("raw", SSE, events({"type": "a"}), clean=False)[0].terminal


def test_the_answer_to_a_head_has_no_body() -> None:
    reader = reader_for("chat", JSON, head_only=True)
    assert reader.finish(clean=True).terminal


# Nothing that a gateway can send makes a reader fail.

EVENTS = {"chat": CHAT, "messages": MESSAGES, "responses": RESPONSES}
MEMBERS = (
    "type",
    "index",
    "id",
    "name",
    "input",
    "text",
    "content",
    "function",
    "custom",
    "error",
    "usage",
    "hypereal",
)
ODD = (
    None,
    True,
    0,
    1,
    -1,
    2**63,
    1.5,
    "",
    "x",
    "message",
    "reasoning",
    "tool_use",
    "custom_tool_call",
    [],
    {},
    [[]],
    [None],
)


def damaged(value: Any, rng: random.Random) -> Any:
    """Return ``value`` with some of its members lost, and some replaced by what nobody expects there."""
    if rng.random() < 0.06:
        members = rng.sample(MEMBERS, 2)
        return rng.choice([*ODD, dict.fromkeys(members, rng.choice(ODD)), [{members[0]: rng.choice(ODD)}]])
    if isinstance(value, dict):
        return {name: damaged(member, rng) for name, member in value.items() if rng.random() > 0.03}
    return [damaged(member, rng) for member in value] if isinstance(value, list) else value


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("seed", range(20))
def test_no_damaged_answer_breaks_a_reader(surface: str, seed: int) -> None:
    rng = random.Random(f"{surface}/{seed}")
    for _ in range(40):
        values = [damaged(value, rng) for value in EVENTS[surface] if rng.random() > 0.3]
        sent = b"".join(b"data: " + orjson.dumps(value) + b"\n\n" for value in values)
        for content_type, body in ((SSE, sent), (JSON, orjson.dumps(damaged(WHOLE[surface], rng)))):
            reading, reader = read(surface, content_type, body)
            orjson.dumps([reading, reader.claims, reader.notes])


@given(st.sampled_from(SURFACES), st.binary(max_size=60), st.sampled_from([SSE, JSON]))
def test_no_bytes_break_a_reader(surface: str, data: bytes, content_type: str) -> None:
    reading, reader = read(surface, content_type, data)
    orjson.dumps([reading, reader.claims, reader.notes])


DEEP = b'"usage":{"a":' + b"[" * 600 + b"]" * 600 + b"}"
NESTED = {
    "chat": b'data: {"choices":[],%s}\n\n' % DEEP,
    "messages": b'data: {"type":"message_start","message":{%s}}\n\n' % DEEP,
    "responses": b'data: {"type":"response.completed","response":{%s}}\n\n' % DEEP,
}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("content_type", [SSE, JSON])
def test_nesting_past_what_can_be_written_is_noted(surface: str, content_type: str) -> None:
    whole = orjson.dumps({**WHOLE[surface], "usage": 1}).replace(b'"usage":1', DEEP)
    _, reader = read(surface, content_type, NESTED[surface] if content_type == SSE else whole)
    assert "the answer is nested too deeply to be recorded" in reader.notes
    assert reader.malformed == 1


# What a stream must have beside its content, or clients drop it.


def test_an_event_of_a_message_without_its_name_is_told() -> None:
    whole = read("messages", SSE, events(*MESSAGES, named=True))[0]
    bare = read("messages", SSE, events(*MESSAGES))[0]
    assert set(differing(whole, bare)) == {"sequence"}
    assert bare.sequence == f"unnamed*{len(MESSAGES) - 1}"  # all but the ping


def test_an_event_of_a_response_without_its_number_is_told() -> None:
    events_ = [value for value in RESPONSES if isinstance(value, dict)]
    del (bare := dict(events_[1]))["sequence_number"]
    reading = read("responses", SSE, events(events_[0], bare, *events_[2:]))[0]
    assert reading.sequence.split()[:3] == ["response.created", "unnumbered", "response.output_item.added"]


@pytest.mark.parametrize("output", [[], [REASONING], [MESSAGE, REASONING, FUNCTION, CUSTOM]])
def test_a_final_response_with_another_output_than_its_items_is_told(output: list[Any]) -> None:
    *before, last = [value for value in RESPONSES if isinstance(value, dict)]
    other = {**last, "response": {**last["response"], "output": output}}
    assert set(differing(read("responses", SSE, events(*before, other))[0], EXPECTED["responses"])) == {"items"}
    silent = {**last, "response": {name: v for name, v in last["response"].items() if name != "output"}}
    assert differing(read("responses", SSE, events(*before, silent))[0], EXPECTED["responses"]) == {}


def test_chunks_that_name_several_models_give_all_their_names() -> None:
    sent = events(chunk({"content": "a"}), chunk({"content": "b"}, model="other"), chunk({"content": "c"}))
    assert read("chat", SSE, sent)[0].model == "gpt-5-5 other"
