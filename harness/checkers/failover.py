"""FAIL-01 to FAIL-04: whatever goes wrong with an upstream before it said anything, another try is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from harness.checker import Verdict, checker
from harness.checkers.causes import Failure, failure_of, is_last_try, listeners, perhaps_too_late, ran_out, speaker_of
from harness.checkers.circuits import may_deny
from harness.checkers.wire import TEXT_SURFACES, Seen, seen
from harness.contract import Contract
from harness.history import History, Reading

_BROKEN_ANSWERS = (
    "reset",
    "empty",
    "cut_short",
    "wrong_content_type",
    "error_object",
    "html_page",
    "first_event_error",
    "no_event",
)
_OPENINGS = frozenset({"role", "message_start", "response.created"})
Failed = tuple[Seen, int, Failure]


def text_calls(history: History, contract: Contract) -> Iterator[Seen]:
    """Yield the calls of the text surfaces whose model the contract knows, but for those that a crash can have hit."""
    for one in seen(history, contract):
        if one.interrupted:
            continue
        if one.model is not None and one.route is not None and one.route.surface in TEXT_SURFACES:
            yield one


def failures(history: History, contract: Contract) -> Iterator[Failed]:
    """Yield every attempt that failed before any content could be passed on: call, index of the attempt, failure."""
    for one in text_calls(history, contract):
        speaker = speaker_of(one)
        for index, attempt in enumerate(one.attempts):
            if attempt is speaker:
                break
            failure = failure_of(attempt, one.call, contract)
            if failure is None or failure.cause in ("unknown", "abandoned", "client_fault"):
                continue
            if failure.timed_out or not perhaps_too_late(attempt, history, contract):
                yield one, index, failure  # else it may have been left for its silence


def moved_on(failed: Failed, history: History, contract: Contract) -> bool | None:
    """Say whether another try followed; None if none was owed or could be seen."""
    one, index, failure = failed
    if index + 1 < len(one.attempts):
        return True
    if is_last_try(index, one, failure, history, contract) or ran_out(one, history, contract):
        return None
    return None if not _could_follow(one, index, history, contract) else False


def _could_follow(one: Seen, index: int, history: History, contract: Contract) -> bool:
    """Say whether a target that listens, and whose circuit certainly let calls through, was left to be tried."""
    assert one.model is not None
    attempt, open_ = one.attempts[index], listeners(history)
    roles = [target.role for target in one.model.chain]
    if attempt.upstream not in roles:
        return False
    later = roles[roles.index(attempt.upstream) + 1 :]
    return any(
        open_.get(role) == "open" and not may_deny(history, contract, one.model.id, role, attempt.start, one.call.end)
        for role in later
    )


def _judge(clause: str, failed: Failed, history: History, contract: Contract, verdict: Verdict) -> None:
    one, index, failure = failed
    held = moved_on(failed, history, contract)
    if held is None:
        return
    verdict.case(
        clause,
        held,
        call=one.call,
        attempts=one.attempts[: index + 1],
        expected=lambda: f"another try after {failure.cause} of {one.attempts[index].upstream}",
        actual=lambda: f"none; the client got {one.call.status} ({one.call.outcome})",
        at_us=one.attempts[index].end,
    )


@checker("FAIL-01", "chat", "messages", "responses", "overloaded_529", "unstreamed", "streamed", "only_the_result")
def server_errors_move_on(history: History, contract: Contract, verdict: Verdict) -> None:
    """A 5xx moves the request to the next try or target, on every surface, and the client sees only the result."""
    for failed in failures(history, contract):
        one, index, failure = failed
        attempt = one.attempts[index]
        if failure.cause != "5xx" or one.route is None:
            continue
        clauses = [one.route.surface, "streamed" if attempt.stream else "unstreamed"]
        clauses += ["overloaded_529"] if attempt.status == 529 else []
        for clause in clauses:
            _judge(clause, failed, history, contract, verdict)
    for one in text_calls(history, contract):
        if len(one.attempts) > 1 and one.call.outcome not in ("aborted", "open"):
            _only_the_result(one, history, contract, verdict)


def _only_the_result(one: Seen, history: History, contract: Contract, verdict: Verdict) -> None:
    last, speaker = one.attempts[-1], speaker_of(one)
    if one.interrupted or ran_out(one, history, contract) or perhaps_too_late(last, history, contract):
        return
    served = failure_of(last, one.call, contract) is None and last.ended == "served"
    if not served or (speaker is not None and speaker is not last):
        return
    told = one.call.reading
    twice = _openings(told) - _openings(last.reading)
    verdict.case(
        "only_the_result",
        one.served and told.text == last.reading.text and told.error_type is None and not twice,
        call=one.call,
        attempts=one.attempts,
        expected=f"the answer of {last.upstream} alone",
        actual=lambda: (
            f"{one.call.outcome} {one.call.status} {told.text[:80]!r} {told.error_type or ''} {told.sequence[:80]}"
        ),
    )


def _openings(said: Reading) -> Counter[str]:
    """Return how often a stream's answer was opened, by event type."""
    kinds = (word.partition("*") for word in said.sequence.split())
    return Counter({kind: int(times or 1) for kind, _, times in kinds if kind in _OPENINGS})


@checker("FAIL-02", "rate_limited")
def rate_limited_upstreams_move_on(history: History, contract: Contract, verdict: Verdict) -> None:
    """An upstream's 429 moves the request to the next try or target."""
    for failed in failures(history, contract):
        if failed[2].cause == "rate_limited":
            _judge("rate_limited", failed, history, contract, verdict)


@checker("FAIL-03", "connect", "first_byte", "silence")
def timeouts_move_on(history: History, contract: Contract, verdict: Verdict) -> None:
    """A timeout (connect, first byte, silence before any content) moves the request to the next try or target."""
    for failed in failures(history, contract):
        if failed[2].timed_out:
            _judge(failed[2].cause, failed, history, contract, verdict)
    _unreachable({"hanging": "connect"}, history, contract, verdict)


@checker("FAIL-04", "refused", "tls", *_BROKEN_ANSWERS)
def broken_answers_move_on(history: History, contract: Contract, verdict: Verdict) -> None:
    """A broken connection, or an answer that is none, moves the request to the next try or target."""
    for failed in failures(history, contract):
        if failed[2].cause in _BROKEN_ANSWERS:
            _judge(failed[2].cause, failed, history, contract, verdict)
    _unreachable({"refusing": "refused", "tls_failing": "tls"}, history, contract, verdict)


def _unreachable(clauses: dict[str, str], history: History, contract: Contract, verdict: Verdict) -> None:
    """Where a target takes no connections no attempt is seen: what shows is that the next target was asked."""
    states = listeners(history)
    for one in text_calls(history, contract):
        assert one.model is not None
        roles = [target.role for target in one.model.chain]
        clause = clauses.get(states.get(roles[0], "open"))
        following = [role for role in roles[1:] if states.get(role) == "open"]
        if (
            clause is None
            or not following
            or one.interrupted
            or (one.call.status is not None and 400 <= one.call.status < 500)
        ):
            continue
        if one.attempts:
            verdict.case(clause, True)
        elif not ran_out(one, history, contract) and not may_deny(
            history, contract, one.model.id, following[0], one.call.sent, one.call.end
        ):
            verdict.case(
                clause,
                False,
                call=one.call,
                expected=f"another try at {following[0]}, since {roles[0]} is {states[roles[0]]}",
                actual=f"none; the client got {one.call.status} ({one.call.outcome})",
            )
