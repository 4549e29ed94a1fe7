"""Mutants that change what a client sends on its way to the upstream (CHAT-03, and the surfaces' own fields)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from harness.contract import ChainTarget
from harness.gateway.asgi import Headers
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.surfaces.base import encode
from harness.gateway.upstream import UpstreamRequests
from harness.mutants.registry import mutant

Json = dict[str, Any]


@mutant(breaks="CHAT-03")
def drops_fields_it_does_not_know(parts: Components) -> Components:
    """Sends upstream only the fields that it has heard of."""
    known = {"model", "messages", "input", "max_tokens", "stream", "stream_options", "tools", "tool_choice", "system"}
    return changing(parts, lambda call, body: {name: field for name, field in body.items() if name in known})


@mutant(breaks="CHAT-03")
def reads_integers_as_doubles(parts: Components) -> Components:
    """Rounds an integer to what a double can hold."""
    return changing(parts, lambda call, body: each(body, lambda v: int(float(v)) if type(v) is int else v))


@mutant(breaks="CHAT-03")
def drops_nulls(parts: Components) -> Components:
    """Leaves out fields that are null, as validation libraries do when they write a model again."""
    return changing(parts, lambda call, body: {name: field for name, field in body.items() if field is not None})


@mutant(breaks="CHAT-03")
def strips_cache_control_of_system(parts: Components) -> Components:
    """Takes the cache breakpoints out of a message's system blocks."""

    def bare(call: Call, body: Json) -> Json:
        blocks = body.get("system")
        if not isinstance(blocks, list):
            return body
        return {**body, "system": [{k: v for k, v in b.items() if k != "cache_control"} for b in blocks]}

    return changing(parts, bare)


@mutant(breaks="CHAT-03")
def sets_a_temperature(parts: Components) -> Components:
    """Adds a default to a body that leaves the choice to the upstream."""
    return changing(parts, lambda call, body: {"temperature": 1.0, **body})


@mutant(breaks="CHAT-03")
def replaces_the_clients_stream_options(parts: Components) -> Components:
    """Asks for usage in the place of whatever else the client asked of the stream."""
    usage = {"include_usage": True}
    return changing(parts, lambda call, body: {**body, "stream_options": usage} if "stream_options" in body else body)


@mutant(breaks="CHAT-03")
def passes_hypereal_on(parts: Components) -> Components:
    """Sends its own member of the body upstream, on responses."""

    def kept(call: Call, body: Json) -> Json:
        own = call.body.get("hypereal") if call.surface.name == "responses" else None
        return body if own is None else {**body, "hypereal": own}

    return changing(parts, kept)


@mutant(breaks="CHAT-03")
def asks_every_target_for_the_firsts_model(parts: Components) -> Components:
    """Makes the upstream's body once, so that the next target is asked for a model of the first."""

    class Once(UpstreamRequests):
        def body(self, call: Call, target: ChainTarget) -> bytes:
            assert call.model is not None
            return super().body(call, call.model.chain[0])

    return replace(parts, upstream=Once(parts.contract, parts.deployment, parts.surfaces))


@mutant(breaks="CHAT-03")
def drops_what_it_does_not_know_on_a_retry(parts: Components) -> Components:
    """Makes the body of a second attempt of the fields that it knows."""

    def known(call: Call, body: Json) -> Json:
        return {k: v for k, v in body.items() if not (call.attempts and k.startswith("x_"))}

    return changing(parts, known)


@mutant(breaks="CHAT-03")
def drops_anthropic_beta(parts: Components) -> Components:
    """Keeps the header from the upstream that a messages body's newer fields depend on."""

    class Plain(UpstreamRequests):
        def headers(self, call: Call, target: ChainTarget) -> Headers:
            return [(name, value) for name, value in super().headers(call, target) if name != b"anthropic-beta"]

    return replace(parts, upstream=Plain(parts.contract, parts.deployment, parts.surfaces))


