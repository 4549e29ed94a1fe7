"""Mutants that admit too much, too little, or forget what they admitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.contract import Limits, Model
from harness.gateway.admission import Admission
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.governor import Governor, Snapshot, Ticket, Windows
from harness.gateway.ledger import Hold
from harness.gateway.settlement import Settler
from harness.gateway.slots import Slots
from harness.gateway.windows import SlidingLog
from harness.mutants.registry import mutant


@mutant(breaks="GOV-04")
def admits_one_too_many(parts: Components) -> Components:
    """Admits one request more per window than the limit."""

    class Wide(Windows):
        def __init__(self, limits: Limits) -> None:
            super().__init__(limits)
            self.requests = SlidingLog(limits.requests + 1, limits.window_ms * 1000)

    return replace(parts, governor=_with_windows(parts, Wide))


@mutant(breaks="GOV-04")
def forgets_requests_at_the_minute(parts: Components) -> Components:
    """Counts requests in fixed windows that begin anew, instead of a sliding one."""

    class Fixed(SlidingLog):
        def used(self, now_us: int) -> int:
            while self._entries and self._entries[0].at_us // self.window_us < now_us // self.window_us:
                self._used -= self._entries.popleft().amount
            return self._used

    class Minutes(Windows):
        def __init__(self, limits: Limits) -> None:
            super().__init__(limits)
            self.requests = Fixed(limits.requests, limits.window_ms * 1000)

    return replace(parts, governor=_with_windows(parts, Minutes))


@mutant(breaks="GOV-05")
def reserves_no_tokens(parts: Components) -> Components:
    """Counts tokens when a call ends and reserves none while it runs."""

    class PostPaid(Governor):
        async def admit(
            self,
            account: str,
            model: Model,
            tokens: int,
            hold: Callable[[], Hold],
            *,
            images: int = 0,
            afford: Callable[[], object] | None = None,
        ) -> Ticket:
            return await super().admit(account, model, 0, hold, images=images, afford=afford)

    return replace(parts, governor=PostPaid(parts.contract, parts.clock))


@mutant(breaks="GOV-09")
def leaks_the_slot_of_a_client_that_left(parts: Components) -> Components:
    """Gives a slot back after an answer, but not when the client went away."""

    class Forgetful(Settler):
        def give_back(self, parts: Components, call: Call) -> None:
            if not call.client.gone:
                super().give_back(parts, call)

    return replace(parts, settler=Forgetful(parts.contract))


@mutant(breaks="GOV-02")
def frees_the_slot_while_the_upstream_runs(parts: Components) -> Components:
    """Admits one call more at a time than there are slots."""

    class Loose(Slots):
        def try_take(self) -> bool:
            if self._taken == self._limits.concurrency:
                self._taken += 1
                return True
            return super().try_take()

    class Crowded(Governor):
        def _slots_of(self, model: Model) -> Slots:
            return self._slots.setdefault(model.id, Loose(self._contract.limits(model)))

    return replace(parts, governor=Crowded(parts.contract, parts.clock))


@mutant(breaks="GOV-10")
def tells_remaining_before_admission(parts: Components) -> Components:
    """Tells the requests that remained before the call itself was counted."""

    class Before(Governor):
        def _snapshot(self, account: str, model: Model, now_us: int) -> Snapshot:
            made = super()._snapshot(account, model, now_us)
            return replace(made, rpm_remaining=made.rpm_remaining + 1)

    return replace(parts, governor=Before(parts.contract, parts.clock))


@mutant(breaks="RATE-01")
def limits_each_key_by_itself(parts: Components) -> Components:
    """Gives every key of a user a quota of its own."""

    class PerKey(Admission):
        def enter_rated(self, parts: Components, call: Call, credits: int) -> None:
            assert call.identity is not None
            parts.user_rate.admit(call.identity.key)
            self.enter(parts, call, credits)

    return replace(parts, admission=PerKey(parts.contract))


def _with_windows(parts: Components, windows: type[Windows]) -> Governor:
    """Return a governor that keeps its limits in ``windows``."""

    class Other(Governor):
        def _windows_of(self, account: str, model: Model) -> Windows:
            models = self._windows.setdefault(account, {})
            if model.id not in models:
                models[model.id] = windows(self._contract.limits(model))
            return models[model.id]

    return Other(parts.contract, parts.clock)
