"""When the governor can have admitted each Enterprise call, and what it held from then on; it judges nothing.

An admission's instant is an interval, [the client sent, the first upstream saw it or the client was answered], narrowed
by the instants at which no slot was free; of callers whose clocks do not compare it is as long as the load. A claim is
sound when it holds for every choice inside the intervals, so each sum is kept twice: what certainly counts, and what
possibly does.
"""

from __future__ import annotations

from bisect import bisect_right

from harness.checkers.counts import Admission, Admissions, Counted, Pool, Window
from harness.checkers.wire import CHARGED_SURFACES, Seen, images_asked, seen
from harness.contract import Contract, Model
from harness.history import AttemptSpan, History, Reading

COMMIT_US = 100_000
"""How long after a call's last sign of life its slot may still be on its way back: the commit of its charge."""
SOCKET_SLACK_US = 500_000
"""How long a message may be on its way, or wait to be dealt with, on real sockets and a busy machine."""
SOCKET_EDGE_US = 50_000
CHOP_US = 2_000
"""How long the simulated link may hold a piece back where it chops."""
NEVER = 1 << 62
LONGER = 11
"""Tenths of a window for which what was admitted is looked at, at most: a gateway may let units last too long."""
CARRIED = "admissions"
"""By which name a chapter keeps for the next what may still count there."""
_MAX_TOKENS = {"max_tokens", "max_completion_tokens", "max_output_tokens"}


def admissions(history: History, contract: Contract) -> Admissions:
    """Return the Enterprise calls of ``history`` as the governor met them (made once per history)."""
    kept: Admissions | None = history.memo.get("admissions")
    if kept is None:
        kept = history.memo["admissions"] = _made(history, contract)
    return kept


def slack_us(history: History) -> int:
    """Return how long a message may be on its way between two clocks of ``history``."""
    if history.plan.mode != "sim":
        return SOCKET_SLACK_US + history.skew_us
    options = history.plan.options
    held = CHOP_US if options.get("chop") else 0
    return held + round(1000 * (float(options.get("connect_ms", 0)) + float(options.get("latency_ms", 0))))


def release_us(history: History) -> int:
    """Return how long after a call's last sign of life its slot may still be on its way back."""
    return COMMIT_US if history.plan.mode == "sim" else SOCKET_SLACK_US


def edge_us(history: History) -> int:
    """Return how far from its record's edges an attempt was certainly under way, seen from the gateway.

    On sockets a clock has steps, and a busy upstream may serve a newcomer before it hears that another has left.
    """
    return 0 if history.plan.mode == "sim" else SOCKET_EDGE_US


def crashed_us(history: History) -> int:
    """Return when the gateway's memory was lost for the first time, as early as it can have been."""
    crashes = history.plan.options.get("crashes", ())
    # One that follows another, or a call, comes after it; when that was planned nobody can say.
    first = [crash for crash in crashes if not crash.get("after")] or crashes
    return min((round(crash["at_ms"] * 1000) for crash in first), default=NEVER)


def all_listening(history: History) -> bool:
    """Say whether every upstream took connections all the time, so that the journal shows every attempt."""
    return all(upstream.get("listener", "open") == "open" for upstream in history.plan.upstreams)


def _made(history: History, contract: Contract) -> Admissions:
    slack = slack_us(history)
    sent_by_us = None if history.clocks_compare else _ended_us(history)
    shown = history.plan.mode == "sim" and slack == 0 and all_listening(history)
    lost_us = crashed_us(history)
    made = Admissions(slack, [], {}, {})
    for one in seen(history, contract):
        if one.tier == "enterprise" and one.model is not None and one.route and one.route.surface in CHARGED_SURFACES:
            entry = _admission(one, one.model, history, contract, shown)
            if sent_by_us is not None:
                _widen(entry, sent_by_us)
            entry.judged = entry.hi < lost_us and not one.plan.detail.get("upload_ms")
            made.entries.append(entry)
            if one.model.id not in made.pools:
                made.pools[one.model.id] = Pool(contract.limits(one.model))
            made.pool(entry).add_slot(entry)
    for pool in made.pools.values() if history.clocks_compare else ():
        _narrow(pool)
    carried: list[Counted] = history.before.get(CARRIED, [])
    for before in carried:
        window = _window(made, before, contract)
        window.carried.append(before)
        window.add(before)
    for entry in made.entries:
        window = _window(made, entry, contract)
        window.entries.append(entry)
        window.add(entry)
        _add_waiting(entry, made.pool(entry), window, slack)
    if history.continues:
        history.after[CARRIED] = _still_counting([*carried, *made.entries], contract)
    return made


