"""Branches of the governor: slots, queue, windows, and what is refused before any of them."""

from __future__ import annotations

from collections.abc import Iterator

from harness.branches.vocabulary import branch, charged
from harness.checkers.admissions import admissions, all_listening, slack_us
from harness.checkers.counts import Admission
from harness.checkers.refusals import Reason, reasons
from harness.contract import Contract
from harness.history import History

SOCKET_WAIT_US = 50_000
"""On sockets a call that took this long to reach an upstream most likely waited for a slot."""


@branch("GOV-02.cap")
def slots_full(history: History, contract: Contract) -> Iterator[object]:
    """As many calls of a model were under way as it has slots."""
    if _crowded(history, contract):
        for pool in admissions(history, contract).pools.values():
            yield from pool.busy.periods(pool.limits.concurrency)


def _crowded(history: History, contract: Contract) -> bool:
    """Say whether any model was called more often than it has slots: else the dearer questions need not be asked."""
    asked: dict[str, int] = {}
    for one in charged(history, contract):
        if one.tier == "enterprise" and one.model is not None:
            asked[one.model.id] = asked.get(one.model.id, 0) + 1
            if asked[one.model.id] >= contract.limits(one.model).concurrency:
                return True
    return False


@branch("GOV-03.waits")
def queue_wait(history: History, contract: Contract) -> Iterator[object]:
    """A call waited for a slot and got one."""
    shown = all_listening(history) and _crowded(history, contract)
    least = 2 * slack_us(history) if history.plan.mode == "sim" else SOCKET_WAIT_US
    for one in charged(history, contract) if shown else ():
        waited = one.tier == "enterprise" and one.attempts and not one.plan.detail.get("upload_ms")
        if waited and one.attempts[0].start - one.call.sent > least:
            yield one


@branch("GOV-03.length_bound")
def queue_full(history: History, contract: Contract) -> Iterator[object]:
    """A call was refused because too many waited before it."""
    return _refused_for("queue_length", history, contract)


@branch("GOV-03.time_bound")
def queue_time_up(history: History, contract: Contract) -> Iterator[object]:
    """A call waited as long as it may and was refused."""
    return _refused_for("queue_time", history, contract)


@branch("GOV-07.as_full_queue")
def queue_tokens_full(history: History, contract: Contract) -> Iterator[object]:
    """A call was refused because too many tokens waited before it."""
    return _refused_for("queue_tokens", history, contract)


@branch("GOV-04.next_refused")
def rate_refused(history: History, contract: Contract) -> Iterator[object]:
    """A call was refused because its window of requests was full."""
    return _refused_for("requests", history, contract)


@branch("GOV-05.probe_does_not_fit")
def tokens_refused(history: History, contract: Contract) -> Iterator[object]:
    """A call was refused because its window of tokens was full."""
    return _refused_for("tokens", history, contract)


@branch("GOV-06.images_per_window")
def images_refused(history: History, contract: Contract) -> Iterator[object]:
    """A call was refused because its window of images was full."""
    return _refused_for("images", history, contract)


def _refused_for(reason: Reason, history: History, contract: Contract) -> Iterator[Admission]:
    """Yield the calls refused for this and nothing else; on sockets, where little is certain, those that may be."""
    refusal = contract.error("rate_limited").status
    if not any(one.call.status == refusal and one.tier == "enterprise" for one in charged(history, contract)):
        return
    found = admissions(history, contract)
    for one in found.entries:
        why = reasons(one, found) if one.refused else frozenset()
        if why == {reason} or (history.plan.mode != "sim" and reason in why):
            yield one


@branch("RATE-01.past_quota", tap="")
def user_rate_refused(history: History, contract: Contract) -> Iterator[object]:
    """A general call was refused because its user's quota was used up."""
    refusal = contract.error("rate_limited").status
    for one in charged(history, contract):
        if one.tier == "general" and not one.attempts and one.call.status == refusal:
            yield one


# Refusals before admission


@branch("AUTH-05.unknown", tap="")
def key_refused(history: History, contract: Contract) -> Iterator[object]:
    """A caller was refused for its key."""
    return (call for call in history.calls if call.status == contract.error("invalid_key").status)


@branch("MSG-07.suspended", tap="")
def key_suspended(history: History, contract: Contract) -> Iterator[object]:
    """A caller was refused because its key is suspended, or what it asked for is not for it."""
    return (call for call in history.calls if call.status == contract.error("suspended_key").status)


@branch("ERR-05.field_types", tap="")
def input_refused(history: History, contract: Contract) -> Iterator[object]:
    """A request was refused that no upstream saw."""
    for call in history.calls:
        if call.status == contract.error("bad_request").status and not history.attempts_of(call.id):
            yield call


@branch("BILL-10.refused_402", tap="")
def balance_refused(history: History, contract: Contract) -> Iterator[object]:
    """A caller was refused because it could not pay."""
    return (call for call in history.calls if call.status == contract.error("insufficient_balance").status)
