"""GOV-02, GOV-04 and RATE-02 under real load: the slots, and the quota of whom a storm is none of his business."""

from __future__ import annotations

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions, edge_us
from harness.checkers.counts import Admission, Admissions
from harness.checkers.refusals import no_slot_free, reasons
from harness.checkers.slots import in_flight
from harness.contract import Contract
from harness.history import History

INNOCENT = "innocent"
"""The word in the tag of a call of somebody who asks for no more than he may."""


@checker("GOV-02", "cap", untimed="all")
def slots_stay_bounded_under_load(history: History, contract: Contract, verdict: Verdict) -> None:
    """However many calls come, the upstreams never see more of a model at once than it has slots."""
    if not history.has_tap("journal"):
        return
    peaks: dict[str, tuple[int, int, int]] = dict(history.before.get("peaks", {}))
    for name, pool in admissions(history, contract).pools.items():
        flying, _ = in_flight(pool, edge_us(history))
        here = (*flying.peak(), pool.limits.concurrency)
        peaks[name] = max(peaks.get(name, here), here, key=lambda peak: peak[0])
    if history.continues:
        history.after["peaks"] = peaks
        return
    for name, (peak, at_us, limit) in peaks.items():
        verdict.case("cap", peak <= limit, expected=f"{limit} of {name} in flight", actual=peak, at_us=at_us)


@checker("RATE-02", "quota_apart", untimed="all", whole=True)
def innocents_are_served(history: History, contract: Contract, verdict: Verdict) -> None:
    """Whoever stays within his quota is let in, however another account storms."""
    found = admissions(history, contract)
    for one in found.entries:
        if INNOCENT in one.seen.words:
            _let_in("quota_apart", one, found, verdict)


@checker("GOV-04", "nth_admitted", whole=True)
def all_below_the_limits_are_let_in(history: History, contract: Contract, verdict: Verdict) -> None:
    """Whoever stays below every limit all the time is let in."""
    found = admissions(history, contract)
    for one in found.entries:
        _let_in("nth_admitted", one, found, verdict)


def _let_in(clause: str, one: Admission, found: Admissions, verdict: Verdict) -> None:
    # A slot that others held, or a full queue, is no breach of a window's promise.
    wrong = one.refused and not reasons(one, found) and no_slot_free(one, found) is False
    verdict.case(
        clause,
        True if one.admitted else False if wrong else None,
        call=one.id,
        expected=f"{one.account} let in, who asked for little",
        actual=one.status or "no answer",
    )
