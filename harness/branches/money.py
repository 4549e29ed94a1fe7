"""Branches of streams kept awake and of money: holds, charges, usage that makes no sense, payouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.branches.vocabulary import branch
from harness.contract import Contract
from harness.history import History

_USAGE_FLAWS = frozenset({"usage_missing", "usage_negative", "usage_absurd", "usage_conflict"})


@branch("MSG-03.ping_interval", tap="")
def ping_sent(history: History, contract: Contract) -> Iterator[object]:
    """The gateway kept a silent stream awake."""
    for call in history.calls:
        if call.pings and not any(
            {"pings", "comments"} & set(a.fault.split("+")) for a in history.attempts_of(call.id)
        ):
            yield call


# Money


@branch("BILL-02.all_targets_failed", tap="books")
def hold_voided(history: History, contract: Contract) -> Iterable[object]:
    """What a call held was given back uncharged."""
    return history.entries("void")


@branch("BILL-08.over_hold_in_full", tap="books")
def charged_over_hold(history: History, contract: Contract) -> Iterator[object]:
    """A call was charged more than it held."""
    held = {entry.call: entry.amount for entry in history.entries("hold")}
    return (post for post in history.entries("post") if -post.credits > held.get(post.call, -post.credits))


@branch("BILL-09.flagged")
def flawed_usage_met(history: History, contract: Contract) -> Iterator[object]:
    """An upstream told a usage that may not be charged, in an answer that was otherwise whole."""
    return (attempt for attempt in history.attempts if _USAGE_FLAWS & set(attempt.fault.split("+")))


@branch("INS-03.over_threshold_pays", tap="")
def payout(history: History, contract: Contract) -> Iterable[object]:
    """A slow call was compensated."""
    if history.has_tap("books"):
        return history.entries("payout")
    return (c for c in history.calls if (c.claims.get("insurance") or {}).get("status") == "paid")
