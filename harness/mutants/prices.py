"""Mutants that price an answer wrongly: a class at the wrong price, counted twice or not at all, rounded otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from math import ceil
from typing import Any

from harness.contract import Model
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.prices import PriceList, Rates
from harness.gateway.relay import Answer
from harness.gateway.settlement import Settler
from harness.gateway.usage import Usage
from harness.mutants.registry import mutant

Change = Callable[[Model, Usage], Usage]


@mutant(breaks="BILL-01")
def rounds_down(parts: Components) -> Components:
    """Rounds a cost down to whole credits."""

    class Floor(PriceList):
        def _credits(self, units: int) -> int:
            up = super()._credits(units)
            return up if units * self._credits_per_usd % 10**10 == 0 else up - 1

    return replace(parts, prices=Floor(parts.contract))


@mutant(breaks="BILL-01")
def rounds_to_the_nearest_credit(parts: Components) -> Components:
    """Rounds a cost to the nearest credit, a half to the even one."""

    class Nearest(PriceList):
        def _credits(self, units: int) -> int:
            exact = Decimal(units * self._credits_per_usd) / 10**10
            return int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))

    return replace(parts, prices=Nearest(parts.contract))


@mutant(breaks="BILL-01")
def rounds_every_class_up(parts: Components) -> Components:
    """Rounds the cost of each class up by itself."""

    class PerClass(PriceList):
        def cost(self, model: Model, usage: Usage) -> int:
            nothing = Usage(0, 0, 0, 0)
            return sum(
                super(PerClass, self).cost(model, replace(nothing, **{name: getattr(usage, name)}))
                for name in Usage.__slots__
            )

    return replace(parts, prices=PerClass(parts.contract))


@mutant(breaks="BILL-01")
def adds_a_credit_to_whole_costs(parts: Components) -> Components:
    """Takes a credit more where a cost comes out at whole credits."""

    class Next(PriceList):
        def _credits(self, units: int) -> int:
            return units * self._credits_per_usd // 10**10 + (units > 0)

    return replace(parts, prices=Next(parts.contract))


@mutant(breaks="BILL-01")
def prices_in_binary_fractions(parts: Components) -> Components:
    """Adds up the classes in floating point, and rounds what comes of it up."""

    class Floating(PriceList):
        def cost(self, model: Model, usage: Usage) -> int:
            rates = self._rates[model.tier, model.id]
            dollars = 0.0
            for name in Usage.__slots__:
                dollars += getattr(usage, name) / 1_000_000 * (getattr(rates, name) / 10_000)
            return ceil(dollars * self._credits_per_usd)

    return replace(parts, prices=Floating(parts.contract))


def _counting(parts: Components, change: Change) -> Components:
    """Return a gateway that prices what ``change`` makes of an answer's usage."""

    class Other(PriceList):
        def cost(self, model: Model, usage: Usage) -> int:
            return super().cost(model, change(model, usage))

    return replace(parts, prices=Other(parts.contract))


@mutant(breaks="BILL-01")
def bills_no_input(parts: Components) -> Components:
    """Charges for the output and the cache alone."""
    return _counting(parts, lambda model, usage: replace(usage, input=0))


@mutant(breaks="BILL-01")
def forgets_the_last_token_of_the_output(parts: Components) -> Components:
    """Charges for one token of output less than there is."""
    return _counting(parts, lambda model, usage: replace(usage, output=max(0, usage.output - 1)))


@mutant(breaks="BILL-01")
def bills_cached_tokens_twice(parts: Components) -> Components:
    """Charges cache reads at their own price and once more as input."""
    return _counting(parts, lambda model, usage: replace(usage, input=usage.input + usage.cache_read))


@mutant(breaks="BILL-01")
def bills_cached_tokens_in_full(parts: Components) -> Components:
    """Charges cache reads at the price of input."""
    return _counting(parts, lambda model, usage: replace(usage, input=usage.input + usage.cache_read, cache_read=0))


@mutant(breaks="BILL-01")
def gives_cached_tokens_away(parts: Components) -> Components:
    """Charges nothing for cache reads."""
    return _counting(parts, lambda model, usage: replace(usage, cache_read=0))


@mutant(breaks="BILL-01")
def gives_cache_writes_away(parts: Components) -> Components:
    """Charges nothing for cache writes."""
    return _counting(parts, lambda model, usage: replace(usage, cache_write=0))


@mutant(breaks="BILL-01")
def bills_cache_writes_as_input(parts: Components) -> Components:
    """Charges cache writes at the price of input where they have one of their own."""
    return _counting(parts, lambda model, usage: replace(usage, input=usage.input + usage.cache_write, cache_write=0))


