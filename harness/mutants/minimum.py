"""Mutants that let general calls in on too little, or keep them out on enough (CHAT-06)."""

from __future__ import annotations

from dataclasses import replace

from harness.gateway.admission import Admission
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.pipeline import Pipeline
from harness.mutants.registry import mutant
from harness.mutants.swaps import ask_in_vain


@mutant(breaks="CHAT-06")
def asks_for_more_than_the_minimum(parts: Components) -> Components:
    """Refuses a general call on exactly the minimum balance."""

    class More(Admission):
        def can_pay(self, available: int, call: Call, credits: int) -> bool:
            if call.enterprise:
                return super().can_pay(available, call, credits)
            return available > self._money.general_minimum_credits

    return replace(parts, admission=More(parts.contract))


@mutant(breaks="CHAT-06")
def asks_for_any_credit_at_all(parts: Components) -> Components:
    """Lets a general call in on a single credit."""

    class Less(Admission):
        def can_pay(self, available: int, call: Call, credits: int) -> bool:
            return super().can_pay(available, call, credits) if call.enterprise else available > 0

    return replace(parts, admission=Less(parts.contract))


@mutant(breaks="CHAT-06")
def asks_for_the_hold_as_well(parts: Components) -> Components:
    """Refuses a general call whose hold the balance does not cover, although it has the minimum."""

    class Both(Admission):
        def can_pay(self, available: int, call: Call, credits: int) -> bool:
            return super().can_pay(available, call, credits) and (call.enterprise or available >= credits)

    return replace(parts, admission=Both(parts.contract))


@mutant(breaks="CHAT-06")
def asks_no_minimum_of_responses(parts: Components) -> Components:
    """Forgets the minimum on one surface of the general API."""

    class Uneven(Admission):
        def can_pay(self, available: int, call: Call, credits: int) -> bool:
            if call.surface.name == "responses" and not call.enterprise:
                return True
            return super().can_pay(available, call, credits)

    return replace(parts, admission=Uneven(parts.contract))


@mutant(breaks="CHAT-06")
def counts_held_credits_as_available(parts: Components) -> Components:
    """Compares the posted balance of a general call's account with the minimum, whatever is held of it."""

    class Posted(Admission):
        def require_balance(self, parts: Components, call: Call, credits: int) -> None:
            if call.enterprise:
                super().require_balance(parts, call, credits)
            elif not self.can_pay(parts.ledger.posted(call.account), call, credits):
                raise Refusal("insufficient_balance", "the balance is too low for this call")

    return replace(parts, admission=Posted(parts.contract))


@mutant(breaks="CHAT-06")
def opens_a_stream_to_say_402(parts: Components) -> Components:
    """Begins the stream of somebody who cannot pay with 200, and tells of the balance in an event."""

    class Early(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if refusal.name == "insufficient_balance" and call.stream and not call.enterprise:
                call.out = self.open_stream(parts, call)
                call.out.ping()
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Early())


@mutant(breaks="CHAT-06")
def asks_for_the_balance_at_the_end(parts: Components) -> Components:
    """Sends the call of somebody who cannot pay upstream, and answers 402 when it has been answered there."""

    class Late(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if refusal.name == "insufficient_balance" and call.model is not None and not call.enterprise:
                await ask_in_vain(parts, call)
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Late())
