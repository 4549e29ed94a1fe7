"""Money as integers: every price and amount of an audit is a whole number of one unit, so that nothing is ever lost.

The unit is a power of ten of a dollar, fine enough for a price per single token: with prices of four decimals per
million tokens it is 1e-10 dollars. Amounts of a call fit 64 bits up to nine hundred million dollars at that scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

MILLION = 6
"""Decimal places between a price per million tokens and a price per token."""
DEFAULT_DIGITS = 10
MOST_DIGITS = 14
"""Finer than this no published price is; a call of more than 92,000 dollars would not fit any more."""


class PriceError(ValueError):
    """A price or an amount that is no decimal number, is negative, or is finer than any unit."""


def decimal(text: object) -> Decimal:
    """Return an amount given as text or number, exactly. Raises PriceError."""
    try:
        value = Decimal(str(text).strip())
    except InvalidOperation:
        raise PriceError(f"{text!r} is no decimal number") from None
    if not value.is_finite():
        raise PriceError(f"{text!r} is no amount")
    return value


@dataclass(frozen=True, slots=True)
class Unit:
    """One dollar is ten to the power of ``digits`` units."""

    digits: int = DEFAULT_DIGITS

    @property
    def per_dollar(self) -> int:
        return int(10**self.digits)

    def per_token(self, per_million: object) -> int:
        """Return a price in dollars per million tokens as units per token. Raises PriceError."""
        return self._whole(decimal(per_million).scaleb(-MILLION), per_million)

    def amount(self, dollars: object) -> int:
        """Return dollars as units. Raises PriceError."""
        return self._whole(decimal(dollars), dollars)

    def credit(self, credits_per_dollar: int) -> int:
        """Return what one credit is in units. Raises PriceError if it is not a whole number of them."""
        if credits_per_dollar <= 0 or self.per_dollar % credits_per_dollar:
            raise PriceError(
                f"a credit of 1/{credits_per_dollar} dollar is no whole number of 1e-{self.digits} dollars"
            )
        return self.per_dollar // credits_per_dollar

    def dollars(self, units: int) -> Decimal:
        """Return units as dollars, exactly."""
        return Decimal(units).scaleb(-self.digits)

    def _whole(self, dollars: Decimal, given: object) -> int:
        units = Fraction(dollars) * self.per_dollar
        if units.denominator != 1:
            raise PriceError(f"{given} dollars is finer than this audit's unit of 1e-{self.digits} dollars")
        return int(units)


def unit_for(per_million: list[object], amounts: list[object] | None = None) -> Unit:
    """Return the coarsest unit, 1e-10 dollars or finer, in which all of them are whole. Raises PriceError."""
    places = DEFAULT_DIGITS
    for given, shift in [*((price, MILLION) for price in per_million), *((amount, 0) for amount in amounts or [])]:
        exponent = decimal(given).normalize().as_tuple().exponent
        assert isinstance(exponent, int)
        places = max(places, shift - exponent)
    if places > MOST_DIGITS:
        raise PriceError(f"a price is finer than 1e-{MOST_DIGITS} dollars a token; is it per million tokens?")
    return Unit(places)
