"""Branches of crashes: the gateway killed, in the middle of what, and what it did when it was back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from harness.branches.vocabulary import branch, charged
from harness.checkers.admissions import crashed_us
from harness.checkers.money import is_billable, posts
from harness.checkers.wire import Seen
from harness.contract import Contract
from harness.history import History


@branch("BILL-06.across_restart", tap="books")
def crash_replayed(history: History, contract: Contract) -> Iterator[object]:
    """The gateway was killed with holds open, and gave them back when it was there again."""
    if not any(note.kind == "crash" for note in history.notes):
        return
    kills = [note.at for note in history.notes if note.kind == "kill"] or [crashed_us(history)]
    held = {entry.call: entry.at for entry in history.entries("hold")}
    for entry in history.entries("void"):
        call = history.call.get(entry.call)
        if entry.call not in held or call is None or call.outcome != "cut":
            continue
        if any(held[entry.call] <= kill <= entry.at + history.skew_us for kill in kills):
            yield entry


@branch("BILL-06.across_restart", tap="")
def killed(history: History, contract: Contract) -> Iterator[object]:
    """The gateway was killed."""
    return (note for note in history.notes if note.kind == "kill")


@branch("BILL-06.across_restart")
def killed_inside_a_stream(history: History, contract: Contract) -> Iterable[object]:
    """The gateway was killed while an upstream was still sending and a caller had part of the answer."""
    return _kills(
        history, contract, lambda one: one.call.first_content is not None and one.attempts[-1].ended == "left"
    )


@branch("BILL-06.across_restart", tap="books")
def killed_inside_a_settlement(history: History, contract: Contract) -> Iterable[object]:
    """The gateway was killed when an upstream had sent all of its answer, and no charge for it was booked."""
    return _kills(history, contract, lambda one: one.attempts[-1].ended == "served" and not posts(history, one.call.id))


@branch("BILL-06.across_restart", tap="books")
def killed_inside_a_commit(history: History, contract: Contract) -> Iterable[object]:
    """The gateway was killed between appending a record and telling of it: a hold is lost, or a charge is untold."""

    def inside(one: Seen) -> bool:
        kinds = [entry.kind for entry in history.entries_of(one.call.id)]
        return not kinds or ("post" in kinds and not one.call.claims.get("billing"))

    return _kills(history, contract, inside)


@branch("INS-03.over_threshold_pays", tap="books")
def killed_before_a_payout(history: History, contract: Contract) -> Iterator[object]:
    """The gateway was killed when a slow call's charge was in its books, and its payout was not."""
    threshold_us = contract.insurance.threshold_ms * 1000 + history.skew_us
    kills = [note.at for note in history.notes if note.kind == "kill"]
    for one in charged(history, contract) if kills else ():
        if one.call.outcome not in ("ok", "cut") or not one.attempts or one.tier != "enterprise":
            continue
        slow = one.attempts[-1].ended == "served" and one.attempts[-1].end - one.call.sent > threshold_us
        for post in posts(history, one.call.id) if slow else ():
            paid = min((e.at for e in history.entries_of(one.call.id) if e.kind == "payout"), default=None)
            if any(post.at <= kill and (paid is None or kill <= paid) for kill in kills):
                yield post


def _kills(history: History, contract: Contract, inside: Callable[[Seen], bool]) -> Iterable[object]:
    """Return the kills that cut a billable call at an upstream, one of which ``inside`` is true."""
    found: set[int] = set()
    for kill in (note.at for note in history.notes if note.kind == "kill"):
        for one in charged(history, contract):
            if one.call.outcome != "cut" or not one.attempts or not is_billable(one):
                continue
            under_way = one.attempts[0].start - history.skew_us <= kill <= one.call.end + history.skew_us
            if under_way and inside(one):
                found.add(kill)
                break
    return found


@branch("GOV-09.handler_crash", tap="")
def handler_crashed(history: History, contract: Contract) -> Iterator[object]:
    """The gateway failed by itself, and said so."""
    return (call for call in history.calls if call.status == contract.error("internal").status)
