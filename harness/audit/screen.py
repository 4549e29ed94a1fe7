"""The screen: finds the calls that need a closer look, so that a month's millions are joined once and narrowly.

A call is clean if one upstream attempt served it with sound usage, one ledger entry charges exactly its price, and the
client (if its book was given) was told that amount; everything else is a suspect. A key that two rows of a book share
could hide in a join, each of its rows looking clean: that none does is proved by counting, and if it cannot be, the
shared keys are looked for and become suspects.
"""

from __future__ import annotations

from harness.audit.books import Books
from harness.audit.prices import CLASSES, exact, rounded

MOST_SUSPECTS = 0.1
"""With more than this share of unclean calls in a sample a screen saves nothing."""
SAMPLE = 20_000


def find_suspects(books: Books) -> None:
    """Make table ``suspects(call)``: every call that is not proved clean."""
    books.db.execute("CREATE OR REPLACE TABLE suspects (call VARCHAR)")
    if not _worthwhile(books):
        every = " UNION ".join(f"SELECT call FROM {book} WHERE call <> ''" for book in sorted(books.has))
        books.db.execute(f"INSERT INTO suspects {every}")
        return
    books.screened = True
    clean = _screen(books)
    if not _each_call_once(books, clean):
        for book in _joined(books):
            books.db.execute(
                f"INSERT INTO suspects SELECT call FROM {book} WHERE call <> '' GROUP BY call HAVING count(*) > 1"
            )
        books.db.execute("CREATE OR REPLACE TABLE suspects AS SELECT DISTINCT call FROM suspects")


def _worthwhile(books: Books) -> bool:
    """Say whether a sample of the ledger's calls is nearly all clean. Usage logs of their own are never screened."""
    if "served" not in books.has or "entries" not in books.has or "logged" in books.has:
        return False
    books.db.execute(
        f"CREATE OR REPLACE TEMP TABLE sample AS SELECT call, kind FROM entries WHERE call <> '' LIMIT {SAMPLE}"
    )
    unclean, total = books.rows(
        """SELECT count_if(NOT coalesce(g.kind = 'post' AND u.call IS NOT NULL, false)), count(*) FROM sample g
        LEFT JOIN (SELECT DISTINCT call FROM served WHERE serves AND flaw = '' AND call IN (SELECT call FROM sample)) u
        USING (call)"""
    )[0]
    return bool(total > 0 and unclean <= MOST_SUSPECTS * total)


def _joined(books: Books) -> list[str]:
    return [book for book in ("served", "entries", "told") if book in books.has]


def _screen(books: Books) -> int:
    """Fill ``suspects`` from one narrow join, and return how many of its rows were clean."""
    same_tokens = " AND ".join(f"(g.{name} IS NULL OR g.{name} = u.{name})" for name in CLASSES)
    clean = f"u.sound AND g.kind = 'post' AND abs(g.amount - u.due) <= u.tolerance AND {same_tokens}"
    told = ""
    call = "coalesce(u.call, g.call)"
    if "told" in books.has:
        clean += " AND k.outcome = 'ok' AND coalesce(abs(k.charged - g.amount) <= u.tolerance, true)"
        clean += " AND coalesce(k.paid, 0) = 0"
        clean += " AND (NOT coalesce(k.insured, false)"
        clean += " OR coalesce((k.slowest + u.skew) // 1000 <= u.threshold // 1000, false))"
        told = "FULL JOIN told k USING (call)"
        call = "coalesce(u.call, g.call, k.call)"
    tokens = ", ".join(f"s.{name}" for name in CLASSES)
    books.db.execute(
        f"""CREATE OR REPLACE TEMP TABLE screened AS
        SELECT count_if(clean) AS clean, list(call) FILTER (WHERE NOT clean) AS suspects FROM (
            SELECT {call} AS call, coalesce({clean}, false) AS clean FROM (
                SELECT s.call, s.serves AND s.flaw = '' AS sound, {tokens},
                       {rounded(exact("p", "s"), "y")} AS due, y.threshold, y.skew, y.tolerance
                FROM served s LEFT JOIN prices p ON p.policy = s.policy AND p.model = s.model
                LEFT JOIN policies y ON y.policy = s.policy
            ) u FULL JOIN (SELECT * FROM entries WHERE call <> '') g USING (call) {told}
        )"""
    )
    books.db.execute("INSERT INTO suspects SELECT DISTINCT unnest(suspects) FROM screened")
    return int(books.value("SELECT clean FROM screened"))


def _each_call_once(books: Books, clean: int) -> bool:
    """Say whether counting proves that every call that is no suspect has exactly one row in each book.

    Over those calls the join's rows number the sum of products of the books' rows per call. That it equals each book's
    own number of rows leaves every product at one.
    """
    own = []
    product = []
    for book in _joined(books):
        books.db.execute(
            f"CREATE OR REPLACE TEMP TABLE of_{book} AS SELECT call, count(*) AS n FROM {book} "
            "WHERE call IN (SELECT call FROM suspects) GROUP BY call"
        )
        total = books.value(f"SELECT count(*) FROM {book} WHERE call <> ''")
        own.append(total - books.value(f"SELECT coalesce(sum(n), 0) FROM of_{book}"))
        product.append(f"coalesce(of_{book}.n, 1)")
    joins = " ".join(f"LEFT JOIN of_{book} USING (call)" for book in _joined(books))
    rows = books.value(f"SELECT coalesce(sum({' * '.join(product)}), 0)::BIGINT FROM suspects {joins}")
    unclean = books.value("SELECT coalesce(len(suspects), 0) FROM screened")
    return all(count == clean - (rows - unclean) for count in own)
