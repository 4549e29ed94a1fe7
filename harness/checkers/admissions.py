"""When the governor can have admitted each Enterprise call, and what it held from then on; it judges nothing.

An admission's instant is an interval, [the client sent, the first upstream saw it or the client was answered], narrowed
by the instants at which no slot was free. A claim is sound when it holds for every choice inside the intervals, so each
sum is kept twice: what certainly counts, and what possibly does.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from harness.checkers.steps import StepSum
from harness.checkers.wire import TEXT_SURFACES, Seen, seen
from harness.contract import Contract, Limits, Model
from harness.history import History

RELEASE_US = 100_000
"""How long after a call's last sign of life its slot may still be on its way back: the commit of its charge."""
SOCKET_SLACK_US = 100_000
"""How far a request's arrival at the gateway may lag behind its sending where the network is real."""
CHOP_US = 2_000
"""How long the simulated link may hold a piece back where it chops."""
NEVER = 1 << 62
_MAX_TOKENS = {"max_tokens", "max_completion_tokens", "max_output_tokens"}


@dataclass(slots=True, eq=False)
class Admission:
    """One Enterprise call of a text surface as the governor met it.

    ``admitted`` is None where it cannot be told. The grant (or the refusal) lies in [lo, hi]. ``tokens`` is the
    reservation by the contract, None if the request's length is unknown; from ``settled`` (at the earliest, at the
    latest) on it counts ``used`` (at least, at most). It certainly holds a slot on [busy_from, busy_to), and none from
    ``free`` on.
    """

    seen: Seen
    model: Model
    admitted: bool | None
    sent: int
    lo: int
    hi: int
    tokens: int | None
    used: tuple[int, int]
    settled: tuple[int, int]
    busy_from: int
    busy_to: int
    free: int
    judged: bool = True

    @property
    def id(self) -> str:
        return self.seen.call.id

    @property
    def account(self) -> str:
        return self.seen.call.account

    @property
    def status(self) -> int | None:
        return self.seen.call.status

    @property
    def waited(self) -> bool:
        """Whether it certainly was not dealt with on arrival."""
        return self.hi > self.lo or self.lo > self.sent

    @property
    def refused(self) -> bool:
        """Whether the governor turned it away: 429, and no upstream saw it."""
        return self.admitted is False and self.status == 429

    def figure(self, header: str) -> int | None:
        """Return a header as a whole number, None if it is absent or no such number."""
        value = self.seen.call.headers.get(header, "")
        return int(value) if value.removeprefix("-").isascii() and value.removeprefix("-").isdigit() else None


