"""Faults of the usage that an answer reports: missing, zero, negative, absurd, in conflict, or just as told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, Literal

from mock_upstreams.answer import Tokens
from mock_upstreams.faults.points import Count, dialect_of, edited
from mock_upstreams.faults.registry import fault
from mock_upstreams.parts import Chunk, Part, Reply

_BILLED = ("chat", "messages", "responses", "images")
ABSURD = 100_000_000
"""What absurd usage is multiplied by: all identities still hold, and no context window holds it."""


@fault(surfaces=_BILLED, lawful=True)
def tell_usage(
    reply: Reply,
    rng: Random,
    *,
    input: Count,  # noqa: A002 - the word of scenarios
    output: Count,
    cached: Count = 0,
    written: Count = 0,
    reasoning: Count = 0,
) -> Iterator[Part]:
    """Report that usage, given in the disjoint classes (reasoning within output), in the provider's shape."""
    new = dialect_of(reply).usage(Tokens(input, cached, written, output, reasoning))
    yield from _with_usage(reply, lambda old: {name: new.get(name, value) for name, value in old.items()})


@fault(surfaces=_BILLED, lawful=True)
def usage_missing(reply: Reply, rng: Random) -> Iterator[Part]:
    """Report no usage at all."""
    yield from _with_usage(reply, lambda old: None)


@fault(surfaces=_BILLED, lawful=True)
def usage_zero(reply: Reply, rng: Random) -> Iterator[Part]:
    """Report a usage of nothing but zeros."""
    yield from _with_usage(reply, lambda old: _each(old, lambda count: 0))


@fault(surfaces=_BILLED, lawful=True)
def usage_negative(reply: Reply, rng: Random) -> Iterator[Part]:
    """Report every count below zero, their sums still right."""
    yield from _with_usage(reply, lambda old: _each(old, lambda count: -count))


@fault(surfaces=_BILLED, lawful=True)
def usage_absurd(reply: Reply, rng: Random) -> Iterator[Part]:
    """Report more tokens than any context window holds, their sums still right."""
    yield from _with_usage(reply, lambda old: _each(old, lambda count: min(count * ABSURD, 2**53)))


@fault(surfaces=_BILLED, lawful=True)
def usage_conflict(
    reply: Reply, rng: Random, *, what: Literal["all", "total", "reasoning", "cached"] = "all"
) -> Iterator[Part]:
    """Report counts that contradict each other: a wrong total, more cached or reasoned than there was at all."""
    yield from _with_usage(reply, lambda old: _conflicting(old, what))


@fault(on="stream", surfaces=("chat",), lawful=True)
def usage_with_finish(reply: Reply, rng: Random) -> Iterator[Part]:
    """Send the usage on the last chunk with a choice instead of on one without."""
    parts = list(reply)
    usage: Any = None

    def take(chunk: Chunk, value: Any) -> Any:
        nonlocal usage
        if chunk.event == "usage" and isinstance(value, dict):
            usage = value.get("usage")
            return ...
        return value

    def put(chunk: Chunk, value: Any) -> Any:
        told = chunk.event == "finish" and usage is not None and isinstance(value, dict)
        return {**value, "usage": usage} if told else value

    rest = edited(Reply(parts, reply.exchange), take)
    yield from edited(Reply(rest, reply.exchange), put)


def _with_usage(reply: Reply, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Iterator[Part]:
    """Yield the reply's parts with each usage changed, wherever its surface puts one; None takes it out."""

    def edit(chunk: Chunk, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        name = next((name for name in ("message", "response") if isinstance(value.get(name), dict)), None)
        holder = value[name] if name else value
        if not isinstance(holder.get("usage"), dict):
            return value
        usage = change(holder["usage"])
        if usage is None and chunk.event == "usage":
            return ...
        new = {key: kept for key, kept in holder.items() if key != "usage"}
        if usage is not None:
            new["usage"] = usage
        return {**value, name: new} if name else new

    yield from edited(reply, edit)


def _each(usage: Mapping[str, Any], change: Callable[[int], int]) -> dict[str, Any]:
    return {
        name: _each(value, change)
        if isinstance(value, Mapping)
        else change(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else value
        for name, value in usage.items()
    }


def _conflicting(old: dict[str, Any], what: str) -> dict[str, Any]:
    new = dict(old)
    if "total_tokens" in new and what in ("all", "total"):
        new["total_tokens"] += 1
    for details, inner, whole in (
        ("completion_tokens_details", "reasoning_tokens", "completion_tokens"),
        ("output_tokens_details", "reasoning_tokens", "output_tokens"),
        ("output_tokens_details", "thinking_tokens", "output_tokens"),
    ):
        if inner in new.get(details, ()) and what in ("all", "reasoning"):
            new[details] = {**new[details], inner: new[whole] + 1_000}
    for details, whole in (("prompt_tokens_details", "prompt_tokens"), ("input_tokens_details", "input_tokens")):
        if details in new and what in ("all", "cached"):
            new[details] = {**new[details], "cached_tokens": new[whole] + 1_000}
    if "cache_creation" in new and what in ("all", "cached"):
        written = new["cache_creation_input_tokens"]
        new["cache_creation"] = {**new["cache_creation"], "ephemeral_1h_input_tokens": written + 1_000}
    return new
