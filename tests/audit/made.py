"""Makes the books of an imagined month: clean ones, and lies planted into them with what an audit must say of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from harness.audit import Books
from harness.audit.units import Unit

CREDIT = 10**8
"""One cent, in units of 1e-10 dollars."""
THRESHOLD_MS = 90_000
OPENING = 10**9 * CREDIT
PRICES = {
    # Units a token: fresh input, cache read, cache write, output; None where the list has none. Dear, so that a call
    # costs thousands of credits and no lie looks like another by chance.
    "large": (15_000_000, 1_500_000, 18_750_001, 75_000_000),
    "small": (800_000, 80_000, 1_000_000, 4_000_007),
    "bare": (3_000_000, None, None, 12_000_000),
}
ACCOUNTS = ("a", "b", "c")
Tokens = tuple[int, int, int, int]


def exact(model: str, tokens: Tokens) -> int:
    """Return what tokens cost before rounding, in units."""
    fresh = PRICES[model][0]
    assert fresh is not None
    return sum(count * (fresh if price is None else price) for count, price in zip(tokens, PRICES[model], strict=True))


def credits(units: int) -> int:
    """Round units up to whole credits."""
    return ceil(Fraction(units, CREDIT)) * CREDIT


def payout(charge: int) -> int:
    """Return a quarter of a charge, rounded up to whole credits."""
    return credits(ceil(Fraction(charge, 4)))


@dataclass(frozen=True)
class Expected:
    """What the audit must say of a planted lie."""

    name: str
    call: str
    expected: int | None
    observed: int | None
    harmed: str

    @property
    def row(self) -> tuple[str, str, int | None, int | None, int | None, str]:
        delta = None if self.expected is None or self.observed is None else self.observed - self.expected
        return self.name, self.call, self.expected, self.observed, delta, self.harmed


@dataclass
class Case:
    """One call on its way into the books; the lies change it."""

    call: str
    account: str
    model: str
    tokens: Tokens
    at: int
    attempts: list[tuple[bool, str, Tokens | None]] = field(default_factory=list)
    """Of each attempt: whether it serves, its flaw, its tokens."""
    entries: list[tuple[str, int]] = field(default_factory=list)
    """Kind and amount; only holds and voids leave the balance as it is."""
    booked_tokens: Tokens | None = None
    """What the ledger says that it charged for, if it does."""
    outcome: str = "ok"
    told_charge: int | None = None
    """None: what the ledger did."""
    told_balances: int = 0
    """How far the balances told are from the ledger's."""
    told_twice: bool = False
    twins: int = 1
    """How often each of its rows stands in its book."""
    insured: bool = True
    latency_us: int = 2_000_000
    told_ms: int | None = None
    """None: the true latency."""
    slack_us: int = 0
    told_paid: int | None = None
    told_header: int | None = None
    told_status: str | None = None
    skipped: int = 0
    """Units that vanish from the balance with its first entry."""

    @property
    def exact(self) -> int:
        return exact(self.model, self.tokens)

    @property
    def price(self) -> int:
        return credits(self.exact)

    @property
    def paid(self) -> int:
        return sum(amount for kind, amount in self.entries if kind == "payout")

    @property
    def net(self) -> int:
        return sum({"post": 1, "refund": -1}.get(kind, 0) * amount for kind, amount in self.entries)


def clean(number: int, rng: random.Random, *, holds: bool) -> Case:
    """Return a call that all books agree on: mostly served at once; some failed over, slow, lost, refused or free."""
    tokens = (rng.randrange(5_000, 90_000), rng.randrange(3_000, 40_000), rng.randrange(3_000, 20_000))
    case = Case(
        call=f"call-{number}",
        account=rng.choice(ACCOUNTS),
        model=rng.choice(tuple(PRICES)),
        tokens=(*tokens, rng.randrange(1_000, 9_000)),
        at=number * 1_000_000,
    )
    case.attempts = [(True, "", case.tokens)]
    case.entries = [("post", case.price)]
    if holds and rng.random() < 0.5:
        case.entries.insert(0, ("hold", 2 * case.price))
    kind = rng.random()
    if kind < 0.03:
        case.attempts.insert(0, (False, "", None))
    elif kind < 0.06:
        slow(case)
    elif kind < 0.08:
        fail(case)
    elif kind < 0.10:
        case.outcome = "unknown"
        if rng.random() < 0.5:
            case.entries = [("hold", case.price), ("void", case.price)] if holds else []
    elif kind < 0.11:
        case.attempts = [(True, "missing", None)]
        case.entries = []
    elif kind < 0.12:
        case.attempts, case.entries, case.outcome = [], [], "failed"
    return case


