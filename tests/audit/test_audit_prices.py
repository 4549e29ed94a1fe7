"""Pricing in SQL costs what checkers and gateway say a usage costs, in whole credits, whatever the usage."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, islice
from random import Random

import pandas
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from harness.audit import AuditError, Books, audit
from harness.audit.prices import CLASSES, ROUNDINGS, exact, rounded
from harness.audit.units import PriceError, Unit, unit_for
from harness.checkers import money
from harness.contract import Contract, Model, load_contract
from harness.gateway.prices import PriceList
from harness.gateway.usage import Usage
from tests.audit.made import ACCOUNTS, CREDIT, Month, plain

USAGES = int(os.environ.get("HARNESS_PRICED_USAGES", "20000"))
"""The session ``prices`` of nox prices a million."""
BATCH = 50_000
CONTRACT: Contract = load_contract()
Tokens = tuple[int, int, int, int]
Priced = tuple[Model, Tokens]
MODELS = [model for model in CONTRACT.models if model.price is not None]


def priced_by_sql(usages: Sequence[Priced]) -> list[int]:
    """Return what the audit's SQL charges for each usage, in credits."""
    unit = Unit()
    credit = unit.credit(CONTRACT.money.credits_per_usd)
    with Books(unit, credit=credit) as books:
        books.insert("policies", [(0, credit, "up", None, None, None, 0, 0)])
        rows = []
        for model in MODELS:
            assert model.price is not None
            given = (model.price.input, model.price.cache_read, model.price.cache_write, model.price.output)
            rows.append((0, model.tier + model.id, *(None if one is None else unit.per_token(one) for one in given)))
        books.insert("prices", rows)
        frame = pandas.DataFrame([tokens for _, tokens in usages], columns=list(CLASSES), dtype="int64")
        frame.insert(0, "model", [model.tier + model.id for model, _ in usages])
        frame.insert(0, "n", range(len(usages)))
        books.db.register("usages", frame)
        found = books.db.execute(
            f"SELECT {rounded(exact('p', 's'))} // y.quantum FROM usages s JOIN policies y ON true "
            "JOIN prices p ON p.model = s.model ORDER BY n"
        ).fetchall()
        return [value for (value,) in found]


def drawn(rng: Random) -> Tokens:
    """Return tokens of each class: mostly a few thousand, also none, one, and more than any context."""
    most = rng.choice((0, 1, 10, 1_000, 100_000, 2_000_000, 2**32 + 1, 10**11))
    a, b, c, d = (rng.randint(0, most) for _ in CLASSES)
    return a, b, c, d


def at_the_edges() -> Iterator[Priced]:
    """Yield, for each model and class alone, the tokens around which its cost steps from one credit to the next."""
    for model in MODELS:
        assert model.price is not None
        price = model.price
        for place, per_million in enumerate((price.input, price.cache_read, price.cache_write, price.output)):
            tokens_a_credit = Fraction(10**6, CONTRACT.money.credits_per_usd) / Fraction(per_million or price.input)
            for credits in (0, 1, 2, 999, 1_000_000, tokens_a_credit.denominator):
                edge = int(tokens_a_credit * credits)
                for tokens in range(max(0, edge - 1), edge + 3):
                    cells = [0] * len(CLASSES)
                    cells[place] = tokens
                    yield model, (cells[0], cells[1], cells[2], cells[3])


def test_sql_checkers_and_gateway_price_alike() -> None:
    """In batches, so that a million needs no more memory than one of them."""
    rng = Random("usages")
    gateway = PriceList(CONTRACT)
    every = chain(at_the_edges(), ((rng.choice(MODELS), drawn(rng)) for _ in range(USAGES)))
    total, seen = 0, set()
    while batch := list(islice(every, BATCH)):
        for (model, tokens), credits in zip(batch, priced_by_sql(batch), strict=True):
            assert model.price is not None
            fresh, read, write, output = tokens
            checked = money.charge(CONTRACT, model.price, money.Classes(*tokens, reasoning=0))
            served = gateway.cost(model, Usage(fresh, read, write, output))
            assert credits == checked == served, (model.id, tokens)
        total += len(batch)
        seen |= {(model.tier, model.id) for model, _ in batch}
    assert total > USAGES
    assert len(seen) == len(MODELS)


def test_some_of_the_models_have_no_price_for_a_class() -> None:
    assert any(model.price is not None and model.price.cache_write is None for model in MODELS)


@pytest.mark.parametrize("name", list(ROUNDINGS))
@settings(max_examples=60, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
@given(amount=st.integers(0, 10**17), quantum=st.integers(1, 10**9))
def test_every_rounding_is_the_exact_one(name: str, amount: int, quantum: int) -> None:
    import duckdb

    sql = ROUNDINGS[name].of(f"{amount}::BIGINT", f"{quantum}::BIGINT")
    row = duckdb.execute(f"SELECT {sql}").fetchone()
    ratio = Fraction(amount, quantum)
    whole = amount // quantum
    half = {True: whole + 1, False: whole}[ratio - whole >= Fraction(1, 2)]
    exactly = {"up": -(-amount // quantum), "down": whole, "half_up": half, "half_even": round(ratio)}
    assert row == (exactly[name] * quantum,)


def test_charges_grow_with_every_class() -> None:
    rng = Random("growing")
    pairs = []
    for _ in range(500):
        model, tokens = rng.choice(MODELS), drawn(rng)
        more = list(tokens)
        more[rng.randrange(4)] += rng.randint(1, 10_000)
        pairs += [(model, tokens), (model, (more[0], more[1], more[2], more[3]))]
    costs = priced_by_sql(pairs)
    assert all(less <= more for less, more in zip(costs[::2], costs[1::2], strict=True))


@pytest.mark.parametrize("tokens", [10**13, 2**62])
def test_an_amount_that_does_not_fit_is_an_error_and_never_wraps_round(tokens: int) -> None:
    case = plain(1, Random(1))
    case.attempts = [(True, "", (tokens, 0, 0, tokens))]
    with Month([case]).books() as books, pytest.raises(AuditError, match="does not fit 64 bits") as refused:
        audit(books)
    assert "absurd tokens" in refused.value.help


def test_totals_may_be_larger_than_any_call() -> None:
    rng = Random(2)
    cases = [plain(number, rng) for number in range(3)]
    for case, account in zip(cases, ACCOUNTS, strict=True):
        case.account, case.model = account, "large"
        case.tokens = (4 * 10**11, 0, 0, 0)
        case.attempts, case.entries = [(True, "", case.tokens)], [("post", case.price)]
    with Month(cases).books() as books:
        result = audit(books)
    assert result.outcome == "pass"
    assert result.models[0]["priced"] == sum(case.price for case in cases) > 2**63
    assert not result.unexplained
    assert all(case.price % CREDIT == 0 for case in cases)


@pytest.mark.parametrize(
    ("prices", "digits"), [(["3.15"], 10), (["0.00015"], 11), (["0.0000125", "3"], 13), (["1e-8"], 14)]
)
def test_the_unit_is_fine_enough_for_every_price(prices: list[object], digits: int) -> None:
    unit = unit_for(prices)
    assert unit.digits == digits
    assert all(Fraction(unit.per_token(one), unit.per_dollar) * 10**6 == Fraction(str(one)) for one in prices)


@pytest.mark.parametrize("price", ["1e-9", "nan", "inf", "3,15", ""])
def test_what_is_no_price_is_refused(price: str) -> None:
    with pytest.raises(PriceError):
        unit_for([price])
