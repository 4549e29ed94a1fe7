"""The classes of discrepancy, each one condition in SQL over ``cases``: what it means, when it holds, who is harmed.

A call's charge has one class at most, the first of ``CHARGES`` that holds, so that no credit is counted twice; holds,
refunds, payouts and what was displayed are judged beside it. docs/audit.md says how to read each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.audit.prices import CLASSES as TOKENS
from harness.audit.prices import EACH, due


@dataclass(frozen=True, slots=True)
class Class:
    """One way in which the books disagree.

    ``when``, ``expected``, ``observed`` and ``why`` are SQL over a row of ``cases``; amounts are in units. ``meaning``
    is one sentence for people.
    """

    name: str
    meaning: str
    when: str
    expected: str
    observed: str
    why: str


WRONG = "(abs(net - low) > tolerance AND abs(net - high) > tolerance)"
_L_TOKENS = " AND ".join(f"l_{name} IS NOT NULL" for name in TOKENS)
_L_TOTAL = " + ".join(f"l_{name}" for name in TOKENS)
_U_TOTAL = " + ".join(f"u_{name}" for name in TOKENS)
_SAME_TOKENS = " AND ".join(f"l_{name} = u_{name}" for name in TOKENS)
_DESCRIBED = " || ', ' || ".join(
    f"'{name} ' || coalesce(l_{name}::VARCHAR, '?') || ' for ' || u_{name}" for name in TOKENS
)


_SLACK = f"quantum * CASE WHEN rounding LIKE '%{EACH}' THEN {len(TOKENS)} ELSE 1 END"
_ALL_ATTEMPTS = "(attempts > serving AND coalesce(net IN (all_price, all_prices, each_price, attempts * price), false))"


CONFUSIONS = {
    # What is charged as input, cache read, cache write and output.
    "cache reads at the input price": ("u_input + u_cache_read", "0", "u_cache_write", "u_output"),
    "cache reads billed twice": ("u_input + u_cache_read", "u_cache_read", "u_cache_write", "u_output"),
    "cache reads left out": ("u_input", "0", "u_cache_write", "u_output"),
    "cache writes at the input price": ("u_input + u_cache_write", "u_cache_read", "0", "u_output"),
    "cache writes billed twice": ("u_input + u_cache_write", "u_cache_read", "u_cache_write", "u_output"),
    "cache writes left out": ("u_input", "u_cache_read", "0", "u_output"),
    "all cached tokens billed twice": (
        "u_input + u_cache_read + u_cache_write",
        "u_cache_read",
        "u_cache_write",
        "u_output",
    ),
    "all cached tokens left out": ("u_input", "0", "0", "u_output"),
    "input and output exchanged": ("u_output", "u_cache_read", "u_cache_write", "u_input"),
}


def confusion(used: Sequence[str]) -> str:
    """Return the SQL of column ``confusion`` of a charge: what its tokens were taken for, NULL if nothing fits.

    ``used``: the roundings of the policies.
    """
    whens = []
    for name, tokens in CONFUSIONS.items():
        costs = [f"({count}) * p_{one}" for count, one in zip(tokens, TOKENS, strict=True)]
        price = due(costs, "cases", used)
        whens.append(f"WHEN net = {price} THEN '{name}'")
    return f"(CASE WHEN net IS NULL THEN NULL {' '.join(whens)} END)"


CHARGES = (
    Class(
        "CUTOFF",
        "The call is in one book only and lies at the edge of the other's period: it belongs to another month.",
        "cutoff AND (attempts = 0) <> (posts = 0)",
        "net",
        "net",
        "'at the edge of the period of the book that lacks it'",
    ),
    Class(
        "PHANTOM",
        "A charge for a call that no upstream ever got.",
        "net > 0 AND attempts = 0",
        "0",
        "net",
        "'no upstream attempt'",
    ),
    Class(
        "DUPLICATE",
        "A call was charged more than once.",
        "posts > 1 AND net > high",
        "high",
        "net",
        "posts || ' charges'",
    ),
    Class(
        "ESTIMATED_USAGE",
        "A charge although the upstream never reported usage that a charge may rest on.",
        "net > 0 AND ((serving > 0 AND flaw <> '') OR (serving = 0 AND c_outcome = 'unknown'))",
        "0",
        "net",
        "CASE WHEN flaw <> '' THEN 'usage ' || flaw ELSE 'the client left and no usage came' END",
    ),
    Class(
        "CHARGED_FAILURE",
        "A failed call was charged.",
        "net > 0 AND (serving = 0 OR c_outcome = 'failed')",
        "0",
        "net",
        "CASE WHEN serving = 0 THEN 'no attempt served it' ELSE 'the client got an error' END",
    ),
    Class(
        "ROUNDING",
        "The right tokens at the right price, rounded otherwise than promised.",
        f"{WRONG} AND posts > 0 AND net >= 0 AND abs(net - exact) < {_SLACK} "
        f"AND (NOT ({_L_TOKENS}) OR ({_SAME_TOKENS}))",
        "high",
        "net",
        "'exactly ' || exact || ' units'",
    ),
    Class(
        "UNBILLED",
        "A served call was not charged, or all of its charge was refunded.",
        "net <= 0 AND low > 0",
        "low",
        "0",
        "CASE WHEN posts = 0 THEN 'no charge' WHEN refunded > 0 THEN 'refunded' ELSE 'a charge of nothing' END",
    ),
    Class(
        "CLASS_MISMATCH",
        "Tokens were billed in another class than the upstream's: cached as fresh, or counted twice.",
        f"({_L_TOKENS} AND ({_L_TOTAL}) = ({_U_TOTAL}) AND NOT ({_SAME_TOKENS})) "
        f"OR ({WRONG} AND confusion IS NOT NULL AND NOT coalesce({_L_TOKENS} AND NOT ({_SAME_TOKENS}), false))",
        "high",
        "net",
        f"coalesce(confusion, {_DESCRIBED})",
    ),
    Class(
        "TOKEN_MISMATCH",
        "Billed tokens are not those that the upstream served.",
        f"serving > 0 AND flaw = '' AND (({_L_TOKENS} AND NOT ({_SAME_TOKENS})) OR {WRONG} AND {_ALL_ATTEMPTS})",
        "high",
        "net",
        f"CASE WHEN {_ALL_ATTEMPTS} THEN 'failed attempts were billed with it' ELSE {_DESCRIBED} END",
    ),
    Class(
        "RATE_MISMATCH",
        "The right tokens at a price that is not the printed one.",
        f"{WRONG} AND net >= 0",
        "high",
        "net",
        "CASE WHEN exact > 0 THEN round(net / exact, 4) || ' of the printed price' ELSE 'the model has no price' END",
    ),
)
"""In order: the first that holds is the class of a call's charge."""

