"""CLIENT-04: what a client's own retries may cost, and whom; its idempotent replays are not judged here."""

from __future__ import annotations

from dataclasses import dataclass

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions, all_listening
from harness.checkers.causes import failure_of
from harness.checkers.circuits import may_deny
from harness.checkers.failover import text_calls
from harness.checkers.money import charged, due_credits, posts
from harness.checkers.refusals import no_slot_free, reasons
from harness.checkers.wire import Seen
from harness.contract import Contract
from harness.history import AttemptSpan, History

BLAMELESS = ("client_fault", "abandoned")
"""Causes of failed attempts that are not the upstream's own."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that a user asked a client for: the tries that the client made, in their order."""

    id: str
    client: str
    tries: tuple[Seen, ...]

    @property
    def failures(self) -> tuple[Seen, ...]:
        """Its tries that failed."""
        return tuple(one for one in self.tries if one.call.outcome in ("refused", "error", "cut"))

    @property
    def attempts(self) -> tuple[AttemptSpan, ...]:
        """What upstreams saw of it."""
        return tuple(attempt for one in self.tries for attempt in one.attempts)

    @property
    def sent(self) -> int:
        return self.tries[0].call.sent

    @property
    def end(self) -> int:
        return self.tries[-1].call.end


def turns(history: History, contract: Contract) -> list[Turn]:
    """Return the turns of retrying clients, in the order they were begun."""
    found: dict[str, list[Seen]] = {}
    for one in text_calls(history, contract):
        turn = str(one.plan.detail.get("turn", ""))
        if turn:
            found.setdefault(turn, []).append(one)
    made = []
    for id_, tries in found.items():
        tries.sort(key=lambda one: one.call.sent)
        made.append(Turn(id_, str(tries[0].plan.detail.get("client", "")), tuple(tries)))
    return sorted(made, key=lambda turn: (turn.sent, turn.id))


@checker("CLIENT-04", "retry_charged_once", books="all")
def retries_pay_for_their_own_success(history: History, contract: Contract, verdict: Verdict) -> None:
    """Of a turn's tries those that failed cost nothing, and the one that was served costs its own tokens, once."""
    for turn in turns(history, contract):
        if not turn.failures:
            continue
        served = [one for one in turn.tries if one.served]
        for one in (*turn.failures, *served):
            paid, wanted = charged(history, one), due_credits(one, contract) if one.served else 0
            if paid is None or wanted is None:
                continue
            entries = len(posts(history, one.call.id)) if history.has_tap("books") else 1
            verdict.case(
                "retry_charged_once",
                paid == wanted and entries <= 1,
                call=one.call,
                attempts=one.attempts,
                expected=f"{wanted} credits for try {turn.tries.index(one) + 1} of {turn.id}",
                actual=f"{paid} credits in {entries} entries",
            )


@checker("CLIENT-04", "quota_apart")
def turns_leave_others_their_quota(history: History, contract: Contract, verdict: Verdict) -> None:
    """While one account's turn fails, another's calls find the windows as their own account left them."""
    found = admissions(history, contract)
    failing = [turn for turn in turns(history, contract) if len(turn.failures) > 1]
    header, window_us = contract.headers.rpm_remaining, contract.text.window_ms * 1000
    for one in found.entries:
        near = [t for t in failing if t.sent <= one.sent <= t.end + window_us and _same_quota(t, one.seen)]
        if not near or not one.judged:
            continue
        if one.refused and not reasons(one, found) and no_slot_free(one, found) is not True:
            verdict.case("quota_apart", False, call=one.id, expected=f"admission of {one.account}", actual="429")
        told = one.seen.call.headers.get(header, "")
        if one.admitted and told.isascii() and told.isdigit():
            window = found.window(one)
            least = window.limits.requests - 1 - window.others_possible(one)
            verdict.case("quota_apart", int(told) >= least, call=one.id, expected=f"{least} left", actual=told)


def _same_quota(turn: Turn, one: Seen) -> bool:
    """Say whether the turn's tries would count against the call's quota, were it not another account's."""
    first = turn.tries[0]
    return first.call.account != one.call.account and first.model is one.model


@checker("CLIENT-04", "circuit_apart")
def turns_open_no_circuit_by_their_own_fault(history: History, contract: Contract, verdict: Verdict) -> None:
    """However often a client repeats what is its own fault, its model's first path goes on being tried."""
    if history.plan.mode != "sim" or not all_listening(history):
        return  # who opened a circuit is told by exact times alone, and an unreachable path is passed over as well
    own = [turn for turn in turns(history, contract) if _own_fault(turn, contract)]
    enough = contract.breaker.min_calls
    for one in text_calls(history, contract):
        assert one.model is not None
        before = [turn for turn in own if turn.tries[0].model is one.model and turn.end < one.call.sent]
        if sum(len(turn.failures) for turn in before) < enough or not one.attempts:
            continue
        first = one.model.chain[0].role
        tried = one.attempts[0].upstream == first
        if tried or not may_deny(history, contract, one.model.id, first, one.call.sent, one.attempts[0].start):
            verdict.case(
                "circuit_apart",
                tried,
                call=one.call,
                attempts=one.attempts[:1],
                expected=f"a try of {first}: {', '.join(turn.id for turn in before[:5])} failed by their own fault",
                actual=one.attempts[0].upstream,
            )


def _own_fault(turn: Turn, contract: Contract) -> bool:
    """Say whether a turn failed, and no try of it for a fault of an upstream's."""
    causes = [failure_of(attempt, one.call, contract) for one in turn.tries for attempt in one.attempts]
    return bool(turn.failures) and all(cause is None or cause.cause in BLAMELESS for cause in causes)
