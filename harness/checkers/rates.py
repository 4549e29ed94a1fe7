"""GOV-04: requests per minute, a sliding log per account and model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from harness.checker import Verdict, checker
from harness.checkers.admissions import LONGER, admissions
from harness.checkers.counts import Admission, Admissions, Window
from harness.checkers.refusals import no_slot_free, reasons
from harness.checkers.steps import StepSum
from harness.contract import Contract
from harness.history import History


@checker(
    "GOV-04",
    "nth_admitted",
    "next_refused",
    "sliding",
    "all_keys",
    "per_account_and_model",
    "unit_at_grant",
    "refused_do_not_count",
    "failover_counts_once",
)
def request_windows_hold(history: History, contract: Contract, verdict: Verdict) -> None:
    """A sliding window admits as many requests of an account to a model as the contract says, and no more."""
    found = admissions(history, contract)
    for key, window in found.windows.items():
        counts = _Counts(key, window, found)
        for one in window.entries:
            if not one.judged:
                continue
            if one.admitted:
                _judge_admission(one, window, counts, verdict)
            elif one.refused:
                _judge_refusal(one, window, found, counts, verdict)


def _judge_admission(one: Admission, window: Window, counts: _Counts, verdict: Verdict) -> None:
    limit, units = window.limits.requests, window.units_sure.at(one.hi)
    if units == limit:
        verdict.case("nth_admitted", True)
    if units <= limit:
        # Had the wrong things been counted, it would have been refused.
        for clause in counts.that_refuse(one):
            verdict.case(clause, True)
        return
    clauses = ["next_refused" if counts.half.at(one.hi) > limit else "sliding"]
    clauses += ["unit_at_grant"] if counts.arrivals.at(one.hi) <= limit else []
    clauses += ["all_keys"] if counts.most_of_one_key(one) <= limit else []
    for clause in clauses:
        verdict.case(
            clause,
            False,
            call=one.id,
            expected=f"{limit} requests in {window.limits.window_ms} ms, of one account to {one.model.id}",
            actual=units,
            at_us=one.hi,
        )


def _judge_refusal(one: Admission, window: Window, found: Admissions, counts: _Counts, verdict: Verdict) -> None:
    limit, why = window.limits.requests, reasons(one, found)
    if not why:
        # Where no slot was free it is for the queue to explain, unless a wrong count of this window would.
        unexplained = set() if no_slot_free(one, found) else {"nth_admitted"}
        for clause in sorted(set(counts.that_refuse(one)) or unexplained):
            verdict.case(
                clause,
                False,
                call=one.id,
                expected=f"admission: at most {window.others_possible(one)} of {limit} units were taken",
                actual="429",
                at_us=one.hi,
            )
    if why == {"requests"} and window.others_sure(one) >= limit:
        verdict.case("next_refused", True)
        if counts.most_of_one_key(one) < limit:
            verdict.case("all_keys", True)
        if counts.most.at(one.hi) < limit:
            verdict.case("sliding", True)  # the oldest units were about to run out, and had not
        if counts.arrivals.at(one.hi) < limit:
            verdict.case("unit_at_grant", True)


class _Counts:
    """What a window would hold if other things counted, or units lasted longer or shorter, than the contract says."""

    def __init__(self, key: tuple[str, str], window: Window, found: Admissions) -> None:
        self._window = window
        span_us = window.window_us
        self.arrivals, self._longer, self._attempts, self._others = StepSum(), StepSum(), StepSum(), StepSum()
        for one in window.counted:
            if not one.admitted:
                self.arrivals.add(one.sent, one.hi)
                continue
            self.arrivals.add(one.sent, one.sent + span_us)
            self._longer.add(one.hi + 1, one.lo + span_us * LONGER // 10)
            for start in one.reached:
                self._attempts.add(start + 1, start + span_us)
        for neighbour in found.neighbours(*key):
            for one in neighbour.counted:
                if one.admitted:
                    self._others.add(one.hi + 1, one.lo + span_us)

    # Only where too many are let in, or one is refused, are these looked at.

    @cached_property
    def half(self) -> StepSum:
        """The units as they were if they lasted half as long."""
        return self._lasting(5)

    @cached_property
    def most(self) -> StepSum:
        """The units as they were if they did not last quite as long."""
        return self._lasting(9)

    def _lasting(self, tenths: int) -> StepSum:
        made = StepSum()
        for one in self._window.counted:
            if one.admitted:
                made.add(one.hi, one.lo + self._window.window_us * tenths // 10)
        return made

    @cached_property
    def _keys(self) -> dict[str, StepSum]:
        made: dict[str, StepSum] = {}
        for one in self._window.counted:
            if one.admitted:
                made.setdefault(one.key, StepSum()).add(one.hi, one.lo + self._window.window_us)
        return made

    def most_of_one_key(self, one: Admission) -> int:
        """Return the units of the key that has most of them."""
        return max((units.at(one.hi) for units in self._keys.values()), default=0)

    def that_refuse(self, one: Admission) -> Iterator[str]:
        """Yield the clauses whose breach would have refused ``one``, which the lawful count lets in."""
        limit = self._window.limits.requests
        if self._window.others_possible(one) >= limit:
            return
        sure = self._window.others_sure(one)
        own = one.sent < one.hi
        if self.arrivals.at(one.hi - 1) - own >= limit:
            yield "unit_at_grant"
        if self._attempts.at(one.hi) >= limit:
            yield "failover_counts_once"
        if self._longer.at(one.lo) >= limit:
            yield "sliding"
        if sure + self._window.refused.at(one.hi - 1) >= limit:
            yield "refused_do_not_count"
        if sure + self._others.at(one.hi) >= limit:
            yield "per_account_and_model"
