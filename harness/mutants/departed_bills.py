"""Mutants that charge clients that left for what nobody knows, or not for what is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.gateway.asgi import ClientGone
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer
from harness.gateway.settlement import Settler
from harness.gateway.usage import Usage
from harness.mutants.registry import mutant


@mutant(breaks="BILL-07")
def bills_abandoned_calls_their_hold(parts: Components) -> Components:
    """Charges a call whose client left, and whose usage never came, what it held."""
    return replace(parts, pipeline=_leaving(lambda parts, call: call.hold.credits if call.hold else 0))


@mutant(breaks="BILL-07")
def bills_abandoned_calls_their_prompt(parts: Components) -> Components:
    """Charges the estimate of the prompt for an unstreamed call whose client left."""

    def prompt(parts: Components, call: Call) -> int:
        if call.stream or call.model is None:
            return 0
        return parts.prices.cost(call.model, Usage(call.prompt_tokens, 0, 0, 0))

    return replace(parts, pipeline=_leaving(prompt))


@mutant(breaks="BILL-07")
def bills_abandoned_streams_by_their_opening(parts: Components) -> Components:
    """Charges an abandoned stream the usage that it opened with."""

    def opening(parts: Components, call: Call) -> int:
        told = call.state.opening if call.state is not None else None
        usage = parts.settler.usage(call, Answer(told)) if told is not None else None
        return parts.settler.cost(parts, call, usage) if usage is not None else 0

    return replace(parts, pipeline=_leaving(opening))


def _leaving(credits: Callable[[Components, Call], int]) -> Pipeline:
    """Return a pipeline that charges a call that ended without its client ``credits``."""

    class Guessing(Pipeline):
        async def carry(self, parts: Components, call: Call) -> Answer:
            try:
                return await super().carry(parts, call)
            except ClientGone:
                if call.hold is not None and call.hold.open:
                    price = credits(parts, call)
                    if price:
                        await parts.ledger.post(call.hold, price)
                raise

    return Guessing()


@mutant(breaks="BILL-07")
def never_bills_departed_clients(parts: Components) -> Components:
    """Charges nothing once the client has left, though the whole answer came."""
    return replace(parts, settler=_forgiving(parts, lambda call: call.client.gone))


@mutant(breaks="BILL-07")
def bills_no_departed_client_of_an_unstreamed_call(parts: Components) -> Components:
    """Charges departed clients for their streams alone."""
    return replace(parts, settler=_forgiving(parts, lambda call: call.client.gone and not call.stream))


def _forgiving(parts: Components, when: Callable[[Call], bool]) -> Settler:
    """Return a settler that charges nothing if ``when`` says so."""

    class Forgiving(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            return 0 if when(call) else super().cost(parts, call, usage)

    return Forgiving(parts.contract)


@mutant(breaks="BILL-07")
def does_not_log_what_it_could_not_bill(parts: Components) -> Components:
    """Leaves unbilled_disconnect out of the usage log."""

    class Silent(Pipeline):
        def row(self, parts: Components, call: Call, now_us: int) -> dict[str, Any]:
            made = super().row(parts, call, now_us)
            return {**made, "flags": [flag for flag in made["flags"] if flag != "unbilled_disconnect"]}

    return replace(parts, pipeline=Silent())


@mutant(breaks="BILL-07")
def drains_half_the_time(parts: Components) -> Components:
    """Reads on for half the drain time, and charges nothing for what came after."""
    times = replace(parts.contract.timeouts, drain_ms=parts.contract.timeouts.drain_ms // 2)
    impatient = replace(parts, contract=replace(parts.contract, timeouts=times))

    class Impatient(Pipeline):
        def client_left(self, parts: Components, call: Call) -> None:
            super().client_left(impatient, call)

    return replace(parts, pipeline=Impatient())
