"""Mutants that measure a call's slowness wrongly, or tell the insurance's word on it wrongly (INS-01 to INS-03)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.contract import ChainTarget
from harness.gateway.asgi import Headers
from harness.gateway.breaker import Permit
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.headers import HeaderWriter
from harness.gateway.insurer import Insurer, Settlement
from harness.gateway.passage import Passage
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer, Relay
from harness.gateway.settlement import Bill, Settler
from harness.gateway.upstream import UpstreamAnswer
from harness.mutants.registry import mutant

Block = dict[str, Any]


def _telling(parts: Components, change: Callable[[Call, Block], Block]) -> Components:
    """Return a gateway whose Enterprise answers carry what ``change`` makes of their hypereal block."""

    class Other(Pipeline):
        def hypereal(self, call: Call, bill: Bill, settlement: Settlement | None) -> Block | None:
            made = super().hypereal(call, bill, settlement)
            return made if made is None else change(call, made)

    return replace(parts, pipeline=Other())


def _without_insurance(block: Block) -> Block:
    return {name: value for name, value in block.items() if name != "insurance"}


@mutant(breaks="INS-01")
def tells_no_settlement_on_messages(parts: Components) -> Components:
    """Leaves the insurance out of the answers of one surface."""
    return _telling(parts, lambda call, made: _without_insurance(made) if call.surface.name == "messages" else made)


@mutant(breaks="INS-01")
def tells_payouts_alone(parts: Components) -> Components:
    """Leaves the insurance out of an answer that it did not pay for."""
    return _telling(
        parts, lambda _, made: made if made["insurance"]["credits_compensated"] else _without_insurance(made)
    )


@mutant(breaks="INS-01")
def tells_no_settlement_after_failover(parts: Components) -> Components:
    """Leaves the insurance out of an answer that another than the first attempt gave."""
    return _telling(parts, lambda call, made: _without_insurance(made) if len(call.attempts) > 1 else made)


@mutant(breaks="INS-01")
def leaves_out_what_is_none(parts: Components) -> Components:
    """Leaves those fields of the insurance out that have nothing to say."""

    def change(call: Call, made: Block) -> Block:
        told = {field: value for field, value in made["insurance"].items() if value not in ("none", 0)}
        return {**made, "insurance": told}

    return _telling(parts, change)


def _writing(parts: Components, change: Callable[[Call, Settlement], Settlement | None]) -> Components:
    """Return a gateway whose insurance headers tell what ``change`` makes of the settlement; None leaves them out."""

    class Other(HeaderWriter):
        def whole(self, call: Call, settlement: Settlement | None) -> Headers:
            return super().whole(call, settlement if settlement is None else change(call, settlement))

    return replace(parts, headers=Other(parts.contract))


@mutant(breaks="INS-02")
def writes_the_headers_before_it_settles(parts: Components) -> Components:
    """Says in the headers that nothing was triggered, whatever the body says."""
    return _writing(parts, lambda _, made: replace(made, status="not_triggered", trigger="none", credits_compensated=0))


@mutant(breaks="INS-02")
def writes_the_charge_for_the_payout(parts: Components) -> Components:
    """Tells in the credits header what was charged, not what was compensated."""
    return _writing(parts, lambda _, made: replace(made, credits_compensated=made.credits_charged))


@mutant(breaks="INS-02")
def writes_another_latency_than_it_tells(parts: Components) -> Components:
    """Rounds the latency in the header up, and that in the body down."""
    return _writing(parts, lambda _, made: replace(made, latency_ms=made.latency_ms + 1))


@mutant(breaks="INS-02")
def writes_no_insurance_headers_on_responses(parts: Components) -> Components:
    """Leaves the insurance headers out on one surface."""
    return _writing(parts, lambda call, made: None if call.surface.name == "responses" else made)


def _settling(parts: Components, change: Callable[[Settlement], Settlement]) -> Components:
    """Return a gateway whose insurer says what ``change`` makes of the right settlement."""

    class Other(Insurer):
        def settle(self, charged: int, latency_us: int, eligible: bool) -> Settlement:
            return change(super().settle(charged, latency_us, eligible))

    return replace(parts, insurer=Other(parts.contract))


@mutant(breaks="INS-02")
def has_a_status_of_its_own(parts: Components) -> Components:
    """Calls a call that was quick enough ok, which is no status of the insurance."""
    return _settling(parts, lambda made: replace(made, status="ok") if made.status == "not_triggered" else made)


@mutant(breaks="INS-02")
def always_tells_the_trigger(parts: Components) -> Components:
    """Names the trigger of the policy for calls that did not trigger it."""
    return _settling(parts, lambda made: replace(made, trigger=parts.contract.insurance.trigger))


@mutant(breaks="INS-02")
def gives_no_reason_for_a_payout(parts: Components) -> Components:
    """Tells the trigger of a payout for its reason."""
    return _settling(parts, lambda made: replace(made, reason=made.trigger))


@mutant(breaks="INS-03")
def pays_at_the_threshold(parts: Components) -> Components:
    """Pays a call that took exactly the threshold."""

    class Generous(Insurer):
        def settle(self, charged: int, latency_us: int, eligible: bool) -> Settlement:
            at = latency_us // 1000 == self._policy.threshold_ms
            made = super().settle(charged, latency_us + 1000 if at else latency_us, eligible)
            return replace(made, latency_ms=latency_us // 1000)

    return replace(parts, insurer=Generous(parts.contract))


@mutant(breaks="INS-03")
def pays_for_a_part_of_a_millisecond(parts: Components) -> Components:
    """Rounds the latency up, so that a call pays that was over the threshold by less than its unit."""

    class Exact(Insurer):
        def latency_ms(self, latency_us: int) -> int:
            return -(-latency_us // 1000)

    return replace(parts, insurer=Exact(parts.contract))


@mutant(breaks="INS-03")
def never_pays(parts: Components) -> Components:
    """Takes every call for quick enough."""
    return _settling(
        parts,
        lambda made: (
            replace(made, status="not_triggered", trigger="none", reason="none", credits_compensated=0)
            if made.status == "paid"
            else made
        ),
    )


@mutant(breaks="INS-03")
def pays_for_what_was_free(parts: Components) -> Components:
    """Pays a credit for a slow call that cost nothing."""

    class Giving(Insurer):
        def settle(self, charged: int, latency_us: int, eligible: bool) -> Settlement:
            if charged:
                return super().settle(charged, latency_us, eligible)
            made = super().settle(1, latency_us, eligible)
            return replace(made, credits_charged=0)

    return replace(parts, insurer=Giving(parts.contract))


class _Measuring(Settler):
    """A settler with a start of its own for the latency: ``starts`` are by request id."""

    starts: dict[str, int]

    def latency_us(self, call: Call) -> int:
        return super().latency_us(call) + call.received_us - self.starts.get(call.request_id, call.received_us)


def _measuring(parts: Components, starts: dict[str, int]) -> Settler:
    made = _Measuring(parts.contract)
    made.starts = starts
    return made


@mutant(breaks="INS-03")
def leaves_the_queue_out_of_the_latency(parts: Components) -> Components:
    """Counts the latency from admission, so that waiting for a slot is free."""

    class FromAdmission(Settler):
        async def charge(self, parts: Components, call: Call, answer: Answer) -> Bill:
            if call.ticket is not None:
                call.received_us = call.ticket.at_us
            return await super().charge(parts, call, answer)

    return replace(parts, settler=FromAdmission(parts.contract))


@mutant(breaks="INS-03")
def leaves_failed_attempts_out_of_the_latency(parts: Components) -> Components:
    """Counts the latency from the attempt that answered."""
    starts: dict[str, int] = {}

    class Noting(Relay):
        async def attempt(self, parts: Components, call: Call, target: ChainTarget, permit: Permit) -> Answer:
            starts[call.request_id] = parts.clock.now_us()
            return await super().attempt(parts, call, target, permit)

    return replace(parts, relay=Noting(parts.contract), settler=_measuring(parts, starts))


@mutant(breaks="INS-03")
def leaves_pauses_out_of_the_latency(parts: Components) -> Components:
    """Counts the time of all attempts, and none between them."""
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}

    class Noting(Relay):
        async def attempt(self, parts: Components, call: Call, target: ChainTarget, permit: Permit) -> Answer:
            now_us = parts.clock.now_us()
            if call.request_id in ends:
                since_us = starts.get(call.request_id, call.received_us)
                starts[call.request_id] = since_us + now_us - ends[call.request_id]
            try:
                return await super().attempt(parts, call, target, permit)
            finally:
                ends[call.request_id] = parts.clock.now_us()

    return replace(parts, relay=Noting(parts.contract), settler=_measuring(parts, starts))


@mutant(breaks="INS-03")
def counts_the_upload_as_latency(parts: Components) -> Components:
    """Counts the latency from the first byte of the request, not from its last."""
    starts: dict[str, int] = {}

    class Noting(Pipeline):
        def identify(self, parts: Components, call: Call) -> None:
            starts[call.request_id] = parts.clock.now_us()
            super().identify(parts, call)

    return replace(parts, pipeline=Noting(), settler=_measuring(parts, starts))


@mutant(breaks="INS-03")
def measures_a_stream_to_its_first_content(parts: Components) -> Components:
    """Counts the latency of a stream to the first token, as load tests do."""

    class Noting(Passage):
        def take(self, chunk: bytes) -> bytes:
            had, out = self.content, super().take(chunk)
            if self.content and not had:
                firsts[id(self.state)] = parts.clock.now_us()
            return out

    class First(Relay):
        def passage(self, call: Call) -> Passage:
            passage = Noting(call.surface, call.asked)
            call.state = passage.state
            return passage

        async def stream(self, parts: Components, call: Call, upstream: UpstreamAnswer) -> Answer:
            answer = await super().stream(parts, call, upstream)
            call.ended_us = firsts.get(id(call.state), call.ended_us)
            return answer

    firsts: dict[int, int] = {}
    return replace(parts, relay=First(parts.contract))


@mutant(breaks="INS-03")
def measures_a_stream_until_it_was_read(parts: Components) -> Components:
    """Counts the latency of a stream to its last byte's way out, however slowly its client reads."""

    class Waiting(Settler):
        async def insure(self, parts: Components, call: Call, bill: Bill) -> Settlement:
            if call.out is not None:
                await call.out.flushed()
                call.ended_us = parts.clock.now_us()
            return await super().insure(parts, call, bill)

    return replace(parts, settler=Waiting(parts.contract))