def plain(number: int, rng: random.Random) -> Case:
    """Return a call that was served at once and charged: what lies are planted into."""
    case = clean(number, rng, holds=False)
    case.attempts, case.entries, case.outcome = [(True, "", case.tokens)], [("post", case.price)], "ok"
    case.latency_us, case.model = 2_000_000, rng.choice(("large", "small"))
    case.entries = [("post", case.price)]
    return case


def slow(case: Case) -> None:
    """Let a served call be slow and compensated."""
    case.latency_us = (THRESHOLD_MS + 1) * 1000
    case.entries.append(("payout", payout(case.price)))


def fail(case: Case) -> None:
    """Let a call fail, free of charge."""
    case.attempts, case.entries, case.outcome = [(False, "", None), (False, "", None)], [], "failed"


Lie = Callable[[Case, random.Random], list[Expected]]
LIES: dict[str, Lie] = {}


def lie(plant: Lie) -> Lie:
    LIES[plant.__name__] = plant
    return plant


def _one(case: Case, name: str, expected: int, observed: int, *, harmed: str = "") -> list[Expected]:
    over, under = ("provider", "customer") if name.startswith(("INSURANCE", "REFUND")) else ("customer", "provider")
    who = harmed or (over if observed > expected else under)
    return [Expected(name, case.call, expected, observed, who)]


def _charge(case: Case, amount: int) -> None:
    case.entries = [("post", amount)]


@lie
def charges_what_no_upstream_got(case: Case, rng: random.Random) -> list[Expected]:
    case.attempts = []
    case.outcome = rng.choice(("ok", "failed"))
    return _one(case, "PHANTOM", 0, case.price)


@lie
def charges_twice(case: Case, rng: random.Random) -> list[Expected]:
    case.entries = [("post", case.price)] * rng.choice((2, 3))
    return _one(case, "DUPLICATE", case.price, case.net)


@lie
def writes_each_row_twice_in_every_book(case: Case, rng: random.Random) -> list[Expected]:
    case.twins = 2
    case.insured = False
    return _one(case, "DUPLICATE", case.price, 2 * case.price)


@lie
def charges_for_flawed_usage(case: Case, rng: random.Random) -> list[Expected]:
    case.attempts = [(True, rng.choice(("missing", "absurd", "negative", "conflict")), None)]
    return _one(case, "ESTIMATED_USAGE", 0, case.price)


@lie
def charges_a_client_that_left_before_any_usage(case: Case, rng: random.Random) -> list[Expected]:
    case.attempts, case.outcome = [(False, "", None)], "unknown"
    return _one(case, "ESTIMATED_USAGE", 0, case.price)


@lie
def charges_a_failure(case: Case, rng: random.Random) -> list[Expected]:
    case.attempts, case.outcome = [(False, "", None)] * rng.choice((1, 3)), "failed"
    return _one(case, "CHARGED_FAILURE", 0, case.price)


@lie
def charges_an_answer_that_became_an_error(case: Case, rng: random.Random) -> list[Expected]:
    case.outcome = "failed"
    return _one(case, "CHARGED_FAILURE", 0, case.price)


@lie
def rounds_down(case: Case, rng: random.Random) -> list[Expected]:
    while case.exact % CREDIT == 0:
        case.tokens = (case.tokens[0] + 1, *case.tokens[1:])
    case.attempts = [(True, "", case.tokens)]
    _charge(case, floor(Fraction(case.exact, CREDIT)) * CREDIT)
    return _one(case, "ROUNDING", case.price, case.net)


@lie
def does_not_round(case: Case, rng: random.Random) -> list[Expected]:
    rounds_down(case, rng)
    _charge(case, case.exact)
    return _one(case, "ROUNDING", case.price, case.exact)


@lie
def charges_nothing(case: Case, rng: random.Random) -> list[Expected]:
    case.entries = rng.choice(([], [("post", 0)], [("post", case.price), ("refund", case.price)]))
    return _one(case, "UNBILLED", case.price, 0)


def _moved(case: Case, rng: random.Random) -> Tokens:
    fresh, read, write, out = case.tokens
    return rng.choice(
        (
            (fresh + read, 0, write, out),
            (fresh + write, read, 0, out),
            (out, read, write, fresh),
            (fresh, 0, write, out),
        )
    )


@lie
def prices_tokens_in_another_class(case: Case, rng: random.Random) -> list[Expected]:
    _charge(case, credits(exact(case.model, _moved(case, rng))))
    return _one(case, "CLASS_MISMATCH", case.price, case.net)


@lie
def books_tokens_in_another_class(case: Case, rng: random.Random) -> list[Expected]:
    fresh, read, write, out = case.tokens
    case.booked_tokens = (fresh + read, 0, write, out)
    _charge(case, credits(exact(case.model, case.booked_tokens)))
    return _one(case, "CLASS_MISMATCH", case.price, case.net)


