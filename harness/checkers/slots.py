"""GOV-02 and GOV-09: how many calls of a model are in flight, and whether every slot comes back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions, edge_us
from harness.checkers.counts import Admission, Admissions, Pool
from harness.checkers.refusals import reasons
from harness.checkers.steps import StepSum
from harness.contract import Contract
from harness.history import History


@checker("GOV-02", "cap", "draining_included", "failover_one_slot")
def slots_are_bounded(history: History, contract: Contract, verdict: Verdict) -> None:
    """At no instant are more calls of a model in flight upstream than its concurrency limit."""
    for name, pool in admissions(history, contract).pools.items():
        limit = pool.limits.concurrency
        flying, draining = in_flight(pool, edge_us(history))
        peak, at_us = flying.peak()
        if peak >= limit:
            verdict.case("cap", peak <= limit, expected=f"{limit} of {name} in flight", actual=peak, at_us=at_us)
        for since, until in draining.periods(1):
            most = flying.most(since, until - 1)
            if most >= limit:
                verdict.case(
                    "draining_included",
                    most <= limit,
                    expected=f"{limit} of {name} in flight, draining ones counted",
                    actual=most,
                    at_us=since,
                )
        _failing_over(pool, contract, verdict)


def in_flight(pool: Pool, edge: int) -> tuple[StepSum, StepSum]:
    """Return how many attempts were certainly in flight, and how many of those whose client had gone."""
    flying, draining = StepSum(), StepSum()
    for one in pool.entries:
        for attempt in one.seen.attempts:
            until = attempt.attached - (edge if attempt.ended == "left" else 0)
            flying.add(attempt.start, until)
            if one.seen.call.outcome == "aborted":
                draining.add(max(one.seen.call.end, attempt.start), until)
    return flying, draining


def _failing_over(pool: Pool, contract: Contract, verdict: Verdict) -> None:
    """A call keeps its one slot through the pauses of its failover: no more, no less."""
    limit, header = pool.limits.concurrency, contract.headers.concurrency_remaining
    pausing = StepSum()
    moving = StepSum()
    for one in pool.entries:
        attempts = one.seen.attempts
        if len(attempts) > 1:
            moving.add(one.busy_from + 1, one.busy_to)
        for before, after in pairwise(attempts):
            pausing.add(before.end, after.start)
    for since, until in pausing.periods(1):
        most = pool.busy.most(since, until - 1)
        if most >= limit:
            verdict.case(
                "failover_one_slot",
                most <= limit,
                expected=f"{limit} slots, calls between two attempts counted",
                actual=most,
                at_us=since,
            )
    for one in pool.entries:
        told = one.figure(header)
        if one.admitted and one.judged and told is not None and moving.least(one.lo, one.hi):
            least, most = limit - 1 - pool.others_possibly_busy(one), limit - 1 - pool.others_busy(one)
            verdict.case(
                "failover_one_slot",
                least <= told <= most,
                call=one.id,
                expected=f"{header} between {max(0, least)} and {most}, one slot for each call in failover",
                actual=told,
            )


@checker(
    "GOV-09",
    "success",
    "upstream_error",
    "timeout",
    "disconnect",
    "cancelled_wait",
    "handler_crash",
    "probe_after_storm",
)
def slots_come_back(history: History, contract: Contract, verdict: Verdict) -> None:
    """A slot is given back on every way out: a lone call finds all slots free but its own."""
    header = contract.headers.concurrency_remaining
    found = admissions(history, contract)
    for pool in found.pools.values():
        limit = pool.limits.concurrency
        peak, peak_at_us = pool.busy.peak()
        lost = 0
        for probe, gone in _lone(pool, found):
            told = probe.figure(header)
            if probe.refused:
                told = -1  # it found none at all, not even its own
            if told is None:
                continue
            missing = limit - 1 - told
            held = dict.fromkeys(sorted({_way_out(one) for one in gone} - {""}), 0 <= missing <= lost)
            if peak >= limit and probe.lo > peak_at_us:
                held["probe_after_storm"] = missing == 0
            for way, kept in held.items():
                verdict.case(
                    way,
                    kept,
                    call=probe.id,
                    expected=f"{header}: {limit - 1 - (0 if way == 'probe_after_storm' else lost)} for a lone call",
                    actual=lambda told=told, gone=gone: (
                        f"{'none, not even its own' if told < 0 else told}, after {len(gone)} calls"
                    ),
                )
            lost = max(lost, missing)  # what was missing before is not the later ways' fault


def _lone(pool: Pool, found: Admissions) -> Iterator[tuple[Admission, list[Admission]]]:
    """Yield each call that was certainly alone at its grant or refusal, and those that were over since the last such.

    A lone call that was refused, and for nothing that it can have run into, is one for which there was no slot.
    """
    order = sorted(pool.entries, key=lambda one: one.free)
    done = 0
    gone: list[Admission] = []
    for probe in sorted(pool.entries, key=lambda one: one.lo):
        while done < len(order) and order[done].free <= probe.lo:
            gone.append(order[done])
            done += 1
        settled = probe.admitted or (probe.refused and not reasons(probe, found))
        if settled and probe.judged and gone and pool.others_possibly_busy(probe) == 0:
            yield probe, gone
            gone = []


def _way_out(one: Admission) -> str:
    """Return by which way a call that held a slot, or waited for one, left it; empty for none of them."""
    call, attempts = one.seen.call, one.seen.attempts
    if call.outcome == "aborted":
        return "disconnect" if attempts else "cancelled_wait" if one.waited else ""
    if one.admitted is False:
        return ""
    if call.outcome == "ok" and call.status == 200:
        return "success"
    if call.status == 500:
        return "handler_crash"
    if call.status == 504 or (attempts and attempts[-1].ended == "left"):
        return "timeout"
    return "upstream_error" if attempts else ""
