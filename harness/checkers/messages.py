"""Checkers of Anthropic messages: where they are served, streams, thinking, tools, older ids, token counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.checker import Verdict, checker
from harness.checkers.flaws import as_planned, flaws_of_all, served_case, told
from harness.checkers.money import charged, due_credits, server_of
from harness.checkers.passage import Passage, owed, own_answer_case, passages, surface_of, undelivered, unlike
from harness.checkers.wire import Seen, answer_body, canonical, parsed, seen
from harness.contract import Contract
from harness.history import AttemptSpan, History

_PLACES = {
    "/v1/managed/messages": "managed",
    "/v1/messages": "root",
    "/api/v1/messages": "general",
    "/api/v1/v1/messages": "general",
}
_USUAL_VERSION = "2023-06-01"


@checker(
    "MSG-01",
    "managed",
    "root",
    "general",
    "native_shape",
    "any_version",
    "empty_tools",
    "system_in_messages",
    "root_enterprise",
    "root_general",
)
def messages_are_served_natively(history: History, contract: Contract, verdict: Verdict) -> None:
    """Messages are served at their three places in the native shape; at the root the model id decides the rules."""
    for one, rows in flaws_of_all(history, contract):
        if one.route is None or one.route.surface != "messages" or rows != ():
            continue
        place = _PLACES[one.plan.path.partition("?")[0]]
        if served_case(place, one, rows, verdict):
            _native(history, one, verdict)
            if not one.plan.stream:
                own_answer_case(place, history, one, verdict)
            if place == "root":
                _root_rules(history, contract, one, verdict)
        body = parsed(history.bodies.get(one.call.request_sha))
        version = one.headers.get("anthropic-version", _USUAL_VERSION)
        if version != _USUAL_VERSION and served_case("any_version", one, rows, verdict):
            _version_goes_up(one, version, verdict)
        if isinstance(body, dict) and body.get("tools") == []:
            served_case("empty_tools", one, rows, verdict)
        if isinstance(body, dict) and _has_system_turn(body):
            served_case("system_in_messages", one, rows, verdict)


def _version_goes_up(one: Seen, version: str, verdict: Verdict) -> None:
    """Judge that the upstream was asked for the version that the client wants: no other one is that version served."""
    for attempt in one.attempts:
        asked = attempt.headers.get("anthropic-version")
        expected = f"version {version} asked of the upstream"
        verdict.case(
            "any_version", asked == version, call=one.call, attempts=(attempt,), expected=expected, actual=asked
        )


def _has_system_turn(body: dict[str, Any]) -> bool:
    turns = body.get("messages")
    return isinstance(turns, list) and any(isinstance(t, dict) and t.get("role") == "system" for t in turns)


def _native(history: History, one: Seen, verdict: Verdict) -> None:
    if one.plan.stream:
        kinds = one.call.reading.sequence.split()
        ok: bool | None = bool(kinds) and kinds[0] == "message_start"
        server = server_of(one)
        if not ok and server is not None and server.reading.sequence.split()[:1] == kinds[:1]:
            ok = None  # its upstream began it so
        verdict.case(
            "native_shape", ok, call=one.call, expected="message_start first", actual=one.call.reading.sequence
        )
        return
    body = parsed(answer_body(history, one.call))
    if isinstance(body, dict):
        wanted = {"type": "message", "role": "assistant"}
        ok = all(body.get(name) == value for name, value in wanted.items())
        ok = ok and isinstance(body.get("content"), list) and isinstance(body.get("id"), str) and "stop_reason" in body
        ok = ok and (isinstance(body.get("usage"), dict) or one.attempts[-1].reading.usage is None)
        verdict.case("native_shape", ok, call=one.call, expected="a message", actual=sorted(body))


def _root_rules(history: History, contract: Contract, one: Seen, verdict: Verdict) -> None:
    """Judge headers and price of a call at the root: those of the tier that the model id names."""
    names, headers = contract.headers, one.call.headers
    enterprise = one.tier == "enterprise"
    clause = "root_enterprise" if enterprise else "root_general"
    for header in (names.governor, names.insurance_threshold_ms):
        ok = (header in headers) is enterprise
        expected = f"{'the' if enterprise else 'no'} header {header}"
        verdict.case(clause, ok, call=one.call, expected=expected, actual=headers.get(header, "no such header"))
    _price(clause, history, contract, one, verdict)


def _price(clause: str, history: History, contract: Contract, one: Seen, verdict: Verdict) -> None:
    cost, paid = due_credits(one, contract), charged(history, one)
    if cost is not None and paid is not None:
        expected = f"{cost} credits by the prices of {one.model.id if one.model else '?'}"
        verdict.case(clause, cost == paid, call=one.call, expected=expected, actual=f"{paid} credits")


_KEPT = {"text": "text", "thinking": "thinking", "signature": "signature", "input_json": "tools", "usage": "usage"}
"""Clauses of MSG-02 on content, and the field of a reading that each compares."""


@checker("MSG-02", "order", *_KEPT)
def message_streams_keep_their_events(history: History, contract: Contract, verdict: Verdict) -> None:
    """A messages stream keeps its events in their order, from message_start to message_stop, and all their content."""
    for one in seen(history, contract):
        if not one.plan.stream or one.route is None or one.route.surface != "messages":
            continue
        for attempt in owed(history, contract, one):
            _same("order", one, attempt, undelivered(one, attempt, "sequence"), verdict)
        server = server_of(one) if one.served else None
        if server is not None and server.stream:
            for clause, field in _KEPT.items():
                if getattr(server.reading, field) or getattr(one.call.reading, field):
                    _same(clause, one, server, unlike(one.call.reading, server.reading, field), verdict)


@checker("MSG-04", "thinking_upstream", "budget_above_max_tokens", "thinking_back", "signature_back")
def thinking_passes_both_ways(history: History, contract: Contract, verdict: Verdict) -> None:
    """thinking reaches the upstream unchanged, also a budget above max_tokens; blocks and signatures come back so."""
    for passage in passages(history, contract):
        asked = passage.mine.get("thinking")
        if surface_of(passage.seen) != "messages" or not isinstance(asked, dict):
            continue
        _passed("thinking_upstream", passage, "thinking", verdict)
        if asked.get("budget_tokens", 0) > passage.mine.get("max_tokens", 0):
            _passed("budget_above_max_tokens", passage, "thinking", verdict)
            _passed("budget_above_max_tokens", passage, "max_tokens", verdict)
    for one, server in _served(history, contract):
        for clause, field in (("thinking_back", "thinking"), ("signature_back", "signature")):
            if getattr(server.reading, field):
                _same(clause, one, server, unlike(one.call.reading, server.reading, field, "items"), verdict)


@checker("MSG-05", "tool_use", "tool_result")
def tools_pass_both_ways(history: History, contract: Contract, verdict: Verdict) -> None:
    """tool_use blocks come back unchanged; tool_use and tool_result blocks reach the upstream unchanged."""
    for passage in passages(history, contract):
        sent = _tool_blocks(passage.mine)
        if surface_of(passage.seen) == "messages" and sent:
            got = _tool_blocks(passage.theirs)
            verdict.case(
                "tool_result",
                canonical(sent) == canonical(got),
                call=passage.seen.call,
                attempts=(passage.attempt,),
                expected=sent,
                actual=got,
            )
    for one, server in _served(history, contract):
        if server.reading.tools:
            _same("tool_use", one, server, unlike(one.call.reading, server.reading, "tools", "items"), verdict)


def _tool_blocks(body: Any) -> list[Any]:
    """Return the tool_use and tool_result blocks of a request, in order."""
    turns = body.get("messages")
    contents = [turn.get("content") for turn in turns] if isinstance(turns, list) else []
    blocks = (block for content in contents if isinstance(content, list) for block in content)
    return [block for block in blocks if isinstance(block, dict) and block.get("type") in ("tool_use", "tool_result")]


@checker("MSG-06", "served", "billed", books=("billed",))
def older_ids_are_their_latest_equivalents(history: History, contract: Contract, verdict: Verdict) -> None:
    """Older ids are served and billed as the models that the contract says they stand for."""
    for one, rows in flaws_of_all(history, contract):
        if one.plan.model not in contract.aliases or one.tier != "general" or rows != () or one.model is None:
            continue
        if served_case("served", one, rows, verdict):
            targets = {target.upstream_model for target in one.model.chain}
            for attempt in one.attempts:
                ok = attempt.model in targets
                verdict.case(
                    "served", ok, call=one.call, attempts=(attempt,), expected=sorted(targets), actual=attempt.model
                )
            _price("billed", history, contract, one, verdict)


@checker("MSG-08", "managed", "root", "general", "uncharged", "outside_rate_window", books=("uncharged",))
def token_counts_are_free(history: History, contract: Contract, verdict: Verdict) -> None:
    """count_tokens is served below each messages path, uncharged and outside the governor's rate window."""
    calls = flaws_of_all(history, contract)
    for one, rows in calls:
        if one.route is None or one.route.surface != "count_tokens" or rows != ():
            continue
        path = one.plan.path.partition("?")[0].removesuffix("/count_tokens")
        served_case(_PLACES[path], one, rows, verdict)
        if one.served and one.attempts:
            differing = unlike(one.call.reading, one.attempts[-1].reading, "items")
            _same(_PLACES[path], one, one.attempts[-1], differing, verdict)
        if history.has_tap("books"):
            entries = [entry for entry in history.entries_of(one.call.id) if entry.credits or entry.kind == "hold"]
            verdict.case("uncharged", not entries, call=one.call, expected="no entry", actual=entries)
    _outside_the_window([one for one, rows in calls if rows == ()], contract, verdict)


