"""Mutants that let calls in on the wrong balance, or keep them out on the right one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.gateway.admission import Admission
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer
from harness.mutants.registry import mutant

CanPay = Callable[[Admission, int, Call, int], bool]
"""From the admission, the available balance, the call and its hold to whether it is let in."""


@mutant(breaks="BILL-08")
def takes_a_debt_for_credit(parts: Components) -> Components:
    """Reads a balance below zero without its sign."""
    return replace(
        parts,
        admission=_paying(
            lambda admission, available, call, credits: _lawful(admission, abs(available), call, credits)
        )(parts.contract),
    )


@mutant(breaks="BILL-08")
def lets_streams_in_on_a_debt(parts: Components) -> Components:
    """Asks for a balance before unstreamed calls alone."""
    return replace(
        parts,
        admission=_paying(
            lambda admission, available, call, credits: call.stream or _lawful(admission, available, call, credits)
        )(parts.contract),
    )


def _lawful(admission: Admission, available: int, call: Call, credits: int) -> bool:
    return Admission.can_pay(admission, available, call, credits)


def _paying(rule: CanPay) -> type[Admission]:
    """Return an admission that lets in by ``rule``."""

    class Other(Admission):
        def can_pay(self, available: int, call: Call, credits: int) -> bool:
            return rule(self, available, call, credits)

    return Other


def _enterprise(parts: Components, rule: Callable[[int, int, int], bool]) -> Components:
    """Return a gateway that lets Enterprise calls in by ``rule`` of available, hold and minimum."""

    def by_tier(admission: Admission, available: int, call: Call, credits: int) -> bool:
        if not call.enterprise:
            return _lawful(admission, available, call, credits)
        return rule(available, credits, parts.contract.money.enterprise_minimum_credits)

    return replace(parts, admission=_paying(by_tier)(parts.contract))


@mutant(breaks="BILL-10")
def spends_held_credits_again(parts: Components) -> Components:
    """Lets calls in on the posted balance, whatever calls under way hold of it."""

    class Posted(Admission):
        def require_balance(self, parts: Components, call: Call, credits: int) -> None:
            if not self.can_pay(parts.ledger.posted(call.account), call, credits):
                raise Refusal("insufficient_balance", "the balance is too low for this call")

    return replace(parts, admission=Posted(parts.contract))


@mutant(breaks="BILL-10")
def lets_in_a_credit_below_the_minimum(parts: Components) -> Components:
    """Lets an Enterprise call in that lacks one credit of the minimum."""
    return _enterprise(parts, lambda available, hold, minimum: available >= min(hold, minimum - 1))


@mutant(breaks="BILL-10")
def asks_for_more_than_the_enterprise_minimum(parts: Components) -> Components:
    """Refuses an Enterprise call on exactly the minimum."""
    return _enterprise(parts, lambda available, hold, minimum: available >= hold or available > minimum)


@mutant(breaks="BILL-10")
def asks_for_the_whole_hold(parts: Components) -> Components:
    """Refuses an Enterprise call whose hold the balance does not cover, whatever the minimum."""
    return _enterprise(parts, lambda available, hold, minimum: available >= hold)


@mutant(breaks="BILL-10")
def asks_for_the_minimum_alone(parts: Components) -> Components:
    """Refuses an Enterprise call below the minimum, also where its hold is covered."""
    return _enterprise(parts, lambda available, hold, minimum: available >= minimum)


@mutant(breaks="BILL-10")
def asks_for_more_than_the_hold(parts: Components) -> Components:
    """Refuses an Enterprise call whose hold is exactly what is available."""
    return _enterprise(parts, lambda available, hold, minimum: available > hold or available >= minimum)


@mutant(breaks="BILL-10")
def lets_anybody_in_who_has_a_credit(parts: Components) -> Components:
    """Lets an Enterprise call in on any balance above zero."""
    return _enterprise(parts, lambda available, hold, minimum: available > 0)


@mutant(breaks="BILL-10")
def lets_general_calls_in_by_their_hold(parts: Components) -> Components:
    """Lets a general call in on the Enterprise rule, so that a small one passes below the minimum."""

    def alike(admission: Admission, available: int, call: Call, credits: int) -> bool:
        return available >= min(credits, parts.contract.money.general_minimum_credits)

    return replace(parts, admission=_paying(alike)(parts.contract))


@mutant(breaks="BILL-10")
def looks_at_the_balance_on_arrival_alone(parts: Components) -> Components:
    """Asks for the balance when a call comes, and not when it has waited for its slot."""

    class Once(Admission):
        def require_balance(self, parts: Components, call: Call, credits: int) -> None:
            if call not in asked:
                asked.add(call)
                super().require_balance(parts, call, credits)

    asked: set[Call] = set()
    return replace(parts, admission=Once(parts.contract))


@mutant(breaks="BILL-10")
def refuses_the_poor_once_they_were_served(parts: Components) -> Components:
    """Lets every call go upstream, and answers 402 in place of the answer if the balance was too low."""

    class Late(Admission):
        def require_balance(self, parts: Components, call: Call, credits: int) -> None:
            try:
                super().require_balance(parts, call, credits)
            except Refusal as refusal:
                owed[call] = refusal

    class Refusing(Pipeline):
        async def carry(self, parts: Components, call: Call) -> Answer:
            answer = await super().carry(parts, call)
            if call in owed:
                raise owed.pop(call)
            return answer

    owed: dict[Call, Refusal] = {}
    return replace(parts, admission=Late(parts.contract), pipeline=Refusing())


@mutant(breaks="BILL-10")
def calls_the_poor_unknown(parts: Components) -> Components:
    """Refuses a call for its balance as one whose key is not valid."""

    class Rude(Admission):
        def require_balance(self, parts: Components, call: Call, credits: int) -> None:
            try:
                super().require_balance(parts, call, credits)
            except Refusal as refusal:
                raise Refusal("invalid_key", refusal.message) from None

    return replace(parts, admission=Rude(parts.contract))
