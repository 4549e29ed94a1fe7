"""Mutants that go wrong once in a few hundred streams, or grow with each call: a soak has enough, no scenario has."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer
from harness.gateway.settlement import Bill, Settler
from harness.gateway.usage import Usage
from harness.mutants.registry import mutant

RARELY = 300
"""Of so many streams one goes wrong."""


class Rarely:
    """Picks every so many-th stream of a gateway's life."""

    def __init__(self) -> None:
        self._streams = count(1)

    def strikes(self, call: Call) -> bool:
        """Say whether this is one that goes wrong; to be asked once of each call."""
        return call.stream and next(self._streams) % RARELY == 0


@mutant(breaks="GOV-09", under="soak")
def loses_a_slot_once_in_a_while(parts: Components) -> Components:
    """Keeps the slot of every 300th stream for ever."""
    rarely = Rarely()

    class Leaking(Settler):
        def give_back(self, parts: Components, call: Call) -> None:
            if call.ticket is not None and rarely.strikes(call):
                call.ticket = None
            super().give_back(parts, call)

    return replace(parts, settler=Leaking(parts.contract))


@mutant(breaks="BILL-01", under="soak")
def loses_a_credit_once_in_a_while(parts: Components) -> Components:
    """Charges every 300th stream a credit too little, as a sum does that drifts."""
    rarely = Rarely()

    class Drifting(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            own = super().cost(parts, call, usage)
            return max(0, own - 1) if rarely.strikes(call) else own

    return replace(parts, settler=Drifting(parts.contract))


@mutant(breaks="BILL-05", under="soak")
def charges_twice_once_in_a_while(parts: Components) -> Components:
    """Charges every 300th stream twice."""
    rarely = Rarely()

    class Twice(Settler):
        async def charge(self, parts: Components, call: Call, answer: Answer) -> Bill:
            bill = await super().charge(parts, call, answer)
            if rarely.strikes(call):
                again = parts.ledger.hold(call.account, call.label, bill.credits)
                await parts.ledger.post(again, bill.credits)
            return bill

    return replace(parts, settler=Twice(parts.contract))


@mutant(breaks="INS-06", under="soak")
def forgets_a_row_once_in_a_while(parts: Components) -> Components:
    """Writes no row of the usage log for every 300th stream."""
    rarely = Rarely()

    class Forgetful(Pipeline):
        def record(self, parts: Components, call: Call) -> None:
            if rarely.strikes(call):
                return
            super().record(parts, call)

    return replace(parts, pipeline=Forgetful())


@mutant(breaks="MEMORY", under="soak")
def keeps_every_call(parts: Components) -> Components:
    """Keeps each call with its answer in memory for good."""
    kept: list[tuple[Call, Answer]] = []

    class Keeping(Settler):
        async def charge(self, parts: Components, call: Call, answer: Answer) -> Bill:
            kept.append((call, answer))
            return await super().charge(parts, call, answer)

    return replace(parts, settler=Keeping(parts.contract))
