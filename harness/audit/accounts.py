"""What happened to each account's money: its roll-forward, and whether its balances form one serial order."""

from __future__ import annotations

from harness.audit.books import Books

CHAINED = ("opening", "top_up", "post", "payout", "refund")
"""Kinds of entry that change a posted balance."""


def roll_forward(books: Books) -> None:
    """Make table ``rolled``: per account, opening + top_ups - charges + payouts + refunds = closing, or how far off.

    ``closing`` is the last balance that the ledger shows, NULL if it shows none; ``unexplained`` is closing less the
    sum.
    """
    books.db.execute(
        """CREATE OR REPLACE TABLE rolled AS
        WITH sums AS (
            SELECT account,
                   coalesce(sum(amount) FILTER (kind = 'opening'), 0) AS opening_entry,
                   coalesce(sum(amount) FILTER (kind = 'top_up'), 0) AS top_ups,
                   coalesce(sum(amount) FILTER (kind = 'post'), 0) AS charges,
                   coalesce(sum(amount) FILTER (kind = 'payout'), 0) AS payouts,
                   coalesce(sum(amount) FILTER (kind = 'refund'), 0) AS refunds,
                   count(*) AS entries,
                   arg_max(balance, seq) FILTER (balance IS NOT NULL) AS closing
            FROM entries GROUP BY account
        ), opened AS (SELECT account, sum(opening) AS opening FROM accounts GROUP BY account)
        SELECT account, coalesce(opening, opening_entry, 0) AS opening, coalesce(top_ups, 0) AS top_ups,
               coalesce(charges, 0) AS charges, coalesce(payouts, 0) AS payouts, coalesce(refunds, 0) AS refunds,
               closing, coalesce(entries, 0) AS entries,
               closing - (coalesce(opening, opening_entry, 0) + top_ups - charges + payouts + refunds) AS unexplained
        FROM sums FULL JOIN opened USING (account)"""
    )


def chain(books: Books) -> None:
    """Add BALANCE_CHAIN_BREAK for every entry whose balance does not follow from the one before it.

    A ledger that shows no balances is judged by what its clients were told: each balance told after a charge is the one
    told before the next, but for the account's first and last, and for one more of each per payout.
    """
    if books.value(f"SELECT count(*) FROM entries WHERE balance IS NOT NULL AND kind IN {CHAINED}"):
        _entries(books)
    elif "told" in books.has:
        _told(books)


def _entries(books: Books) -> None:
    books.db.execute(
        """INSERT INTO discrepancies
        SELECT 'BALANCE_CHAIN_BREAK', call, account, model, before + change, balance, balance - before - change,
               'nobody', 'entry ' || seq || ' after a balance of ' || before, stamp, '', name || ':' || line, ''
        FROM (
            SELECT *, lag(balance, 1, CASE WHEN kind = 'opening' THEN 0 END)
                OVER (PARTITION BY account ORDER BY seq) AS before
            FROM entries WHERE balance IS NOT NULL
        ) JOIN sources USING (file)
        WHERE before IS NOT NULL AND balance <> before + change"""
    )


def _told(books: Books) -> None:
    books.db.execute(
        """INSERT INTO discrepancies
        WITH points AS (
            SELECT account, before AS balance, 1 AS n FROM told WHERE before IS NOT NULL AND after IS NOT NULL
            UNION ALL SELECT account, after, -1 FROM told WHERE before IS NOT NULL AND after IS NOT NULL
        ), loose AS (
            SELECT account, balance, sum(n) AS n FROM points GROUP BY account, balance HAVING sum(n) <> 0
        ), ends AS (
            SELECT account, sum(n) FILTER (n > 0) AS starts, arg_max(balance, abs(n)) AS balance
            FROM loose GROUP BY account
        ), allowed AS (
            SELECT account, 1 + count_if(kind = 'payout') + count_if(kind IN ('top_up', 'refund')) AS n
            FROM entries GROUP BY account
        )
        SELECT 'BALANCE_CHAIN_BREAK', '', account, '', NULL, balance, NULL, 'nobody',
               starts || ' balances told before a charge follow from none told after one; '
                   || coalesce(a.n, 1) || ' may',
               NULL, '', '', ''
        FROM ends LEFT JOIN allowed a USING (account) WHERE starts > coalesce(a.n, 1)"""
    )
