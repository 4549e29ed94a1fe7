"""Reads the usage that an upstream told, by the contract's identities, as data; it adds tokens, and prices nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.contract import Contract, Model, UsageIdentity
from harness.history import AttemptSpan


def usage_of(contract: Contract, attempt: AttemptSpan, model: Model | None) -> tuple[str, tuple[Any, ...]]:
    """Return what is wrong with an attempt's usage ('' if nothing) and its tokens in the four disjoint classes."""
    nothing = (None,) * 4
    raw = attempt.reading.usage
    if raw is None or model is None:
        return "missing", nothing
    identity = contract.usage_of(attempt.surface)
    values = {
        name: at(raw, getattr(identity, name)) for name in ("input", "output", "cache_read", "cache_write", "reasoning")
    }
    if values["input"] is None or values["output"] is None:
        return "missing", nothing
    numbers = {name: 0 if value is None else value for name, value in values.items()}
    if any(isinstance(value, bool) or not isinstance(value, int) for value in numbers.values()):
        return "conflict", nothing
    if min(numbers.values()) < 0:
        return "negative", nothing
    flaw = _conflict(identity, raw, numbers, model.context_tokens)
    if flaw:
        return flaw, nothing
    cached = numbers["cache_read"] + numbers["cache_write"]
    fresh = numbers["input"] - cached if identity.includes_cache else numbers["input"]
    return "", (fresh, numbers["cache_read"], numbers["cache_write"], numbers["output"])


def _conflict(identity: UsageIdentity, raw: Mapping[str, Any], numbers: Mapping[str, int], context: int) -> str:
    cached = numbers["cache_read"] + numbers["cache_write"]
    prompt = numbers["input"] if identity.includes_cache else numbers["input"] + cached
    if max(prompt + numbers["output"], numbers["reasoning"]) > context:
        return "absurd"
    total = at(raw, identity.total) if identity.total else None
    contradicts = total is not None and total != numbers["input"] + numbers["output"]
    if (
        contradicts
        or numbers["reasoning"] > numbers["output"]
        or (identity.includes_cache and cached > numbers["input"])
    ):
        return "conflict"
    return ""


def at(raw: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path of a usage object, None where there is none."""
    value: Any = raw
    for step in path.split(".") if path else ():
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if path else None
