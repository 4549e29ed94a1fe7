"""The closer look: all that the four books say of each suspect, side by side, and what it should have cost."""

from __future__ import annotations

from harness.audit.aside import AWAY
from harness.audit.books import Books
from harness.audit.prices import CLASSES, due, exact, rounded

LOOKED_AT = "call IN (SELECT call FROM looked_at)"
AT_ONCE = 250_000
"""Suspects that are looked at together, so that memory bears any number of them."""


def examine(books: Books) -> None:
    """Make table ``cases``: one row a suspect.

    u_*: upstreams; g_*: ledger; l_*: usage log; c_*: client. ``exact`` is the price of the served tokens before
    rounding, ``high`` the greatest lawful charge and ``low`` the least: they differ where nobody can tell whether the
    answer counts. ``all_*`` is the price of every attempt's usage, rounded together or each,
    ``each_price`` the served usage's once for each attempt.
    """
    suspects = int(books.value("SELECT count(*) FROM suspects"))
    parts = 1 + suspects // AT_ONCE
    for part in range(parts):
        books.db.execute(
            "CREATE OR REPLACE TEMP TABLE looked_at AS SELECT call FROM suspects "
            f"WHERE hash(call) % {parts} = {part} AND NOT {AWAY}"
        )
        books.db.execute(f"{'INSERT INTO cases' if part else 'CREATE OR REPLACE TABLE cases AS'} {_look()}")


def _look() -> str:
    """Return the SQL of the cases of the calls in ``looked_at``."""
    return f"""
        WITH t AS ({_attempts()}), u AS ({_served()}), g AS ({_entries()}), l AS ({_logged()}), c AS ({_told()}),
        joined AS (
            SELECT call,
                   coalesce(u.policy, c.policy, 0) AS policy,
                   coalesce(u.account, g.account, l.account, c.account, '') AS account,
                   coalesce(u.model, c.model, g.model, l.model, '') AS model,
                   coalesce(u.attempts, 0) AS attempts, coalesce(u.serving, 0) AS serving, coalesce(u.flaw, '') AS flaw,
                   {", ".join(f"u.{name} AS u_{name}" for name in CLASSES)}, u.started AS u_started, u.ended AS u_ended,
                   u.all_exact, u.all_prices,
                   {", ".join(f"coalesce(l.{name}, g.{name}) AS l_{name}" for name in CLASSES)},
                   coalesce(g.posts, 0) AS posts, coalesce(g.charged, 0) AS charged,
                   coalesce(g.refunded, 0) AS refunded, coalesce(g.holds, 0) AS holds, coalesce(g.voids, 0) AS voids,
                   coalesce(g.held, 0) AS held, coalesce(g.released, 0) AS released,
                   coalesce(g.payouts, 0) AS payouts, coalesce(g.paid, 0) AS paid,
                   g.stamp AS g_at, g.before AS g_before, g.after AS g_after,
                   coalesce(l.n, 0) AS l_rows, l.charged AS l_charged, l.paid AS l_paid, l.insurance AS l_insurance,
                   coalesce(c.latency_ms, l.latency_ms) AS latency_ms,
                   c.call IS NOT NULL AS c_known, c.outcome AS c_outcome, c.charged AS c_charged, c.before AS c_before,
                   c.after AS c_after, coalesce(c.insured, false) AS insured, c.status AS c_status, c.paid AS c_paid,
                   c.header_status AS c_header_status, c.header_paid AS c_header_paid, c.fastest, c.slowest,
                   c.stamp AS c_at
            FROM looked_at s LEFT JOIN u USING (call) LEFT JOIN g USING (call) LEFT JOIN l USING (call)
            LEFT JOIN c USING (call)
        ), priced AS (
            SELECT j.*, y.quantum, y.rounding, y.threshold, y.ratio_over, y.ratio_under, y.skew,
                   coalesce(y.tolerance, 0) AS tolerance,
                   p.input AS p_input, coalesce(p.cache_read, p.input) AS p_cache_read,
                   coalesce(p.cache_write, p.input) AS p_cache_write, p.output AS p_output,
                   {" + ".join(_terms("u"))} AS exact,
                   {due(_terms("u"))} AS price, {rounded("all_exact")} AS all_price,
                   {rounded(f"(attempts * ({' + '.join(_terms('u'))}))")} AS each_price
            FROM joined j LEFT JOIN policies y ON y.policy = j.policy
            LEFT JOIN prices p ON p.policy = j.policy AND p.model = j.model
        )
        SELECT *, charged - refunded AS net,
               CASE WHEN serving > 0 AND flaw = '' AND coalesce(c_outcome, 'ok') <> 'failed' THEN coalesce(price, 0)
                    ELSE 0 END AS high,
               CASE WHEN serving > 0 AND flaw = '' AND coalesce(c_outcome, 'ok') = 'ok' THEN coalesce(price, 0)
                    ELSE 0 END AS low
        FROM priced"""


