"""Which model ids are served where: resolves an id on an endpoint, and lists the ids; it serves no model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.contract import Contract, Model
from harness.gateway.call import Endpoint
from harness.gateway.errors import Refusal

PATHS: Mapping[tuple[str, str], str] = {
    ("enterprise", "chat"): "/v1/managed/chat/completions",
    ("enterprise", "messages"): "/v1/managed/messages",
    ("enterprise", "responses"): "/v1/managed/responses",
    ("enterprise", "images"): "/v1/managed/images/generations",
    ("general", "chat"): "/api/v1/chat/completions",
    ("general", "messages"): "/api/v1/messages",
    ("general", "responses"): "/api/v1/responses",
    ("general", "images"): "/api/v1/images/generations",
    ("general", "video"): "/api/v1/videos/generate",
    ("general", "audio"): "/api/v1/audio/generations",
    ("general", "gemini"): "/api/v1/gemini",
    ("general", "gpu"): "/v1/gpu/{slug}",
}
"""The path that an error names as the right one, by tier and surface."""
_LISTED_AT = "1970-01-01T00:00:00Z"
"""When a model was made: the documents do not say, and the clients' types want a date."""


class Catalogue:
    """The contract's models, by tier and id."""

    def __init__(self, contract: Contract) -> None:
        self._models: dict[tuple[str, str], Model] = {(model.tier, model.id): model for model in contract.models}
        for alias in contract.aliases:
            model = contract.model("general", alias)
            if model is not None:
                self._models["general", alias] = model

    def find(self, endpoint: Endpoint, model_id: str) -> Model:
        """Return the model that ``model_id`` names on ``endpoint``. Raises Refusal unknown_model or wrong_endpoint."""
        surface = "messages" if endpoint.surface == "count_tokens" else endpoint.surface
        tiers = self.tiers(endpoint)
        found = [model for tier in tiers if (model := self._models.get((tier, model_id))) is not None]
        for model in found:
            if surface in model.surfaces:
                return model
        if found:
            raise Refusal("wrong_endpoint", f"{model_id} is not served here; use {self._right_paths(found)}")
        elsewhere = [model for tier in ("enterprise", "general") if (model := self._models.get((tier, model_id)))]
        hint = f"; it is served at {self._right_paths(elsewhere)}" if elsewhere else ""
        raise Refusal(
            "unknown_model",
            f"the model {model_id!r} is not known here{hint}",
            fields={"available_models": self.available(tiers, surface)},
        )

    def tiers(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Return the tiers whose ids ``endpoint`` serves; at the root an Enterprise id comes first."""
        return ("enterprise", "general") if endpoint.tier == "root" else (endpoint.tier,)

    def available(self, tiers: Sequence[str], surface: str) -> list[str]:
        """Return the ids that a key may use on a surface: the CLI-only ones on messages alone, aliases nowhere."""
        return [
            model.id
            for (tier, model_id), model in self._models.items()
            if tier in tiers
            and model.id == model_id
            and surface in model.surfaces
            and (surface == "messages" or not model.cli_only)
        ]

    def listing(self, tier: str) -> dict[str, Any]:
        """Return the models of ``tier`` in OpenAI's list shape, with the contract's context windows and prices."""
        return {"object": "list", "data": [_openai_entry(model) for model in self._of(tier)]}

    def anthropic_listing(self, tier: str) -> dict[str, Any]:
        """Return the models of ``tier`` in Anthropic's list shape, as one page."""
        entries = [
            {"type": "model", "id": model.id, "display_name": model.name, "created_at": _LISTED_AT}
            for model in self._of(tier)
        ]
        ends = (entries[0]["id"], entries[-1]["id"]) if entries else (None, None)
        return {"data": entries, "has_more": False, "first_id": ends[0], "last_id": ends[1]}

    def _of(self, tier: str) -> list[Model]:
        return [model for (owner, model_id), model in self._models.items() if owner == tier and model.id == model_id]

    def _right_paths(self, models: Sequence[Model]) -> str:
        return " or ".join(dict.fromkeys(PATHS[model.tier, surface] for model in models for surface in model.surfaces))


def _openai_entry(model: Model) -> dict[str, Any]:
    price = model.price
    return {
        "id": model.id,
        "object": "model",
        "created": 0,
        "owned_by": "hypereal",
        "name": model.name,
        "context_window": model.context_tokens,
        "pricing": None
        if price is None
        else {
            "unit": "USD per 1,000,000 tokens",
            "input": price.input,
            "cache_read": price.cache_read,
            "cache_write": price.cache_write,
            "output": price.output,
        },
    }
