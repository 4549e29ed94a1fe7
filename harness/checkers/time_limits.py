"""FAIL-03's limits: how long a call of text or of images may run, and how long an upstream may be silent."""

from __future__ import annotations

from harness.checker import Verdict, checker
from harness.checkers.admissions import crashed_us, slack_us
from harness.checkers.causes import failure_of, injected, perhaps_too_late
from harness.checkers.wire import CHARGED_SURFACES, Seen, seen
from harness.contract import Contract
from harness.history import AttemptSpan, History

_NOTICE_US = 2_000
"""How late an upstream may notice that its caller left."""
_SILENCES = frozenset({"silence", "delay"})


@checker("FAIL-03", "silence_limit", "text_call_limit", "image_call_limit")
def time_limits_hold(history: History, contract: Contract, verdict: Verdict) -> None:
    """An upstream may be silent, and a call may run, as long as the contract says and no longer."""
    killed = crashed_us(history)
    for one in seen(history, contract):
        if one.model is None or one.route is None or one.route.surface not in CHARGED_SURFACES:
            continue
        clause = {"text": "text_call_limit", "image": "image_call_limit"}.get(one.model.media)
        if clause is None or one.call.end >= killed:
            continue
        _call_limit(clause, one, history, contract, verdict)
        if one.call.outcome not in ("aborted", "open"):
            for attempt in one.attempts:
                _silence_limit(clause, attempt, one, history, contract, verdict)


def _call_limit(clause: str, one: Seen, history: History, contract: Contract, verdict: Verdict) -> None:
    """A call ends at its limit at the latest, but for its settlement, and not before it if its upstream is at work."""
    call, slack = one.call, 2 * slack_us(history) + 1
    limit_us = one.limit_us(contract)
    latest_us = limit_us + slack + contract.insurance.settle_within_ms * 1000
    ran_us = call.end - call.sent
    unlimited = bool({"read_pause_ms", "upload_ms"} & set(one.plan.detail))
    if call.outcome == "aborted" or unlimited or ran_us < limit_us * 9 // 10:
        return
    if call.outcome == "open" and ran_us <= latest_us:
        return  # the run ended first
    last = one.attempts[-1] if one.attempts else None
    in_time = (
        last is not None and last.end + slack < call.sent + limit_us and not perhaps_too_late(last, history, contract)
    )
    served = last is not None and in_time and failure_of(last, call, contract) is None
    verdict.case(
        clause,
        ran_us <= latest_us and not (served and not one.served),
        call=call,
        expected=f"an end by {limit_us} us, and the answer if it came by then",
        actual=lambda: f"{call.outcome} after {ran_us} us",
    )


def _silence_limit(
    clause: str, attempt: AttemptSpan, one: Seen, history: History, contract: Contract, verdict: Verdict
) -> None:
    limit_us, slack = contract.timeouts.silence_ms * 1000, 2 * slack_us(history) + 1
    if max(attempt.head or 0, attempt.first_chunk or 0) >= attempt.end - slack and attempt.ended == "left":
        return  # its first word and the end of patience with it met
    if attempt.ended == "left" and attempt.left is not None:
        failure = failure_of(attempt, one.call, contract)
        if failure is None or not failure.timed_out or _is_cut_off(one, contract, slack):
            return
        silent_us = attempt.left[1] - _last_word(attempt, one, slack)
        too_soon = silent_us < limit_us - slack
        too_late = silent_us > limit_us + slack + _NOTICE_US
        if too_late and "silence" in attempt.fault.split("+"):
            return  # it spoke once more after a first silence: nobody noted when
        # Left too soon by either limit: the call's own had not come either.
        for broken in ("silence_limit", clause) if too_soon else ("silence_limit",):
            verdict.case(
                broken,
                not too_soon and not too_late,
                call=one.call,
                attempts=(attempt,),
                expected=f"{limit_us} us of patience with {attempt.upstream}",
                actual=silent_us,
                at_us=attempt.end,
            )
    elif attempt.ended == "served":
        told = [
            float(params.get("seconds", 0))
            for name, params in injected(history, attempt)
            if name in _SILENCES and params.get("kind", "fixed") == "fixed" and "jitter" not in attempt.fault
        ]
        longest_us = round(max(told, default=0) * 1e6)
        if longest_us:
            verdict.case(
                "silence_limit",
                longest_us <= limit_us + slack,
                call=one.call,
                attempts=(attempt,),
                expected=f"{attempt.upstream} to be left after {limit_us} us of silence",
                actual=f"{longest_us} us borne",
            )


def _is_cut_off(one: Seen, contract: Contract, slack: int) -> bool:
    """Say whether the whole call's limit, not the silence, can have ended its last attempt."""
    return one.call.end - one.call.sent >= one.limit_us(contract) - slack


def _last_word(attempt: AttemptSpan, one: Seen, slack: int) -> int:
    """Return when the upstream last sent anything, as far as that is known; the gateway's pings are not its."""
    words = [attempt.start, attempt.head or 0, attempt.first_chunk or 0]
    if attempt is one.attempts[-1] and attempt.first_chunk is not None:
        pings = one.call.pings
        words += [
            at
            for at in one.call.chunks
            if at <= attempt.attached
            and (not any(abs(at - ping) <= slack for ping in pings) or one.call.chunks.count(at) > pings.count(at))
        ]
    return max(words)
