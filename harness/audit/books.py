"""The books that an audit compares, as tables of one DuckDB database; it knows where no row came from.

``served``   what the upstreams did: one row an attempt (the truth)
``entries``  the gateway's ledger: one row an entry
``logged``   the gateway's usage log: one row a call
``told``     what the client saw of a call, and what it was told of its charge
``prices``   the printed prices, in units a token; ``policies`` the rest of what was promised
``accounts`` opening balances;  ``unreadable`` rows that could not be used, each with file, row and why
``aside``    the calls of such rows, by book: nothing is said of them; '' for a row that does not tell its call

Amounts are whole units (see ``units``) in 128 bits: a balance of 10^12 credits does not fit 64. Times are microseconds
of whatever clock the book has. Rows of the four books are matched on ``call``. Every row has ``file`` (an index into
``sources``) and ``line`` (1-based, or a row's number).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from harness.audit.units import Unit
from harness.errors import HelpfulError

MEMORY = "1200MB"
"""What DuckDB may take before it goes to disk."""

BOOKS = ("served", "entries", "logged", "told")
TABLES = {
    # Tokens of an attempt whose usage is sound. serves: this is the attempt that the call was answered with. flaw: ''
    # or why its usage can carry no charge.
    "served": "call VARCHAR, policy INTEGER, account VARCHAR, model VARCHAR, attempt VARCHAR, serves BOOLEAN, "
    "flaw VARCHAR, input BIGINT, cache_read BIGINT, cache_write BIGINT, output BIGINT, started BIGINT, ended BIGINT, "
    "file INTEGER, line BIGINT",
    # amount: what is charged, held, released, paid; change: of the posted balance; seq: the ledger's own order. Tokens
    # where the ledger itself says what it charged for.
    "entries": "call VARCHAR, account VARCHAR, model VARCHAR, kind VARCHAR, amount HUGEINT, "
    "change HUGEINT, balance HUGEINT, input BIGINT, cache_read BIGINT, cache_write BIGINT, output BIGINT, seq BIGINT, "
    "stamp BIGINT, file INTEGER, line BIGINT",
    "logged": "call VARCHAR, account VARCHAR, model VARCHAR, outcome VARCHAR, charged HUGEINT, paid HUGEINT, "
    "insurance VARCHAR, latency_ms BIGINT, input BIGINT, cache_read BIGINT, cache_write BIGINT, output BIGINT, "
    "stamp BIGINT, file INTEGER, line BIGINT",
    # outcome: ok, failed (an error was seen), unknown (nobody can tell whether the answer counts). insured: the policy
    # covers the call. slowest/fastest: bounds of its true latency by independent clocks, NULL where they cannot tell.
    "told": "call VARCHAR, policy INTEGER, account VARCHAR, model VARCHAR, outcome VARCHAR, charged HUGEINT, "
    "before HUGEINT, after HUGEINT, insured BOOLEAN, status VARCHAR, paid HUGEINT, header_status VARCHAR, "
    "header_paid HUGEINT, latency_ms BIGINT, fastest BIGINT, slowest BIGINT, stamp BIGINT, file INTEGER, line BIGINT",
    "prices": "policy INTEGER, model VARCHAR, input BIGINT, cache_read BIGINT, cache_write BIGINT, output BIGINT",
    "policies": "policy INTEGER, quantum BIGINT, rounding VARCHAR, threshold BIGINT, ratio_over BIGINT, "
    "ratio_under BIGINT, skew BIGINT, tolerance BIGINT",
    "accounts": "account VARCHAR, opening HUGEINT",
    "unreadable": "source VARCHAR, row BIGINT, field VARCHAR, value VARCHAR, problem VARCHAR",
    "aside": "book VARCHAR, call VARCHAR",
    "sources": "file INTEGER, name VARCHAR",
}


class AuditError(HelpfulError):
    """Books that cannot be audited at all; the message says which file."""


class Books:
    """A database with the books of one audit in it. ``has`` names the books that were given."""

    def __init__(self, unit: Unit, *, credit: int, scratch: Path | None = None, memory: str = MEMORY) -> None:
        self.unit = unit
        self.credit = credit
        """What one credit is worth in units; a dollar cent if the books know no credits."""
        self.cutoff_us: int | None = None
        """How near the edge of a book's period a call may be missing from it; None: nothing was cut by time."""
        self.has: set[str] = set()
        self.cleared = 0
        """Calls that a screen proved clean, each with one row in every book that it joined."""
        self.foreign = False
        """The books are somebody else's: what is in one only may be the map's fault."""
        self.rounding: dict[str, str] = {}
        """How charges are rounded, and how that is known."""
        self.notes: list[str] = []
        self.db = duckdb.connect(":memory:")
        self.db.execute(f"SET memory_limit = '{memory}'")
        self.db.execute("SET preserve_insertion_order = false")
        self.db.execute("SET enable_progress_bar = false")
        if scratch is not None:
            self.db.execute("SET temp_directory = ?", [str(scratch)])
        for table, columns in TABLES.items():
            self.db.execute(f"CREATE TABLE {table} ({columns})")

    def define(self, table: str, select: str) -> None:
        """Let a book be a view: for files that DuckDB reads as fast as a table of its own."""
        self.db.execute(f"DROP TABLE IF EXISTS {table}")
        self.db.execute(f"CREATE OR REPLACE VIEW {table} AS {select}")
        self.has.add(table)

    def __enter__(self) -> Books:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.db.close()

    def source(self, name: str) -> int:
        """Name a file that rows come from, and return the index that they carry."""
        number = self.value("SELECT count(*) FROM sources")
        self.db.execute("INSERT INTO sources VALUES (?, ?)", [number, name])
        return int(number)

    def roundings(self) -> tuple[str, ...]:
        """Return the names of the roundings that the policies have."""
        return tuple(name for (name,) in self.rows("SELECT DISTINCT rounding FROM policies ORDER BY rounding"))

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return self.db.execute(statement, list(parameters)).fetchall()

    def value(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the one value of a query."""
        # All of it: a result that is not fetched to its end keeps the connection from other work.
        return self.rows(statement, parameters)[0][0]

    def columns(self, table: str) -> tuple[str, ...]:
        """Return the column names of a table of ``TABLES``."""
        return tuple(column.split()[0] for column in TABLES[table].split(", "))

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows given as tuples in the table's order of columns; for run folders, whose size memory bears."""
        if table in BOOKS:
            self.has.add(table)
        if not rows:
            return
        import pandas as pd

        kinds = dict(column.split() for column in TABLES[table].split(", "))
        # pandas has no integers of 128 bits: they go as text, which the insertion reads as its column's type.
        types = {"HUGEINT": "string", "BIGINT": "Int64", "INTEGER": "Int64", "VARCHAR": "object", "BOOLEAN": "boolean"}
        columns = list(zip(*rows, strict=True))
        frame = pd.DataFrame(
            {
                name: pd.Series(list(values), dtype=types[kinds[name]])
                for name, values in zip(kinds, columns, strict=True)
            }
        )
        self.db.register("batch", frame)
        self.db.execute(f"INSERT INTO {table} SELECT * FROM batch")
        self.db.unregister("batch")
