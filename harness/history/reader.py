"""Reads a run folder's ``history.jsonl``, or refuses it by file, line and field; it may judge nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict, get_args, get_type_hints

import orjson

from harness.history.spans import (
    SCHEMA,
    AttemptSpan,
    CallSpan,
    FaultSpan,
    LedgerEntry,
    Note,
    Plan,
    PlannedCall,
    Reading,
    UsageRow,
)
from harness.history.whole import History
from harness.shape import problems, told


class HistoryError(Exception):
    """A history that cannot be read; the message says which file and line, and what is wrong."""


class _Key(TypedDict):
    id: str
    state: str


class _Account(TypedDict):
    id: str
    credits: int
    keys: list[_Key]


class _Upstream(TypedDict):
    role: str
    listener: NotRequired[str]


class _Fault(TypedDict):
    name: str
    params: NotRequired[dict[str, Any]]


class _Injection(TypedDict):
    id: str
    role: str
    fault: _Fault


class _Crash(TypedDict):
    at_ms: float
    after: NotRequired[list[str]]


class _Options(TypedDict):
    checks: NotRequired[list[str]]
    reaches: NotRequired[list[str]]
    crashes: NotRequired[list[_Crash]]
    store_failures: NotRequired[list[dict[str, Any]]]
    connect_ms: NotRequired[float]
    latency_ms: NotRequired[float]
    part: NotRequired[str]
    promise: NotRequired[str]
    wall_us: NotRequired[int]


class _Plan(TypedDict):
    """What of a plan is looked into; the other fields are those of ``Plan``."""

    accounts: list[_Account]
    upstreams: list[_Upstream]
    calls: list[dict[str, Any]]
    injections: list[_Injection]
    options: _Options


_KINDS: Mapping[str, tuple[str, type[Any]]] = {
    "call": ("calls", CallSpan),
    "attempt": ("attempts", AttemptSpan),
    "ledger": ("ledger", LedgerEntry),
    "usage": ("usage", UsageRow),
    "fault": ("faults", FaultSpan),
    "note": ("notes", Note),
}


def read_history(folder: Path) -> History:
    """Read a run folder's history. Raises HistoryError, which names the file, the line and what is wrong."""
    path = folder / "history.jsonl"
    try:
        with path.open("rb") as file:
            return parsed(file, str(path), _Bodies(folder / "bodies"), trusted=False)
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror or error}") from error


class _Bodies(Mapping[str, bytes]):
    """The bodies of a run folder, read when asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, digest: str) -> bytes:
        if not digest.isalnum():
            raise KeyError(digest)
        try:
            return (self._folder / digest).read_bytes()
        except OSError as error:
            raise KeyError(digest) from error

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in sorted(self._folder.iterdir())) if self._folder.is_dir() else iter(())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def parsed(lines: Iterable[bytes], where: str, bodies: Mapping[str, bytes], *, trusted: bool) -> History:
    """Return the history that ``lines`` of ``where`` are. Raises HistoryError.

    ``trusted``: this process wrote them, so that nobody needs to look whether they are as they must be.
    """
    found: dict[str, list[Any]] = {attribute: [] for attribute, _ in _KINDS.values()}
    plan: Plan | None = None
    for number, line in enumerate(lines, 1):
        try:
            value = orjson.loads(line)
            kind = value.pop("span")
            if kind == "plan":
                if value["schema"] != SCHEMA:
                    raise HistoryError(f"{where}:{number}: schema {value['schema']!r}; this version reads {SCHEMA}")
                value = value if trusted else _sound_plan(value, f"{where}:{number}")
                value["calls"] = tuple(PlannedCall(**call) for call in value["calls"])
                plan = Plan(**{key: _frozen(item) for key, item in value.items()})
                continue
            attribute, cls = _KINDS[kind]
            value = value if trusted else _sound(cls, value, f"{where}:{number}", kind)
            if "reading" in value:
                value["reading"] = Reading(**{key: _frozen(item) for key, item in value["reading"].items()})
            found[attribute].append(cls(**{key: _frozen(item) for key, item in value.items()}))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise HistoryError(f"{where}:{number}: not a span of {SCHEMA}: {error}") from error
    if plan is None:
        raise HistoryError(f"{where}: no plan line; a history starts with one")
    return History(plan, bodies=bodies, **{attribute: tuple(spans) for attribute, spans in found.items()})


def _sound_plan(value: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a plan without what nobody knows. Raises HistoryError for what is missing or of another type."""
    _refuse(problems(value, _Plan, "plan"), where)
    calls = [_sound(PlannedCall, call, where, f"plan.calls[{n}]") for n, call in enumerate(value["calls"])]
    return _sound(Plan, {**value, "calls": []}, where, "plan") | {"calls": calls}


def _sound(cls: Any, value: Mapping[str, Any], where: str, kind: str) -> dict[str, Any]:
    """Return the fields of a span that are known. Raises HistoryError for one that is missing or of another type."""
    known = {name: value[name] for name in _hints(cls) if name in value}
    for field in fields(cls):
        if field.name not in known:
            if field.default is MISSING and field.default_factory is MISSING:
                raise HistoryError(f"{where}: {kind}.{field.name}: missing; it is {told(_hints(cls)[field.name])}")
        elif type(known[field.name]) not in _plain(cls)[field.name]:
            if field.name == "reading":
                _refuse(problems(known["reading"], dict[str, Any], f"{kind}.reading"), where)
                known["reading"] = _sound(Reading, known["reading"], where, f"{kind}.reading")
            else:
                _refuse(problems(known[field.name], _hints(cls)[field.name], f"{kind}.{field.name}"), where)
    return known


def _refuse(found: Iterable[str], where: str) -> None:
    said = list(found)
    if said:
        raise HistoryError("\n".join(f"{where}: {one}" for one in said))


@cache
def _hints(cls: Any) -> Mapping[str, Any]:
    return get_type_hints(cls)


@cache
def _plain(cls: Any) -> Mapping[str, frozenset[type]]:
    """Return the types whose values need no further look, by field: most are such, and there are many spans."""
    return {
        name: frozenset(one for one in (*get_args(hint), hint) if one in (str, int, bool, type(None)))
        for name, hint in _hints(cls).items()
    }


def _frozen(value: Any) -> Any:
    return (
        tuple(tuple(item) if isinstance(item, list) else item for item in value) if isinstance(value, list) else value
    )
