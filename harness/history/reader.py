"""Reads a ``history.jsonl``, whole or in chapters, or refuses it by file, line and field; it may judge nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, NotRequired, TypedDict, get_args, get_origin, get_type_hints

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

CHAPTER = b'{"span":"note","kind":"chapter",'
"""What the line of the note begins with that ends a chapter."""


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
    "planned": ("planned", PlannedCall),
    "call": ("calls", CallSpan),
    "attempt": ("attempts", AttemptSpan),
    "ledger": ("ledger", LedgerEntry),
    "usage": ("usage", UsageRow),
    "fault": ("faults", FaultSpan),
    "note": ("notes", Note),
}


def read_history(folder: Path) -> History:
    """Read a run folder's history. Raises HistoryError, which names the file, the line and what is wrong."""
    with _opened(folder) as (lines, where, bodies):
        return parsed(enumerate(lines, 1), where, bodies, trusted=False)


def read_plan(folder: Path) -> Plan:
    """Read the plan of a run folder's history, calls that have lines of their own left out. Raises HistoryError."""
    with _opened(folder) as (lines, where, bodies):
        return parsed(islice(enumerate(lines, 1), 1), where, bodies, trusted=False).plan


def read_chapters(folder: Path) -> Iterator[History]:
    """Yield a run folder's history in chapters, as ``chapters`` does. Raises HistoryError."""
    with _opened(folder) as (lines, where, bodies):
        yield from chapters(lines, where, bodies, trusted=False)


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[Iterable[bytes], str, Mapping[str, bytes]]]:
    path = folder / "history.jsonl"
    try:
        with path.open("rb") as file:
            yield file, str(path), _Bodies(folder / "bodies")
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror or error}") from error


def chapters(lines: Iterable[bytes], where: str, bodies: Mapping[str, bytes], *, trusted: bool) -> Iterator[History]:
    """Yield the chapters of a run's ``lines`` as they come, each with what checkers kept of the one before it.

    A run without chapters is one. No more than one is in memory if whoever asks lets go of each before the next.
    Raises HistoryError.
    """
    numbered = enumerate(lines, 1)
    plan = tuple(islice(numbered, 1))
    before: Mapping[str, Any] = {}
    upcoming = next(numbered, None)
    while True:
        spans = _to_its_end(upcoming, numbered)
        history = parsed(chain(plan, spans), where, bodies, trusted=trusted, before=before)
        before = history.after
        yield history
        del history
        upcoming = next(numbered, None)
        if upcoming is None:
            return


def _to_its_end(first: tuple[int, bytes] | None, rest: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield a chapter's lines with their numbers, from its ``first`` to the note that ends it."""
    if first is None:
        return
    for numbered in chain((first,), rest):
        yield numbered
        if numbered[1].startswith(CHAPTER):
            return


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


def parsed(
    lines: Iterable[tuple[int, bytes]],
    where: str,
    bodies: Mapping[str, bytes],
    *,
    trusted: bool,
    before: Mapping[str, Any] | None = None,
) -> History:
    """Return the history that the numbered ``lines`` of ``where`` are. Raises HistoryError.

    ``trusted``: the harness wrote them, so that nobody needs to look whether they are as they must be. ``before`` is
    what was kept of the chapter before it.
    """
    found: dict[str, list[Any]] = {attribute: [] for attribute, _ in _KINDS.values()}
    plan: Plan | None = None
    for number, line in lines:
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
                value["reading"] = _made(Reading, value["reading"])
            found[attribute].append(_made(cls, value))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise HistoryError(f"{where}:{number}: not a span of {SCHEMA}: {error}") from error
    if plan is None:
        raise HistoryError(f"{where}: no plan line; a history starts with one")
    planned = found.pop("planned")
    if planned:
        plan = replace(plan, calls=(*plan.calls, *planned))
    spans = {attribute: tuple(of_kind) for attribute, of_kind in found.items()}
    return History(plan, bodies=bodies, before=before or {}, **spans)


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


def _made(cls: Any, value: dict[str, Any]) -> Any:
    """Return a span of its fields, with tuples for those that are such; changes ``value`` in place."""
    for name in _tuples(cls):
        item = value.get(name)
        if item is not None:
            value[name] = _frozen(item) if item else ()
    return cls(**value)


@cache
def _tuples(cls: Any) -> tuple[str, ...]:
    """Return the names of the fields that are tuples: few, and there are many spans."""
    return tuple(
        name for name, hint in _hints(cls).items() if tuple in (get_origin(hint), *map(get_origin, get_args(hint)))
    )


def _frozen(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return tuple([tuple(item) if isinstance(item, list) else item for item in value])
