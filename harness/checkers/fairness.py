"""RATE-02: one account's storm takes neither another account's quota nor its turn."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from itertools import pairwise

from harness.checker import Verdict, checker
from harness.checkers.admissions import admissions, all_listening
from harness.checkers.counts import Admission, Admissions, Pool
from harness.checkers.refusals import no_slot_free, reasons
from harness.contract import Contract
from harness.history import History


@checker("RATE-02", "quota_apart")
def quotas_are_apart(history: History, contract: Contract, verdict: Verdict) -> None:
    """What an account finds left of its windows does not depend on what other accounts took."""
    found = admissions(history, contract)
    names = contract.headers
    for (account, model), window in found.windows.items():
        others = [other for key, other in found.windows.items() if key[1] == model and key[0] != account]
        for one in window.entries:
            stormed = max((other.units_before.least(one.lo, one.hi) for other in others), default=0)
            if not one.judged or not stormed:
                continue
            if one.refused and not reasons(one, found) and no_slot_free(one, found) is not True:
                verdict.case("quota_apart", False, call=one.id, expected=f"admission of {account}", actual="429")
            told = one.figure(names.rpm_remaining)
            if one.admitted and told is not None:
                least = window.limits.requests - 1 - window.others_possible(one)
                verdict.case("quota_apart", told >= least, call=one.id, expected=f"{least} left", actual=told)
            told, limit = one.figure(names.image_remaining), window.limits.images
            if one.admitted and told is not None and limit is not None and one.images is not None:
                least = limit - one.images - window.other_images_possible(one)
                verdict.case("quota_apart", told >= least, call=one.id, expected=f"{least} images left", actual=told)


@checker("RATE-02", "round_robin")
def accounts_are_served_in_turn(history: History, contract: Contract, verdict: Verdict) -> None:
    """No account is served twice while another waits all that time."""
    found = admissions(history, contract)
    if not all_listening(history):
        return
    for pool in found.pools.values():
        turns = _turns(pool)
        for one in pool.entries:
            if one.judged and one.hi - one.sent > 2 * found.slack_us + 1:
                _overtaken(one, turns, found, verdict)


def _turns(pool: Pool) -> dict[str, tuple[list[int], list[int]]]:
    """Return by account when calls of it were served, and when any of its turns can have been used up."""
    served: defaultdict[str, list[int]] = defaultdict(list)
    spent: defaultdict[str, list[int]] = defaultdict(list)
    for one in pool.entries:
        if one.admitted and one.seen.attempts:
            served[one.account].append(one.hi)
        if one.admitted or one.hi > one.sent:  # one that was turned away at the door had no turn
            spent[one.account].append(one.hi)
    return {account: (sorted(served[account]), sorted(spent[account])) for account in spent}


def _overtaken(
    one: Admission, turns: dict[str, tuple[list[int], list[int]]], found: Admissions, verdict: Verdict
) -> None:
    # It is in the queue a message's time after it was sent, and what is seen served was let in as much earlier.
    first, last = one.sent + 2 * found.slack_us, one.hi - found.slack_us
    mine = turns[one.account][1]
    for account, (served, _) in turns.items():
        if account == one.account:
            continue
        between = served[bisect_right(served, first) : bisect_left(served, last)]
        for earlier, later in pairwise(between):
            own_turn = bisect_right(mine, later + found.slack_us) > bisect_left(mine, earlier - found.slack_us)
            verdict.case(
                "round_robin",
                own_turn or later == earlier,
                call=one.id,
                expected=f"a turn of {one.account} between two of {account}",
                actual=f"{account} at {earlier} and {later}, while {one.id} waited",
                at_us=later,
            )


@checker("RATE-02", "queue_share")
def queue_is_shared(history: History, contract: Contract, verdict: Verdict) -> None:
    """An account that holds less than its share of the queue gets in, whoever filled it."""
    found = admissions(history, contract)
    for pool in found.pools.values():
        for one in pool.entries:
            if one.judged and one.refused and one.hi - one.sent <= 2 * found.slack_us:
                mine, share = _shares(one, pool, found)
                if mine < share and reasons(one, found) == {"queue_length"}:
                    verdict.case(
                        "queue_share",
                        False,
                        call=one.id,
                        expected=f"a place: {one.account} held {mine} of its {share}",
                        actual="429",
                        at_us=one.hi,
                    )
            elif one.judged and one.hi - one.sent > 2 * found.slack_us:
                if one.refused:
                    _put_out(one, pool, found, verdict)
                # Just before: whoever had to make room for it left in the very instant.
                before = pool.waiting.at(one.sent - 1)
                theirs = before - found.window(one).waiting.at(one.sent - 1)
                if before >= pool.limits.queue_length and theirs:
                    verdict.case("queue_share", True)  # the queue was full, and it got in


def _put_out(one: Admission, pool: Pool, found: Admissions, verdict: Verdict) -> None:
    """A waiter that had to make room before its time was one of an account that held more than its share."""
    if not reasons(one, found) <= {"queue_length"}:
        return
    held = found.window(one).waiting_possible.most(one.hi - found.slack_us, one.hi)
    wanting = {other.account for other in pool.entries if other.sent <= one.hi + 1 and other.hi >= one.hi - 1}
    share = pool.limits.queue_length // len(wanting)
    verdict.case(
        "queue_share",
        held > share,
        call=one.id,
        expected=f"its place: {one.account} held {held} of its {share}",
        actual=f"put out after {one.hi - one.sent} us",
        at_us=one.hi,
    )


def _shares(one: Admission, pool: Pool, found: Admissions) -> tuple[int, int]:
    """Return how many places its account can have held when ``one`` came, and how many were certainly its share."""
    first, last = one.sent, one.sent + found.slack_us
    mine = found.window(one).waiting_possible.most(first, last) - (one.hi > one.sent)
    wanting = {other.account for other in pool.entries if other.sent <= last and other.hi >= first}
    return mine, pool.limits.queue_length // len(wanting | {one.account})
