"""Mutants that pay the wrong amount, the wrong people, too late, or more than once (INS-04 to INS-07)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from harness.gateway.asgi import Headers
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.deployment import AccountSeed
from harness.gateway.errors import Refusal
from harness.gateway.headers import HeaderWriter
from harness.gateway.insurer import Insurer, Settlement
from harness.gateway.ledger import Hold, Ledger, Lines, Posting
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer
from harness.gateway.settlement import Bill, Settler
from harness.gateway.store import Commit, StoreError
from harness.mutants.furniture import with_ledger
from harness.mutants.registry import mutant


def _paying(parts: Components, payout: Callable[[int], int]) -> Components:
    """Return a gateway whose payout of a charge is ``payout`` of it."""

    class Other(Insurer):
        def payout(self, charged: int) -> int:
            return payout(charged)

    return replace(parts, insurer=Other(parts.contract))


@mutant(breaks="INS-04")
def pays_out_rounded_down(parts: Components) -> Components:
    """Rounds the payout down to whole credits."""
    return _paying(parts, lambda charged: int(float(parts.contract.insurance.payout_ratio) * charged))


@mutant(breaks="INS-04")
def pays_out_rounded_to_the_nearest(parts: Components) -> Components:
    """Rounds the payout as bankers do."""
    return _paying(parts, lambda charged: round(float(parts.contract.insurance.payout_ratio) * charged))


@mutant(breaks="INS-04")
def pays_the_whole_charge_back(parts: Components) -> Components:
    """Refunds a slow call instead of compensating it."""
    return _paying(parts, lambda charged: charged)


@mutant(breaks="INS-04")
def pays_more_than_small_calls_cost(parts: Components) -> Components:
    """Pays five credits at least, also for a call that cost less."""
    ratio = float(parts.contract.insurance.payout_ratio)
    return _paying(parts, lambda charged: max(5, math.ceil(ratio * charged)))


@mutant(breaks="INS-04")
def pays_after_the_answer(parts: Components) -> Components:
    """Answers that a call was paid, and credits it half a second later."""

    class Later(Settler):
        async def pay_out(self, parts: Components, call: Call, bill: Bill, credits: int) -> bool:
            if call.stream:
                return await super().pay_out(parts, call, bill, credits)
            owing.add(asyncio.get_running_loop().create_task(self.pay_later(parts, call, bill, credits)))
            return True

        async def pay_later(self, parts: Components, call: Call, bill: Bill, credits: int) -> None:
            await asyncio.sleep(0.5)
            await super().pay_out(parts, call, bill, credits)

    owing: set[asyncio.Task[None]] = set()
    return replace(parts, settler=Later(parts.contract))


def _booking(parts: Components, ledger: type[Ledger]) -> Components:
    return replace(parts, ledger=ledger(parts.store, parts.clock))


@mutant(breaks="INS-04")
def takes_the_payout_from_its_revenue(parts: Components) -> Components:
    """Books a payout as revenue given back, so that nobody sees what the insurance cost."""

    class Netting(Ledger):
        def _write(
            self, kind: str, account: str, call: str, change: int, amount: int, lines: Lines, **more: Any
        ) -> Any:
            if kind == "payout":
                lines = tuple(("revenue" if name == "insurance" else name, credits) for name, credits in lines)
            return super()._write(kind, account, call, change, amount, lines, **more)

    return _booking(parts, Netting)


@mutant(breaks="INS-04")
def tells_the_balance_with_the_payout(parts: Components) -> Components:
    """Adds the payout to the balance that it tells for after the charge."""

    class Netting(Pipeline):
        def hypereal(self, call: Call, bill: Bill, settlement: Settlement | None) -> dict[str, Any] | None:
            paid = settlement.credits_compensated if settlement is not None else 0
            return super().hypereal(call, replace(bill, after=bill.after + paid), settlement)

    return replace(parts, pipeline=Netting())


@mutant(breaks="INS-05")
def insures_clients_that_left(parts: Components) -> Components:
    """Compensates a slow call whose client aborted it."""

    class Everybody(Settler):
        def eligible(self, call: Call) -> bool:
            return call.enterprise

    return replace(parts, settler=Everybody(parts.contract))


@mutant(breaks="INS-05")
def insures_streams_whose_clients_left(parts: Components) -> Components:
    """Compensates a slow stream whose client aborted it; an unstreamed call that was aborted it does not."""

    class Streams(Settler):
        def eligible(self, call: Call) -> bool:
            return call.enterprise and (call.stream or not call.client.gone)

    return replace(parts, settler=Streams(parts.contract))


def _compensating(parts: Components, failed: Callable[[Call, Refusal], bool]) -> Components:
    """Return a gateway that pays a credit for slow failures that ``failed`` is true of."""
    threshold_us = parts.contract.insurance.threshold_ms * 1000

    class Sorry(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            slow = parts.clock.now_us() - call.received_us > threshold_us
            if call.enterprise and slow and failed(call, refusal):
                await parts.ledger.payout(call.account, call.label, 1)
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Sorry())


@mutant(breaks="INS-05")
def compensates_slow_failures(parts: Components) -> Components:
    """Pays a credit for a call that failed slowly."""
    return _compensating(parts, lambda call, refusal: True)


@mutant(breaks="INS-05")
def compensates_streams_that_broke_off(parts: Components) -> Components:
    """Pays a credit for a slow stream that broke after content."""
    return _compensating(parts, lambda call, refusal: refusal.name == "stream_broken")


@mutant(breaks="INS-05")
def charges_and_compensates_broken_streams(parts: Components) -> Components:
    """Charges a stream that broke after content what it held, and insures the charge."""

    class Selling(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if call.enterprise and call.content_passed and call.hold is not None and call.hold.open:
                posting = await parts.ledger.post(call.hold, call.hold.credits)
                call.ended_us = parts.clock.now_us()
                bill = Bill(call.asked, posting.credits, posting.before, posting.after, posting.entry)
                await parts.settler.insure(parts, call, bill)
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Selling())


def _opening(parts: Components, change: Callable[[Call, dict[bytes, bytes]], None]) -> Components:
    """Return a gateway whose streams begin with what ``change`` makes of their headers."""

    class Other(HeaderWriter):
        def stream(self, call: Call, insurer: Insurer) -> Headers:
            headers = dict(super().stream(call, insurer))
            change(call, headers)
            return list(headers.items())

    return replace(parts, headers=Other(parts.contract))


@mutant(breaks="INS-06")
def begins_streams_without_the_policy(parts: Components) -> Components:
    """Leaves the insurance headers out of a stream."""
    prefix = b"x-hypereal-insurance"

    def change(call: Call, headers: dict[bytes, bytes]) -> None:
        for name in [name for name in headers if name.lower().startswith(prefix)]:
            del headers[name]

    return _opening(parts, change)


@mutant(breaks="INS-06")
def begins_streams_with_a_verdict(parts: Components) -> Components:
    """Says that the insurance was not triggered before anybody can know."""
    status = parts.contract.headers.insurance_status.encode()
    return _opening(parts, lambda call, headers: headers.update({status: b"not_triggered"}))


@mutant(breaks="INS-06")
def tells_no_threshold_on_responses(parts: Components) -> Components:
    """Leaves the threshold out of the streams of one surface."""
    name = parts.contract.headers.insurance_threshold_ms.encode()

    def change(call: Call, headers: dict[bytes, bytes]) -> None:
        if call.surface.name == "responses":
            headers.pop(name, None)

    return _opening(parts, change)


@mutant(breaks="INS-06")
def never_settles_streams(parts: Components) -> Components:
    """Leaves the insurance of a stream pending."""

    class Idle(Settler):
        async def insure(self, parts: Components, call: Call, bill: Bill) -> Settlement:
            if call.stream:
                call.insurance = "pending"
                return parts.insurer.settle(0, 0, False)
            return await super().insure(parts, call, bill)

    return replace(parts, settler=Idle(parts.contract))


@mutant(breaks="INS-06")
def settles_streams_late(parts: Components) -> Components:
    """Settles a stream a little more than the promised second after its end."""
    late_s = parts.contract.insurance.settle_within_ms / 1e3 + 0.05

    class Slow(Settler):
        async def insure(self, parts: Components, call: Call, bill: Bill) -> Settlement:
            if call.stream:
                await asyncio.sleep(late_s)
            return await super().insure(parts, call, bill)

    return replace(parts, settler=Slow(parts.contract))


@mutant(breaks="INS-06")
def credits_streams_late(parts: Components) -> Components:
    """Logs a slow stream as paid at once, and credits it two seconds later."""

    class Later(Settler):
        async def pay_out(self, parts: Components, call: Call, bill: Bill, credits: int) -> bool:
            if not call.stream:
                return await super().pay_out(parts, call, bill, credits)
            owing.add(asyncio.get_running_loop().create_task(self.pay_later(parts, call, bill, credits)))
            return True

        async def pay_later(self, parts: Components, call: Call, bill: Bill, credits: int) -> None:
            await asyncio.sleep(2 * parts.contract.insurance.settle_within_ms / 1e3)
            await super().pay_out(parts, call, bill, credits)

    owing: set[asyncio.Task[None]] = set()
    return replace(parts, settler=Later(parts.contract))


@mutant(breaks="INS-06")
def logs_payouts_of_streams_as_not_triggered(parts: Components) -> Components:
    """Credits a slow stream and logs that the insurance was not triggered."""

    class Forgetful(Settler):
        async def insure(self, parts: Components, call: Call, bill: Bill) -> Settlement:
            made = await super().insure(parts, call, bill)
            if call.stream and made.status == "paid":
                call.insurance = "not_triggered"
            return made

    return replace(parts, settler=Forgetful(parts.contract))


@mutant(breaks="INS-07")
def pays_twice(parts: Components) -> Components:
    """Credits a payout, forgets that it did, and credits it again."""

    class Twice(Settler):
        async def insure(self, parts: Components, call: Call, bill: Bill) -> Settlement:
            settlement = await super().insure(parts, call, bill)
            if settlement.credits_compensated:
                await parts.ledger.payout(call.account, call.label, settlement.credits_compensated)
            return settlement

    return replace(parts, settler=Twice(parts.contract))


@mutant(breaks="INS-07")
def settles_streams_twice(parts: Components) -> Components:
    """Settles a stream at its end and once more when its client has it all."""

    class Twice(Settler):
        async def insure(self, parts: Components, call: Call, bill: Bill) -> Settlement:
            made = await super().insure(parts, call, bill)
            if call.stream:
                await super().insure(parts, call, replace(bill, entry=None))
            return made

    return replace(parts, settler=Twice(parts.contract))


@mutant(breaks="INS-07")
def pays_again_after_a_restart(parts: Components) -> Components:
    """Credits every payout again that it finds in the stored book when it starts."""

    class Settling(Ledger):
        async def open(self, accounts: Iterable[AccountSeed]) -> None:
            await super().open(accounts)
            async with aclosing(self.entries()) as pages:
                async for page in pages:
                    for record in page:
                        if record["kind"] == "payout":
                            await self.payout(record["account"], record["call"], record["credits"])

    return _booking(parts, Settling)


@mutant(breaks="INS-07")
def pays_for_each_try_of_a_payout(parts: Components) -> Components:
    """Credits a payout once for every time that it tried to."""

    class Counting(Settler):
        async def pay_out(self, parts: Components, call: Call, bill: Bill, credits: int) -> bool:
            try:
                return await parts.ledger.payout(call.account, call.label, credits, bill.entry)
            except StoreError:
                await super().pay_out(parts, call, bill, credits)
                return await super().pay_out(parts, call, replace(bill, entry=None), credits)

    return replace(parts, settler=Counting(parts.contract))


class _Unowing(Ledger):
    """Keeps a charge without the payout that is due for it."""

    async def post(self, hold: Hold, credits: int, due: int = 0) -> Posting:
        return await super().post(hold, credits)


@mutant(breaks="INS-03")
def forgets_payouts_that_a_crash_came_before(parts: Components) -> Components:
    """Pays nothing at its start, so that a charge whose payout a kill cut off is never paid for."""
    return _booking(parts, _Unowing)


@mutant(breaks="INS-03")
def owes_after_a_crash_for_streams_alone(parts: Components) -> Components:
    """Commits an unstreamed call's charge without its payout, which a kill can come between."""

    class Parting(Settler):
        async def charge(self, parts: Components, call: Call, answer: Answer) -> Bill:
            return await super().charge(parts if call.stream else with_ledger(parts, _Unowing), call, answer)

    return replace(parts, settler=Parting(parts.contract))


@mutant(breaks="INS-07")
def pays_at_every_start_what_it_owed_at_one(parts: Components) -> Components:
    """Does not note for which charge a start paid, so that the next start pays for it again."""

    class Repeating(Ledger):
        def _pay(
            self, account: str, call: str, credits: int, charge: int | None, flags: tuple[str, ...] = ()
        ) -> Commit:
            return super()._pay(account, call, credits, None if flags else charge, flags)

    return _booking(parts, Repeating)
