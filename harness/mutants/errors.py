"""Mutants that refuse in another shape or with another status, or serve what they should refuse (ERR-01 to 04)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from harness.contract import Model
from harness.gateway.asgi import Client
from harness.gateway.call import Call, Endpoint
from harness.gateway.components import Components
from harness.gateway.error_writer import ErrorWriter
from harness.gateway.errors import Refusal
from harness.gateway.models import Catalogue
from harness.gateway.pipeline import Pipeline
from harness.gateway.reader import RequestReader
from harness.gateway.surfaces.base import StreamState
from harness.gateway.surfaces.messages import Messages
from harness.mutants.registry import mutant
from harness.mutants.swaps import with_surface

# ERR-01: the shape.


@mutant(breaks="ERR-01")
def tells_errors_as_detail(parts: Components) -> Components:
    """Writes errors as {detail: message}, as some web frameworks do by themselves."""

    class Detail(ErrorWriter):
        def body(self, refusal: Refusal, request_id: str) -> dict[str, Any]:
            return {"detail": super().body(refusal, request_id)["error"]["message"]}

    class Apart(ErrorWriter):
        async def answer(
            self, client: Client, refusal: Refusal, request_id: str, headers: Sequence[tuple[bytes, bytes]] = ()
        ) -> None:
            await detail.answer(client, refusal, request_id, headers)  # and events in the surface's own form

    detail = Detail(parts.contract, parts.redactor)
    return _with_errors(parts, Apart)


@mutant(breaks="ERR-01")
def leaves_out_the_type_of_the_envelope(parts: Components) -> Components:
    """Writes no top-level type, on no path."""

    class Bare(ErrorWriter):
        def body(self, refusal: Refusal, request_id: str) -> dict[str, Any]:
            return {name: value for name, value in super().body(refusal, request_id).items() if name != "type"}

    return _with_errors(parts, Bare)


@mutant(breaks="ERR-01")
def answers_wrong_methods_in_plain_text(parts: Components) -> Components:
    """Leaves a method that a path does not take to the web framework, which answers in plain text."""
    return _in_plain_text(parts, "method_not_allowed")


@mutant(breaks="ERR-01")
def answers_unknown_paths_in_plain_text(parts: Components) -> Components:
    """Leaves a path that it does not know to the web framework, which answers in plain text."""
    return _in_plain_text(parts, "not_found")


def _in_plain_text(parts: Components, name: str) -> Components:
    class Plain(ErrorWriter):
        async def answer(
            self, client: Client, refusal: Refusal, request_id: str, headers: Sequence[tuple[bytes, bytes]] = ()
        ) -> None:
            if refusal.name != name:
                await super().answer(client, refusal, request_id, headers)
                return
            text = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
            await client.respond(self.status(refusal), text, b"Not Found")

    return _with_errors(parts, Plain)


@mutant(breaks="ERR-01")
def ends_message_streams_with_an_error_without_words(parts: Components) -> Components:
    """Tells the type of what broke a messages stream, and no message."""

    class Silent(Messages):
        def error_event(self, error: Mapping[str, Any], state: StreamState | None) -> bytes:
            return super().error_event({"type": "error", "error": {"type": error["error"]["type"]}}, state)

    return with_surface(parts, Silent())


# ERR-02: no model.


@mutant(breaks="ERR-02")
def picks_a_model_for_who_names_none(parts: Components) -> Components:
    """Serves a body without model with a model of its own choice."""

    class Default(RequestReader):
        def model_id(self, body: Mapping[str, Any]) -> str:
            return super().model_id({"model": "gpt-5-5", **body})

    return replace(parts, reader=Default(parts.contract, parts.redactor))


@mutant(breaks="ERR-02")
def counts_tokens_for_no_model(parts: Components) -> Components:
    """Counts the tokens of a body without model, by whatever model comes first."""

    class Lax(Pipeline):
        def understand(self, parts: Components, call: Call) -> None:
            if call.surface.name == "count_tokens":
                body = parts.reader.parse(call.raw)
                tiers = parts.catalogue.tiers(call.endpoint)
                first = parts.catalogue.available(tiers, "messages")[0]
                call.raw = orjson.dumps({"model": first, **body})
            super().understand(parts, call)

    return replace(parts, pipeline=Lax())


@mutant(breaks="ERR-02")
def answers_422_to_a_body_without_model(parts: Components) -> Components:
    """Answers a missing field with the status that a validation library has for it."""
    return _with_status(parts, "missing_model", 422)


# ERR-03: an unknown model.


@mutant(breaks="ERR-03")
def answers_404_to_unknown_models(parts: Components) -> Components:
    """Answers an unknown model as the upstream's provider would."""
    return _with_status(parts, "unknown_model", 404)


@mutant(breaks="ERR-03")
def tells_no_available_models(parts: Components) -> Components:
    """Says that a model is unknown, and not which ones there are."""

    class Terse(Catalogue):
        def find(self, endpoint: Endpoint, model_id: str) -> Model:
            try:
                return super().find(endpoint, model_id)
            except Refusal as refusal:
                raise Refusal(refusal.name, refusal.message) from None

    return replace(parts, catalogue=Terse(parts.contract))


