"""Decides which injections strike an attempt: by role, call, model, surface, window and count; it applies none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from mock_upstreams.faults import FaultSpec
from mock_upstreams.faults.registry import near
from mock_upstreams.parts import Exchange
from mock_upstreams.providers import DIALECTS


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault and where and when it strikes; see ``harness.scenario.Injection``, whose data it is made from.

    Times are milliseconds since the run's zero. ``accounts`` was resolved to ``calls`` by whoever declares it.
    """

    id: str
    role: str
    fault: FaultSpec
    start_ms: float = 0
    stop_ms: float | None = None
    nth: int | None = None
    first: int | None = None
    probability: float | None = None
    calls: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()
    surfaces: frozenset[str] = frozenset()

    def covers(self, exchange: Exchange, arrived_us: int) -> bool:
        """Say whether an attempt that arrived then is one of the injection's matches; its own counts come after."""
        if not self.start_ms * 1000 <= arrived_us or (self.stop_ms is not None and arrived_us >= self.stop_ms * 1000):
            return False
        if self.surfaces and exchange.surface not in self.surfaces:
            return False
        if self.calls and exchange.call not in self.calls:
            return False
        if self.models and not any(names(model, exchange.model) for model in self.models):
            return False
        return self.fault.fault.fits(exchange)


def names(model: str, received: str) -> bool:
    """Say whether an injection's ``model`` names the model id ``received``, which may have a variant behind a colon."""
    return received == model or received.startswith(model + ":")


class Schedule:
    """The injections of one run, with how often each was matched so far."""

    def __init__(self, injections: Iterable[Injection], seed: int) -> None:
        self._injections = tuple(injections)
        self._seed = seed
        self._matches = [0] * len(self._injections)
        self._over = not self._injections
        """None strikes any more, or there is none."""
        self._roles: dict[str, list[int]] = {}

    def heal(self) -> None:
        """End every injection."""
        self._over = True

    def strikes(self, exchange: Exchange, arrived_us: int) -> list[tuple[Injection, Random]]:
        """Return the injections that strike an attempt, in the order in which they were declared, with their draws.

        Every match counts, whether it strikes or not: ``nth`` and ``first`` are of the injection's own matches.
        """
        struck: list[tuple[Injection, Random]] = []
        if self._over:
            return struck
        for index in self._of(exchange.upstream):
            injection = self._injections[index]
            if not injection.covers(exchange, arrived_us):
                continue
            self._matches[index] += 1
            count = self._matches[index]
            if injection.nth is not None and count != injection.nth:
                continue
            if injection.first is not None and count > injection.first:
                continue
            rng = Random(f"{self._seed}/{exchange.upstream}/{injection.id}/{exchange.call}/{exchange.ordinal}")
            if injection.probability is None or rng.random() < injection.probability:
                struck.append((injection, rng))
        return struck

    def _of(self, role: str) -> list[int]:
        if role not in self._roles:
            self._roles[role] = [n for n, i in enumerate(self._injections) if i.role in (role, "*")]
        return self._roles[role]


_NUMBERS: Mapping[str, tuple[type, ...]] = {
    "start_ms": (int, float),
    "stop_ms": (int, float),
    "probability": (int, float),
    "nth": (int,),
    "first": (int,),
}
_LISTS = ("calls", "models", "surfaces", "accounts")
_IGNORED = ("accounts", "must_fire")
"""Fields of the scenario's injection that are no business of an upstream's."""


def read_injections(data: Any) -> tuple[Injection, ...]:
    """Return the injections of a control message. Raises ValueError with every problem of every one of them."""
    if not isinstance(data, list):
        raise ValueError("injections must be a list")
    made: list[Injection] = []
    problems: list[str] = []
    for number, value in enumerate(data, 1):
        where = f"injection {value.get('id') or number}" if isinstance(value, dict) else f"injection {number}"
        try:
            made.append(_injection(value, f"i{number}"))
        except ValueError as error:
            problems += [f"{where}: {line}" for line in str(error).splitlines()]
    twice = {i.id for i in made if sum(other.id == i.id for other in made) > 1}
    if twice:
        problems.append(f"injection ids used twice: {', '.join(sorted(twice))}")
    if problems:
        raise ValueError("\n".join(problems))
    return tuple(made)


def _injection(value: Any, otherwise: str) -> Injection:
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    known = {field.name for field in fields(Injection)} | set(_IGNORED)
    problems = [f"no field {name!r}{near(name, known)}" for name in value if name not in known]
    problems += _number_problems(value)
    for name in _LISTS:
        if not _is_text_list(value.get(name)):
            problems.append(f"{name} must be a list of strings")
    if not isinstance(value.get("role"), str) or not value["role"]:
        problems.append("role must be given: primary, second, ... or *")
    if not isinstance(value.get("id", ""), str):
        problems.append("id must be a string")
    for surface in value.get("surfaces") or ():
        if surface not in DIALECTS:
            problems.append(f"no surface {surface!r}{near(str(surface), DIALECTS)}")
    spec = _spec(value.get("fault"), problems)
    if problems or spec is None:
        raise ValueError("\n".join(problems))
    numbers = {name: value[name] for name in _NUMBERS if value.get(name) is not None}
    return Injection(
        id=value.get("id") or otherwise,
        role=value["role"],
        fault=spec,
        calls=frozenset(value.get("calls") or ()),
        models=tuple(value.get("models") or ()),
        surfaces=frozenset(value.get("surfaces") or ()),
        **numbers,
    )


def _spec(value: Any, problems: list[str]) -> FaultSpec | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or value.keys() - {"name", "params"}:
        problems.append('fault must be {"name": ..., "params": {...}}')
        return None
    try:
        return FaultSpec(value["name"], value.get("params") or {})
    except ValueError as error:
        problems.append(str(error))
        return None


def _number_problems(value: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, kinds in _NUMBERS.items():
        given = value.get(name)
        if given is None:
            continue
        if isinstance(given, bool) or not isinstance(given, int | float) or not isinstance(given, kinds):
            problems.append(f"{name} must be a {'whole ' if float not in kinds else ''}number")
        elif name == "probability" and not 0 <= given <= 1:
            problems.append("probability must be between 0 and 1")
        elif name in ("nth", "first") and given < 1:
            problems.append(f"{name} counts from 1")
    return problems


def _is_text_list(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and all(isinstance(item, str) for item in value))
