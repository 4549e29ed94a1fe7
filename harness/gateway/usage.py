"""What an upstream says it used, read by the provider's own identities; nothing is estimated or repaired here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.contract import UsageIdentity


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call in the four disjoint billing classes; output includes reasoning."""

    input: int
    cache_read: int
    cache_write: int
    output: int

    @property
    def total(self) -> int:
        """All tokens, each counted once."""
        return self.input + self.cache_read + self.cache_write + self.output


class UsageProblem(Exception):  # noqa: N818 - a finding about an answer, not a failure of the gateway
    """Usage that no charge may rest on; ``flag`` is usage_missing, usage_negative, usage_absurd or usage_conflict."""

    def __init__(self, flag: str, message: str) -> None:
        super().__init__(message)
        self.flag = flag


def read_usage(identity: UsageIdentity, raw: Mapping[str, Any] | None, context_tokens: int) -> Usage:
    """Return the usage that ``raw`` (a provider's usage object) reports. Raises UsageProblem.

    Input and output must be there; cache and reasoning counts may be absent or null, which means none. No figure,
    nor the sum of the classes, may exceed ``context_tokens``. Explicit zeros are usage.
    """
    if not isinstance(raw, Mapping):
        raise UsageProblem("usage_missing", "the answer has no usage object")
    figures = {
        path: _figure(raw, path)
        for path in (
            identity.input,
            identity.output,
            identity.cache_read,
            identity.cache_write,
            identity.reasoning,
            identity.total,
        )
        if path
    }
    for path in (identity.input, identity.output):
        if figures[path] is None:
            raise UsageProblem("usage_missing", f"{path} is missing")
    for path, figure in figures.items():
        if figure is not None and figure < 0:
            raise UsageProblem("usage_negative", f"{path} is {figure}")
    reported = figures[identity.input] or 0
    output = figures[identity.output] or 0
    cache_read = figures.get(identity.cache_read) or 0
    cache_write = figures.get(identity.cache_write) or 0
    whole = reported + output + (0 if identity.includes_cache else cache_read + cache_write)
    largest = max(whole, *(figure or 0 for figure in figures.values()))
    if largest > context_tokens:
        raise UsageProblem("usage_absurd", f"{largest} tokens do not fit a context of {context_tokens}")
    if identity.includes_cache and cache_read + cache_write > reported:
        raise UsageProblem("usage_conflict", f"{cache_read + cache_write} cached tokens of {reported} input tokens")
    if (figures.get(identity.reasoning) or 0) > output:
        raise UsageProblem(
            "usage_conflict", f"{figures[identity.reasoning]} reasoning tokens of {output} output tokens"
        )
    total = figures.get(identity.total)
    if total is not None and total != reported + output:
        raise UsageProblem("usage_conflict", f"{identity.total} is {total}, its parts are {reported} and {output}")
    fresh = reported - cache_read - cache_write if identity.includes_cache else reported
    return Usage(fresh, cache_read, cache_write, output)


def _figure(raw: Mapping[str, Any], path: str) -> int | None:
    """Return the whole number at a dotted path, None where it is absent or null."""
    value: Any = raw
    for name in path.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise UsageProblem("usage_absurd", f"{path} is inside something that is no object")
        value = value.get(name)
    if value is None:
        return None
    if type(value) is not int:  # a bool is an int to isinstance, but no count
        raise UsageProblem("usage_absurd", f"{path} is {value!r}, not a whole number")
    return value
