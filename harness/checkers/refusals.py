"""Why the governor can lawfully have refused a call: every reason not ruled out by the record; it judges nothing."""

from __future__ import annotations

from typing import Literal

from harness.checkers.counts import Admission, Admissions

Reason = Literal["requests", "tokens", "images", "queue_length", "queue_tokens", "queue_time"]


def reasons(one: Admission, found: Admissions) -> frozenset[Reason]:
    """Return the bounds that ``one`` may have hit when it was refused; none of them proves the refusal wrongful."""
    return frozenset((*_of_windows(one, found), *_of_queue(one, found)))


def _of_windows(one: Admission, found: Admissions) -> list[Reason]:
    window = found.window(one)
    made: list[Reason] = []
    if window.others_possible(one) >= window.limits.requests:
        made.append("requests")
    unknown = one.tokens is None or not window.tokens.known
    if unknown or window.other_tokens_possible(one) + (one.tokens or 0) > window.limits.tokens:
        made.append("tokens")
    images = window.limits.images
    if images is not None:
        unknown = one.images is None or not window.images.known
        if unknown or window.other_images_possible(one) + (one.images or 0) > images:
            made.append("images")
    return made


def _of_queue(one: Admission, found: Admissions) -> list[Reason]:
    pool = found.pool(one)
    limits = pool.limits
    if no_slot_free(one, found) is False:
        return []
    made: list[Reason] = []
    if pool.others_possibly_waiting(one) >= limits.queue_length:
        made.append("queue_length")
    size = 2 * one.model.context_tokens if one.tokens is None else one.tokens
    own = size if one.hi > one.sent else 0
    if pool.waiting_tokens_possible.most(one.lo, one.hi) - own + size > limits.queue_tokens:
        made.append("queue_tokens")
    if one.hi - one.sent >= limits.queue_wait_ms * 1000 - 2 * found.slack_us:
        made.append("queue_time")
    return made


def no_slot_free(one: Admission, found: Admissions) -> bool | None:
    """Say whether other calls held all slots at ``one``'s instant; None if that cannot be told."""
    pool = found.pool(one)
    if pool.others_busy(one) >= pool.limits.concurrency:
        return True
    return None if pool.others_possibly_busy(one) >= pool.limits.concurrency else False
