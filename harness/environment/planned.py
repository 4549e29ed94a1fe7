"""Reads a plan back into the scenario that it was made from: the other half of ``plan``; it runs nothing."""

from __future__ import annotations

import binascii
import re
import types
import typing
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson

from harness.checker import Checker
from harness.checkers.recovery import PROBE, WARM_UP
from harness.environment.probes import PROBE_ACCOUNT
from harness.history import SCHEMA
from harness.scenario import (
    Account,
    Call,
    Crash,
    Injection,
    Key,
    Reply,
    Scenario,
    StoreFailure,
    Workload,
    World,
)
from mock_upstreams.faults import FaultSpec

Made = TypeVar("Made")
_PROBE_TAGS = (PROBE, WARM_UP)
_OPTIONS = frozenset(
    {"exact", "bodies", "settle_ms", "connect_ms", "latency_ms", "chop", "recovers", "reaches", "promise", "part"}
)
_HINTS: Mapping[Any, Mapping[str, Any]] = {
    cls: typing.get_type_hints(cls)
    for cls in (Account, Call, Crash, Injection, Key, Reply, Scenario, StoreFailure, World)
}
_NOT_OF_A_CALL = ("own_body", "literal_secret")
_NAME = re.compile(r"\w+(\.\w+)*", re.ASCII)
_HEAD = {"scenario": str, "seed": int, "mode": str, "target": str, "mutant": str}
"""What a plan says first, and of what type it is."""


class PlanError(ValueError):
    """A plan that no scenario can be made from; the message says what is wrong with it."""


def read_plan(path: Path) -> dict[str, Any]:
    """Return the plan in a saved file, a ``history.jsonl``, or the scenario folder that holds one. Raises PlanError."""
    file = path / "history.jsonl" if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            text = opened.readline() if file.suffix == ".jsonl" else opened.read()
        plan = orjson.loads(text)
    except OSError as error:
        raise PlanError(f"{file}: {error.strerror or error}") from None
    except orjson.JSONDecodeError as error:
        raise PlanError(f"{file}: not JSON: {error}") from None
    if not isinstance(plan, dict) or plan.get("span") != "plan":
        raise PlanError(f"{file}: no plan; a history's first line is one, and so is what harness swarm saves")
    if plan.get("schema") != SCHEMA:
        raise PlanError(f"{file}: schema {plan.get('schema')!r}; this version reads {SCHEMA}")
    wrong = [name for name, kind in _HEAD.items() if not isinstance(plan.get(name), kind)]
    if wrong or plan["seed"] < 0:
        raise PlanError(f"{file}: its {', '.join(wrong) or 'seed'} is missing or no such thing")
    return plan


def scenario_of(plan: Mapping[str, Any], checks: Mapping[str, Checker]) -> Scenario:
    """Return the scenario of a plan, its probes of recovery left out; run with the plan's seed, it is the same run.

    Raises PlanError for a check that is gone, a call that carried a literal credential or a body too long to be kept
    (no record has them), and for anything that is not as ``plan_of`` writes it.
    """
    try:
        if not _NAME.fullmatch(str(plan["scenario"])):  # a folder is named after it
            raise PlanError(f"the plan's scenario is called {plan['scenario']!r}: letters, digits, _ and . make a name")
        options = plan["options"]
        world = _world(options["world"])
        unknown = [name for name in options["checks"] if name not in checks]
        if unknown:
            raise PlanError(f"the plan names checks that are gone: {', '.join(map(str, unknown))}")
        calls = [
            _call(planned)
            for planned in plan["calls"]
            if not (planned["account"] == PROBE_ACCOUNT and planned["detail"].get("tag") in _PROBE_TAGS)
        ]
        return _made(
            Scenario,
            {name: value for name, value in options.items() if name in _OPTIONS},
            name=str(plan["scenario"]),
            world=world,
            workload=Workload(Workload(tuple(calls)).numbered()),
            checks=tuple(checks[name] for name in options["checks"]),
            injections=tuple(_injection(value) for value in options["injections"]),
            crashes=tuple(_made(Crash, value) for value in options["crashes"]),
            store_failures=tuple(_made(StoreFailure, value) for value in options["store_failures"]),
        )
    except PlanError:
        raise
    except KeyError as error:
        raise PlanError(f"the plan has no {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise PlanError(f"the plan is not as a history has it: {error}") from None


def _world(value: Mapping[str, Any]) -> World:
    accounts = tuple(
        _made(Account, {**account, "keys": tuple(_made(Key, key) for key in account["keys"])})
        for account in value["accounts"]
    )
    return _made(World, {**value, "accounts": accounts})


def _call(planned: Mapping[str, Any]) -> Call:
    detail: dict[str, Any] = {k: v for k, v in planned["detail"].items() if k not in _NOT_OF_A_CALL}
    whose = f"call {planned['id']}"
    if planned["detail"].get("literal_secret"):
        raise PlanError(f"{whose} carried a literal credential, which no record holds")
    if planned["detail"].get("own_body"):
        if "body" not in detail:
            raise PlanError(f"{whose} had a body too long for the plan to keep")
        try:
            detail["body"] = b64decode(detail["body"], validate=True)
        except binascii.Error as error:
            raise PlanError(f"{whose}: its body is no base64: {error}") from None
    given = detail.get("fields", {})
    if not isinstance(given, dict):
        raise PlanError(f"{whose} had fields too long for the plan to keep")
    detail["fields"] = {name: value[0] if value else ... for name, value in given.items()}
    if "reply" in detail:
        detail["reply"] = _made(Reply, detail["reply"])
    at_us = planned["at"]
    return _made(
        Call,
        detail,
        **{name: planned[name] for name in ("id", "account", "key", "surface", "model", "stream")},
        at_ms=None if at_us is None else at_us / 1e3,
        after=tuple(filter(None, planned["after"].split(","))),
    )


def _injection(value: Mapping[str, Any]) -> Injection:
    fault = FaultSpec(value["fault"]["name"], value["fault"]["params"])
    return _made(Injection, {**value, "fault": fault})


def _made(cls: type[Made], *given: Mapping[str, Any], **more: Any) -> Made:
    """Return a ``cls`` of the values given, lists as tuples. Raises PlanError for an unknown field or a wrong type."""
    values = {name: _frozen(value) for one in (*given, more) for name, value in one.items()}
    hints = _HINTS[cls]
    for name, value in values.items():
        if name not in hints:
            raise PlanError(f"{cls.__name__} has no field {name!r}; it has {', '.join(sorted(hints))}")
        if not _fits(value, hints[name]):
            raise PlanError(f"{cls.__name__}.{name} cannot be {value!r}")
    return cls(**values)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _fits(value: Any, hint: Any) -> bool:
    """Say whether ``value`` is one of what ``hint``, of a scenario's field, allows."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, inner[0]) for one in value)
    if origin in (Mapping, dict):
        return isinstance(value, Mapping)
    if hint is Any:
        return True
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
