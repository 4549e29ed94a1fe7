"""Prints what the audit of a month costs, beside a plain DuckDB query for the same join over the same files.

python tests/benchmarks/audit.py [CALLS] [--folder DIR] [--keep]

CALLS (5 million) are made as three Parquet files, each in an order of its own, one in 1,700 of them wrong; the
ledger as a SQLite file too, whose reading is timed apart. Every step runs in a process of its own, so that each has its
own peak of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from harness.audit import Books, audit
from harness.audit.books import MEMORY
from harness.audit.foreign import Order, read_foreign
from harness.audit.foreign.column_map import BookMap
from harness.audit.foreign.price_list import PriceList
from harness.audit.units import Unit
from reports.audit import render

MODELS = 16
BOUND = 2.0
BOUND_MB = 2048
CREDIT = 10**8
DAY_US = 86_400 * 10**6
START_US = 1_790_812_800 * 10**6
"""2026-10-01: a month of calls starts here."""


def connected(folder: Path) -> duckdb.DuckDBPyConnection:
    """Return a database with the audit's own limits."""
    db = duckdb.connect()
    db.execute(f"SET memory_limit = '{MEMORY}'")
    db.execute("SET preserve_insertion_order = false")
    db.execute("SET temp_directory = ?", [str(folder / "spill")])
    return db


def generate(folder: Path, calls: int) -> dict[str, Any]:
    """Write what upstreams served, what the ledger charged and what clients were told."""
    db = connected(folder)
    served, ledger, client = (folder / f"{name}.parquet" for name in ("served", "ledger", "client"))
    # Ordered by hashes, so that no file is in the order of another.
    step = 30 * DAY_US // calls
    db.execute(
        f"""COPY (SELECT 'req_' || md5(i::VARCHAR) AS call, 'acct' || (i % 1000) AS account,
            'm' || (i % {MODELS}) AS model, (hash(i) % 20000)::BIGINT AS input,
            (hash(i + 1) % 5000)::BIGINT AS cache_read, (hash(i + 2) % 500)::BIGINT AS cache_write,
            (hash(i + 3) % 2000)::BIGINT AS output,
            {START_US} + i * {step} AS at_us FROM range({calls}) t(i)) TO '{served}'"""
    )
    exact = "(1 + substr(model, 2)::BIGINT) * (input * 1000 + cache_read * 100 + cache_write * 1250 + output * 5000)"
    db.execute(
        f"""COPY (SELECT call, account, model, at_us, (({exact} + {CREDIT - 1}) // {CREDIT}
            + CASE WHEN hash(call) % 1700 = 3 THEN 40 ELSE 0 END) * {CREDIT} AS amount
            FROM '{served}' ORDER BY hash(call)) TO '{ledger}'"""
    )
    db.execute(
        f"""COPY (SELECT call, amount AS charged, 'ok' AS outcome FROM '{ledger}' ORDER BY hash(call || 'x'))
            TO '{client}'"""
    )
    _write_sqlite(db, ledger)
    return {"gigabytes": round(sum(path.stat().st_size for path in (served, ledger, client)) / 1e9, 2)}


def _write_sqlite(db: duckdb.DuckDBPyConnection, ledger: Path) -> None:
    """Write the ledger as a SQLite file too, its amounts in credits."""
    with closing(sqlite3.connect(ledger.with_suffix(".db"))) as lite:
        lite.execute("CREATE TABLE ledger (call TEXT, account TEXT, model TEXT, at_us INTEGER, credits INTEGER)")
        rows = db.execute(f"SELECT call, account, model, at_us, amount // {CREDIT} FROM '{ledger}'")
        while batch := rows.fetchmany(100_000):
            lite.executemany("INSERT INTO ledger VALUES (?, ?, ?, ?, ?)", batch)
        lite.commit()


def plain(folder: Path, calls: int) -> dict[str, Any]:
    """Join the three files in one query, and add up what each has by model."""
    rows = connected(folder).execute(
        f"""SELECT u.model, count(*), sum(u.input * 3 + u.cache_read * 2 + u.cache_write * 4 + u.output * 5),
                   sum(g.amount), sum(k.charged)
            FROM '{folder}/served.parquet' u FULL JOIN '{folder}/ledger.parquet' g USING (call)
            FULL JOIN '{folder}/client.parquet' k USING (call) GROUP BY u.model"""
    )
    assert sum(row[1] for row in rows.fetchall()) == calls
    return {}


def audited(folder: Path, calls: int) -> dict[str, Any]:
    """Audit them: match, recompute, classify, roll forward, add up."""
    with books_of(folder) as books:
        result = audit(books)
        assert (result.calls, books.cleared) == (calls, result.clean)
        assert result.discrepancies == calls - result.clean > 0
        return {"discrepancies": result.discrepancies}


def rendered(folder: Path, calls: int) -> dict[str, Any]:
    """Audit them and render the report."""
    with books_of(folder) as books:
        render(audit(books), books, folder)
    return {}