def _terms(book: str) -> list[str]:
    """Return the SQL of the exact price of the tokens in columns ``<book>_input`` and so on, at the prices in ``p``."""
    return [f"coalesce(j.{book}_{name}, 0) * coalesce(p.{name}, p.input)" for name in CLASSES]


def _attempts() -> str:
    return f"""SELECT s.*, {exact("p", "s")} AS exact, y.quantum, y.rounding FROM suspect_served s
        LEFT JOIN policies y ON y.policy = s.policy
        LEFT JOIN prices p ON p.policy = s.policy AND p.model = s.model WHERE {LOOKED_AT}"""


def _served() -> str:
    # Two attempts may both have served a foreign call: the last one is the answer.
    last = ", ".join(f"arg_max({name}, (ended, line)) FILTER (serves) AS {name}" for name in CLASSES)
    return f"""SELECT call, any_value(policy) AS policy, any_value(account) AS account, any_value(model) AS model,
        count(*) AS attempts, count_if(serves) AS serving, arg_max(flaw, (ended, line)) FILTER (serves) AS flaw, {last},
        min(started) AS started, max(ended) AS ended,
        sum(exact)::HUGEINT AS all_exact, sum({rounded("exact", "t")})::HUGEINT AS all_prices
        FROM t GROUP BY call"""


def _entries() -> str:
    sums = {"post": "charged", "refund": "refunded", "hold": "held", "void": "released", "payout": "paid"}
    columns = ", ".join(
        f"count_if(kind = '{kind}') AS {kind}s, coalesce(sum(amount) FILTER (kind = '{kind}'), 0)::HUGEINT AS {name}"
        for kind, name in sums.items()
    )
    tokens = ", ".join(f"any_value({name}) FILTER (kind = 'post') AS {name}" for name in CLASSES)
    around = (
        "any_value(balance - change) FILTER (kind = 'post') AS before, "
        "any_value(balance) FILTER (kind = 'post') AS after"
    )
    return f"""SELECT call, any_value(account) AS account, any_value(model) AS model, {columns}, {tokens}, {around},
        max(stamp) AS stamp FROM suspect_entries WHERE {LOOKED_AT} GROUP BY call"""


def _logged() -> str:
    tokens = ", ".join(f"any_value({name}) AS {name}" for name in CLASSES)
    return f"""SELECT call, any_value(account) AS account, any_value(model) AS model, count(*) AS n, {tokens},
        sum(charged)::HUGEINT AS charged, sum(paid)::HUGEINT AS paid, any_value(insurance) AS insurance,
        any_value(latency_ms) AS latency_ms FROM suspect_logged WHERE {LOOKED_AT} GROUP BY call"""


def _told() -> str:
    names = (
        "policy, account, model, outcome, charged, before, after, insured, status, paid, header_status, header_paid, "
        "latency_ms, fastest, slowest, stamp"
    )
    columns = ", ".join(f"any_value({name}) AS {name}" for name in names.split(", "))
    return f"SELECT call, {columns} FROM suspect_told WHERE {LOOKED_AT} GROUP BY call"
