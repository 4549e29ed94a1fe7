"""Mutants that look at the flaws of a request in another order, or make up types of errors (ERR-06)."""

from __future__ import annotations

from dataclasses import replace

from harness.gateway.admission import Admission
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.failures import Failure, FailureClassifier, UpstreamRefusal
from harness.gateway.pipeline import Pipeline
from harness.mutants.registry import mutant


@mutant(breaks="ERR-06")
def looks_at_the_body_before_the_key(parts: Components) -> Components:
    """Answers 400 for a bad body to somebody whose key it has not looked at."""
    return _reading_first(parts, "invalid_key")


@mutant(breaks="ERR-06")
def looks_at_the_body_before_the_suspension(parts: Components) -> Components:
    """Answers 400 for a bad body to somebody whose key is suspended."""
    return _reading_first(parts, "suspended_key")


def _reading_first(parts: Components, name: str) -> Components:
    class Nosy(Pipeline):
        async def serve(self, parts: Components, call: Call) -> None:
            try:
                await super().serve(parts, call)
            except Refusal as refusal:
                if refusal.name != name or not int(call.client.header("content-length") or 0):
                    raise
                parts.reader.parse(await parts.reader.receive(call.client))
                raise

    return replace(parts, pipeline=Nosy())


@mutant(breaks="ERR-06")
def asks_for_money_before_the_body(parts: Components) -> Components:
    """Answers 402 to somebody who cannot pay, whatever the body asks for."""

    class Greedy(Pipeline):
        def identify(self, parts: Components, call: Call) -> None:
            super().identify(parts, call)
            if parts.ledger.available(call.account) <= 0:
                raise Refusal("insufficient_balance", "the balance is too low for this call")

    return replace(parts, pipeline=Greedy())


@mutant(breaks="ERR-06")
def asks_for_money_before_the_client(parts: Components) -> Components:
    """Answers 402 to the wrong client of a CLI-only model if it cannot pay either."""

    class Greedy(type(parts.cli_gate)):  # type: ignore[misc] # the class of whatever gate there is
        def require(self, parts: Components, call: Call) -> None:
            if parts.ledger.available(call.account) <= 0:
                raise Refusal("insufficient_balance", "the balance is too low for this call")
            super().require(parts, call)

    return replace(parts, cli_gate=Greedy(parts.contract))


@mutant(breaks="ERR-06")
def asks_for_the_client_before_the_fields(parts: Components) -> Components:
    """Looks for the official client as soon as it knows the model, before it looks at the body's fields."""

    class Gated(Pipeline):
        def understand(self, parts: Components, call: Call) -> None:
            call.body = parts.reader.parse(call.raw)
            call.model = parts.catalogue.find(call.endpoint, parts.reader.model_id(call.body))
            parts.cli_gate.require(parts, call)
            super().understand(parts, call)

    return replace(parts, pipeline=Gated())


@mutant(breaks="ERR-06")
def looks_for_a_closed_circuit_before_the_balance(parts: Components) -> Components:
    """Answers 503 to somebody who cannot pay while every circuit is open."""

    class Later(Admission):
        def require_balance(self, parts: Components, call: Call, credits: int) -> None:
            self.require_circuit(parts, call)
            super().require_balance(parts, call, credits)

    return replace(parts, admission=Later(parts.contract))


@mutant(breaks="ERR-06")
def looks_for_room_before_the_balance(parts: Components) -> Components:
    """Answers 429 to somebody who cannot pay while the model has no slot."""

    class Later(Admission):
        def require_balance(self, parts: Components, call: Call, credits: int) -> None:
            assert call.model is not None
            try:
                super().require_balance(parts, call, credits)
            except Refusal:
                if call.enterprise and not parts.governor._slots_of(call.model).remaining:
                    raise Refusal("queue_full", "no slot is free", headers={"retry-after": "1"}) from None
                raise

    return replace(parts, admission=Later(parts.contract))


@mutant(breaks="ERR-06")
def passes_the_providers_error_type_on(parts: Components) -> Components:
    """Tells a client's fault by a type that the provider made up and the contract does not know."""

    class Passing(FailureClassifier):
        def refusal_of(self, failure: Failure) -> Refusal:
            made = super().refusal_of(failure)
            assert isinstance(made, UpstreamRefusal)
            if failure.status == 409:
                made.type = "provider_conflict_error"
            return made

    return replace(parts, failures=Passing(parts.contract))
