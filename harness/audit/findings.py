"""Writes table ``discrepancies``: every disagreement of the books with who is harmed and where to look."""

from __future__ import annotations

from harness.audit.books import Books
from harness.audit.classes import CHARGES, DISPLAY, OTHERS, Class, confusion

COLUMNS = (
    "class VARCHAR, call VARCHAR, account VARCHAR, model VARCHAR, expected HUGEINT, observed HUGEINT, delta HUGEINT, "
    "harmed VARCHAR, why VARCHAR, stamp BIGINT, served VARCHAR, booked VARCHAR, told VARCHAR"
)
NO_MONEY = ("CUTOFF", "HOLD_LEAK", "CLIENT_DISPLAY_MISMATCH", "BALANCE_CHAIN_BREAK")
"""Classes whose delta is of something shown or set aside, not of money that changed hands."""
AT_ONCE = 250_000
"""Discrepancies whose rows are looked up together, so that memory bears any number of them."""
AT = "coalesce(g_at, u_ended, c_at)"


def find(books: Books) -> None:
    """Fill ``discrepancies`` from ``cases``; the rows of a chain of balances are added by ``accounts``."""
    db = books.db
    db.execute(f"CREATE OR REPLACE TABLE discrepancies ({COLUMNS})")
    _mark_cutoff(books)
    ordered = " ".join(f"WHEN coalesce({one.when}, false) THEN {n}" for n, one in enumerate(CHARGES))
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE charges AS SELECT *, CASE {ordered} END AS n "
        f"FROM (SELECT *, {confusion(books.roundings())} AS confusion FROM cases) AS cases"
    )
    for n, one in enumerate(CHARGES):
        _insert(books, one, "charges", f"n = {n}")
    for one in (*OTHERS, *DISPLAY):
        _insert(books, one, "cases", f"coalesce({one.when}, false)")
    _point(books)


def _insert(books: Books, one: Class, table: str, when: str) -> None:
    expected, observed = f"({one.expected})::HUGEINT", f"({one.observed})::HUGEINT"
    books.db.execute(
        f"INSERT INTO discrepancies SELECT '{one.name}', call, account, model, {expected}, {observed}, "
        f"{observed} - {expected}, {harmed(one.name, f'{observed} - {expected}')}, {one.why}, {AT}, '', '', '' "
        f"FROM {table} AS cases WHERE {when}"
    )


def harmed(name: str, delta: str) -> str:
    """Return the SQL of who loses by ``delta``, observed less expected: a payout works the other way round."""
    if name in NO_MONEY and name != "HOLD_LEAK":
        return "'nobody'"
    customer, provider = ("<", ">") if name.startswith("INSURANCE") or name == "REFUND_EXCESS" else (">", "<")
    return f"CASE WHEN {delta} {customer} 0 THEN 'customer' WHEN {delta} {provider} 0 THEN 'provider' ELSE 'nobody' END"


def _mark_cutoff(books: Books) -> None:
    """Say of each case whether it may belong to another period: only where exports were cut by time."""
    books.db.execute("ALTER TABLE cases ADD COLUMN cutoff BOOLEAN DEFAULT false")
    if books.cutoff_us is None:
        return
    edges = {}
    for book, at in (("served", "ended"), ("entries", "stamp")):
        edges[book] = books.rows(f"SELECT min({at}), max({at}) FROM {book} WHERE call <> ''")[0]
    for book, mine in (("served", "g_at"), ("entries", "u_ended")):
        first, last = edges[book]
        if first is not None:
            missing = "attempts = 0" if book == "served" else "posts = 0"
            books.db.execute(
                f"UPDATE cases SET cutoff = true WHERE {missing} AND ({mine} < ? + ? OR {mine} > ? - ?)",
                [first, books.cutoff_us, last, books.cutoff_us],
            )


def _point(books: Books) -> None:
    """Add to each discrepancy where its rows are, as file:line of each book."""
    books.db.execute("DROP TABLE charges")
    parts = 1 + int(books.value("SELECT count(*) FROM discrepancies")) // AT_ONCE
    for column, sources in (("served", ("served",)), ("booked", ("entries", "logged")), ("told", ("told",))):
        for part in range(parts):
            these = f"SELECT call FROM discrepancies WHERE call <> '' AND hash(call) % {parts} = {part}"
            rows = " UNION ALL ".join(
                f"SELECT call, file, line FROM suspect_{book} WHERE call IN ({these})" for book in sources
            )
            books.db.execute(
                f"""UPDATE discrepancies SET {column} = found.places FROM (
                    SELECT call, string_agg(name || ':' || line, ' ' ORDER BY file, line) AS places
                    FROM ({rows}) JOIN sources USING (file) GROUP BY call
                ) AS found WHERE discrepancies.call = found.call"""
            )