def _window(made: Admissions, one: Counted, contract: Contract) -> Window:
    key = (one.account, one.model.id)
    if key not in made.windows:
        made.windows[key] = Window(contract.limits(one.model))
    return made.windows[key]


def _still_counting(entries: list[Counted], contract: Contract) -> list[Counted]:
    """Return what may count in a window when the next chapter begins, without what only judging needs of a call."""
    now = max((one.free for one in entries), default=0)
    return [
        one.counted() for one in entries if one.hi + contract.limits(one.model).window_ms * 1000 * LONGER // 10 > now
    ]


def _admission(one: Seen, model: Model, history: History, contract: Contract, shown: bool) -> Admission:
    call, attempts = one.call, one.attempts
    answered = call.first_byte if call.first_byte is not None else call.end
    hi = min(attempts[0].start, answered) if attempts else answered
    edge = edge_us(history)
    last_sign = max([call.end, *[attempt.end for attempt in attempts]])
    if call.outcome == "aborted" and not all_listening(history):
        # What it was trying where nobody listens does not show, and may go on until the drain time is over.
        last_sign = max(last_sign, call.end + contract.timeouts.drain_ms * 1000 + 2 * slack_us(history))
    free = last_sign + release_us(history)
    return Admission(
        id=call.id,
        account=call.account,
        key=call.key,
        model=model,
        status=call.status,
        headers=call.headers,
        admitted=_was_admitted(one, shown),
        judged=True,
        sent=call.sent,
        lo=call.sent - history.skew_us,
        hi=max(hi, call.sent) + history.skew_us,
        tokens=_estimate(one, model),
        used=_used(one, contract),
        images=images_asked(one),
        images_used=_images_used(one),
        settled=(attempts[-1].attached if attempts else call.end, free),
        busy_from=attempts[0].start + edge if attempts else call.end,
        busy_to=max([attempt.attached for attempt in attempts], default=call.end) - edge,
        free=free,
        reached=tuple([attempt.start for attempt in attempts]),
        seen=one,
    )


def _ended_us(history: History) -> int:
    """Return when the load had ended by the harness's own clock, whose zero no call was sent before.

    A worker that was lost may have gone on until nothing was taken from it any more.
    """
    lost = any(note.detail["lost"] for note in history.notes if note.kind == "generators")
    return next((note.at for note in history.notes if note.kind == ("end" if lost else "generators")), NEVER)


def _widen(one: Admission, sent_by_us: int) -> None:
    """Let it have been decided on, settled and given back its slot at any time while the load went on."""
    one.sent = one.lo = 0
    one.hi = sent_by_us
    one.free = one.hi + SOCKET_SLACK_US
    one.settled = (one.lo, one.free)


def _was_admitted(one: Seen, shown: bool) -> bool | None:
    """Say whether the governor let the call in, None if that cannot be told; ``shown``: no attempt can be missing."""
    status = one.call.status
    if one.attempts or status == 200:
        return True
    if status is None:
        # Without an answer it waited to its end; where every grant shows as an attempt at once, it was never granted.
        return False if shown and one.call.end > one.call.sent else None
    return False if 400 <= status < 500 else None


