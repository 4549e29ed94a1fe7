"""Reads CSV and JSON lines row by row in bounded memory, whatever is in them: every row comes out, or why it does not.

Slower than DuckDB's readers, which take over for files that ``survey`` finds faultless.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

LONGEST = 16 * 2**20
"""No row may be longer, in bytes."""
DUCKDB_LONGEST = 2**20
BLOCK = 2**22
MOST_JOINED = 10_000
"""Lines that one quoted CSV cell may span."""
_EXPONENT = re.compile(rb":\s*-?[0-9][0-9.]*[eE]\+?[0-9]")

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or in ``problem`` why there is none; ``line`` is where it begins, from 1."""

    line: int
    cells: Sequence[str | None] = ()
    problem: str = ""


@dataclass(slots=True)
class Survey:
    """What a text file is made of; ``plain`` if DuckDB's readers can be trusted with it."""

    lines: int = 0
    longest: int = 0
    plain: bool = True
    ends: bool = True
    """The last line ends with a line break."""


def survey(path: Path, *, json_numbers: bool = False) -> Survey:
    """Return what a look at all of a file's bytes tells, in bounded memory.

    ``json_numbers``: one such as 1e3 is not plain, because DuckDB's reader does not show that it was written so.
    """
    found = Survey()
    rest = 0
    tail = b""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            line = block.split(b"\n")
            found.lines += len(line) - 1
            found.longest = max(found.longest, rest + len(line[0]), *(len(one) for one in line[1:]))
            rest = len(line[-1]) + (rest if len(line) == 1 else 0)
            text = tail + block
            found.plain = found.plain and not _odd(text) and not (json_numbers and _EXPONENT.search(text))
            # A character, or a number, may be cut by the block's end.
            cut = max(len(text) - 64, 0)
            tail, found.ends = text[cut:], block.endswith(b"\n")
    if tail and not found.ends:
        found.lines += 1
    found.plain = found.plain and found.longest <= DUCKDB_LONGEST and _whole(tail[-4:])
    return found


def _odd(text: bytes) -> bool:
    returns = text.count(b"\r") - text.endswith(b"\r")
    if b"\0" in text or b"\n\n" in text or b"\n\r\n" in text or returns != text.count(b"\r\n"):
        return True
    # The ends may be halves of characters.
    start = next((n for n in range(min(4, len(text))) if text[n] & 0xC0 != 0x80), 0)
    end = next((n for n in range(len(text), max(len(text) - 4, 0), -1) if text[n - 1] & 0xC0 != 0x80), len(text))
    try:
        text[start : max(end - 1, start)].decode()
    except UnicodeDecodeError:
        return True
    return False


def _whole(tail: bytes) -> bool:
    """Say whether a file's last bytes are whole characters."""
    start = next((n for n in range(len(tail)) if tail[n] & 0xC0 != 0x80), 0)
    try:
        tail[start:].decode()
    except UnicodeDecodeError:
        return False
    return True


def lines(file: BinaryIO) -> Iterator[Row]:
    """Yield each line as a row of one cell; one that is too long, no UTF-8, or holds a zero byte as a problem."""
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(BOM)
        if len(line) > LONGEST and not line.endswith(b"\n"):
            while (piece := file.readline(BLOCK)) and not piece.endswith(b"\n"):
                pass
            yield Row(number, problem=f"longer than {LONGEST >> 20} MiB")
            continue
        if b"\0" in line:
            yield Row(number, problem="a zero byte")
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            yield Row(number, problem=f"no UTF-8 from byte {error.start + 1} on")
            continue
        yield Row(number, (text.rstrip("\r\n"),))


def csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
    """Yield a CSV file's rows, the header first. A quote that never closes spoils its own line alone."""
    width = 0
    with path.open("rb") as file:
        source = _Lines(file)
        while (row := source.take()) is not None:
            if not row.problem:
                if not str(row.cells[0]).strip():
                    continue
                row = _record(row, source, delimiter, width)
                width = width or len(row.cells)
            yield row


class _Lines:
    """Lines that can be put back."""

    def __init__(self, file: BinaryIO) -> None:
        self._source = lines(file)
        self._waiting: deque[Row] = deque()

    def take(self) -> Row | None:
        return self._waiting.popleft() if self._waiting else next(self._source, None)

    def put_back(self, rows: Sequence[Row]) -> None:
        self._waiting.extendleft(reversed(rows))


def _record(head: Row, source: _Lines, delimiter: str, width: int) -> Row:
    """Return the record that begins with ``head``; lines that make no record with it are put back."""
    joined = [head]
    text = str(head.cells[0])
    size, quotes = len(text), text.count('"')
    while quotes % 2 and size <= LONGEST and len(joined) <= MOST_JOINED and (more := source.take()) is not None:
        joined.append(more)
        if more.problem:
            break
        size += len(str(more.cells[0]))
        quotes += str(more.cells[0]).count('"')
    if quotes % 2 or joined[-1].problem:
        record = Row(head.line, problem="a quote that never closes")
    else:
        record = _parse("\n".join(str(row.cells[0]) for row in joined), delimiter, head.line)
    if not record.problem and width and len(record.cells) != width:
        record = Row(head.line, problem=f"{len(record.cells)} cells, the header has {width}")
    if record.problem:
        source.put_back(joined[1:])
    return record


def _parse(record: str, delimiter: str, line: int) -> Row:
    csv.field_size_limit(2 * LONGEST)
    try:
        return Row(line, tuple(next(csv.reader([record], delimiter=delimiter, strict=True))))
    except (csv.Error, StopIteration) as error:
        return Row(line, problem=f"no CSV: {error}")


def json_rows(path: Path, heads: Sequence[str]) -> Iterator[Row]:
    """Yield the values of ``heads`` in each line's object, numbers as they are written."""
    with path.open("rb") as file:
        for row in lines(file):
            if row.problem:
                yield row
            elif text := str(row.cells[0]).strip():
                yield json_row(text, heads, row.line)


def json_row(text: str, heads: Sequence[str], line: int) -> Row:
    """Return the values of ``heads`` in one JSON object."""
    try:
        value = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        return Row(line, problem=f"no JSON: {str(error).split(':')[0]}")
    if not isinstance(value, dict):
        return Row(line, problem="no JSON object")
    return Row(line, tuple(plain(value.get(head)) for head in heads))


def plain(value: Any) -> str | None:
    """Return a JSON value as the text of a cell."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)
