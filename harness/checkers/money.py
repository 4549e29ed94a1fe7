"""The checkers' own money arithmetic, in exact fractions: what a call costs, holds and is paid; never the gateway's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from harness.checkers.wire import CHARGED_SURFACES, Seen, seen
from harness.contract import Contract, Model, Price, UsageIdentity
from harness.history import AttemptSpan, History, LedgerEntry

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Classes:
    """A call's tokens in the four disjoint billing classes, and the reasoning that is part of the output."""

    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int

    @property
    def total(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.output


@dataclass(frozen=True, slots=True)
class Flawed:
    """Usage that may not be charged; ``kind`` is a clause of BILL-09: missing, negative, absurd, conflict."""

    kind: str


def classes_of(contract: Contract, surface: str, model: Model, raw: Mapping[str, Any] | None) -> Classes | Flawed:
    """Return what an upstream's own usage object says, or what is wrong with it (BILL-09)."""
    if raw is None:
        return Flawed("missing")
    identity = contract.usage_of(surface)
    input_, output = _at(raw, identity.input), _at(raw, identity.output)
    if input_ is None or output is None:
        return Flawed("missing")
    cache_read = _at(raw, identity.cache_read) or 0
    cache_write = _at(raw, identity.cache_write) or 0
    reasoning = _at(raw, identity.reasoning) or 0
    numbers = (input_, output, cache_read, cache_write, reasoning)
    if {type(number) for number in numbers} != {int}:
        return Flawed("conflict")
    if min(numbers) < 0:
        return Flawed("negative")
    return _weighed(identity, model, raw, *numbers)


def _weighed(
    identity: UsageIdentity,
    model: Model,
    raw: Mapping[str, Any],
    input_: int,
    output: int,
    cache_read: int,
    cache_write: int,
    reasoning: int,
) -> Classes | Flawed:
    cached = cache_read + cache_write
    prompt = input_ if identity.includes_cache else input_ + cached
    if max(prompt + output, reasoning) > model.context_tokens:
        return Flawed("absurd")
    total = _at(raw, identity.total) if identity.total else None
    if total is not None and total != input_ + output:
        return Flawed("conflict")
    if identity.includes_cache and cached > input_:
        return Flawed("conflict")
    if reasoning > output:
        return Flawed("conflict")
    return Classes(prompt - cached, cache_read, cache_write, output, reasoning)


def _at(raw: Mapping[str, Any], path: str) -> Any:
    if not path:
        return None
    value: Any = raw
    for step in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def exact_credits(contract: Contract, price: Price, classes: Classes) -> Fraction:
    """Return what the tokens cost before rounding, in credits."""
    return _exact_credits(contract.money.credits_per_usd, price, classes)


@lru_cache(maxsize=4096)
def _exact_credits(credits_per_usd: int, price: Price, classes: Classes) -> Fraction:
    as_input = Fraction(price.input)
    dollars = (
        classes.input * as_input
        + classes.cache_read * (Fraction(price.cache_read) if price.cache_read is not None else as_input)
        + classes.cache_write * (Fraction(price.cache_write) if price.cache_write is not None else as_input)
        + classes.output * Fraction(price.output)
    ) / MILLION
    return dollars * credits_per_usd


def charge(contract: Contract, price: Price, classes: Classes) -> int:
    """Return what a call costs: rounded up once, to whole credits (BILL-01)."""
    return math.ceil(exact_credits(contract, price, classes))


def hold(contract: Contract, model: Model, body_bytes: int, max_tokens: int | None) -> int:
    """Return what a call must hold before it goes upstream (BILL-08, GOV-05)."""
    assert model.price is not None
    prompt = -(-body_bytes // 4)
    dearer = max(Fraction(model.price.input), Fraction(model.price.cache_write or "0"))
    output = (model.default_output_tokens if max_tokens is None else max_tokens) * Fraction(model.price.output)
    return math.ceil((prompt * dearer + output) / MILLION * contract.money.credits_per_usd)


def payout(contract: Contract, charged: int) -> int:
    """Return the payout of a call that was charged ``charged`` (INS-04)."""
    return min(charged, math.ceil(Fraction(contract.insurance.payout_ratio) * charged))


def server_of(one: Seen) -> AttemptSpan | None:
    """Return the attempt that served a call: the last one, if a complete answer without an error left it."""
    last = one.attempts[-1] if one.attempts else None
    if last is None or last.status != 200 or not last.reading.terminal or last.reading.error_type:
        return None
    return last


def is_billable(one: Seen) -> bool:
    """Say whether a call is one that tokens are billed for: a charged surface, a model with a price."""
    return (
        one.route is not None
        and one.route.surface in CHARGED_SURFACES
        and one.model is not None
        and one.model.price is not None
    )


def due(one: Seen, contract: Contract) -> Classes | Flawed | None:
    """Return the classes that a whole served call must be billed on, what is wrong with them, or None if unserved."""
    server = server_of(one)
    if server is None or one.model is None:
        return None
    return classes_of(contract, server.surface, one.model, server.reading.usage)


def due_credits(one: Seen, contract: Contract) -> int | None:
    """Return what a whole served call costs (flawed usage: nothing), or None if no upstream served it whole."""
    classes = due(one, contract)
    if classes is None:
        return None
    if isinstance(classes, Flawed) or one.model is None or one.model.price is None:
        return 0
    return charge(contract, one.model.price, classes)


def posts(history: History, call: str) -> tuple[LedgerEntry, ...]:
    """Return the posted charges of a call."""
    return _of_kind("post", history).get(call, ())


def is_replay(history: History, one: Seen) -> bool:
    """Say whether a call was answered with the kept answer of the call that it repeats: nothing is booked for it."""
    return bool(one.plan.detail.get("marks")) and not posts(history, one.call.id)


def charged(history: History, one: Seen) -> int | None:
    """Return what a call was charged by the books, else by the answer's own words; None if neither can be seen."""
    if history.has_tap("books"):
        return -sum([entry.credits for entry in posts(history, one.call.id)])
    billing = one.call.claims.get("billing")
    return int(billing["credits_charged"]) if billing else None


class Served(NamedTuple):
    """A call that its caller got whole, what it was charged, and what it must be billed on."""

    one: Seen
    paid: int
    classes: Classes | Flawed | None


def served(history: History, contract: Contract) -> Sequence[Served]:
    """Return every call that its caller got whole, where what it was charged can be seen (made once per history)."""
    kept: list[Served] | None = history.memo.get("served")
    if kept is None:
        kept = history.memo["served"] = [
            Served(one, paid, due(one, contract))
            for one in seen(history, contract)
            if one.call.outcome == "ok" and is_billable(one) and server_of(one) is not None
            if (paid := charged(history, one)) is not None
        ]
    return kept


def payouts(history: History, call: str) -> tuple[LedgerEntry, ...]:
    """Return the insurance payouts of a call."""
    return _of_kind("payout", history).get(call, ())


def _of_kind(kind: str, history: History) -> Mapping[str, tuple[LedgerEntry, ...]]:
    """Return the ledger's entries of a kind by call (made once per history)."""
    kept: dict[str, tuple[LedgerEntry, ...]] | None = history.memo.get(f"entries/{kind}")
    if kept is None:
        kept = history.memo[f"entries/{kind}"] = {}
        for entry in history.entries(kind):
            kept[entry.call] = (*kept.get(entry.call, ()), entry)
    return kept
