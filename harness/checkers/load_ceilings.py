"""GOV-04 to GOV-06: a published ceiling reached exactly under real load, and the next call refused; it sends nothing.

What a window proves rests on what was planned for it (``options.load.windows``): all its calls were sent, and the
latest instant of the last one lies less than a window after the earliest of the first. Else it proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions
from harness.checkers.counts import Admission, Admissions
from harness.checkers.refusals import no_slot_free, reasons
from harness.contract import Contract
from harness.history import History

Unit = Literal["tokens", "images"]
OVER = "over"
"""The word in the tag of a call that goes beyond its window."""


@dataclass(frozen=True, slots=True)
class Filling:
    """A planned window and what became of its calls; ``doubt`` says why it proves nothing, if it does not."""

    plan: Mapping[str, Any]
    calls: list[Admission]
    probes: list[Admission]
    doubt: str

    def served(self, unit: Unit) -> int:
        """Return how much of ``unit`` the upstreams served to its calls, at least."""
        return sum((one.used if unit == "tokens" else one.images_used)[0] for one in self.calls)


def fillings(history: History, contract: Contract) -> Sequence[Filling]:
    """Return every window of the load that is to be proved, as it came about; of a chapter, those planned in it.

    They are made once per history.
    """
    kept: tuple[Filling, ...] | None = history.memo.get("fillings")
    if kept is None:
        kept = history.memo["fillings"] = tuple(_fillings(history, contract))
    return kept


def _fillings(history: History, contract: Contract) -> Iterator[Filling]:
    planned = {word for call in history.plan.calls for word in str(call.detail.get("tag", "")).split()}
    within: dict[str, list[Admission]] = {}
    beyond: dict[str, list[Admission]] = {}
    for one in admissions(history, contract).entries:
        words = one.seen.words
        for word in words:
            (beyond if OVER in words else within).setdefault(word, []).append(one)
    for plan in history.plan.options.get("load", {}).get("windows", ()):
        if plan["word"] in planned:
            calls, probes = within.get(plan["word"], []), beyond.get(plan["word"], [])
            yield Filling(plan, calls, probes, _doubt(plan, calls, probes, contract))


def _doubt(plan: Mapping[str, Any], calls: list[Admission], probes: list[Admission], contract: Contract) -> str:
    if len(calls) < plan["requests"]:
        return f"{len(calls):,} of {plan['requests']:,} calls were sent"
    if plan["over"] and not probes:
        return "the call beyond the limit was not sent"
    took_us = max(one.hi for one in (*calls, *probes)) - min(one.lo for one in calls)
    window_us = contract.limits(calls[0].model).window_ms * 1000
    if took_us >= window_us:
        return f"it took {took_us / 1e6:.3f} s, and a window has {window_us / 1e6:g} s"
    return ""


@checker("GOV-04", "nth_admitted", "next_refused", untimed="all", whole=True)
def the_rate_is_held(history: History, contract: Contract, verdict: Verdict) -> None:
    """The published number of requests is let in within one window, and none of them refused; the next one is."""
    found = admissions(history, contract)
    for filling in fillings(history, contract):
        _all_let_in(filling, found, "nth_admitted", verdict)
        if filling.plan["over"] == "requests":
            _next_refused(filling, "next_refused", verdict)


@checker("GOV-05", "probe_fits", "probe_does_not_fit", untimed="all", whole=True)
def the_tokens_are_held(history: History, contract: Contract, verdict: Verdict) -> None:
    """Exactly the planned tokens are let in within one window, and served; a call beyond the limit is refused."""
    _all_is_served("tokens", history, contract, verdict, fits="probe_fits", beyond="probe_does_not_fit")


@checker("GOV-06", "n_counts_n", "images_per_window", untimed="all", whole=True)
def the_images_are_held(history: History, contract: Contract, verdict: Verdict) -> None:
    """Exactly the planned images are let in within one window, and served; a call beyond the limit is refused."""
    _all_is_served("images", history, contract, verdict, fits="n_counts_n", beyond="images_per_window")


def _all_is_served(
    unit: Unit, history: History, contract: Contract, verdict: Verdict, *, fits: str, beyond: str
) -> None:
    """Judge by clause ``fits`` that all that was planned of ``unit`` was let in, by ``beyond`` that no more was."""
    found = admissions(history, contract)
    for filling in fillings(history, contract):
        _all_let_in(filling, found, fits, verdict)
        wanted, served = filling.plan[unit], filling.served(unit)
        if not filling.doubt and all(one.admitted for one in filling.calls) and history.has_tap("journal"):
            verdict.case(
                fits,
                None if served != wanted else True,
                expected=f"{wanted:,} {unit} served in window {filling.plan['word']}",
                actual=f"{served:,} {unit}",
            )
        if filling.plan["over"] == unit:
            _next_refused(filling, beyond, verdict)


def _all_let_in(filling: Filling, found: Admissions, clause: str, verdict: Verdict) -> None:
    """Judge that no call of the window was refused: wrongly, where nothing else can explain it."""
    expected = f"all {filling.plan['requests']:,} calls of window {filling.plan['word']} let in"
    refused = [one for one in filling.calls if not one.admitted]
    if filling.doubt or not refused:
        verdict.case(clause, None if filling.doubt else True, expected=expected, actual=filling.doubt)
        return
    for one in refused:
        # An unanswered call, and one that slots or queue may have cost, leaves open whether the window had room.
        wrong = one.refused and not reasons(one, found) and no_slot_free(one, found) is False
        verdict.case(clause, False if wrong else None, call=one.id, expected=expected, actual=one.status or "no answer")


def _next_refused(filling: Filling, clause: str, verdict: Verdict) -> None:
    full = not filling.doubt and all(one.admitted for one in filling.calls)
    for probe in filling.probes:
        expected = f"429 after {filling.plan['requests']:,} calls of {filling.plan['tokens']:,} tokens"
        # A refusal shows what it should; one that was let in broke the promise only if the window was full indeed.
        held = None if not full else bool(probe.refused)
        verdict.case(clause, held, call=probe.id, expected=expected, actual=filling.doubt or probe.status)


@checker("BILL-05", "one_charge", untimed="all")
def each_call_reaches_one_upstream_once(history: History, contract: Contract, verdict: Verdict) -> None:
    """With upstreams that never fail, what is answered was asked of one of them, once."""
    if not history.has_tap("journal") or history.plan.injections:
        return
    for one in admissions(history, contract).entries:
        # An upstream may be too slow without a fault, and the answer to a retry by key is nobody's.
        if one.status == 200 and one.seen.call.outcome == "ok" and not one.seen.plan.detail.get("marks"):
            attempts = one.seen.attempts
            served = sum(attempt.ended == "served" and attempt.status == 200 for attempt in attempts)
            # An attempt that came to nothing may have been a connection's end, which nobody planned.
            held = served == 1 if served != 1 or len(attempts) == 1 else None
            verdict.case(
                "one_charge", held, call=one.id, attempts=attempts, expected="one attempt, served", actual=len(attempts)
            )
