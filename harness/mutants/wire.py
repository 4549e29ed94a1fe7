"""Mutants that change, lose or leak what passes through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from harness.contract import ChainTarget
from harness.gateway.asgi import ClientStream, Headers
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.pipeline import Pipeline
from harness.gateway.upstream import UpstreamRequests
from harness.mutants.registry import mutant


@mutant(breaks="AUTH-06")
def passes_the_customers_key_on(parts: Components) -> Components:
    """Sends the customer's key upstream in a header of its own."""

    class Leaking(UpstreamRequests):
        def headers(self, call: Call, target: ChainTarget) -> Headers:
            kept = super().headers(call, target)
            return [*kept, *((b"x-forwarded-key", secret) for secret in call.secrets)]

    return replace(parts, upstream=Leaking(parts.contract, parts.deployment, parts.surfaces))


@mutant(breaks="CHAT-03")
def drops_fields_it_does_not_know(parts: Components) -> Components:
    """Sends upstream only the fields that it has heard of."""
    known = {"model", "messages", "input", "max_tokens", "stream", "stream_options", "tools", "tool_choice", "system"}

    class Narrow(UpstreamRequests):
        def body(self, call: Call, target: ChainTarget) -> bytes:
            value: dict[str, Any] = orjson.loads(super().body(call, target))
            return orjson.dumps({name: field for name, field in value.items() if name in known})

    return replace(parts, upstream=Narrow(parts.contract, parts.deployment, parts.surfaces))


@mutant(breaks="MSG-03")
def pings_only_once(parts: Components) -> Components:
    """Sends the first ping of a silence and no further one."""

    class Once(ClientStream):
        def _tick(self) -> None:
            if not self.started:
                self.ping()

    class Quiet(Pipeline):
        def open_stream(self, parts: Components, call: Call) -> ClientStream:
            made = super().open_stream(parts, call)
            made.abandon()
            return Once(
                call.client,
                parts.headers.stream(call, parts.insurer),
                call.surface.ping,
                parts.contract.timeouts.ping_ms / 1e3,
            )

    return replace(parts, pipeline=Quiet())


@mutant(breaks="ERR-06")
def looks_at_the_body_before_the_key(parts: Components) -> Components:
    """Answers 400 for a bad body to somebody whose key it has not looked at."""

    class Nosy(Pipeline):
        async def serve(self, parts: Components, call: Call) -> None:
            try:
                await super().serve(parts, call)
            except Refusal as refusal:
                if refusal.name != "invalid_key" or not int(call.client.header("content-length") or 0):
                    raise
                parts.reader.parse(await parts.reader.receive(call.client))
                raise

    return replace(parts, pipeline=Nosy())


@mutant(breaks="MSG-07")
def blocks_but_never_suspends(parts: Components) -> Components:
    """Refuses a CLI-only model to other clients, but leaves their key as it was."""

    class Lenient(type(parts.keys)):  # type: ignore[misc] # the class of whatever key ring there is
        def suspend(self, key: str) -> None:
            return None

    return replace(parts, keys=Lenient(parts.deployment.accounts, parts.store))
