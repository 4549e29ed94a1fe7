"""Mutants whose ledger changes, loses, makes up or hides entries."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from itertools import count
from typing import Any

from harness.gateway.books import Books
from harness.gateway.components import Components
from harness.gateway.deployment import AccountSeed
from harness.gateway.ledger import Hold, Ledger
from harness.gateway.store import Commit, Pages, Record, Store, StoreError
from harness.mutants.furniture import HastyLedger, with_ledger
from harness.mutants.registry import mutant

WRITE_BEHIND_S = 0.1
"""How long a cache keeps entries that should be on the disk."""


class _Retold(Ledger):
    """A book that shows other entries than it keeps."""

    async def entries(self, account: str | None = None, after: int = 0, upto: int | None = None) -> Pages:
        async with aclosing(super().entries(account, after, upto)) as pages:
            async for page in pages:
                yield [told for entry in page if (told := self.retold(dict(entry))) is not None]

    def retold(self, entry: dict[str, Any]) -> dict[str, Any] | None:
        return entry


@mutant(breaks="BILL-06")
def forgets_holds_that_ended(parts: Components) -> Components:
    """Takes holds and voids out of its ledger, so that entries are missing in it."""

    class Compacting(_Retold):
        def retold(self, entry: dict[str, Any]) -> dict[str, Any] | None:
            return None if entry["kind"] in ("hold", "void") else entry

    return with_ledger(parts, Compacting)


@mutant(breaks="BILL-06")
def writes_one_line_for_a_charge(parts: Components) -> Components:
    """Keeps the customer's side of a charge alone."""

    class Single(_Retold):
        def retold(self, entry: dict[str, Any]) -> dict[str, Any] | None:
            own = [line for line in entry["lines"] if line[0] != "revenue"]
            return {**entry, "lines": own}

    return with_ledger(parts, Single)


@mutant(breaks="BILL-06")
def keeps_the_rest_of_a_hold(parts: Components) -> Components:
    """Releases one credit less than was held when a call is charged, and books it nowhere."""

    class Keeping(_Retold):
        def retold(self, entry: dict[str, Any]) -> dict[str, Any] | None:
            if entry["kind"] != "post" or not entry["amount"]:
                return entry
            name = f"customer:{entry['account']}"
            return {**entry, "lines": [(to, credits - (to == name)) for to, credits in entry["lines"]]}

    return with_ledger(parts, Keeping)


@mutant(breaks="BILL-06")
def loses_an_update_of_a_balance(parts: Components) -> Components:
    """Reads a balance, waits, and writes it back, so that one of two charges at a time is lost."""
    read: dict[str, int] = {}

    class Racing(_Retold):
        def hold(self, account: str, call: str, credits: int) -> Hold:
            read[call] = self.posted(account)
            return super().hold(account, call, credits)

        def retold(self, entry: dict[str, Any]) -> dict[str, Any] | None:
            stale = read.get(entry["call"])
            return {**entry, "balance": stale + entry["credits"]} if entry["kind"] == "post" and stale else entry

    return with_ledger(parts, Racing)


@mutant(breaks="BILL-06")
def tells_the_available_balance_in_its_entries(parts: Components) -> Components:
    """Writes the balance less what is held into the entry of a hold."""

    class Available(_Retold):
        def retold(self, entry: dict[str, Any]) -> dict[str, Any] | None:
            held = entry["amount"] if entry["kind"] == "hold" else 0
            return {**entry, "balance": entry["balance"] - held}

    return with_ledger(parts, Available)


@mutant(breaks="BILL-06")
def counts_its_entries_by_account(parts: Components) -> Components:
    """Numbers the entries of each account from one."""

    class PerAccount(Ledger):
        async def entries(self, account: str | None = None, after: int = 0, upto: int | None = None) -> Pages:
            numbers: defaultdict[str, count[int]] = defaultdict(lambda: count(1))
            async with aclosing(super().entries(account, after, upto)) as pages:
                async for page in pages:
                    yield [{**entry, "entry": next(numbers[entry["account"]])} for entry in page]

    return with_ledger(parts, PerAccount)


