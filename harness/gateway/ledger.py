"""Everybody's money: an append-only double-entry book in whole credits, kept in the store; it prices nothing.

Book accounts: ``customer:<id>`` (what the customer may still spend), ``holds:<id>`` (set aside for calls under way),
``revenue`` (charges), ``insurance`` (payouts), ``top_ups`` (money paid in). A customer's posted balance is
``customer:<id>`` and ``holds:<id>`` together; the available balance is ``customer:<id>`` alone. Entries:

    opening   top_ups -> customer
    hold      customer -> holds
    post      holds -> customer (the hold released), customer -> revenue (the charge)
    void      holds -> customer
    payout    insurance -> customer
    refund    revenue -> customer
    top_up    top_ups -> customer

An entry is written once and never changed. A hold ends in one post or one void; a charge has one payout at most, and
refunds of no more than itself; a payment tops up once. A charge is kept together with the payout that is due for it:
one that a crash came before is booked by the next start.

In memory are balances, open holds, and which charges wait for a payout, had one or were given back; the entries
themselves are read from the store when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from harness.gateway.clock import Clock
from harness.gateway.deployment import AccountSeed
from harness.gateway.store import Commit, Pages, Record, Store, StoreError

Lines = tuple[tuple[str, int], ...]
FIELDS = ("entry", "call", "account", "kind", "credits", "amount", "balance", "flags", "lines", "at")
"""What an entry shows. In the store it has ``ref`` too (the hold that it closes, the charge that it is about, or the
payment that it books), and a charge has ``due``: what it is to be paid."""


class LedgerError(Exception):
    """A posting that the book does not allow: a hold closed twice, a negative amount, more back than was charged."""


@dataclass(slots=True)
class Hold:
    """Credits set aside for one call, until they are posted or voided."""

    account: str
    call: str
    credits: int
    entry: int
    open: bool = True


@dataclass(slots=True)  # made at every call: a frozen one costs five times as much
class Posting:
    """A charge as it stands in the book, with the posted balance before and after it."""

    entry: int
    credits: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class _Due:
    """A payout that a charge waits for."""

    account: str
    call: str
    credits: int


class _Balance:
    """One customer's two book accounts."""

    __slots__ = ("available", "customer", "held", "holds")

    def __init__(self, account: str) -> None:
        self.customer = f"customer:{account}"
        self.holds = f"holds:{account}"
        self.available = 0
        self.held = 0

    def move(self, lines: Iterable[tuple[str, int]]) -> None:
        changes = dict(lines)
        self.available += changes.get(self.customer, 0)
        self.held += changes.get(self.holds, 0)