@mutant(breaks="MSG-04")
def caps_the_thinking_budget(parts: Components) -> Components:
    """Cuts a thinking budget down to what max_tokens leaves room for."""

    def capped(call: Call, body: Json) -> Json:
        thinking, most = body.get("thinking"), body.get("max_tokens", 0)
        if not isinstance(thinking, dict) or thinking.get("budget_tokens", 0) < most:
            return body
        return {**body, "thinking": {**thinking, "budget_tokens": most - 1}}

    return changing(parts, capped)


@mutant(breaks="MSG-04")
def raises_max_tokens_over_the_budget(parts: Components) -> Components:
    """Asks for more output than the client did, so that its thinking budget fits."""

    def raised(call: Call, body: Json) -> Json:
        budget = (body.get("thinking") or {}).get("budget_tokens", 0)
        return {**body, "max_tokens": budget + 1} if budget >= body.get("max_tokens", budget + 1) else body

    return changing(parts, raised)


@mutant(breaks="MSG-04")
def knows_thinking_as_enabled_alone(parts: Components) -> Components:
    """Drops a wish for thinking of a type that it does not know."""

    def known(call: Call, body: Json) -> Json:
        thinking = body.get("thinking")
        if isinstance(thinking, dict) and thinking.get("type") != "enabled":
            return {name: field for name, field in body.items() if name != "thinking"}
        return body

    return changing(parts, known)


@mutant(breaks="MSG-05")
def flattens_tool_results(parts: Components) -> Components:
    """Makes one text of the blocks of a tool's result."""

    def flat(value: Any) -> Any:
        if isinstance(value, dict) and value.get("type") == "tool_result" and isinstance(value.get("content"), list):
            return {**value, "content": "".join(part.get("text", "") for part in value["content"])}
        return value

    return changing(parts, lambda call, body: each(body, flat))


@mutant(breaks="MSG-05")
def forgets_that_a_tool_failed(parts: Components) -> Components:
    """Drops is_error from a tool's result."""

    def calm(value: Any) -> Any:
        return {k: v for k, v in value.items() if k != "is_error"} if isinstance(value, dict) else value

    return changing(parts, lambda call, body: each(body, calm))


@mutant(breaks="RESP-01")
def drops_tools_it_does_not_know(parts: Components) -> Components:
    """Sends function tools upstream, and no tools of other types."""

    def known(call: Call, body: Json) -> Json:
        tools = body.get("tools")
        if call.surface.name != "responses" or not isinstance(tools, list):
            return body
        return {**body, "tools": [tool for tool in tools if tool.get("type") == "function"]}

    return changing(parts, known)


@mutant(breaks="RESP-01")
def takes_developers_for_the_system(parts: Components) -> Components:
    """Renames the role of a developer's message."""

    def renamed(value: Any) -> Any:
        developer = isinstance(value, dict) and value.get("role") == "developer"
        return {**value, "role": "system"} if developer else value

    return changing(parts, lambda call, body: each(body, renamed))


@mutant(breaks="RESP-01")
def drops_encrypted_reasoning_of_requests(parts: Components) -> Components:
    """Takes what it cannot read out of reasoning items on their way up."""

    def readable(value: Any) -> Any:
        return {k: v for k, v in value.items() if k != "encrypted_content"} if isinstance(value, dict) else value

    return changing(parts, lambda call, body: each(body, readable))


def changing(parts: Components, change: Callable[[Call, Json], Json]) -> Components:
    """Return ``parts`` that send ``change(call, body)`` upstream."""

    class Changing(UpstreamRequests):
        def body(self, call: Call, target: ChainTarget) -> bytes:
            return encode(change(call, orjson.loads(super().body(call, target))))

    return replace(parts, upstream=Changing(parts.contract, parts.deployment, parts.surfaces))


def each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return ``value`` with ``change`` made to every JSON value in it, innermost first."""
    if isinstance(value, Mapping):
        return change({name: each(member, change) for name, member in value.items()})
    if isinstance(value, list):
        return change([each(member, change) for member in value])
    return change(value)
