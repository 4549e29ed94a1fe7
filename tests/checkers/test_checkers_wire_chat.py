"""The checkers of chat completions and of bodies on their way up: each clause seen to hold and seen to be broken."""

from __future__ import annotations

from dataclasses import replace

from harness.checkers.chat import (
    chat_answers_a_completion,
    streams_come_as_they_are_made,
    tool_calls_come_back_unchanged,
)
from harness.checkers.passage import everything_reaches_the_upstream
from tests.checkers.wire_histories import (
    CHAT,
    CLAUDE,
    GENERAL,
    GENERAL_CHAT,
    GPT,
    MESSAGES,
    RESPONSES,
    Case,
    Judgements,
    Wire,
)
from tests.checkers.wire_steps import (
    OTHER_TOOLS,
    PASS,
    TOOLS,
    UNTOLD,
    Step,
    asked,
    hit_by,
    kept,
    refused,
    served,
)

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
COMPLETION = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [CHOICE], "usage": {}}
WIDE = 2**53 + 1
BETA = {"anthropic-beta": "context-management-2025-06-27"}


def slow(first_content: int) -> Step:
    """A stream that its upstream took from 10 ms to a second to send."""
    upstream = {"chunks": 30, "start": 0, "first_chunk": 10_000, "end": 1_000_000}
    return served(stream=True, sent=0, first_content=first_content, end=1_100_000, upstream=upstream)


CASES = [
    # CHAT-01, 02, 04
    Case(
        chat_answers_a_completion,
        "managed",
        served(answer=COMPLETION),
        served(answer={**COMPLETION, "object": "list"}),
    ),
    *(
        Case(chat_answers_a_completion, "managed", served(answer=COMPLETION), served(answer={**COMPLETION, **change}))
        for change in (
            {"id": None},
            {"choices": []},
            {"choices": [{"index": 0, "finish_reason": "stop"}]},
            {"choices": [{**CHOICE, "message": {"content": "x"}}]},
            {"choices": [{"index": 0, "message": CHOICE["message"]}]},
        )
    ),
    *(
        Case(chat_answers_a_completion, "managed", served(), served(saw=change))
        for change in ({"text": "another's"}, {"finish": "length"}, {"items": "others"})
    ),
    Case(chat_answers_a_completion, "managed", served(), lambda wire: wire.call(CHAT, GPT)),
    Case(
        chat_answers_a_completion, "general", served(GENERAL_CHAT, GENERAL), refused(GENERAL_CHAT, "internal", GENERAL)
    ),
    kept(chat_answers_a_completion, "usage", CHAT, GPT, "usage", {"total_tokens": 1}, None, stream=False),
    Case(chat_answers_a_completion, "model", served(), served(saw={"model": "gpt-5-5:us-east"})),
    Case(streams_come_as_they_are_made, "as_they_arrive", slow(20_000), slow(1_000_000)),
    Case(
        streams_come_as_they_are_made,
        "done",
        served(stream=True),
        served(stream=True, saw={"sequence": "content finish usage"}),
    ),
    Case(
        streams_come_as_they_are_made,
        "done",
        served(stream=True),
        served(stream=True, outcome="cut", saw={"sequence": "content finish usage", "terminal": False}),
    ),
    Case(
        streams_come_as_they_are_made,
        "usage_in_final_chunk",
        served(stream=True),
        served(stream=True, saw={"sequence": "role usage content finish done"}),
    ),
    Case(
        streams_come_as_they_are_made,
        "usage_in_final_chunk",
        served(stream=True),
        served(stream=True, read={"usage": None, "sequence": "role content finish done"}),
    ),
    kept(tool_calls_come_back_unchanged, "unstreamed", CHAT, GPT, "tools", TOOLS, OTHER_TOOLS, stream=False),
    kept(tool_calls_come_back_unchanged, "streamed", CHAT, GPT, "tools", TOOLS, OTHER_TOOLS),
    Case(
        tool_calls_come_back_unchanged,
        "streamed",
        served(stream=True, read={"tools": TOOLS, "sequence": "tool*3 finish usage done"}),
        served(
            stream=True,
            read={"tools": TOOLS, "sequence": "tool*3 finish usage done"},
            saw={"sequence": "tool finish usage done"},
        ),
    ),
    # CHAT-03
    *(
        Case(
            everything_reaches_the_upstream,
            f"{surface}_body",
            asked(path, model, {"temperature": 1}, {"temperature": 1, "stream_options": {}}),
            asked(path, model, {"temperature": 1}, {"temperature": 1.0}),
        )
        for surface, path, model in (("chat", CHAT, GPT), ("messages", MESSAGES, CLAUDE), ("responses", RESPONSES, GPT))
    ),
    Case(everything_reaches_the_upstream, "chat_body", asked(CHAT, GPT, {}, {}), asked(CHAT, GPT, {}, {"user": "x"})),
    Case(
        everything_reaches_the_upstream,
        "chat_body",
        asked(CHAT, GPT, {"stream_options": {"x": 1}}, {"stream_options": {"x": 1, "include_usage": True}}),
        asked(CHAT, GPT, {"stream_options": {"x": 1}}, {"stream_options": {"include_usage": True}}),
    ),
    Case(
        everything_reaches_the_upstream,
        "unknown_fields",
        asked(CHAT, GPT, {"x_new": [None]}, {"x_new": [None]}),
        asked(CHAT, GPT, {"x_new": [None]}, {}),
    ),
    Case(
        everything_reaches_the_upstream,
        "unknown_fields",
        asked(MESSAGES, CLAUDE, {}, {}, detail={"headers": BETA}, upstream={"headers": BETA}),
        asked(MESSAGES, CLAUDE, {}, {}, detail={"headers": BETA}, upstream={"headers": {"x": "y"}}),
    ),
    Case(
        everything_reaches_the_upstream,
        "wide_integers",
        asked(CHAT, GPT, {"metadata": [{"n": -WIDE}]}, {"metadata": [{"n": -WIDE}]}),
        asked(CHAT, GPT, {"metadata": [{"n": -WIDE}]}, {"metadata": [{"n": -WIDE + 1}]}),
    ),
    Case(
        everything_reaches_the_upstream,
        "model_rewritten",
        asked(CHAT, GPT, {}, {}),
        asked(CHAT, GPT, {}, {"model": GPT}),
    ),
    Case(
        everything_reaches_the_upstream,
        "hypereal_consumed",
        asked(CHAT, GPT, {"hypereal": {}}, {}),
        asked(CHAT, GPT, {"hypereal": {}}, {"hypereal": {}}),
    ),
]
JUDGED: Judgements = [
    (chat_answers_a_completion, served(), {"managed", "usage", "model"}),
    (chat_answers_a_completion, served(stream=True), {"usage", "model"}),
    (chat_answers_a_completion, served(read={"usage": None}), {"managed", "model"}),
    (chat_answers_a_completion, served(MESSAGES, CLAUDE), set()),
    (chat_answers_a_completion, refused(CHAT, "invalid_key", GPT, key="a-expired"), set()),
    (streams_come_as_they_are_made, served(), set()),
    (streams_come_as_they_are_made, served(stream=True), {"done", "usage_in_final_chunk"}),
    (
        streams_come_as_they_are_made,
        hit_by("usage_missing", served(stream=True, read={"usage": None, "sequence": "role content finish done"})),
        {"done"},
    ),
    (streams_come_as_they_are_made, served(MESSAGES, CLAUDE, stream=True), set()),
    (tool_calls_come_back_unchanged, served(), set()),
    (tool_calls_come_back_unchanged, served(MESSAGES, CLAUDE, read={"tools": TOOLS}), set()),
    (everything_reaches_the_upstream, asked(CHAT, GPT, {}, {}), {"chat_body", "model_rewritten"}),
    (
        everything_reaches_the_upstream,
        asked(CHAT, GPT, {"n": 2**53}, {"n": 2**53}),
        {"chat_body", "model_rewritten"},
    ),
]


