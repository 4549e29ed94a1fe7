"""Mutants whose model lists are not the contract's: other ids, other shapes, other figures (MOD-01, MOD-02)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.gateway.components import Components
from harness.gateway.models import Catalogue
from harness.mutants.registry import mutant

Json = dict[str, Any]
_PAGE = 20


@mutant(breaks="MOD-01")
def lists_general_models_as_enterprise(parts: Components) -> Components:
    """Lists the models of both tiers where the Enterprise ones alone belong."""

    class Both(Catalogue):
        def listing(self, tier: str) -> Json:
            made = super().listing(tier)
            return {**made, "data": [*made["data"], *super().listing("general")["data"]]} if _first(tier) else made

    return replace(parts, catalogue=Both(parts.contract))


@mutant(breaks="MOD-01")
def hides_cli_only_models(parts: Components) -> Components:
    """Leaves the models out that the official client alone may use."""
    closed = {model.id for model in parts.contract.models if model.cli_only}
    return _listing(parts, lambda data: [entry for entry in data if entry["id"] not in closed])


@mutant(breaks="MOD-01")
def rounds_prices_to_the_cent(parts: Components) -> Components:
    """Tells prices with two decimals."""
    return _repricing(parts, lambda price: None if price is None else f"{float(price):.2f}")


@mutant(breaks="MOD-01")
def tells_prices_as_numbers(parts: Components) -> Components:
    """Tells prices as floating-point numbers, which forget the zeros at their end."""
    return _repricing(parts, lambda price: None if price is None else float(price))


@mutant(breaks="MOD-01")
def tells_a_price_where_there_is_none(parts: Components) -> Components:
    """Tells a price of zero for what has no price of its own."""
    return _repricing(parts, lambda price: price or "0")


@mutant(breaks="MOD-01")
def tells_binary_context_windows(parts: Components) -> Components:
    """Tells a context of a million tokens as 2 ** 20."""

    def binary(data: list[Json]) -> list[Json]:
        for entry in data:
            if entry["context_window"] == 1_000_000:
                entry["context_window"] = 1 << 20
        return data

    return _listing(parts, binary)


@mutant(breaks="MOD-01")
def lists_enterprise_models_bare(parts: Components) -> Components:
    """Leaves out that the list is a list."""

    class Bare(Catalogue):
        def listing(self, tier: str) -> Json:
            made = super().listing(tier)
            return {"data": made["data"]} if _first(tier) else made

    return replace(parts, catalogue=Bare(parts.contract))


@mutant(breaks="MOD-02")
def lists_enterprise_models_as_general(parts: Components) -> Components:
    """Lists the models of both tiers where the general ones alone belong."""

    class Both(Catalogue):
        def listing(self, tier: str) -> Json:
            made = super().listing(tier)
            return made if _first(tier) else {**made, "data": [*made["data"], *super().listing("enterprise")["data"]]}

    return replace(parts, catalogue=Both(parts.contract))


@mutant(breaks="MOD-02")
def lists_no_model_that_both_tiers_have(parts: Components) -> Components:
    """Leaves a general model out whose id is an Enterprise one as well."""
    both = {model.id for model in parts.contract.models if model.tier == "enterprise"}

    class Distinct(Catalogue):
        def listing(self, tier: str) -> Json:
            made = super().listing(tier)
            return made if _first(tier) else {**made, "data": [e for e in made["data"] if e["id"] not in both]}

    return replace(parts, catalogue=Distinct(parts.contract))


@mutant(breaks="MOD-02")
def lists_in_openais_shape_alone(parts: Components) -> Components:
    """Gives Anthropic's clients the list in OpenAI's shape."""

    class Alone(Catalogue):
        def anthropic_listing(self, tier: str) -> Json:
            return self.listing(tier)

    return replace(parts, catalogue=Alone(parts.contract))


@mutant(breaks="MOD-02")
def lists_one_page_for_anthropics_clients(parts: Components) -> Components:
    """Gives Anthropic's clients the first models of the list, and takes no question for more."""

    class Paged(Catalogue):
        def anthropic_listing(self, tier: str) -> Json:
            made = super().anthropic_listing(tier)
            return {**made, "data": made["data"][:_PAGE], "last_id": made["data"][_PAGE - 1]["id"]}

    return replace(parts, catalogue=Paged(parts.contract))


@mutant(breaks="MOD-02")
def says_that_there_are_more_models(parts: Components) -> Components:
    """Tells Anthropic's clients, on the last page, that there is another."""

    class Endless(Catalogue):
        def anthropic_listing(self, tier: str) -> Json:
            return {**super().anthropic_listing(tier), "has_more": True}

    return replace(parts, catalogue=Endless(parts.contract))


@mutant(breaks="MOD-02")
def tells_anthropics_clients_no_last_id(parts: Components) -> Components:
    """Leaves out where a page begins and ends."""

    class Open(Catalogue):
        def anthropic_listing(self, tier: str) -> Json:
            return {**super().anthropic_listing(tier), "first_id": None, "last_id": None}

    return replace(parts, catalogue=Open(parts.contract))


def _first(tier: str) -> bool:
    return tier == "enterprise"


def _listing(parts: Components, change: Callable[[list[Json]], list[Json]]) -> Components:
    """Return ``parts`` that list ``change(entries)`` as the Enterprise models."""

    class Changing(Catalogue):
        def listing(self, tier: str) -> Json:
            made = super().listing(tier)
            return {**made, "data": change(made["data"])} if _first(tier) else made

    return replace(parts, catalogue=Changing(parts.contract))


def _repricing(parts: Components, change: Callable[[str | None], Any]) -> Components:
    """Return ``parts`` that tell ``change(price)`` of every Enterprise model."""

    def repriced(data: list[Json]) -> list[Json]:
        for entry in data:
            prices = entry["pricing"]
            entry["pricing"] = {name: p if name == "unit" else change(p) for name, p in prices.items()}
        return data

    return _listing(parts, repriced)
