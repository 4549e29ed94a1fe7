"""Mutants that charge on usage that cannot be trusted, or do not say that it could not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.contract import UsageIdentity
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.relay import Answer
from harness.gateway.settlement import Settler
from harness.gateway.usage import Usage, UsageProblem, read_usage
from harness.mutants.registry import mutant


def _trusting(parts: Components, mend: Callable[[UsageIdentity, dict[str, Any], int], Usage | None]) -> Components:
    """Return a gateway that takes what ``mend`` makes of unusable usage, from identity, figures and context."""

    class Trusting(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            assert call.model is not None
            usage = super().usage(call, answer)
            if usage is not None or not isinstance(answer.usage, dict):
                return usage
            try:
                mended = mend(self._identities[call.surface.name], answer.usage, call.model.context_tokens)
            except UsageProblem:
                return None
            if mended is not None:
                call.flags.clear()
            return mended

    return replace(parts, settler=Trusting(parts.contract))


@mutant(breaks="BILL-09")
def estimates_missing_usage(parts: Components) -> Components:
    """Charges the estimate when the upstream's usage cannot be trusted."""

    class Guessing(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            return super().usage(call, answer) or Usage(call.prompt_tokens, 0, 0, call.output_tokens)

    return replace(parts, settler=Guessing(parts.contract))


@mutant(breaks="BILL-09")
def bills_absurd_usage(parts: Components) -> Components:
    """Charges any number of tokens, also more than the model's context holds."""
    return _trusting(parts, lambda identity, usage, context: read_usage(identity, usage, 1 << 60))


@mutant(breaks="BILL-09")
def caps_absurd_usage(parts: Components) -> Components:
    """Charges a whole context for usage that is larger than it."""

    def capped(identity: UsageIdentity, usage: dict[str, Any], context: int) -> Usage | None:
        told = read_usage(identity, usage, 1 << 60)
        return Usage(context - 1, 0, 0, 1) if told.total > context else None

    return _trusting(parts, capped)


@mutant(breaks="BILL-09")
def bills_usage_that_does_not_add_up(parts: Components) -> Components:
    """Charges the parts of a usage whose total is another."""
    return _trusting(parts, lambda identity, usage, context: read_usage(replace(identity, total=""), usage, context))


@mutant(breaks="BILL-09")
def bills_more_reasoning_than_output(parts: Components) -> Components:
    """Charges the output of a usage that has more reasoning in it than output."""
    return _trusting(
        parts, lambda identity, usage, context: read_usage(replace(identity, reasoning=""), usage, context)
    )


@mutant(breaks="BILL-09")
def bills_more_cached_than_there_was(parts: Components) -> Components:
    """Charges cache reads that are more than the prompt they were read for."""
    return _trusting(
        parts, lambda identity, usage, context: read_usage(replace(identity, includes_cache=False), usage, context)
    )


@mutant(breaks="BILL-09")
def bills_the_amount_of_negative_usage(parts: Components) -> Components:
    """Charges usage below zero as if its sign were a slip."""

    def unsigned(identity: UsageIdentity, usage: dict[str, Any], context: int) -> Usage | None:
        whole = {name: abs(count) if type(count) is int else count for name, count in usage.items()}
        return None if whole == usage else read_usage(replace(identity, total=""), whole, context)

    return _trusting(parts, unsigned)


@mutant(breaks="BILL-09")
def takes_negative_usage_for_none(parts: Components) -> Components:
    """Charges the classes that are above zero where another is below it."""

    def clipped(identity: UsageIdentity, usage: dict[str, Any], context: int) -> Usage | None:
        whole = {name: max(0, count) if type(count) is int else count for name, count in usage.items()}
        return None if whole == usage else read_usage(replace(identity, total=""), whole, context)

    return _trusting(parts, clipped)


@mutant(breaks="BILL-09")
def does_not_flag_flawed_usage(parts: Components) -> Components:
    """Charges nothing for flawed usage, and tells nobody."""

    class Silent(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            usage = super().usage(call, answer)
            call.flags.clear()
            return usage

    return replace(parts, settler=Silent(parts.contract))


@mutant(breaks="BILL-09")
def flags_no_flawed_stream(parts: Components) -> Components:
    """Flags flawed usage of unstreamed answers alone."""

    class Silent(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            usage = super().usage(call, answer)
            if call.stream:
                call.flags.clear()
            return usage

    return replace(parts, settler=Silent(parts.contract))


@mutant(breaks="BILL-09")
def charges_at_least_a_credit(parts: Components) -> Components:
    """Charges one credit for usage of nothing."""

    class Least(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            return max(1, super().cost(parts, call, usage))

    return replace(parts, settler=Least(parts.contract))


@mutant(breaks="BILL-09")
def estimates_usage_of_nothing(parts: Components) -> Components:
    """Takes explicit zeros for missing usage, and charges the estimate."""

    class Doubting(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            usage = super().usage(call, answer)
            if usage is not None and not usage.total:
                return Usage(call.prompt_tokens, 0, 0, call.output_tokens)
            return usage

    return replace(parts, settler=Doubting(parts.contract))