def test_usage_in_the_chunk_with_the_finish_reason_is_in_the_final_one() -> None:
    wire = Wire()
    served(stream=True, read={"sequence": "role content finish done"})(wire)
    assert wire.outcome(streams_come_as_they_are_made, "usage_in_final_chunk") is PASS


def test_a_quick_stream_cannot_tell_whether_it_was_buffered() -> None:
    wire = Wire()
    served(stream=True, upstream={"chunks": 30}, first_content=399_000)(wire)
    wire.attempts[-1] = replace(wire.attempts[-1], first_chunk=wire.attempts[-1].end - 1_000)
    assert wire.outcome(streams_come_as_they_are_made, "as_they_arrive") is None


def test_clocks_that_differ_widen_what_counts_as_early() -> None:
    wire = Wire(skew_us=2_000)
    slow(999_000)(wire)
    assert wire.outcome(streams_come_as_they_are_made, "as_they_arrive") is UNTOLD


def test_a_stream_that_the_client_left_owes_it_nothing() -> None:
    wire = Wire()
    served(stream=True, outcome="aborted", saw={"sequence": "content", "terminal": False})(wire)
    assert wire.outcome(streams_come_as_they_are_made, "done") is None


def test_a_stream_of_a_killed_gateway_owes_nothing() -> None:
    wire = Wire()
    served(stream=True, outcome="cut", saw={"sequence": "content", "terminal": False})(wire)
    wire.note("crash", after_appends=None)
    assert wire.outcome(streams_come_as_they_are_made, "done") is None


def test_bodies_that_were_not_kept_are_not_judged() -> None:
    wire = Wire()
    wire.call(CHAT, GPT)
    wire.attempt("c1")
    assert everything_reaches_the_upstream(wire.history(), wire.contract).clauses == {}
    assert wire.outcome(chat_answers_a_completion, "managed") is PASS
