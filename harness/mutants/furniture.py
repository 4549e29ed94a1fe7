"""What mutants put into a gateway: slots, windows, circuits, key rings of their own making; it registers no mutant."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from harness.contract import Breaker as Rules
from harness.contract import Limits
from harness.gateway.breaker import Breaker, Circuit
from harness.gateway.components import Components
from harness.gateway.governor import Governor, Windows
from harness.gateway.keys import KeyRing
from harness.gateway.ledger import Hold, Ledger, Posting
from harness.gateway.slots import Slots
from harness.gateway.windows import SlidingLog

MakeLog = Callable[[int, int], SlidingLog]
"""From a limit and a window's length in microseconds to the log that keeps them."""


def with_slots(parts: Components, make: Callable[[Limits], Slots]) -> Components:
    """Return a gateway whose governor keeps each model's slots and queue in what ``make`` returns."""

    class Other(Governor):
        def _new_slots(self, limits: Limits) -> Slots:
            return make(limits)

    return replace(parts, governor=Other(parts.contract, parts.clock))


def with_requests(parts: Components, make: MakeLog) -> Components:
    """Return a gateway whose governor counts requests in what ``make`` returns."""

    class Other(Governor):
        def _new_windows(self, limits: Limits) -> Windows:
            made = super()._new_windows(limits)
            made.requests = make(limits.requests, limits.window_ms * 1000)
            return made

    return replace(parts, governor=Other(parts.contract, parts.clock))


def with_tokens(parts: Components, make: MakeLog) -> Components:
    """Return a gateway whose governor counts tokens in what ``make`` returns."""

    class Other(Governor):
        def _new_windows(self, limits: Limits) -> Windows:
            made = super()._new_windows(limits)
            made.tokens = make(limits.tokens, limits.window_ms * 1000)
            return made

    return replace(parts, governor=Other(parts.contract, parts.clock))


def with_circuits(parts: Components, circuit: Callable[[Rules], Circuit]) -> Components:
    """Return a gateway whose circuits ``circuit`` makes."""

    class Other(Breaker):
        def fresh(self) -> Circuit:
            return circuit(self._rules)

    return replace(parts, breaker=Other(parts.contract))


def with_breaker_rules(parts: Components, **changes: Any) -> Components:
    """Return a gateway whose circuits go by other numbers."""
    return with_circuits(parts, lambda rules: Circuit(replace(rules, **changes)))


def with_keys(parts: Components, ring: type[KeyRing]) -> Components:
    """Return a gateway whose keys stand in a ring of this kind."""
    return replace(parts, keys=ring(parts.deployment.accounts, parts.store))


class FixedWindow(SlidingLog):
    """Forgets everything as each window of wall time begins anew."""

    __slots__ = ()

    def used(self, now_us: int) -> int:
        while self._entries and self._entries[0].at_us // self.window_us < now_us // self.window_us:
            self._used -= self._entries.popleft().amount
        return self._used


ROUND_TRIP_S = 0.001
"""How long a counter in another process is behind."""


class StaleLog(SlidingLog):
    """Is asked for room as it was a round trip ago."""

    __slots__ = ()

    def wait_us(self, now_us: int, amount: int) -> int:
        unseen_us = now_us - round(ROUND_TRIP_S * 1e6)
        unseen = sum(entry.amount for entry in self._entries if entry.at_us > unseen_us)
        return super().wait_us(now_us, amount - unseen)


def with_ledger(parts: Components, ledger: type[Ledger]) -> Components:
    """Return a gateway whose book is a ``ledger``: the one that is there, with other habits."""
    made = ledger.__new__(ledger)
    made.__dict__ = parts.ledger.__dict__
    return replace(parts, ledger=made)


class HastyLedger(Ledger):
    """Says that a charge stands as soon as the book has it, without waiting for the commit."""

    async def post(self, hold: Hold, credits: int, due: int = 0) -> Posting:
        before = self.posted(hold.account)
        with suppress(StopIteration):  # it had nothing to wait for
            super().post(hold, credits, due).send(None)  # up to its wait for the commit
        return Posting(self._last, credits, before, before - credits)
