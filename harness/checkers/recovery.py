"""Safety, then liveness: whether the gateway came back to rest once every fault was healed; judged after every run.

These checks belong to no scenario: the runner asks them of every run that ends with a recovery (a ``heal`` note with
its bound), next to the scenario's own. Where a header or a tap is missing they count no case: what the upstreams saw
still counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.checker import Verdict, checker
from harness.checkers.admissions import all_listening, release_us, slack_us
from harness.checkers.causes import listeners
from harness.checkers.wire import CHARGED_SURFACES, TEXT_SURFACES, Seen, seen
from harness.contract import Contract
from harness.history import History, LedgerEntry

PROBE, WARM_UP = "recovery", "recovery_warmup"
"""Tags of the runner's own calls: the lone one of a model, and those before it that let its circuit close."""


def bound_ms(contract: Contract) -> int:
    """Return how long a healed gateway may take: every rate window has run out by then, and every cool-down."""
    windows = (contract.text.window_ms, contract.image.window_ms, contract.user_rate.window_ms)
    return max(*windows, contract.breaker.window_ms, contract.breaker.cooldown_cap_ms)


@dataclass(frozen=True, slots=True)
class Probe:
    """A lone call after the storm, the calls of its model before it, and those that should have closed its circuit."""

    one: Seen
    before: tuple[Seen, ...]
    warm_ups: tuple[Seen, ...]

    @property
    def served_by(self) -> list[str]:
        """The upstreams that saw it, by arrival."""
        return [attempt.upstream for attempt in self.one.attempts]


def probes(history: History, contract: Contract) -> list[Probe]:
    """Return the lone probes that were certainly alone (made once per history)."""
    kept: list[Probe] | None = history.memo.get("probes")
    if kept is None:
        kept = history.memo["probes"] = list(_alone(history, contract))
    return kept


def _alone(history: History, contract: Contract) -> Iterator[Probe]:
    if not any(PROBE in str(plan.detail.get("tag", "")) for plan in history.plan.calls):
        return
    by_model: dict[tuple[str, str], list[Seen]] = {}
    for one in seen(history, contract):
        if one.model is not None and one.route is not None and one.route.surface in CHARGED_SURFACES:
            by_model.setdefault((one.tier, one.model.id), []).append(one)
    for group in by_model.values():
        for one in group:
            if PROBE not in one.words:
                continue
            others = tuple(other for other in group if other is not one)
            if all(_gone(other) + release_us(history) <= one.call.sent - history.skew_us for other in others):
                yield Probe(one, others, tuple(other for other in others if WARM_UP in other.words))


def _gone(one: Seen) -> int:
    return max([one.call.end, *(attempt.end for attempt in one.attempts)])


@checker("GOV-09", "probe_after_storm")
def all_slots_are_free_again(history: History, contract: Contract, verdict: Verdict) -> None:
    """After a run a lone call finds every slot free but its own."""
    header = contract.headers.concurrency_remaining
    for probe in probes(history, contract):
        told = probe.one.call.headers.get(header)
        if probe.one.tier != "enterprise" or probe.one.model is None or told is None:
            continue
        wanted = str(contract.limits(probe.one.model).concurrency - 1)
        verdict.case(
            "probe_after_storm",
            told == wanted,
            call=probe.one.call,
            expected=f"{header}: {wanted} for a lone call after {len(probe.before)} others",
            actual=told,
        )


@checker("GOV-03", "waits")
def nothing_waits_any_more(history: History, contract: Contract, verdict: Verdict) -> None:
    """After a run a lone call is let in at once: nobody is left in the queue before it."""
    if not all_listening(history):
        return
    slack = 2 * slack_us(history)
    for probe in probes(history, contract):
        if probe.one.tier != "enterprise":
            continue
        call, attempts = probe.one.call, probe.one.attempts
        reached = attempts[0].start if attempts else call.end
        held = call.status != contract.error("queue_full").status and reached - call.sent <= slack
        if held and not any(_may_have_waited(other, contract, slack) for other in probe.before):
            continue  # that it found no queue says nothing where there never was one
        if attempts or not held:
            verdict.case(
                "waits",
                held,
                call=call,
                attempts=attempts,
                expected="a lone call is let in at once",
                actual=f"{call.status}, after {reached - call.sent} us",
            )


def _may_have_waited(one: Seen, contract: Contract, slack: int) -> bool:
    first = one.attempts[0].start if one.attempts else one.call.end
    return one.call.status == contract.error("queue_full").status or first - one.call.sent > slack


