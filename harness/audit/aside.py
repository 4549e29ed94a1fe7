"""Sets calls aside of which nothing can be said: a row of theirs could not be read, or is there twice."""

from __future__ import annotations

from harness.audit.books import Books
from harness.audit.prices import CLASSES

COPIES = {
    "served": f"call, attempt, model, {', '.join(CLASSES)}, started, ended",
    "told": "call",
    "entries": "call, kind, seq",
}
"""What no two rows of a foreign book may have in common; a ledger without numbers of its own counts lines."""
AWAY = "call IN (SELECT call FROM aside WHERE call <> '')"


def set_aside(books: Books) -> None:
    """List copies of rows in foreign books, and set aside the calls whose copies may differ."""
    if books.foreign:
        for book in sorted(books.has & set(COPIES)):
            _copies(books, book)


def _copies(books: Books, book: str) -> None:
    """List the second and later copies of rows: every call that has any is a suspect."""
    books.db.execute(
        f"""CREATE OR REPLACE TEMP TABLE copies AS
        SELECT call, file, line FROM suspect_{book}
        QUALIFY row_number() OVER (PARTITION BY {COPIES[book]} ORDER BY file, line) > 1"""
    )
    books.db.execute(
        "INSERT INTO unreadable SELECT name, line, 'call', call, 'the same row again' "
        "FROM copies JOIN sources USING (file)"
    )
    if book != "served":  # copies of an attempt are the same in all that counts
        books.db.execute(f"INSERT INTO aside SELECT DISTINCT '{book}', call FROM copies")


def doubt_absences(books: Books) -> None:
    """Set aside calls that lack a row in a book which has as many rows that do not tell their call.

    Where more calls lack one, some do for certain: all are reported, and a note says how many may be in such rows.
    """
    for book, lacking, told in (
        ("ledger", "attempts > 0 AND posts = 0 AND low > 0", "no charge"),
        ("upstream", "attempts = 0 AND net > 0", "no attempt"),
    ):
        nameless = int(books.value("SELECT count(*) FROM aside WHERE book = ? AND call = ''", [book]))
        missing = int(books.value(f"SELECT count(*) FROM cases WHERE {lacking}"))
        if not nameless or not missing:
            continue
        if missing > nameless:
            books.notes.append(
                f"{missing} calls have {told} in the {book}; up to {nameless} of them may be in its unreadable rows"
            )
            continue
        books.db.execute(
            f"INSERT INTO unreadable SELECT 'the {book}', NULL, 'call', call, "
            f"'{told} in the {book}, or it is in one of the {nameless} rows that could not be read' "
            f"FROM cases WHERE {lacking}"
        )
        books.db.execute(f"INSERT INTO aside SELECT '{book}', call FROM cases WHERE {lacking}")
        books.db.execute(f"DELETE FROM cases WHERE {lacking}")