@dataclass(slots=True, eq=False)
class Window:
    """What counts in the rate windows of one account and model: requests and tokens.

    ``before``: certainly counted for whoever comes later than its last possible instant; ``sure``: the same, from that
    instant on; ``possible``: at most.
    """

    limits: Limits
    entries: list[Admission] = field(default_factory=list)
    tokens_known: bool = True
    units_before: StepSum = field(default_factory=StepSum)
    units_sure: StepSum = field(default_factory=StepSum)
    units_possible: StepSum = field(default_factory=StepSum)
    tokens_before: StepSum = field(default_factory=StepSum)
    tokens_sure: StepSum = field(default_factory=StepSum)
    tokens_possible: StepSum = field(default_factory=StepSum)
    unsettled: StepSum = field(default_factory=StepSum)
    refused: StepSum = field(default_factory=StepSum)
    waiting: StepSum = field(default_factory=StepSum)
    waiting_possible: StepSum = field(default_factory=StepSum)
    waiting_tokens: StepSum = field(default_factory=StepSum)

    @property
    def window_us(self) -> int:
        return self.limits.window_ms * 1000

    def add(self, one: Admission) -> None:
        """Count ``one`` where it can count."""
        self.entries.append(one)
        if one.admitted is False:
            self.refused.add(one.hi, one.lo + self.window_us)
            return
        self.units_possible.add(one.lo, one.hi + self.window_us)
        self.tokens_known = self.tokens_known and one.tokens is not None
        reserved = one.tokens or 0
        early, late = (min(max(at, one.hi), one.hi + self.window_us) for at in one.settled)
        self.tokens_possible.add(one.lo, early, reserved)
        self.tokens_possible.add(early, late, max(reserved, one.used[1]))
        self.tokens_possible.add(late, one.hi + self.window_us, one.used[1])
        if one.admitted:
            self._add_sure(one, reserved)

    def _add_sure(self, one: Admission, reserved: int) -> None:
        end = one.lo + self.window_us
        early, late = (min(max(at, one.hi + 1), end) for at in one.settled)
        least = min(reserved, one.used[0])
        self.unsettled.add(one.hi, early)
        self.units_before.add(one.hi + 1, end)
        self.units_sure.add(one.hi, end)
        self.tokens_before.add(one.hi + 1, early, reserved)
        self.tokens_before.add(early, late, least)
        self.tokens_before.add(late, end, one.used[0])
        self.tokens_sure.add(one.hi, early, reserved)
        self.tokens_sure.add(early, end, least)

    def others_possible(self, one: Admission) -> int:
        """Return how many units other calls can have had in the window at ``one``'s instant."""
        return self.units_possible.most(one.lo, one.hi) - (one.admitted is not False)

    def others_sure(self, one: Admission) -> int:
        """Return how many units other calls certainly had in the window at ``one``'s instant."""
        return self.units_before.least(one.lo, one.hi)

    def others_unsettled(self, one: Admission) -> bool:
        """Say whether any other call's reservation certainly stood at ``one``'s instant, or was taken in it."""
        return self.unsettled.at(one.hi) > bool(one.admitted)

    def other_tokens_possible(self, one: Admission) -> int:
        """Return how many tokens other calls can have had in the window at ``one``'s instant."""
        own = 0 if one.admitted is False else one.tokens or 0
        return self.tokens_possible.most(one.lo, one.hi) - own

    def other_tokens_sure(self, one: Admission) -> int:
        """Return how many tokens other calls certainly had in the window at ``one``'s instant."""
        return self.tokens_before.least(one.lo, one.hi)


@dataclass(slots=True, eq=False)
class Pool:
    """What one model's slots and wait queue hold, all accounts together.

    ``busy_before`` leaves out what was taken in the very instant asked about: it may have been taken after.
    """

    limits: Limits
    entries: list[Admission] = field(default_factory=list)
    busy: StepSum = field(default_factory=StepSum)
    busy_before: StepSum = field(default_factory=StepSum)
    busy_possible: StepSum = field(default_factory=StepSum)
    waiting: StepSum = field(default_factory=StepSum)
    waiting_possible: StepSum = field(default_factory=StepSum)
    waiting_tokens: StepSum = field(default_factory=StepSum)
    waiting_tokens_possible: StepSum = field(default_factory=StepSum)

    def add_slot(self, one: Admission) -> None:
        """Count the slot that ``one`` held."""
        self.entries.append(one)
        if one.admitted:
            self.busy.add(one.busy_from, one.busy_to)
            self.busy_before.add(one.busy_from + 1, one.busy_to)
        if one.admitted is not False:
            self.busy_possible.add(one.lo, one.free)

    def others_busy(self, one: Admission) -> int:
        """Return how many slots other calls certainly held at ``one``'s instant."""
        return self.busy_before.least(one.lo, one.hi)

    def others_possibly_busy(self, one: Admission) -> int:
        """Return how many slots other calls can have held at ``one``'s instant."""
        return self.busy_possible.most(one.lo, one.hi) - (one.admitted is not False)

    def others_possibly_waiting(self, one: Admission) -> int:
        """Return how many other calls can have waited at ``one``'s instant."""
        return self.waiting_possible.most(one.lo, one.hi) - (one.hi > one.sent)


