"""Mutants whose window of requests is too wide, too narrow, shared, forgetful or counts the wrong things."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from harness.contract import Limits, Model
from harness.gateway.admission import Admission
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.failures import Failure
from harness.gateway.governor import Governor, Ticket, Windows
from harness.gateway.relay import Relay
from harness.gateway.settlement import Settler
from harness.gateway.slots import Slots
from harness.gateway.windows import Entry, SlidingLog
from harness.mutants.furniture import FixedWindow, StaleLog, with_requests
from harness.mutants.registry import mutant


@mutant(breaks="GOV-04")
def admits_one_too_many(parts: Components) -> Components:
    """Admits one request more per window than the limit."""
    return with_requests(parts, lambda limit, window_us: SlidingLog(limit + 1, window_us))


@mutant(breaks="GOV-04")
def admits_one_too_few(parts: Components) -> Components:
    """Refuses the last request that a window has room for."""
    return with_requests(parts, lambda limit, window_us: SlidingLog(limit - 1, window_us))


@mutant(breaks="GOV-04")
def counts_a_request_only_later(parts: Components) -> Components:
    """Looks for room in a copy of the window that is a round trip behind it."""
    return with_requests(parts, StaleLog)


@mutant(breaks="GOV-04")
def forgets_requests_at_the_minute(parts: Components) -> Components:
    """Counts requests in fixed windows that begin anew, instead of a sliding one."""
    return with_requests(parts, FixedWindow)


@mutant(breaks="GOV-04")
def estimates_a_window_from_two_counters(parts: Components) -> Components:
    """Counts requests by fixed windows and takes a share of the last one for what slides."""

    class TwoCounters(SlidingLog):
        __slots__ = ()

        def used(self, now_us: int) -> int:
            this, passed_us = divmod(now_us, self.window_us)
            while self._entries and self._entries[0].at_us // self.window_us < this - 1:
                self._entries.popleft()
            last = sum(entry.amount for entry in self._entries if entry.at_us // self.window_us < this)
            now = sum(entry.amount for entry in self._entries) - last
            return now + last * (self.window_us - passed_us) // self.window_us

        def wait_us(self, now_us: int, amount: int) -> int:
            return 0 if self.fits(now_us, amount) else self.window_us - now_us % self.window_us

    return with_requests(parts, TwoCounters)


@mutant(breaks="GOV-04")
def refills_its_window_bit_by_bit(parts: Components) -> Components:
    """Counts requests in a bucket that fills up again as time goes by."""

    class Bucket(SlidingLog):
        __slots__ = ("_level", "_since_us")

        def __init__(self, limit: int, window_us: int) -> None:
            super().__init__(limit, window_us)
            self._level = 0.0
            self._since_us = 0

        def used(self, now_us: int) -> int:
            self._level = max(0.0, self._level - (now_us - self._since_us) * self.limit / self.window_us)
            self._since_us = now_us
            return round(self._level + 0.499)

        def wait_us(self, now_us: int, amount: int) -> int:
            return max(0, self.used(now_us) + amount - self.limit) * self.window_us // self.limit

        def take(self, now_us: int, amount: int) -> Entry:
            self._level += amount
            return super().take(now_us, amount)

    return with_requests(parts, Bucket)


@mutant(breaks="GOV-04")
def frees_a_unit_a_moment_early(parts: Components) -> Components:
    """Frees a unit a millisecond before its window is over."""
    return with_requests(parts, lambda limit, window_us: SlidingLog(limit, window_us - 1_000))


@mutant(breaks="GOV-04")
def frees_a_unit_a_moment_late(parts: Components) -> Components:
    """Counts a unit for one microsecond more than its window."""
    return with_requests(parts, lambda limit, window_us: SlidingLog(limit, window_us + 1))


@mutant(breaks="GOV-04")
def starts_the_window_anew_with_every_request(parts: Components) -> Components:
    """Frees units only once an account has been silent for a whole window."""

    class Renewing(SlidingLog):
        __slots__ = ()

        def used(self, now_us: int) -> int:
            if self._entries and self._entries[-1].at_us <= now_us - self.window_us:
                self._entries.clear()
                self._used = 0
            return self._used

        def wait_us(self, now_us: int, amount: int) -> int:
            full = self.used(now_us) + amount > self.limit
            return self._entries[-1].at_us + self.window_us - now_us if full else 0

    return with_requests(parts, Renewing)


@mutant(breaks="GOV-04")
def keeps_a_window_for_each_key(parts: Components) -> Components:
    """Gives every key of an account windows of its own."""

    class PerKey(Admission):
        def owner(self, call: Call) -> str:
            return call.identity.key if call.enterprise and call.identity is not None else call.account

    return replace(parts, admission=PerKey(parts.contract))


@mutant(breaks="GOV-04")
def shares_a_window_among_accounts(parts: Components) -> Components:
    """Counts the requests of all accounts to a model in one window."""
    return replace(parts, governor=_sharing(parts, lambda account, model: ("", model.id)))


@mutant(breaks="GOV-04")
def shares_a_window_among_models(parts: Components) -> Components:
    """Counts an account's requests to all models in one window."""
    return replace(parts, governor=_sharing(parts, lambda account, model: (account, "")))


