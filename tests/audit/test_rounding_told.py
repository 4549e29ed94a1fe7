"""How a foreign gateway rounds is told from its charges, with the share of them that agree."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from tests.audit.foreign import MAP, Desk, served

PRICES = {"input": Decimal("1.23"), "cache_read": Decimal("0.123"), "output": Decimal("4.57")}
MODES = {"up": ROUND_CEILING, "down": ROUND_FLOOR, "half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN}


def _rows(round_: Callable[[list[Decimal]], Decimal], count: int = 300) -> tuple[list[Any], list[Any]]:
    """Return an upstream's and a ledger's rows, the charges rounded by ``round_`` from each class's exact dollars."""
    draw = random.Random("rounding")
    upstream, ledger = [], []
    for n in range(count):
        # Multiples of 50 tokens hit halves, where the modes part.
        tokens = [draw.randrange(0, 400) * 50 for _ in range(3)]
        costs = [price * count / 10**6 for price, count in zip(PRICES.values(), tokens, strict=True)]
        upstream += served(f"c{n}", input=tokens[0], cached=tokens[1], output=tokens[2])
        ledger.append({"id": f"c{n}", "credits": f"{round_(costs):f}"})
    return upstream, ledger


def _listed(desk: Desk, rounding: str = "") -> None:
    prices = "\n".join(f'{name} = "{price}"' for name, price in PRICES.items())
    desk.prices = f"{rounding}\n[models.big]\n{prices}\n"
    desk.maps = [MAP.replace('money = "credits"', 'money = "dollars"')]


@pytest.mark.parametrize("quantum", ["0.01", "0.000001"])
@pytest.mark.parametrize("scope", ["request", "class"])
@pytest.mark.parametrize("mode", list(MODES))
def test_each_way_of_rounding_is_told_from_the_data(desk: Desk, mode: str, scope: str, quantum: str) -> None:
    step = Decimal(quantum)

    def round_(costs: list[Decimal]) -> Decimal:
        parts = costs if scope == "class" else [sum(costs, Decimal(0))]
        return sum((part.quantize(step, MODES[mode]) for part in parts), Decimal(0))

    _listed(desk)
    upstream, ledger = _rows(round_)
    found = desk.audit(upstream=upstream, ledger=ledger)
    told = found.record.rounding
    same = f"{mode} to {quantum} per {scope}"
    assert f"{told['mode']} to {Decimal(told['quantum'].split()[0])} per {told['scope']}" == same or same in told.get(
        "as good", ""
    )
    assert told["share"] == "100.00 %"
    assert (found.found, found.record.exit_code) == ([], 0)


def test_unrounded_charges_are_told_as_such(desk: Desk) -> None:
    _listed(desk)
    upstream, ledger = _rows(lambda costs: sum(costs, Decimal(0)))
    found = desk.audit(upstream=upstream, ledger=ledger)
    assert (found.record.rounding["mode"], found.record.exit_code) == ("none", 0)


def test_the_share_counts_who_does_not_agree(desk: Desk) -> None:
    _listed(desk)
    upstream, ledger = _rows(lambda costs: sum(costs, Decimal(0)).quantize(Decimal("0.01"), ROUND_CEILING))
    for row in ledger[:30]:
        row["credits"] = str(Decimal(row["credits"]) + Decimal("0.01"))
    found = desk.audit(upstream=upstream, ledger=ledger)
    assert (found.record.rounding["mode"], found.record.rounding["share"]) == ("up", "90.00 %")
    assert len(found.found) == 30


def test_a_promised_rounding_is_not_told_from_the_data(desk: Desk) -> None:
    _listed(desk, '[rounding]\nmode = "up"\nquantum = "0.01"')
    upstream, ledger = _rows(lambda costs: sum(costs, Decimal(0)).quantize(Decimal("0.01"), ROUND_FLOOR))
    found = desk.audit(upstream=upstream, ledger=ledger)
    assert (found.record.rounding["mode"], found.record.rounding["source"]) == ("up", "the price list")
    # To round down a call worth less than a cent is not to charge it.
    assert {name for name, _ in found.classes} <= {"ROUNDING", "UNBILLED"}
    assert len(found.found) > 250


def test_charges_that_follow_no_rule_are_held_against_exact_prices(desk: Desk) -> None:
    _listed(desk)
    draw = random.Random("noise")
    upstream, ledger = _rows(lambda costs: sum(costs, Decimal(0)) * draw.randrange(150, 190) / 100)
    found = desk.audit(upstream=upstream, ledger=ledger)
    assert found.record.rounding["source"].startswith("not told from the data")
    assert found.record.exit_code == 1