@mutant(breaks="ERR-03")
def lists_the_ids_of_every_surface(parts: Components) -> Components:
    """Tells as available what another surface serves."""

    class Broad(Catalogue):
        def available(self, tiers: Sequence[str], surface: str) -> list[str]:
            every = ("chat", "messages", "responses")
            return list(dict.fromkeys(id_ for name in every for id_ in super(Broad, self).available(tiers, name)))

    return replace(parts, catalogue=Broad(parts.contract))


@mutant(breaks="ERR-03")
def offers_cli_only_models_on_chat(parts: Components) -> Components:
    """Tells as available on every surface what is served on messages alone, to the official client."""

    class Tempting(Catalogue):
        def available(self, tiers: Sequence[str], surface: str) -> list[str]:
            closed = [model.id for model in self._models.values() if model.cli_only and surface in model.surfaces]
            made = super().available(tiers, surface)
            return made if "enterprise" not in tiers else list(dict.fromkeys((*made, *closed)))

    return replace(parts, catalogue=Tempting(parts.contract))


@mutant(breaks="ERR-03")
def reads_model_ids_in_any_case(parts: Components) -> Components:
    """Serves an id that differs from a known one in its letters' case."""
    return _guessing(parts, str.lower)


@mutant(breaks="ERR-03")
def takes_a_longer_id_for_its_beginning(parts: Components) -> Components:
    """Serves an unknown id as the known one that it begins with."""
    known = sorted((model.id for model in parts.contract.models), key=len, reverse=True)
    return _guessing(parts, lambda id_: next((other for other in known if id_.startswith(f"{other}-")), id_))


def _guessing(parts: Components, guess: Any) -> Components:
    class Guessing(Catalogue):
        def find(self, endpoint: Endpoint, model_id: str) -> Model:
            try:
                return super().find(endpoint, model_id)
            except Refusal as refusal:
                if refusal.name != "unknown_model" or guess(model_id) == model_id:
                    raise
                return super().find(endpoint, guess(model_id))

    return replace(parts, catalogue=Guessing(parts.contract))


# ERR-04: a model on the wrong endpoint.


@mutant(breaks="ERR-04")
def serves_every_model_in_every_format(parts: Components) -> Components:
    """Serves a known model wherever it is asked for."""

    class Open(Catalogue):
        def find(self, endpoint: Endpoint, model_id: str) -> Model:
            known = (self._models.get((tier, model_id)) for tier in self.tiers(endpoint))
            return next((model for model in known if model is not None), None) or super().find(endpoint, model_id)

    return replace(parts, catalogue=Open(parts.contract))


@mutant(breaks="ERR-04")
def counts_tokens_of_every_model(parts: Components) -> Components:
    """Refuses a model of another format on messages, but counts its tokens."""

    class Half(Catalogue):
        def find(self, endpoint: Endpoint, model_id: str) -> Model:
            if endpoint.surface == "count_tokens":
                for tier in self.tiers(endpoint):
                    if (tier, model_id) in self._models:
                        return self._models[tier, model_id]
            return super().find(endpoint, model_id)

    return replace(parts, catalogue=Half(parts.contract))


@mutant(breaks="ERR-04")
def names_no_right_path(parts: Components) -> Components:
    """Says that a model is not served here, and not where it is."""

    class Terse(Catalogue):
        def _right_paths(self, models: Sequence[Model]) -> str:
            return "another endpoint"

    return replace(parts, catalogue=Terse(parts.contract))


@mutant(breaks="ERR-04")
def names_the_other_tiers_path(parts: Components) -> Components:
    """Sends whoever asks a general path to the Enterprise one."""

    class Astray(Catalogue):
        def _right_paths(self, models: Sequence[Model]) -> str:
            return super()._right_paths(models).replace("/api/v1/", "/v1/managed/")

    return replace(parts, catalogue=Astray(parts.contract))


@mutant(breaks="ERR-04")
def serves_no_claude_on_managed_responses(parts: Components) -> Components:
    """Holds Claude to its own format on managed responses, as on the general ones."""

    class Strict(Catalogue):
        def find(self, endpoint: Endpoint, model_id: str) -> Model:
            model = super().find(endpoint, model_id)
            if model.family == "claude" and endpoint.path == "/v1/managed/responses":
                raise Refusal("wrong_endpoint", f"{model_id} is not served here; use /v1/managed/messages")
            return model

    return replace(parts, catalogue=Strict(parts.contract))


def _with_errors(parts: Components, writer: type[ErrorWriter]) -> Components:
    return replace(parts, errors=writer(parts.contract, parts.redactor))


def _with_status(parts: Components, name: str, status: int) -> Components:
    class Other(ErrorWriter):
        def status(self, refusal: Refusal) -> int:
            return status if refusal.name == name else super().status(refusal)

    return _with_errors(parts, Other)
