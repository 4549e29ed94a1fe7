"""Minimum balances, holds and overdrafts: exactly at the boundary, just below it, and all at once."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

from harness.checkers.balances import (
    calls_hold_their_estimate,
    general_calls_need_the_minimum,
    only_those_who_can_pay_are_served,
)
from harness.checkers.ledger import money_is_neither_made_nor_lost
from harness.contract import Contract
from harness.scenario import Account, Call, Reply, Scenario, Workload, World, chat, messages, responses, scenario

QUICK = Reply(chunks=2, ttft_ms=50, gap_ms=5, input=10, output=10)
GENERAL = (
    ("chat", chat, "gpt-5.5"),
    ("messages", messages, "claude-sonnet-4-6"),
    ("responses", responses, "gpt-5.1-codex"),
)


@scenario(reaches=("balance_refused",))
def the_general_minimum(contract: Contract) -> Scenario:
    """Exactly the minimum passes on every general surface, whatever the hold; one credit less does not."""
    minimum = contract.money.general_minimum_credits
    accounts: list[Account] = []
    calls: list[Call] = []
    for name, make, model in GENERAL:
        for label, credits in (("exact", minimum), ("below", minimum - 1), ("empty", 0)):
            account = f"{name}-{label}"
            accounts.append(Account(account, credits=credits))
            calls.append(make(model, tier="general", account=account, reply=QUICK, at_ms=len(calls) * 20, max_tokens=8))
            if credits < minimum:
                calls.append(replace(calls[-1], stream=True, at_ms=len(calls) * 20))
        rich = f"{name}-large"
        accounts.append(Account(rich, credits=minimum))
        calls.append(make(model, tier="general", account=rich, reply=QUICK, at_ms=len(calls) * 20, max_tokens=900_000))
    return Scenario(
        world=World(accounts=tuple(accounts)),
        workload=Workload(tuple(calls)),
        checks=(general_calls_need_the_minimum, only_those_who_can_pay_are_served, calls_hold_their_estimate),
    )


@scenario(reaches=("balance_refused",))
def held_credits_are_not_available(contract: Contract) -> Scenario:
    """While a call holds credits, a second one that the posted balance alone would let in gets 402."""
    minimum = contract.money.general_minimum_credits
    slow = replace(QUICK, ttft_ms=400)
    accounts: list[Account] = []
    calls: list[Call] = []
    for name, make, model in GENERAL:
        accounts.append(Account(name, credits=minimum + 10))
        calls.append(make(model, tier="general", account=name, reply=slow, at_ms=0, max_tokens=100_000))
        calls.append(make(model, tier="general", account=name, reply=QUICK, at_ms=100, max_tokens=8))
        calls.append(make(model, tier="general", account=name, reply=QUICK, at_ms=900, max_tokens=8))
    return Scenario(
        world=World(accounts=tuple(accounts)),
        workload=Workload(tuple(calls)),
        checks=(general_calls_need_the_minimum, only_those_who_can_pay_are_served),
    )


@scenario(reaches=("balance_refused",))
def the_enterprise_rule(contract: Contract) -> Scenario:
    """A balance that covers the hold, one that only reaches the minimum, and one that does neither."""
    minimum = contract.money.enterprise_minimum_credits
    accounts: list[Account] = []
    calls: list[Call] = []

    def add(label: str, credits: int, max_tokens: int) -> None:
        for make, model in ((chat, "gpt-5-5"), (messages, "claude-sonnet-4-7"), (responses, "gpt-5-5")):
            account = f"{label}-{len(accounts)}"
            accounts.append(Account(account, credits=credits))
            calls.append(make(model, account=account, max_tokens=max_tokens, reply=QUICK, at_ms=len(calls) * 20))

    def add_exact(label: str, short: int) -> None:
        """A call whose hold is all that its account has, or a credit more than that."""
        model = contract.model("enterprise", "gpt-5-5")
        assert model is not None
        assert model.price is not None
        wanted, length = minimum // 4, 400
        per_output = Fraction(model.price.output) * contract.money.credits_per_usd / 1_000_000
        output = math.floor((wanted - 1) / per_output)  # the prompt takes it past that, and not a whole credit on
        accounts.append(Account(label, credits=wanted - short))
        call = chat("gpt-5-5", account=label, prompt_bytes=length, max_tokens=output, reply=QUICK)
        calls.append(replace(call, at_ms=len(calls) * 20))

    add_exact("exactly", 0)
    add_exact("almost", 1)
    add("covered", minimum // 2, 100)
    add("minimum", minimum, 900_000)
    add("below", minimum - 1, 900_000)
    add("empty", 0, 100)
    # The hold of a long prompt, which may be written to a cache, and of a call that sets no limit.
    accounts.append(Account("rich"))
    calls.append(messages("claude-sonnet-4-7", account="rich", prompt_bytes=60_000, reply=QUICK, at_ms=len(calls) * 20))
    calls.append(chat("gpt-5-5", account="rich", reply=QUICK, at_ms=len(calls) * 20))
    return Scenario(
        world=World(accounts=tuple(accounts)),
        workload=Workload(tuple(calls)),
        checks=(only_those_who_can_pay_are_served, calls_hold_their_estimate),
    )


@scenario(reaches=("balance_refused",))
def simultaneous_calls_share_one_balance(contract: Contract) -> Scenario:
    """Twenty calls in one instant on a balance that covers some of them: the rest get 402, nothing is overspent."""
    minimum = contract.money.enterprise_minimum_credits
    accounts = (Account("a", credits=3 * minimum), Account("b", credits=minimum), Account("g", credits=2 * minimum))
    calls = [chat("gpt-5-5", account="a", max_tokens=40_000, reply=QUICK, at_ms=10) for _ in range(20)]
    calls += [chat("gpt-5-5", account="b", max_tokens=400_000, reply=QUICK, at_ms=10) for _ in range(6)]
    calls += [chat("gpt-5.5", tier="general", account="g", max_tokens=40_000, reply=QUICK, at_ms=10) for _ in range(12)]
    return Scenario(
        world=World(accounts=accounts),
        workload=Workload(tuple(calls)),
        checks=(
            only_those_who_can_pay_are_served,
            general_calls_need_the_minimum,
            calls_hold_their_estimate,
            money_is_neither_made_nor_lost,
        ),
    )


@scenario(reaches=("charged_over_hold", "balance_refused"))
def a_charge_above_its_hold(contract: Contract) -> Scenario:
    """An answer that costs more than was held is charged in full; the balance goes below zero, and calls get 402."""
    minimum = contract.money.enterprise_minimum_credits
    large = replace(QUICK, input=800_000, output=9_000)
    # This one waits for the slot of a call that takes all its account has: by then it cannot pay.
    calls = [
        responses("deepseek-v4-pro", account="c", max_tokens=16, reply=replace(QUICK, input=900_000, output=9_000)),
        responses("deepseek-v4-pro", account="c", max_tokens=16, reply=QUICK, at_ms=10),
    ]
    for account in ("a", "b"):
        make, model = (chat, "gpt-5-5") if account == "a" else (messages, "claude-sonnet-4-7")
        calls.append(make(model, account=account, max_tokens=16, reply=large, at_ms=0))
        calls.append(make(model, account=account, max_tokens=16, reply=QUICK, at_ms=500))
        calls.append(make(model, account=account, max_tokens=16, reply=QUICK, at_ms=700, stream=True))
    return Scenario(
        world=World(
            accounts=(Account("a", credits=minimum), Account("b", credits=minimum + 20), Account("c", credits=5)),
            overlay={"text.concurrency": 1},
        ),
        workload=Workload(tuple(calls)),
        checks=(calls_hold_their_estimate, only_those_who_can_pay_are_served, money_is_neither_made_nor_lost),
    )
