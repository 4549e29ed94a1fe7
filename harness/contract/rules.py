"""What values a lawful contract may have beyond their types; it reports faults and mends none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from typing import Any

from harness.contract import model
from harness.contract.problems import near

Fault = tuple[str, str]
Path = tuple[str | int, ...]

SURFACES = ("chat", "messages", "responses", "images", "video", "audio", "gemini", "gpu")
TOKEN_SURFACES = frozenset({"chat", "messages", "responses", "gemini"})
"""Surfaces that bill by tokens, hence need a price and a context window."""

ERROR_NAMES = (
    "invalid_key",
    "suspended_key",
    "bad_request",
    "missing_model",
    "unknown_model",
    "wrong_endpoint",
    "too_large",
    "unsupported_media",
    "not_found",
    "method_not_allowed",
    "cli_only",
    "key_reused",
    "key_in_use",
    "insufficient_balance",
    "rate_limited",
    "queue_full",
    "circuits_open",
    "upstream_rate_limited",
    "upstream_timeout",
    "upstream_error",
    "stream_broken",
    "internal",
)
"""The rows that code and checkers ask for by name: all must stand in the table, and no other."""

_MAY_BE_ZERO = frozenset(
    {
        "queue_length",
        "queue_wait_ms",
        "queue_tokens",
        "drain_ms",
        "retries_per_target",
        "backoff_ms",
        "backoff_cap_ms",
        "jitter_low_percent",
        "jitter_high_percent",
        "cooldown_ms",
        "cooldown_cap_ms",
        "settle_within_ms",
        "general_minimum_credits",
        "enterprise_minimum_credits",
        "context_tokens",
        "default_output_tokens",
    }
)
_MAY_BE_EMPTY = frozenset(
    {
        *((model.UsageIdentity, name) for name in ("cache_read", "cache_write", "reasoning", "total")),
        *((model.CliOnly, name) for name in ("pattern", "app_header", "app_value", "beta_header", "beta_prefix")),
        *((model.CliOnly, name) for name in ("user_agent", "session_header")),
        (model.MediaRule, "references_field"),
    }
)
_DOLLARS = re.compile(r"\d{1,6}(\.\d{1,4})?")
_RATIO = re.compile(r"0(\.\d{1,4})?|1(\.0{1,4})?")
_RATE_WINDOW_MIN_MS = 2_000
"""Retry-After is whole seconds: in a shorter window no honest one could be told from a wrong one."""


def _plain(value: Any) -> Iterable[Fault]:
    """Faults that any block may have: an empty text, a number below its least."""
    for field in fields(value):
        one = getattr(value, field.name)
        if one == "" and (type(value), field.name) not in _MAY_BE_EMPTY:
            yield field.name, "must not be empty"
        elif type(one) is int and one < (0 if field.name in _MAY_BE_ZERO else 1):
            yield field.name, f"must be at least {0 if field.name in _MAY_BE_ZERO else 1}, not {one}"


def _ordered(value: Any, low: str, high: str) -> Iterable[Fault]:
    if getattr(value, low) > getattr(value, high):
        yield low, f"{getattr(value, low)} is above {high}, {getattr(value, high)}"


def _percent(value: Any, *names: str) -> Iterable[Fault]:
    for name in names:
        if getattr(value, name) > 100:
            yield name, f"must be at most 100 per cent, not {getattr(value, name)}"


def _statuses(value: Any, *names: str) -> Iterable[Fault]:
    for name in names:
        for status in getattr(value, name):
            if not 400 <= status <= 599:
                yield name, f"{status} is no error status"


def _price(value: model.Price) -> Iterable[Fault]:
    yield from _plain(value)
    for name in ("input", "output", "cache_read", "cache_write"):
        dollars = getattr(value, name)
        if dollars is not None and not _DOLLARS.fullmatch(dollars):
            yield name, f"{dollars!r} is no dollar price with at most four decimals"


def _model(value: model.Model) -> Iterable[Fault]:
    yield from _plain(value)
    for surface in value.surfaces:
        if surface not in SURFACES:
            yield "surfaces", f"{surface!r} is no surface{near(surface, SURFACES)}"
    if not value.surfaces:
        yield "surfaces", "must name one at least"
    if TOKEN_SURFACES.intersection(value.surfaces):
        if value.price is None:
            yield "price", "missing: the model is served on a surface that bills by tokens"
        for name in ("context_tokens", "default_output_tokens"):
            if not getattr(value, name):
                yield name, "must be at least 1 on a surface that bills by tokens"
    roles = [target.role for target in value.chain]
    if not roles:
        yield "chain", "must have one target at least"
    for role in sorted({role for role in roles if roles.count(role) > 1}):
        yield "chain", f"has role {role!r} twice"
    for target in value.chain:
        if not target.upstream_model.startswith(f"{value.id}:"):
            yield "chain", f"upstream_model {target.upstream_model!r} must start with {value.id + ':'!r}"


def _limits(value: model.Limits | model.UserRate) -> Iterable[Fault]:
    yield from _plain(value)
    yield from _ordered(value, "retry_after_min_s", "retry_after_max_s")
    if value.window_ms < _RATE_WINDOW_MIN_MS:
        yield (
            "window_ms",
            f"must be at least {_RATE_WINDOW_MIN_MS}, not {value.window_ms}: Retry-After is whole seconds",
        )


def _failover(value: model.Failover) -> Iterable[Fault]:
    yield from _plain(value)
    yield from _ordered(value, "backoff_ms", "backoff_cap_ms")
    yield from _ordered(value, "jitter_low_percent", "jitter_high_percent")
    yield from _percent(value, "jitter_low_percent", "jitter_high_percent")
    yield from _statuses(value, "client_fault_statuses", "target_fault_statuses")
    for status in sorted(set(value.client_fault_statuses) & set(value.target_fault_statuses)):
        yield "target_fault_statuses", f"{status} is a client fault as well"


def _breaker(value: model.Breaker) -> Iterable[Fault]:
    yield from _plain(value)
    yield from _ordered(value, "cooldown_ms", "cooldown_cap_ms")
    yield from _percent(value, "failure_percent", "slow_percent")


def _insurance(value: model.Insurance) -> Iterable[Fault]:
    yield from _plain(value)
    if not _RATIO.fullmatch(value.payout_ratio):
        yield "payout_ratio", f"{value.payout_ratio!r} is no decimal between 0 and 1 with at most four places"


def _error_row(value: model.ErrorRow) -> Iterable[Fault]:
    yield from _plain(value)
    if not 400 <= value.status <= 599:
        yield "status", f"{value.status} is no error status"


def _headers(value: model.HeaderNames) -> Iterable[Fault]:
    yield from _plain(value)
    for field in fields(value):
        name = getattr(value, field.name)
        if field.name != "source" and (name != name.lower() or " " in name):
            yield field.name, f"{name!r} is no lower-case header name"


def _lawful(value: model.LawfulDifferences) -> Iterable[Fault]:
    yield from _plain(value)
    for name in value.dropped_headers:
        if name != name.lower():
            yield "dropped_headers", f"{name!r} is no lower-case header name"


def _cli_only(value: model.CliOnly) -> Iterable[Fault]:
    yield from _plain(value)
    try:
        re.compile(value.user_agent)
    except re.error as error:
        yield "user_agent", f"{value.user_agent!r} is no regular expression: {error}"


def _usage(value: model.UsageIdentity) -> Iterable[Fault]:
    yield from _plain(value)
    if value.surface not in SURFACES:
        yield "surface", f"{value.surface!r} is no surface{near(value.surface, SURFACES)}"


RULES: Mapping[type[Any], Callable[[Any], Iterable[Fault]]] = {
    model.Price: _price,
    model.ChainTarget: _plain,
    model.Model: _model,
    model.Limits: _limits,
    model.UserRate: _limits,
    model.Timeouts: _plain,
    model.Failover: _failover,
    model.Breaker: _breaker,
    model.Insurance: _insurance,
    model.Money: _plain,
    model.Sizes: _plain,
    model.ErrorRow: _error_row,
    model.HeaderNames: _headers,
    model.Idempotency: _plain,
    model.LawfulDifferences: _lawful,
    model.CliOnly: _cli_only,
    model.UsageIdentity: _usage,
    model.MediaRule: _plain,
}


def whole(parts: Mapping[str, Any], data: Mapping[str, Any]) -> Iterable[tuple[Path, str]]:
    """Faults, and where they are, that only show when the blocks of a contract are read together.

    ``parts`` are the contract's fields that are right in themselves; a rule that needs another is left out. ``data`` is
    what the contract is read from: the ids of models come from there, so that one bad model hides no bad alias.
    """
    for name in ("name", "version"):
        if parts.get(name) == "":
            yield (name,), "must not be empty"
    if parts.get("models") == ():
        yield ("models",), "must have one at least"
    ids = [(one.get("tier"), one.get("id")) for one in _tables(data.get("models"))]
    yield from _doubles("models", [f"{id_} ({tier})" for tier, id_ in ids])
    yield from _doubles("errors", [row.name for row in parts.get("errors", ())])
    yield from _doubles("usage", [one.surface for one in parts.get("usage", ())])
    yield from _doubles("media", [rule.name for rule in parts.get("media", ())])
    if "errors" in parts:
        yield from _error_names({row.name for row in parts["errors"]})
    yield from _aliases({str(id_) for tier, id_ in ids if tier == "general"}, parts.get("aliases", {}))
    yield from _media({str(id_) for _, id_ in ids}, parts.get("media", ()))
    yield from _cli_models(parts.get("models", ()), parts.get("cli_only"))
    yield from _served(parts.get("models", ()), parts.get("usage"))


def _tables(entries: Any) -> Iterable[Mapping[str, Any]]:
    return [one for one in entries if isinstance(one, Mapping)] if isinstance(entries, list | tuple) else ()


def _doubles(where: str, names: list[str]) -> Iterable[tuple[Path, str]]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield (where, number), f"{name} stands twice"


def _error_names(names: set[str]) -> Iterable[tuple[Path, str]]:
    for name in ERROR_NAMES:
        if name not in names:
            yield ("errors", name), "missing"
    for name in sorted(names.difference(ERROR_NAMES)):
        yield ("errors", name), f"unknown error row{near(name, set(ERROR_NAMES) - names)}"


def _aliases(general: set[str], aliases: Mapping[str, str]) -> Iterable[tuple[Path, str]]:
    for alias, target in aliases.items():
        if target not in general:
            yield ("aliases", alias), f"{target!r} is no general model{near(target, general)}"
        if alias in general:
            yield ("aliases", alias), "is a general model's own id"


def _cli_models(models: Sequence[model.Model], rule: model.CliOnly | None) -> Iterable[tuple[Path, str]]:
    for number, one in enumerate(models if rule else ()):
        assert rule is not None
        wanted = bool(rule.pattern) and fnmatchcase(one.id, rule.pattern)
        if one.cli_only != wanted:
            yield ("models", number, "cli_only"), f"must be {str(wanted).lower()} by cli_only.pattern {rule.pattern!r}"


def _served(models: Sequence[model.Model], usage: Sequence[model.UsageIdentity] | None) -> Iterable[tuple[Path, str]]:
    if usage is None:
        return
    told = {one.surface for one in usage}
    for surface in ("chat", "messages", "responses", "images"):
        if surface not in told and any(surface in one.surfaces and one.price is not None for one in models):
            yield ("usage", surface), "missing: models are served on this surface"


def _media(ids: set[str], rules: Sequence[model.MediaRule]) -> Iterable[tuple[Path, str]]:
    for number, rule in enumerate(rules):
        for id_ in rule.models:
            if id_ not in ids:
                yield ("media", number, "models"), f"{id_!r} is no model{near(id_, ids)}"
