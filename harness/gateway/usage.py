"""What an upstream says it used, read by the provider's own identities; nothing is estimated or repaired here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from harness.contract import UsageIdentity


@dataclass(slots=True)  # made at every call: a frozen one costs five times as much
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

    Input and output must be there; cache and reasoning counts may be absent or null, which means none. Explicit zeros
    are usage. What is no whole number, or does not add up, is a conflict; what the context cannot hold is absurd.
    """
    if type(raw) is not dict and not isinstance(raw, Mapping):
        raise UsageProblem("usage_missing", "the answer has no usage object")
    told: tuple[Any, ...] = (_at(raw, identity.input), _at(raw, identity.output))
    if None in told:
        raise UsageProblem("usage_missing", f"{identity.input if told[0] is None else identity.output} is missing")
    told += (_at(raw, identity.cache_read), _at(raw, identity.cache_write), _at(raw, identity.reasoning))
    # A bool is an int to isinstance, but no count.
    figures = [value if type(value) is int else _nothing(value) for value in told]
    if min(figures) < 0:
        raise UsageProblem("usage_negative", f"{min(figures)} tokens")
    reported, output, cache_read, cache_write, reasoning = figures
    cached = cache_read + cache_write
    prompt = reported if identity.includes_cache else reported + cached
    if max(prompt + output, reasoning) > context_tokens:
        raise UsageProblem("usage_absurd", f"{prompt + output} tokens do not fit a context of {context_tokens}")
    total = _at(raw, identity.total)
    if total is not None and (type(total) is not int or total != reported + output):
        raise UsageProblem("usage_conflict", f"{identity.total} is {total!r}, its parts are {reported} and {output}")
    if cached > prompt:
        raise UsageProblem("usage_conflict", f"{cached} cached tokens of {prompt} input tokens")
    if reasoning > output:
        raise UsageProblem("usage_conflict", f"{reasoning} reasoning tokens of {output} output tokens")
    return Usage(prompt - cached, cache_read, cache_write, output)


def _nothing(value: Any) -> int:
    """Return 0 for a figure that is not there. Raises UsageProblem for anything else."""
    if value is not None:
        raise UsageProblem("usage_conflict", f"{value!r} is not a whole number")
    return 0


def _at(raw: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a dotted path, None if nothing does (nor can: a provider may lack the figure)."""
    if "." not in path:  # most of them
        return raw.get(path) if path else None
    value: Any = raw
    for name in _names(path):
        if type(value) is not dict:
            if value is None:
                return None
            if not isinstance(value, Mapping):
                raise UsageProblem("usage_conflict", f"{path} lies inside {value!r}, which is no object")
        value = value.get(name)
    return value


@lru_cache(maxsize=256)
def _names(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))
