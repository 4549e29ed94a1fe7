"""Makes the books of a foreign audit, of the files that are given, the maps of their columns, and a price list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.audit.books import AuditError, Books
from harness.audit.foreign.book_file import POLICY, TABLE, BookFile
from harness.audit.foreign.cells import MOST_TOKENS, MOST_UNITS
from harness.audit.foreign.column_map import BookMap
from harness.audit.foreign.files import open_source
from harness.audit.foreign.price_list import PriceList
from harness.audit.foreign.rounding import settle
from harness.audit.foreign.rows import ROWS
from harness.audit.prices import CLASSES
from harness.audit.units import PriceError


@dataclass(frozen=True, slots=True)
class Order:
    """What a foreign audit is asked: the files of each book, how to read them, what was promised."""

    files: Mapping[str, Sequence[Path]]
    maps: Mapping[str, Sequence[BookMap]]
    """Of each file of a book, in their order."""
    prices: PriceList
    tolerance: int = 0
    """In quanta of the rounding."""
    cutoff_s: int | None = None


def read_foreign(order: Order, scratch: Path | None = None) -> Books:
    """Return the books of an order's files. Raises AuditError."""
    prices = order.prices
    unit = prices.unit()
    books = Books(unit, credit=unit.per_dollar // 100, scratch=scratch)
    try:
        books.credit = unit.credit(prices.credits_per_usd or 100)
        books.foreign = True
        books.db.execute("SET TimeZone = 'UTC'")
        per_token = {
            name: [None if price[one] is None else unit.per_token(price[one]) for one in CLASSES]
            for name, price in prices.models.items()
        }
        books.insert("prices", [(POLICY, name, *given) for name, given in per_token.items()])
        dearest = max(one or 0 for given in per_token.values() for one in given)
        most_tokens = min(MOST_TOKENS, MOST_UNITS // (8 * max(dearest, 1)))
        payouts = any(mapped.has_payouts for mapped in order.maps.get("ledger", ()))
        if prices.insurance is not None and not (payouts and "client" in order.files):
            books.notes.append("the insurance is not judged: it takes a ledger with payouts, and the client's book")
        for book, paths in order.files.items():
            selects = []
            for path, mapped in zip(paths, order.maps[book], strict=True):
                source = open_source(books, path, mapped)
                selects.append(BookFile(books, source, mapped, prices, most_tokens, payouts).select(ROWS[book]))
            books.define(TABLE[book], " UNION ALL ".join(selects))
        _open_accounts(books, order)
        settle(books, prices, order.tolerance)
        if order.cutoff_s is not None:
            _cut_off(books, order)
    except PriceError as error:
        books.db.close()
        raise AuditError(str(error)) from error
    except BaseException:
        books.db.close()
        raise
    return books


def _open_accounts(books: Books, order: Order) -> None:
    """Take what an account had before its first entry for its opening, where the ledger shows balances."""
    if any("balance" in mapped.columns for mapped in order.maps.get("ledger", ())):
        books.db.execute(
            "INSERT INTO accounts SELECT account, arg_min(balance - change, seq) FROM entries "
            "WHERE balance IS NOT NULL GROUP BY account HAVING count(*) FILTER (kind = 'opening') = 0"
        )


def _cut_off(books: Books, order: Order) -> None:
    assert order.cutoff_s is not None
    books.cutoff_us = order.cutoff_s * 1_000_000
    for book, table, at in (("upstream", "served", "ended"), ("ledger", "entries", "stamp")):
        if not books.value(f"SELECT count({at}) FROM {table}"):
            books.notes.append(f"the {book}'s rows have no times: no call is put down to the edge of its period")
