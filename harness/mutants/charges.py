"""Mutants that charge for what failed, or twice for what was served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.failures import Failure
from harness.gateway.passage import Passage
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer, Relay
from harness.gateway.settlement import Bill, Settler
from harness.gateway.usage import Usage
from harness.mutants.furniture import HastyLedger, with_ledger
from harness.mutants.registry import mutant
from harness.mutants.swaps import with_passage


def _charging(credits: Callable[[Call, Refusal], int]) -> Pipeline:
    """Return a pipeline that charges a call that is refused or fails ``credits``, if that is anything."""

    class Charging(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            price = credits(call, refusal)
            if price and call.account:
                if call.hold is None or not call.hold.open:
                    call.hold = parts.ledger.hold(call.account, call.label, price)
                await parts.ledger.post(call.hold, price)
            await super().refuse(parts, call, refusal)

    return Charging()


@mutant(breaks="BILL-02")
def bills_failed_calls(parts: Components) -> Components:
    """Charges one credit for a call that failed."""
    return replace(parts, pipeline=_charging(lambda call, refusal: int(call.hold is not None and call.hold.open)))


@mutant(breaks="BILL-02")
def bills_refused_calls(parts: Components) -> Components:
    """Charges one credit for a call that it refused before any upstream saw it."""
    return replace(parts, pipeline=_charging(lambda call, refusal: int(not call.attempts and call.hold is None)))


@mutant(breaks="BILL-02")
def bills_calls_that_time_out(parts: Components) -> Components:
    """Charges what a call held when its upstreams did not answer in time."""

    def price(call: Call, refusal: Refusal) -> int:
        return call.hold.credits if refusal.name == "upstream_timeout" and call.hold is not None else 0

    return replace(parts, pipeline=_charging(price))


@mutant(breaks="BILL-02")
def bills_broken_streams(parts: Components) -> Components:
    """Charges what a stream held that broke after its client had some of it."""

    def price(call: Call, refusal: Refusal) -> int:
        return call.hold.credits if refusal.name == "stream_broken" and call.hold is not None else 0

    return replace(parts, pipeline=_charging(price))


@mutant(breaks="BILL-02")
def bills_the_prompt_of_failed_calls(parts: Components) -> Components:
    """Charges the estimate of the prompt when every target failed."""

    def price(call: Call, refusal: Refusal) -> int:
        if refusal.name != "upstream_error" or call.model is None:
            return 0
        return parts.prices.cost(call.model, Usage(call.prompt_tokens, 0, 0, 0))

    return replace(parts, pipeline=_charging(price))


@mutant(breaks="BILL-02")
def bills_streams_cut_after_their_usage(parts: Components) -> Components:
    """Charges a stream that told its usage and then broke off before its end."""

    def price(call: Call, refusal: Refusal) -> int:
        if refusal.name != "stream_broken" or call.state is None or call.state.usage is None or call.model is None:
            return 0
        usage = parts.settler.usage(call, Answer(call.state.usage))
        return 0 if usage is None else parts.prices.cost(call.model, usage)

    return replace(parts, pipeline=_charging(price))


class _Early(Passage):
    """Lets what tells usage out as it comes."""

    __slots__ = ()

    def take(self, chunk: bytes) -> bytes:
        out = super().take(chunk)
        if not self.content or self.broken or self.terminal:
            return out
        early, self.held = self.held, []
        return out + b"".join(event.raw for event in early)


@mutant(breaks="BILL-04")
def lets_usage_out_before_the_end(parts: Components) -> Components:
    """Passes a stream's usage on as it comes, before the upstream's terminal event was read."""
    return with_passage(parts, _Early)


@mutant(breaks="BILL-04")
def tells_a_streams_charge_before_it_is_kept(parts: Components) -> Components:
    """Tells a stream's charge as soon as the book has it, without waiting for the commit."""

    class Hasty(Settler):
        async def charge(self, parts: Components, call: Call, answer: Answer) -> Bill:
            return await super().charge(with_ledger(parts, HastyLedger) if call.stream else parts, call, answer)

    return replace(parts, settler=Hasty(parts.contract))