def from_sqlite(folder: Path, calls: int) -> dict[str, Any]:
    """Read a foreign ledger out of SQLite, all that an audit does before it compares."""
    columns = {"call": ("call",), "account": ("account",), "model": ("model",), "at": ("at_us",)}
    tokens = {name: (name,) for name in ("input", "cache_read", "cache_write", "output")}
    maps = {
        "upstream": [
            BookMap("upstream", "benchmark", {"call": ("call",), "model": ("model",), **tokens}, cached_inside=False)
        ],
        "ledger": [BookMap("ledger", "benchmark", {**columns, "amount": ("credits",)}, money="credits")],
    }
    models = {
        f"m{i}": dict(
            zip(tokens, (str(Decimal(step) * (i + 1)) for step in ("0.1", "0.01", "0.125", "0.5")), strict=True)
        )
        for i in range(MODELS)
    }
    prices = PriceList("benchmark", models, credits_per_usd=100, mode="up", quantum="0.01", scope="request")
    files = {"upstream": [folder / "served.parquet"], "ledger": [folder / "ledger.db"]}
    with read_foreign(Order(files, maps, prices), folder / "spill-sqlite") as books:
        assert books.value("SELECT count(*) FROM entries") == calls
        assert books.value("SELECT count(*) FROM unreadable") == 0
    return {"rows": calls}


def books_of(folder: Path) -> Books:
    """Return the files as an audit's books: views, so that nothing is copied."""
    books = Books(Unit(), credit=CREDIT, scratch=folder / "spill")
    books.insert("prices", [(0, f"m{i}", *((i + 1) * each for each in (1000, 100, 1250, 5000))) for i in range(MODELS)])
    books.insert("policies", [(0, CREDIT, "up", None, None, None, 0, 0)])
    for name in ("served", "ledger", "client"):
        books.source(f"{name}.parquet")
    rows = "read_parquet('" + str(folder) + "/{}.parquet', file_row_number = true)"
    none = "NULL::BIGINT"
    where = "{} AS file, file_row_number + 1 AS line"
    books.define(
        "served",
        f"""SELECT call, 0 AS policy, account, model, call AS attempt, true AS serves, '' AS flaw, input, cache_read,
            cache_write, output, at_us AS started, at_us AS ended, {where.format(0)} FROM {rows.format("served")}""",
    )
    tokens = ", ".join(f"{none} AS {name}" for name in ("input", "cache_read", "cache_write", "output"))
    books.define(
        "entries",
        f"""SELECT call, account, model, 'post' AS kind, amount, -amount AS change, {none} AS balance, {tokens},
            file_row_number AS seq, at_us AS stamp, {where.format(1)} FROM {rows.format("ledger")}""",
    )
    names = ["before", "after", "paid", "header_paid", "latency_ms", "fastest", "slowest", "stamp"]
    texts = ["account", "model", "status", "header_status"]
    absent = [*(f"{none} AS {name}" for name in names), *(f"NULL::VARCHAR AS {name}" for name in texts)]
    order = ", ".join(books.columns("told"))
    books.define(
        "told",
        f"""SELECT {order} FROM (SELECT call, 0 AS policy, outcome, charged, false AS insured, {", ".join(absent)},
            {where.format(2)} FROM {rows.format("client")})""",
    )
    return books


STEPS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "generate": generate,
    "plain": plain,
    "audit": audited,
    "audit and report": rendered,
    "SQLite in": from_sqlite,
}


def measured(name: str, folder: Path, calls: int) -> dict[str, Any]:
    """Run a step in a process of its own, and return what it took."""
    command = [sys.executable, __file__, str(calls), "--folder", str(folder), "--step", name]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def step(name: str, folder: Path, calls: int) -> None:
    """Run one step in this process, and print what it took as JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    told = STEPS[name](folder, calls)
    took = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({**took, "peak_mb": peak, **told}))


def main() -> int:
    """Measure all steps; exit 1 if the audit costs more than its bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calls", nargs="?", type=int, default=5_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--keep", action="store_true", help="leave the generated files")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        step(given.step, given.folder, given.calls)
        return 0
    folder = given.folder or Path(tempfile.mkdtemp(prefix="audit-benchmark-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        took = {name: measured(name, folder, given.calls) for name in STEPS}
    finally:
        if not given.keep:
            shutil.rmtree(folder)
    for name, one in took.items():
        rest = ", ".join(f"{value:,} {key}" for key, value in one.items() if key not in ("cpu_s", "wall_s", "peak_mb"))
        print(f"{name:18}{one['cpu_s']:8.1f} s CPU{one['wall_s']:8.1f} s wall{one['peak_mb']:7,} MB  {rest}")
    ratio = took["audit"]["cpu_s"] / took["plain"]["cpu_s"]
    peak = max(took[name]["peak_mb"] for name in ("audit", "audit and report", "SQLite in"))
    print(f"{given.calls:,} calls: the audit takes {ratio:.2f} times the plain join's CPU time, bound {BOUND}; "
          f"at most {peak:,} MB, bound {BOUND_MB:,}")  # fmt: skip
    return int(ratio > BOUND or peak > BOUND_MB)


if __name__ == "__main__":
    sys.exit(main())
