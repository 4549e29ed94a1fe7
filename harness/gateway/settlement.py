"""Settles what a call has taken once its upstream is done: usage, charge, slot and units, payout.

It rounds nothing and estimates nothing: prices, insurance and ledger are components of their own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.contract import Contract
from harness.gateway.call import Call
from harness.gateway.insurer import Settlement
from harness.gateway.relay import Answer
from harness.gateway.store import StoreError
from harness.gateway.usage import Usage, UsageProblem, read_usage

if TYPE_CHECKING:
    from harness.gateway.components import Components

UNBILLED_DISCONNECT = "unbilled_disconnect"
PAYOUT_PAUSES_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Between the tries of a payout: together less than the second within which a stream has to be settled."""


@dataclass(slots=True)  # made at every call: a frozen one costs five times as much
class Bill:
    """What a call cost, with the posted balance around it; ``entry`` is the charge's, None if there is none.

    ``due`` is the payout that was noted with the charge.
    """

    model: str
    credits: int
    before: int
    after: int
    entry: int | None = None
    due: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the ``hypereal.billing`` object."""
        return {
            "model": self.model,
            "credits_charged": self.credits,
            "balance_before": self.before,
            "balance_after": self.after,
        }


class Settler:
    """Every way out of a call passes here once: ``charge`` after a whole answer, ``release`` after anything else."""

    def __init__(self, contract: Contract) -> None:
        self._identities = {identity.surface: identity for identity in contract.usage}

    async def charge(self, parts: Components, call: Call, answer: Answer) -> Bill:
        """Charge a whole answer's usage, once; return when that is committed. Unusable usage is not charged.

        The payout that is due is committed with the charge, so that no crash can come between them.
        """
        assert call.model is not None
        call.usage = self.usage(call, answer)
        call.images = self.images(call, answer)
        # The upstream is done: its slot is free before the ledger's commit is waited for.
        self.give_back(parts, call)
        if call.usage is None:
            self.void(parts, call)
            balance = parts.ledger.posted(call.account)
            return Bill(call.asked, 0, balance, balance)
        assert call.hold is not None
        credits = self.cost(parts, call, call.usage)
        due = self.settlement(parts, call, credits).credits_compensated
        posting = await parts.ledger.post(call.hold, credits, due)
        call.credits = posting.credits
        return Bill(call.asked, posting.credits, posting.before, posting.after, posting.entry, due)

    def usage(self, call: Call, answer: Answer) -> Usage | None:
        """Return the usage that the answer reports, or None, with a flag, if no charge may rest on it."""
        assert call.model is not None
        try:
            return read_usage(self._identities[call.surface.name], answer.usage, call.model.context_tokens)
        except UsageProblem as problem:
            call.flag(problem.flag)
            return None

    def images(self, call: Call, answer: Answer) -> int:
        """Return the images that the answer counts as."""
        return call.surface.images_in(answer.body)

    def cost(self, parts: Components, call: Call, usage: Usage) -> int:
        """Return what ``usage`` costs in whole credits."""
        assert call.model is not None
        return parts.prices.cost(call.model, usage)

    async def insure(self, parts: Components, call: Call, bill: Bill) -> Settlement:
        """Settle the latency insurance of a charged call, and credit the payout if it is due."""
        settlement = self.settlement(parts, call, bill.credits)
        if settlement.credits_compensated:
            if await self.pay_out(parts, call, bill, settlement.credits_compensated):
                call.compensated = settlement.credits_compensated
            else:
                # The answer is paid for and stays good; what is owed is told by the flag.
                call.flag("payout_failed")
                settlement = replace(settlement, status="pending", credits_compensated=0)
        elif bill.due and bill.entry is not None:
            parts.ledger.waive(bill.entry)  # its client left while the charge was committed
        call.insurance = settlement.status
        return settlement

    def settlement(self, parts: Components, call: Call, credits: int) -> Settlement:
        """Return what the insurance says of a call that was charged ``credits``, as things stand."""
        return parts.insurer.settle(credits, self.latency_us(call), self.eligible(call))

    async def pay_out(self, parts: Components, call: Call, bill: Bill, credits: int) -> bool:
        """Credit the payout, trying again for a while if the store takes nothing. False if it is owed all the same."""
        for pause_s in (*PAYOUT_PAUSES_S, None):
            try:
                return await parts.ledger.payout(call.account, call.label, credits, bill.entry)
            except StoreError:
                if pause_s is None:
                    break
                await asyncio.sleep(pause_s)
        return False

    def latency_us(self, call: Call) -> int:
        """Return the time from the request's full receipt to the last upstream byte, waits for the client left out."""
        return call.ended_us - call.received_us - call.blocked_us

    def eligible(self, call: Call) -> bool:
        """Say whether the insurance covers the call: Enterprise calls whose client stayed."""
        return call.enterprise and not call.client.gone

    def release(self, parts: Components, call: Call) -> None:
        """Let go of all that a call without a charge holds; a second time does nothing."""
        if call.hold is not None and call.hold.open:
            if call.client.gone:
                call.flag(UNBILLED_DISCONNECT)
            self.void(parts, call)
        self.give_back(parts, call)

    def void(self, parts: Components, call: Call) -> None:
        """Release the hold, if it is still open."""
        if call.hold is not None:
            parts.ledger.void(call.hold, call.flags)

    def give_back(self, parts: Components, call: Call) -> None:
        """Settle the reservations to what is known to have been used, and give the slot back; once."""
        ticket, call.ticket = call.ticket, None
        if ticket is not None:
            ticket.settle(self.used_tokens(call), call.images)
            ticket.release()

    def used_tokens(self, call: Call) -> int:
        """Return the tokens that the call is known to have used."""
        return call.usage.total if call.usage is not None else 0