@lie
def books_tokens_that_were_not_served(case: Case, rng: random.Random) -> list[Expected]:
    fresh, read, write, out = case.tokens
    case.booked_tokens = (fresh, read, write, out + rng.choice((-300, 170, 4_000)))
    _charge(case, credits(exact(case.model, case.booked_tokens)))
    return _one(case, "TOKEN_MISMATCH", case.price, case.net)


@lie
def bills_failed_attempts(case: Case, rng: random.Random) -> list[Expected]:
    lost = (rng.randrange(3_000, 50_000), 0, 0, rng.randrange(500, 2_000))
    case.attempts.insert(0, (False, "", lost))
    _charge(case, credits(case.exact + exact(case.model, lost)))
    return _one(case, "TOKEN_MISMATCH", case.price, case.net)


@lie
def has_a_price_of_its_own(case: Case, rng: random.Random) -> list[Expected]:
    # Irregular factors: none makes a charge look like tokens taken for others.
    _charge(case, credits(case.exact * rng.choice((611, 1_137, 2_503)) // 1000))
    return _one(case, "RATE_MISMATCH", case.price, case.net)


@lie
def refunds_more_than_it_charged(case: Case, rng: random.Random) -> list[Expected]:
    fail(case)
    case.entries = [("post", case.price), ("refund", case.price + 5 * CREDIT)]
    return _one(case, "REFUND_EXCESS", case.price, case.price + 5 * CREDIT)


@lie
def never_releases_a_hold(case: Case, rng: random.Random) -> list[Expected]:
    fail(case)
    case.entries = [("hold", case.price)]
    return _one(case, "HOLD_LEAK", 0, case.price)


@lie
def releases_a_hold_twice(case: Case, rng: random.Random) -> list[Expected]:
    case.entries = [("hold", case.price), ("post", case.price), ("void", case.price)]
    return _one(case, "HOLD_LEAK", 0, -case.price)


@lie
def misses_a_payout(case: Case, rng: random.Random) -> list[Expected]:
    slow(case)
    _charge(case, case.price)
    return _one(case, "INSURANCE_MISSED", payout(case.price), 0)


@lie
def pays_at_the_threshold(case: Case, rng: random.Random) -> list[Expected]:
    slow(case)
    case.latency_us = THRESHOLD_MS * 1000 + rng.choice((-1_000, 0, 999))
    return _one(case, "INSURANCE_UNDUE", 0, case.paid)


@lie
def pays_for_a_slow_failure(case: Case, rng: random.Random) -> list[Expected]:
    fail(case)
    case.latency_us = 2 * THRESHOLD_MS * 1000
    case.entries = [("payout", CREDIT)]
    return _one(case, "INSURANCE_UNDUE", 0, CREDIT)


@lie
def pays_another_share(case: Case, rng: random.Random) -> list[Expected]:
    slow(case)
    case.entries[-1] = ("payout", payout(case.price) + rng.choice((-1, 1, 7)) * CREDIT)
    return _one(case, "INSURANCE_AMOUNT", payout(case.price), case.paid)


@lie
def pays_twice(case: Case, rng: random.Random) -> list[Expected]:
    slow(case)
    case.entries.append(case.entries[-1])
    return _one(case, "INSURANCE_DUPLICATE", payout(case.price), case.paid)


def _shown(case: Case, expected: int | None, observed: int | None) -> list[Expected]:
    return [Expected("CLIENT_DISPLAY_MISMATCH", case.call, expected, observed, "nobody")]


@lie
def tells_another_charge(case: Case, rng: random.Random) -> list[Expected]:
    case.told_charge = case.net + rng.choice((-3, 2)) * CREDIT
    return _shown(case, case.net, case.told_charge)


@lie
def tells_a_payout_that_was_not_made(case: Case, rng: random.Random) -> list[Expected]:
    case.told_paid = case.told_header = 2 * CREDIT
    return _shown(case, 0, 2 * CREDIT)


@lie
def writes_another_payout_into_the_header(case: Case, rng: random.Random) -> list[Expected]:
    slow(case)
    case.told_header = case.paid + CREDIT
    return _shown(case, case.paid, case.paid + CREDIT)


@lie
def tells_a_status_that_is_not_so(case: Case, rng: random.Random) -> list[Expected]:
    case.told_status = "paid"
    return _shown(case, None, None)


@lie
def tells_a_latency_that_no_clock_bears_out(case: Case, rng: random.Random) -> list[Expected]:
    case.told_ms = case.latency_us // 1000 + rng.choice((-40, 25))
    return _shown(case, None, None)


@lie
def loses_money_between_two_entries(case: Case, rng: random.Random) -> list[Expected]:
    case.skipped = rng.choice((-1, 1)) * 3 * CREDIT
    return []  # the break's amounts depend on the balance: ``Month`` knows them


UNSCREENED = ("never_releases_a_hold", "releases_a_hold_twice")
"""Lies that need holds, and so books that are never screened if there are many."""


@dataclass
class Month:
    """The books of many cases in order, as rows; ``expected`` is what an audit must find."""

    cases: list[Case]
    logged: bool = False
    balances: bool = True
    opening: int = OPENING
    expected: list[Expected] = field(default_factory=list)
    closing: dict[str, int] = field(default_factory=dict)

    def books(self, **policy: object) -> Books:
        """Return them as the audit's."""
        books = Books(Unit(), credit=CREDIT)
        books.db.execute("SET threads = 2")
        books.insert("prices", [(0, model, *prices) for model, prices in PRICES.items()])
        books.insert("policies", [(0, CREDIT, "up", THRESHOLD_MS * 1000, 1, 4, 0, 0)])
        books.insert("accounts", [(account, self.opening) for account in ACCOUNTS])
        for name in ("upstream.jsonl", "ledger.jsonl", "usage.jsonl", "client.jsonl"):
            books.source(name)
        rows: dict[str, list[tuple[object, ...]]] = {"served": [], "entries": [], "logged": [], "told": []}
        self.closing = dict.fromkeys(ACCOUNTS, self.opening)
        for case in self.cases:
            for _ in range(case.twins):
                self._add(case, rows)
        for book, made in rows.items():
            if book != "logged" or self.logged:
                # Reordered: no book has the order of another.
                random.Random(f"{book}/{len(made)}").shuffle(made)
                books.insert(book, [(*row[:-1], number) for number, row in enumerate(made, 1)])
        return books

    def _add(self, case: Case, rows: dict[str, list[tuple[object, ...]]]) -> None:
        ended = case.at + case.latency_us
        for number, (serves, flaw, tokens) in enumerate(case.attempts):
            shown = tokens or (None,) * 4
            where = (case.at, ended - 1000 * (len(case.attempts) - 1 - number), 0, 0)
            rows["served"].append(
                (case.call, 0, case.account, case.model, f"{case.call}.{number}", serves, flaw, *shown, *where)
            )
        before = after = None
        for kind, amount in case.entries:
            change = {"post": -amount, "payout": amount, "refund": amount}.get(kind, 0)
            balance = self.closing[case.account] + change
            if case.skipped and kind == "post":
                lost = balance - case.skipped
                found = Expected("BALANCE_CHAIN_BREAK", case.call, balance, lost, "nobody")
                self.expected.append(found)
                balance = lost
            if kind == "post":
                before, after = balance - change if before is None else before, balance
            self.closing[case.account] = balance
            tokens = case.booked_tokens if kind == "post" and case.booked_tokens else (None,) * 4
            told = balance if self.balances else None
            seq = len(rows["entries"])
            rows["entries"].append(
                (case.call, case.account, None, kind, amount, change, told, *tokens, seq, ended, 1, 0)
            )
        latency = case.latency_us // 1000 if case.told_ms is None else case.told_ms
        paid = case.paid if case.told_paid is None else case.told_paid
        charge = case.net * case.twins if case.told_charge is None else case.told_charge
        if case.told_charge is not None and before is not None:
            after = before - case.told_charge
        if any(kind == "refund" for kind, _ in case.entries):
            before = after = None
        status = case.told_status or ("paid" if paid else "not_triggered")
        served = case.outcome == "ok"
        rows["told"].append(
            (
                case.call, 0, case.account, case.model, case.outcome,
                *((charge, before, after) if served and case.twins == 1 else (None,) * 3),
                case.insured, *((status, paid, status) if served else (None, None, None)),
                (paid if case.told_header is None else case.told_header) if served else None,
                latency if served else None, case.latency_us - case.slack_us, case.latency_us + case.slack_us, ended,
                3, 0,
            )
        )  # fmt: skip
        rows["logged"].append(
            (
                case.call, case.account, case.model, case.outcome, case.net, case.paid,
                "paid" if case.paid else "not_triggered", latency, *(case.booked_tokens or (None,) * 4), ended, 2, 0,
            )
        )  # fmt: skip


def month(
    seed: object, *, calls: int, lies: Iterable[str] = (), each: int = 1, holds: bool = False, logged: bool = False
) -> Month:
    """Return ``calls`` clean calls with each of ``lies`` planted ``each`` times among them."""
    rng = random.Random(f"month/{seed}")
    cases = [clean(number, rng, holds=holds) for number in range(calls)]
    expected: list[Expected] = []
    planted = [name for name in lies for _ in range(each)]
    for number, name in enumerate(planted, calls):
        case = plain(number, rng)
        expected += LIES[name](case, rng)
        cases.append(case)
    rng.shuffle(cases)
    return Month(cases, logged=logged, expected=expected)
