"""The audit itself: from books to discrepancies, totals and a roll-forward."""

from __future__ import annotations

from typing import Any

import duckdb

from harness.audit.accounts import chain, roll_forward
from harness.audit.aside import AWAY, doubt_absences, set_aside
from harness.audit.books import AuditError, Books
from harness.audit.classes import CLASSES
from harness.audit.examine import examine
from harness.audit.findings import NO_MONEY, find
from harness.audit.prices import due, terms
from harness.audit.result import Audit, ClassTotal
from harness.audit.screen import find_suspects


def audit(books: Books) -> Audit:
    """Compare the books. Tables ``discrepancies``, ``rolled``, ``cases`` and ``models`` are then in the database.

    Raises AuditError for amounts beyond 64 bits: nothing is ever cut off or wrapped round.
    """
    try:
        return _audit(books)
    except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
        raise AuditError(
            f"tokens or amounts are too large: a call's amount does not fit 64 bits of 1e-{books.unit.digits} dollars",
            cause=str(error).partition("\n")[0],
            help="look for a row with absurd tokens, or for a price per token given as one per million",
        ) from error


def _audit(books: Books) -> Audit:
    find_suspects(books)
    set_aside(books)
    examine(books)
    doubt_absences(books)
    find(books)
    chain(books)
    roll_forward(books)
    _models(books)
    calls = books.cleared + int(books.value("SELECT count(*) FROM suspects"))
    return Audit(
        digits=books.unit.digits,
        credit=books.credit,
        books={book: int(books.value(f"SELECT count(*) FROM {book}")) for book in sorted(books.has)},
        calls=calls,
        clean=calls - _unclean(books),
        classes=_classes(books),
        models=_records(books, "SELECT * FROM models ORDER BY model"),
        accounts=_records(
            books, "SELECT * FROM rolled ORDER BY abs(coalesce(unexplained, 0)) DESC, account LIMIT 1000"
        ),
        unreadable=int(books.value("SELECT count(*) FROM unreadable")),
        unmatched=_unmatched(books),
        rounding=dict(books.rounding),
        doubt=_doubt(books),
        notes=tuple(books.notes),
        sources=tuple(name for _, name in books.rows("SELECT file, name FROM sources ORDER BY file")),
    )


def _classes(books: Books) -> tuple[ClassTotal, ...]:
    found = {
        name: (count, over or 0, under or 0)
        for name, count, over, under in books.rows(
            """SELECT class, count(*), sum(abs(delta)) FILTER (harmed = 'customer'),
                      sum(abs(delta)) FILTER (harmed = 'provider') FROM discrepancies GROUP BY class"""
        )
    }
    totals = []
    for name, meaning in CLASSES.items():
        count, over, under = found.get(name, (0, 0, 0))
        money = name not in NO_MONEY
        totals.append(ClassTotal(name, meaning, int(count), int(over) if money else 0, int(under) if money else 0))
    return tuple(totals)


def _models(books: Books) -> None:
    """Make table ``models``: tokens served and their price beside what was charged, by model, from the whole books."""
    price = due(terms("p", "s"), "y", books.roundings())
    books.db.execute(
        f"""CREATE OR REPLACE TABLE models AS
        WITH served_ AS (
            SELECT coalesce(s.model, '') AS model, count(*) AS served,
                   sum(s.input) AS input, sum(s.cache_read) AS cache_read,
                   sum(s.cache_write) AS cache_write, sum(s.output) AS output,
                   sum({price}) AS priced
            FROM served s LEFT JOIN prices p ON p.policy = s.policy AND p.model = s.model
            LEFT JOIN policies y ON y.policy = s.policy
            WHERE s.serves AND s.flaw = '' GROUP BY ALL
        ), booked AS ({_booked(books)})
        SELECT coalesce(served_.model, booked.model) AS model, coalesce(served, 0) AS served,
               coalesce(input, 0) AS input, coalesce(cache_read, 0) AS cache_read,
               coalesce(cache_write, 0) AS cache_write, coalesce(output, 0) AS output,
               coalesce(priced, 0) AS priced, coalesce(charged, 0) AS charged
        FROM served_ FULL JOIN booked ON served_.model = booked.model"""
    )


def _booked(books: Books) -> str:
    """Return the SQL of what the ledger charged per model; a ledger without models is asked for its calls' models."""
    if books.value("SELECT count(model) FROM entries") or "served" not in books.has:
        source = "SELECT coalesce(model, '') AS model, kind, amount FROM entries"
    else:
        source = (
            "SELECT coalesce(c.model, s.model, '') AS model, kind, amount FROM entries e "
            "LEFT JOIN (SELECT call, model FROM cases) c USING (call) "
            "LEFT JOIN (SELECT call, any_value(model) AS model FROM served GROUP BY call) s USING (call)"
        )
    return (
        "SELECT model, coalesce(sum(amount) FILTER (kind = 'post'), 0) "
        f"- coalesce(sum(amount) FILTER (kind = 'refund'), 0) AS charged FROM ({source}) GROUP BY model"
    )


def _doubt(books: Books) -> str:
    """Say why foreign books cannot be compared at all: no call is in both of them."""
    if not books.foreign or books.cleared:
        return ""
    both = int(books.value("SELECT count(*) FROM cases WHERE attempts > 0 AND posts + holds > 0"))
    if both or books.value(f"SELECT count(*) FROM suspects WHERE {AWAY}"):
        return ""
    return "no call is in both the upstream's book and the ledger: do the map's columns of calls hold the same ids?"


def _unclean(books: Books) -> int:
    return int(
        books.value(
            f"SELECT count(*) FROM (SELECT call FROM discrepancies WHERE call <> '' UNION "
            f"SELECT call FROM suspects WHERE {AWAY})"
        )
    )


def _unmatched(books: Books) -> dict[str, int]:
    """Count the calls that one book has and another lacks: retried and refused calls are lawfully in one alone."""
    there = {"served": "attempts > 0", "entries": "posts + holds > 0", "told": "c_known"}
    counts = {}
    for one in sorted(books.has & set(there)):
        for other in sorted(books.has & set(there)):
            if one != other:
                counts[f"{one} without {other}"] = int(
                    books.value(f"SELECT count(*) FROM cases WHERE {there[one]} AND NOT ({there[other]})")
                )
    return counts


def _records(books: Books, statement: str) -> tuple[dict[str, Any], ...]:
    found = books.db.execute(statement)
    names = [column[0] for column in found.description or ()]
    return tuple(dict(zip(names, row, strict=True)) for row in found.fetchall())
