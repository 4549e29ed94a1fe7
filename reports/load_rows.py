"""A recorded load as columns: what was planned and seen of every call and every attempt, read line by line, once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from harness.checkers.load_memory import MB, NOTE
from harness.contract import Contract, contract_from_json
from harness.history import HistoryError

if TYPE_CHECKING:
    import pandas

CALLS = (
    "id", "account", "model", "surface", "stream", "tag", "planned_us", "sent_us", "first_byte_us", "first_content_us",
    "end_us", "outcome", "status", "chunks", "longest_gap_us", "upstream_us", "tokens", "output_tokens", "images",
)  # fmt: skip
"""A row per planned call: instants in µs since the run's zero, none where there was none; tokens and images as
the upstream served them; ``upstream_us`` the first arrival at one."""
ATTEMPTS = ("call", "model", "start_us", "attached_us")
MEMORY = ("second", "process", "calls", "resident_mb")


@dataclass(frozen=True)
class Rows:
    """A load's plan (without its calls), contract, notes, and columns."""

    plan: Mapping[str, Any]
    contract: Contract
    calls: pandas.DataFrame
    attempts: pandas.DataFrame
    memory: pandas.DataFrame
    """A row per process and second: when (s), the calls that had ended, what it had in memory (MB)."""
    notes: Mapping[str, Mapping[str, Any]]

    @property
    def load(self) -> Mapping[str, Any]:
        """What the plan says of the load."""
        told: Mapping[str, Any] = self.plan["options"]["load"]
        return told


def read_rows(folder: Path) -> Rows:
    """Read the load that was recorded in ``folder``. Raises HistoryError, also for a run that was no load."""
    import pandas

    path = folder / "history.jsonl"
    plan: dict[str, Any] = {}
    calls: dict[str, list[Any]] = {}
    attempts: list[tuple[Any, ...]] = []
    notes: dict[str, Mapping[str, Any]] = {}
    memory: list[tuple[Any, ...]] = []
    number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                span = orjson.loads(line)
                match span["span"]:
                    case "plan":
                        for call in span.pop("calls"):
                            calls[call["id"]] = _planned(call)
                        plan = span
                    case "planned":
                        calls[span["id"]] = _planned(span)
                    case "call":
                        _saw(calls[span["id"]], span)
                    case "attempt":
                        attempts.append((span["call"], span["model"], span["start"], span["attached"]))
                        if span["call"] in calls:
                            _served(calls[span["call"]], span)
                    case "note" if span["kind"] == NOTE:
                        memory += _sampled(span["at"], span["detail"])
                    case "note":
                        notes[span["kind"]] = span["detail"]
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise HistoryError(f"{path}:{number}: not a span of a load: {error}") from error
    if "load" not in plan.get("options", {}):
        raise HistoryError(f"{path}: no load was recorded here")
    whole = dict.fromkeys(("planned_us", "sent_us", "first_byte_us", "first_content_us", "end_us"), "Int64")
    whole |= dict.fromkeys(
        ("status", "chunks", "longest_gap_us", "upstream_us", "tokens", "output_tokens", "images"), "Int64"
    )
    frame = pandas.DataFrame.from_records(list(calls.values()), columns=list(CALLS)).astype(whole)
    seen = pandas.DataFrame.from_records(attempts, columns=list(ATTEMPTS))
    sampled = pandas.DataFrame.from_records(memory, columns=list(MEMORY))
    return Rows(plan, contract_from_json(plan["contract"]), frame, seen, sampled, notes)


_COUNTS = (
    *("prompt_tokens", "completion_tokens"),
    *("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"),
)
"""What a usage object counts that stands beside, and not inside, what else it counts: of each dialect some."""
_AT = {name: place for place, name in enumerate(CALLS)}


def _planned(call: Mapping[str, Any]) -> list[Any]:
    row: list[Any] = [None] * len(CALLS)
    row[:7] = (
        *(call[name] for name in ("id", "account", "model", "surface", "stream")),
        call["detail"].get("tag", ""),
        call["at"],
    )
    row[_AT["outcome"]] = "not sent"
    return row


def _saw(row: list[Any], span: Mapping[str, Any]) -> None:
    arrivals = span["chunks"]
    gaps = [after - before for before, after in pairwise(arrivals)]
    row[7:15] = (
        *(span[name] for name in ("sent", "first_byte", "first_content", "end", "outcome", "status")),
        len(arrivals),
        max(gaps, default=None),
    )


def _sampled(at_us: int, told: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for process, size in told["resident"].items():
        yield round(at_us / 1e6, 3), process, told["ended"], round(size / MB, 2)


def _served(row: list[Any], span: Mapping[str, Any]) -> None:
    """Take an attempt's arrival, and the tokens and images that it served: those of the last one stand."""
    first = _AT["upstream_us"]
    row[first] = span["start"] if row[first] is None else min(row[first], span["start"])
    usage = span["reading"]["usage"]
    if not isinstance(usage, dict):
        return
    told = {name: int(usage.get(name) or 0) for name in _COUNTS}
    output = told["completion_tokens"] + told["output_tokens"]
    images = span["reading"]["text"].count("\n") if span["surface"] == "images" else 0  # a line for each
    row[first + 1 :] = (sum(told.values()), output, images)
