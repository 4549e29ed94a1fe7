"""FAIL-05 and FAIL-06: which refusals are the client's own, and how the chain's targets are gone through."""

from __future__ import annotations

from itertools import pairwise

from harness.checker import Verdict, checker
from harness.checkers.admissions import slack_us
from harness.checkers.causes import failure_of, listeners, speaker_of, told_as_a_date, told_retry_after_s, tries_of
from harness.checkers.circuits import may_deny
from harness.checkers.failover import failures, moved_on, text_calls
from harness.checkers.wire import Seen
from harness.contract import Contract
from harness.history import AttemptSpan, History

AT_ONCE_US = 100_000
DATE_US = 3_000_000
"""How much later than it was meant a Retry-After may be that is a date."""


@checker("FAIL-05", "client_fault_returned", "no_second_try")
def client_faults_come_back(history: History, contract: Contract, verdict: Verdict) -> None:
    """An upstream's 400, 409, 413 or 422 is the client's own fault: it comes back at once, with no second try."""
    for one in text_calls(history, contract):
        for index, attempt in enumerate(one.attempts):
            failure = failure_of(attempt, one.call, contract)
            if failure is None or failure.cause != "client_fault" or one.call.outcome in ("aborted", "open"):
                continue
            verdict.case(
                "no_second_try",
                index + 1 == len(one.attempts),
                call=one.call,
                attempts=one.attempts,
                expected=f"no try after {attempt.status}",
                actual=lambda one=one: [a.upstream for a in one.attempts],
            )
            answered = one.call.end if one.call.first_byte is None else one.call.first_byte  # it may read slowly
            late_us = answered - attempt.end - slack_us(history)
            if one.call.pings and one.call.stream:
                continue  # the status was sent before; FAIL-07 looks at the event
            verdict.case(
                "client_fault_returned",
                one.call.status == attempt.status and late_us <= AT_ONCE_US,
                call=one.call,
                attempts=(attempt,),
                expected=f"{attempt.status} at once",
                actual=f"{one.call.status} after {late_us} us",
            )


@checker("FAIL-05", "target_fault_moves_on", "target_fault_is_502")
def target_faults_move_on(history: History, contract: Contract, verdict: Verdict) -> None:
    """An upstream's 401, 402, 403 or 404 lets the next target be tried; at the end the client gets 502, never a 401."""
    for failed in failures(history, contract):
        one, index, failure = failed
        if failure.cause != "target_fault":
            continue
        held = moved_on(failed, history, contract)
        if held is not None:
            after = one.attempts[index + 1].upstream if held else ""
            verdict.case(
                "target_fault_moves_on",
                held and after != one.attempts[index].upstream,
                call=one.call,
                attempts=one.attempts[: index + 1],
                expected=f"the target after {one.attempts[index].upstream}",
                actual=after or f"none; the client got {one.call.status}",
            )
        elif index + 1 == len(one.attempts) and one.call.outcome not in ("aborted", "open") and not one.call.pings:
            row = contract.error("upstream_error")
            verdict.case(
                "target_fault_is_502",
                one.call.status == row.status,
                call=one.call,
                attempts=one.attempts,
                expected=row.status,
                actual=one.call.status,
            )


@checker("FAIL-06", "chain_order", "tries_per_target")
def targets_are_tried_in_order(history: History, contract: Contract, verdict: Verdict) -> None:
    """Targets are tried in the chain's order, each at most so many times."""
    states = listeners(history)
    for one in text_calls(history, contract):
        if not one.attempts or one.model is None:
            continue
        roles = [target.role for target in one.model.chain]
        asked = [attempt.upstream for attempt in one.attempts]
        places = [roles.index(role) if role in roles else -1 for role in asked]
        passed_over = [
            role
            for role in roles[: max(places, default=0)]
            if role not in asked
            and states.get(role) == "open"
            and not may_deny(history, contract, one.model.id, role, one.call.sent, one.attempts[-1].start)
        ]
        models = {target.role: target.upstream_model for target in one.model.chain}
        strangers = [a.id for a in one.attempts if models.get(a.upstream, a.model) != a.model]
        verdict.case(
            "chain_order",
            -1 not in places and places == sorted(places) and not passed_over and not strangers,
            call=one.call,
            attempts=one.attempts,
            expected=f"{' > '.join(roles)}, each as the chain names its model",
            actual=lambda asked=asked, passed=passed_over: f"{' > '.join(asked)}, passed over: {passed}",
        )
        most = max(asked.count(role) for role in asked)
        if most >= tries_of(contract):
            verdict.case(
                "tries_per_target",
                most <= tries_of(contract),
                call=one.call,
                attempts=one.attempts,
                expected=f"at most {tries_of(contract)} tries of a target",
                actual=lambda asked=asked: " > ".join(asked),
            )


