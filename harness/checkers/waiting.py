"""GOV-03 and GOV-07: who waits for a slot, how long, in which order, and what those that are refused had to pay."""

from __future__ import annotations

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions, all_listening
from harness.checkers.counts import Admission, Admissions, Pool
from harness.checkers.refusals import no_slot_free, reasons
from harness.contract import Contract
from harness.history import History


@checker("GOV-03", "waits", "length_bound", "time_bound")
def queue_is_short(history: History, contract: Contract, verdict: Verdict) -> None:
    """A call that finds no slot waits for one, in a queue bounded in length and in time."""
    found = admissions(history, contract)
    seen_at_once = all_listening(history)  # a call whose first tries no upstream saw only seems to wait
    for pool in found.pools.values():
        limits = pool.limits
        most, at_us = pool.waiting.peak()
        if most >= limits.queue_length and seen_at_once:
            verdict.case(
                "length_bound", most <= limits.queue_length, expected=limits.queue_length, actual=most, at_us=at_us
            )
        for one in pool.entries:
            if one.judged and seen_at_once:
                _waited(one, pool, found, verdict)
            if one.judged and one.refused:
                _turned_away(one, found, verdict)


def _waited(one: Admission, pool: Pool, found: Admissions, verdict: Verdict) -> None:
    bound_us = pool.limits.queue_wait_ms * 1000
    certain_us = one.hi - one.sent - 2 * found.slack_us
    if certain_us <= 0:
        return
    if certain_us > bound_us + 1:  # stamps are rounded to whole microseconds
        verdict.case(
            "time_bound",
            False,
            call=one.id,
            expected=f"served or refused within {bound_us} us",
            actual=f"waited {certain_us} us",
        )
    idle = _was_idle(one, pool, one.sent + found.slack_us, one.hi - found.slack_us - 1)
    if one.admitted or idle:
        verdict.case("waits", not idle, call=one.id, expected="served when a slot is free", actual="waited on")


def _was_idle(one: Admission, pool: Pool, first: int, last: int) -> bool:
    """Say whether at some instant of [first, last] certainly not all slots were held by others."""
    slots = pool.limits.concurrency
    if one.admitted is False:
        return pool.busy_possible.least(first, last) < slots
    # From its earliest grant on the call itself is counted among those that may hold one.
    before, after = min(last, one.lo - 1), max(first, one.lo)
    return (before >= first and pool.busy_possible.least(first, before) < slots) or (
        after <= last and pool.busy_possible.least(after, last) - 1 < slots
    )


def _turned_away(one: Admission, found: Admissions, verdict: Verdict) -> None:
    why = reasons(one, found)
    if not why and no_slot_free(one, found) is not False:
        verdict.case("waits", False, call=one.id, expected="a wait: the queue had room", actual="429", at_us=one.hi)
    if why == {"queue_length"}:
        verdict.case("length_bound", True)
    if why == {"queue_time"}:
        verdict.case("time_bound", True)


@checker(
    "GOV-03",
    "retry_after",
    "no_upstream_call",
    "no_charge",
    "no_unit",
    books=("no_charge",),
    untimed=("retry_after", "no_upstream_call", "no_charge"),
)
def refused_calls_cost_nothing(history: History, contract: Contract, verdict: Verdict) -> None:
    """A refused call is told when to come back, reaches no upstream, is not charged and uses no unit of any window."""
    found = admissions(history, contract)
    for one in found.entries:
        call, limits = one.seen.call, contract.limits(one.model)
        if one.status == 429 and any(attempt.status != 429 for attempt in one.seen.attempts):
            verdict.case("no_upstream_call", False, call=call, attempts=one.seen.attempts, expected="no attempt")
        if one.refused:
            verdict.case("no_upstream_call", True)
            told = one.figure(contract.headers.retry_after)
            verdict.case(
                "retry_after",
                told is not None and limits.retry_after_min_s <= told <= limits.retry_after_max_s,
                call=call,
                expected=f"a whole number from {limits.retry_after_min_s} to {limits.retry_after_max_s}",
                actual=call.headers.get(contract.headers.retry_after),
            )
            if history.has_tap("books"):
                paid = sum(entry.credits for entry in history.entries_of(call.id))
                logged = sum(row.credits for row in history.rows_of(call.id))
                verdict.case("no_charge", not paid and not logged, call=call, expected=0, actual=(paid, logged))
        elif one.admitted and one.judged and found.window(one).refused.least(one.lo, one.hi):
            _units_intact(one, found, contract, verdict)


def _units_intact(one: Admission, found: Admissions, contract: Contract, verdict: Verdict) -> None:
    """After refusals, an admitted call finds as much of each window as if they had never been."""
    window, names = found.window(one), contract.headers
    told = one.figure(names.rpm_remaining)
    if told is not None:
        least = window.limits.requests - 1 - window.others_possible(one)
        verdict.case("no_unit", told >= least, call=one.id, expected=f"{least} requests left", actual=told)
    told = one.figure(names.tpm_remaining)
    if told is not None and one.tokens is not None and window.tokens.known:
        least = window.limits.tokens - one.tokens - window.other_tokens_possible(one)
        verdict.case("no_unit", told >= least, call=one.id, expected=f"{least} tokens left", actual=told)
    told, limit = one.figure(names.image_remaining), window.limits.images
    if told is not None and limit is not None and one.images is not None and window.images.known:
        least = limit - one.images - window.other_images_possible(one)
        verdict.case("no_unit", told >= least, call=one.id, expected=f"{least} images left", actual=told)


