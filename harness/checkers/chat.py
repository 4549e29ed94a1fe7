"""Checkers of chat completions: the answer's shape, streams as they arrive, tool calls."""

from __future__ import annotations

from typing import Any

from harness.checker import Verdict, checker
from harness.checkers.flaws import flaws_of_all, served_case, told
from harness.checkers.money import server_of
from harness.checkers.passage import owed, own_answer_case, undelivered, unlike
from harness.checkers.wire import Seen, answer_body, fault_names, parsed, seen
from harness.contract import Contract
from harness.history import AttemptSpan, History

_SPREAD_US = 200_000
"""An upstream that takes less than this to send its stream leaves too little time to tell early from late."""
_MANY_CHUNKS = 10
"""Fewer pieces than this may be merged into one on the way by a network that merges."""


@checker("CHAT-01", "managed", "general", "usage", "model")
def chat_answers_a_completion(history: History, contract: Contract, verdict: Verdict) -> None:
    """Chat completions answers a chat.completion with choices, usage and the model id asked for."""
    for one, rows in flaws_of_all(history, contract):
        if one.route is None or one.route.surface != "chat" or rows != ():
            continue
        if not one.plan.stream:
            clause = "managed" if one.tier == "enterprise" else "general"
            if not served_case(clause, one, rows, verdict):
                continue
            _shape(clause, history, one, verdict)
            own_answer_case(clause, history, one, verdict)
        server = server_of(one) if one.served else None
        if server is None:
            continue
        if server.reading.usage is not None:
            ok = one.call.reading.usage is not None
            verdict.case("usage", ok, call=one.call, attempts=(server,), expected="usage", actual="no usage")
        named = one.call.reading.model
        verdict.case("model", named == one.plan.model, call=one.call, expected=one.plan.model, actual=named)


def _shape(clause: str, history: History, one: Seen, verdict: Verdict) -> None:
    body = parsed(answer_body(history, one.call))
    if not isinstance(body, dict):
        return
    choices = body.get("choices")
    ok = body.get("object") == "chat.completion" and isinstance(body.get("id"), str) and bool(choices)
    ok = ok and isinstance(choices, list) and all(_is_choice(choice) for choice in choices)
    actual = f"object {body.get('object')!r}, members {sorted(body)}, choices {choices!r:.200}"
    verdict.case(clause, ok, call=one.call, expected="a chat.completion with choices", actual=actual)


def _is_choice(choice: Any) -> bool:
    """Say whether ``choice`` is one as clients need it: the assistant's message, and why it ended."""
    message = choice.get("message") if isinstance(choice, dict) else None
    return isinstance(message, dict) and message.get("role") == "assistant" and "finish_reason" in choice


@checker("CHAT-02", "as_they_arrive", "usage_in_final_chunk", "done")
def streams_come_as_they_are_made(history: History, contract: Contract, verdict: Verdict) -> None:
    """A stream's chunks come as they arrive (on every surface), chat's usage in its final chunk, then data: [DONE]."""
    hit = fault_names(history)
    for one in seen(history, contract):
        if not one.plan.stream:
            continue
        server = server_of(one) if one.served else None
        if server is not None:
            _as_they_arrive(history, one, server, verdict)
        if one.route is None or one.route.surface != "chat":
            continue
        for attempt in owed(history, contract, one):
            if not undelivered(one, attempt):
                _ending(one, attempt, attempt.id in hit, verdict)
            else:
                actual = f"{told(one.call)}: {one.call.reading.sequence}"
                verdict.case("done", False, call=one.call, attempts=(attempt,), expected="[DONE]", actual=actual)


def _ending(one: Seen, server: AttemptSpan, hit: bool, verdict: Verdict) -> None:
    """Judge how a whole chat stream ended: usage, then [DONE]. An upstream that no fault ``hit`` tells it if asked."""
    *_, before, last = kinds = ["", "", *one.call.reading.sequence.split()]
    verdict.case("done", last == "done", call=one.call, expected="done at the end", actual=one.call.reading.sequence)
    if server.reading.usage is not None or not hit:
        # A provider may tell it in the chunk with the finish reason, instead of in one of its own.
        told_as = before.partition("*")[0] if hit else before  # a fault may send it twice
        final = told_as == "usage" or (before == "finish" and "usage" not in kinds)
        ok = one.call.reading.usage is not None and final
        expected = "usage in the chunk before [DONE]"
        actual = f"{one.call.reading.sequence}; usage {one.call.reading.usage}"
        verdict.case("usage_in_final_chunk", ok, call=one.call, expected=expected, actual=actual)


def _as_they_arrive(history: History, one: Seen, server: AttemptSpan, verdict: Verdict) -> None:
    """Judge streams that take their time: the caller had content while the upstream was still sending."""
    link_us = 1000 * float(history.plan.options.get("latency_ms", 0))
    first = server.first_chunk
    if one.plan.detail.get("read_pause_ms"):
        return  # it reads when it likes
    if first is None or server.chunks < _MANY_CHUNKS or server.end - first < _SPREAD_US + 4 * link_us:
        return
    had = one.call.first_content
    ok = None
    if had is None or had - history.skew_us >= server.end:
        ok = False
    elif had + history.skew_us < server.end:
        ok = True
    verdict.case(
        "as_they_arrive",
        ok,
        call=one.call,
        attempts=(server,),
        expected=f"content before {server.end} us, when the upstream sent its last",
        actual=f"first content at {had} us",
    )


@checker("CHAT-04", "unstreamed", "streamed")
def tool_calls_come_back_unchanged(history: History, contract: Contract, verdict: Verdict) -> None:
    """Tool calls come back unchanged, ids and argument fragments included, streamed or not."""
    for one in seen(history, contract):
        server = server_of(one)
        if one.route is None or one.route.surface != "chat" or server is None or not server.reading.tools:
            continue
        if one.served:
            # A stream's kinds of events say how many fragments there were; gathered answers have none.
            fields = ("tools", "sequence") if one.plan.stream and server.stream else ("tools",)
            differing = unlike(one.call.reading, server.reading, *fields)
            verdict.case(
                "streamed" if one.plan.stream else "unstreamed",
                not differing,
                call=one.call,
                attempts=(server,),
                expected="the upstream's tool calls",
                actual=differing,
            )
