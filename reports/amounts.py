"""Amounts of money as text and as numbers for axes: whole units in, credits and dollars out, exact in text."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

NONE = "–"


@dataclass(frozen=True, slots=True)
class Amounts:
    """How one audit's units are told: ``digits`` decimals of a dollar, ``credit`` units a credit."""

    digits: int
    credit: int

    def credits(self, units: int | None, *, signed: bool = False) -> str:
        """Return units in credits, exactly; a dash for none."""
        if units is None:
            return NONE
        whole, rest = divmod(abs(units), self.credit)
        decimals = f"{Decimal(rest) / self.credit:f}"[1:].rstrip("0").rstrip(".") if rest else ""
        return f"{_sign(units, signed)}{whole:,}{decimals}"

    def dollars(self, units: int | None, *, signed: bool = False) -> str:
        """Return units in dollars, exactly, to the cent at least; a dash for none."""
        if units is None:
            return NONE
        whole, rest = divmod(abs(units), 10**self.digits)
        decimals = f"{rest:0{self.digits}d}".rstrip("0").ljust(2, "0")
        return f"{_sign(units, signed)}${whole:,}.{decimals}"

    def both(self, units: int | None, *, signed: bool = False) -> str:
        """Return units in credits, and in dollars behind them; nothing is just 0."""
        if not units:
            return NONE if units is None else "0"
        return f"{self.credits(units, signed=signed)} ({self.dollars(units, signed=signed)})"

    def number(self, units: int) -> float:
        """Return units in credits, as near as a point on an axis needs."""
        return units / self.credit


def _sign(units: int, signed: bool) -> str:
    return "−" if units < 0 else "+" if signed and units > 0 else ""
