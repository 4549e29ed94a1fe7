"""The ledger neither makes nor loses money, closes each hold once, and comes back from a crash as it was committed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from gw_support import account, clock, entries, run, store

from harness.gateway.ledger import FIELDS, Ledger, LedgerError, Posting
from harness.gateway.memory_store import MemoryStore
from harness.gateway.store import StoreError

ACCOUNTS = (account("a", 1000), account("b", 0))


async def opened(kept: MemoryStore) -> Ledger:
    ledger = Ledger(kept, clock())
    await ledger.open(ACCOUNTS)
    await ledger.pay_what_is_due()
    return ledger


def in_life(test: Callable[[Ledger, MemoryStore], Awaitable[None]]) -> None:
    """Run ``test`` with a fresh open ledger, in virtual time."""

    async def main() -> None:
        kept = store()
        await test(await opened(kept), kept)

    run(main())


def entry(ledger: Ledger, number: int) -> Mapping[str, Any]:
    return entries(ledger)[number - 1]


def test_accounts_open_once_with_their_credits() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        assert (ledger.posted("a"), ledger.available("a"), ledger.posted("b")) == (1000, 1000, 0)
        assert entries(ledger) == [
            {
                "entry": 1,
                "call": "",
                "account": "a",
                "kind": "opening",
                "credits": 1000,
                "amount": 1000,
                "balance": 1000,
                "flags": [],
                "lines": [["top_ups", -1000], ["customer:a", 1000]],
                "at": 0,
            },
            {
                **entry(ledger, 2),
                "entry": 2,
                "account": "b",
                "kind": "opening",
                "credits": 0,
                "lines": [["top_ups", 0], ["customer:b", 0]],
            },
        ]
        again = Ledger(kept, clock())
        await again.open((account("a", 77), account("c", 5)))
        assert (again.posted("a"), again.posted("c")) == (1000, 5)
        assert [one["kind"] for one in entries(again)] == ["opening"] * 3

    in_life(test)


def test_a_hold_lowers_what_is_available_and_nothing_else() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        hold = ledger.hold("a", "c1", 300)
        assert (ledger.posted("a"), ledger.available("a")) == (1000, 700)
        await kept.close()
        assert entry(ledger, hold.entry) == {
            "entry": 3,
            "call": "c1",
            "account": "a",
            "kind": "hold",
            "credits": 0,
            "amount": 300,
            "balance": 1000,
            "flags": [],
            "lines": [["customer:a", -300], ["holds:a", 300]],
            "at": 2000,  # the second of the two opening commits
        }

    in_life(test)


@pytest.mark.parametrize(
    ("held", "charged", "flags", "lines"),
    [
        (300, 120, (), (("holds:a", -300), ("customer:a", 180), ("revenue", 120))),
        (300, 300, (), (("holds:a", -300), ("customer:a", 0), ("revenue", 300))),
        (300, 0, (), (("holds:a", -300), ("customer:a", 300), ("revenue", 0))),
        (300, 301, ("over_hold",), (("holds:a", -300), ("customer:a", -1), ("revenue", 301))),
        (0, 5, ("over_hold",), (("holds:a", 0), ("customer:a", -5), ("revenue", 5))),
        (0, 0, (), (("holds:a", 0), ("customer:a", 0), ("revenue", 0))),
    ],
)
def test_a_post_charges_in_full_and_releases_the_hold(
    held: int, charged: int, flags: tuple[str, ...], lines: tuple[tuple[str, int], ...]
) -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        posting = await ledger.post(ledger.hold("a", "c1", held), charged)
        assert posting == Posting(4, charged, 1000, 1000 - charged)
        assert ledger.posted("a") == ledger.available("a") == 1000 - charged
        written = entry(ledger, 4)
        assert (written["kind"], written["credits"], written["amount"]) == ("post", -charged, charged)
        assert (written["balance"], written["flags"]) == (1000 - charged, list(flags))
        assert written["lines"] == [list(line) for line in lines]

    in_life(test)


def test_a_charge_above_the_hold_may_leave_the_balance_below_zero() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        posting = await ledger.post(ledger.hold("b", "c1", 10), 25)
        assert (posting.before, posting.after, ledger.available("b")) == (0, -25, -25)

    in_life(test)


def test_a_post_returns_when_its_charge_is_committed_and_not_before() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        hold = ledger.hold("a", "c1", 10)
        task = asyncio.create_task(ledger.post(hold, 5))
        await asyncio.sleep(0.0015)
        assert not task.done()
        assert ledger.posted("a") == 995
        assert [one["kind"] for one in entries(ledger, "a")] == ["opening", "hold"]
        await task
        assert [one["kind"] for one in entries(ledger, "a")] == ["opening", "hold", "post"]

    in_life(test)


def test_a_hold_is_posted_once_and_a_closed_one_is_not_voided() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        posted, voided = ledger.hold("a", "c1", 10), ledger.hold("a", "c2", 20)
        await ledger.post(posted, 5)
        ledger.void(voided, ["unbilled_disconnect"])
        for hold in (posted, voided):
            with pytest.raises(LedgerError):
                await ledger.post(hold, 5)
            ledger.void(hold)
        await kept.close()
        assert [one["kind"] for one in entries(ledger, "a")][1:] == ["hold", "hold", "post", "void"]
        last = entry(ledger, 6)
        assert (last["credits"], last["amount"], last["balance"]) == (0, 20, 995)
        assert (last["flags"], last["lines"]) == (["unbilled_disconnect"], [["holds:a", -20], ["customer:a", 20]])
        assert ledger.available("a") == 995

    in_life(test)


def test_two_posts_of_one_hold_at_the_same_instant_charge_once() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        hold = ledger.hold("a", "c1", 10)
        results = await asyncio.gather(ledger.post(hold, 5), ledger.post(hold, 5), return_exceptions=True)
        assert [type(result) for result in results] == [Posting, LedgerError]
        assert ledger.posted("a") == 995

    in_life(test)


def test_a_negative_amount_is_refused_and_changes_nothing() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        hold = ledger.hold("a", "c1", 10)
        with pytest.raises(LedgerError):
            ledger.hold("a", "c2", -1)
        with pytest.raises(LedgerError):
            await ledger.post(hold, -1)
        for nothing in (0, -1):
            with pytest.raises(LedgerError):
                await ledger.payout("a", "c1", nothing)
        assert hold.open
        await kept.close()
        assert len(entries(ledger)) == 3

    in_life(test)


def test_an_unknown_account_has_no_balance_to_touch() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        with pytest.raises(KeyError):
            ledger.hold("nobody", "c1", 1)
        with pytest.raises(KeyError):
            ledger.posted("nobody")

    in_life(test)


def test_concurrent_charges_tile_the_balance_without_gap_or_overlap() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        async def charge(n: int) -> Posting:
            hold = ledger.hold("a", f"c{n}", 10)
            await asyncio.sleep(0.0003 * (n % 5))
            return await ledger.post(hold, n)

        postings = sorted(await asyncio.gather(*map(charge, range(1, 21))), key=lambda posting: -posting.before)
        assert postings[0].before == 1000
        for one, following in itertools.pairwise(postings):
            assert one.before - one.credits == one.after == following.before
        assert postings[-1].after == ledger.posted("a") == 1000 - 210

    in_life(test)


def test_a_payout_is_an_entry_of_its_own_and_comes_once_per_charge() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        first = await ledger.post(ledger.hold("a", "c1", 12), 12)
        second = await ledger.post(ledger.hold("a", "c1", 12), 12)  # a client may use one id twice
        assert await ledger.payout("a", "c1", 3, first.entry)
        assert not await ledger.payout("a", "c1", 3, first.entry)
        assert await ledger.payout("a", "c1", 3, second.entry)
        assert ledger.posted("a") == ledger.available("a") == 1000 - 24 + 6
        written = entry(ledger, 7)
        assert (written["kind"], written["credits"], written["amount"], written["balance"]) == ("payout", 3, 3, 979)
        assert written["lines"] == [["insurance", -3], ["customer:a", 3]]
        for life in (ledger, await opened(kept)):
            for posting in (first, second):
                assert not await life.payout("a", "c1", 3, posting.entry)
            assert life.posted("a") == 982

    in_life(test)


def test_without_its_charge_a_payout_comes_once_per_account_and_call() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        results = await asyncio.gather(*(ledger.payout(name, "c1", 3) for name in ("a", "a", "b", "a")))
        assert results == [True, False, True, False]
        reborn = await opened(kept)
        assert not await reborn.payout("a", "c1", 3)
        assert (reborn.posted("a"), reborn.posted("b")) == (1003, 3)

    in_life(test)


def test_a_charge_is_refunded_in_parts_and_never_more_than_it_was() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        charge = (await ledger.post(ledger.hold("a", "c1", 50), 40)).entry
        await ledger.refund(charge, 15)
        await ledger.refund(charge, 25)
        assert (ledger.posted("a"), ledger.available("a")) == (1000, 1000)
        told = entry(ledger, charge + 2)
        assert (told["kind"], told["call"], told["credits"], told["lines"]) == (
            "refund",
            "c1",
            25,
            [["revenue", -25], ["customer:a", 25]],
        )
        for number, credits in ((charge, 1), (charge, 0), (charge - 1, 1), (99, 1), (0, 1)):
            with pytest.raises(LedgerError):
                await ledger.refund(number, credits)
        again = await opened(kept)
        with pytest.raises(LedgerError):
            await again.refund(charge, 1)
        assert again.posted("a") == 1000

    in_life(test)


def test_a_payment_tops_up_once_however_often_it_is_told() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        assert await ledger.top_up("b", 70, "pay_1")
        assert not await ledger.top_up("b", 70, "pay_1")
        again = await opened(kept)
        assert not await again.top_up("b", 70, "pay_1")
        assert await again.top_up("b", 70, "pay_2")
        assert again.posted("b") == again.available("b") == 140
        assert entry(again, 4)["lines"] == [["top_ups", -70], ["customer:b", 70]]
        with pytest.raises(LedgerError):
            await again.top_up("b", 0, "pay_3")

    in_life(test)


def test_entries_have_the_fields_of_the_books_and_can_be_read_in_parts() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        for name in ("a", "b", "a"):
            await ledger.post(ledger.hold(name, "c", 1), 1)
        everything = entries(ledger)
        assert all(tuple(one) == FIELDS for one in everything)
        assert [one["entry"] for one in everything] == list(range(1, 9))
        assert [one["entry"] for one in entries(ledger, after=5)] == [6, 7, 8]
        assert [one["entry"] for one in entries(ledger, "b", after=2)] == [5, 6]
        reborn = await opened(kept)
        assert entries(reborn) == everything

    in_life(test)


def test_a_store_that_refuses_leaves_the_book_as_it_was() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        hold = ledger.hold("a", "c1", 100)
        kept.fail(3)
        with pytest.raises(StoreError):
            ledger.hold("a", "c2", 50)
        with pytest.raises(StoreError):
            await ledger.post(hold, 40)
        with pytest.raises(StoreError):
            await ledger.payout("a", "c1", 5)
        assert (ledger.posted("a"), ledger.available("a"), hold.open) == (1000, 900, True)
        assert (await ledger.post(hold, 40)).after == 960
        assert await ledger.payout("a", "c1", 5)
        assert [one["entry"] for one in entries(ledger)] == [1, 2, 3, 4, 5]

    in_life(test)


def test_a_void_that_the_store_refuses_frees_the_credits_and_the_next_start_writes_it() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        hold = ledger.hold("a", "c1", 100)
        kept.fail(1)
        ledger.void(hold)
        assert (ledger.available("a"), hold.open) == (1000, False)
        await ledger.post(ledger.hold("a", "c2", 10), 7)
        reborn = await opened(kept)
        assert (reborn.posted("a"), reborn.available("a")) == (993, 993)
        assert entries(reborn)[-1]["kind"] == "void"
        assert entries(reborn)[-1]["call"] == "c1"

    in_life(test)


def test_a_charge_whose_commit_fails_is_told_and_not_there_after_a_restart() -> None:
    async def main() -> None:
        kept = store()
        ledger = await opened(kept)
        hold = ledger.hold("a", "c1", 100)
        await asyncio.sleep(1)
        kept.fail_commit()
        with pytest.raises(StoreError):
            await ledger.post(hold, 40)
        with pytest.raises(StoreError):
            ledger.hold("a", "c2", 1)
        assert [one["kind"] for one in entries(ledger, "a")] == ["opening", "hold"]
        stored = [record for _, record in kept.load("entry")]
        disk = store()
        for record in stored:
            await disk.append("entry", record)
        reborn = await opened(disk)
        assert (reborn.posted("a"), reborn.available("a")) == (1000, 1000)

    run(main())


def test_holds_that_a_crash_left_open_are_voided_at_the_start() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        held = ledger.hold("a", "c1", 100)
        await ledger.post(ledger.hold("a", "c2", 100), 30)
        kept.crash()
        reborn = await opened(kept)
        assert (reborn.posted("a"), reborn.available("a")) == (970, 970)
        last = entries(reborn)[-1]
        assert (last["kind"], last["call"], last["amount"], list(last["flags"])) == ("void", "c1", 100, ["restart"])
        again = await opened(kept)
        assert len(entries(again)) == len(entries(reborn))
        assert held.open  # the old life's value, which nobody looks at any more

    in_life(test)


@pytest.mark.parametrize("starts", [1, 3])
def test_a_payout_that_a_crash_came_before_is_paid_by_the_next_start_and_no_other(starts: int) -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        owed = await ledger.post(ledger.hold("a", "c1", 100), 30, 8)
        paid = await ledger.post(ledger.hold("a", "c2", 100), 30, 8)
        assert await ledger.payout("a", "c2", 8, paid.entry)
        kept.crash()
        for _ in range(starts):
            reborn = await opened(kept)
            payouts = [(one["call"], one["credits"], list(one["flags"])) for one in entries(reborn, "a")][-2:]
            assert payouts == [("c2", 8, []), ("c1", 8, ["restart"])]
            assert reborn.posted("a") == 1000 - 60 + 16
            assert not await reborn.payout("a", "c1", 8, owed.entry)

    in_life(test)


def test_a_start_that_is_killed_while_it_pays_leaves_the_payout_to_the_next() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        await ledger.post(ledger.hold("a", "c1", 100), 30, 8)
        kept.crash()
        dying = Ledger(kept, clock())
        await dying.open(ACCOUNTS)
        starting = asyncio.create_task(dying.pay_what_is_due())
        await asyncio.sleep(0)
        kept.crash()
        starting.cancel()
        reborn = await opened(kept)
        assert [one["kind"] for one in entries(reborn, "a")] == ["opening", "hold", "post", "payout"]

    in_life(test)


def test_a_payout_that_was_waived_is_not_paid_by_the_next_start() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        posting = await ledger.post(ledger.hold("a", "c1", 100), 30, 8)
        ledger.waive(posting.entry)
        await ledger.post(ledger.hold("a", "c2", 1), 1)  # committed after the waiver
        kept.crash()
        assert (await opened(kept)).posted("a") == 1000 - 31

    in_life(test)


@pytest.mark.parametrize("refunded", [0, 12])
def test_charges_that_are_taken_back_are_refunded_whole_once_and_have_no_payout(refunded: int) -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        hold, other = ledger.hold("a", "c1", 100), ledger.hold("a", "c2", 100)
        lost = await ledger.post(hold, 30, 8)
        await ledger.post(other, 20, 5)
        if refunded:
            await ledger.refund(lost.entry, refunded)
        kept.crash()
        for _ in range(2):
            reborn = Ledger(kept, clock())
            await reborn.open(ACCOUNTS)
            await reborn.take_back({hold.entry, 999})
            await reborn.pay_what_is_due()
            ends = [(one["call"], one["kind"], one["credits"]) for one in entries(reborn, "a")][-2:]
            assert ends == [("c1", "refund", 30 - refunded), ("c2", "payout", 5)]
            assert reborn.posted("a") == reborn.available("a") == 1000 - 20 + 5

    in_life(test)


def test_a_waiver_that_the_store_refuses_leaves_the_payout_due() -> None:
    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        posting = await ledger.post(ledger.hold("a", "c1", 100), 30, 8)
        kept.fail(1)
        ledger.waive(posting.entry)
        assert (await opened(kept)).posted("a") == 1000 - 30 + 8

    in_life(test)


def damaged(change: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
    """Return the stored records of a small book with something wrong in them."""
    records: list[dict[str, Any]] = []

    async def test(ledger: Ledger, kept: MemoryStore) -> None:
        await ledger.post(ledger.hold("a", "c1", 10), 7)
        ledger.hold("a", "c2", 10)
        await ledger.refund(4, 5)
        await kept.close()
        records.extend(dict(record) for _, record in kept.load("entry"))

    in_life(test)
    change(records)
    return records


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records.pop(2),
        lambda records: records.pop(0),
        lambda records: records[3].update(balance=994),
        lambda records: records[3].update(lines=[["holds:a", -10], ["customer:a", 3], ["revenue", 8]]),
        lambda records: records[3].update(lines=[["holds:a", -10], ["customer:a", 4], ["revenue", 6]]),
        lambda records: records[3].update(ref=1),
        lambda records: records[3].update(entry=9),
        lambda records: records.append({**records[3], "entry": 7}),
        lambda records: records[5].update(ref=3),
        lambda records: records.append({**records[5], "entry": 7, "balance": 1003}),
        lambda records: records[2].update(account="nobody"),
    ],
)
def test_a_stored_book_that_does_not_add_up_is_refused(change: Callable[[list[dict[str, Any]]], object]) -> None:
    async def main() -> None:
        kept = store()
        for record in damaged_records:
            await kept.append("entry", record)
        with pytest.raises(StoreError, match="damaged"):
            await opened(kept)

    damaged_records = damaged(change)
    run(main())
