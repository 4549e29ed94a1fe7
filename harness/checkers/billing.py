"""Charges: the price of what was really used, once, for successes alone, and told truly (BILL-01 to 05, 09)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from harness.checker import Verdict, checker
from harness.checkers.money import (
    Classes,
    Flawed,
    charged,
    due_credits,
    exact_credits,
    is_replay,
    posts,
    served,
)
from harness.checkers.wire import Seen, seen
from harness.contract import Contract, Price
from harness.history import History

CLASSES = ("input", "cache_read", "cache_write", "output")
BILLING_FIELDS = ("model", "credits_charged", "balance_before", "balance_after")
_BILLING_FIELDS = frozenset(BILLING_FIELDS)


@checker(
    "BILL-01",
    "input",
    "cache_read",
    "cache_write",
    "output",
    "rounded_up_once",
    "cached_inside_openai",
    "cached_beside_anthropic",
    "reasoning_is_output",
    "unpriced_as_input",
    books="all",
    untimed="all",
)
def charge_matches_usage(history: History, contract: Contract, verdict: Verdict) -> None:
    """A call costs its tokens at the contract's prices, rounded up once."""
    for one, paid, classes in served(history, contract):
        if not isinstance(classes, Classes) or one.model is None or one.model.price is None:
            continue
        price = one.model.price
        exact = exact_credits(contract, price, classes)
        wanted = math.ceil(exact)
        for clause in _exercised(one, classes, price):
            verdict.case(
                clause,
                paid == wanted,
                call=one.call,
                attempts=one.attempts,
                expected=lambda classes=classes, exact=exact, wanted=wanted: (
                    f"{wanted} credits ({float(exact):.4f} for {classes})"
                ),
                actual=lambda paid=paid: f"{paid} credits",
            )


def _exercised(one: Seen, classes: Classes, price: Price) -> Iterator[str]:
    """Yield the clauses that a call's usage puts to the test."""
    for name in CLASSES:
        if getattr(classes, name) > 0:
            yield name
            if getattr(price, name) is None:
                yield "unpriced_as_input"
    yield "rounded_up_once"
    if classes.cache_read + classes.cache_write > 0:
        yield "cached_beside_anthropic" if one.route and one.route.anthropic else "cached_inside_openai"
    if classes.reasoning > 0:
        yield "reasoning_is_output"


@checker("RESP-04", "streamed", "unstreamed", books="all")
def responses_are_billed_on_their_usage(history: History, contract: Contract, verdict: Verdict) -> None:
    """Streamed and unstreamed responses are billed on input_tokens and output_tokens alike."""
    for one, paid, _ in served(history, contract):
        if one.route is None or one.route.surface != "responses":
            continue
        wanted = due_credits(one, contract)
        verdict.case(
            "streamed" if one.call.stream else "unstreamed",
            paid == wanted,
            call=one.call,
            expected=f"{wanted} credits",
            actual=f"{paid} credits",
        )


@checker("BILL-02", "refused", "all_targets_failed", "timed_out", "broken_stream", books=("broken_stream",))
def failed_calls_are_free(history: History, contract: Contract, verdict: Verdict) -> None:
    """A call that failed costs nothing."""
    timeout = contract.error("upstream_timeout")
    for one in seen(history, contract):
        call = one.call
        if call.outcome not in ("refused", "error", "cut"):
            continue
        paid = charged(history, one)
        if paid is None and call.status is not None and call.status < 400:
            continue
        if call.status == timeout.status or call.reading.error_type == timeout.type:
            clause = "timed_out"
        elif call.stream and call.first_content is not None:
            clause = "broken_stream"
        elif one.attempts and call.outcome != "refused":
            clause = "all_targets_failed"
        elif not one.attempts:
            clause = "refused"
        else:
            continue
        verdict.case(clause, not paid, call=call, attempts=one.attempts, expected="no charge", actual=f"{paid} credits")


