"""Writes foreign books into files of every format, and audits them."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from harness.audit import Audit, audit
from harness.audit.foreign import Order, read_foreign, read_maps, read_prices
from harness.audit.record import write_record

Rows = Sequence[Mapping[str, Any]]

PRICES = """
credits_per_usd = 100
[rounding]
mode = "up"
quantum = "credit"
[models.big]
input = "1000"
cache_read = "100"
cache_write = "1250"
output = "5000"
aliases = ["vendor/big"]
"""
"""A thousand input tokens cost a dollar: 100 credits."""

SUFFIXES = (".csv", ".jsonl", ".json", ".parquet", ".db")
"""Of the formats that books may come in."""
MAP = """
[upstream]
cached = "beside"
ok = ["ok"]
[upstream.columns]
call = "id"
account = "who"
model = "model"
status = "status"
input = "input"
cache_read = "cached"
output = "output"
ended = "at"
[ledger]
money = "credits"
[ledger.columns]
call = "id"
account = "who"
amount = "credits"
at = "at"
[client]
money = "credits"
ok = ["ok"]
unknown = ["lost"]
[client.columns]
call = "id"
status = "status"
charged = "credits"
"""


def served(*calls: str, **changed: Any) -> list[dict[str, Any]]:
    """Return an upstream's rows: each call cost 150 credits."""
    row = {"who": "a", "model": "big", "status": "ok", "input": 1000, "cached": 0, "output": 100, "at": 1_700_000_000}
    return [{"id": call, **row, **changed} for call in calls]


def booked(*calls: str, **changed: Any) -> list[dict[str, Any]]:
    """Return a ledger's rows."""
    return [{"id": call, "who": "a", "credits": 150, "at": 1_700_000_001, **changed} for call in calls]


def told(*calls: str, **changed: Any) -> list[dict[str, Any]]:
    """Return a client's rows."""
    return [{"id": call, "status": "ok", "credits": 150, **changed} for call in calls]


def write(path: Path, rows: Rows, *, table: str = "log") -> Path:
    """Write ``rows`` in the format that the suffix names."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(list(rows)))
    elif path.suffix == ".db":
        with sqlite3.connect(path) as connection:
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            connection.executemany(
                f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})",
                [[row.get(name) for name in columns] for row in rows],
            )
        connection.close()
    else:
        lines = path.with_suffix(".lines")
        write(lines.with_suffix(".jsonl"), rows)
        with duckdb.connect() as db:
            db.execute(f"COPY (SELECT * FROM read_json('{lines.with_suffix('.jsonl')}')) TO '{path}'")
    return path


class Result:
    """What an audit came to: the record, the discrepancies, and what could not be read."""

    def __init__(self, record: Audit, rows: list[tuple[Any, ...]], unreadable: list[tuple[Any, ...]]) -> None:
        self.record = record
        self.found = rows
        self.unreadable = unreadable

    @property
    def classes(self) -> list[tuple[str, str]]:
        """Class and call of each discrepancy."""
        return [(row[0], row[1]) for row in self.found]


class Desk:
    """A folder with books in it, and an audit of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prices = PRICES
        self.maps = [MAP]

    def audit(self, *, tolerance: int = 0, cutoff: int | None = None, **books: Path | list[Path] | Rows) -> Result:
        """Audit books given as files, or as rows of which CSV is made."""
        files = {}
        for book, given in books.items():
            if isinstance(given, list) and given and isinstance(given[0], Path):
                files[book] = given
            else:
                files[book] = [given if isinstance(given, Path) else write(self.folder / f"{book}.csv", given)]
        (self.folder / "prices.toml").write_text(self.prices)
        maps = []
        for n, text in enumerate(self.maps):
            maps.append(text)
            if "\n" in text:
                (self.folder / f"map{n}.toml").write_text(text)
                maps[-1] = str(self.folder / f"map{n}.toml")
        prices = read_prices(str(self.folder / "prices.toml"))
        order = Order(files, read_maps(maps, files), prices, tolerance, cutoff)
        with read_foreign(order, self.folder / "scratch") as books_:
            record = audit(books_)
            write_record(record, books_, self.folder)
            return Result(
                record,
                books_.rows(
                    "SELECT class, call, expected // 100000000, observed // 100000000, harmed, why "
                    "FROM discrepancies ORDER BY call, class"
                ),
                books_.rows("SELECT * FROM unreadable ORDER BY source, row, field"),
            )
