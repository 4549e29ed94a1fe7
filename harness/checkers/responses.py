"""Checkers of the Responses API: where it is served, items and typed events, upstreams that stream unasked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.checker import Verdict, checker
from harness.checkers.flaws import flaws_of_all, served_case
from harness.checkers.money import server_of
from harness.checkers.passage import owed, own_answer_case, passages, surface_of, undelivered
from harness.checkers.wire import Seen, answer_body, canonical, content_type, parsed, seen
from harness.contract import Contract
from harness.history import AttemptSpan, History

_KNOWN_TOOLS = ("function", "custom")
_KNOWN_ITEMS = ("message", "reasoning", "function_call", "function_call_output", None)
_MEANING = ("text", "thinking", "signature", "tools", "finish", "usage", "items")


def _where(one: Seen) -> str:
    if one.tier == "enterprise":
        return "managed"
    return "codex" if "/codex/" in one.plan.path else "general"


@checker(
    "RESP-01",
    "managed",
    "general",
    "codex",
    "output_and_usage",
    "unknown_tools",
    "developer_messages",
    "encrypted_reasoning",
    "unknown_items",
)
def responses_are_served_with_all_their_items(history: History, contract: Contract, verdict: Verdict) -> None:
    """Responses is served at its three places with output and usage; items and tools of any kind pass unchanged."""
    for one, rows in flaws_of_all(history, contract):
        if one.route is None or one.route.surface != "responses" or rows != ():
            continue
        if served_case(_where(one), one, rows, verdict) and not one.plan.stream:
            own_answer_case(_where(one), history, one, verdict)
    for one, server in _served(history, contract):
        _answer(history, one, server, verdict)
    for passage in passages(history, contract):
        if surface_of(passage.seen) != "responses":
            continue
        for clause, pick in _PARTS.items():
            mine, theirs = pick(passage.mine), pick(passage.theirs)
            if mine:
                verdict.case(
                    clause,
                    canonical(mine) == canonical(theirs),
                    call=passage.seen.call,
                    attempts=(passage.attempt,),
                    expected=mine,
                    actual=theirs,
                )


def _answer(history: History, one: Seen, server: AttemptSpan, verdict: Verdict) -> None:
    """Judge an answer's shape, and its items of kinds that the gateway need not know."""
    mine, theirs = one.call.reading, server.reading
    if theirs.usage is not None:
        whole = parsed(answer_body(history, one.call)) if not one.plan.stream else None
        ok = mine.usage is not None and bool(mine.items)
        if isinstance(whole, dict):
            ok = ok and whole.get("object") == "response" and bool(whole.get("output"))
        actual = f"usage {mine.usage}, items {mine.items or 'none'}"
        verdict.case("output_and_usage", ok, call=one.call, expected="output and usage", actual=actual)
    if theirs.signature:
        _same("encrypted_reasoning", one, server, ("signature", "items"), verdict)
    if one.plan.detail.get("reply", {}).get("shape") == "unknown":
        _same("unknown_items", one, server, ("items",), verdict)


def _input(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = body.get("input")
    return [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def _unknown_tools(body: Mapping[str, Any]) -> list[Any]:
    tools = body.get("tools")
    return [tool for tool in tools if tool.get("type") not in _KNOWN_TOOLS] if isinstance(tools, list) else []


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], list[Any]]] = {
    "unknown_tools": _unknown_tools,
    "developer_messages": lambda body: [item for item in _input(body) if item.get("role") == "developer"],
    "encrypted_reasoning": lambda body: [item for item in _input(body) if item.get("encrypted_content")],
    "unknown_items": lambda body: [item for item in _input(body) if item.get("type") not in _KNOWN_ITEMS],
}
"""Parts of a request that a gateway may know nothing of, by clause."""


@checker("RESP-02", "sequence", "text", "reasoning_items", "function_calls")
def response_streams_keep_their_events(history: History, contract: Contract, verdict: Verdict) -> None:
    """A stream keeps the typed event sequence from response.created to response.completed, and all its items."""
    for one in seen(history, contract):
        if not one.plan.stream or one.route is None or one.route.surface != "responses":
            continue
        for attempt in owed(history, contract, one):
            _same("sequence", one, attempt, ("sequence",), verdict)
        server = server_of(one) if one.served else None
        if server is None or not server.stream:
            continue
        theirs = server.reading
        if theirs.text:
            _same("text", one, server, ("text",), verdict)
        if theirs.thinking or theirs.signature:
            _same("reasoning_items", one, server, ("thinking", "signature", "items"), verdict)
        if theirs.tools:
            _same("function_calls", one, server, ("tools", "items"), verdict)


@checker("RESP-03", "general_responses", "chat_gathered", "messages_gathered", "managed_responses_gathered")
def an_unasked_stream_is_a_whole_answer(history: History, contract: Contract, verdict: Verdict) -> None:
    """An upstream's SSE to an unstreamed call becomes a whole answer: JSON, or SSE on the general responses alone."""
    for one in seen(history, contract):
        if one.route is None or one.plan.stream:
            continue
        either = one.route.surface == "responses" and one.tier == "general"
        surface = f"managed_{one.route.surface}" if one.route.surface == "responses" else one.route.surface
        for server in owed(history, contract, one, ("sse_although_unstreamed",)):
            differing = undelivered(one, server, *_MEANING) or _wrong_form(one, server, either)
            verdict.case(
                "general_responses" if either else f"{surface}_gathered",
                not differing,
                call=one.call,
                attempts=(server,),
                expected="the whole answer, as SSE or JSON" if either else "the whole answer as JSON",
                actual=differing,
            )


def _wrong_form(one: Seen, server: AttemptSpan, either: bool) -> list[str]:
    """Return what is wrong with an answer's form: it is JSON, or events where they may be, and says which it is."""
    kind, sequence = content_type(one.call), one.call.reading.sequence
    forms = {"application/json": "json"}
    if either:
        forms["text/event-stream"] = server.reading.sequence
    return [] if forms.get(kind) == sequence else [f"{kind or 'no content type'} with {sequence}"]


def _served(history: History, contract: Contract) -> Iterator[tuple[Seen, AttemptSpan]]:
    """Yield the responses calls that got a whole answer, with the attempt that gave it."""
    for one in seen(history, contract):
        server = server_of(one) if one.served else None
        if server is not None and one.route is not None and one.route.surface == "responses":
            yield one, server


def _same(clause: str, one: Seen, server: AttemptSpan, fields: tuple[str, ...], verdict: Verdict) -> None:
    differing = undelivered(one, server, *fields)
    expected = f"{', '.join(fields)} as the upstream sent it"
    verdict.case(clause, not differing, call=one.call, attempts=(server,), expected=expected, actual=differing)
