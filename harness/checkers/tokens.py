"""GOV-05: tokens per minute, reserved at admission and settled to what was used."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions
from harness.checkers.counts import Admission, Admissions, Window
from harness.checkers.refusals import no_slot_free, reasons
from harness.checkers.steps import StepSum
from harness.contract import Contract
from harness.history import History


@checker(
    "GOV-05",
    "tpm_headers",
    "image_limit",
    "reserved",
    "estimate_with_max_tokens",
    "estimate_with_default",
    untimed=("tpm_headers", "image_limit"),
)
def reservations_are_told(history: History, contract: Contract, verdict: Verdict) -> None:
    """The token headers tell the limit, and what remains of it once the call's own estimate is reserved."""
    names = contract.headers
    found = admissions(history, contract)
    for one in found.entries:
        if not one.admitted or one.status is None or not one.judged:
            continue
        window = found.window(one)
        limit, told = one.figure(names.tpm_limit), one.figure(names.tpm_remaining)
        verdict.case(
            "tpm_headers",
            limit == window.limits.tokens and told is not None,
            call=one.id,
            expected=lambda window=window: f"{names.tpm_limit}: {window.limits.tokens} and {names.tpm_remaining}",
            actual=(limit, told),
        )
        if one.model.media == "image":
            verdict.case(
                "image_limit",
                limit == window.limits.tokens,
                call=one.id,
                expected=f"{names.tpm_limit}: {window.limits.tokens}, as image models have it",
                actual=limit,
            )
        if told is None or one.tokens is None or not window.tokens.known or one.tokens > window.limits.tokens:
            continue
        least, most = window.other_tokens_sure(one), window.other_tokens_possible(one)
        room = window.limits.tokens - one.tokens
        if least == most:
            with_max = "max_tokens" in one.seen.plan.detail
            verdict.case(
                "estimate_with_max_tokens" if with_max else "estimate_with_default",
                told == max(0, room - most),
                call=one.id,
                expected=lambda room=room, most=most, one=one: (
                    f"{names.tpm_remaining}: {room - most}, with {one.tokens} reserved for itself"
                ),
                actual=told,
            )
        if least > 0 and window.others_unsettled(one):
            verdict.case(
                "reserved",
                told <= max(0, room - least),
                call=one.id,
                expected=lambda room=room, least=least: (
                    f"{names.tpm_remaining} at most {room - least}, with what calls in flight reserved"
                ),
                actual=told,
            )


@checker(
    "GOV-05",
    "concurrent",
    "probe_fits",
    "probe_does_not_fit",
    "settled_to_actual",
    "settled_at_admission_time",
    "per_account_and_model",
    "image_limit",
)
def token_windows_hold(history: History, contract: Contract, verdict: Verdict) -> None:
    """A call is admitted if and only if its tokens fit what the window's calls reserved, or used once they ended."""
    found = admissions(history, contract)
    for key, window in found.windows.items():
        if not window.tokens.known:
            continue
        wrong = _Wrong(key, window, found)
        for one in window.entries:
            if not one.judged or one.tokens is None:
                continue
            if one.admitted:
                _judge_admission(one, window, wrong, contract, verdict)
            elif one.refused:
                _judge_refusal(one, window, found, wrong, verdict)


def _judge_admission(one: Admission, window: Window, wrong: _Wrong, contract: Contract, verdict: Verdict) -> None:
    assert one.tokens is not None
    limit = window.limits.tokens
    least, most = window.other_tokens_sure(one), window.other_tokens_possible(one)
    over = max(least + one.tokens, window.tokens.sure.at(one.hi))
    if over > limit:
        for clause in _of_one_too_many(one, window):
            verdict.case(
                clause,
                False,
                call=one.id,
                expected=f"at most {limit} tokens in {window.limits.window_ms} ms",
                actual=over,
                at_us=one.hi,
            )
        return
    if least > 0 and most + one.tokens <= limit < most + one.tokens + max(1, limit // 100):
        verdict.case("probe_fits", True)
    counted = wrong.counted(one)
    for clause in wrong.that_refuse(one, least, most, counted):
        verdict.case(clause, True)
    told = one.figure(contract.headers.tpm_remaining)
    if told is not None and least == most:
        room = limit - one.tokens - most
        for clause in wrong.that_differ(most, counted):
            verdict.case(
                clause,
                told == room,
                call=one.id,
                expected=lambda: f"{room} tokens left",
                actual=told,
                at_us=one.hi,
            )


def _judge_refusal(one: Admission, window: Window, found: Admissions, wrong: _Wrong, verdict: Verdict) -> None:
    assert one.tokens is not None
    limit, why = window.limits.tokens, reasons(one, found)
    least, most = window.other_tokens_sure(one), window.other_tokens_possible(one)
    if not why and no_slot_free(one, found) is not True:
        for clause in ("probe_fits", *wrong.that_refuse(one, least, most, wrong.counted(one))):
            verdict.case(
                clause,
                False,
                call=one.id,
                expected=f"admission: {most} + {one.tokens} of {limit} tokens",
                actual="429",
                at_us=one.hi,
            )
    if why == {"tokens"} and max(least, window.tokens.sure.at(one.hi)) + one.tokens > limit:
        for clause in _of_one_too_many(one, window):
            verdict.case(clause, True)


def _of_one_too_many(one: Admission, window: Window) -> Iterator[str]:
    """Yield the clauses by which a call that does not fit is to be refused."""
    yield "concurrent" if window.others_unsettled(one) else "probe_does_not_fit"
    if one.model.media == "image":
        yield "image_limit"


class _Wrong:
    """What a window would hold if reservations were never settled, or settled late, or other windows counted too."""

    def __init__(self, key: tuple[str, str], window: Window, found: Admissions) -> None:
        self._window = window
        span_us = window.window_us
        self._unsettled, self._late, self._others = StepSum(), StepSum(), StepSum()
        for one in window.counted:
            if one.admitted:
                self._unsettled.add(one.hi + 1, one.lo + span_us, one.tokens or 0)
                self._late.add(one.hi + 1, one.settled[0], one.tokens or 0)
                self._late.add(one.settled[1], one.settled[0] + span_us, one.used[0])
        for neighbour in found.neighbours(*key):
            for one in neighbour.counted:
                if one.admitted:
                    self._others.add(one.hi + 1, one.lo + span_us, min(one.tokens or 0, one.used[0]))

    def counted(self, one: Admission) -> tuple[int, int]:
        """Return what the window would hold at ``one``'s instant if calls were never settled, and if they were late."""
        return self._unsettled.at(one.hi), self._late.at(one.hi)

    def that_refuse(self, one: Admission, least: int, most: int, counted: tuple[int, int]) -> Iterator[str]:
        """Yield the clauses whose breach would have refused ``one``, which the lawful count of others lets in."""
        room = self._window.limits.tokens - (one.tokens or 0)
        if most > room:
            return
        unsettled, late = counted
        if unsettled > room:
            yield "settled_to_actual"
        if late > room:
            yield "settled_at_admission_time"
        if least + self._others.at(one.hi) > room:
            yield "per_account_and_model"

    def that_differ(self, lawful: int, counted: tuple[int, int]) -> Iterator[str]:
        """Yield the clauses whose breach would have told something else than ``lawful`` tokens taken."""
        unsettled, late = counted
        if unsettled != lawful:
            yield "settled_to_actual"
        if late != lawful:
            yield "settled_at_admission_time"
