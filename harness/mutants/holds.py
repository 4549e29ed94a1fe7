"""Mutants that hold the wrong sum, too late or not at all, or charge by what they held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.gateway.admission import Admission
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.ledger import Hold
from harness.gateway.prices import PriceList
from harness.gateway.relay import Answer
from harness.gateway.settlement import Bill, Settler
from harness.gateway.usage import Usage
from harness.mutants.registry import mutant


@mutant(breaks="BILL-08")
def holds_nothing(parts: Components) -> Components:
    """Lets a call go upstream on a hold of no credits."""
    return replace(parts, admission=_holding(lambda parts, call, credits: 0)(parts.contract))


@mutant(breaks="BILL-08")
def holds_a_credit_too_few(parts: Components) -> Components:
    """Holds one credit less than a call may cost by its estimate."""
    return replace(parts, admission=_holding(lambda parts, call, credits: max(0, credits - 1))(parts.contract))


@mutant(breaks="BILL-08")
def holds_nothing_for_the_default_output(parts: Components) -> Components:
    """Holds the prompt alone where a call does not say how much output it wants."""

    def asked_for(parts: Components, call: Call, credits: int) -> int:
        assert call.model is not None
        wanted = call.surface.output_tokens(call.body) or 0
        return parts.prices.estimate(call.model, call.prompt_tokens, wanted)

    return replace(parts, admission=_holding(asked_for)(parts.contract))


@mutant(breaks="BILL-08")
def holds_no_more_than_there_is(parts: Components) -> Components:
    """Holds at most what is available, so that a call let in by the minimum holds too little."""

    def capped(parts: Components, call: Call, credits: int) -> int:
        return max(0, min(credits, parts.ledger.available(call.account)))

    return replace(parts, admission=_holding(capped)(parts.contract))


def _holding(credits: Callable[[Components, Call, int], int]) -> type[Admission]:
    """Return an admission that holds what ``credits`` makes of the estimate."""

    class Other(Admission):
        def enter(self, parts: Components, call: Call, own: int) -> Hold:
            return super().enter(parts, call, credits(parts, call, own))

    return Other


@mutant(breaks="BILL-08")
def holds_the_prompt_at_the_price_of_input(parts: Components) -> Components:
    """Holds the prompt at the price of input where cache writes are dearer."""

    class Cheap(PriceList):
        def estimate(self, model: Any, prompt_tokens: int, output_tokens: int) -> int:
            return self.cost(model, Usage(prompt_tokens, 0, 0, output_tokens))

    return replace(parts, prices=Cheap(parts.contract))


@mutant(breaks="BILL-08")
def rounds_holds_down(parts: Components) -> Components:
    """Rounds what a call holds down to whole credits."""

    class Floor(PriceList):
        def estimate(self, model: Any, prompt_tokens: int, output_tokens: int) -> int:
            rates = self._rates[model.tier, model.id]
            units = prompt_tokens * max(rates.input, rates.cache_write) + output_tokens * rates.output
            return -self._credits(-units)

    return replace(parts, prices=Floor(parts.contract))


@mutant(breaks="BILL-08")
def holds_when_the_answer_is_there(parts: Components) -> Components:
    """Sets credits aside only when the upstream has answered."""

    class Late(Settler):
        async def charge(self, parts: Components, call: Call, answer: Answer) -> Bill:
            if call.hold is not None:
                call.hold = parts.ledger.hold(call.account, call.label, call.hold.credits)
            return await super().charge(parts, call, answer)

    class Unheld(Admission):
        def enter(self, parts: Components, call: Call, credits: int) -> Hold:
            call.circuit = self.circuit(parts, call)
            call.hold = Hold(call.account, call.label, credits, 0, open=False)
            return call.hold

    return replace(parts, settler=Late(parts.contract), admission=Unheld(parts.contract))


@mutant(breaks="BILL-08")
def charges_no_more_than_it_held(parts: Components) -> Components:
    """Charges at most what the call held."""

    class Capped(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            own = super().cost(parts, call, usage)
            return min(own, call.hold.credits) if call.hold is not None else own

    return replace(parts, settler=Capped(parts.contract))


@mutant(breaks="BILL-08")
def charges_no_more_than_there_is(parts: Components) -> Components:
    """Charges at most what the account has, so that no balance goes below zero."""

    class Capped(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            return max(0, min(super().cost(parts, call, usage), parts.ledger.posted(call.account)))

    return replace(parts, settler=Capped(parts.contract))
