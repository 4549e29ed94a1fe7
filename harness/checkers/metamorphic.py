"""What must be alike whatever the prices are: calls of one history compared with each other, no price list needed.

A tag ``<relation>:<name>`` puts calls into one group. They compare only where their upstreams told the same usage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from harness.checker import Verdict, checker
from harness.checkers.money import charged, server_of
from harness.checkers.wire import Seen, seen
from harness.contract import Contract
from harness.history import History

CLASSES = ("input", "cache_read", "cache_write", "output")


def groups(relation: str, history: History, contract: Contract) -> Iterator[list[Seen]]:
    """Yield the groups of a relation, their served calls in the plan's order, those with at least two."""
    found: dict[str, list[Seen]] = {}
    for one in seen(history, contract):
        for word in one.words:
            if word.startswith(f"{relation}:") and one.served and server_of(one) is not None:
                found.setdefault(word, []).append(one)
    return (group for group in found.values() if len(group) > 1)


def _usage(one: Seen) -> Any:
    server = server_of(one)
    return server.reading.usage if server is not None else None


def _alike(
    clause: str,
    group: list[Seen],
    of: Callable[[Seen], object],
    what: str,
    verdict: Verdict,
) -> None:
    """Judge that each call of a group shows what its first one does; where either cannot be seen, nothing is said."""
    first, wanted = group[0], of(group[0])
    for one in group[1:]:
        got = of(one)
        if wanted is None or got is None or _usage(one) != _usage(first):
            continue
        verdict.case(
            clause,
            got == wanted,
            call=one.call,
            attempts=one.attempts,
            expected=f"{what} as of {first.call.id}: {wanted}",
            actual=got,
        )


@checker("BILL-04", "final_usage")
def a_stream_costs_what_the_whole_answer_costs(history: History, contract: Contract, verdict: Verdict) -> None:
    """The same usage costs the same, told in a stream, in one answer, or in other packets."""
    for relation in ("streamed", "packets"):
        for group in groups(relation, history, contract):
            _alike("final_usage", group, lambda one: charged(history, one), "the charge", verdict)


@checker("BILL-05", "failed_attempts_unbilled")
def a_detour_costs_what_the_straight_way_costs(history: History, contract: Contract, verdict: Verdict) -> None:
    """The same usage costs the same, whichever try told it."""
    for group in groups("detour", history, contract):
        _alike("failed_attempts_unbilled", group, lambda one: charged(history, one), "the charge", verdict)


@checker("BILL-01", *CLASSES)
def more_tokens_never_cost_less(history: History, contract: Contract, verdict: Verdict) -> None:
    """With more tokens of one class, all others alike, a call costs no less."""
    for name in CLASSES:
        for group in groups(f"more_{name}", history, contract):
            costs = [(one, charged(history, one)) for one in group]
            for (before, less), (after, more) in pairwise(pair for pair in costs if pair[1] is not None):
                verdict.case(
                    name,
                    less is not None and more is not None and less <= more,
                    call=after.call,
                    attempts=after.attempts,
                    expected=f"at least {before.call.id}'s {less} credits",
                    actual=more,
                )


@checker("GOV-04", "all_keys")
def two_keys_are_as_good_as_one(history: History, contract: Contract, verdict: Verdict) -> None:
    """An account with two keys is told what one with a single key is told, call by call."""
    header = contract.headers.rpm_remaining
    for group in groups("keys", history, contract):
        _alike("all_keys", group, lambda one: one.call.headers.get(header), header, verdict)


@checker("CHAT-07", "usage", "finish_reason")
def packets_change_nothing(history: History, contract: Contract, verdict: Verdict) -> None:
    """A stream that comes in other packets ends as the whole one does, with the same usage."""
    for group in groups("packets", history, contract):
        _alike("usage", group, lambda one: one.call.reading.usage, "usage", verdict)
        _alike("finish_reason", group, lambda one: one.call.reading.finish, "the finish reason", verdict)