@mutant(breaks="BILL-01")
def bills_anthropics_cache_writes_twice(parts: Components) -> Components:
    """Charges cache writes of Claude models once more as input."""

    def twice(model: Model, usage: Usage) -> Usage:
        return replace(usage, input=usage.input + usage.cache_write) if model.family == "claude" else usage

    return _counting(parts, twice)


@mutant(breaks="BILL-01")
def takes_anthropics_cache_out_of_the_input(parts: Components) -> Components:
    """Takes cache reads of Claude models off an input that never held them."""

    def less(model: Model, usage: Usage) -> Usage:
        return replace(usage, input=max(0, usage.input - usage.cache_read)) if model.family == "claude" else usage

    return _counting(parts, less)


@mutant(breaks="BILL-01")
def gives_classes_without_a_price_away(parts: Components) -> Components:
    """Charges nothing for a class that has no price of its own."""

    def free(model: Model, usage: Usage) -> Usage:
        assert model.price is not None
        priced = {name: getattr(model.price, name) is not None for name in Usage.__slots__}
        return replace(usage, **{name: 0 for name, known in priced.items() if not known})

    return _counting(parts, free)


def _reasoning(call: Call, answer: Answer) -> int:
    """Return the reasoning tokens that a provider of OpenAI's dialect tells of, 0 for any other."""
    usage: Any = answer.usage
    details = "completion_tokens_details" if call.surface.name == "chat" else "output_tokens_details"
    told = usage.get(details) if isinstance(usage, dict) else None
    count = told.get("reasoning_tokens") if isinstance(told, dict) else None
    return count if isinstance(count, int) else 0


def _reading(parts: Components, change: Callable[[Call, Answer, Usage], Usage]) -> Components:
    """Return a gateway that reads an answer's usage as ``change`` says."""

    class Other(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            usage = super().usage(call, answer)
            return None if usage is None else change(call, answer, usage)

    return replace(parts, settler=Other(parts.contract))


@mutant(breaks="BILL-01")
def bills_reasoning_twice(parts: Components) -> Components:
    """Adds reasoning to an output that holds it already."""
    return _reading(parts, lambda call, answer, usage: replace(usage, output=usage.output + _reasoning(call, answer)))


@mutant(breaks="BILL-01")
def drops_reasoning(parts: Components) -> Components:
    """Charges for the output that the client can read, without the reasoning before it."""
    return _reading(parts, lambda call, answer, usage: replace(usage, output=usage.output - _reasoning(call, answer)))


@mutant(breaks="BILL-01")
def forgets_the_cache_of_streams(parts: Components) -> Components:
    """Charges a stream's cached tokens as input."""

    def uncached(call: Call, answer: Answer, usage: Usage) -> Usage:
        return replace(usage, input=usage.input + usage.cache_read, cache_read=0) if call.stream else usage

    return _reading(parts, uncached)


@mutant(breaks="BILL-01")
def leaves_cached_tokens_in_the_prompt_of_responses(parts: Components) -> Components:
    """Does not take cached tokens out of the input that the responses surface tells."""

    def left_in(call: Call, answer: Answer, usage: Usage) -> Usage:
        twice = replace(usage, input=usage.input + usage.cache_read + usage.cache_write)
        return twice if call.surface.name == "responses" else usage

    return _reading(parts, left_in)


@mutant(breaks="BILL-01")
def prices_an_older_name_as_another_model(parts: Components) -> Components:
    """Charges a call by an alias at the price of the first model of its tier."""

    class Confused(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            assert call.model is not None
            if call.asked == call.model.id:
                return super().cost(parts, call, usage)
            first = next(m for m in parts.contract.models if m.tier == call.model.tier and m.price is not None)
            return parts.prices.cost(first, usage)

    return replace(parts, settler=Confused(parts.contract))


@mutant(breaks="BILL-01")
def prices_the_other_tier(parts: Components) -> Components:
    """Charges general calls at an Enterprise price where a model of that name has one."""

    class Confused(PriceList):
        def cost(self, model: Model, usage: Usage) -> int:
            other = parts.contract.model("enterprise", model.id.replace(".", "-"))
            return super().cost(other if other is not None and other.price is not None else model, usage)

    return replace(parts, prices=Confused(parts.contract))


@mutant(breaks="BILL-01")
def drops_the_last_digit_of_its_prices(parts: Components) -> Components:
    """Holds prices in whole cents per million tokens."""

    class Coarse(PriceList):
        def cost(self, model: Model, usage: Usage) -> int:
            exact = self._rates[model.tier, model.id]
            cents = {name: getattr(exact, name) // 100 * 100 for name in Usage.__slots__}
            self._rates[model.tier, model.id] = Rates(**cents)
            return super().cost(model, usage)

    return replace(parts, prices=Coarse(parts.contract))
