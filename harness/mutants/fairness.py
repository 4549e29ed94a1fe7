"""Mutants that let one account take the turn, the place or the quota of another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from harness.contract import Limits
from harness.gateway.components import Components
from harness.gateway.governor import Governor, Windows
from harness.gateway.slots import Line, Slots, Waiter
from harness.mutants.furniture import with_slots
from harness.mutants.registry import mutant


@mutant(breaks="RATE-02")
def lets_a_storm_use_up_its_neighbours_quota(parts: Components) -> Components:
    """Counts a request that one account's window refused in every other account's window of the model."""

    class Spreading(Governor):
        def _check(self, windows: Windows, tokens: int, images: int, afford: Callable[[], object] | None) -> int:
            now_us = self._clock.now_us()
            if not windows.requests.fits(now_us, 1):
                for models in self._windows.values():
                    for other in models.values():
                        if other is not windows:
                            other.requests.take(now_us, 1)
            return super()._check(windows, tokens, images, afford)

    return replace(parts, governor=Spreading(parts.contract, parts.clock))


@mutant(breaks="RATE-02")
def serves_accounts_in_order_of_arrival(parts: Components) -> Components:
    """Serves whoever has waited longest, so that an account with many calls is served many times in a row."""

    class Fifo(Slots):
        def __init__(self, limits: Limits) -> None:
            super().__init__(limits)
            self._arrived: deque[Waiter] = deque()

        def _join(self, waiter: Waiter) -> None:
            super()._join(waiter)
            self._arrived.append(waiter)

        def _leave(self, waiter: Waiter) -> None:
            super()._leave(waiter)
            if waiter in self._arrived:
                self._arrived.remove(waiter)

        def _next(self) -> Waiter:
            return self._arrived[0]

    return with_slots(parts, Fifo)


@mutant(breaks="RATE-02")
def serves_one_account_until_it_is_done(parts: Components) -> Components:
    """Hands slots to one account until none of its calls waits any more."""

    class Sticky(Slots):
        def _end_turn(self, account: str) -> None:
            return None

    return with_slots(parts, Sticky)


@mutant(breaks="RATE-02")
def takes_two_turns_for_the_first_account(parts: Components) -> Components:
    """Serves two calls of an account in a row before the next has its turn."""

    class Double(Slots):
        again = ""

        def _end_turn(self, account: str) -> None:
            if self.again == account:
                super()._end_turn(account)
            self.again = "" if self.again == account else account

    return with_slots(parts, Double)


@mutant(breaks="RATE-02")
def lets_one_account_fill_the_queue(parts: Components) -> Components:
    """Knows no share of the queue: whoever filled it keeps it."""

    class Unshared(Slots):
        def _make_room(self, waiter: Waiter) -> bool:
            return False

    return with_slots(parts, Unshared)


@mutant(breaks="RATE-02")
def puts_out_those_who_hold_least(parts: Components) -> Components:
    """Makes room in a full queue at the cost of the account that holds least of it."""

    class Unfair(Slots):
        def _greediest(self) -> Line:
            return min(self._lines.values(), key=lambda line: len(line.waiters))

    return with_slots(parts, Unfair)
