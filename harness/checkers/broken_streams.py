"""FAIL-08: how a stream ends that broke after content: with an error, nothing added, nothing made up."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checker import Verdict, checker
from harness.checkers.causes import Failure, failure_of, has_content, speaker_of
from harness.checkers.failover import text_calls
from harness.checkers.wire import Seen
from harness.contract import Contract
from harness.history import AttemptSpan, History

_CLAUSES = {
    "reset": "reset",
    "cut_short": "reset",
    "silence": "silence",
    "malformed": "malformed",
    "early_end": "early_end",
}
ERROR_EVENTS = {"chat": ("error",), "messages": ("error",), "responses": ("error", "response.failed")}


def _broken(history: History, contract: Contract) -> Iterator[tuple[Seen, AttemptSpan, Failure]]:
    """Yield the streams of which content was passed on and whose upstream then broke, with the attempt it was."""
    for one in text_calls(history, contract):
        speaker = speaker_of(one)
        if speaker is None or one.call.outcome in ("aborted", "open"):
            continue
        failure = failure_of(speaker, one.call, contract)
        if failure is not None and failure.content and failure.cause not in ("unknown", "abandoned"):
            yield one, speaker, failure


@checker("FAIL-08", "reset", "silence", "malformed", "early_end", "surface_form")
def broken_streams_end_with_an_error(history: History, contract: Contract, verdict: Verdict) -> None:
    """A stream that broke after content ends with an error event in the surface's own form."""
    types = {row.type for row in contract.errors}
    for one, attempt, failure in _broken(history, contract):
        call, told = one.call, one.call.reading
        last = told.sequence.split()[-1] if told.sequence else ""
        held = call.status == 200 and told.error_type is not None and last in ERROR_EVENTS[call.surface]
        if failure.cause in _CLAUSES:
            verdict.case(
                _CLAUSES[failure.cause],
                held,
                call=call,
                attempts=(attempt,),
                expected=f"an error event after {failure.cause}",
                actual=lambda call=call: f"{call.outcome}: {call.reading.sequence!r} {call.detail}",
            )
        verdict.case(
            "surface_form",
            held and call.outcome == "error" and told.error_type in types and bool(told.error_message),
            call=call,
            expected=f"a last event {' or '.join(ERROR_EVENTS[call.surface])} with type and message",
            actual=lambda told=told: f"{told.sequence!r}, {told.error_type}: {told.error_message!r}",
        )


@checker("FAIL-08", "no_splice", "no_clean_end", "no_invented_finish")
def nothing_is_added_to_a_broken_stream(history: History, contract: Contract, verdict: Verdict) -> None:
    """A broken stream is never spliced with a second answer, never ends cleanly, and no finish reason is made up."""
    for one, attempt, _ in _broken(history, contract):
        call, told = one.call, one.call.reading
        verdict.case(
            "no_clean_end",
            not told.terminal and call.outcome != "ok",
            call=call,
            attempts=(attempt,),
            expected="no terminal event",
            actual=lambda call=call: f"{call.outcome}: {call.reading.sequence!r}",
        )
        verdict.case(
            "no_invented_finish",
            told.finish is None or told.finish == attempt.reading.finish,
            call=call,
            attempts=(attempt,),
            expected=attempt.reading.finish,
            actual=told.finish,
        )
    for one in text_calls(history, contract):
        if one.plan.stream and one.attempts and one.call.first_content is not None:
            _one_source(one, verdict)


def _one_source(one: Seen, verdict: Verdict) -> None:
    """What a client read of a stream is the beginning of what one attempt said, and after content nothing was tried."""
    call, told = one.call, one.call.reading
    sources = [attempt for attempt in one.attempts if _begins(attempt, told.text, told.thinking)]
    content_us = call.first_content if call.first_content is not None else call.end
    late = [attempt for attempt in one.attempts if attempt.start > content_us]
    speakers = {attempt.upstream for attempt in one.attempts if has_content(attempt)}
    if len(one.attempts) > 1 or speakers:
        verdict.case(
            "no_splice",
            bool(sources) and not late,
            call=call,
            attempts=one.attempts,
            expected="the beginning of one attempt's answer, and no try after content",
            actual=lambda: f"{told.text[:160]!r}, tries after content: {[attempt.id for attempt in late]}",
        )


def _begins(attempt: AttemptSpan, text: str, thinking: str) -> bool:
    return attempt.reading.text.startswith(text) and attempt.reading.thinking.startswith(thinking)
