"""Mutants that cheat on the latency insurance."""

from __future__ import annotations

from dataclasses import replace

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.insurer import Insurer, Settlement
from harness.gateway.settlement import Bill, Settler
from harness.mutants.registry import mutant


@mutant(breaks="INS-03")
def pays_at_the_threshold(parts: Components) -> Components:
    """Pays a call that took exactly the threshold."""

    class Generous(Insurer):
        def settle(self, charged: int, latency_us: int, eligible: bool) -> Settlement:
            at = latency_us // 1000 == self._policy.threshold_ms
            made = super().settle(charged, latency_us + 1000 if at else latency_us, eligible)
            return replace(made, latency_ms=latency_us // 1000)

    return replace(parts, insurer=Generous(parts.contract))


@mutant(breaks="INS-03")
def leaves_the_queue_out_of_the_latency(parts: Components) -> Components:
    """Counts the latency from admission, so that waiting for a slot is free."""

    class FromAdmission(Settler):
        async def charge(self, parts: Components, call: Call, answer: object) -> Bill:
            if call.ticket is not None:
                call.received_us = call.ticket.at_us
            return await super().charge(parts, call, answer)  # type: ignore[arg-type] # passed through

    return replace(parts, settler=FromAdmission(parts.contract))


@mutant(breaks="INS-04")
def pays_out_rounded_down(parts: Components) -> Components:
    """Rounds the payout down to whole credits."""

    class Floor(Insurer):
        def settle(self, charged: int, latency_us: int, eligible: bool) -> Settlement:
            made = super().settle(charged, latency_us, eligible)
            return replace(made, credits_compensated=int(self._ratio * charged)) if made.status == "paid" else made

    return replace(parts, insurer=Floor(parts.contract))


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


@mutant(breaks="INS-05")
def insures_clients_that_left(parts: Components) -> Components:
    """Compensates a slow call whose client aborted it."""

    class Everybody(Settler):
        def eligible(self, call: Call) -> bool:
            return call.enterprise

    return replace(parts, settler=Everybody(parts.contract))