_SHARE = "((net * ratio_over + ratio_under * quantum - 1) // (ratio_under * quantum)) * quantum"
DUE = f"(CASE WHEN net > 0 THEN least(net, {_SHARE}) ELSE 0 END)"
COVERED = "(insured AND net > 0 AND coalesce(c_outcome, '') = 'ok')"
# Latency is measured in whole milliseconds, so that the boundary lies at one of them.
SLOW = "coalesce((fastest - skew) // 1000 > threshold // 1000, false)"
FAST = "coalesce((slowest + skew) // 1000 <= threshold // 1000, false)"
CLAIMS_SLOW = "coalesce(latency_ms > threshold // 1000, false)"
# Nobody can tell whether a caller that lost its connection had the whole answer: a payout is lawful, none is as well.
MAY_COVER = f"(insured AND net > 0 AND c_outcome = 'unknown' AND NOT {FAST})"
OWED = f"({COVERED} AND ({SLOW} OR (NOT {FAST} AND {CLAIMS_SLOW})))"
_HAS_POLICY = "threshold IS NOT NULL"

OTHERS = (
    Class(
        "REFUND_EXCESS",
        "More was refunded than had been charged.",
        "refunded > charged",
        "charged",
        "refunded",
        "'refunded ' || refunded || ' of ' || charged",
    ),
    Class(
        "HOLD_LEAK",
        "A hold was never released, or released more than once.",
        # A second charge of one hold is a DUPLICATE.
        "holds > 0 AND (posts + voids < holds OR (voids > 0 AND posts + voids > holds))",
        "0",
        "CASE WHEN posts + voids < holds THEN held - released ELSE -released END",
        "holds || ' holds, ' || posts || ' charges and ' || voids || ' releases'",
    ),
    Class(
        "INSURANCE_MISSED",
        "A successful call slower than the threshold was not compensated.",
        f"{_HAS_POLICY} AND payouts = 0 AND {OWED} AND {DUE} > 0",
        DUE,
        "0",
        "'latency ' || coalesce(latency_ms::VARCHAR, '?') || ' ms told, at least ' || coalesce(fastest // 1000, 0) "
        "|| ' ms'",
    ),
    Class(
        "INSURANCE_UNDUE",
        "A payout for a call that was fast enough, failed, or was not charged.",
        # Whether the call was slow enough, only a client's book can tell.
        f"payouts > 0 AND (net <= 0 OR c_known) AND NOT ({_HAS_POLICY} AND ({OWED} OR {MAY_COVER}))",
        "0",
        "paid",
        "CASE WHEN net <= 0 THEN 'nothing was charged' WHEN coalesce(c_outcome, '') <> 'ok' THEN 'not a whole answer' "
        "ELSE 'at most ' || coalesce(slowest // 1000, -1) || ' ms' END",
    ),
    Class(
        "INSURANCE_DUPLICATE",
        "A charge was compensated more than once.",
        f"payouts > 1 AND {_HAS_POLICY} AND ({OWED} OR {MAY_COVER})",
        DUE,
        "paid",
        "payouts || ' payouts'",
    ),
    Class(
        "INSURANCE_AMOUNT",
        "A payout that is not the promised share of the charge.",
        f"payouts = 1 AND {_HAS_POLICY} AND ({OWED} OR {MAY_COVER}) AND paid <> {DUE}",
        DUE,
        "paid",
        "'of a charge of ' || net || ' units'",
    ),
)
"""Beside a call's charge: each that holds."""