def _sharing(parts: Components, key: Callable[[str, Model], tuple[str, str]]) -> Governor:
    """Return a governor whose windows of requests are one where ``key`` is."""
    shared: dict[tuple[str, str], SlidingLog] = {}

    class Sharing(Governor):
        def _windows_of(self, account: str, model: Model) -> Windows:
            made = super()._windows_of(account, model)
            made.requests = shared.setdefault(key(account, model), made.requests)
            return made

    return Sharing(parts.contract, parts.clock)


@mutant(breaks="GOV-04")
def dates_a_unit_from_its_arrival(parts: Components) -> Components:
    """Counts a request that waited from the instant in which it came, so that its unit is free too soon."""
    arrived: ContextVar[int] = ContextVar("arrived")

    class Backdated(SlidingLog):
        __slots__ = ()

        def take(self, now_us: int, amount: int) -> Entry:
            return super().take(arrived.get(), amount)

    class Dating(Governor):
        def _windows_of(self, account: str, model: Model) -> Windows:
            made = super()._windows_of(account, model)
            if type(made.requests) is SlidingLog:
                made.requests = Backdated(made.requests.limit, made.requests.window_us)
            return made

        async def admit(self, account: str, model: Model, *rest: Any, **options: Any) -> Ticket:
            arrived.set(self._clock.now_us())
            return await super().admit(account, model, *rest, **options)

    return replace(parts, governor=Dating(parts.contract, parts.clock))


@mutant(breaks="GOV-04")
def counts_those_that_wait(parts: Components) -> Components:
    """Takes a call's unit as it comes, and gives it back if it does not get a slot."""

    mine: ContextVar[SlidingLog] = ContextVar("mine")

    class Early(Slots):
        async def wait(self, account: str, tokens: int) -> None:
            log = mine.get()
            entry = log.take(parts.clock.now_us(), 1)
            try:
                await super().wait(account, tokens)
            finally:
                log.settle(parts.clock.now_us(), entry, 0)

    class Telling(Governor):
        def _new_slots(self, limits: Limits) -> Slots:
            return Early(limits)

        async def admit(self, account: str, model: Model, *rest: Any, **options: Any) -> Ticket:
            mine.set(self._windows_of(account, model).requests)
            return await super().admit(account, model, *rest, **options)

    return replace(parts, governor=Telling(parts.contract, parts.clock))


@mutant(breaks="GOV-04")
def counts_refused_requests(parts: Components) -> Components:
    """Counts a request that a full window refused, so that whoever keeps asking never gets in."""

    class Counting(Governor):
        def _check(self, windows: Windows, tokens: int, images: int, afford: Callable[[], object] | None) -> int:
            now_us = self._clock.now_us()
            if windows.wait_us(now_us, tokens, images):
                windows.requests.take(now_us, 1)
            return super()._check(windows, tokens, images, afford)

    return replace(parts, governor=Counting(parts.contract, parts.clock))


@mutant(breaks="GOV-04")
def counts_requests_refused_for_their_tokens(parts: Components) -> Components:
    """Counts a request whose tokens did not fit its window."""

    class Counting(Governor):
        def _check(self, windows: Windows, tokens: int, images: int, afford: Callable[[], object] | None) -> int:
            now_us = self._clock.now_us()
            if not windows.tokens.fits(now_us, tokens) and windows.requests.fits(now_us, 1):
                windows.requests.take(now_us, 1)
            return super()._check(windows, tokens, images, afford)

    return replace(parts, governor=Counting(parts.contract, parts.clock))


@mutant(breaks="GOV-04")
def counts_every_attempt(parts: Components) -> Components:
    """Takes a unit for each further attempt of a call."""

    class PerAttempt(Relay):
        def after(self, parts: Components, call: Call, failure: Failure) -> None:
            super().after(parts, call, failure)
            if call.ticket is not None:
                windows = parts.governor._windows_of(call.account, call.ticket.model)
                windows.requests.take(parts.clock.now_us(), 1)

    return replace(parts, relay=PerAttempt(parts.contract))


@mutant(breaks="GOV-04")
def forgets_requests_that_failed(parts: Components) -> Components:
    """Gives the unit of a call back that no upstream answered."""

    class Refunding(Settler):
        def release(self, parts: Components, call: Call) -> None:
            if call.ticket is not None and not call.client.gone:
                _refund(parts, call.account, call.ticket)
            super().release(parts, call)

    return replace(parts, settler=Refunding(parts.contract))


@mutant(breaks="GOV-04")
def forgets_requests_of_clients_that_left(parts: Components) -> Components:
    """Gives the unit of a call back whose client did not wait for the answer."""

    class Refunding(Settler):
        def give_back(self, parts: Components, call: Call) -> None:
            if call.ticket is not None and call.client.gone:
                _refund(parts, call.account, call.ticket)
            super().give_back(parts, call)

    return replace(parts, settler=Refunding(parts.contract))


def _refund(parts: Components, account: str, ticket: Ticket) -> None:
    log, now_us = parts.governor._windows_of(account, ticket.model).requests, parts.clock.now_us()
    for entry in log._entries:
        if entry.at_us == ticket.at_us and entry.amount:
            log.settle(now_us, entry, 0)
            return
