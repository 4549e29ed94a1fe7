"""The screen: finds the calls that need a closer look, so that a month's millions are joined once and narrowly.

A call is clean if one upstream attempt served it with sound usage, one ledger entry charges exactly its price, and the
client (if its book was given) was told that amount; everything else is a suspect. A key that two rows of a book share
could hide in a join, each of its rows looking clean: that none does is proved by counting, and if it cannot be, the
shared keys are looked for and become suspects.
"""

from __future__ import annotations

from harness.audit.books import BOOKS, Books
from harness.audit.prices import CLASSES, due, terms

MOST_SUSPECTS = 0.1
"""With more than this share of entries that are no charges in a sample a screen saves nothing."""
SAMPLE = 20_000
ASIDE = "SELECT call FROM aside WHERE call <> ''"
"""Calls that have a row that could not be read: none of them is clean."""


def find_suspects(books: Books) -> None:
    """Make table ``suspects(call)``, every call that is not proved clean, and ``suspect_<book>``, its rows."""
    if not _worthwhile(books):
        every = " UNION ".join(f"SELECT call FROM {book} WHERE call <> ''" for book in sorted(books.has))
        books.db.execute(f"CREATE OR REPLACE TABLE suspects AS {every + ' UNION ' if every else ''}{ASIDE}")
        for book in BOOKS:
            books.db.execute(f"CREATE OR REPLACE VIEW suspect_{book} AS SELECT * FROM {book} WHERE call <> ''")
        return
    _screen(books)
    rows = {book: _pick(books, book) for book in BOOKS}
    if not _each_call_once(books, rows):
        shared = " UNION ".join(
            f"SELECT call FROM {book} WHERE call <> '' GROUP BY call HAVING count(*) > 1" for book in _joined(books)
        )
        books.db.execute(f"INSERT INTO suspects {shared} EXCEPT SELECT call FROM suspects")
        rows = {book: _pick(books, book) for book in BOOKS}
    books.cleared = rows["served"]


def _worthwhile(books: Books) -> bool:
    """Say whether a sample of the ledger is nearly all charges. Usage logs of their own are never screened."""
    if "served" not in books.has or "entries" not in books.has or "logged" in books.has:
        return False
    charges, total = books.rows(
        f"SELECT count_if(kind = 'post'), count(*) FROM (SELECT kind FROM entries WHERE call <> '' LIMIT {SAMPLE})"
    )[0]
    return bool(total > 0 and total - charges <= MOST_SUSPECTS * total)


def _joined(books: Books) -> list[str]:
    return [book for book in ("served", "entries", "told") if book in books.has]


def _screen(books: Books) -> None:
    """Make ``screened(call, n)`` from one narrow join: its rows by suspect, and all that are clean under no call."""
    same_tokens = " AND ".join(f"(g.{name} IS NULL OR g.{name} = u.{name})" for name in CLASSES)
    clean = f"u.sound AND g.kind = 'post' AND abs(g.amount - u.due) <= u.tolerance AND {same_tokens}"
    told = ""
    call = "coalesce(u.call, g.call)"
    if "told" in books.has:
        clean += " AND k.outcome = 'ok' AND coalesce(abs(k.charged - g.amount) <= u.tolerance, true)"
        clean += " AND coalesce(k.before - k.charged = k.after, true)"
        clean += " AND coalesce(k.before = g.balance - g.change AND k.after = g.balance, true)"
        clean += " AND coalesce(k.paid, 0) = 0 AND coalesce(k.header_paid, 0) = 0"
        clean += " AND coalesce(k.status = k.header_status, true)"
        clean += " AND coalesce(k.status <> 'paid', true)"
        fast = "coalesce((k.slowest + u.skew) // 1000 <= u.threshold // 1000, false)"
        measured = "coalesce(k.latency_ms BETWEEN (k.fastest - u.skew) // 1000 AND (k.slowest + u.skew) // 1000, true)"
        clean += f" AND (NOT coalesce(k.insured, false) OR ({fast} AND {measured}))"
        told = "FULL JOIN (SELECT * FROM told WHERE call <> '') k USING (call)"
        call = "coalesce(u.call, g.call, k.call)"
    tokens = ", ".join(f"s.{name}" for name in CLASSES)
    books.db.execute(
        f"""CREATE OR REPLACE TEMP TABLE screened AS
        SELECT CASE WHEN coalesce({clean}, false) THEN NULL ELSE {call} END AS call, count(*) AS n FROM (
            SELECT s.call, s.serves AND s.flaw = '' AS sound, {tokens},
                   {due(terms("p", "s"), "y", books.roundings())} AS due, y.threshold, y.skew, y.tolerance
            FROM served s LEFT JOIN prices p ON p.policy = s.policy AND p.model = s.model
            LEFT JOIN policies y ON y.policy = s.policy
            WHERE s.call <> ''
        ) u FULL JOIN (SELECT * FROM entries WHERE call <> '') g USING (call) {told} GROUP BY ALL"""
    )
    books.db.execute(
        f"CREATE OR REPLACE TABLE suspects AS SELECT call FROM screened WHERE call IS NOT NULL UNION {ASIDE}"
    )


def _pick(books: Books, book: str) -> int:
    """Make ``suspect_<book>``, and return how many rows with a call the book has beside."""
    books.db.execute(
        f"""CREATE OR REPLACE TEMP TABLE picked AS
        SELECT * FROM {book} WHERE call IN (SELECT call FROM suspects UNION ALL SELECT '')"""
    )
    books.db.execute(f"CREATE OR REPLACE TABLE suspect_{book} AS SELECT * FROM picked WHERE call <> ''")
    return int(books.value(f"SELECT (SELECT count(*) FROM {book}) - (SELECT count(*) FROM picked)"))


def _each_call_once(books: Books, rows: dict[str, int]) -> bool:
    """Say whether counting proves that every call that is no suspect has exactly one row in each book.

    Over those calls the join's rows number the sum of products of the books' rows per call. That it equals each book's
    own number of rows leaves every product at one. A suspect may have clean rows in the join too: its products less its
    rows that are not clean.
    """
    counts = " ".join(
        f"LEFT JOIN (SELECT call, count(*) AS {book} FROM suspect_{book} GROUP BY call) USING (call)"
        for book in _joined(books)
    )
    product = " * ".join(f"coalesce({book}, 1)" for book in _joined(books))
    # A call that is in none of the books, because its rows were set aside, has no row in the join.
    there = f"coalesce({', '.join(_joined(books))}) IS NOT NULL"
    of_suspects = books.value(f"SELECT coalesce(sum({product}) FILTER ({there}), 0)::BIGINT FROM suspects {counts}")
    clean, unclean = books.rows(
        "SELECT coalesce(sum(n) FILTER (call IS NULL), 0), coalesce(sum(n) FILTER (call IS NOT NULL), 0) FROM screened"
    )[0]
    return all(rows[book] == clean - (of_suspects - unclean) for book in _joined(books))