class Ledger:
    """The book. A change and its append happen with no await in between; only then is a commit awaited."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._balances: dict[str, _Balance] = {}
        self._paid: set[int | tuple[str, str]] = set()
        self._due: dict[int, _Due] = {}
        """The payouts that charges still wait for, by the charge's entry."""
        self._refunded: dict[int, int] = {}
        self._payments: set[str] = set()
        self._last = 0

    async def open(self, accounts: Iterable[AccountSeed]) -> None:
        """Replay the store, void the holds that a crash left open, and open the accounts that are new.

        Ends when all that is committed. Raises StoreError if the stored book does not add up.
        """
        commit = None
        for hold in self._replay():
            commit = self._void(hold, ("restart",))
        for seed in accounts:
            if seed.id not in self._balances:
                lines = (("top_ups", -seed.credits), (f"customer:{seed.id}", seed.credits))
                self._balances[seed.id] = _Balance(seed.id)
                commit = self._write("opening", seed.id, "", seed.credits, abs(seed.credits), lines)
        if commit is not None:
            await commit

    async def take_back(self, holds: Set[int]) -> None:
        """Refund in whole the charges that closed ``holds``, and waive what is due for them. Committed on return."""
        if not holds:
            return
        async with aclosing(self._store.read("entry")) as pages:
            async for page in pages:
                for post in page:
                    if post["kind"] == "post" and post["ref"] in holds and self._refundable(post):
                        self.waive(post["entry"])
                        await self._give_back(post, self._refundable(post), ("restart",))

    async def pay_what_is_due(self) -> None:
        """Pay the payouts that a crash came before. To be called after ``open``. Committed on return."""
        commit = None
        for charge, due in tuple(self._due.items()):
            commit = self._pay(due.account, due.call, due.credits, charge, ("restart",))
        if commit is not None:
            await commit

    def posted(self, account: str) -> int:
        """Return the balance that the account is shown: charges and payouts counted, holds not."""
        balance = self._balances[account]
        return balance.available + balance.held

    def available(self, account: str) -> int:
        """Return what the account may still spend: the posted balance less its open holds."""
        return self._balances[account].available

    def hold(self, account: str, call: str, credits: int) -> Hold:
        """Set ``credits`` aside at once, whatever the balance: whether it covers them is the caller's rule.

        Raises StoreError if the store takes nothing; then nothing is held.
        """
        if credits < 0:
            raise LedgerError(f"call {call}: a hold of {credits} credits")
        balance = self._balances[account]
        self._write("hold", account, call, 0, credits, ((balance.customer, -credits), (balance.holds, credits)))
        return Hold(account, call, credits, self._last)

    async def post(self, hold: Hold, credits: int, due: int = 0) -> Posting:
        """Charge ``credits`` in full and release the hold; flagged over_hold if it was smaller. Committed on return.

        ``due`` is the payout that the charge is to have: the next start pays it unless it is paid or waived. Raises
        LedgerError for a hold that is closed, StoreError if the charge was not kept.
        """
        if credits < 0 or not hold.open:
            raise LedgerError(
                f"call {hold.call}: a charge of {credits} credits on hold {hold.entry}, open: {hold.open}"
            )
        balance = self._balances[hold.account]
        before = balance.available + balance.held
        released = hold.credits - credits
        commit = self._write(
            "post",
            hold.account,
            hold.call,
            -credits,
            credits,
            ((balance.holds, -hold.credits), (balance.customer, released), ("revenue", credits)),
            flags=("over_hold",) if released < 0 else (),
            ref=hold.entry,
            due=due,
        )
        hold.open = False
        posting = Posting(self._last, credits, before, before - credits)
        await commit
        return posting

    def void(self, hold: Hold, flags: Sequence[str] = ()) -> None:
        """Release a hold uncharged; one that is closed already is left alone.

        A store that takes nothing does not keep the customer's credits set aside: the book releases them all the
        same, and the next start voids the hold in the store.
        """
        if not hold.open:
            return
        try:
            self._void(hold, flags)
        except StoreError:
            self._balances[hold.account].move(self._release(hold))
        hold.open = False

    async def payout(self, account: str, call: str, credits: int, charge: int | None = None) -> bool:
        """Credit a payout at most once per charge, also across crashes; False if it was there. Committed on return.

        ``charge`` is the posting's entry. Without it ``call`` names the charge: one payout per account and call, which
        is too few if a client uses one call id twice.
        """
        if credits <= 0:
            raise LedgerError(f"call {call}: a payout of {credits} credits")
        key = (account, call) if charge is None else charge
        if key in self._paid:
            return False
        await self._pay(account, call, credits, charge)
        return True

    def waive(self, charge: int) -> None:
        """Let nobody pay what is due for a charge any more: its client left before it had the answer.

        A store that takes nothing leaves it due.
        """
        if self._due.pop(charge, None) is not None:
            with suppress(StoreError):
                self._store.append("waiver", {"charge": charge})

    async def refund(self, charge: int, credits: int, flags: tuple[str, ...] = ()) -> None:
        """Give ``credits`` of the posting with entry number ``charge`` back, in parts if need be. Committed on return.

        Raises LedgerError for what is no (committed) charge, and for more than is left of it.
        """
        post = await self._entry(charge)
        if post is None or credits <= 0 or credits > self._refundable(post):
            raise LedgerError(f"entry {charge}: a refund of {credits} credits")
        await self._give_back(post, credits, flags)

    async def top_up(self, account: str, credits: int, payment: str) -> bool:
        """Book ``credits`` paid in, once per payment; False if it was there already. Committed on return.

        Raises LedgerError unless credits are positive.
        """
        if credits <= 0:
            raise LedgerError(f"payment {payment}: a top-up of {credits} credits")
        if payment in self._payments:
            return False
        lines = (("top_ups", -credits), (self._balances[account].customer, credits))
        await self._write("top_up", account, "", credits, credits, lines, ref=payment)
        return True

    def _refundable(self, post: Record) -> int:
        """Return what can still be given back of a charge; nothing of any other entry."""
        return post["amount"] - self._refunded.get(post["entry"], 0) if post.get("kind") == "post" else 0

    async def entries(self, account: str | None = None, after: int = 0, upto: int | None = None) -> Pages:
        """Yield the committed entries of ``account`` (or of all) in order.

        ``after`` and ``upto`` are numbers of the store's records, behind which, and up to which, it reads.
        """
        async with aclosing(self._store.read("entry", after, upto)) as pages:
            async for page in pages:
                yield [
                    {name: record[name] for name in FIELDS} for record in page if account in (None, record["account"])
                ]

    async def _entry(self, number: int) -> Record | None:
        """Return an entry as it is in the store; None if there is none."""
        # The store counts more than entries: each stands at its number there, or behind it.
        async with aclosing(self._store.read("entry", max(0, number - 1))) as pages:
            async for page in pages:
                for record in page:
                    if record["entry"] == number:
                        return record
        return None

    def _give_back(self, post: Record, credits: int, flags: tuple[str, ...]) -> Commit:
        account, charge = post["account"], post["entry"]
        lines = (("revenue", -credits), (self._balances[account].customer, credits))
        return self._write("refund", account, post["call"], credits, credits, lines, flags=flags, ref=charge)

    def _pay(self, account: str, call: str, credits: int, charge: int | None, flags: tuple[str, ...] = ()) -> Commit:
        lines = (("insurance", -credits), (self._balances[account].customer, credits))
        return self._write("payout", account, call, credits, credits, lines, flags=flags, ref=charge)

    def _void(self, hold: Hold, flags: Sequence[str]) -> Commit:
        return self._write(
            "void", hold.account, hold.call, 0, hold.credits, self._release(hold), flags=tuple(flags), ref=hold.entry
        )

    def _release(self, hold: Hold) -> Lines:
        balance = self._balances[hold.account]
        return ((balance.holds, -hold.credits), (balance.customer, hold.credits))

    def _write(
        self,
        kind: str,
        account: str,
        call: str,
        change: int,
        amount: int,
        lines: Lines,
        *,
        flags: tuple[str, ...] = (),
        ref: int | str | None = None,
        due: int = 0,
    ) -> Commit:
        """Append the next entry and change the book by it. Raises StoreError, in which case nothing changed."""
        balance = self._balances[account]
        record: dict[str, Any] = {
            "entry": self._last + 1,
            "call": call,
            "account": account,
            "kind": kind,
            "credits": change,
            "amount": amount,
            "balance": balance.available + balance.held + change,
            "flags": flags,
            "lines": lines,
            "at": self._clock.now_us(),
            "ref": ref,
        }
        if due:
            record["due"] = due
        commit = self._store.append("entry", record)
        self._apply(record)
        return commit

    def _apply(self, record: Record) -> None:
        """Change the book by an entry: the same for a new one and for one that is replayed."""
        self._last = record["entry"]
        self._balances[record["account"]].move(record["lines"])
        kind, ref = record["kind"], record["ref"]
        if kind == "post" and "due" in record:
            self._due[record["entry"]] = _Due(record["account"], record["call"], record["due"])
        elif kind == "payout":
            self._paid.add((record["account"], record["call"]) if ref is None else ref)
            self._due.pop(ref, None)
        elif kind == "refund":
            self._refunded[ref] = self._refunded.get(ref, 0) + record["amount"]
        elif kind == "top_up":
            self._payments.add(ref)

    def _replay(self) -> Sequence[Hold]:
        """Rebuild the book from the store, checking every entry, and return the holds that are still open."""
        holds: dict[int, Hold] = {}
        for _, record in self._store.load("entry"):
            number, account, kind = record["entry"], record["account"], record["kind"]
            if kind == "opening":
                self._balances.setdefault(account, _Balance(account))
            if number != self._last + 1 or account not in self._balances or sum(c for _, c in record["lines"]):
                raise StoreError(f"the stored ledger is damaged: entry {number} does not follow entry {self._last}")
            if kind in ("post", "void") and holds.pop(record["ref"], None) is None:
                raise StoreError(f"the stored ledger is damaged: entry {number} closes no open hold")
            self._apply(record)
            if self.posted(account) != record["balance"]:
                raise StoreError(
                    f"the stored ledger is damaged: after entry {number} account {account} has "
                    f"{self.posted(account)} credits, not {record['balance']}"
                )
            if kind == "hold":
                holds[number] = Hold(account, record["call"], record["amount"], number)
        self._check_refunds()
        for _, waiver in self._store.load("waiver"):
            self._due.pop(waiver["charge"], None)
        return tuple(holds.values())

    def _check_refunds(self) -> None:
        """Raise StoreError if the stored book gives back more than was charged."""
        unknown = set(self._refunded)
        for _, record in self._store.load("entry") if unknown else ():
            if record["entry"] in unknown and record["kind"] == "post" and self._refundable(record) >= 0:
                unknown.remove(record["entry"])
        if unknown:
            raise StoreError(f"the stored ledger is damaged: entry {min(unknown)} was not charged what was given back")
