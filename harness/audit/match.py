"""The three-way match: every row of every book grouped by call, priced anew; it judges nothing.

One aggregation over all books makes the table ``calls``, one row a call: a join would have to be told first that no book
names a call twice, and that is what an audit looks for. ``priced`` adds what the call should have cost.
"""

from __future__ import annotations

from harness.audit.books import Books

SERVED = """
    SELECT call, 0 AS book, policy, account, model, serves, flaw, input, cache_read, cache_write, output,
           started AS began, ended AS at, NULL AS kind, NULL AS amount, NULL AS outcome, NULL AS more FROM served"""
ENTRIES = """
    SELECT call, 1, NULL, account, model, NULL, NULL, NULL, NULL, NULL, NULL, NULL, at, kind, amount, NULL, NULL
    FROM entries WHERE call <> ''"""

CALLS = """
CREATE OR REPLACE TABLE calls AS
WITH u AS (
    SELECT call, any_value(policy) AS policy, any_value(account) AS account, any_value(model) AS model,
           count(*) AS attempts, count_if(serves) AS serving, count_if(serves AND flaw <> '') AS flawed,
           any_value(flaw) FILTER (serves) AS flaw,
           sum(input) FILTER (serves) AS input, sum(cache_read) FILTER (serves) AS cache_read,
           sum(cache_write) FILTER (serves) AS cache_write, sum(output) FILTER (serves) AS output,
           max(ended) AS at
    FROM served GROUP BY call
), g AS (
    SELECT call, any_value(account) AS account, any_value(model) AS model,
           count_if(kind = 'post') AS posts, coalesce(sum(amount) FILTER (kind = 'post'), 0) AS charged,
           coalesce(sum(amount) FILTER (kind = 'refund'), 0) AS refunded,
           count_if(kind = 'hold') AS holds, count_if(kind = 'void') AS voids,
           coalesce(sum(amount) FILTER (kind = 'hold'), 0) AS held,
           count_if(kind = 'payout') AS payouts, coalesce(sum(amount) FILTER (kind = 'payout'), 0) AS paid,
           max(at) AS at
    FROM entries WHERE call <> '' GROUP BY call
)
SELECT 1
"""
