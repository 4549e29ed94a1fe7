"""Reads of a large history what a report needs: all calls and attempts without their content, and named calls whole."""

from __future__ import annotations

import gc
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from harness.history import (
    AttemptSpan,
    CallSpan,
    FaultSpan,
    History,
    HistoryError,
    LedgerEntry,
    Note,
    Plan,
    PlannedCall,
    Reading,
    UsageRow,
)

_START = re.compile(rb'\{\s*"span"\s*:\s*"(\w+)"')
_IDS_WITHIN = 512
"""Bytes of a line within which its ids stand: looking no further saves a third of the time."""
_BLANK = Reading()
_KINDS: dict[bytes, tuple[str, type[Any]]] = {
    b"call": ("calls", CallSpan),
    b"attempt": ("attempts", AttemptSpan),
    b"ledger": ("ledger", LedgerEntry),
    b"usage": ("usage", UsageRow),
    b"fault": ("faults", FaultSpan),
    b"note": ("notes", Note),
}
_WHOLE_ALWAYS = frozenset({b"fault", b"note"})
_CONTENT = {
    b"call": {"headers": {}, "reading": _BLANK, "chunks": (), "pings": (), "claims": {}},
    b"attempt": {"headers": {}, "reading": _BLANK},
}


def read_thin(folder: Path, whole: Collection[str]) -> History:
    """Return a history with content, ledger and usage for the calls of ``whole`` alone. Raises HistoryError."""
    path = folder / "history.jsonl"
    try:
        with path.open("rb") as file, _uncollected():
            return _parse(file, str(path), whole)
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror or error}") from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector from searching what is all kept: half of the time goes there otherwise."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _parse(lines: Iterable[bytes], where: str, whole: Collection[str]) -> History:
    found: dict[str, list[Any]] = {name: [] for name, _ in _KINDS.values()}
    ids = b"|".join(re.escape(orjson.dumps(call)) for call in sorted(whole))
    named = re.compile(rb'"(?:id|call)"\s*:\s*(?:' + ids + rb")")
    planned: list[PlannedCall] = []
    plan: Plan | None = None
    for number, line in enumerate(lines, 1):
        try:
            start = _START.match(line)
            kind = start[1] if start is not None else b""
            if kind == b"plan":
                plan = _plan(orjson.loads(line))
                continue
            if kind == b"planned":
                value = orjson.loads(line)
                del value["span"]
                planned.append(PlannedCall(**value))
                continue
            name, made = _KINDS[kind]
            keep = kind in _WHOLE_ALWAYS or (bool(whole) and named.search(line, 0, _IDS_WITHIN) is not None)
            if not keep and kind not in _CONTENT:
                continue
            value = orjson.loads(line)
            del value["span"]
            if not keep:
                value.update(_CONTENT[kind])
            found[name].append(made(**(_tidied(value) if keep else value)))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise HistoryError(f"{where}:{number}: not a span: {error}") from error
    if plan is None:
        raise HistoryError(f"{where}: no plan line; a history starts with one")
    spans: dict[str, Any] = {name: tuple(of_kind) for name, of_kind in found.items()}
    return History(replace(plan, calls=(*plan.calls, *planned)), bodies={}, **spans)


def _plan(value: dict[str, Any]) -> Plan:
    del value["span"]
    calls = tuple(PlannedCall(**call) for call in value.pop("calls"))
    return Plan(calls=calls, **{name: _frozen(item) for name, item in value.items()})


def _tidied(value: dict[str, Any]) -> dict[str, Any]:
    if "reading" in value:
        value["reading"] = Reading(**{name: _frozen(item) for name, item in value["reading"].items()})
    return {name: _frozen(item) for name, item in value.items()}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
