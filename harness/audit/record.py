"""Writes an audit's record: ``audit.json``, every discrepancy as CSV and Parquet, and every row that was not read."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from harness.audit.books import Books
from harness.audit.result import Audit
from harness.audit.sql import literal

FORMULA = r"^\s*[=+\-@\t\r]"
"""What a spreadsheet would run as a formula begins so."""
AMOUNTS = ("expected", "observed", "delta")
NUMBERS = ("stamp", "row")


def write_record(audit: Audit, books: Books, out: Path) -> None:
    """Write ``audit.json``, ``discrepancies.csv`` and ``.parquet``, and ``unreadable.csv`` into the folder ``out``.

    Parquet holds units as whole numbers. CSV is for people and spreadsheets: amounts are dollars to the last digit, and
    a text that would be a formula stands behind an apostrophe.
    """
    (out / "audit.json").write_text(json.dumps(audit.as_json(), indent=1, default=str) + "\n", "utf-8")
    ordered = "SELECT * FROM discrepancies ORDER BY class, abs(delta) DESC, call"
    # Parquet has no integers of 128 bits: without the cast they would be floating-point numbers.
    whole = ", ".join(f"{name}::DECIMAL(38, 0) AS {name}" for name in AMOUNTS)
    exact = f"SELECT * REPLACE ({whole}) FROM ({ordered})"
    books.db.execute(f"COPY ({exact}) TO {literal(str(out / 'discrepancies.parquet'))} (FORMAT parquet)")
    for name, rows in (("discrepancies", ordered), ("unreadable", "SELECT * FROM unreadable ORDER BY source, row")):
        columns = [row[0] for row in books.rows(f"DESCRIBE SELECT * FROM {name}")]
        picked = ", ".join(_column(column, books.unit.digits) for column in columns)
        books.db.execute(f"COPY (SELECT {picked} FROM ({rows})) TO {literal(str(out / f'{name}.csv'))} (HEADER)")


def _column(name: str, digits: int) -> str:
    if name in AMOUNTS:
        unit = f"{Decimal(1).scaleb(-digits):f}::DECIMAL({digits + 1}, {digits})"
        return f"{name}::DECIMAL({37 - digits}, 0) * {unit} AS {name}_usd"  # a product has 38 digits at most
    if name in NUMBERS:
        return name
    return f"CASE WHEN regexp_matches({name}, {literal(FORMULA)}) THEN '''' || {name} ELSE {name} END AS {name}"
