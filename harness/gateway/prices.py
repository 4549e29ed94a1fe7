"""What a call costs: exact integers over the contract's price table, one rounding per call; no float ever."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.contract import Contract, Model, Price
from harness.gateway.usage import Usage

_UNITS_PER_USD = 10_000
"""Prices are held in ten-thousandths of a dollar per million tokens: the documents' figures are exact in them."""
_TOKENS_PER_PRICE = 1_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of one model in 1e-4 dollars per million tokens; a class with no price has the input's."""

    input: int
    cache_read: int
    cache_write: int
    output: int


class PriceList:
    """Costs in whole credits. Raises ValueError at once for a price of the contract that it could not hold exactly."""

    def __init__(self, contract: Contract) -> None:
        self._credits_per_usd = contract.money.credits_per_usd
        self._rates = {
            (model.tier, model.id): _rates(model, model.price) for model in contract.models if model.price is not None
        }

    def cost(self, model: Model, usage: Usage) -> int:
        """Return what ``usage`` of ``model`` costs, rounded up once. KeyError for a model that has no token price."""
        rates = self._rates[model.tier, model.id]
        return self._credits(
            usage.input * rates.input
            + usage.cache_read * rates.cache_read
            + usage.cache_write * rates.cache_write
            + usage.output * rates.output
        )

    def estimate(self, model: Model, prompt_tokens: int, output_tokens: int) -> int:
        """Return what a call may cost: the prompt at the dearer of input and cache write, the output at its price."""
        rates = self._rates[model.tier, model.id]
        return self._credits(prompt_tokens * max(rates.input, rates.cache_write) + output_tokens * rates.output)

    def _credits(self, units: int) -> int:
        return -(-units * self._credits_per_usd // (_UNITS_PER_USD * _TOKENS_PER_PRICE))


def _rates(model: Model, price: Price) -> Rates:
    where = f"{model.tier} model {model.id}"
    fresh = _units(price.input, f"input price of {where}")
    return Rates(
        input=fresh,
        cache_read=fresh if price.cache_read is None else _units(price.cache_read, f"cache-read price of {where}"),
        cache_write=fresh if price.cache_write is None else _units(price.cache_write, f"cache-write price of {where}"),
        output=_units(price.output, f"output price of {where}"),
    )


def _units(price: str, what: str) -> int:
    """Return a price in dollars, at most four decimals, in units of 1e-4 dollars."""
    match = re.fullmatch(r"([0-9]+)(?:\.([0-9]{1,4}))?", price)
    if match is None:
        raise ValueError(f"{what}: {price!r} is not a number of dollars with at most four decimals")
    whole, decimals = match.groups(default="")
    return int(whole) * _UNITS_PER_USD + int(decimals.ljust(4, "0"))
