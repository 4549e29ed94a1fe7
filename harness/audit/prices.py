"""What a call should have cost, in SQL over whole numbers: tokens times printed prices, rounded once a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CLASSES = ("input", "cache_read", "cache_write", "output")


@dataclass(frozen=True, slots=True)
class Rounding:
    """A way to round an exact amount to whole quanta."""

    name: str
    sql: str
    """The whole quanta of ``{x}`` units at a quantum of ``{q}``, for amounts that are not negative."""

    def of(self, exact: str, quantum: str) -> str:
        """Return the SQL of ``exact`` rounded to a multiple of ``quantum``."""
        return f"(({self.sql.format(x=exact, q=quantum)}) * {quantum})"


# // is DuckDB's integer division.
ROUNDINGS: Mapping[str, Rounding] = {
    one.name: one
    for one in (
        Rounding("up", "({x} + {q} - 1) // {q}"),
        Rounding("down", "{x} // {q}"),
        Rounding("half_up", "(2 * {x} + {q}) // (2 * {q})"),
        Rounding("half_even", "{x} // {q} + CASE WHEN 2 * ({x} % {q}) + ({x} // {q}) % 2 > {q} THEN 1 ELSE 0 END"),
    )
}
"""``none`` is ``down`` with a quantum of one unit: nothing is finer than that."""


def exact(prices: str = "p", tokens: str = "") -> str:
    """Return the SQL of what four token classes cost in units, before rounding; a class without a price is input."""
    prefix = f"{tokens}." if tokens else ""
    terms = (f"coalesce({prefix}{name}, 0)::BIGINT * coalesce({prices}.{name}, {prices}.input)" for name in CLASSES)
    return f"({' + '.join(terms)})"


def rounded(amount: str, policy: str = "y") -> str:
    """Return the SQL of ``amount`` rounded as the policy in ``policy`` says."""
    cases = " ".join(
        f"WHEN '{rounding.name}' THEN {rounding.of(amount, f'{policy}.quantum')}" for rounding in ROUNDINGS.values()
    )
    return f"(CASE {policy}.rounding {cases} END)"
