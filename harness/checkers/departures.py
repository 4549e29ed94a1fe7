"""FAIL-09: what goes on behind a client that went away, for how long, and who holds its slot meanwhile."""

from __future__ import annotations

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions, release_us, slack_us
from harness.checkers.causes import failure_of
from harness.checkers.counts import Admission, Admissions
from harness.checkers.failover import text_calls
from harness.checkers.wire import Seen
from harness.contract import Contract
from harness.history import AttemptSpan, History

_NOTICE_US = 2_000
"""How late an upstream may notice that its caller left."""


@checker("FAIL-09", "no_further_attempt", "ends_within_drain", "zero_cancels_at_once")
def nothing_goes_on_without_a_client(history: History, contract: Contract, verdict: Verdict) -> None:
    """When the client goes away no further attempt is started, and the upstream call ends within the drain time."""
    slack = 2 * slack_us(history) + _NOTICE_US
    for one in text_calls(history, contract):
        if one.call.outcome != "aborted" or not one.attempts:
            continue
        gone = one.call.end
        late = [attempt for attempt in one.attempts if attempt.start > gone + slack]
        if late or _had_more_to_try(one, contract):
            verdict.case(
                "no_further_attempt",
                not late,
                call=one.call,
                attempts=late,
                expected=f"no attempt after {gone} us, when the client had gone",
                actual=lambda late=late: [attempt.start for attempt in late],
            )
        for attempt in one.attempts:
            if attempt.start <= gone <= attempt.end:
                _drained(attempt, one, slack, contract, verdict)


def _had_more_to_try(one: Seen, contract: Contract) -> bool:
    """Say whether a gateway that had not heard of the departure would have tried again."""
    failure = failure_of(one.attempts[-1], one.call, contract)
    return failure is not None and failure.cause != "client_fault" and not (one.plan.stream and failure.content)


def _drained(attempt: AttemptSpan, one: Seen, slack: int, contract: Contract, verdict: Verdict) -> None:
    drain_us = contract.timeouts.drain_ms * 1000
    went_on_us = attempt.attached - one.call.end
    verdict.case(
        "zero_cancels_at_once" if not drain_us else "ends_within_drain",
        went_on_us <= drain_us + slack,
        call=one.call,
        attempts=(attempt,),
        expected=f"an end within {drain_us} us",
        actual=f"{went_on_us} us",
        at_us=attempt.end,
    )


@checker("FAIL-09", "slot_held", "slot_freed")
def departed_clients_hold_their_slot_until_the_drain_ends(
    history: History, contract: Contract, verdict: Verdict
) -> None:
    """The slot of a client that went away is held while its upstream call goes on, and free after."""
    found = admissions(history, contract)
    header = contract.headers.concurrency_remaining
    for pool in found.pools.values():
        departed = [one for one in pool.entries if one.seen.call.outcome == "aborted" and one.seen.attempts]
        for probe in pool.entries:
            told = probe.figure(header)
            if not departed or not probe.admitted or not probe.judged or told is None:
                continue
            least, most = _bounds(probe, found)
            draining = [d for d in departed if d is not probe and _drains(d, probe)]
            if draining:
                verdict.case(
                    "slot_held",
                    told <= most,
                    call=probe.id,
                    expected=f"{header} at most {most}, {len(draining)} draining",
                    actual=told,
                    at_us=probe.hi,
                )
            elif any(
                d.free <= probe.lo < d.free + 10 * release_us(history) + contract.timeouts.drain_ms * 1000
                for d in departed
            ):
                verdict.case(
                    "slot_freed",
                    told >= least,
                    call=probe.id,
                    expected=f"{header} at least {least}, the departed gone",
                    actual=told,
                    at_us=probe.hi,
                )


def _bounds(probe: Admission, found: Admissions) -> tuple[int, int]:
    pool = found.pool(probe)
    limit = pool.limits.concurrency
    return limit - 1 - pool.others_possibly_busy(probe), limit - 1 - pool.others_busy(probe)


def _drains(departed: Admission, probe: Admission) -> bool:
    """Say whether the departed call's upstream was certainly at work at the probe's admission."""
    return departed.seen.call.end < probe.lo and departed.busy_from < probe.lo and departed.busy_to > probe.hi
