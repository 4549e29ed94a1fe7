"""Who may spend: minimum balances, holds before upstream calls, and how far below zero (CHAT-06, BILL-08, BILL-10)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from harness.checker import Verdict, checker
from harness.checkers.flaws import answers, due, flaws_of_all, told, wanted
from harness.checkers.money import due_credits, is_billable, posts
from harness.checkers.money import hold as wanted_hold
from harness.checkers.wire import Seen, seen
from harness.contract import Contract
from harness.history import History, LedgerEntry

_TOLD_BEFORE = (None, 400, 401, 403, 404, 405, 413, 415)
"""Statuses of refusals that come before the balance is looked at; None is that of a call whose client left."""


@dataclass(frozen=True, slots=True)
class Purse:
    """What one account could spend over time: available credits (posted less held) after each entry."""

    at: tuple[int, ...]
    available: tuple[int, ...]
    entries: tuple[LedgerEntry, ...]

    def between(self, start: int, end: int) -> set[int]:
        """Return every value that was available at some instant of [start, end]."""
        first, last = bisect_left(self.at, start), bisect_right(self.at, end)
        before = self.available[first - 1] if first else 0
        return {before, *self.available[first:last]}


def purses(history: History) -> dict[str, Purse]:
    """Return each account's purse, from the books."""
    found: dict[str, list[tuple[int, int, LedgerEntry]]] = {}
    for entry in history.ledger:
        rows = found.setdefault(entry.account, [])
        before = rows[-1][1] if rows else 0
        change = sum(credits for name, credits in entry.lines if name == f"customer:{entry.account}")
        rows.append((entry.at, before + change, entry))
    return {
        account: Purse(tuple(r[0] for r in rows), tuple(r[1] for r in rows), tuple(r[2] for r in rows))
        for account, rows in found.items()
    }


@dataclass(frozen=True, slots=True)
class Decision:
    """A call that the gateway let in or refused for its balance, and what was available when it decided."""

    one: Seen
    let_in: bool
    available: set[int]
    hold: int | None


def _decisions(history: History, contract: Contract) -> Iterator[Decision]:
    known = purses(history)
    refusal = contract.error("insufficient_balance")
    for one in seen(history, contract):
        purse = known.get(one.plan.account)
        if purse is None or not is_billable(one) or one.interrupted:
            continue  # what a crash lost meanwhile was available, or was not, and no book tells
        own = next((entry for entry in history.entries_of(one.call.id) if entry.kind == "hold"), None)
        if own is not None:
            index = purse.entries.index(own)
            before = purse.available[index - 1] if index else 0
            yield Decision(one, True, {before}, own.amount)
        elif one.call.status == refusal.status:
            start, end = one.call.sent - history.skew_us, one.call.end + history.skew_us
            yield Decision(one, False, purse.between(start, end), _hold_of(one, contract))


def _hold_of(one: Seen, contract: Contract) -> int | None:
    """Return what the call must hold, from the size of the body as it was sent; None where that is not known."""
    if not one.call.request_bytes or one.model is None:
        return None
    return wanted_hold(contract, one.model, one.call.request_bytes, one.plan.detail.get("max_tokens"))


