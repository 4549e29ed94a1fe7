"""What a call should have cost, in SQL over whole numbers: tokens times prices, rounded once a call or once a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
EACH = "_each"
"""Ends the name of a rounding that is done for each token class of a call, before they are added."""


def terms(prices: str = "p", tokens: str = "") -> tuple[str, ...]:
    """Return the SQL of what each token class costs in units, before rounding; a class without a price is input."""
    prefix = f"{tokens}." if tokens else ""
    return tuple(f"coalesce({prefix}{name}, 0)::BIGINT * coalesce({prices}.{name}, {prices}.input)" for name in CLASSES)


def exact(prices: str = "p", tokens: str = "") -> str:
    """Return the SQL of what four token classes cost in units, before rounding."""
    return f"({' + '.join(terms(prices, tokens))})"


def due(costs: Sequence[str], policy: str = "y", used: Sequence[str] = ()) -> str:
    """Return the SQL of the charge for classes that cost ``costs``: rounded together, or each where so agreed.

    ``used`` names the roundings of the policies; all there are if it is empty.
    """
    names = used or (*ROUNDINGS, *(f"{name}{EACH}" for name in ROUNDINGS))
    ways = {name: _due(costs, f"{policy}.quantum", name) for name in names}
    if len(ways) == 1:
        return ways[names[0]]
    return f"(CASE {policy}.rounding {' '.join(f'WHEN {name!r} THEN {way}' for name, way in ways.items())} END)"


def _due(costs: Sequence[str], quantum: str, name: str) -> str:
    rounding = ROUNDINGS[name.removesuffix(EACH)]
    if name.endswith(EACH):
        return f"({' + '.join(rounding.of(one, quantum) for one in costs)})"
    return rounding.of(f"({' + '.join(costs)})", quantum)


def rounded(amount: str, policy: str = "y") -> str:
    """Return the SQL of ``amount`` rounded as the policy in ``policy`` says of a whole call."""
    cases = " ".join(
        f"WHEN '{rounding.name}' THEN {rounding.of(amount, f'{policy}.quantum')}" for rounding in ROUNDINGS.values()
    )
    return f"(CASE {policy}.rounding {cases} END)"
