"""The checkers of requests and answers on their way through: each clause seen to hold and seen to be broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from harness.checker import Checker, Outcome
from harness.checkers.chat import (
    chat_answers_a_completion,
    streams_come_as_they_are_made,
    tool_calls_come_back_unchanged,
)
from harness.checkers.messages import (
    message_streams_keep_their_events,
    messages_are_served_natively,
    older_ids_are_their_latest_equivalents,
    thinking_passes_both_ways,
    token_counts_are_free,
    tools_pass_both_ways,
)
from harness.checkers.models import enterprise_models_are_listed_to_the_digit, general_models_are_listed
from harness.checkers.passage import everything_reaches_the_upstream
from harness.checkers.responses import (
    an_unasked_stream_is_a_whole_answer,
    response_streams_keep_their_events,
    responses_are_served_with_all_their_items,
)
from harness.checkers.streams import silence_is_filled_with_pings, streams_are_read_whatever_their_packets
from harness.checkers.wire import ROUTES
from harness.contract import load_contract
from harness.history import Reading
from tests.checkers.wire_histories import (
    CHAT,
    CLAUDE,
    CODEX,
    GENERAL,
    GENERAL_CLAUDE,
    GPT,
    MESSAGES,
    RESPONSES,
    SEQUENCES,
    Case,
    Wire,
    reading_of,
)

PASS, FAIL, UNTOLD = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
CONTRACT = load_contract()
NAMES = CONTRACT.headers
PING_US = CONTRACT.timeouts.ping_ms * 1000
TOOLS = ({"id": "call_1", "name": "lookup", "arguments": '{"a":1}'},)
OTHER_TOOLS = ({"id": "call_2", "name": "lookup", "arguments": '{"a":1}'},)
COMPLETION = {"object": "chat.completion", "choices": [{}], "usage": {}}
MESSAGE = {"type": "message", "role": "assistant", "content": [], "id": "m", "stop_reason": "end_turn", "usage": {}}
RESPONSE = {"object": "response", "output": [{}], "usage": {}}
ENTERPRISE_HEADERS = {NAMES.governor: "active", NAMES.insurance_threshold_ms: "90000"}
GENERAL_CHAT = "/api/v1/chat/completions"
GENERAL_RESPONSES = "/api/v1/responses"
PLACES = (
    ("managed", MESSAGES, CLAUDE),
    ("root", "/v1/messages", CLAUDE),
    ("general", "/api/v1/messages", GENERAL_CLAUDE),
)


def surface_of(path: str) -> str:
    surface = ROUTES[path.partition("?")[0]].surface
    return "messages" if surface == "count_tokens" else surface


def served(
    path: str = CHAT,
    model: str = GPT,
    *,
    stream: bool = False,
    read: Mapping[str, Any] = MappingProxyType({}),
    saw: Mapping[str, Any] = MappingProxyType({}),
    upstream: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> Callable[[Wire], Any]:
    """A charged call that was answered: what both sides read beside the usual, what the caller alone saw."""

    def run(wire: Wire) -> None:
        theirs = reading_of(surface_of(path), stream=stream, **read)
        mine = replace(theirs, **{"model": model, **saw})
        wire.served(path, model, stream=stream, reading=mine, upstream={"reading": theirs, **upstream}, **changes)
        if changes.get("status", 200) == 200:
            wire.entry("post", -1, call=wire.calls[-1].id)

    return run


def asked(path: str, model: str, sent: dict[str, Any], got: dict[str, Any], **changes: Any) -> Callable[[Wire], Any]:
    """A call whose body was ``sent`` and reached the upstream as ``got``."""

    def run(wire: Wire) -> None:
        id_ = wire.call(path, model, request={"model": model, **sent}, **changes)
        target = f"{model}:us-east"
        wire.attempt(id_, surface=surface_of(path), body={"model": target, **got}, model=target)

    return run


def both(*steps: Callable[[Wire], Any]) -> Callable[[Wire], Any]:
    def run(wire: Wire) -> None:
        for step in steps:
            step(wire)

    return run


def failed(path: str, model: str = GPT, row: str = "internal", **changes: Any) -> Callable[[Wire], Any]:
    return lambda wire: wire.refused(path, model, row, **changes)


def kept(
    check: Checker, clause: str, path: str, model: str, field: str, value: Any, other: Any, *, stream: bool = True
) -> Case:
    """A field of an answer that came back as the upstream sent it, or otherwise."""
    return Case(
        check,
        clause,
        served(path, model, stream=stream, read={field: value}),
        served(path, model, stream=stream, read={field: value}, saw={field: other}),
    )


def framed(clause: str, fault: str) -> list[Case]:
    """A framing that made no difference, lost a piece, or sent the call to another target."""

    def elsewhere(wire: Wire) -> None:
        served(stream=True)(wire)
        wire.attempts[-1] = replace(wire.attempts[-1], ended="left", left=(0, 1), reading=Reading())
        wire.fault(fault)
        wire.attempt("c1", upstream="second")

    def hit(wire: Wire) -> None:
        wire.fault(fault)

    check = streams_are_read_whatever_their_packets
    return [
        Case(check, clause, both(served(stream=True), hit), both(served(stream=True, saw={"text": "short"}), hit)),
        Case(check, clause, both(served(stream=True), hit), elsewhere),
    ]


def chopped(step: Callable[[Wire], Any]) -> Callable[[Wire], Any]:
    def run(wire: Wire) -> None:
        wire.options["chop"] = True
        step(wire)

    return run


def slow(first_content: int) -> Callable[[Wire], Any]:
    """A stream that its upstream took from 10 ms to a second to send."""
    upstream = {"chunks": 30, "start": 0, "first_chunk": 10_000, "end": 1_000_000}
    return served(stream=True, sent=0, first_content=first_content, end=1_100_000, upstream=upstream)


def silent(path: str, model: str, pings: list[int], *, first_chunk: int, body: bytes = b"") -> Callable[[Wire], Any]:
    """A stream of four ping intervals, its first chunk at ``first_chunk`` and its last at the end; pings as given."""
    end = 4 * PING_US

    def run(wire: Wire) -> None:
        chunks = (first_chunk, end)
        form = b"event: ping\ndata: {}\n\n" if "messages" in path else b": ping\n\n"
        wire.served(
            path,
            model,
            stream=True,
            sent=0,
            first_content=first_chunk,
            chunks=chunks,
            pings=tuple(pings),
            end=end,
            upstream={"start": 0, "first_chunk": first_chunk, "end": end},
        )
        content = (body or form) * len(pings) + b"data: {}\n\n"
        wire.calls[-1] = replace(wire.calls[-1], answer_sha=wire.body(content), answer_bytes=len(content))

    return run


EVERY = [PING_US, 2 * PING_US, 3 * PING_US]
EARLY = [PING_US // 2, 3 * PING_US // 2, 5 * PING_US // 2, 7 * PING_US // 2]
MIDDLE = [10_000 + n * PING_US for n in (1, 2, 3)]


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
    return [{"type": "model", "id": entry["id"], "display_name": entry["id"]} for entry in openai_entries("general")]


def enterprise_list(
    change: Callable[[list[dict[str, Any]]], Any] = lambda entries: None, **shape: Any
) -> Callable[[Wire], Any]:
    entries = openai_entries("enterprise")
    change(entries)
    return lambda wire: listing(wire, "/v1/managed/models", entries, shape=shape or {"object": "list"})


def general_list(
    path: str, change: Callable[[list[dict[str, Any]]], Any] = lambda entries: None
) -> Callable[[Wire], Any]:
    entries = openai_entries("general")
    change(entries)
    return lambda wire: listing(wire, path, entries, shape={"object": "list"})


def anthropic_list(entries: list[dict[str, Any]]) -> Callable[[Wire], Any]:
    asks = {"anthropic-version": "2023-06-01"}
    return lambda wire: listing(wire, "/v1/models", entries, shape={"has_more": False}, headers=asks)


def swap_prices(entries: list[dict[str, Any]]) -> None:
    pricing = entries[0]["pricing"]
    pricing["input"], pricing["output"] = pricing["output"], pricing["input"]


def rate_window(last: Callable[[Wire], Any]) -> Callable[[Wire], Any]:
    """Two token counts and a message in a window of two, then ``last``."""

    def run(wire: Wire) -> None:
        wire.contract = load_contract(overlays=[{"text.requests": 2}])
        for _ in range(2):
            wire.call(f"{MESSAGES}/count_tokens", CLAUDE)
        served(MESSAGES, CLAUDE)(wire)
        last(wire)

    return run


def aliased(model: str = GENERAL_CLAUDE, credits: int = 1) -> Callable[[Wire], Any]:
    def run(wire: Wire) -> None:
        wire.call("/api/v1/messages", "claude-3-5-sonnet-20241022")
        wire.attempt("c1", surface="messages", model=f"{model}:us-east")
        wire.entry("post", -credits, call="c1")

    return run


def history_of(is_error: bool) -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": "t", "is_error": is_error}
    return {"max_tokens": 9, "messages": [{"role": "user", "content": [result]}]}


def items(*given: dict[str, Any]) -> dict[str, Any]:
    return {"input": list(given)}


def unasked(path: str, model: str, **changes: Any) -> Callable[[Wire], Any]:
    """An upstream that sent events to an unstreamed call."""
    upstream = {"reading": reading_of(surface_of(path), stream=True)}

    def run(wire: Wire) -> None:
        wire.served(path, model, upstream=upstream, **changes)
        wire.fault("sse_although_unstreamed")

    return run


AS_EVENTS = {"headers": {"content-type": "text/event-stream"}, "reading": reading_of("responses", stream=True)}
CODEX_PATH = "/v1/codex/responses"
WIDE = 2**53 + 1

CASES = [
    # CHAT-01, 02, 04
    Case(
        chat_answers_a_completion,
        "managed",
        served(answer=COMPLETION),
        served(answer={"object": "list", "choices": [{}]}),
    ),
    Case(chat_answers_a_completion, "general", served(GENERAL_CHAT, GENERAL), failed(GENERAL_CHAT, GENERAL)),
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
    # CHAT-07
    kept(streams_are_read_whatever_their_packets, "text", CHAT, GPT, "text", "a\u2002b", "a\ufffdb"),
    kept(streams_are_read_whatever_their_packets, "tool_arguments", CHAT, GPT, "tools", TOOLS, OTHER_TOOLS),
    kept(streams_are_read_whatever_their_packets, "finish_reason", CHAT, GPT, "finish", "length", "stop"),
    kept(
        streams_are_read_whatever_their_packets,
        "usage",
        CHAT,
        GPT,
        "usage",
        {"total_tokens": 1},
        {"total_tokens": True},
    ),
    *framed("split_character", "split_utf8"),
    *framed("crlf", "crlf"),
    *framed("comments", "comments"),
    *framed("several_data_lines", "multi_line_data"),
    *framed("duplicates", "duplicate_event"),
    *framed("disorder", "events_out_of_order"),
    Case(
        streams_are_read_whatever_their_packets,
        "split_line",
        chopped(served(stream=True)),
        chopped(served(stream=True, outcome="error", saw={"error_type": "api_error"})),
    ),
    # MSG-01, 02
    *(
        Case(messages_are_served_natively, place, served(path, model), failed(path, model, "not_found"))
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
        served(MESSAGES, CLAUDE, detail={"headers": {"Anthropic-Version": "2099-01-01"}}),
        failed(MESSAGES, CLAUDE, "bad_request", detail={"headers": {"Anthropic-Version": "2099-01-01"}}),
    ),
    *(
        Case(
            messages_are_served_natively,
            clause,
            served(MESSAGES, CLAUDE, request=body),
            failed(MESSAGES, CLAUDE, "bad_request", request=body),
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
    # MSG-03
    Case(
        silence_is_filled_with_pings,
        "before_first_byte",
        silent(MESSAGES, CLAUDE, EVERY, first_chunk=4 * PING_US - 1_000),
        silent(MESSAGES, CLAUDE, EVERY[1:], first_chunk=4 * PING_US - 1_000),
    ),
    Case(
        silence_is_filled_with_pings,
        "before_first_byte",
        silent(CHAT, GPT, EVERY, first_chunk=4 * PING_US - 1_000),
        silent(CHAT, GPT, EARLY, first_chunk=4 * PING_US - 1_000),
    ),
    Case(
        silence_is_filled_with_pings,
        "ping_interval",
        silent(MESSAGES, CLAUDE, MIDDLE, first_chunk=10_000),
        silent(MESSAGES, CLAUDE, MIDDLE[:2], first_chunk=10_000),
    ),
    Case(
        silence_is_filled_with_pings,
        "ping_interval",
        silent(MESSAGES, CLAUDE, MIDDLE, first_chunk=10_000),
        silent(MESSAGES, CLAUDE, MIDDLE, first_chunk=10_000, body=b": ping\n\n"),
    ),
    Case(
        silence_is_filled_with_pings,
        "openai_comment",
        silent(CHAT, GPT, MIDDLE, first_chunk=10_000),
        silent(CHAT, GPT, MIDDLE, first_chunk=10_000, body=b"event: ping\ndata: {}\n\n"),
    ),
    Case(
        silence_is_filled_with_pings,
        "openai_comment",
        silent(CHAT, GPT, MIDDLE, first_chunk=10_000),
        silent(CHAT, GPT, [], first_chunk=10_000),
    ),
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
            failed(f"{path}/count_tokens", model, "not_found"),
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
        rate_window(failed(MESSAGES, CLAUDE, "rate_limited")),
    ),
    # RESP
    *(
        Case(responses_are_served_with_all_their_items, place, served(path, model), failed(path, model, "not_found"))
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
]
CHECKS: list[Checker] = list(dict.fromkeys(case.check for case in CASES))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_kept_clause_passes_and_a_broken_one_fails(case: Case) -> None:
    good, bad = Wire(), Wire()
    case.good(good)
    case.bad(bad)
    assert good.outcome(case.check, case.clause) is PASS
    assert bad.outcome(case.check, case.clause) is FAIL


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.name))
def test_every_clause_of_a_checker_is_tried(check: Checker) -> None:
    assert {case.clause for case in CASES if case.check is check} == set(check.clauses)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.name))
def test_an_empty_history_has_no_case_of_anything(check: Checker) -> None:
    assert check(Wire().history(), Wire().contract).clauses == {}


THINKING = {"thinking": {"budget_tokens": 9}, "max_tokens": 10}


@pytest.mark.parametrize(
    ("check", "run", "judged"),
    [
        (chat_answers_a_completion, served(), {"managed", "usage", "model"}),
        (chat_answers_a_completion, served(stream=True), {"usage", "model"}),
        (chat_answers_a_completion, served(read={"usage": None}), {"managed", "model"}),
        (chat_answers_a_completion, served(MESSAGES, CLAUDE), set()),
        (chat_answers_a_completion, failed(CHAT, GPT, "invalid_key", key="a-expired"), set()),
        (streams_come_as_they_are_made, served(), set()),
        (streams_come_as_they_are_made, served(stream=True), {"done", "usage_in_final_chunk"}),
        (streams_come_as_they_are_made, served(stream=True, read={"usage": None}), {"done"}),
        (streams_come_as_they_are_made, served(MESSAGES, CLAUDE, stream=True), set()),
        (tool_calls_come_back_unchanged, served(), set()),
        (tool_calls_come_back_unchanged, served(MESSAGES, CLAUDE, read={"tools": TOOLS}), set()),
        (everything_reaches_the_upstream, asked(CHAT, GPT, {}, {}), {"chat_body", "model_rewritten"}),
        (
            everything_reaches_the_upstream,
            asked(CHAT, GPT, {"n": 2**53}, {"n": 2**53}),
            {"chat_body", "model_rewritten"},
        ),
        (streams_are_read_whatever_their_packets, served(), set()),
        (streams_are_read_whatever_their_packets, served(stream=True), {"text", "finish_reason", "usage"}),
        (messages_are_served_natively, served(MESSAGES, CLAUDE), {"managed"}),
        (messages_are_served_natively, served(MESSAGES, CLAUDE, request={"tools": [1], "messages": [{}]}), {"managed"}),
        (messages_are_served_natively, served(), set()),
        (message_streams_keep_their_events, served(MESSAGES, CLAUDE), set()),
        (message_streams_keep_their_events, served(MESSAGES, CLAUDE, stream=True), {"order", "text", "usage"}),
        (message_streams_keep_their_events, served(stream=True), set()),
        (silence_is_filled_with_pings, served(stream=True), set()),
        (silence_is_filled_with_pings, served(), set()),
        (thinking_passes_both_ways, asked(CHAT, GPT, THINKING, THINKING), set()),
        (thinking_passes_both_ways, asked(MESSAGES, CLAUDE, {}, {}), set()),
        (thinking_passes_both_ways, asked(MESSAGES, CLAUDE, THINKING, THINKING), {"thinking_upstream"}),
        (tools_pass_both_ways, asked(MESSAGES, CLAUDE, {"messages": "x"}, {}), set()),
        (tools_pass_both_ways, asked(CHAT, GPT, {"messages": "x"}, {}), set()),
        (older_ids_are_their_latest_equivalents, served("/api/v1/messages", GENERAL_CLAUDE), set()),
        (token_counts_are_free, served(MESSAGES, CLAUDE), set()),
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
    ],
)
def test_a_run_is_judged_by_what_it_bears_on_alone(
    check: Checker, run: Callable[[Wire], Any], judged: set[str]
) -> None:
    wire = Wire()
    run(wire)
    assert set(check(wire.history(), wire.contract).clauses) == judged


def test_usage_in_the_chunk_with_the_finish_reason_is_in_the_final_one() -> None:
    wire = Wire()
    served(stream=True, read={"sequence": "role content finish done"})(wire)
    assert wire.outcome(streams_come_as_they_are_made, "usage_in_final_chunk") is PASS


def test_a_response_without_usage_is_not_whole() -> None:
    wire = Wire()
    served(RESPONSES, saw={"usage": None})(wire)
    assert wire.outcome(responses_are_served_with_all_their_items, "output_and_usage") is FAIL


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


def test_a_stream_that_broke_upstream_may_end_in_an_error() -> None:
    wire = Wire()
    served(MESSAGES, CLAUDE, stream=True, outcome="error", upstream={"ended": "fault"})(wire)
    assert wire.outcome(message_streams_keep_their_events, "order") is None


def test_no_ping_is_owed_between_two_attempts() -> None:
    wire = Wire()
    pause = PING_US // 2
    wire.served(
        MESSAGES, CLAUDE, stream=True, sent=0, first_content=2 * PING_US, chunks=(2 * PING_US,), end=2 * PING_US + 1
    )
    first = replace(wire.attempts[-1], start=0, first_chunk=None, end=PING_US - pause, ended="fault", status=503)
    second = replace(
        wire.attempts[-1],
        id="second-1",
        upstream="second",
        start=PING_US + pause,
        first_chunk=2 * PING_US,
        end=2 * PING_US,
    )
    wire.attempts[:] = [first, second]
    assert wire.outcome(silence_is_filled_with_pings, "before_first_byte") is None


def test_an_upstream_s_own_ping_that_was_passed_on_is_not_early() -> None:
    wire = Wire()
    silent(MESSAGES, CLAUDE, [10_500, *(at + 500 for at in MIDDLE)], first_chunk=10_000)(wire)
    assert wire.outcome(silence_is_filled_with_pings, "ping_interval") is PASS


def test_pings_of_an_upstream_that_sends_its_own_are_not_judged() -> None:
    wire = Wire()
    silent(CHAT, GPT, [PING_US // 2], first_chunk=10_000)(wire)
    wire.fault("comments")
    assert wire.outcome(silence_is_filled_with_pings, "openai_comment") is None


def test_bodies_that_were_not_kept_are_not_judged() -> None:
    wire = Wire()
    wire.call(CHAT, GPT)
    wire.attempt("c1")
    assert everything_reaches_the_upstream(wire.history(), wire.contract).clauses == {}
    assert wire.outcome(chat_answers_a_completion, "managed") is PASS


def test_an_alias_on_a_list_is_no_stranger() -> None:
    wire = Wire()
    general_list("/v1/models", lambda entries: entries.append({"id": "claude-3-5-sonnet-20241022", "object": "model"}))(
        wire
    )
    assert wire.outcome(general_models_are_listed, "v1") is PASS