def _outside_the_window(calls: list[Seen], contract: Contract, verdict: Verdict) -> None:
    """Judge calls whose window has room left, but would have none if the token counts before them took units."""
    for one in calls:
        if one.tier != "enterprise" or one.model is None or one.route is None or one.route.surface == "count_tokens":
            continue
        limits = contract.limits(one.model)
        since = one.call.sent - 1000 * limits.window_ms
        before = [
            other
            for other in calls
            if other.model == one.model
            and other.plan.account == one.plan.account
            and since < other.call.end
            and other.call.sent < one.call.end
            and other is not one
        ]
        counts = [o for o in before if o.route is not None and o.route.surface == "count_tokens"]
        counted = [o for o in counts if o.served and o.call.end <= one.call.sent and o.call.sent > since]
        others = [o for o in before if o not in counts and o.call.status != 429]
        if counted and len(others) < limits.requests <= len(others) + len(counted):
            ok = as_planned(one, ()) if one.call.status != 429 else False
            expected = f"admitted: {len(others)} of {limits.requests} requests, beside {len(counted)} token counts"
            verdict.case("outside_rate_window", ok, call=one.call, expected=expected, actual=told(one.call))


def _served(history: History, contract: Contract) -> Iterator[tuple[Seen, AttemptSpan]]:
    """Yield the messages calls that got a whole answer, with the attempt that gave it."""
    for one in seen(history, contract):
        server = server_of(one) if one.served else None
        if server is not None and one.route is not None and one.route.surface == "messages":
            yield one, server


def _same(clause: str, one: Seen, server: AttemptSpan, differing: list[str], verdict: Verdict) -> None:
    expected = "as the upstream sent it"
    verdict.case(clause, not differing, call=one.call, attempts=(server,), expected=expected, actual=differing)


def _passed(clause: str, passage: Passage, field: str, verdict: Verdict) -> None:
    verdict.case(
        clause,
        passage.same(field),
        call=passage.seen.call,
        attempts=(passage.attempt,),
        expected=f"{field} {passage.mine.get(field)}",
        actual=f"{field} {passage.theirs.get(field)}",
    )
