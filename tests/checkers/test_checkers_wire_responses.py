"""The checkers of the Responses API and of model lists: each clause seen to hold and seen to be broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.checkers.models import enterprise_models_are_listed_to_the_digit, general_models_are_listed
from harness.checkers.responses import (
    an_unasked_stream_is_a_whole_answer,
    response_streams_keep_their_events,
    responses_are_served_with_all_their_items,
)
from harness.contract import load_contract
from harness.history import Reading
from tests.checkers.wire_histories import (
    CHAT,
    CLAUDE,
    CODEX,
    GENERAL_RESPONSES,
    GPT,
    MESSAGES,
    RESPONSES,
    SEQUENCES,
    Case,
    Judgements,
    Wire,
    reading_of,
)
from tests.checkers.wire_steps import (
    FAIL,
    OTHER_TOOLS,
    PASS,
    TOOLS,
    Step,
    asked,
    kept,
    refused,
    served,
    surface_of,
)

CONTRACT = load_contract()
RESPONSE = {"object": "response", "output": [{}], "usage": {}}
AS_EVENTS = {"headers": {"content-type": "text/event-stream"}, "reading": reading_of("responses", stream=True)}
CODEX_PATH = "/v1/codex/responses"


def items(*given: dict[str, Any]) -> dict[str, Any]:
    return {"input": list(given)}


def unasked(path: str, model: str, **changes: Any) -> Step:
    """An upstream that sent events to an unstreamed call."""
    upstream = {"reading": reading_of(surface_of(path), stream=True)}

    def run(wire: Wire) -> None:
        wire.served(path, model, upstream=upstream, **changes)
        wire.fault("sse_although_unstreamed")

    return run


def listing(
    wire: Wire,
    path: str,
    entries: list[dict[str, Any]],
    *,
    shape: dict[str, Any],
    headers: dict[str, str] | None = None,
) -> None:
    detail = {"method": "GET", "headers": headers or {}}
    wire.call(path, "", answer={**shape, "data": entries}, claims={"models": [e["id"] for e in entries]}, detail=detail)


def openai_entries(tier: str) -> list[dict[str, Any]]:
    made = []
    for model in CONTRACT.models:
        if model.tier == tier and model.price is not None:
            price = model.price
            pricing = {
                "input": price.input,
                "output": price.output,
                "cache_read": price.cache_read,
                "cache_write": price.cache_write,
            }
            made.append({"id": model.id, "object": "model", "context_window": model.context_tokens, "pricing": pricing})
    return made


def anthropic_entries() -> list[dict[str, Any]]:
    made = {"type": "model", "created_at": "1970-01-01T00:00:00Z"}
    return [{**made, "id": entry["id"], "display_name": entry["id"]} for entry in openai_entries("general")]


def enterprise_list(change: Callable[[list[dict[str, Any]]], Any] = lambda entries: None, **shape: Any) -> Step:
    entries = openai_entries("enterprise")
    change(entries)
    return lambda wire: listing(wire, "/v1/managed/models", entries, shape=shape or {"object": "list"})


def general_list(path: str, change: Callable[[list[dict[str, Any]]], Any] = lambda entries: None) -> Step:
    entries = openai_entries("general")
    change(entries)
    return lambda wire: listing(wire, path, entries, shape={"object": "list"})


def anthropic_list(entries: list[dict[str, Any]], **shape: Any) -> Step:
    asks = {"anthropic-version": "2023-06-01"}
    ends = {"has_more": False, "first_id": entries[0]["id"], "last_id": entries[-1]["id"]}
    return lambda wire: listing(wire, "/v1/models", entries, shape={**ends, **shape}, headers=asks)


def swap_prices(entries: list[dict[str, Any]]) -> None:
    pricing = entries[0]["pricing"]
    pricing["input"], pricing["output"] = pricing["output"], pricing["input"]


CASES = [
    # RESP
    *(
        Case(responses_are_served_with_all_their_items, place, served(path, model), refused(path, "not_found", model))
        for place, path, model in (
            ("managed", RESPONSES, GPT),
            ("general", GENERAL_RESPONSES, CODEX),
            ("codex", CODEX_PATH, CODEX),
        )
    ),
    Case(
        responses_are_served_with_all_their_items,
        "output_and_usage",
        served(RESPONSES, GPT, answer=RESPONSE),
        served(RESPONSES, GPT, answer={**RESPONSE, "output": []}),
    ),
    kept(
        responses_are_served_with_all_their_items,
        "encrypted_reasoning",
        RESPONSES,
        GPT,
        "signature",
        "a",
        "",
        stream=False,
    ),
    *(
        Case(
            responses_are_served_with_all_their_items,
            clause,
            asked(RESPONSES, GPT, body, body),
            asked(RESPONSES, GPT, body, {}),
        )
        for clause, body in (
            ("unknown_tools", {"tools": [{"type": "namespace"}]}),
            ("developer_messages", items({"role": "developer", "content": "x"})),
            ("encrypted_reasoning", items({"type": "reasoning", "encrypted_content": "x"})),
            ("unknown_items", items({"type": "x_new"})),
        )
    ),
    Case(
        responses_are_served_with_all_their_items,
        "unknown_items",
        served(RESPONSES, GPT, detail={"reply": {"shape": "unknown"}}),
        served(RESPONSES, GPT, detail={"reply": {"shape": "unknown"}}, saw={"items": "other"}),
    ),
    kept(
        response_streams_keep_their_events,
        "sequence",
        RESPONSES,
        GPT,
        "sequence",
        SEQUENCES["responses"],
        "response.completed",
    ),
    kept(response_streams_keep_their_events, "text", RESPONSES, GPT, "text", "a", "b"),
    kept(response_streams_keep_their_events, "reasoning_items", RESPONSES, GPT, "thinking", "a", "b"),
    kept(response_streams_keep_their_events, "function_calls", RESPONSES, GPT, "tools", TOOLS, OTHER_TOOLS),
    Case(
        an_unasked_stream_is_a_whole_answer,
        "general_responses",
        unasked(GENERAL_RESPONSES, CODEX, **AS_EVENTS),
        unasked(GENERAL_RESPONSES, CODEX, headers=AS_EVENTS["headers"]),
    ),
    *(
        Case(an_unasked_stream_is_a_whole_answer, clause, unasked(path, model), failing)
        for clause, path, model, failing in (
            ("chat_gathered", CHAT, GPT, unasked(CHAT, GPT, reading=reading_of("chat", text="half"))),
            (
                "messages_gathered",
                MESSAGES,
                CLAUDE,
                unasked(MESSAGES, CLAUDE, status=502, outcome="error", reading=Reading()),
            ),
            ("managed_responses_gathered", RESPONSES, GPT, unasked(RESPONSES, GPT, **AS_EVENTS)),
        )
    ),
    # MOD
    Case(
        enterprise_models_are_listed_to_the_digit,
        "exactly_the_table",
        enterprise_list(),
        enterprise_list(lambda e: e.pop()),
    ),
    Case(enterprise_models_are_listed_to_the_digit, "list_shape", enterprise_list(), enterprise_list(has_more=False)),
    Case(
        enterprise_models_are_listed_to_the_digit, "context_and_prices", enterprise_list(), enterprise_list(swap_prices)
    ),
    Case(
        enterprise_models_are_listed_to_the_digit,
        "context_and_prices",
        enterprise_list(),
        enterprise_list(lambda entries: entries[0].update(context_window=1)),
    ),
    Case(general_models_are_listed, "v1", general_list("/v1/models"), general_list("/v1/models", lambda e: e.pop(0))),
    Case(
        general_models_are_listed,
        "api_v1",
        general_list("/api/v1/models"),
        general_list("/api/v1/models", lambda entries: entries.append({"id": CLAUDE, "object": "model"})),
    ),
    Case(
        general_models_are_listed,
        "anthropic_shape",
        anthropic_list(anthropic_entries()),
        anthropic_list(openai_entries("general")),
    ),
    *(
        Case(
            general_models_are_listed,
            "anthropic_shape",
            anthropic_list(anthropic_entries()),
            anthropic_list(anthropic_entries(), **wrong),
        )
        for wrong in ({"has_more": True}, {"first_id": None}, {"last_id": None})
    ),
    *(
        Case(
            responses_are_served_with_all_their_items,
            place,
            served(path, model),
            served(path, model, saw={"text": "o"}),
        )
        for place, path, model in (("managed", RESPONSES, GPT), ("general", GENERAL_RESPONSES, CODEX))
    ),
]
JUDGED: Judgements = [
    (responses_are_served_with_all_their_items, served(), set()),
    (responses_are_served_with_all_their_items, served(RESPONSES), {"managed", "output_and_usage"}),
    (
        responses_are_served_with_all_their_items,
        asked(RESPONSES, GPT, items({"type": "message"}), {}),
        {"managed", "output_and_usage"},
    ),
    (response_streams_keep_their_events, served(RESPONSES), set()),
    (response_streams_keep_their_events, served(RESPONSES, stream=True), {"sequence", "text"}),
    (an_unasked_stream_is_a_whole_answer, served(), set()),
    (an_unasked_stream_is_a_whole_answer, served(RESPONSES, stream=True), set()),
    (enterprise_models_are_listed_to_the_digit, general_list("/v1/models"), set()),
    (general_models_are_listed, general_list("/v1/models"), {"v1"}),
    (general_models_are_listed, enterprise_list(), set()),
]


def test_a_response_without_usage_is_not_whole() -> None:
    wire = Wire()
    served(RESPONSES, saw={"usage": None})(wire)
    assert wire.outcome(responses_are_served_with_all_their_items, "output_and_usage") is FAIL


def test_an_alias_on_a_list_is_no_stranger() -> None:
    wire = Wire()
    general_list("/v1/models", lambda entries: entries.append({"id": "claude-3-5-sonnet-20241022", "object": "model"}))(
        wire
    )
    assert wire.outcome(general_models_are_listed, "v1") is PASS