def _estimate(one: Seen, model: Model) -> int | None:
    """Return the tokens that GOV-05 reserves for the call, None if the length of its body or its limit is unknown."""
    detail, length = one.plan.detail, one.call.request_bytes
    if not length or detail.get("own_body") or set(detail.get("fields", ())) & _MAX_TOKENS:
        return None
    wanted = detail.get("max_tokens")
    return -(-length // 4) + (int(wanted) if wanted is not None else model.default_output_tokens)


def _used(one: Seen, contract: Contract) -> tuple[int, int]:
    """Return the tokens that the call is settled to, at least and at most: exact for an answer with lawful usage."""
    last = one.attempts[-1] if one.attempts else None
    whole = last is not None and last.ended == "served" and last.status == 200
    if last is not None and whole and "usage" not in last.fault and not one.interrupted:
        total = _total(last.reading.usage, last.surface, contract)
        if total is not None and one.model is not None and total <= one.model.context_tokens:
            return total, total
    if any(attempt.status == 200 and attempt.chunks for attempt in one.attempts):
        known = [total for a in one.attempts if (total := _total(a.reading.usage, a.surface, contract)) is not None]
        return 0, max([*known, one.model.context_tokens if one.model else 0])  # usage that makes no sense counts or not
    return 0, 0


def _images_used(one: Seen) -> tuple[int, int]:
    """Return the images that the call is settled to, at least and at most: those of a whole answer, none of a failure.

    A surface whose answers are not images counts one for an answer.
    """
    last = one.attempts[-1] if one.attempts else None
    if last is not None and last.ended == "served" and last.status == 200 and not one.interrupted:
        return _images_in(last), _images_in(last)
    if any(attempt.status == 200 and attempt.chunks for attempt in one.attempts):
        return 0, max(*map(_images_in, one.attempts), images_asked(one) or 0)
    return 0, 0


def _images_in(attempt: AttemptSpan) -> int:
    return images_of(attempt.reading) if attempt.surface == "images" else 1


def images_of(reading: Reading) -> int:
    """Return how many images an answer has, by its reading."""
    return reading.text.count("\n")


def _total(usage: object, surface: str, contract: Contract) -> int | None:
    """Return all tokens of a provider's usage object, None if it has none or they make no sense."""
    try:
        identity = contract.usage_of(surface)
    except KeyError:
        return None
    counts = [_count(usage, identity.input), _count(usage, identity.output)]
    if None in counts:
        return None
    if not identity.includes_cache:
        counts += [_count(usage, identity.cache_read), _count(usage, identity.cache_write)]
    told = [count for count in counts if count is not None]
    return sum(told) if min(told) >= 0 else None


def _count(usage: object, path: str) -> int | None:
    for name in path.split("."):
        usage = usage.get(name) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) and not isinstance(usage, bool) else None


def _narrow(pool: Pool) -> None:
    """Move each grant's earliest instant past the time in which other calls certainly held all slots."""
    full = pool.busy.periods(pool.limits.concurrency)
    starts = [since for since, _ in full]
    for one in pool.entries:
        index = bisect_right(starts, one.lo) - 1
        if index >= 0 and one.admitted is not False and one.lo < full[index][1]:
            one.lo = min(full[index][1], one.hi)


def _add_waiting(one: Admission, pool: Pool, window: Window, slack: int) -> None:
    """Count the time in which the call waited for a slot: not at all if it was dealt with on arrival."""
    if one.hi <= one.sent:
        return
    upload_us = round(1000 * float(one.seen.plan.detail.get("upload_ms", 0)))
    arrived, left, gone = one.sent + slack + upload_us, one.hi - slack, one.hi + slack + 1
    pool.waiting.add(arrived + 1, left)
    pool.waiting_possible.add(one.sent, gone)
    window.waiting.add(arrived + 1, left)
    window.waiting_possible.add(one.sent, gone)
    pool.waiting_tokens.add(arrived + 1, left, one.tokens or 0)
    window.waiting_tokens.add(arrived + 1, left, one.tokens or 0)
    unknown = 2 * one.model.context_tokens
    pool.waiting_tokens_possible.add(one.sent, gone, unknown if one.tokens is None else one.tokens)