DISPLAY = (
    Class(
        "CLIENT_DISPLAY_MISMATCH",
        "What the client was told, or what the usage log says, is not what the ledger did.",
        "c_outcome = 'ok' AND abs(c_charged - net) > tolerance",
        "net",
        "c_charged",
        "'told a charge that was not made'",
    ),
    Class(
        "CLIENT_DISPLAY_MISMATCH",
        "",
        "c_outcome = 'ok' AND c_before - c_charged <> c_after",
        "c_before - c_charged",
        "c_after",
        "'balance before less the charge is not the balance after'",
    ),
    Class(
        "CLIENT_DISPLAY_MISMATCH",
        "",
        "c_outcome = 'ok' AND posts = 1 AND (c_before <> g_before OR c_after <> g_after) "
        "AND c_before - c_charged = c_after AND abs(c_charged - net) <= tolerance",
        "g_after",
        "c_after",
        "'told balances that are not the charge''s own in the ledger'",
    ),
    Class(
        "CLIENT_DISPLAY_MISMATCH",
        "",
        "l_rows > 0 AND abs(l_charged - net) > tolerance",
        "net",
        "l_charged",
        "'the usage log shows another charge than the ledger'",
    ),
    Class(
        "CLIENT_DISPLAY_MISMATCH",
        "",
        "coalesce(c_paid, l_paid, paid) <> paid OR coalesce(l_paid, paid) <> paid "
        "OR coalesce(c_header_paid, paid) <> paid "
        "OR (c_header_status IS NOT NULL AND c_status IS NOT NULL AND c_header_status <> c_status)",
        "paid",
        "coalesce(nullif(c_paid, paid), nullif(c_header_paid, paid), l_paid, 0)",
        "'payout told in body ' || coalesce(c_status, '-') || ', header ' || coalesce(c_header_status, '-') "
        "|| ', usage log ' || coalesce(l_insurance, '-')",
    ),
    Class(
        "CLIENT_DISPLAY_MISMATCH",
        "",
        # Where an amount was told as well, it is told above.
        "coalesce(c_paid, paid) = paid AND coalesce(l_paid, paid) = paid "
        "AND ((c_status IN ('paid', 'not_triggered', 'not_eligible') AND (c_status = 'paid') <> (payouts > 0)) "
        "OR (l_insurance IN ('paid', 'not_triggered', 'not_eligible') AND (l_insurance = 'paid') <> (payouts > 0)))",
        "NULL",
        "NULL",
        "'insurance told as ' || coalesce(c_status, '-') || ', logged as ' || coalesce(l_insurance, '-') "
        "|| ', with ' || payouts || ' payouts'",
    ),
    Class(
        "CLIENT_DISPLAY_MISMATCH",
        "",
        "insured AND coalesce(c_outcome, '') = 'ok' AND serving > 0 "
        "AND (latency_ms < (fastest - skew) // 1000 OR latency_ms > (slowest + skew) // 1000)",
        "NULL",
        "NULL",
        "'a latency of ' || latency_ms || ' ms was told, and the clocks of caller and upstream allow ' "
        "|| coalesce(greatest(fastest - skew, 0) // 1000, 0) || ' to ' "
        "|| coalesce(((slowest + skew) // 1000)::VARCHAR, 'any')",
    ),
)
"""Reads of one fact in several places: displays harm nobody's balance, so their delta is not money."""

CHAIN = Class(
    "BALANCE_CHAIN_BREAK",
    "An account's balances do not follow from each other: money appeared or vanished between two entries.",
    "",
    "",
    "",
    "",
)
CLASSES = {one.name: one.meaning for one in (*CHARGES, *OTHERS, *DISPLAY, CHAIN) if one.meaning}
"""What each class means, by name."""