@checker(
    "BILL-03",
    "chat",
    "messages",
    "responses",
    "images",
    "chat_stream",
    "messages_stream",
    "responses_stream",
    "difference",
    "holds_excluded",
    "serial_order",
    books=("holds_excluded", "serial_order"),
    untimed="all",
)
def answers_tell_the_charge(history: History, contract: Contract, verdict: Verdict) -> None:
    """Every Enterprise answer tells what it cost and the posted balance before and after, in one serial order."""
    beside_holds = _beside_holds(history)
    for one, paid, classes in served(history, contract):
        if one.tier != "enterprise" or one.route is None or not isinstance(classes, Classes):
            continue
        told = one.call.claims.get("billing") or {}
        clause = f"{one.route.surface}_stream" if one.call.stream else one.route.surface
        complete = told.keys() >= _BILLING_FIELDS
        right = complete and told["credits_charged"] == paid and told["model"] == one.plan.model
        verdict.case(
            clause,
            right,
            call=one.call,
            expected=lambda one=one, paid=paid: (
                f"hypereal.billing with {', '.join(BILLING_FIELDS)}; {paid} credits for {one.plan.model}"
            ),
            actual=told,
        )
        if not complete:
            continue
        verdict.case(
            "difference",
            told["balance_before"] - told["credits_charged"] == told["balance_after"],
            call=one.call,
            expected="before - charged = after",
            actual=lambda told=told: (
                f"{told['balance_before']} - {told['credits_charged']} and {told['balance_after']}"
            ),
        )
        for post in posts(history, one.call.id):
            if post.entry in beside_holds:
                verdict.case(
                    "holds_excluded",
                    (told["balance_before"], told["balance_after"]) == (post.balance - post.credits, post.balance),
                    call=one.call,
                    expected=f"the posted balance: {post.balance - post.credits} and {post.balance}",
                    actual=f"{told['balance_before']} and {told['balance_after']}",
                )
    _serial_order(history, contract, verdict)


def _beside_holds(history: History) -> frozenset[int]:
    """Return the posts that were made while another call of their account held credits, by their entries' numbers."""
    held: defaultdict[str, set[str]] = defaultdict(
        set, {a: set(calls) for a, calls in history.before.get("held", {}).items()}
    )
    found: list[int] = []
    for entry in history.ledger:
        ours = held[entry.account]
        if entry.kind == "hold":
            ours.add(entry.call)
        elif entry.kind in ("post", "void"):
            if entry.kind == "post" and len(ours) > (entry.call in ours):
                found.append(entry.entry)
            ours.discard(entry.call)
    history.after["held"] = held
    return frozenset(found)


def _serial_order(history: History, contract: Contract, verdict: Verdict) -> None:
    """The books chain without a gap, and what each answer told is a link of that chain."""
    told = {
        one.call.id: (billing["balance_before"], billing["balance_after"])
        for one in seen(history, contract)
        if (billing := one.call.claims.get("billing")) and billing.keys() >= _BILLING_FIELDS
    }
    balances: dict[str, int] = dict(history.before.get("balances", {}))
    for entry in history.ledger:
        before = balances.get(entry.account, 0)
        verdict.case(
            "serial_order",
            entry.balance == before + entry.credits,
            call=entry.call,
            expected=lambda entry=entry, before=before: (
                f"entry {entry.entry}: balance {before} {entry.credits:+d} = {before + entry.credits}"
            ),
            actual=entry.balance,
        )
        balances[entry.account] = entry.balance
        if entry.kind == "post" and entry.call in told:
            link = (entry.balance - entry.credits, entry.balance)
            verdict.case(
                "serial_order",
                told[entry.call] == link,
                call=entry.call,
                expected=lambda link=link: f"the answer tells its own link of the chain: {link}",
                actual=told[entry.call],
            )
    history.after["balances"] = balances


