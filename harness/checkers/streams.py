"""Checkers of streams whatever their packets: reassembled content, framing, and pings in silence."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from harness.checker import Verdict, checker
from harness.checkers.money import server_of
from harness.checkers.passage import owed, undelivered
from harness.checkers.wire import TEXT_SURFACES, Seen, answer_body, fault_names, seen
from harness.contract import Contract
from harness.history import AttemptSpan, History

_CHUNKS_TOLD = 512
"""A span tells the arrival of so many chunks at most: of a longer stream the silences are not known."""
_PASSED_ON = 50
"""A ping this close behind other bytes, as a part of the interval, is likely the upstream's own, passed on."""
_FRAMINGS = {
    "split_utf8": "split_character",
    "crlf": "crlf",
    "split_crlf": "crlf",
    "comments": "comments",
    "multi_line_data": "several_data_lines",
    "duplicate_event": "duplicates",
    "events_out_of_order": "disorder",
}
"""Faults that leave a stream well formed event by event, and the clause that each one tries."""
_FIELDS = {
    "text": ("text", "thinking"),
    "tool_arguments": ("tools",),
    "finish_reason": ("finish",),
    "usage": ("usage",),
}
_ALL = ("text", "thinking", "signature", "tools", "finish", "usage", "items", "sequence")


@checker("CHAT-07", *_FIELDS, *dict.fromkeys(_FRAMINGS.values()), "split_line")
def streams_are_read_whatever_their_packets(history: History, contract: Contract, verdict: Verdict) -> None:
    """What the client reassembles from a stream equals what the upstream sent, for any chunk boundaries."""
    faults = fault_names(history)
    chopped = bool(history.plan.options.get("chop"))
    for one in seen(history, contract):
        if not one.plan.stream:
            continue
        server = server_of(one) if one.served else None
        if server is not None and server.stream:
            for clause, fields in _FIELDS.items():
                if clause != "tool_arguments" or server.reading.tools or one.call.reading.tools:
                    _same(clause, one, server, fields, verdict)
        for attempt in owed(history, contract, one, _FRAMINGS):
            for name in sorted(faults[attempt.id] & _FRAMINGS.keys()):
                _same(_FRAMINGS[name], one, attempt, _ALL, verdict)
        for attempt in owed(history, contract, one) if chopped else ():
            _same("split_line", one, attempt, _ALL, verdict)


def _same(clause: str, one: Seen, attempt: AttemptSpan, fields: tuple[str, ...], verdict: Verdict) -> None:
    differing = undelivered(one, attempt, *fields)
    expected = f"{', '.join(fields)} as the upstream sent it"
    verdict.case(clause, not differing, call=one.call, attempts=(attempt,), expected=expected, actual=differing)


@checker("MSG-03", "ping_interval", "before_first_byte", "openai_comment")
def silence_is_filled_with_pings(history: History, contract: Contract, verdict: Verdict) -> None:
    """While an upstream is silent a ping comes at every interval of the contract, in the surface's own form."""
    faults = fault_names(history)
    ping_us = 1000 * contract.timeouts.ping_ms
    link_us = round(1000 * float(history.plan.options.get("latency_ms", 0)))
    slack_us = ping_us // 20 + 2 * link_us + 25 * history.skew_us
    for one in seen(history, contract):
        if not one.plan.stream or one.route is None or one.route.surface not in TEXT_SURFACES or not one.attempts:
            continue
        # Pings of the upstream's own may be passed on or not: what is the gateway's cannot be told from them.
        mixed = any(faults.get(attempt.id, frozenset()) & {"pings", "comments"} for attempt in one.attempts)
        if one.call.status != 200 or mixed or len(one.call.chunks) >= _CHUNKS_TOLD:
            continue
        if one.plan.detail.get("read_pause_ms"):
            continue  # it reads when it likes: when a ping came is not when it was read
        for took_us, before in _silences(one):
            if took_us > ping_us + slack_us:
                _interval(one, before, False, took_us, ping_us, verdict)
        for took_us, before in _before_pings(one):
            if took_us >= ping_us // _PASSED_ON:
                _interval(one, before, took_us >= ping_us - slack_us, took_us, ping_us, verdict)
        _form(history, one, verdict)


def _silences(one: Seen) -> Iterator[tuple[int, bool]]:
    """Yield each time that an upstream was silent and the caller heard nothing, and whether it was before content.

    Between two attempts nobody is silent: each attempt's own time is looked at alone.
    """
    arrivals = sorted({*one.call.chunks, *one.call.pings})
    for attempt in one.attempts:
        gone = attempt.end if attempt.left is None else attempt.left[0]
        stop = min(gone, one.call.end)
        signs = [at for at in arrivals if attempt.start < at < stop]
        if attempt.first_chunk is not None and attempt.first_chunk < stop:
            signs.append(attempt.first_chunk)
        last = attempt.start
        for at in (*sorted(signs), stop):
            yield at - last, _is_before_content(one, at)
            last = at


def _before_pings(one: Seen) -> Iterator[tuple[int, bool]]:
    """Yield how long the caller had heard nothing when each ping came, and whether that was before content."""
    arrivals = sorted({one.call.sent, *one.call.chunks, *one.call.pings})
    for ping in sorted(set(one.call.pings)):
        yield ping - arrivals[bisect_left(arrivals, ping) - 1], _is_before_content(one, ping)


def _is_before_content(one: Seen, at: int) -> bool:
    return one.call.first_content is None or at <= one.call.first_content


def _interval(one: Seen, before: bool, ok: bool, took_us: int, ping_us: int, verdict: Verdict) -> None:
    expected = f"a ping after every {ping_us / 1000:.0f} ms of silence"
    actual = f"{took_us / 1000:.1f} ms"
    clause = "before_first_byte" if before else _form_clause(one)
    verdict.case(clause, ok, call=one.call, attempts=one.attempts, expected=expected, actual=actual)


def _form_clause(one: Seen) -> str:
    return "ping_interval" if one.route is not None and one.route.anthropic else "openai_comment"


def _form(history: History, one: Seen, verdict: Verdict) -> None:
    """Judge that the pings have the surface's form: Anthropic's event, a comment line elsewhere."""
    body = answer_body(history, one.call)
    if body is None or one.call.outcome == "aborted":  # it may have left in the middle of one
        return
    clause, count = _form_clause(one), len(one.call.pings)
    found = (len(re.findall(rb"(?m)^event: ?ping\r?$", body)), len(re.findall(rb"(?m)^:", body)))
    wanted = (count, 0) if clause == "ping_interval" else (0, count)
    if not any((*found, count)):
        return
    verdict.case(
        clause,
        found == wanted,
        call=one.call,
        expected=f"{wanted[0]} ping events and {wanted[1]} comment lines",
        actual=f"{found[0]} ping events and {found[1]} comment lines",
    )
