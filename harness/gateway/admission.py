"""Whether a call is let in: balance, circuits, rates and slots; it takes all that a call takes, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.contract import Contract
from harness.gateway.call import Call
from harness.gateway.errors import Refusal
from harness.gateway.ledger import Hold

if TYPE_CHECKING:
    from harness.gateway.components import Components


class Admission:
    """The rules of both tiers. An Enterprise call is held by the governor, a general one by the user's rate."""

    def __init__(self, contract: Contract) -> None:
        self._money = contract.money
        self._retry_after = contract.headers.retry_after
        self._limits = contract.limits

    def require_possible(self, call: Call) -> None:
        """Raise Refusal for more images than any window takes: to wait would not help."""
        assert call.model is not None
        limits = self._limits(call.model)
        if call.enterprise and limits.images is not None and self.images(call) > limits.images:
            raise Refusal(
                "bad_request",
                f"n must be at most {limits.images}: no window of {limits.window_ms / 1000:g} s takes more images",
            )

    async def admit(self, parts: Components, call: Call) -> None:
        """Let ``call`` in: hold its estimate, and take its slot and units. Raises Refusal, having taken nothing."""
        assert call.model is not None
        call.prompt_tokens = self.prompt_tokens(call)
        call.output_tokens = call.surface.output_tokens(call.body) or call.model.default_output_tokens
        credits = self.estimate(parts, call)
        # Whoever cannot pay hears that before anything else, also while every window is full.
        self.require_balance(parts, call, credits)
        self.require_circuit(parts, call)
        if call.enterprise:
            await self.enter_governed(parts, call, credits)
        else:
            self.enter_rated(parts, call, credits)

    def prompt_tokens(self, call: Call) -> int:
        """Return the estimate of the prompt: a token per four bytes of the raw body, rounded up."""
        return -(-len(call.raw) // 4)

    def estimate(self, parts: Components, call: Call) -> int:
        """Return the credits that the call has to hold."""
        assert call.model is not None
        return parts.prices.estimate(call.model, call.prompt_tokens, call.output_tokens)

    def reservation(self, call: Call) -> int:
        """Return the tokens that the call reserves in its window."""
        return call.prompt_tokens + call.output_tokens

    def images(self, call: Call) -> int:
        """Return the images that the call reserves in its window, if its model has one of them."""
        return call.surface.images_asked(call.body)

    def owner(self, call: Call) -> str:
        """Return whose windows the call draws on, and whose turn it takes in the queue."""
        return call.account

    async def enter_governed(self, parts: Components, call: Call, credits: int) -> None:
        """Take slot, request unit, token reservation and hold in the instant that the governor grants the slot."""
        assert call.model is not None

        def afford() -> None:
            # Asked again when the slot is there: the balance may have changed while the call waited.
            self.require_balance(parts, call, credits)

        def enter() -> Hold:
            return self.enter(parts, call, credits)

        call.ticket = await parts.governor.admit(
            self.owner(call), call.model, self.reservation(call), enter, images=self.images(call), afford=afford
        )
        call.admitted = call.ticket.snapshot

    def enter_rated(self, parts: Components, call: Call, credits: int) -> None:
        """Take a unit of the user's rate, and the hold."""
        parts.user_rate.admit(self.owner(call))
        self.enter(parts, call, credits)

    def enter(self, parts: Components, call: Call, credits: int) -> Hold:
        """Hold the estimate, and note the circuit of the chain's first target as it stands now."""
        call.circuit = self.circuit(parts, call)
        call.hold = parts.ledger.hold(call.account, call.label, credits)
        return call.hold

    def require_balance(self, parts: Components, call: Call, credits: int) -> None:
        """Raise Refusal unless the available balance lets a call in that may cost ``credits``."""
        if not self.can_pay(parts.ledger.available(call.account), call, credits):
            raise Refusal("insufficient_balance", "the balance is too low for this call; top up to go on")

    def can_pay(self, available: int, call: Call, credits: int) -> bool:
        """Say whether ``available`` credits are enough: for Enterprise its hold or the minimum, else the minimum."""
        if call.enterprise:
            return available >= min(credits, self._money.enterprise_minimum_credits)
        return available >= self._money.general_minimum_credits

    def require_circuit(self, parts: Components, call: Call) -> None:
        """Raise Refusal if every path of the model has its circuit open."""
        assert call.model is not None
        now_us = parts.clock.now_us()
        for target in parts.router.chain(call.model):
            if parts.breaker.state((call.model.id, target.role), now_us) != "open":
                return
        raise self.circuits_open(parts, call)

    def circuits_open(self, parts: Components, call: Call) -> Refusal:
        """Return the refusal of a call that no path is open for."""
        assert call.model is not None
        paths = [(call.model.id, target.role) for target in parts.router.chain(call.model)]
        wait_s = parts.breaker.retry_after_s(paths, parts.clock.now_us())
        return Refusal(
            "circuits_open",
            f"every provider of {call.model.id} is overloaded; retry in {wait_s} s",
            headers={self._retry_after: str(wait_s)},
        )

    def circuit(self, parts: Components, call: Call) -> str:
        """Return the state of the circuit of the chain's first target."""
        assert call.model is not None
        first = parts.router.chain(call.model)[0]
        return parts.breaker.state((call.model.id, first.role), parts.clock.now_us())