@checker(
    "BILL-04", "final_usage", "held_until_terminal", "held_until_commit", books=("final_usage", "held_until_commit")
)
def streams_are_billed_at_their_end(history: History, contract: Contract, verdict: Verdict) -> None:
    """A stream is billed from its final usage, and nobody is told of a charge before it stands."""
    for one, paid, _ in served(history, contract):
        if one.call.stream:
            wanted = due_credits(one, contract)
            verdict.case(
                "final_usage", paid == wanted, call=one.call, expected=f"{wanted} credits", actual=f"{paid} credits"
            )
    for one in seen(history, contract):
        if one.call.stream and one.attempts and one.model is not None:
            last = one.attempts[-1]
            if last.reading.usage is not None and not last.reading.terminal and one.call.first_content is not None:
                told = one.call.claims.get("billing")
                # Anthropic's message_start tells usage too: there it is message_delta, with the finish, that is held.
                reading = one.call.reading
                held = reading.finish is None if one.call.surface == "messages" else reading.usage is None
                verdict.case(
                    "held_until_terminal",
                    told is None and held,
                    call=one.call,
                    attempts=(last,),
                    expected="neither usage nor billing: the upstream never ended its stream",
                    actual=f"usage {one.call.reading.usage}, billing {told}",
                )
    if any(note.kind == "crash" for note in history.notes) and history.has_tap("books"):
        for one in seen(history, contract):
            told = one.call.claims.get("billing")
            if told and not is_replay(history, one):
                verdict.case(
                    "held_until_commit",
                    -sum(entry.credits for entry in posts(history, one.call.id)) == told.get("credits_charged"),
                    call=one.call,
                    expected="a charge that was told is in the books after the crash",
                    actual=f"told {told.get('credits_charged')}, booked {posts(history, one.call.id)}",
                )


@checker("BILL-05", "one_charge", "failed_attempts_unbilled", books=("one_charge",), untimed="all")
def one_charge_per_success(history: History, contract: Contract, verdict: Verdict) -> None:
    """A success is charged once, for the attempt that served it alone."""
    for one, paid, classes in served(history, contract):
        if isinstance(classes, Flawed):
            continue
        if history.has_tap("books"):
            count = len(posts(history, one.call.id))
            verdict.case(
                "one_charge",
                count == 1,
                call=one.call,
                expected="one charge",
                actual=lambda count=count: f"{count} charges",
            )
        if len(one.attempts) > 1:
            wanted = due_credits(one, contract)
            verdict.case(
                "failed_attempts_unbilled",
                paid == wanted,
                call=one.call,
                attempts=one.attempts,
                expected=f"{wanted} credits, for the last attempt",
                actual=f"{paid} credits",
            )


@checker(
    "BILL-09",
    "missing",
    "negative",
    "absurd",
    "conflict",
    "flagged",
    "zero",
    "enterprise_images",
    books=("flagged",),
)
def flawed_usage_is_free(history: History, contract: Contract, verdict: Verdict) -> None:
    """Usage that cannot be trusted is never charged and is flagged; usage of nothing costs nothing."""
    for one, paid, classes in served(history, contract):
        if one.tier == "enterprise" and one.model is not None and one.model.media == "image":
            wanted = due_credits(one, contract)
            verdict.case(
                "enterprise_images",
                paid == wanted,
                call=one.call,
                attempts=one.attempts,
                expected=f"{wanted} credits, by its tokens",
                actual=f"{paid} credits",
            )
        if isinstance(classes, Flawed):
            verdict.case(
                classes.kind, paid == 0, call=one.call, attempts=one.attempts, expected="no charge", actual=f"{paid}"
            )
            if history.has_tap("books") and not one.interrupted:
                flags = {flag for row in history.rows_of(one.call.id) for flag in row.flags}
                verdict.case(
                    "flagged",
                    f"usage_{classes.kind}" in flags,
                    call=one.call,
                    expected=f"flag usage_{classes.kind} in the usage log",
                    actual=f"{sorted(flags)}",
                )
        elif classes is not None and classes.total == 0:
            verdict.case("zero", paid == 0, call=one.call, expected="0 credits", actual=f"{paid} credits")