@mutant(breaks="BILL-04")
def bills_streams_nothing(parts: Components) -> Components:
    """Charges streams nothing, for it looks for usage where unstreamed answers have it."""

    class Blind(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            return 0 if call.stream else super().cost(parts, call, usage)

    return replace(parts, settler=Blind(parts.contract))


@mutant(breaks="BILL-04")
def bills_streams_by_their_opening(parts: Components) -> Components:
    """Charges a stream by the usage that it opens with, where its protocol has one."""

    class Opening(Settler):
        async def charge(self, parts: Components, call: Call, answer: Answer) -> Bill:
            if call.stream and call.state is not None and call.state.opening is not None:
                answer = replace(answer, usage=call.state.opening)
            return await super().charge(parts, call, answer)

    return replace(parts, settler=Opening(parts.contract))


@mutant(breaks="BILL-04")
def adds_the_opening_usage_to_the_final_one(parts: Components) -> Components:
    """Adds the output that a stream opens with to a final count that holds it already."""

    class Adding(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            usage = super().usage(call, answer)
            opening = call.state.opening if call.stream and call.state is not None else None
            if usage is None or not isinstance(opening, dict):
                return usage
            return replace(usage, output=usage.output + (opening.get("output_tokens") or 0) * 1_000)

    return replace(parts, settler=Adding(parts.contract))


@mutant(breaks="BILL-05")
def bills_every_attempt(parts: Components) -> Components:
    """Charges the answer's usage once for each attempt that was made."""

    class PerAttempt(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            return super().cost(parts, call, usage) * max(1, len(call.attempts))

    return replace(parts, settler=PerAttempt(parts.contract))


@mutant(breaks="BILL-05")
def bills_the_prompt_of_failed_attempts(parts: Components) -> Components:
    """Charges the estimate of the prompt for each attempt that failed before the one that served."""

    class Prompting(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            assert call.model is not None
            failed = Usage(call.prompt_tokens * (len(call.attempts) - 1), 0, 0, 0)
            return super().cost(parts, call, usage) + parts.prices.cost(call.model, failed)

    return replace(parts, settler=Prompting(parts.contract))


@mutant(breaks="BILL-05")
def bills_what_failed_attempts_told(parts: Components) -> Components:
    """Adds usage that a failed attempt of a stream told to that of the answer."""
    told: dict[str, int] = {}

    class Remembering(Relay):
        def after(self, parts: Components, call: Call, failure: Failure) -> None:
            super().after(parts, call, failure)
            usage = call.state.usage or call.state.opening if call.state is not None else None
            if isinstance(usage, Mapping):
                identity = parts.contract.usage_of(call.surface.name)
                told[call.request_id] = told.get(call.request_id, 0) + int(usage.get(identity.input) or 0)

    class Adding(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            more = told.pop(call.request_id, 0)
            return super().cost(parts, call, replace(usage, input=usage.input + more))

    return replace(parts, relay=Remembering(parts.contract), settler=Adding(parts.contract))


@mutant(breaks="BILL-05")
def charges_twice_after_a_failover(parts: Components) -> Components:
    """Posts the charge of a call that failed over a second time, a hold of its own before it."""
    return replace(parts, settler=_twice(parts, lambda call: len(call.attempts) > 1))


@mutant(breaks="BILL-05")
def charges_streams_twice(parts: Components) -> Components:
    """Posts a stream's charge at its usage and once more at its end."""
    return replace(parts, settler=_twice(parts, lambda call: call.stream and not call.client.gone))


@mutant(breaks="BILL-07")
def charges_departed_clients_twice(parts: Components) -> Components:
    """Posts the charge when a drained answer ends, and once more when its call is closed."""
    return replace(parts, settler=_twice(parts, lambda call: call.client.gone))


def _twice(parts: Components, when: Callable[[Call], bool]) -> Settler:
    """Return a settler that charges a call again, after itself, if ``when`` says so."""

    class Twice(Settler):
        async def charge(self, parts: Components, call: Call, answer: Answer) -> Bill:
            bill = await super().charge(parts, call, answer)
            if bill.credits and when(call):
                hold = parts.ledger.hold(call.account, call.label, bill.credits)
                await parts.ledger.post(hold, bill.credits)
            return bill

    return Twice(parts.contract)
