"""Stages CSV, JSON lines and SQLite as text in DuckDB: DuckDB reads what is faultless, the rest is read row by row.

A row that is none goes to ``unreadable``, with its line and why; its text goes nowhere.
"""

from __future__ import annotations

import glob
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

from harness.audit.books import AuditError, Books
from harness.audit.foreign.column_map import BookMap
from harness.audit.foreign.text_rows import BOM, LONGEST, Row, csv_rows, json_rows, plain, survey
from harness.audit.sql import identifier, literal

BATCH = 50_000
MOST_BATCHED = 32 * 2**20
"""Characters of a batch that are enough, however few rows they are: rows may be as long as LONGEST."""
MOST_AT_ONCE = 64 * 2**20
"""The largest file that is one JSON array, and the largest row of a SQLite file: they have to fit in memory."""
DELIMITERS = (",", ";", "\t", "|")


class Stage:
    """A text file, or a table of SQLite, on its way into a table of texts."""

    def __init__(self, books: Books, path: Path, mapped: BookMap, number: int) -> None:
        self.books = books
        self.path = path
        self.mapped = mapped
        self.number = number
        self.table = f"staged_{number}"
        self.heads: tuple[str, ...] = ()
        self.columns: tuple[str, ...] = ()

    def found(self) -> dict[str, str]:
        """Return the staged column of each name that the file has; one without a single value is as good as none."""
        names = [f"c{n}" for n in range(len(self.heads))]
        counts: tuple[int, ...] = ()
        if names:
            counts = self.books.rows(f"SELECT {', '.join(f'count({one})' for one in names)} FROM {self.table}")[0]
        return {
            head: name
            for head, name, count in zip(self.heads, names, counts, strict=True)
            if count or head in self.columns
        }

    def csv(self) -> None:
        """Stage a CSV file."""
        delimiter, header = self._header()
        if not header:
            self._make(())
            self._list([Row(1, problem="the file has no header")])
            return
        self.columns = tuple(header)
        for name in set(header):
            if header.count(name) > 1 and name in self.mapped.names():
                raise AuditError(f"{self.path} has the column {name!r} more than once")
        self.heads = tuple(name for name in header if name in self.mapped.names())
        if not self.heads:
            self._make(())
            return
        at = [header.index(name) for name in self.heads]
        found = survey(self.path)
        self._warn_of_end(found.ends)
        if found.plain:
            picked = ", ".join(f"trim({identifier(f'x{n}')})" for n in at)
            names = ", ".join(f"{literal(f'x{n}')}: 'VARCHAR'" for n in range(len(header)))
            read = (
                f"read_csv({literal(glob.escape(str(self.path)))}, auto_detect = false, header = true, "
                f"delim = {literal(delimiter)}, quote = '\"', escape = '\"', strict_mode = true, columns = {{{names}}})"
            )
            if self._fast(f"SELECT row_number() OVER () + 1, {picked} FROM {read}", found.lines - 1):
                return
        rows = csv_rows(self.path, delimiter)
        next(rows, None)
        self._slow(row if row.problem else Row(row.line, [_cell(row.cells[n]) for n in at]) for row in rows)

    def json_lines(self) -> None:
        """Stage a file of one JSON object a line."""
        self.heads = tuple(self.mapped.names())
        found = survey(self.path, json_numbers=True)
        self._warn_of_end(found.ends)
        if found.plain and found.lines:
            wanted = ", ".join(literal(f'$."{head}"') for head in self.heads)
            picked = ", ".join(f"cells[{n}]" for n in range(1, len(self.heads) + 1))
            read = (
                f"read_json_objects({literal(glob.escape(str(self.path)))}, format = 'newline_delimited', "
                f"maximum_object_size = {LONGEST})"
            )
            inner = f"SELECT json_extract_string(json, [{wanted}]) AS cells, json FROM {read}"
            if self._fast(
                f"SELECT row_number() OVER (), {picked} FROM ({inner}) WHERE json_type(json) = 'OBJECT'", found.lines
            ):
                return
        self._slow(json_rows(self.path, self.heads))

    def json_array(self) -> None:
        """Stage a file that is one JSON array of objects; a row's line is then its place in it."""
        self.heads = tuple(self.mapped.names())
        if self.path.stat().st_size > MOST_AT_ONCE:
            raise AuditError(
                f"{self.path} is one JSON array of more than {MOST_AT_ONCE >> 20} MiB", help="use JSON lines"
            )
        try:
            data = json.loads(self.path.read_bytes().removeprefix(BOM), parse_float=_Number, parse_int=_Number)
        except (ValueError, RecursionError) as error:
            raise AuditError(f"{self.path} is no JSON array", cause=str(error), help="was it cut?") from error
        self._slow(
            Row(n, [plain(one.get(head)) for head in self.heads])
            if isinstance(one, dict)
            else Row(n, problem="no JSON object")
            for n, one in enumerate(data, 1)
        )

    def sqlite(self) -> None:
        """Stage a table of a SQLite file in batches; a row's line is its place in the table."""
        uri = f"file:{quote(str(self.path.resolve()))}?mode=ro"
        try:
            with sqlite3.connect(uri, uri=True) as connection:
                connection.text_factory = bytes
                connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_AT_ONCE)
                table = self._table(connection)
                self.columns = tuple(
                    row[1].decode() for row in connection.execute(f"PRAGMA table_info({identifier(table)})")
                )
                self.heads = tuple(name for name in self.columns if name in self.mapped.names())
                picked = ", ".join(identifier(name) for name in self.heads) or "NULL"
                cursor = connection.execute(f"SELECT {picked} FROM {identifier(table)}")
                cursor.arraysize = 1000
                self._slow(_sqlite_rows(cursor))
        except sqlite3.Error as error:
            raise AuditError(f"{self.path} cannot be read as SQLite", cause=str(error)) from error

    def _table(self, connection: sqlite3.Connection) -> str:
        found = [
            str(row[0], "utf-8")
            for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY 1"
            )
        ]
        if self.mapped.table in found:
            return self.mapped.table
        if len(found) == 1:
            return found[0]
        raise AuditError(
            f"{self.path}: which table is the {self.mapped.book}'s?",
            cause=f"the map names {self.mapped.table or 'none'}; there are {', '.join(found) or 'none'}",
            help="table = NAME in the map's section",
        )

    def _header(self) -> tuple[str, list[str]]:
        """Return the delimiter, that which finds the most columns of the map, and the names of all columns."""
        given = self.mapped.delimiter
        best: tuple[int, str, list[str]] = (-1, ",", [])
        for delimiter in (given,) if given else DELIMITERS:
            first = next(csv_rows(self.path, delimiter), None)
            if first is not None and first.problem:
                raise AuditError(f"{self.path}:{first.line}: the header cannot be read", cause=first.problem)
            header = [(_cell(name) or "") for name in first.cells] if first else []
            known = sum(name in self.mapped.names() for name in header)
            if known > best[0]:
                best = (known, delimiter, header)
        return best[1], best[2]

    def _warn_of_end(self, ends: bool) -> None:
        if not ends:
            self.books.notes.append(
                f"{self.path.name} does not end with a line break: if it was cut, its last cell may be short"
            )

    def _make(self, heads: Sequence[str]) -> None:
        columns = "".join(f", c{n} VARCHAR" for n in range(len(heads)))
        self.books.db.execute(f"CREATE OR REPLACE TABLE {self.table} (line BIGINT{columns})")

    def _fast(self, select: str, rows: int) -> bool:
        """Let DuckDB stage the file; say whether it did, and found every line of it to be one row."""
        db = self.books.db
        self._make(self.heads)
        db.execute("SET preserve_insertion_order = true")
        try:
            db.execute(f"INSERT INTO {self.table} {select}")
        except duckdb.Error:
            return False
        finally:
            db.execute("SET preserve_insertion_order = false")
        return bool(self.books.value(f"SELECT count(*) FROM {self.table}") == rows)

    def _slow(self, rows: Iterator[Row]) -> None:
        """Stage row by row."""
        self._make(self.heads)
        batch: list[Row] = []
        size = 0
        for row in rows:
            batch.append(row)
            size += sum(len(cell) for cell in row.cells if cell is not None)
            if len(batch) == BATCH or size > MOST_BATCHED:
                self._add(batch)
                batch, size = [], 0
        self._add(batch)

    def _add(self, batch: Sequence[Row]) -> None:
        self._list([row for row in batch if row.problem])
        good = [(row.line, *row.cells) for row in batch if not row.problem]
        if good:
            import pandas as pd

            columns = list(zip(*good, strict=True))
            frame = pd.DataFrame({"line": pd.Series(columns[0], dtype="int64")})
            for n, values in enumerate(columns[1:]):
                frame[f"c{n}"] = pd.Series(values, dtype="object")
            self.books.db.register("batch", frame)
            self.books.db.execute(f"INSERT INTO {self.table} SELECT * FROM batch")
            self.books.db.unregister("batch")

    def _list(self, rows: Sequence[Row]) -> None:
        """List rows that are none. Their text is not shown: what a broken line holds, nobody knows."""
        self.books.insert("unreadable", [(self.path.name, row.line, "", "", row.problem) for row in rows])
        self.books.insert("aside", [(self.mapped.book, "") for _ in rows])


class _Number(str):
    """A JSON number, as it is written."""


def _cell(text: str | None) -> str | None:
    return (text or "").strip() or None


def _sqlite_rows(cursor: sqlite3.Cursor) -> Iterator[Row]:
    for number, values in enumerate(cursor, 1):
        if any(isinstance(value, bytes) and len(value) > LONGEST for value in values):
            yield Row(number, problem=f"longer than {LONGEST >> 20} MiB")
            continue
        try:
            yield Row(number, [_sqlite_cell(value) for value in values])
        except UnicodeDecodeError as error:
            yield Row(number, problem=f"no UTF-8 from byte {error.start + 1} on")


def _sqlite_cell(value: Any) -> str | None:
    """Return a value of whatever type SQLite has in this row; the shortest text that is the same float."""
    if value is None:
        return None
    return value.decode() if isinstance(value, bytes) else repr(value)
