"""No sequence of uses, crashes and replays makes or loses a credit, in the simulated store and in the one on disk."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any

from gw_support import account, clock, gathered, many, run, settled, store
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.gateway.ledger import Hold, Ledger, LedgerError, Posting
from harness.gateway.sqlite_store import SqliteStore
from harness.gateway.store import Store, StoreError

ACCOUNTS = (account("a", 1000), account("b", 0))
Step = tuple[str, str, int, int]
USES = ["hold", "hold", "post", "post", "void", "payout", "payout", "waive", "refund", "top_up", "sleep", "crash"]


def steps(actions: list[str]) -> st.SearchStrategy[list[Step]]:
    return many(st.tuples(st.sampled_from(actions), st.sampled_from(["a", "b"]), st.integers(0, 50), st.integers(0, 9)))


class Life:
    """A ledger under arbitrary use, and beside it what its users were told."""

    def __init__(self, kept: Store) -> None:
        self.kept = kept
        self.crashed = asyncio.Event()
        self.ledger = Ledger(kept, clock())
        self.holds: list[Hold] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.told: dict[int, Posting] = {}
        self.due: set[int] = set()
        self.paid: Counter[int] = Counter()
        self.refunded: Counter[int] = Counter()
        self.payments: dict[str, int] = {}

    async def start(self) -> None:
        """Begin the next life, and again for as long as a crash comes in the middle of a start."""
        opening: asyncio.Task[None] | None = None
        while opening is None or self.crashed.is_set():
            self.crashed.clear()
            self.end(*([opening] if opening else []))
            await asyncio.gather(*self.tasks, return_exceptions=True)
            self.ledger = Ledger(self.kept, clock())
            self.holds, self.tasks = [], []
            opening = asyncio.create_task(self.opened(self.ledger))
            crash = asyncio.create_task(self.crashed.wait())
            await asyncio.wait([opening, crash], return_when=asyncio.FIRST_COMPLETED)
            crash.cancel()
        await opening
        assert all(self.ledger.available(name) == self.ledger.posted(name) for name in ("a", "b"))

    @staticmethod
    async def opened(ledger: Ledger) -> None:
        await ledger.open(ACCOUNTS)
        await ledger.pay_what_is_due()

    def end(self, *others: asyncio.Task[None]) -> None:
        """Let nobody hear of anything any more, as it is when their process is dead."""
        for task in (*self.tasks, *others):
            task.cancel()

    async def use(self, action: str, name: str, amount: int, which: int) -> None:
        """Do one thing to the ledger, if there is anything to do it to; what waits for a commit goes on by itself."""
        open_holds = [hold for hold in self.holds if hold.open]
        if action == "hold":
            self.holds.append(self.ledger.hold(name, "c", amount))
        elif action == "post" and open_holds:
            await self.begin(self.post(open_holds[which % len(open_holds)], amount, which % 3))
        elif action == "void" and open_holds:
            self.ledger.void(open_holds[which % len(open_holds)])
        elif action in ("payout", "refund") and self.told:
            charge = sorted(self.told)[which % len(self.told)]
            owner = await self.owner(charge)
            await self.begin(self.payout(owner, charge) if action == "payout" else self.refund(charge, amount))
        elif action == "waive" and self.due:
            charge = sorted(self.due)[which % len(self.due)]
            self.ledger.waive(charge)
            self.due.remove(charge)  # nobody waits for its commit: a crash may leave it due
        elif action == "top_up":
            await self.begin(self.top_up(name, 1 + amount, f"payment {which}"))

    async def begin(self, use: Any) -> None:
        self.tasks.append(asyncio.create_task(use))
        await asyncio.sleep(0)

    async def post(self, hold: Hold, credits: int, due: int) -> None:
        posting = await self.ledger.post(hold, credits, due)
        self.told[posting.entry] = posting
        if due:
            self.due.add(posting.entry)

    async def payout(self, name: str, charge: int) -> None:
        if await self.ledger.payout(name, "c", 1, charge):
            self.paid[charge] += 1

    async def refund(self, charge: int, credits: int) -> None:
        try:
            await self.ledger.refund(charge, credits)
        except LedgerError:
            return
        self.refunded[charge] += credits

    async def top_up(self, name: str, credits: int, payment: str) -> None:
        if await self.ledger.top_up(name, credits, payment):
            assert payment not in self.payments
            self.payments[payment] = credits

    async def owner(self, charge: int) -> str:
        return str((await gathered(self.ledger.entries()))[charge - 1]["account"])

    async def check(self) -> None:
        """Say that the book is sound at this instant, and holds all that anybody was told."""
        told, paid, refunded, payments = map(copy, (self.told, self.paid, self.refunded, self.payments))
        entries = await gathered(self.ledger.entries())
        assert [one["entry"] for one in entries] == list(range(1, len(entries) + 1))
        book: Counter[str] = Counter()
        posted: Counter[str] = Counter()
        for one in entries:
            assert sum(change for _, change in one["lines"]) == 0
            for line, change in one["lines"]:
                book[line] += change
            posted[one["account"]] += one["credits"]
            name = one["account"]
            assert posted[name] == one["balance"] == book[f"customer:{name}"] + book[f"holds:{name}"]
        assert sum(book.values()) == 0
        for number, posting in told.items():
            written = entries[number - 1]
            assert (written["kind"], -written["credits"], written["balance"]) == (
                "post",
                posting.credits,
                posting.after,
            )
            assert refunded[number] <= posting.credits
        assert all(count == 1 for count in paid.values())
        assert -book["insurance"] >= paid.total()
        kinds: Counter[str] = Counter()
        for one in entries:
            kinds[one["kind"]] += one["amount"]
        assert kinds["refund"] >= refunded.total()
        assert kinds["post"] - kinds["refund"] == book["revenue"] >= 0
        assert kinds["top_up"] >= sum(payments.values())
        for name in ("a", "b"):
            held = sum(hold.credits for hold in self.holds if hold.open and hold.account == name)
            assert self.ledger.available(name) == self.ledger.posted(name) - held

    async def ask_everything_again(self) -> None:
        """Ask for every payout, refund and top-up that was told once more: none of them comes twice.

        To be asked after a start, by which every payout that was due is there.
        """
        for charge, posting in self.told.items():
            before = self.paid[charge]
            await self.payout(await self.owner(charge), charge)
            assert before <= self.paid[charge] <= 1
            assert self.paid[charge] == before or charge not in self.due
            await self.refund(charge, posting.credits - self.refunded[charge] + 1)
            assert self.refunded[charge] <= posting.credits
        for payment in self.payments:
            assert not await self.ledger.top_up("a", 1, payment)
        await self.check()


@settled
@given(steps([*USES, "crash_inside", "refuse"]))
def test_no_use_and_no_crash_makes_or_loses_money(made: list[Step]) -> None:
    async def main() -> None:
        kept = store()
        life = Life(kept)

        async def again() -> None:
            kept.fail(0)
            await life.start()

        await again()
        for action, name, amount, which in made:
            with suppress(StoreError):
                await life.use(action, name, amount, which)
            if action == "sleep":
                await asyncio.sleep(amount / 10_000)
            elif action == "refuse":
                kept.fail(1 + which % 2)
            elif action == "crash":
                kept.crash()
                life.crashed.set()
            elif action == "crash_inside":
                kept.crash_inside(1 + which % 3, life.crashed.set, committed=amount % 2 == 0)
            if life.crashed.is_set():
                await again()
            await life.check()
        kept.crash_inside(1_000_000, life.crashed.set)  # instead of what is still planned
        kept.crash()
        await again()
        await life.check()
        await life.ask_everything_again()

    run(main())


class Disk:
    """A folder of SQLite files, each what a kill left of the one before it: the bytes as they stood at an instant."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.kept = SqliteStore(self._path())

    def _path(self) -> Path:
        return self._folder / f"{self._count}.sqlite"

    async def crash(self) -> SqliteStore:
        """Return the store as the next process finds it. What its writer is at just now may be there in part."""
        left, before = self._path(), self.kept
        self._count += 1
        for suffix in ("", "-wal"):
            if left.with_name(left.name + suffix).exists():
                shutil.copyfile(left.with_name(left.name + suffix), self._path().with_name(self._path().name + suffix))
        await before.close()
        self.kept = SqliteStore(self._path())
        return self.kept


@settings(settled, max_examples=25)
@given(steps(USES))
def test_no_use_and_no_kill_makes_or_loses_money_on_disk(made: list[Step]) -> None:
    async def main(folder: Path) -> None:
        disk = Disk(folder)
        life = Life(disk.kept)
        await life.start()
        for action, name, amount, which in made:
            await life.use(action, name, amount, which)
            if action == "sleep":
                await asyncio.gather(*life.tasks)
            elif action == "crash":
                life.end()
                life.kept = await disk.crash()
                await life.start()
            await life.check()
        life.end()
        life.kept = await disk.crash()
        await life.start()
        await life.check()
        await life.ask_everything_again()
        await disk.kept.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
