"""Arrival traces of others: when which sizes were asked for, read row by row; it sends nothing.

Three public formats are told by their first line: the Azure LLM inference traces (CSV: TIMESTAMP, ContextTokens,
GeneratedTokens), BurstGPT (CSV: Timestamp in seconds, Request tokens, Response tokens, where none is a failure) and
Mooncake (JSONL: timestamp in milliseconds, input_length, output_length).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

MOST_TOKENS = 100_000_000
"""More than any model takes: a row with more is garbage, not a long prompt."""
_LONGEST_LINE = 1 << 20


class TraceError(ValueError):
    """A trace that cannot be replayed; the message names file and row, and what is wrong there."""


class Arrival(NamedTuple):
    """One row: microseconds since the trace's first, and the tokens of prompt and answer."""

    at_us: int
    input: int
    output: int


@dataclass(frozen=True, slots=True)
class _Format:
    name: str
    time: str
    input: str
    output: str
    instant: Callable[[Any], int]

    @property
    def columns(self) -> tuple[str, str, str]:
        return self.time, self.input, self.output


def _azure_us(text: Any) -> int:
    """Return an instant such as ``2023-11-16 18:17:03.9799600``, of which six decimals count."""
    whole, _, fraction = str(text).strip().partition(".")
    moment = datetime.fromisoformat(whole)
    if fraction and not fraction.isdigit():
        raise ValueError(text)
    days = moment.toordinal() * 86_400
    return (days + moment.hour * 3600 + moment.minute * 60 + moment.second) * 1_000_000 + int((fraction + "000000")[:6])


def _scaled(by: int) -> Callable[[Any], int]:
    def instant(value: Any) -> int:
        if isinstance(value, bool):
            raise ValueError(value)
        at = Decimal(str(value).strip()) * by
        if not at.is_finite() or abs(at) > 10**18:
            raise ValueError(value)
        return int(at)

    return instant


_AZURE = _Format("Azure LLM inference", "TIMESTAMP", "ContextTokens", "GeneratedTokens", _azure_us)
_BURSTGPT = _Format("BurstGPT", "Timestamp", "Request tokens", "Response tokens", _scaled(1_000_000))
_MOONCAKE = _Format("Mooncake", "timestamp", "input_length", "output_length", _scaled(1_000))


def read_trace(path: Path) -> Iterator[Arrival]:
    """Yield the rows of a trace, one at a time. Raises TraceError, with file and row, when it comes to a bad one."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from _arrivals(path, file)
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: it is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error


def check_trace(path: Path, within_us: int) -> tuple[int, int]:
    """Read the rows of a trace's first ``within_us`` and return their number and the last one's instant.

    Raises TraceError for a bad row among them, and for a trace without any row.
    """
    count, last_us = 0, 0
    for arrival in read_trace(path):
        if arrival.at_us >= within_us:
            break
        count, last_us = count + 1, arrival.at_us
    if not count:
        raise TraceError(f"{path}: it has no row")
    return count, last_us


def _arrivals(path: Path, file: IO[str]) -> Iterator[Arrival]:
    first = file.readline(_LONGEST_LINE)
    if not first.strip():
        raise TraceError(f"{path}: it is empty")
    if first.lstrip().startswith("{"):
        yield from _in_order(path, _MOONCAKE, _json_rows(path, chain([first], file)))
        return
    columns = [name.strip() for name in next(csv.reader([first.removeprefix("\ufeff")]))]
    for form in (_AZURE, _BURSTGPT):
        if set(form.columns) <= set(columns):
            yield from _in_order(path, form, _csv_rows(path, columns, file))
            return
    known = "; ".join(f"{form.name}: {', '.join(form.columns)}" for form in (_AZURE, _BURSTGPT, _MOONCAKE))
    raise TraceError(f"{path}:1: no known trace has the columns {', '.join(columns)[:200]}; known are {known}")


def _csv_rows(path: Path, columns: list[str], file: IO[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows = csv.reader(file)
    try:
        for row in rows:
            if not row:
                continue
            if len(row) != len(columns):
                raise TraceError(f"{path}:{rows.line_num + 1}: {len(row)} cells, and there are {len(columns)} columns")
            yield rows.line_num + 1, dict(zip(columns, row, strict=True))
    except csv.Error as error:
        raise TraceError(f"{path}:{rows.line_num + 1}: {error}") from error


def _json_rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise TraceError(f"{path}:{number}: it is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise TraceError(f"{path}:{number}: it is not a JSON object")
        yield number, row


def _in_order(path: Path, form: _Format, rows: Iterator[tuple[int, Mapping[str, Any]]]) -> Iterator[Arrival]:
    zero: int | None = None
    last = 0
    for number, row in rows:
        where = f"{path}:{number}"
        at = _instant(where, form, row)
        zero = at if zero is None else zero
        if at - zero < last:
            raise TraceError(f"{where}: {form.time} {row[form.time]!r} is before the row above it: sort the trace")
        last = at - zero
        yield Arrival(last, _tokens(where, row, form.input), _tokens(where, row, form.output))


def _instant(where: str, form: _Format, row: Mapping[str, Any]) -> int:
    value = row.get(form.time)
    try:
        at = form.instant(value)
    except (ValueError, InvalidOperation) as error:
        raise TraceError(f"{where}: {form.time} {value!r} is no time as {form.name} has them") from error
    if at < 0:
        raise TraceError(f"{where}: {form.time} {value!r} is negative")
    return at


def _tokens(where: str, row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    try:
        count = int(str(value).strip()) if not isinstance(value, bool) else -1
    except ValueError:
        count = -1
    if not 0 <= count <= MOST_TOKENS:
        raise TraceError(f"{where}: {name} {value!r} is no number of tokens")
    return count
