"""Reads a plan back into the scenario that it was made from: the other half of ``plan``; it runs nothing."""

from __future__ import annotations

import binascii
import re
import typing
from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar

import orjson

from harness.branches import BRANCHES
from harness.checker import Checker
from harness.checkers.recovery import PROBE, WARM_UP
from harness.clients import CLIENTS, SURFACES
from harness.contract.problems import near
from harness.environment.probes import PROBE_ACCOUNT
from harness.history import SCHEMA, Plan, PlannedCall
from harness.scenario import (
    Account,
    Call,
    Crash,
    FullDisk,
    Injection,
    Key,
    Reply,
    Scenario,
    SecondGateway,
    StoreFailure,
    Workload,
    World,
)
from harness.shape import fits, problems, short, told
from mock_upstreams.faults import FaultSpec

Made = TypeVar("Made")
_PROBE_TAGS = (PROBE, WARM_UP)
_HINTS: Mapping[Any, Mapping[str, Any]] = {
    cls: typing.get_type_hints(cls)
    for cls in (
        *(Account, Call, Crash, FullDisk, Injection, Key, Reply),
        *(Scenario, SecondGateway, StoreFailure, World),
    )
}
_MISHAPS: Mapping[str, Any] = {
    "crashes": Crash,
    "store_failures": StoreFailure,
    "full_disks": FullDisk,
    "second_gateways": SecondGateway,
}
_OPTIONS = frozenset(
    {"exact", "process", "bodies", "settle_ms", "connect_ms", "latency_ms", "chop", "recovers", "reaches", "promise"}
) | {"part"}
"""What of a scenario stands in a plan's options as it is."""
_NOT_OF_A_CALL = ("own_body", "literal_secret")
_NAME = re.compile(r"\w+(\.\w+)*", re.ASCII)


class _World(TypedDict):
    accounts: list[dict[str, Any]]


class _Fault(TypedDict):
    name: str
    params: dict[str, Any]


class _Injection(TypedDict):
    fault: _Fault


class _Options(TypedDict):
    world: _World
    checks: list[str]
    injections: list[_Injection]
    crashes: list[dict[str, Any]]
    store_failures: list[dict[str, Any]]
    full_disks: NotRequired[list[dict[str, Any]]]
    second_gateways: NotRequired[list[dict[str, Any]]]
    reaches: NotRequired[list[str]]


class _Plan(TypedDict):
    scenario: str
    seed: int
    mode: str
    target: str
    mutant: str
    options: _Options
    calls: list[PlannedCall]


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
    _refuse(file, list(problems(plan, _Plan, "plan")))
    if plan["seed"] < 0:
        raise PlanError(f"{file}: plan.seed: cannot be {plan['seed']}; it is a whole number from 0 on")
    return plan


def scenario_of(plan: Mapping[str, Any], checks: Mapping[str, Checker]) -> Scenario:
    """Return the scenario of a plan, its probes of recovery left out; run with the plan's seed, it is the same run.

    Raises PlanError for a check that is gone, a call that carried a literal credential or a body too long to be kept
    (no record has them), and for anything that is not as ``plan_of`` writes it.
    """
    _refuse("", list(problems(plan, _Plan, "plan")))
    if not _NAME.fullmatch(plan["scenario"]):  # a folder is named after it
        raise PlanError(f"the plan's scenario is called {plan['scenario']!r}: letters, digits, _ and . make a name")
    _known(plan, {"span", *(field.name for field in fields(Plan))}, "plan")
    options = plan["options"]
    _known(options, {*_OPTIONS, *_MISHAPS, "world", "checks", "injections", "name", "wall_us"}, "options")
    unknown = [name for name in options["checks"] if name not in checks]
    if unknown:
        raise PlanError(f"the plan names checks that are gone: {', '.join(map(str, unknown))}")
    for name in options.get("reaches", ()):
        one_of(name, BRANCHES, "options.reaches")
    mishaps = {
        name: tuple(_made(cls, f"options.{name}[{n}]", value) for n, value in enumerate(options.get(name, ())))
        for name, cls in _MISHAPS.items()
    }
    calls = [
        _call(planned, f"calls[{number}]")
        for number, planned in enumerate(plan["calls"])
        if not (planned["account"] == PROBE_ACCOUNT and planned["detail"].get("tag") in _PROBE_TAGS)
    ]
    world = _world(options["world"])
    _check_keys(calls, world)
    try:
        workload = Workload(Workload(tuple(calls)).numbered(mishaps["crashes"]))
    except ValueError as error:
        raise PlanError(f"calls: {error}") from None
    return _made(
        Scenario,
        "options",
        {name: value for name, value in options.items() if name in _OPTIONS},
        name=plan["scenario"],
        world=world,
        workload=workload,
        checks=tuple(checks[name] for name in options["checks"]),
        injections=tuple(
            _injection(value, f"options.injections[{n}]") for n, value in enumerate(options["injections"])
        ),
        **mishaps,
    )


