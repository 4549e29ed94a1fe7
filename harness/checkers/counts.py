"""What certainly counts against each of the governor's limits, and what possibly does; it reads no record.

An admission's instant is an interval, so each sum is kept twice: a claim holds only if it holds for either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import chain
from operator import attrgetter

from harness.checkers.steps import StepSum
from harness.checkers.wire import Seen
from harness.contract import Limits, Model


@dataclass(slots=True, eq=False)
class Counted:
    """What one charged Enterprise call takes of the governor's limits, and what it was told of them.

    ``admitted`` is None where it cannot be told. The grant (or the refusal) lies in [lo, hi]. ``tokens`` is the
    reservation by the contract, None if the request's length is unknown; from ``settled`` (at the earliest, at the
    latest) on it counts ``used`` (at least, at most); ``images`` and ``images_used`` are the same of images. It
    certainly holds a slot on [busy_from, busy_to), and none from ``free`` on. ``reached`` is when its attempts began.
    """

    id: str
    account: str
    key: str
    model: Model
    status: int | None
    headers: Mapping[str, str]
    admitted: bool | None
    judged: bool
    sent: int
    lo: int
    hi: int
    tokens: int | None
    used: tuple[int, int]
    images: int | None
    images_used: tuple[int, int]
    settled: tuple[int, int]
    busy_from: int
    busy_to: int
    free: int
    reached: tuple[int, ...]

    def counted(self) -> Counted:
        """Return it without what only judging needs, which holds most of a call's memory."""
        return self

    def figure(self, header: str) -> int | None:
        """Return a header as a whole number, None if it is absent or no such number."""
        value = self.headers.get(header, "")
        digits = value.removeprefix("-")
        return int(value) if digits.isdigit() and digits.isascii() else None


_counted = attrgetter(*(field.name for field in fields(Counted)))


@dataclass(slots=True, eq=False)
class Admission(Counted):
    """One charged Enterprise call as the governor met it."""

    seen: Seen

    def counted(self) -> Counted:
        return Counted(*_counted(self))

    @property
    def waited(self) -> bool:
        """Whether it certainly was not dealt with on arrival."""
        return self.hi > self.lo or self.lo > self.sent

    @property
    def refused(self) -> bool:
        """Whether the governor turned it away: 429, and no upstream saw it."""
        return self.admitted is False and self.status == 429


@dataclass(slots=True, eq=False)
class Amounts:
    """What calls reserve of one limit, and count as once they are settled: tokens, or images.

    ``before``: certainly counted for whoever comes later than its last possible instant; ``sure``: the same, from that
    instant on; ``possible``: at most. ``known``: every reservation is.
    """

    known: bool = True
    before: StepSum = field(default_factory=StepSum)
    sure: StepSum = field(default_factory=StepSum)
    possible: StepSum = field(default_factory=StepSum)

    def add(self, one: Counted, reserved: int | None, used: tuple[int, int], window_us: int) -> None:
        """Count what ``one``, which was or may have been admitted, reserved and used (at least, at most)."""
        self.known = self.known and reserved is not None
        amount = reserved or 0
        if used == (amount, amount):  # its settlement changes nothing
            self.possible.add(one.lo, one.hi + window_us, amount)
            if one.admitted:
                self.before.add(one.hi + 1, one.lo + window_us, amount)
                self.sure.add(one.hi, one.lo + window_us, amount)
            return
        early, late = (min(max(at, one.hi), one.hi + window_us) for at in one.settled)
        self.possible.add(one.lo, early, amount)
        self.possible.add(early, late, max(amount, used[1]))
        self.possible.add(late, one.hi + window_us, used[1])
        if one.admitted:
            end, least = one.lo + window_us, min(amount, used[0])
            early, late = (min(max(at, one.hi + 1), end) for at in one.settled)
            self.before.add(one.hi + 1, early, amount)
            self.before.add(early, late, least)
            self.before.add(late, end, used[0])
            self.sure.add(one.hi, early, amount)
            self.sure.add(early, end, least)

    def others_possible(self, one: Admission, own: int | None) -> int:
        """Return how much other calls can have had at ``one``'s instant; ``own`` is what it reserves itself."""
        return self.possible.most(one.lo, one.hi) - (0 if one.admitted is False else own or 0)

    def others_sure(self, one: Admission) -> int:
        """Return how much other calls certainly had at ``one``'s instant."""
        return self.before.least(one.lo, one.hi)


@dataclass(slots=True, eq=False)
class Window:
    """What counts in the rate windows of one account and model: requests, tokens, and images where they have a limit.

    ``units_before``, ``units_sure``, ``units_possible``: as of amounts.
    """

    limits: Limits
    entries: list[Admission] = field(default_factory=list)
    carried: list[Counted] = field(default_factory=list)
    """Those of the chapter before that may still count: they were judged there."""
    units_before: StepSum = field(default_factory=StepSum)
    units_sure: StepSum = field(default_factory=StepSum)
    units_possible: StepSum = field(default_factory=StepSum)
    tokens: Amounts = field(default_factory=Amounts)
    images: Amounts = field(default_factory=Amounts)
    unsettled: StepSum = field(default_factory=StepSum)
    refused: StepSum = field(default_factory=StepSum)
    waiting: StepSum = field(default_factory=StepSum)
    waiting_possible: StepSum = field(default_factory=StepSum)
    waiting_tokens: StepSum = field(default_factory=StepSum)

    @property
    def window_us(self) -> int:
        return self.limits.window_ms * 1000

    @property
    def counted(self) -> Iterator[Counted]:
        """All that may count."""
        return chain(self.carried, self.entries)

    def add(self, one: Counted) -> None:
        """Count ``one`` where it can count."""
        if one.admitted is False:
            self.refused.add(one.hi, one.lo + self.window_us)
            return
        self.units_possible.add(one.lo, one.hi + self.window_us)
        self.tokens.add(one, one.tokens, one.used, self.window_us)
        if self.limits.images is not None:
            self.images.add(one, one.images, one.images_used, self.window_us)
        if one.admitted:
            end = one.lo + self.window_us
            self.unsettled.add(one.hi, min(max(one.settled[0], one.hi + 1), end))
            self.units_before.add(one.hi + 1, end)
            self.units_sure.add(one.hi, end)

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
        return self.tokens.others_possible(one, one.tokens)

    def other_tokens_sure(self, one: Admission) -> int:
        """Return how many tokens other calls certainly had in the window at ``one``'s instant."""
        return self.tokens.others_sure(one)

    def other_images_possible(self, one: Admission) -> int:
        """Return how many images other calls can have had in the window at ``one``'s instant."""
        return self.images.others_possible(one, one.images)

    def other_images_sure(self, one: Admission) -> int:
        """Return how many images other calls certainly had in the window at ``one``'s instant."""
        return self.images.others_sure(one)


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

    def window(self, one: Counted) -> Window:
        """Return the rate windows that hold ``one``."""
        return self.windows[one.account, one.model.id]

    def neighbours(self, account: str, model: str) -> Iterator[Window]:
        """Yield the windows of the account's other models, and of the model's other accounts."""
        for (other_account, other_model), window in self.windows.items():
            if (other_account == account) != (other_model == model):
                yield window

    def pool(self, one: Admission) -> Pool:
        """Return the slots and the queue that hold ``one``."""
        return self.pools[one.model.id]