@checker("GOV-03", "first_come", "gone_waiter")
def waiters_are_served_in_order(history: History, contract: Contract, verdict: Verdict) -> None:
    """Waiters of one account are served first come, first served; one whose client left is not served at all."""
    found = admissions(history, contract)
    for one in found.entries:
        call, attempts = one.seen.call, one.seen.attempts
        if call.outcome != "aborted":
            continue
        # The news of its leaving is on its way to the gateway, and what started before it on its way upstream.
        if attempts and attempts[0].start > call.end + 2 * found.slack_us:
            verdict.case("gone_waiter", False, call=call, attempts=attempts[:1], expected="no attempt after it left")
        elif one.admitted is False and one.hi - one.sent > 2 * found.slack_us:
            verdict.case("gone_waiter", True)
    if all_listening(history):
        for pool in found.pools.values():
            _in_order(pool, found, verdict)


def _in_order(pool: Pool, found: Admissions, verdict: Verdict) -> None:
    latest: dict[str, tuple[int, str]] = {}
    admitted = (one for one in pool.entries if one.admitted and one.judged and one.seen.attempts)
    arrivals = sorted(admitted, key=lambda one: one.sent)
    arrived = 0
    for one in arrivals:
        while arrivals[arrived].sent + found.slack_us < one.sent:  # it had certainly come before
            earlier = arrivals[arrived]
            latest[earlier.account] = max(latest.get(earlier.account, (0, "")), (earlier.hi, earlier.id))
            arrived += 1
        served, before = latest.get(one.account, (0, ""))
        if served > one.sent + found.slack_us:
            verdict.case(
                "first_come",
                one.hi + found.slack_us >= served,
                call=one.id,
                expected=f"served after {before}, which came before",
                actual=f"served {served - one.hi} us earlier",
                at_us=one.hi,
            )


@checker("GOV-07", "queue_tokens", "as_full_queue", "waiting_not_reserved")
def waiting_tokens_are_bounded(history: History, contract: Contract, verdict: Verdict) -> None:
    """The estimated tokens of waiting calls stay within the queue's bound, and are not reserved yet."""
    found = admissions(history, contract)
    for pool in found.pools.values():
        bound = pool.limits.queue_tokens
        most, at_us = pool.waiting_tokens.peak()
        if most > bound:
            verdict.case("queue_tokens", False, expected=f"at most {bound} tokens waiting", actual=most, at_us=at_us)
        for one in pool.entries:
            if one.judged and one.tokens is not None:
                if one.refused:
                    _turned_away_for_its_tokens(one, pool, found, verdict)
                _past_the_bound(one, pool, found, contract, verdict)
                _not_reserved(one, found, contract, verdict)


def _turned_away_for_its_tokens(one: Admission, pool: Pool, found: Admissions, verdict: Verdict) -> None:
    """A refusal proves the bound where nothing else explains it, and breaks it where the tokens would just have fit."""
    assert one.tokens is not None
    why = reasons(one, found)
    if why == {"queue_tokens"}:
        verdict.case("queue_tokens", True)
    # Just after: if it had to make room for another, that one waits by then.
    bound, waiting = pool.limits.queue_tokens, pool.waiting_tokens.at(one.hi + 1)
    if not why and no_slot_free(one, found) and waiting and bound - bound // 10 < waiting + one.tokens <= bound:
        verdict.case(
            "as_full_queue",
            False,
            call=one.id,
            expected=f"a wait: {waiting} tokens wait, it has {one.tokens}, the queue takes {bound}",
            actual="429",
        )


def _past_the_bound(one: Admission, pool: Pool, found: Admissions, contract: Contract, verdict: Verdict) -> None:
    """A call that certainly found the queue's tokens used up is refused at once, as by a full queue."""
    first, last = one.sent, one.sent + found.slack_us
    waiting = pool.waiting_tokens.least(first, last)
    slots_taken = pool.busy_before.least(first, last) >= pool.limits.concurrency
    if not slots_taken or waiting + (one.tokens or 0) <= pool.limits.queue_tokens:
        return
    if any(other.account != one.account and other.sent <= last and other.hi >= first for other in pool.entries):
        return  # where others want in, it may have got its share of the queue
    told = one.figure(contract.headers.retry_after)
    limits = pool.limits
    verdict.case(
        "as_full_queue",
        one.refused
        and one.hi - one.sent <= 2 * found.slack_us
        and told is not None
        and limits.retry_after_min_s <= told <= limits.retry_after_max_s,
        call=one.id,
        expected=f"429 with Retry-After at once: {waiting} tokens wait, it has {one.tokens}",
        actual=f"{one.status} after {one.hi - one.sent} us, Retry-After {told}",
    )


def _not_reserved(one: Admission, found: Admissions, contract: Contract, verdict: Verdict) -> None:
    window = found.window(one)
    waiting = window.waiting_tokens.at(one.hi)
    if not waiting or not window.tokens.known or one.tokens is None:
        return
    room = window.limits.tokens - one.tokens - window.other_tokens_possible(one)
    told = one.figure(contract.headers.tpm_remaining)
    if one.admitted and told is not None:
        verdict.case(
            "waiting_not_reserved",
            told >= room,
            call=one.id,
            expected=f"at least {room} tokens left, whatever waits ({waiting})",
            actual=told,
        )
    elif one.refused and not reasons(one, found) and room < waiting:
        verdict.case("waiting_not_reserved", False, call=one.id, expected="a wait or a slot", actual="429")