def _refuse(file: Path | str, found: list[str]) -> None:
    """Raise PlanError with all that was ``found`` wrong, if anything was."""
    if found:
        raise PlanError("\n".join(f"{file}: {one}" if file else one for one in found))


def _known(value: Mapping[str, Any], names: Collection[str], where: str) -> None:
    for name in value:
        if name not in names:
            raise PlanError(f"{where} has no field {name!r}{near(name, names)}")


def one_of(value: str, known: Collection[str], where: str) -> None:
    """Raise PlanError, naming what is near, unless ``value``, which stands ``where``, is one of the ``known``."""
    if value not in known:
        raise PlanError(f"{where}: there is no {value!r}{near(value, known) or '; known: ' + ', '.join(sorted(known))}")


def _check_keys(calls: Sequence[Call], world: World) -> None:
    """Raise PlanError for a call of an account or with a key that the world does not have."""
    accounts = {account.id for account in world.accounts}
    keys = [key.id for account in world.accounts for key in account.all_keys()]
    for what, ids in (("accounts", [account.id for account in world.accounts]), ("keys", keys)):
        if len(set(ids)) < len(ids):
            raise PlanError(f"options.world.accounts: two {what} have one id")
    for call in calls:
        one_of(call.account, accounts, f"call {call.id}: account")
        for name, key in (("key", call.key), ("other_key", call.other_key)):
            if key:
                one_of(key, keys, f"call {call.id}: {name}")


def _world(value: Mapping[str, Any]) -> World:
    accounts = []
    for number, account in enumerate(value["accounts"]):
        where = f"options.world.accounts[{number}]"
        keys = account.get("keys", [])
        _refuse("", list(problems(keys, list[dict[str, Any]], f"{where}.keys")))
        made = tuple(_made(Key, f"{where}.keys[{n}]", key) for n, key in enumerate(keys))
        accounts.append(_made(Account, where, {**account, "keys": made}))
    return _made(World, "options.world", {**value, "accounts": tuple(accounts)})


def _call(planned: Mapping[str, Any], where: str) -> Call:
    _known(planned, {field.name for field in fields(PlannedCall)}, where)
    detail: dict[str, Any] = {k: v for k, v in planned["detail"].items() if k not in _NOT_OF_A_CALL}
    whose = f"call {planned['id']}"
    if planned["detail"].get("literal_secret"):
        raise PlanError(f"{whose} carried a literal credential, which no record holds")
    if planned["detail"].get("own_body"):
        detail["body"] = _body(detail.get("body"), whose)
    given = detail.get("fields", {})
    if not isinstance(given, dict):
        raise PlanError(f"{whose} had fields too long for the plan to keep")
    _refuse("", list(problems(given, dict[str, list[Any]], f"{where}.detail.fields")))
    detail["fields"] = {name: value[0] if value else ... for name, value in given.items()}
    if "reply" in detail:
        _refuse("", list(problems(detail["reply"], dict[str, Any], f"{where}.detail.reply")))
        detail["reply"] = _made(Reply, f"{where}.detail.reply", detail["reply"])
    one_of(planned["surface"], SURFACES, f"{where}.surface")
    if detail.get("client"):
        one_of(str(detail["client"]), CLIENTS, f"{where}.detail.client")
    at_us = planned["at"]
    return _made(
        Call,
        f"{where}.detail",
        detail,
        **{name: planned[name] for name in ("id", "account", "key", "surface", "model", "stream")},
        at_ms=None if at_us is None else at_us / 1e3,
        after=tuple(filter(None, planned["after"].split(","))),
    )


def _body(kept: object, whose: str) -> bytes:
    if kept is None:
        raise PlanError(f"{whose} had a body too long for the plan to keep")
    try:
        return b64decode(str(kept), validate=True)
    except binascii.Error as error:
        raise PlanError(f"{whose}: its body is no base64: {error}") from None


def _injection(value: Mapping[str, Any], where: str) -> Injection:
    try:
        fault = FaultSpec(value["fault"]["name"], value["fault"]["params"])
    except ValueError as error:
        raise PlanError(f"{where}.fault: {error}") from None
    return _made(Injection, where, {**value, "fault": fault})


def _made(cls: type[Made], where: str, *given: Mapping[str, Any], **more: Any) -> Made:
    """Return a ``cls`` of the values given, lists as tuples. Raises PlanError for a field that is not as it has it."""
    values = {name: _frozen(value) for one in (*given, more) for name, value in one.items()}
    hints = _HINTS[cls]
    for name, value in values.items():
        if name not in hints:
            raise PlanError(f"{where}: {cls.__name__} has no field {name!r}{near(name, hints)}")
        if not fits(value, hints[name]):
            raise PlanError(f"{where}: {cls.__name__}.{name} cannot be {short(value)}; it is {told(hints[name])}")
    try:
        return cls(**values)
    except TypeError as error:  # a field without a default is missing: the error names it
        raise PlanError(f"{where}: {error}") from None


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
