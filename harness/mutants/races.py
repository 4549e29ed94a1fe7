"""Mutants that race with their own worker threads: right in simulation and at leisure, wrong under load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from harness.contract import Limits, Model
from harness.gateway.components import Components
from harness.gateway.governor import Governor, Snapshot, Ticket
from harness.gateway.ledger import Hold, Ledger, Posting
from harness.gateway.slots import Slots
from harness.gateway.store import Commit, Record
from harness.gateway.usage_log import UsageLog
from harness.gateway.windows import Entry, SlidingLog
from harness.mutants.furniture import with_ledger, with_requests, with_slots, with_tokens
from harness.mutants.registry import mutant
from harness.mutants.threads import Threads

ROUND_TRIP_S = 0.02
"""To a counter on another machine and back, when many ask."""


@mutant(breaks="GOV-04", under="storm")
def counts_requests_on_another_machine(parts: Components) -> Components:
    """Counts a request on another machine: those that come within a round trip of the last free unit get in as well."""
    threads = Threads(parts)

    class Distant(SlidingLog):
        __slots__ = ()

        def take(self, now_us: int, amount: int) -> Entry:
            entry = Entry(now_us, amount)
            if self._entries:
                threads.do(lambda: self._count(entry), round_trip_s=ROUND_TRIP_S)
            else:
                self._count(entry)
            return entry

        def _count(self, entry: Entry) -> None:
            self._entries.append(entry)
            self._used += entry.amount

    return with_requests(parts, Distant)


@mutant(breaks="GOV-05", under="probe-tpm")
def adds_up_tokens_in_threads_without_a_lock(parts: Components) -> Components:
    """Reads the tokens used, adds a call's and writes the sum back, in threads that know nothing of each other."""
    threads = Threads(parts)

    class Unlocked(SlidingLog):
        __slots__ = ()

        def take(self, now_us: int, amount: int) -> Entry:
            entry = Entry(now_us, amount)
            self._entries.append(entry)
            threads.do(lambda: self._add(amount))
            return entry

        def _add(self, amount: int) -> None:
            used = self._used
            threads.wait(ROUND_TRIP_S)
            self._used = used + amount

    return with_tokens(parts, Unlocked)


@mutant(breaks="GOV-02", under="slow-answers")
def gives_a_slot_away_that_a_thread_hands_over(parts: Components) -> Components:
    """Sets a slot free until a thread has handed it to the next in the queue: who comes meanwhile takes it as well."""
    threads = Threads(parts)

    class Open(Slots):
        def give_back(self) -> None:
            if self._lines:
                self._taken -= 1
                threads.tell(self._hand_over, round_trip_s=ROUND_TRIP_S)
            else:
                super().give_back()

        def _hand_over(self) -> None:
            self._taken += 1
            super().give_back()

    return with_slots(parts, Open)


@mutant(breaks="RATE-02", under="storm")
def takes_whoever_asked_last_for_the_account(parts: Components) -> Components:
    """Keeps the account that asks in one place while a thread is asked: the units are taken of whoever asked last."""
    threads = Threads(parts)

    class Shared(Governor):
        asking = ""

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
            self.asking = account
            await threads.ask(ROUND_TRIP_S)
            return await super().admit(self.asking, model, tokens, hold, images=images, afford=afford)

    return replace(parts, governor=Shared(parts.contract, parts.clock))


@mutant(breaks="GOV-09", under="soak")
def loses_slots_that_are_freed_at_once(parts: Components) -> Components:
    """Lets a thread tell that a slot is free: what is freed before it has told so is lost."""
    threads = Threads(parts)

    class Signalled(Slots):
        def __init__(self, limits: Limits) -> None:
            super().__init__(limits)
            self._telling = False

        def give_back(self) -> None:
            if not self._telling:
                self._telling = True
                threads.tell(self._told)

        def _told(self) -> None:
            self._telling = False
            super().give_back()

    return with_slots(parts, Signalled)


@mutant(breaks="BILL-06", under="ceiling-text")
def writes_balances_back_from_a_thread(parts: Components) -> Components:
    """Writes a balance back from a thread, as it was when the thread was asked to, whatever was booked since."""
    threads = Threads(parts)

    class Stale(Ledger):
        def _apply(self, record: Record) -> None:
            super()._apply(record)
            balance = self._balances[record["account"]]
            available = balance.available

            def write() -> None:
                balance.available = available

            threads.do(write, round_trip_s=ROUND_TRIP_S)

    return with_ledger(parts, Stale)


@mutant(breaks="BILL-03", under="ceiling-text")
def tells_the_balance_of_the_latest_charge(parts: Components) -> Components:
    """Keeps the posting in one place for all calls while a thread is asked: whoever posts meanwhile tells his own."""
    threads = Threads(parts)

    class Shared(Ledger):
        latest: Posting

        async def post(self, hold: Hold, credits: int, due: int = 0) -> Posting:
            Shared.latest = posting = await super().post(hold, credits, due)
            await threads.ask(ROUND_TRIP_S)
            return replace(posting, before=Shared.latest.before, after=Shared.latest.after)

    return with_ledger(parts, Shared)


@mutant(breaks="GOV-10", under="ceiling-text")
def tells_what_remained_when_a_thread_last_looked(parts: Components) -> Components:
    """Tells all calls the limits as they stood when a thread last looked, a round trip ago."""
    threads = Threads(parts)

    kept: dict[tuple[str, str], Snapshot] = {}

    class Cached(Governor):
        def _snapshot(self, account: str, model: Model, now_us: int) -> Snapshot:
            key = (account, model.id)
            if key not in kept:
                kept[key] = made = super()._snapshot(account, model, now_us)
                threads.do(lambda: kept.pop(key), round_trip_s=ROUND_TRIP_S)
                return made
            return kept[key]

    return replace(parts, governor=Cached(parts.contract, parts.clock))


@mutant(breaks="INS-06", under="soak")
def drops_rows_that_find_the_writer_busy(parts: Components) -> Components:
    """Drops a row of the usage log that comes while a thread is writing another."""
    threads = Threads(parts)

    class Lossy(UsageLog):
        writing = False

        def add(self, row: Record) -> Commit:
            if self.writing:
                dropped = Commit(asyncio.get_running_loop())
                dropped.end()
                return dropped
            self.writing = True
            threads.do(self._written, round_trip_s=ROUND_TRIP_S)
            return super().add(row)

        def _written(self) -> None:
            self.writing = False

    return replace(parts, usage_log=Lossy(parts.store))