@dataclass(slots=True, eq=False)
class Admissions:
    """All Enterprise calls of a history, by model and by account and model; ``slack_us`` is one way's longest delay."""

    slack_us: int
    entries: list[Admission]
    pools: dict[str, Pool]
    windows: dict[tuple[str, str], Window]

    def window(self, one: Admission) -> Window:
        """Return the rate windows that hold ``one``."""
        return self.windows[one.account, one.model.id]

    def pool(self, one: Admission) -> Pool:
        """Return the slots and the queue that hold ``one``."""
        return self.pools[one.model.id]


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


def crashed_us(history: History) -> int:
    """Return when the gateway's memory was lost for the first time, as early as it can have been."""
    planned = (round(crash["at_ms"] * 1000) for crash in history.plan.options.get("crashes", ()))
    return min(planned, default=NEVER)


def all_listening(history: History) -> bool:
    """Say whether every upstream took connections all the time, so that the journal shows every attempt."""
    return all(upstream.get("listener", "open") == "open" for upstream in history.plan.upstreams)


def _made(history: History, contract: Contract) -> Admissions:
    slack = slack_us(history)
    shown = history.plan.mode == "sim" and slack == 0 and all_listening(history)
    lost_us = crashed_us(history)
    made = Admissions(slack, [], {}, {})
    for one in seen(history, contract):
        if one.tier == "enterprise" and one.model is not None and one.route and one.route.surface in TEXT_SURFACES:
            entry = _admission(one, one.model, history, contract, shown)
            entry.judged = entry.hi < lost_us and not one.plan.detail.get("upload_ms")
            made.entries.append(entry)
            limits = contract.limits(one.model)
            made.pools.setdefault(one.model.id, Pool(limits)).add_slot(entry)
    for pool in made.pools.values():
        _narrow(pool)
    for entry in made.entries:
        key = (entry.account, entry.model.id)
        window = made.windows.setdefault(key, Window(contract.limits(entry.model)))
        window.add(entry)
        _add_waiting(entry, made.pool(entry), window, slack)
    return made


def _admission(one: Seen, model: Model, history: History, contract: Contract, shown: bool) -> Admission:
    call, attempts = one.call, one.attempts
    answered = call.first_byte if call.first_byte is not None else call.end
    hi = min(attempts[0].start, answered) if attempts else answered
    last_sign = max([call.end, *(attempt.end for attempt in attempts)])
    return Admission(
        seen=one,
        model=model,
        admitted=_was_admitted(one, shown),
        sent=call.sent,
        lo=call.sent - history.skew_us,
        hi=max(hi, call.sent) + history.skew_us,
        tokens=_estimate(one, model),
        used=_used(one, contract),
        settled=(attempts[-1].attached if attempts else call.end, last_sign + RELEASE_US),
        busy_from=attempts[0].start if attempts else call.end,
        busy_to=max((attempt.attached for attempt in attempts), default=call.end),
        free=last_sign + RELEASE_US,
    )


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
    known = [total for a in one.attempts if (total := _total(a.reading.usage, a.surface, contract)) is not None]
    last = one.attempts[-1] if one.attempts else None
    if last is not None and last.ended == "served" and last.status == 200 and known:
        total = _total(last.reading.usage, last.surface, contract)
        if total is not None:
            return total, total
    if any(attempt.status == 200 and attempt.chunks for attempt in one.attempts):
        return 0, max([*known, one.model.context_tokens if one.model else 0])
    return 0, 0


def _total(usage: object, surface: str, contract: Contract) -> int | None:
    """Return all tokens of a provider's usage object, None if it has none or they make no sense."""
    try:
        identity = contract.usage_of(surface)
    except KeyError:
        return None
    names = [identity.input, identity.output]
    if not identity.includes_cache:
        names += [identity.cache_read, identity.cache_write]
    counts = [_count(usage, name) for name in names]
    if counts[0] is None or counts[1] is None or any(count is not None and count < 0 for count in counts):
        return None
    return sum(count or 0 for count in counts)


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
