"""What went wrong with each attempt, told from the upstream's record and the faults it was given; it judges nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.checkers.admissions import SOCKET_EDGE_US, slack_us
from harness.checkers.wire import Seen
from harness.contract import Contract
from harness.history import AttemptSpan, CallSpan, History

TIMEOUTS = frozenset({"first_byte", "silence"})
_BY_FAULT: Mapping[str, str] = {
    "reset_before_headers": "reset",
    "cut_before_headers": "reset",
    "reset_after": "reset",
    "cut_after": "cut_short",
    "json_cut_short": "cut_short",
    "hang_before_headers": "first_byte",
    "hang_after_headers": "silence",
    "stall": "silence",
    "empty_200": "empty",
    "html_200": "html_page",
    "wrong_content_type": "wrong_content_type",
    "malformed_event": "malformed",
}
_STREAM_ENDS = {"error_in_200", "stream_error", "truncate"}
_DECIDING = {*_BY_FAULT, *_STREAM_ENDS, "json_although_streamed", "respond"}
_REJECTED = {*_BY_FAULT, *_STREAM_ENDS, "json_although_streamed"} - {
    "hang_before_headers",
    "hang_after_headers",
    "stall",
}
"""What a gateway may turn away from before its end; of any other answer it leaves it waits for more in vain."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt: its cause in a word, and whether it had said anything of an answer before."""

    cause: str
    content: bool

    @property
    def timed_out(self) -> bool:
        """Whether the upstream took too long."""
        return self.cause in TIMEOUTS


def has_content(attempt: AttemptSpan) -> bool:
    """Say whether the upstream sent any text, reasoning or tool call."""
    said = attempt.reading
    return bool(said.text or said.thinking or said.tools)


def speaker_of(one: Seen) -> AttemptSpan | None:
    """Return the attempt whose content was the first to be passed on to the caller of a stream, None if none was."""
    first = one.call.first_content
    if first is None or not one.plan.stream:
        return None
    return next((attempt for attempt in reversed(one.attempts) if attempt.start <= first), None)


def failure_of(attempt: AttemptSpan, call: CallSpan, contract: Contract) -> Failure | None:
    """Return how ``attempt`` failed; None if it gave a whole answer. Cause ``unknown`` where the record cannot tell.

    ``abandoned`` is one whose client had left before, which is no failure of the upstream's.
    """
    cause = _cause(attempt, call, contract)
    return Failure(cause, has_content(attempt)) if cause else None


def _cause(attempt: AttemptSpan, call: CallSpan, contract: Contract) -> str:
    status = attempt.status
    if status is not None and not 200 <= status < 300:
        return _of_status(status, contract)
    if attempt.ended == "served":
        return ""
    if attempt.ended == "open":
        return "unknown"
    names = set(attempt.fault.split("+"))
    if attempt.ended == "left":
        answered = not call.stream and call.status is not None  # whoever left then left an answer, no attempt
        if call.outcome == "aborted" and call.end <= attempt.end and not answered:
            # Nobody outside can tell what ended one that lasted until the upstream's own limit.
            return "unknown" if attempt.end - attempt.start >= contract.timeouts.silence_ms * 1000 else "abandoned"
        if not names & _REJECTED:
            return "first_byte" if attempt.head is None else "silence"
    if len({_BY_FAULT.get(name, name) for name in names & _DECIDING}) > 1:
        return "unknown"  # faults on top of each other: what the gateway made of them cannot be told from their names
    for name, cause in _BY_FAULT.items():
        if name in names:
            # It spoils an event of JSON, and does nothing where only a terminator without any was left.
            return "unknown" if cause == "malformed" and "malformed" not in attempt.reading.sequence else cause
    if names & _STREAM_ENDS:
        return _of_stream(attempt, names)
    return "unknown"