@checker("FAIL-06", "chain_order")
def traffic_is_back_on_the_primary(history: History, contract: Contract, verdict: Verdict) -> None:
    """After a run a lone call is answered by the first target that listens, at its first try."""
    if not history.has_tap("journal"):
        return
    states = listeners(history)
    for probe in probes(history, contract):
        assert probe.one.model is not None
        roles = [target.role for target in probe.one.model.chain if states.get(target.role, "open") == "open"]
        if not probe.one.attempts or not roles:
            continue  # who kept it away, the checks of slots and circuits ask
        verdict.case(
            "chain_order",
            probe.served_by == roles[:1] and probe.one.served,
            call=probe.one.call,
            attempts=probe.one.attempts,
            expected=f"one try at {roles[0]}, answered 200",
            actual=lambda probe=probe: f"{' > '.join(probe.served_by)}, answered {probe.one.call.status}",
        )


@checker("BRK-02", "half_open_after_cooldown", "closes")
def circuits_are_closed_again(history: History, contract: Contract, verdict: Verdict) -> None:
    """After a run every circuit lets calls through, and enough of them that succeed close it."""
    header, refusal = contract.headers.circuit, contract.error("circuits_open")
    if not all_listening(history):
        return
    for probe in probes(history, contract):
        one = probe.one
        assert one.model is not None
        if one.call.status == refusal.status and not one.attempts:
            verdict.case(
                "half_open_after_cooldown",
                False,
                call=one.call,
                expected=f"a try: every cool-down of at most {contract.breaker.cooldown_cap_ms} ms is over",
                actual=f"{one.call.status}",
            )
        told = one.call.headers.get(header)
        first = one.model.chain[0].role
        good = sum(other.served and [a.upstream for a in other.attempts] == [first] for other in probe.warm_ups)
        enough = good >= contract.breaker.successes_to_close
        opened = any(other.call.headers.get(header) not in (None, "closed") for other in probe.before)
        if told is None or not (enough or told == "open") or (told == "closed" and not opened):
            continue
        verdict.case(
            "closes" if enough else "half_open_after_cooldown",
            told == "closed",
            call=one.call,
            expected=f"{header}: closed, after {good} successes at {first}",
            actual=told,
        )


@checker("BILL-06", "balance_is_sum", "across_restart")
def no_hold_is_left(history: History, contract: Contract, verdict: Verdict) -> None:
    """When a run is over every hold was posted or voided: what is held for no call is lost to its account."""
    if any(note.kind == "store_failure" for note in history.notes):
        return  # what a store refused to write, the next start alone sets right
    clause = "across_restart" if any(note.kind == "crash" for note in history.notes) else "balance_is_sum"
    left: dict[str, list[LedgerEntry]] = {}
    accounts: dict[str, bool] = {}
    for entry in history.ledger:
        if entry.kind == "hold":
            left.setdefault(entry.call, []).append(entry)
            accounts.setdefault(entry.account, True)
        elif entry.kind in ("post", "void") and left.get(entry.call):
            left[entry.call].pop()
    for entry in (entry for entries in left.values() for entry in entries):
        accounts[entry.account] = False
        verdict.case(
            clause,
            False,
            call=entry.call,
            expected=f"entry {entry.entry}'s hold is posted or voided",
            actual=f"{entry.amount} credits of {entry.account} are held for a call that is over",
            at_us=entry.at,
        )
    for _ in filter(None, accounts.values()):
        verdict.case(clause, True)


@checker("FAIL-03", "text_call_limit")
def no_call_is_left(history: History, contract: Contract, verdict: Verdict) -> None:
    """When a run is over no caller waits any more, and no upstream still works for nobody."""
    if not probes(history, contract):
        return  # without them nobody gave it the time
    for one in seen(history, contract):
        if one.route is None or one.route.surface not in TEXT_SURFACES:
            continue
        working = [attempt for attempt in one.attempts if attempt.ended == "open"]
        if one.call.outcome == "open" or working:
            verdict.case(
                "text_call_limit",
                False,
                call=one.call,
                attempts=working,
                expected=f"over within {contract.timeouts.text_call_ms} ms",
                actual="the caller still waited" if one.call.outcome == "open" else "an upstream was still at work",
            )


RECOVERY = (
    all_slots_are_free_again,
    nothing_waits_any_more,
    traffic_is_back_on_the_primary,
    circuits_are_closed_again,
    no_hold_is_left,
    no_call_is_left,
)
"""What is asked after every run that ends with a recovery."""
