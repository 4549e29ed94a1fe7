"""Price lists for foreign books: a TOML file, or a contract that comes with the harness; it prices nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from harness.audit.books import AuditError
from harness.audit.foreign.given import check_keys, read_toml
from harness.audit.prices import CLASSES, ROUNDINGS
from harness.audit.units import PriceError, Unit, decimal, unit_for
from harness.contract import ContractError, load_contract

MODES = (*ROUNDINGS, "none")
SCOPES = ("request", "class")


@dataclass(frozen=True, slots=True)
class Insurance:
    """Slower than ``threshold_ms``, and ``ratio`` of the charge is paid back."""

    threshold_ms: int
    ratio: Fraction


@dataclass(frozen=True, slots=True)
class PriceList:
    """What was promised: dollars per million tokens as decimal text, and how charges are rounded, if that is known."""

    origin: str
    models: Mapping[str, Mapping[str, str | None]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of a model, as they stand in the books."""
    credits_per_usd: int | None = None
    mode: str = ""
    quantum: str = ""
    """In dollars."""
    scope: str = ""
    insurance: Insurance | None = None

    def unit(self) -> Unit:
        """Return the unit in which every price of the list is whole. Raises AuditError."""
        prices: list[object] = [one for model in self.models.values() for one in model.values() if one is not None]
        credit = [] if self.credits_per_usd is None else [_credit(self.credits_per_usd)]
        try:
            return unit_for(prices, [self.quantum, *credit] if self.quantum else [*credit])
        except PriceError as error:
            raise AuditError(f"{self.origin}: {error}") from error

    def known(self, name: str) -> str | None:
        """Return the model that ``name`` stands for, None if it has no price."""
        return name if name in self.models else self.aliases.get(name)


def read_prices(given: str) -> PriceList:
    """Return the price list in a TOML file, or of a contract by its name. Raises AuditError."""
    path = Path(given)
    if path.is_file() and path.suffix == ".toml":
        return _from_file(given, read_toml(path))
    try:
        return _from_contract(given)
    except ContractError as error:
        raise AuditError(
            f"{given}: no price file and no contract of that name",
            cause=str(error),
            help="a TOML file with a table [models.NAME] for each model, see docs/audit.md",
        ) from error


def _from_contract(name: str) -> PriceList:
    """A model's id stands for it alone where one tier has a price for it; ``tier/id`` always does."""
    contract = load_contract(name)
    models: dict[str, dict[str, str | None]] = {}
    names: dict[str, set[str]] = {}
    for model in contract.models:
        if model.price is not None:
            full = f"{model.tier}/{model.id}"
            price = model.price
            models[full] = dict(
                zip(CLASSES, (price.input, price.cache_read, price.cache_write, price.output), strict=True)
            )
            for alias in (model.id, *(target.upstream_model for target in model.chain)):
                names.setdefault(alias, set()).add(full)
    return PriceList(
        origin=f"contract {contract.name}",
        models=models,
        aliases={alias: full.pop() for alias, full in names.items() if len(full) == 1 and alias not in models},
        credits_per_usd=contract.money.credits_per_usd,
        mode="up",
        quantum=_credit(contract.money.credits_per_usd),
        scope="request",
        insurance=Insurance(contract.insurance.threshold_ms, Fraction(contract.insurance.payout_ratio)),
    )


def _from_file(name: str, data: Mapping[str, Any]) -> PriceList:
    check_keys(name, "the price list", data, ("models", "rounding", "credits_per_usd", "insurance", "about"))
    given = data.get("models")
    if not isinstance(given, dict) or not given:
        raise AuditError(f"{name}: there is no table [models.NAME]", help="docs/audit.md has an example")
    models: dict[str, dict[str, str | None]] = {}
    aliases: dict[str, str] = {}
    for model, entry in given.items():
        where = f"[models.{model}]"
        check_keys(name, where, entry, (*CLASSES, "aliases"))
        models[model] = {key: _dollars(name, f"{where} {key}", entry.get(key)) for key in CLASSES}
        if models[model]["input"] is None or models[model]["output"] is None:
            raise AuditError(f"{name}: {where} needs input and output")
        for alias in entry.get("aliases", []):
            if not isinstance(alias, str) or alias in given or aliases.get(alias, model) != model:
                raise AuditError(f"{name}: {where}: the alias {alias!r} stands for another model too")
            aliases[alias] = model
    credits_per_usd = data.get("credits_per_usd")
    if credits_per_usd is not None and (not isinstance(credits_per_usd, int) or credits_per_usd < 1):
        raise AuditError(f"{name}: credits_per_usd must be a whole number")
    mode, quantum, scope = _rounding(name, data.get("rounding", {}), credits_per_usd)
    return PriceList(
        name, models, aliases, credits_per_usd, mode, quantum, scope, _insurance(name, data.get("insurance"))
    )


def _rounding(name: str, given: Any, credits_per_usd: int | None) -> tuple[str, str, str]:
    """Return mode, quantum and scope, each empty if it is to be told from the data."""
    check_keys(name, "[rounding]", given, ("mode", "quantum", "scope"))
    mode, scope = given.get("mode", ""), given.get("scope", "")
    if mode and mode not in MODES:
        raise AuditError(f"{name}: rounding mode {mode!r}; it is one of {', '.join(MODES)}")
    if scope and scope not in SCOPES:
        raise AuditError(f"{name}: rounding scope {scope!r}; it is one of {', '.join(SCOPES)}")
    quantum = given.get("quantum", "")
    if quantum == "credit":
        if credits_per_usd is None:
            raise AuditError(f"{name}: a quantum of one credit needs credits_per_usd")
        quantum = _credit(credits_per_usd)
    elif quantum and decimal(_dollars(name, "[rounding] quantum", quantum)) <= 0:
        raise AuditError(f"{name}: [rounding] quantum must be more than nothing")
    if mode and mode != "none" and not quantum:
        raise AuditError(f"{name}: rounding {mode} needs a quantum, in dollars or 'credit'")
    return mode, quantum, scope or ("request" if mode else "")


def _insurance(name: str, given: Any) -> Insurance | None:
    if given is None:
        return None
    check_keys(name, "[insurance]", given, ("threshold_ms", "payout_ratio"))
    threshold = given.get("threshold_ms")
    ratio = decimal(_dollars(name, "[insurance] payout_ratio", given.get("payout_ratio")) or "0")
    if not isinstance(threshold, int) or threshold < 0 or not 0 < ratio <= 1:
        raise AuditError(f"{name}: [insurance] needs threshold_ms and a payout_ratio between 0 and 1, as text")
    return Insurance(threshold, Fraction(ratio))


def _dollars(name: str, where: str, given: Any) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str):
        raise AuditError(f"{name}: {where} must be a text such as '3.15': a TOML number would not be exact")
    try:
        if decimal(given) < 0:
            raise AuditError(f"{name}: {where} is negative")
    except PriceError as error:
        raise AuditError(f"{name}: {where}: {error}") from error
    return given


def _credit(credits_per_usd: int) -> str:
    credit = Fraction(1, credits_per_usd)
    scaled = credit * 10**12
    if scaled.denominator != 1:
        raise AuditError(f"a credit of 1/{credits_per_usd} dollar is no decimal number of dollars")
    return f"{decimal(scaled.numerator).scaleb(-12).normalize():f}"