@checker("FAIL-06", "growing_pauses", "long_retry_after", "short_retry_after")
def pauses_grow(history: History, contract: Contract, verdict: Verdict) -> None:
    """Pauses grow exponentially within the band; Retry-After is not undercut, and too long a one ends the target."""
    slack = 2 * slack_us(history) + 1
    early = 1 + history.skew_us  # a clock with steps may make a pause look shorter than it was
    cap_us = contract.failover.backoff_cap_ms * 1000
    states = listeners(history)
    for one in text_calls(history, contract):
        pauses = 0
        unseen = _unseen_pauses(one, states, contract)
        speaker = speaker_of(one)
        for before, after in pairwise(one.attempts):
            if before is speaker or failure_of(before, one.call, contract) is None:
                break
            told_s = told_retry_after_s(history, before)
            told_us = None if told_s is None else round(told_s * 1e6)
            gap = after.start - before.end
            if told_us is not None and told_us > cap_us:
                at_once = after.upstream != before.upstream and (
                    gap <= cap_us + slack or _hidden(before, after, one, states)
                )
                _case(verdict, "long_retry_after", at_once, one, (before, after), "the next target at once", gap)
            elif after.upstream == before.upstream:
                low, high = _band(contract, pauses, unseen)
                if told_us is None:
                    held = low - early <= gap <= high + slack
                    _case(verdict, "growing_pauses", held, one, (before, after), f"a pause of {low} to {high} us", gap)
                else:
                    latest = max(told_us, high) + high + slack
                    latest += DATE_US if told_as_a_date(history, before) else 0
                    held = told_us - early <= gap <= latest
                    _case(verdict, "short_retry_after", held, one, (before, after), f"a pause of {told_us} us", gap)
                pauses += 1
            elif not _hidden(before, after, one, states):
                assert one.model is not None
                if may_deny(history, contract, one.model.id, before.upstream, before.end, after.start):
                    unseen += 1  # a pause for another try, which the circuit then kept away
                _, high = _band(contract, pauses, unseen)
                if told_us is not None and unseen:
                    high = max(high, told_us) + high  # that pause was what the target had asked for
                _case(verdict, "growing_pauses", gap <= high + slack, one, (before, after), f"at most {high} us", gap)


def _band(contract: Contract, pauses: int, unseen: int) -> tuple[int, int]:
    """Return the least and the greatest pause, in microseconds, after so many others and perhaps some unseen ones."""
    rules = contract.failover
    least, most = (
        min(rules.backoff_ms * rules.backoff_factor**before, rules.backoff_cap_ms)
        for before in (pauses, pauses + unseen)
    )
    return least * 10 * rules.jitter_low_percent, most * 10 * rules.jitter_high_percent


def _unseen_pauses(one: Seen, states: dict[str, str], contract: Contract) -> int:
    """Return how many pauses there can have been between tries that no upstream saw."""
    assert one.model is not None
    closed = sum(states.get(target.role, "open") != "open" for target in one.model.chain)
    return closed * contract.failover.retries_per_target


def _hidden(before: AttemptSpan, after: AttemptSpan, one: Seen, states: dict[str, str]) -> bool:
    """Say whether tries that no upstream saw can lie between two attempts."""
    assert one.model is not None
    roles = [target.role for target in one.model.chain]
    if before.upstream not in roles or after.upstream not in roles:
        return True
    between = roles[roles.index(before.upstream) : roles.index(after.upstream) + 1]
    return any(states.get(role, "open") != "open" for role in between)


def _case(
    verdict: Verdict, clause: str, held: bool, one: Seen, pair: tuple[AttemptSpan, ...], expected: str, gap: int
) -> None:
    verdict.case(
        clause, held, call=one.call, attempts=pair, expected=expected, actual=f"{gap} us", at_us=pair[-1].start
    )
