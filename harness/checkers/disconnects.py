"""Calls whose client left: charged on complete usage alone, once, never on a guess (BILL-07)."""

from __future__ import annotations

from harness.checker import Verdict, checker
from harness.checkers.admissions import SOCKET_EDGE_US, slack_us
from harness.checkers.causes import perhaps_too_late
from harness.checkers.money import charged, due_credits, is_billable, posts, server_of
from harness.checkers.wire import Seen, seen
from harness.contract import Contract
from harness.history import History

DRAIN_SLACK_US = 1_000
"""Around the drain limit itself either outcome is lawful: who was first cannot be told from outside."""


@checker(
    "BILL-07",
    "stream_charged",
    "unstreamed_charged",
    "charged_once",
    "incomplete_uncharged",
    "unbilled_disconnect",
    "never_estimated",
    books="all",
)
def disconnects_are_billed_on_what_is_known(history: History, contract: Contract, verdict: Verdict) -> None:
    """A client that leaves pays for a complete answer that came within the drain time, and for nothing else."""
    if not history.has_tap("books"):
        return
    for one in seen(history, contract):
        if not is_billable(one):
            continue
        paid = charged(history, one) or 0
        lawful = {0, due_credits(one, contract) or 0}
        verdict.case(
            "never_estimated",
            paid in lawful,
            call=one.call,
            attempts=one.attempts,
            expected=f"one of {sorted(lawful)} credits",
            actual=f"{paid} credits",
        )
        if one.call.outcome == "aborted" and one.attempts and not one.interrupted:
            _disconnect(one, paid, history, contract, verdict)


def _left_too_soon(one: Seen, until_us: int, contract: Contract) -> bool:
    """Say whether the gateway left an upstream that was at work, before ``until_us`` and any limit of its own."""
    last, times = one.attempts[-1], contract.timeouts
    if last.left is None or last.fault or one.interrupted or not last.start <= one.call.end <= last.attached:
        return False
    left_us = last.left[1]
    patient = left_us - last.start < times.silence_ms * 1000 and left_us - one.call.sent < one.limit_us(contract)
    return left_us < until_us and patient


def _disconnect(one: Seen, paid: int, history: History, contract: Contract, verdict: Verdict) -> None:
    travel = slack_us(history) if history.plan.mode == "sim" else SOCKET_EDGE_US
    slack = DRAIN_SLACK_US + 2 * (history.skew_us + travel)
    limit = one.call.end + contract.timeouts.drain_ms * 1000
    if _left_too_soon(one, limit - slack, contract):
        verdict.case(
            "stream_charged" if one.call.stream else "unstreamed_charged",
            False,
            call=one.call,
            attempts=one.attempts[-1:],
            expected=f"the answer read on until {limit} us, or its end",
            actual=lambda: f"left at {one.attempts[-1].end} us",
        )
        return
    server = server_of(one)
    complete = server is not None and server.ended in ("served", "fault")
    if complete and server is not None and abs(server.end - limit) <= slack:
        return
    if complete and server is not None and perhaps_too_late(server, history, contract):
        return
    if complete and server is not None and server.end < limit:
        wanted = due_credits(one, contract)
        verdict.case(
            "stream_charged" if one.call.stream else "unstreamed_charged",
            paid == wanted,
            call=one.call,
            attempts=(server,),
            expected=f"{wanted} credits: the whole answer came within the drain time",
            actual=f"{paid} credits",
        )
        count = len(posts(history, one.call.id))
        verdict.case("charged_once", count <= 1, call=one.call, expected="one charge", actual=f"{count} charges")
        return
    verdict.case(
        "incomplete_uncharged", paid == 0, call=one.call, attempts=one.attempts, expected="no charge", actual=f"{paid}"
    )
    if not one.left_early(slack_us(history)):
        return
    flags = {flag for row in history.rows_of(one.call.id) for flag in row.flags}
    verdict.case(
        "unbilled_disconnect",
        "unbilled_disconnect" in flags,
        call=one.call,
        expected="flag unbilled_disconnect in the usage log",
        actual=f"{sorted(flags)}",
    )
