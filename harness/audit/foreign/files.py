"""Opens the files of foreign books: every format becomes a relation of cells in DuckDB with the line of each row.

Parquet stays where it is and is read column by column; the rest is staged as text (see ``stage``). Columns that the map
does not name are never read: what else is in a file, such as keys, gets no further.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from harness.audit.books import AuditError, Books
from harness.audit.foreign.cells import Cell
from harness.audit.foreign.column_map import BookMap, prefixes
from harness.audit.foreign.stage import Stage
from harness.audit.foreign.text_rows import BOM
from harness.audit.sql import identifier, literal


@dataclass(slots=True)
class Source:
    """One file as a relation: ``rows`` is its SQL, with ``line``; ``cells`` has the cell of each path that is in it."""

    name: str
    file: int
    rows: str
    cells: dict[str, Cell] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    """What the file has, for messages; empty where no row was there to tell."""
    staged: str = ""
    """The table that it was staged in, if it was."""


def open_source(books: Books, path: Path, mapped: BookMap) -> Source:
    """Return ``path`` as a source of the columns that ``mapped`` names. Raises AuditError."""
    kind = kind_of(path)
    number = books.source(path.name)
    if kind == "parquet":
        return _parquet(books, path, mapped, number)
    stage = Stage(books, path, mapped, number)
    {"sqlite": stage.sqlite, "csv": stage.csv, "jsonl": stage.json_lines, "json": stage.json_array}[kind]()
    heads = {head: Cell(name) for head, name in stage.found().items()}
    rows, cells = cells_in(books, f"SELECT * FROM {stage.table}", heads, mapped)
    return Source(path.name, number, rows, cells, stage.columns, stage.table)


def kind_of(path: Path) -> str:
    """Return parquet, sqlite, csv, jsonl or json (an array), by content first and then by suffix. Raises AuditError."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise AuditError(f"cannot read {path}", cause=error.strerror or str(error)) from error
    if head.startswith(b"SQLite format 3\0"):
        return "sqlite"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")):
        raise AuditError(f"{path} is compressed", help="unpack it first")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise AuditError(f"{path} is UTF-16", help="save it as UTF-8")
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".sqlite", ".sqlite3", ".db") and head:
        raise AuditError(
            f"{path} is no {'Parquet' if suffix == '.parquet' else 'SQLite'} file", cause="its head differs"
        )
    start = head.removeprefix(BOM).lstrip()[:1]
    if start == b"[" and suffix not in (".csv", ".tsv"):
        return "json"
    if suffix in (".jsonl", ".ndjson", ".json") or (start == b"{" and suffix not in (".csv", ".tsv")):
        return "jsonl"
    return "csv"


def _parquet(books: Books, path: Path, mapped: BookMap, number: int) -> Source:
    read = f"read_parquet({literal(glob.escape(str(path)))}, file_row_number = true)"
    try:
        types = {name: kind for name, kind, *_ in books.rows(f"DESCRIBE SELECT * FROM {read}")}
    except duckdb.Error as error:
        raise AuditError(f"{path} is no whole Parquet file", cause=str(error).splitlines()[0]) from error
    types.pop("file_row_number", None)
    wanted = [name for name in types if name in mapped.names()]
    heads = {name: Cell(f"c{n}", types[name]) for n, name in enumerate(wanted)}
    picked = "".join(f", {identifier(name)} AS c{n}" for n, name in enumerate(wanted))
    rows, cells = cells_in(books, f"SELECT file_row_number + 1 AS line{picked} FROM {read}", heads, mapped)
    return Source(path.name, number, rows, cells, tuple(types))


def cells_in(books: Books, rows: str, heads: Mapping[str, Cell], mapped: BookMap) -> tuple[str, dict[str, Cell]]:
    """Return ``rows`` with what cells need of JSON in them, and the cell of each of the map's paths that is there."""
    cells: dict[str, Cell] = {}
    inside: dict[str, list[str]] = {}
    for path in (path for paths in mapped.columns.values() for path in paths):
        if path in heads:
            cells[path] = heads[path]
            continue
        head = next((one for one in prefixes(path) if one in heads), None)
        if head is None:
            continue
        rest = path[len(head) + 1 :].split(".")
        if heads[head].type in ("VARCHAR", "JSON"):
            inside.setdefault(head, []).append(path)
        else:
            step = heads[head].sql + "".join(f".{identifier(one)}" for one in rest)
            try:
                kind = books.rows(f"DESCRIBE SELECT {step} AS x FROM ({rows})")[0][1]
            except duckdb.Error:
                continue
            cells[path] = Cell(step, kind)
    extracted = []
    for n, (head, paths) in enumerate(inside.items()):
        steps = [path[len(head) + 1 :].split(".") for path in paths]
        wanted = ", ".join(literal("$" + "".join(f'."{one}"' for one in rest)) for rest in steps)
        extracted.append(f"TRY(json_extract_string({heads[head].sql}, [{wanted}])) AS j{n}")
        cells.update({path: Cell(f"j{n}[{k}]") for k, path in enumerate(paths, 1)})
    return f"SELECT {', '.join(['*', *extracted])} FROM ({rows})", cells
