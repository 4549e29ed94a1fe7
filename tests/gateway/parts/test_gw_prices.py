"""Prices are exact: whatever the usage, the cost is the true sum rounded up once."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from gw_support import CONTRACT, contract, model, settled
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import Contract, Model, Price
from harness.gateway.prices import PriceList
from harness.gateway.usage import Usage

PRICED = [entry for entry in CONTRACT.models if entry.price is not None]
TOKENS = st.integers(0, 3_000_000)


def with_price(**changes: Any) -> Contract:
    """Return a contract whose gpt-5-5 has another price."""
    entry = model()
    assert entry.price is not None
    return replace(CONTRACT, models=(replace(entry, price=replace(entry.price, **changes)),))


@pytest.mark.parametrize(
    ("model_id", "usage", "credits"),
    [
        ("claude-sonnet-4-7", Usage(1_000, 0, 0, 0), 1),  # 0.315
        ("claude-sonnet-4-7", Usage(100_000, 0, 0, 0), 32),  # 31.5
        ("claude-sonnet-4-7", Usage(300_000, 0, 0, 0), 95),  # 94.5: neither 94 nor half-even
        ("claude-sonnet-4-7", Usage(10, 0, 0, 5), 1),  # 0.011
        ("claude-sonnet-4-7", Usage(0, 0, 0, 0), 0),
        ("claude-sonnet-4-7", Usage(20_000, 0, 0, 0), 7),  # 6.3
        ("claude-sonnet-4-7", Usage(200_000, 0, 0, 0), 63),  # exactly 63: nothing to round
        ("claude-sonnet-4-7", Usage(0, 1_000_000, 0, 0), 32),  # cache read at 0.315
        ("claude-sonnet-4-7", Usage(0, 0, 1_000_000, 0), 394),  # cache write at 3.94
        ("deepseek-v4-pro", Usage(1_000_000, 0, 0, 0), 46),  # 45.67
        ("deepseek-v4-pro", Usage(0, 1_000_000, 0, 0), 1),  # 0.38
        ("deepseek-v4-pro", Usage(0, 0, 1_000_000, 0), 46),  # no cache-write price: input
        ("gpt-5-5", Usage(0, 0, 1_000_000, 0), 525),  # no cache-write price: input
        ("deepseek-v4-pro", Usage(10**6, 10**6, 10**6, 10**6), 184),  # 183.07; rounded class by class it were 185
    ],
)
def test_a_call_costs_the_table_rounded_up_once(model_id: str, usage: Usage, credits: int) -> None:
    assert PriceList(CONTRACT).cost(model(model_id), usage) == credits


@settled
@given(st.sampled_from(PRICED), TOKENS, TOKENS, TOKENS, TOKENS)
def test_the_cost_is_the_exact_sum_rounded_up(
    entry: Model, fresh: int, cache_read: int, cache_write: int, output: int
) -> None:
    price = entry.price
    assert price is not None
    dollars = (
        fresh * Fraction(price.input)
        + cache_read * Fraction(price.cache_read or price.input)
        + cache_write * Fraction(price.cache_write or price.input)
        + output * Fraction(price.output)
    ) / 1_000_000
    expected = math.ceil(dollars * CONTRACT.money.credits_per_usd)
    assert PriceList(CONTRACT).cost(entry, Usage(fresh, cache_read, cache_write, output)) == expected


@settled
@given(st.sampled_from(PRICED), TOKENS, TOKENS, TOKENS, TOKENS)
def test_an_estimate_covers_whatever_the_prompt_turns_out_to_be(
    entry: Model, fresh: int, cache_read: int, cache_write: int, output: int
) -> None:
    prices = PriceList(CONTRACT)
    estimate = prices.estimate(entry, fresh + cache_read + cache_write, output)
    assert prices.cost(entry, Usage(fresh, cache_read, cache_write, output)) <= estimate


@pytest.mark.parametrize(
    ("model_id", "prompt", "output", "credits"),
    [
        ("claude-sonnet-4-7", 1_000_000, 0, 394),  # cache write is dearer than input
        ("gpt-5-5", 1_000_000, 0, 525),
        ("gpt-5-5", 0, 1_000_000, 3150),
        ("gpt-5-5", 1, 1, 1),
        ("gpt-5-5", 0, 0, 0),
    ],
)
def test_an_estimate_takes_the_dearer_prompt_price(model_id: str, prompt: int, output: int, credits: int) -> None:
    assert PriceList(CONTRACT).estimate(model(model_id), prompt, output) == credits


def test_a_cheaper_cache_write_does_not_lower_an_estimate() -> None:
    prices = PriceList(with_price(input="4", cache_write="1"))
    assert prices.estimate(model(), 1_000_000, 0) == 400


def test_a_credit_is_worth_what_the_contract_says() -> None:
    prices = PriceList(contract(money={"credits_per_usd": 1000}))
    assert prices.cost(model(), Usage(1_000_000, 0, 0, 0)) == 5250


@pytest.mark.parametrize("text", ["0", "7", "0.5", "31.50", "0.0038", "123.4567", "00.1"])
def test_a_price_of_up_to_four_decimals_is_held_exactly(text: str) -> None:
    cost = PriceList(with_price(input=text)).cost(model(), Usage(10**12, 0, 0, 0))
    assert cost == Decimal(text) * 10**8


@pytest.mark.parametrize("text", ["", "-1", "+1", ".5", "1.", "1.23456", "1e3", "1,5", " 1", "n/a", "NaN", "١"])
@pytest.mark.parametrize("field", ["input", "output", "cache_read", "cache_write"])
def test_any_other_price_is_refused_at_once(text: str, field: str) -> None:
    with pytest.raises(ValueError, match="four decimals"):
        PriceList(with_price(**{field: text}))


def test_the_same_id_has_its_own_price_on_each_tier() -> None:
    entry = model()
    assert entry.price is not None
    dear: Price = replace(entry.price, input="100")
    both = replace(CONTRACT, models=(entry, replace(entry, tier="general", price=dear)))
    prices = PriceList(both)
    million = Usage(1_000_000, 0, 0, 0)
    assert [prices.cost(known, million) for known in both.models] == [525, 10_000]


def test_a_model_without_a_token_price_has_no_cost() -> None:
    unpriced = replace(model(), price=None)
    prices = PriceList(replace(CONTRACT, models=(unpriced,)))
    with pytest.raises(KeyError):
        prices.cost(unpriced, Usage(1, 0, 0, 0))