@checker(
    "CHAT-06",
    "below_minimum",
    "messages",
    "responses",
    "no_upstream_call",
    "holds_deducted",
    "exact_minimum_passes",
    "whatever_hold",
    books="all",
)
def general_calls_need_the_minimum(history: History, contract: Contract, verdict: Verdict) -> None:
    """On the general paths the available balance decides, against the minimum alone."""
    minimum = contract.money.general_minimum_credits
    for made in _decisions(history, contract):
        one = made.one
        if one.tier != "general" or one.route is None:
            continue
        surface = "below_minimum" if one.route.surface == "chat" else one.route.surface
        if made.let_in:
            (available,) = made.available
            clause = "exact_minimum_passes" if available == minimum else surface
            verdict.case(
                clause,
                available >= minimum,
                call=one.call,
                expected=f"402: {available} credits are available, the minimum is {minimum}",
                actual="let in",
            )
            if made.hold is not None and made.hold > available >= minimum:
                verdict.case("whatever_hold", True, call=one.call)
            continue
        exactly = made.available == {minimum}
        clause = "exact_minimum_passes" if exactly else "whatever_hold" if min(made.available) >= minimum else surface
        verdict.case(
            clause,
            min(made.available) < minimum,
            call=one.call,
            expected=f"let in: at least {min(made.available)} credits are available, the minimum is {minimum}",
            actual="402",
        )
        if exactly and made.hold is not None and made.hold > minimum:
            verdict.case("whatever_hold", False, call=one.call, expected="let in, whatever the hold", actual="402")
        _reached_nobody(made, verdict)
        if _posted(history, one.plan.account, one.call.sent) >= minimum > max(made.available):
            verdict.case("holds_deducted", True, call=one.call)
    for one, rows in flaws_of_all(history, contract):
        if rows and one.tier == "general" and one.route is not None and rows[0].name == "insufficient_balance":
            clause = "below_minimum" if one.route.surface == "chat" else one.route.surface
            first = due(rows)
            verdict.case(clause, answers(one, first), call=one.call, expected=wanted(first), actual=told(one.call))
    for one, posted, available in _let_in_on_held_money(history, contract, minimum):
        verdict.case(
            "holds_deducted",
            False,
            call=one.call,
            expected=f"402: {posted} posted, but {available} available",
            actual="let in",
        )


def _posted(history: History, account: str, at: int) -> int:
    """Return the posted balance of ``account`` at an instant."""
    return sum(entry.credits for entry in history.ledger if entry.account == account and entry.at <= at)


def _let_in_on_held_money(history: History, contract: Contract, minimum: int) -> Iterator[tuple[Seen, int, int]]:
    for made in _decisions(history, contract):
        if made.one.tier == "general" and made.let_in:
            (available,) = made.available
            posted = _posted(history, made.one.plan.account, made.one.call.sent)
            if available < minimum <= posted:
                yield made.one, posted, available


def _reached_nobody(made: Decision, verdict: Verdict) -> None:
    verdict.case(
        "no_upstream_call",
        not made.one.attempts,
        call=made.one.call,
        attempts=made.one.attempts,
        expected="no upstream call behind a 402",
        actual=f"{len(made.one.attempts)} attempts",
    )


@checker("BILL-08", "hold_before_upstream", "hold_size", "over_hold_in_full", "later_402", books="all")
def calls_hold_their_estimate(history: History, contract: Contract, verdict: Verdict) -> None:
    """A call holds its estimate before it goes upstream; what exceeds it is charged in full."""
    if not history.has_tap("books"):
        return
    for one in seen(history, contract):
        if not is_billable(one):
            continue
        entries = history.entries_of(one.call.id)
        held = next((entry for entry in entries if entry.kind == "hold"), None)
        if one.attempts:
            verdict.case(
                "hold_before_upstream",
                held is not None and held.at <= one.attempts[0].start + history.skew_us,
                call=one.call,
                attempts=one.attempts[:1],
                expected="a hold before the first attempt",
                actual="no hold" if held is None else f"held at {held.at} µs, attempt at {one.attempts[0].start} µs",
            )
        wanted = _hold_of(one, contract)
        if held is not None and wanted is not None:
            verdict.case(
                "hold_size",
                held.amount == wanted,
                call=one.call,
                expected=f"{wanted} credits held",
                actual=f"{held.amount}",
            )
        for post in posts(history, one.call.id):
            wanted = due_credits(one, contract)
            if held is not None and max(-post.credits, wanted or 0) > held.amount:
                _over_hold(one, post, wanted, history, contract, verdict)


def _over_hold(
    one: Seen, post: LedgerEntry, wanted: int | None, history: History, contract: Contract, verdict: Verdict
) -> None:
    verdict.case(
        "over_hold_in_full",
        wanted is None or -post.credits == wanted,
        call=one.call,
        expected=f"{wanted} credits in full, above the hold",
        actual=f"{-post.credits}",
    )
    if post.balance > 0:
        return
    refusal = contract.error("insufficient_balance").status
    purse = purses(history)[one.plan.account]
    for later in seen(history, contract):
        if later.plan.account != one.plan.account or not is_billable(later) or later.call.sent <= post.at:
            continue
        if max(purse.between(later.call.sent, later.call.end)) <= 0:
            # What is wrong with the request itself is told first, and who left was told nothing.
            ok = True if later.call.status == refusal else None if later.call.status in _TOLD_BEFORE else False
            verdict.case(
                "later_402",
                ok,
                call=later.call,
                expected=f"402: nothing is available after {one.call.id}'s excess",
                actual=f"{later.call.status}",
            )


