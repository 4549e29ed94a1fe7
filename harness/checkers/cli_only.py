"""Checkers of the models that only the official command line client may use, and of what becomes of a key elsewhere."""

from __future__ import annotations

from harness.checker import Verdict, checker
from harness.checkers.flaws import (
    OFFICIAL_CLI,
    answers,
    as_planned,
    due,
    flaws_of_all,
    is_max_model,
    reaches_nobody,
    told,
    wanted,
)
from harness.checkers.wire import BODILESS, Seen
from harness.contract import Contract, ErrorRow
from harness.history import History

_GIVING = ("refund", "top_up", "payout")
_HEADLESS = "sdk-cli"
"""What the client's own name says when it runs without a terminal."""


@checker(
    "MSG-07",
    "headless",
    "interactive",
    "other_client",
    "other_path",
    "no_upstream_call",
    "suspended",
    "no_refund",
    "earlier_400_stands",
    "not_a_max_model",
    "others_open",
    books=("no_refund",),
)
def max_models_are_for_the_official_cli(history: History, contract: Contract, verdict: Verdict) -> None:
    """A -max Claude model is served to the official CLI alone; any other use gets 403 and suspends the key for good."""
    calls = flaws_of_all(history, contract)
    for one, rows in calls:
        if one.route is None or rows is None or one.route.surface in BODILESS:
            continue
        names = [row.name for row in rows]
        if not rows:
            _allowed(one, contract, verdict)
        elif names[0] == "cli_only":
            _violation(history, one, rows, verdict)
        elif names[0] == "suspended_key":
            _answered("suspended", one, rows, verdict)
        elif "cli_only" in names and rows[0].status != 401:
            _answered("earlier_400_stands", one, rows, verdict)
            later = (o for o, r in calls if r == () and o.plan.key == one.plan.key and o.call.sent >= one.call.end)
            for other in later:
                ok = as_planned(other, ())
                expected = f"an answer after the refused {one.call.id}"
                verdict.case("earlier_400_stands", ok, call=other.call, expected=expected, actual=told(other.call))


def _allowed(one: Seen, contract: Contract, verdict: Verdict) -> None:
    ok = as_planned(one, ())
    expected = f"an answer to {one.plan.model}"
    if one.model is not None and one.model.cli_only:
        clause = "headless" if _HEADLESS in one.headers.get("user-agent", "") else "interactive"
        verdict.case(clause, ok, call=one.call, expected=expected, actual=told(one.call))
        return
    if one.plan.model.endswith("-max") and not is_max_model(contract, one.plan.model):
        verdict.case("not_a_max_model", ok, call=one.call, expected=expected, actual=told(one.call))
    if OFFICIAL_CLI not in one.words:
        open_ = None if one.call.status is None else one.call.status != 403
        verdict.case("others_open", open_, call=one.call, expected="no 403", actual=told(one.call))


def _violation(history: History, one: Seen, rows: tuple[ErrorRow, ...], verdict: Verdict) -> None:
    assert one.route is not None
    _answered("other_client" if one.route.anthropic else "other_path", one, rows, verdict)
    reaches_nobody(one, verdict)
    if history.has_tap("books"):
        since = one.call.sent - history.skew_us
        given = [e for e in history.ledger if e.account == one.plan.account and e.kind in _GIVING and e.at >= since]
        ours = [e for e in given if e.kind != "payout" or e.call == one.call.id]
        verdict.case("no_refund", not ours, call=one.call, expected="nothing given back", actual=ours)


def _answered(clause: str, one: Seen, rows: tuple[ErrorRow, ...], verdict: Verdict) -> None:
    first = due(rows)
    verdict.case(clause, answers(one, first), call=one.call, expected=wanted(first), actual=told(one.call))
