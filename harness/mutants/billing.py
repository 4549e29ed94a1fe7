"""Mutants that lie about money: charges, what answers tell of them, and who may spend."""

from __future__ import annotations

from dataclasses import replace

from harness.contract import Model
from harness.gateway.admission import Admission
from harness.gateway.asgi import ClientGone
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.ledger import Hold, Ledger, Posting
from harness.gateway.passage import Passage
from harness.gateway.pipeline import Pipeline
from harness.gateway.prices import PriceList
from harness.gateway.relay import Answer, Relay
from harness.gateway.settlement import Settler
from harness.gateway.usage import Usage
from harness.mutants.registry import mutant


@mutant(breaks="BILL-02")
def bills_failed_calls(parts: Components) -> Components:
    """Charges one credit for a call that failed."""

    class Charging(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if call.hold is not None and call.hold.open:
                await parts.ledger.post(call.hold, 1)
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Charging())


@mutant(breaks="BILL-01")
def rounds_down(parts: Components) -> Components:
    """Rounds a cost down to whole credits."""

    class Floor(PriceList):
        def _credits(self, units: int) -> int:
            up = super()._credits(units)
            return up if units * self._credits_per_usd % 10**10 == 0 else up - 1

    return replace(parts, prices=Floor(parts.contract))


@mutant(breaks="BILL-01")
def bills_cached_tokens_twice(parts: Components) -> Components:
    """Charges cache reads at their own price and once more as input."""

    class Twice(PriceList):
        def cost(self, model: Model, usage: Usage) -> int:
            return super().cost(model, replace(usage, input=usage.input + usage.cache_read))

    return replace(parts, prices=Twice(parts.contract))


@mutant(breaks="BILL-05")
def bills_every_attempt(parts: Components) -> Components:
    """Charges the answer's usage once for each attempt that was made."""

    class PerAttempt(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            return super().cost(parts, call, usage) * max(1, len(call.attempts))

    return replace(parts, settler=PerAttempt(parts.contract))


@mutant(breaks="BILL-09")
def estimates_missing_usage(parts: Components) -> Components:
    """Charges the estimate when the upstream's usage cannot be trusted."""

    class Guessing(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            return super().usage(call, answer) or Usage(call.prompt_tokens, 0, 0, call.output_tokens)

    return replace(parts, settler=Guessing(parts.contract))


@mutant(breaks="BILL-04")
def lets_usage_out_before_the_end(parts: Components) -> Components:
    """Passes a stream's usage on as it comes, before the upstream's terminal event was read."""

    class Eager(Passage):
        def take(self, chunk: bytes) -> bytes:
            out = super().take(chunk)
            if not self.content or self.broken or self.terminal:
                return out
            early, self.held = self.held, []
            return out + b"".join(event.raw for event in early)

    class Leaking(Relay):
        def passage(self, call: Call) -> Passage:
            passage = Eager(call.surface, call.asked)
            call.state = passage.state
            return passage

    return replace(parts, relay=Leaking(parts.contract))


@mutant(breaks="BILL-07")
def bills_abandoned_calls_their_hold(parts: Components) -> Components:
    """Charges a call whose client left, and whose usage never came, what it held."""

    class Guessing(Pipeline):
        async def carry(self, parts: Components, call: Call) -> Answer:
            try:
                return await super().carry(parts, call)
            except ClientGone:
                if call.hold is not None and call.hold.open:
                    await parts.ledger.post(call.hold, call.hold.credits)
                raise

    return replace(parts, pipeline=Guessing())


@mutant(breaks="BILL-03")
def tells_the_available_balance(parts: Components) -> Components:
    """Tells the balance less what other calls hold, instead of the posted one."""

    class Available(Ledger):
        async def post(self, hold: Hold, credits: int) -> Posting:
            posting = await parts.ledger.post(hold, credits)
            held = parts.ledger.posted(hold.account) - parts.ledger.available(hold.account)
            return replace(posting, before=posting.before - held, after=posting.after - held)

    ledger = Available.__new__(Available)
    ledger.__dict__ = parts.ledger.__dict__
    return replace(parts, ledger=ledger)


@mutant(breaks="BILL-10")
def spends_held_credits_again(parts: Components) -> Components:
    """Lets calls in on the posted balance, whatever calls under way hold of it."""

    class Posted(Admission):
        def require_balance(self, parts: Components, call: Call, credits: int) -> None:
            if not self.can_pay(parts.ledger.posted(call.account), call, credits):
                raise Refusal("insufficient_balance", "the balance is too low for this call")

    return replace(parts, admission=Posted(parts.contract))