@mutant(breaks="BILL-06")
def forgets_open_holds_in_a_crash(parts: Components) -> Components:
    """Leaves the holds open that a crash interrupted."""

    class Forgetful(Ledger):
        def _replay(self) -> Sequence[Hold]:
            super()._replay()
            return ()

    return with_ledger(parts, Forgetful)


@mutant(breaks="BILL-06")
def charges_open_holds_after_a_crash(parts: Components) -> Components:
    """Charges what was held to calls that a crash interrupted."""

    class Charging(Ledger):
        async def open(self, accounts: Iterable[AccountSeed]) -> None:
            for hold in self._replay():
                await self.post(hold, hold.credits)
            for seed in accounts:
                if seed.id not in self._balances:
                    await super().open([seed])

        def _replay(self) -> Sequence[Hold]:
            return super()._replay() if not self._last else ()

    return with_ledger(parts, Charging)


@mutant(breaks="BILL-06")
def opens_its_accounts_again_after_a_crash(parts: Components) -> Components:
    """Pays the opening balance in once more with every start."""

    class Generous(Ledger):
        async def open(self, accounts: Iterable[AccountSeed]) -> None:
            seeds = list(accounts)
            known = self._store.committed > 0
            await super().open(seeds)
            for seed in seeds if known else ():
                lines = (("top_ups", -seed.credits), (f"customer:{seed.id}", seed.credits))
                await self._write("opening", seed.id, "", seed.credits, abs(seed.credits), lines)

    return with_ledger(parts, Generous)


@mutant(breaks="BILL-06")
def answers_before_the_charge_is_kept(parts: Components) -> Components:
    """Answers a call, and pays for it in memory alone until the store gets round to it."""

    return with_ledger(parts, HastyLedger)


class _WriteBehind:
    """A store that says that everything is committed, and hands it on to a real one a moment later."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def append(self, kind: str, record: Record) -> Commit:
        loop = asyncio.get_running_loop()
        loop.call_later(WRITE_BEHIND_S, self._hand_on, kind, record)
        commit = Commit(loop)
        commit.end()
        return commit

    def _hand_on(self, kind: str, record: Record) -> None:
        with suppress(StoreError):
            self._store.append(kind, record)

    @property
    def committed(self) -> int:
        return self._store.committed

    def load(self, *kinds: str) -> Iterator[tuple[str, Record]]:
        return self._store.load(*kinds)

    def read(self, kind: str, after: int = 0, upto: int | None = None) -> Pages:
        return self._store.read(kind, after, upto)

    async def close(self) -> None:
        await self._store.close()


@mutant(breaks="BILL-06")
def writes_its_ledger_behind_the_answers(parts: Components) -> Components:
    """Collects its entries for a moment before it hands them to the store, and answers meanwhile."""
    return replace(parts, ledger=Ledger(_WriteBehind(parts.store), parts.clock))


def _showing(parts: Components, books: type[Books]) -> Components:
    return replace(parts, books=books(parts.deployment))


@mutant(breaks="BILL-06")
def shows_everybodys_ledger(parts: Components) -> Components:
    """Shows an account the entries of all accounts."""

    class Open(Books):
        def of_account(self, parts: Components, account: str) -> Pages:
            return parts.ledger.entries()

    return _showing(parts, Open)


@mutant(breaks="BILL-06")
def shows_the_newest_entries_alone(parts: Components) -> Components:
    """Shows an account the last few of its entries."""

    class Paged(Books):
        async def of_account(self, parts: Components, account: str) -> Pages:
            newest: deque[Record] = deque(maxlen=3)
            async with aclosing(super().of_account(parts, account)) as pages:
                async for page in pages:
                    newest.extend(page)
            yield list(newest)

    return _showing(parts, Paged)


@mutant(breaks="BILL-06")
def hides_voids_from_their_owner(parts: Components) -> Components:
    """Shows an account its charges, but not the holds that were released."""

    class Tidy(Books):
        async def of_account(self, parts: Components, account: str) -> Pages:
            async with aclosing(super().of_account(parts, account)) as pages:
                async for page in pages:
                    yield [entry for entry in page if entry["kind"] != "void"]

    return _showing(parts, Tidy)
