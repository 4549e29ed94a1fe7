"""The checkers of Anthropic messages: each clause seen to hold and seen to be broken."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.messages import (
    message_streams_keep_their_events,
    messages_are_served_natively,
    older_ids_are_their_latest_equivalents,
    thinking_passes_both_ways,
    token_counts_are_free,
    tools_pass_both_ways,
)
from harness.contract import load_contract
from tests.checkers.wire_histories import (
    CHAT,
    CLAUDE,
    GENERAL_CLAUDE,
    GPT,
    MESSAGES,
    SEQUENCES,
    Case,
    Judgements,
    Wire,
)
from tests.checkers.wire_steps import (
    OTHER_TOOLS,
    PLACES,
    TOOLS,
    Step,
    asked,
    kept,
    refused,
    served,
)

NAMES = load_contract().headers
MESSAGE = {"type": "message", "role": "assistant", "content": [], "id": "m", "stop_reason": "end_turn", "usage": {}}
ENTERPRISE_HEADERS = {NAMES.governor: "active", NAMES.insurance_threshold_ms: "90000"}
THINKING = {"thinking": {"budget_tokens": 9}, "max_tokens": 10}


def rate_window(last: Step) -> Step:
    """Two token counts and a message in a window of two, then ``last``."""

    def run(wire: Wire) -> None:
        wire.contract = load_contract(overlays=[{"text.requests": 2}])
        for _ in range(2):
            wire.call(f"{MESSAGES}/count_tokens", CLAUDE)
        served(MESSAGES, CLAUDE)(wire)
        last(wire)

    return run


def aliased(model: str = GENERAL_CLAUDE, credits: int = 1) -> Step:
    def run(wire: Wire) -> None:
        wire.call("/api/v1/messages", "claude-3-5-sonnet-20241022")
        wire.attempt("c1", surface="messages", model=f"{model}:us-east")
        wire.entry("post", -credits, call="c1")

    return run


def history_of(is_error: bool) -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": "t", "is_error": is_error}
    return {"max_tokens": 9, "messages": [{"role": "user", "content": [result]}]}


NEWER = {"headers": {"Anthropic-Version": "2099-01-01"}}

CASES = [
    # MSG-01, 02
    *(
        Case(messages_are_served_natively, place, served(path, model), refused(path, "not_found", model))
        for place, path, model in PLACES
    ),
    Case(
        messages_are_served_natively,
        "native_shape",
        served(MESSAGES, CLAUDE, answer=MESSAGE),
        served(MESSAGES, CLAUDE, answer={"choices": []}),
    ),
    Case(
        messages_are_served_natively,
        "any_version",
        served(MESSAGES, CLAUDE, detail=NEWER, upstream={"headers": {"anthropic-version": "2099-01-01"}}),
        refused(MESSAGES, "bad_request", CLAUDE, detail=NEWER),
    ),
    Case(
        messages_are_served_natively,
        "any_version",
        served(MESSAGES, CLAUDE, detail=NEWER, upstream={"headers": {"anthropic-version": "2099-01-01"}}),
        served(MESSAGES, CLAUDE, detail=NEWER, upstream={"headers": {"anthropic-version": "2023-06-01"}}),
    ),
    *(
        Case(messages_are_served_natively, place, served(path, model), served(path, model, saw={"text": "another's"}))
        for place, path, model in PLACES
    ),
    *(
        Case(
            token_counts_are_free,
            place,
            served(f"{path}/count_tokens", model),
            served(f"{path}/count_tokens", model, saw={"items": "others"}),
        )
        for place, path, model in PLACES
    ),
    *(
        Case(
            messages_are_served_natively,
            clause,
            served(MESSAGES, CLAUDE, request=body),
            refused(MESSAGES, "bad_request", CLAUDE, request=body),
        )
        for clause, body in (("empty_tools", {"tools": []}), ("system_in_messages", {"messages": [{"role": "system"}]}))
    ),
    Case(
        messages_are_served_natively,
        "root_enterprise",
        served("/v1/messages", CLAUDE, headers=ENTERPRISE_HEADERS),
        served("/v1/messages", CLAUDE),
    ),
    Case(
        messages_are_served_natively,
        "root_general",
        served("/v1/messages", GENERAL_CLAUDE),
        served("/v1/messages", GENERAL_CLAUDE, headers={NAMES.governor: "active"}),
    ),
    kept(
        message_streams_keep_their_events, "order", MESSAGES, CLAUDE, "sequence", SEQUENCES["messages"], "message_stop"
    ),
    Case(
        message_streams_keep_their_events,
        "order",
        served(MESSAGES, CLAUDE, stream=True),
        served(MESSAGES, CLAUDE, stream=True, outcome="cut"),
    ),
    kept(message_streams_keep_their_events, "text", MESSAGES, CLAUDE, "text", "a", ""),
    kept(message_streams_keep_their_events, "thinking", MESSAGES, CLAUDE, "thinking", "a", "b"),
    kept(message_streams_keep_their_events, "signature", MESSAGES, CLAUDE, "signature", "a", ""),
    kept(message_streams_keep_their_events, "input_json", MESSAGES, CLAUDE, "tools", TOOLS, ()),
    kept(message_streams_keep_their_events, "usage", MESSAGES, CLAUDE, "usage", {"input_tokens": 1}, None),
    # MSG-04, 05, 06, 08
    *(
        Case(
            thinking_passes_both_ways,
            clause,
            asked(
                MESSAGES,
                CLAUDE,
                {"thinking": {"budget_tokens": 9}, "max_tokens": most},
                {"thinking": {"budget_tokens": 9}, "max_tokens": most},
            ),
            asked(
                MESSAGES,
                CLAUDE,
                {"thinking": {"budget_tokens": 9}, "max_tokens": most},
                {"thinking": {"budget_tokens": 8}, "max_tokens": most},
            ),
        )
        for clause, most in (("thinking_upstream", 10), ("budget_above_max_tokens", 5))
    ),
    kept(thinking_passes_both_ways, "thinking_back", MESSAGES, CLAUDE, "thinking", "a", "b", stream=False),
    kept(thinking_passes_both_ways, "signature_back", MESSAGES, CLAUDE, "signature", "a", "b", stream=False),
    kept(tools_pass_both_ways, "tool_use", MESSAGES, CLAUDE, "tools", TOOLS, OTHER_TOOLS, stream=False),
    Case(
        tools_pass_both_ways,
        "tool_result",
        asked(MESSAGES, CLAUDE, history_of(True), history_of(True)),
        asked(MESSAGES, CLAUDE, history_of(True), history_of(False)),
    ),
    Case(older_ids_are_their_latest_equivalents, "served", aliased(), aliased("claude-opus-4-6")),
    Case(older_ids_are_their_latest_equivalents, "billed", aliased(), aliased(credits=2)),
    *(
        Case(
            token_counts_are_free,
            place,
            served(f"{path}/count_tokens", model),
            refused(f"{path}/count_tokens", "not_found", model),
        )
        for place, path, model in PLACES
    ),
    Case(
        token_counts_are_free,
        "uncharged",
        lambda wire: wire.call(f"{MESSAGES}/count_tokens", CLAUDE),
        served(f"{MESSAGES}/count_tokens", CLAUDE),
    ),
    Case(
        token_counts_are_free,
        "outside_rate_window",
        rate_window(served(MESSAGES, CLAUDE)),
        rate_window(refused(MESSAGES, "rate_limited", CLAUDE)),
    ),
]
JUDGED: Judgements = [
    (messages_are_served_natively, served(MESSAGES, CLAUDE), {"managed"}),
    (messages_are_served_natively, served(MESSAGES, CLAUDE, request={"tools": [1], "messages": [{}]}), {"managed"}),
    (messages_are_served_natively, served(), set()),
    (message_streams_keep_their_events, served(MESSAGES, CLAUDE), set()),
    (message_streams_keep_their_events, served(MESSAGES, CLAUDE, stream=True), {"order", "text", "usage"}),
    (message_streams_keep_their_events, served(stream=True), set()),
    (thinking_passes_both_ways, asked(CHAT, GPT, THINKING, THINKING), set()),
    (thinking_passes_both_ways, asked(MESSAGES, CLAUDE, {}, {}), set()),
    (thinking_passes_both_ways, asked(MESSAGES, CLAUDE, THINKING, THINKING), {"thinking_upstream"}),
    (tools_pass_both_ways, asked(MESSAGES, CLAUDE, {"messages": "x"}, {}), set()),
    (tools_pass_both_ways, asked(CHAT, GPT, {"messages": "x"}, {}), set()),
    (older_ids_are_their_latest_equivalents, served("/api/v1/messages", GENERAL_CLAUDE), set()),
    (token_counts_are_free, served(MESSAGES, CLAUDE), set()),
]


@pytest.mark.parametrize(("sent", "end"), [(-60_000_000, 10), (2_999_999, 3_100_000)], ids=["long ago", "under way"])
def test_token_counts_out_of_the_window_or_under_way_prove_nothing(sent: int, end: int) -> None:
    wire = Wire(contract=load_contract(overlays=[{"text.requests": 2}]))
    for _ in range(2):
        wire.call(f"{MESSAGES}/count_tokens", CLAUDE, sent=sent, end=end)
    for at in (3_000_000, 3_000_001):
        served(MESSAGES, CLAUDE, sent=at, end=3_200_000)(wire)
    assert wire.outcome(token_counts_are_free, "outside_rate_window") is None


def test_without_books_nothing_is_said_of_charges() -> None:
    wire = Wire(taps=("journal",))
    wire.call(f"{MESSAGES}/count_tokens", CLAUDE)
    assert wire.outcome(token_counts_are_free, "uncharged") is None


def test_a_stream_that_broke_upstream_may_end_in_an_error() -> None:
    wire = Wire()
    served(MESSAGES, CLAUDE, stream=True, outcome="error", upstream={"ended": "fault"})(wire)
    assert wire.outcome(message_streams_keep_their_events, "order") is None