def _of_status(status: int, contract: Contract) -> str:
    rules = contract.failover
    if status in rules.client_fault_statuses:
        return "client_fault"
    if status in rules.target_fault_statuses:
        return "target_fault"
    if status == 429:
        return "rate_limited"
    return "5xx" if status >= 500 else "other_status"


def _of_stream(attempt: AttemptSpan, names: set[str]) -> str:
    if not attempt.stream:
        return "error_object"
    if not attempt.reading.sequence:
        return "no_event"
    if "truncate" in names:
        return "early_end"
    return "error_event" if has_content(attempt) or attempt.chunks > 1 else "first_event_error"


def injected(history: History, attempt: AttemptSpan) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the faults that struck ``attempt``, each with its parameters."""
    plans = {str(injection["id"]): injection["fault"] for injection in history.plan.injections}
    struck = history.memo.get("struck")
    if struck is None:
        struck = history.memo["struck"] = {}
        for fault in history.faults:
            struck.setdefault(fault.attempt, []).append(fault.injection)
    faults = [plans[injection] for injection in struck.get(attempt.id, ()) if injection in plans]
    return [(str(fault["name"]), fault.get("params") or {}) for fault in faults]


def told_retry_after_s(history: History, attempt: AttemptSpan) -> float | None:
    """Return the Retry-After that the upstream sent with its refusal, as its provider writes it; None if it sent none.

    Of several refusals that struck one attempt the last is the one that was sent, unless another fault hid it.
    """
    refusals = [params for name, params in injected(history, attempt) if name == "respond"]
    last = refusals[-1] if refusals else {}
    told = last.get("retry_after_s") if last.get("status", attempt.status) == attempt.status else None
    if told is None:
        return None
    # Anthropic's are whole seconds, OpenAI's have milliseconds beside them.
    return float(math.ceil(told)) if attempt.provider == "anthropic" else math.ceil(told * 1e3) / 1e3


def told_as_a_date(history: History, attempt: AttemptSpan) -> bool:
    """Say whether that Retry-After was an HTTP date, which is up to three seconds later than what was asked for."""
    return any(name == "respond" and params.get("dated") for name, params in injected(history, attempt))


def listeners(history: History) -> dict[str, str]:
    """Return the state of each role's listener."""
    return {str(upstream["role"]): str(upstream.get("listener", "open")) for upstream in history.plan.upstreams}


def ran_out(one: Seen, history: History, contract: Contract) -> bool:
    """Say whether the call had used up the time that it may run, or its client or the run had ended it."""
    if one.call.outcome in ("aborted", "open"):
        return True
    return one.call.end - one.call.sent >= one.limit_us(contract) - 2 * slack_us(history) - 1


def perhaps_too_late(attempt: AttemptSpan, history: History, contract: Contract) -> bool:
    """Say whether an answer, whole as its upstream sent it, may have come to a gateway that had stopped waiting."""
    slack = 2 * slack_us(history) if history.plan.mode == "sim" else SOCKET_EDGE_US
    limit_us = contract.timeouts.silence_ms * 1000
    first = attempt.end if attempt.first_chunk is None else attempt.first_chunk
    return max(first, attempt.end if slack else 0) - attempt.start + slack >= limit_us


def tries_of(contract: Contract) -> int:
    """Return how often one target is tried at most."""
    return 1 + contract.failover.retries_per_target


def is_last_try(index: int, one: Seen, failure: Failure, history: History, contract: Contract) -> bool:
    """Say whether nothing is left to try after the ``index``-th attempt: no target after it, and no try of its own."""
    assert one.model is not None
    attempt = one.attempts[index]
    if attempt.upstream != one.model.chain[-1].role:
        return False
    told_s = told_retry_after_s(history, attempt)
    if failure.cause in ("target_fault", "other_status"):
        return True
    if told_s is not None and told_s * 1000 > contract.failover.backoff_cap_ms:
        return True
    return sum(1 for a in one.attempts[: index + 1] if a.upstream == attempt.upstream) >= tries_of(contract)
