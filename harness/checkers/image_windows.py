"""GOV-06: images per minute, as many as are asked for at admission and as were returned from then on."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions
from harness.checkers.counts import Admission, Admissions, Window
from harness.checkers.refusals import no_slot_free, reasons
from harness.checkers.steps import StepSum
from harness.contract import Contract
from harness.history import History


@checker("GOV-06", "images_per_window", "n_counts_n", "settled_to_returned")
def image_windows_hold(history: History, contract: Contract, verdict: Verdict) -> None:
    """A call is admitted if and only if its images fit what the window's calls ask for, or returned once they ended."""
    found = admissions(history, contract)
    header = contract.headers.image_remaining
    for window in found.windows.values():
        limit = window.limits.images
        if limit is None or not window.images.known:
            continue
        wrong = _Wrong(window, limit)
        for one in window.entries:
            if not one.judged or one.images is None:
                continue
            if one.admitted:
                _judge_admission(one, one.images, window, limit, wrong, verdict)
                _judge_told(one, one.images, one.figure(header), window, limit, wrong, verdict)
            elif one.refused:
                _judge_refusal(one, one.images, window, limit, found, wrong, verdict)


def _judge_admission(one: Admission, own: int, window: Window, limit: int, wrong: _Wrong, verdict: Verdict) -> None:
    taken = max(window.other_images_sure(one) + own, window.images.sure.at(one.hi))
    if taken <= limit:
        # Had the wrong things been counted, it would have been refused.
        for clause in wrong.that_refuse(one, own):
            verdict.case(clause, True)
        return
    for clause in ("images_per_window", *wrong.that_admit(one, own)):
        verdict.case(
            clause,
            False,
            call=one.id,
            expected=f"{limit} images in {window.limits.window_ms} ms, of one account by {one.model.id}",
            actual=taken,
            at_us=one.hi,
        )


def _judge_refusal(
    one: Admission, own: int, window: Window, limit: int, found: Admissions, wrong: _Wrong, verdict: Verdict
) -> None:
    why = reasons(one, found)
    if not why and no_slot_free(one, found) is not True:
        for clause in sorted(set(wrong.that_refuse(one, own))) or ("n_counts_n",):
            verdict.case(
                clause,
                False,
                call=one.id,
                expected=f"admission: at most {window.other_images_possible(one)} + {own} of {limit} images",
                actual="429",
                at_us=one.hi,
            )
    if why == {"images"} and max(window.other_images_sure(one), window.images.sure.at(one.hi)) + own > limit:
        for clause in ("images_per_window", *wrong.that_admit(one, own)):
            verdict.case(clause, True)


def _judge_told(
    one: Admission, own: int, told: int | None, window: Window, limit: int, wrong: _Wrong, verdict: Verdict
) -> None:
    """Judge what the answer says is left, where that is one number and a wrong count would be another."""
    taken = window.other_images_possible(one)
    if told is None or window.other_images_sure(one) != taken:
        return
    left = max(0, limit - own - taken)
    for clause in wrong.that_differ(one, own, taken):
        verdict.case(clause, told == left, call=one.id, expected=f"{left} images left", actual=told, at_us=one.hi)


class _Wrong:
    """What a window would hold if calls counted instead of images, or what was asked for was never settled."""

    def __init__(self, window: Window, limit: int) -> None:
        self._window, self._limit = window, limit
        self._calls, self._unsettled = StepSum(), StepSum()
        for one in window.counted:
            if one.admitted:
                self._calls.add(one.hi + 1, one.lo + window.window_us)
                self._unsettled.add(one.hi + 1, one.lo + window.window_us, one.images or 0)

    def that_refuse(self, one: Admission, own: int) -> Iterator[str]:
        """Yield the clauses whose breach would have refused ``one``, which the lawful count lets in."""
        if self._window.other_images_possible(one) + own <= self._limit < self._unsettled.at(one.hi) + own:
            yield "settled_to_returned"

    def that_admit(self, one: Admission, own: int) -> Iterator[str]:
        """Yield the clauses whose breach would have let ``one`` in, which the lawful count refuses."""
        if self._calls.at(one.hi) + 1 <= self._limit:
            yield "n_counts_n"

    def that_differ(self, one: Admission, own: int, taken: int) -> Iterator[str]:
        """Yield the clauses whose breach would have told ``one`` that something else is left."""
        if self._calls.at(one.hi) + 1 != taken + own:
            yield "n_counts_n"
        if self._unsettled.at(one.hi) != taken:
            yield "settled_to_returned"