@checker(
    "BILL-10",
    "refused_402",
    "no_upstream_call",
    "hold_covered",
    "minimum_lets_in",
    "just_below",
    "concurrent",
    "general_text",
    "bounded_overdraft",
    books="all",
)
def only_those_who_can_pay_are_served(history: History, contract: Contract, verdict: Verdict) -> None:
    """A call is let in on a balance that covers its hold or the minimum, and on nothing else."""
    if not history.has_tap("books"):
        return
    refusal, least = contract.error("insufficient_balance"), contract.money.enterprise_minimum_credits
    for one, rows in flaws_of_all(history, contract):
        if rows and due(rows) == (refusal,) and one.call.status is not None and not one.interrupted:
            verdict.case(
                "refused_402",
                answers(one, due(rows)),
                call=one.call,
                expected=f"402 of type {refusal.type}: the account never had a credit to spend",
                actual=f"{one.call.status} {one.call.reading.error_type}",
            )
    for made in _decisions(history, contract):
        call = made.one.call
        if not made.let_in:
            verdict.case(
                "refused_402",
                None if call.outcome == "aborted" else call.reading.error_type == refusal.type,
                call=call,
                expected=f"402 of type {refusal.type}",
                actual=f"{call.status} {call.reading.error_type}",
            )
            _reached_nobody(made, verdict)
        if made.one.tier == "general":
            bound = contract.money.general_minimum_credits
            fits = {available >= bound for available in made.available}
            ok = made.let_in in fits
            verdict.case("general_text", ok, call=call, expected=f"at least {bound} available", actual=_told(made))
        elif made.one.tier == "enterprise" and made.hold is not None:
            _enterprise(made, least, history, verdict)
    for account, purse in purses(history).items():
        _overdraft(account, purse, verdict)


def _told(made: Decision) -> str:
    return f"{'let in' if made.let_in else 'refused'} with {sorted(made.available)} available, hold {made.hold}"


def _enterprise(made: Decision, least: int, history: History, verdict: Verdict) -> None:
    assert made.hold is not None
    fits = {available >= made.hold or available >= least for available in made.available}
    lowest = min(made.available)
    if lowest >= made.hold:
        clause = "hold_covered"
    elif lowest >= least:
        clause = "minimum_lets_in"
    else:
        clause = "just_below"
    expected = f"let in if and only if {made.hold} (its hold) or {least} (the minimum) are available"
    ok = made.let_in in fits
    if len(fits) == 1:
        verdict.case(clause, ok, call=made.one.call, expected=expected, actual=_told(made))
    if _others_under_way(made.one, history):
        # In one instant a refusal met any of the balances that came by; wrong is what fits none of them.
        verdict.case("concurrent", ok, call=made.one.call, expected=expected, actual=_told(made))


def _others_under_way(one: Seen, history: History) -> bool:
    """Say whether another call of the account was sent in the same instant: the race that a check alone loses."""
    return any(
        call.account == one.call.account and call.id != one.call.id and abs(call.sent - one.call.sent) <= 1_000
        for call in history.calls
    )


def _overdraft(account: str, purse: Purse, verdict: Verdict) -> None:
    """Below zero go only the shortfall of a call that the minimum let in and what posts exceed their holds by."""
    allowed = 0
    held: dict[str, int] = {}
    before = 0
    for entry, available in zip(purse.entries, purse.available, strict=True):
        if entry.kind == "hold":
            held[entry.call] = entry.amount
            allowed = max(allowed, entry.amount - before) if entry.amount > before else allowed
        elif entry.kind == "post":
            allowed += max(0, -entry.credits - held.pop(entry.call, 0))
        verdict.case(
            "bounded_overdraft",
            entry.balance >= -allowed,
            call=entry.call,
            expected=f"{account} no lower than {-allowed}",
            actual=f"{entry.balance}",
        )
        before = available
