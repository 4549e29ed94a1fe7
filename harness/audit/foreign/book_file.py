"""One file of a foreign book on its way to rows of the book: cells read, faulty rows listed, credentials blotted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.audit.books import TABLES, AuditError, Books
from harness.audit.foreign.cells import (
    CREDENTIAL,
    Cell,
    Read,
    as_amount,
    as_count,
    as_stamp,
    as_text,
    blotted,
    finer,
    first,
    has_zone,
    shown,
)
from harness.audit.foreign.column_map import AMOUNT, COUNT, FIELDS, MILLIS, REQUIRED, STAMP, TEXT, TOKENS, BookMap
from harness.audit.foreign.files import Source
from harness.audit.foreign.given import near
from harness.audit.foreign.price_list import PriceList
from harness.audit.prices import CLASSES
from harness.audit.sql import literal
from harness.audit.units import decimal

TABLE = {"upstream": "served", "ledger": "entries", "client": "told"}
POLICY = 0
MOST_UNKNOWN = 1000
"""So many different models without a price, and the column is none of models."""
MOST_COUNT = 10**15


@dataclass(frozen=True, slots=True)
class Problem:
    """What may be wrong with a field of a row: its value as written, and the SQL of what is wrong, NULL for nothing."""

    field: str
    written: str
    sql: str
    wrong: str = ""
    """The SQL of whether anything is, where that is quicker; not NULL."""


class BookFile:
    """One file of a book on its way to being rows of the book."""

    def __init__(
        self, books: Books, source: Source, mapped: BookMap, prices: PriceList, most_tokens: int, payouts: bool
    ) -> None:
        self.books = books
        self.source = source
        self.map = mapped
        self.prices = prices
        self.most_tokens = most_tokens
        self.payouts = payouts
        """The ledger shows payouts: what clients were told of them can be held against it."""
        self.kinds = FIELDS[mapped.book]
        self.cells = self._find()
        self.reads = {name: self._read(name, cell) for name, cell in self.cells.items()}
        self.problems: list[Problem] = []

    def select(self, rows: Callable[[BookFile], dict[str, str]]) -> str:
        """Return the SQL of the file's rows as the book has them, those that cannot be read listed and left out."""
        values = rows(self)
        self.problems = [
            Problem(name, read.written, read.problem, read.wrong) for name, read in self.reads.items() if read.problem
        ] + self.problems
        where = self._list()
        select = self._select(values, where)
        if TABLE[self.map.book] == "entries" and "paid" in self.reads:
            # A row that tells of a payout too is two entries of a ledger.
            paid = self.value("paid")
            payout = {**values, "kind": "'payout'", "amount": paid, "change": paid}
            payout.update(dict.fromkeys(("balance", *CLASSES), "NULL"))
            more = f"{where} {'AND' if where else 'WHERE'} {paid} > 0"
            select += f" UNION ALL {self._select(payout, more)}"
        if not self.source.staged:
            return select
        held = f"held_{self.source.file}"
        self.books.db.execute(f"CREATE OR REPLACE TABLE {held} AS {select}")
        self.books.db.execute(f"DROP TABLE {self.source.staged}")
        return f"SELECT * FROM {held}"

    def _select(self, values: dict[str, str], where: str) -> str:
        """Return the SQL of rows with ``values`` in the table's order; a NULL has no type of its own."""
        kinds = dict(column.split() for column in TABLES[TABLE[self.map.book]].split(", "))
        columns = ", ".join(f"({values.get(name, 'NULL')})::{kind} AS {name}" for name, kind in kinds.items())
        return f"SELECT {columns} FROM ({self.source.rows}) AS source{where}"

    def _find(self) -> dict[str, Cell]:
        """Return the cell of each field of the map that the file has. Raises AuditError for a missing one."""
        cells = {}
        for name, paths in self.map.columns.items():
            there = [self.source.cells[path] for path in paths if path in self.source.cells]
            if there:
                cells[name] = first(there)
            elif name in REQUIRED[self.map.book] and (self.source.columns or self._rows()):
                have = ", ".join(self.source.columns[:40])
                raise AuditError(
                    f"{self.source.name} has no column {' or '.join(paths)}, the {self.map.book}'s {name}"
                    f"{near(paths[0], self.source.columns)}",
                    cause=f"map {self.map.origin}; the file has {have}" if have else f"map {self.map.origin}",
                    help="docs/audit.md tells how to write a map",
                )
            elif name not in REQUIRED[self.map.book] and (self.source.columns or self._rows()):
                self.books.notes.append(f"{self.source.name} has no column {' or '.join(paths)}: no {name} is known")
        return cells

    def _rows(self) -> int:
        return int(self.books.value(f"SELECT count(*) FROM ({self.source.rows})"))

    def _read(self, name: str, cell: Cell) -> Read:
        kind = self.kinds[name]
        if kind == TEXT:
            return as_text(cell)
        if kind == TOKENS:
            return as_count(cell, self.most_tokens)
        if kind == COUNT:
            return as_count(cell, MOST_COUNT)
        if kind == MILLIS:
            return as_amount(cell, 1000)
        if kind == AMOUNT:
            units = self._units()
            self._count_finer(name, cell, units)
            return as_amount(cell, units)
        assert kind == STAMP
        zoned = False
        if not self.map.zone and not cell.whole and not cell.type.startswith(("TIMESTAMP", "DATE")):
            zoned = bool(
                self.books.value(f"SELECT coalesce(bool_or({has_zone(cell)}), false) FROM ({self.source.rows})")
            )
        return as_stamp(cell, self.map.zone, self.map.time, zoned)

    def _units(self) -> int:
        """Return how many units the map's money of 1 is."""
        if self.map.money == "dollars":
            return self.books.unit.per_dollar
        if self.map.money == "credits":
            if self.prices.credits_per_usd is None:
                raise AuditError(
                    f"map {self.map.origin} counts in credits, but {self.prices.origin} has no credits_per_usd"
                )
            return self.books.credit
        return self.books.unit.amount(decimal(self.map.money))

    def _count_finer(self, name: str, cell: Cell, units: int) -> None:
        """Say how many amounts are finer than the unit: float noise, as a rule."""
        if cell.whole:
            return
        count = self.books.value(f"SELECT count_if({finer(cell, units)}) FROM ({self.source.rows})")
        if count:
            self.books.notes.append(
                f"{self.source.name}: {count} values of {name} are finer than 1e-{self.books.unit.digits} dollars "
                "(noise of floats?); each was taken for the nearest"
            )

    def value(self, name: str) -> str:
        return self.reads[name].value if name in self.reads else "NULL"

    def needs(self, name: str, when: str = "true") -> None:
        """List rows where ``when`` holds and a field has no value, if that is not for a problem of its own."""
        read = self.reads.get(name, Read("NULL"))
        absent = read.absent or f"{read.value} IS NULL"
        if read.problem and not self.cells[name].whole:
            absent += f" AND ({read.problem}) IS NULL"
        self.doubt(name, absent if when == "true" else f"({when}) AND {absent}", "empty")

    def doubt(self, name: str, when: str, why: str) -> None:
        """List rows where ``when`` holds: a field's value is wrong."""
        written = self.reads[name].written if name in self.reads else "NULL"
        problem = f"CASE WHEN {when} THEN {literal(why)} END"
        self.problems.append(Problem(name, written, problem, f"coalesce({when}, false)"))

    def common(self) -> dict[str, str]:
        """Return what the rows of every book have."""
        call = self.value("call")
        return {
            # Only a ledger's top-ups have none: the bare column lets DuckDB skip what it need not read.
            "call": f"coalesce({call}, '')" if self.map.kinds or "call" not in self.cells else self.cells["call"].text,
            "account": self._account(),
            "file": str(self.source.file),
            "line": "line",
        }

    def _account(self) -> str:
        """Return the SQL of the account; a key that stands for it is never shown."""
        account = f"coalesce({self.value('account')}, '')"
        if "account" not in self.reads:
            return account
        names = f"SELECT DISTINCT {account} AS name FROM ({self.source.rows})"
        secret = f"SELECT coalesce(bool_or(regexp_matches(name, {literal(CREDENTIAL)})), false) FROM ({names})"
        return blotted(account) if self.books.value(secret) else account

    def model(self, when: str, *, priced: bool) -> str:
        """Return the SQL of the price list's name of the row's model; rows without one are listed, if it is needed."""
        value = self.value("model")
        if value == "NULL":
            return "NULL"
        needed = f"({when}) AND {value} IS NOT NULL" if priced else f"{value} IS NOT NULL"
        found = self.books.rows(f"SELECT DISTINCT {value} FROM ({self.source.rows}) WHERE {needed}")
        names = {str(name): self.prices.known(str(name)) for (name,) in found}
        unknown = [name for name, model in names.items() if model is None]
        if priced and len(unknown) > MOST_UNKNOWN:
            raise AuditError(
                f"{self.source.name}: {len(unknown)} different models have no price: is it the right column?"
            )
        if priced and unknown:
            listed = ", ".join(map(literal, unknown))
            self.doubt("model", f"({when}) AND {value} IN ({listed})", "a model without a price")
        others = {name: model for name, model in names.items() if model is not None and model != name}
        if not others:
            return value
        cases = " ".join(f"WHEN {literal(name)} THEN {literal(model)}" for name, model in others.items())
        return f"CASE {value} {cases} ELSE {value} END"

    def _list(self) -> str:
        """List the rows with problems, and return the SQL that leaves them out ('' if there are none)."""
        wrong = " OR ".join(f"({one.wrong or f'({one.sql}) IS NOT NULL'})" for one in self.problems)
        if not self.books.value(f"SELECT coalesce(count_if({wrong}), 0) FROM ({self.source.rows})"):
            return ""
        for one in self.problems:
            name, written, problem = one.field, one.written, one.sql
            column = next((path for path in self.map.columns.get(name, ()) if path in self.source.cells), name)
            self.books.db.execute(
                f"INSERT INTO unreadable SELECT {literal(self.source.name)}, line, {literal(column)}, "
                f"coalesce({shown(written)}, ''), {problem} FROM ({self.source.rows}) WHERE ({problem}) IS NOT NULL"
            )
        call = f"coalesce({self.value('call')}, '')"
        away = f"SELECT {literal(self.map.book)}, {call} AS call FROM ({self.source.rows}) WHERE {wrong}"
        self.books.db.execute(f"INSERT INTO aside {away}")
        return f" WHERE NOT ({wrong})"
