"""What is decided before the first call, as data: injections, and the plan line of the history."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any

import orjson

from harness.clients import path_of
from harness.environment.stage import Stage
from harness.history import SCHEMA
from harness.scenario import Call, Reply, Scenario, World, as_data

_REPLY_FIELDS = tuple(field.name for field in fields(Reply))
_reply_values = attrgetter(*_REPLY_FIELDS)
_UNPLANNED = frozenset(
    {
        "surface",
        "model",
        "at_ms",
        "id",
        "account",
        "key",
        "stream",
        "path",
        "secret",
        "body",
        "after",
        "fields",
    }
)
_DETAILS = {field.name: field.default for field in fields(Call) if field.name not in _UNPLANNED}
_DEFAULTS = tuple(_DETAILS.values())
_detail_values = attrgetter(*_DETAILS)
KEPT_BYTES = 64 << 10
"""A body, or a call's fields, up to this long stand in the plan; of longer ones it only says that they were there."""


def default_key(world: World, account: str) -> str:
    """Return the id of an account's first key. ValueError for an account that the world does not have."""
    for known in world.accounts:
        if known.id == account:
            return known.all_keys()[0].id
    raise ValueError(f"no account {account!r} in the scenario's world; there are {[a.id for a in world.accounts]}")


def injections_of(scenario: Scenario, calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Return the injections as data; accounts are resolved to calls, which is what an upstream can see."""
    made = []
    for number, injection in enumerate(scenario.injections, 1):
        data = asdict(injection)
        data["id"] = injection.id or f"i{number}"
        if injection.accounts:
            theirs = [call.id for call in calls if call.account in injection.accounts]
            data["calls"] = [call for call in theirs if not injection.calls or call in injection.calls]
        made.append(data)
    return made


def plan_of(
    scenario: Scenario,
    world: World,
    calls: Sequence[Call],
    injections: Sequence[Mapping[str, Any]],
    stage: Stage,
    *,
    seed: int,
    zero_s: float,
) -> dict[str, Any]:
    """Return the history's first line: all that was decided before the first call."""
    scenario_data = as_data(scenario)
    return {
        "schema": SCHEMA,
        "seed": seed,
        "mode": stage.mode,
        "scenario": scenario.name,
        "target": stage.target,
        "mutant": stage.mutant,
        "epoch_s": stage.epoch_s,
        "contract": stage.contract.data,
        "overlay": dict(scenario.world.overlay),
        "claims": list(stage.claims),
        "accounts": [
            {
                "id": account.id,
                "credits": account.credits,
                "keys": [
                    {"id": key.id, "state": key.state, "digest": digest(stage.secrets[key.id])}
                    for key in account.all_keys()
                ],
            }
            for account in world.accounts
        ],
        "upstreams": [
            {
                "name": role,
                "role": role,
                "listener": world.listeners.get(role, "open"),
                "credential": digest(address.credential),
            }
            for role, address in stage.upstreams.items()
        ],
        "calls": [planned(call, world) for call in calls],
        "injections": list(injections),
        "skew_us": stage.skew_us,
        "taps": [
            *stage.running.taps,
            *(("journal",) if stage.control else ()),
            *(("bodies",) if scenario.bodies else ()),
        ],
        "options": {**orjson.loads(orjson.dumps(scenario_data, default=_as_text)), **_wall(stage, zero_s)},
    }


def _wall(stage: Stage, zero_s: float) -> dict[str, int]:
    """Return the gateway's wall time at the run's zero in microseconds, where the harness is the one to set it."""
    if stage.mode == "remote":
        return {}
    return {"wall_us": round((stage.epoch_s + zero_s - stage.gateway_zero_s) * 1e6)}


def planned(call: Call, world: World) -> dict[str, Any]:
    """Return a call as the plan has it."""
    told = zip(_DETAILS, _DEFAULTS, _detail_values(call), strict=True)
    detail = {name: value for name, default, value in told if value is not default and value != default}
    if call.secret is not None:
        detail["literal_secret"] = True  # nobody's key; which one, no record tells
    if "reply" in detail:
        detail["reply"] = dict(zip(_REPLY_FIELDS, _reply_values(call.reply), strict=True))
    if call.fields:
        detail["fields"] = _fields(call.fields)
    if call.body is not None:
        detail["own_body"] = True
        if len(call.body) <= KEPT_BYTES:
            detail["body"] = b64encode(call.body).decode()
    if call.path:
        detail["path"] = call.path
    return {
        "id": call.id,
        "account": call.account,
        "key": call.key or default_key(world, call.account),
        "surface": call.surface,
        "model": call.model,
        "stream": call.stream,
        "at": None if call.at_ms is None or call.after else round(call.at_ms * 1e3),
        "after": ",".join(call.after),
        "path": path_of(call).partition("?")[0],
        "detail": detail,
    }


def _fields(given: Mapping[str, Any]) -> dict[str, Any] | list[str]:
    """Return each field's value in a list, an empty one for a field that is left out; the names alone of long ones."""
    values = {name: [] if value is ... else [value] for name, value in given.items()}
    return values if len(orjson.dumps(values)) <= KEPT_BYTES else list(given)


def digest(secret: str) -> str:
    """Return the first 16 hex digits of a secret's sha256: how histories name it."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    raise TypeError(f"not JSON: {value!r}")
