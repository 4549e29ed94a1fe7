"""Branches of failover, and of clients that leave: what becomes of a call besides being served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from harness.branches.vocabulary import branch, charged
from harness.checkers.causes import failure_of, listeners, told_retry_after_s
from harness.checkers.wire import down_us
from harness.contract import Contract
from harness.history import AttemptSpan, History


@branch("FAIL-06.chain_order")
def failover_taken(history: History, contract: Contract) -> Iterator[object]:
    """A call went on to another target."""
    return (one for one in charged(history, contract) if len({attempt.upstream for attempt in one.attempts}) > 1)


@branch("FAIL-06.tries_per_target")
def retry_taken(history: History, contract: Contract) -> Iterator[object]:
    """A target was tried again."""
    for one in charged(history, contract):
        yield from (1 for before, after in pairwise(one.attempts) if before.upstream == after.upstream)


@branch("FAIL-06.short_retry_after")
def retry_after_told(history: History, contract: Contract) -> Iterator[object]:
    """An upstream said when to come back, and the call went on."""
    for one in charged(history, contract):
        yield from (1 for before in one.attempts[:-1] if told_retry_after_s(history, before) is not None)


@branch("FAIL-07.one_clean_error")
def chain_exhausted(history: History, contract: Contract) -> Iterator[object]:
    """Every target of a chain failed, and the caller got an error."""
    for one in charged(history, contract):
        if one.model is None or one.served or one.call.outcome == "aborted" or not one.attempts:
            continue
        if {target.role for target in one.model.chain} <= {attempt.upstream for attempt in one.attempts}:
            yield one


@branch("FAIL-05.client_fault_returned")
def client_fault_returned(history: History, contract: Contract) -> Iterator[object]:
    """An upstream called the request itself wrong."""
    return _ended_with(history, contract, contract.failover.client_fault_statuses)


@branch("FAIL-05.target_fault_moves_on")
def target_fault_met(history: History, contract: Contract) -> Iterator[object]:
    """An upstream refused the gateway's own credential or target."""
    return _ended_with(history, contract, contract.failover.target_fault_statuses)


def _ended_with(history: History, contract: Contract, statuses: Iterable[int]) -> Iterator[object]:
    wanted = frozenset(statuses)
    return (attempt for one in charged(history, contract) for attempt in one.attempts if attempt.status in wanted)


@branch("FAIL-03.first_byte")
def silence_ended(history: History, contract: Contract) -> Iterator[object]:
    """The gateway left an upstream that was too slow, for a client that still waited."""
    down = down_us(history)  # what a dead gateway leaves, it did not wait for
    for one in charged(history, contract):
        left = [a for a in one.attempts if a.ended == "left" and not any(x <= a.end and a.start <= y for x, y in down)]
        failures = [failure_of(attempt, one.call, contract) for attempt in left]
        yield from (failure for failure in failures if failure is not None and failure.timed_out)


@branch("FAIL-04.refused", tap="")
def unreachable_target_passed(history: History, contract: Contract) -> Iterator[object]:
    """A call was served although its first target takes no connection."""
    shut = {role for role, state in listeners(history).items() if state != "open"}
    for one in charged(history, contract) if shut else ():
        if one.served and one.model is not None and one.model.chain[0].role in shut:
            yield one


@branch("FAIL-08.early_end")
def stream_broken_after_content(history: History, contract: Contract) -> Iterator[object]:
    """A stream broke when its client had part of the answer."""
    for one in charged(history, contract):
        call = one.call
        if one.plan.stream and call.first_content is not None and call.outcome in ("error", "cut") and one.attempts:
            yield one


# Clients that leave


@branch("FAIL-09.no_further_attempt")
def client_left(history: History, contract: Contract) -> Iterator[object]:
    """A client went away while an upstream worked for it."""
    return (one for one in charged(history, contract) if one.call.outcome == "aborted" and one.attempts)


@branch("BILL-07.stream_charged")
def drained_to_the_end(history: History, contract: Contract) -> Iterator[object]:
    """The gateway read an answer to its end for a client that had left."""
    return _drained(history, contract, "served")


@branch("FAIL-09.ends_within_drain")
def drain_cut_off(history: History, contract: Contract) -> Iterator[object]:
    """The gateway gave an answer up for which the client had left."""
    return _drained(history, contract, "left")


def _drained(history: History, contract: Contract, ended: str) -> Iterator[AttemptSpan]:
    for one in charged(history, contract):
        if one.call.outcome == "aborted":
            yield from (a for a in one.attempts if a.ended == ended and a.end >= one.call.end)


@branch("GOV-03.gone_waiter")
def waiter_left(history: History, contract: Contract) -> Iterator[object]:
    """A client went away that had waited for a slot."""
    for one in charged(history, contract):
        call = one.call
        if one.tier == "enterprise" and call.outcome == "aborted" and not one.attempts and call.end > call.sent:
            yield one
