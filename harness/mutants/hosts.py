"""Mutants that serve a thing at one place and not at another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.gateway.call import Call, Endpoint
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.models import Catalogue
from harness.gateway.pipeline import Pipeline
from harness.mutants.registry import mutant


@mutant(breaks="HOST-01")
def serves_its_own_host_alone(parts: Components) -> Components:
    """Answers 404 under a host name that it was not configured with; an address without a domain is its own."""
    own = ("hypereal.cloud", "api.hypereal.cloud", "hypereal.build")

    def foreign(call: Call) -> bool:
        host = call.client.header("host").partition(":")[0]
        return "." in host and not host.replace(".", "").isdigit() and host not in own

    return lost(parts, foreign)


@mutant(breaks="HOST-01")
def knows_no_host_with_a_port(parts: Components) -> Components:
    """Compares the Host header with its names, port and all."""
    return lost(parts, lambda call: "." in call.client.header("host") and ":" in call.client.header("host"))


@mutant(breaks="HOST-01")
def knows_no_doubled_prefix(parts: Components) -> Components:
    """Answers 404 where an Anthropic client's base URL doubles the version."""
    return lost(parts, lambda call: call.endpoint.path == "/api/v1/v1/messages")


@mutant(breaks="HOST-01")
def serves_codex_under_api_alone(parts: Components) -> Components:
    """Forgets one general path under /v1."""
    return lost(parts, lambda call: call.endpoint.path == "/v1/codex/responses")


@mutant(breaks="HOST-01")
def serves_enterprise_ids_on_general_paths(parts: Components) -> Components:
    """Looks an id that is no general one up among the Enterprise ids."""

    class Generous(Catalogue):
        def tiers(self, endpoint: Endpoint) -> tuple[str, ...]:
            return ("general", "enterprise") if endpoint.tier == "general" else super().tiers(endpoint)

    return replace(parts, catalogue=Generous(parts.contract))


@mutant(breaks="HOST-01")
def serves_general_ids_alone_at_the_root(parts: Components) -> Components:
    """Takes /v1/messages for another name of /api/v1/messages."""

    class Plain(Catalogue):
        def tiers(self, endpoint: Endpoint) -> tuple[str, ...]:
            return ("general",) if endpoint.tier == "root" else super().tiers(endpoint)

    return replace(parts, catalogue=Plain(parts.contract))


def lost(parts: Components, where: Callable[[Call], bool]) -> Components:
    """Return ``parts`` that answer 404 to every call for which ``where`` holds."""

    class Losing(Pipeline):
        def identify(self, parts: Components, call: Call) -> None:
            if where(call):
                raise Refusal("not_found", "nothing is served at this path")
            super().identify(parts, call)

    return replace(parts, pipeline=Losing())
