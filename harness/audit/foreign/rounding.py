"""How a foreign gateway rounds: as its price list says, or told from charges whose exact price is known."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from harness.audit.books import Books
from harness.audit.foreign.price_list import SCOPES, PriceList
from harness.audit.prices import CLASSES, EACH, ROUNDINGS, exact, terms

POLICY = 0
SAMPLE = 20_000
LEAST_SHARE = 0.5
"""A way of rounding that fewer of the charges agree with was not identified."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to round: ``quantum`` in units; ``mode`` none is to no more than the unit."""

    mode: str
    quantum: int
    scope: str

    @property
    def rounding(self) -> str:
        """The name that the policies have for it."""
        mode = "down" if self.mode == "none" else self.mode
        return mode + (EACH if self.scope == "class" else "")

    def sql(self) -> str:
        """Return the SQL of the charge for a row of ``pairs``."""
        rounding = ROUNDINGS["down" if self.mode == "none" else self.mode]
        if self.scope == "class":
            return " + ".join(rounding.of(f"cost_{name}", str(self.quantum)) for name in CLASSES)
        return rounding.of("exact", str(self.quantum))


def settle(books: Books, prices: PriceList, tolerance: int) -> None:
    """Write the audit's policy, and note in ``books.rounding`` how charges are rounded and how that is known."""
    ways = _candidates(books, prices)
    rows = 0 if prices.mode else _pairs(books)
    agreeing = _agreeing(books, ways) if rows else [0] * len(ways)
    # The first of equals: the list goes from the simplest to the oddest.
    best = max(range(len(ways)), key=lambda n: agreeing[n])
    way, agree = ways[best], agreeing[best]
    source = "the price list" if prices.mode else "told from the data"
    if not prices.mode and agree < max(1, LEAST_SHARE * rows):
        way, source = ways[0], "not told from the data: fewer than half of the charges agree with any way"
        books.notes.append("how charges are rounded was not told from the data; they are held against exact prices")
        agree = agreeing[0]
    books.rounding = {
        "mode": way.mode,
        "quantum": f"{books.unit.dollars(way.quantum).normalize():f} dollars",
        "scope": way.scope,
        "source": source,
    }
    if rows:
        share = f"{Decimal(100 * agree) / rows:.2f} %"
        books.rounding.update(agree=str(agree), rows=str(rows), share=share)
    also = [
        f"{one.mode} to {books.unit.dollars(one.quantum).normalize():f} per {one.scope}"
        for one, count in zip(ways, agreeing, strict=True)
        if one != way and count == agree
    ]
    if also and agree:
        books.rounding["as good"] = "; ".join(also[:3])
    insurance = prices.insurance
    threshold = None if insurance is None else insurance.threshold_ms * 1000
    over, under = (0, 1) if insurance is None else (insurance.ratio.numerator, insurance.ratio.denominator)
    row = (POLICY, way.quantum, way.rounding, threshold, over, under, 0, tolerance * way.quantum)
    books.insert("policies", [row])


def _candidates(books: Books, prices: PriceList) -> list[Way]:
    """Return the ways to round that are lawful or worth a try, the simplest first."""
    if prices.mode == "none":
        return [Way("none", 1, "request")]
    quanta = [10**n for n in range(books.unit.digits, 0, -1)]
    if books.credit not in quanta:
        quanta.insert(0, books.credit)
    if prices.quantum:
        quanta = [books.unit.amount(prices.quantum)]
    if prices.mode:
        return [Way(prices.mode, quanta[0], prices.scope)]
    scopes = [prices.scope] if prices.scope else list(SCOPES)
    return [
        Way("none", 1, "request"),
        *(Way(mode, quantum, scope) for scope in scopes for quantum in quanta for mode in ROUNDINGS),
    ]


def _pairs(books: Books) -> int:
    """Make table ``pairs``, a sample of charges, each with what its call's four token classes cost; return how many."""
    stride = max(1, int(books.value("SELECT count(*) FROM entries")) // SAMPLE)
    costs = ", ".join(f"{cost} AS cost_{name}" for name, cost in zip(CLASSES, terms("p", "s"), strict=True))
    books.db.execute(
        f"""CREATE OR REPLACE TEMP TABLE charged AS
        SELECT call, any_value(amount) AS charged FROM entries
        WHERE kind = 'post' AND amount > 0 AND hash(call) % {stride} = 0 GROUP BY call HAVING count(*) = 1"""
    )
    books.db.execute(
        f"""CREATE OR REPLACE TEMP TABLE pairs AS
        SELECT c.charged, s.* EXCLUDE (call) FROM charged c JOIN (
            SELECT s.call, {exact("p", "s")} AS exact, {costs} FROM served s
            JOIN prices p ON p.policy = s.policy AND p.model = s.model
            WHERE s.serves AND s.flaw = '' AND s.call IN (SELECT call FROM charged)
        ) s USING (call) WHERE s.exact > 0"""
    )
    return int(books.value("SELECT count(*) FROM pairs"))


def _agreeing(books: Books, ways: list[Way]) -> list[int]:
    """Return how many of the sample's charges each way gives to the unit."""
    counts = ", ".join(f"count_if(charged = {way.sql()})" for way in ways)
    return [int(count) for count in books.rows(f"SELECT {counts} FROM pairs")[0]]
