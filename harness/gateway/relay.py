"""Carries a call to its upstreams, target after target, and the answer back; it charges nothing and admits nobody.

It runs in the pipeline's own task: a client that goes away ends its stream, not the reading of the upstream.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from harness.contract import ChainTarget, Contract
from harness.gateway.asgi import ClientGone
from harness.gateway.breaker import Outcome, Permit
from harness.gateway.call import Call
from harness.gateway.errors import Refusal
from harness.gateway.failures import TRANSPORT_ERRORS, AttemptFailed, Failure
from harness.gateway.passage import Passage
from harness.gateway.sse import BOM, Event
from harness.gateway.surfaces.base import Declined, Malformed
from harness.gateway.upstream import UpstreamAnswer

if TYPE_CHECKING:
    from harness.gateway.components import Components

ERROR_BODY_BYTES = 64 << 10
ERROR_BODY_S = 1.0
"""How much of an upstream's error body is read for its message, and for how long it is waited for."""
TAIL_S = 0.2
"""How long an upstream may take to end its body after the protocol's end; what it still says then is held back too."""


@dataclass(slots=True)
class Answer:
    """A whole answer of an upstream: a body, or of a stream the events that were held back until its end."""

    usage: Any
    body: dict[str, Any] = field(default_factory=dict)
    held: list[Event] = field(default_factory=list)


class Relay:
    """Failover by the contract's rules. Holds nothing between calls."""

    def __init__(self, contract: Contract) -> None:
        self._body_bytes = contract.sizes.body_bytes
        self._default_retry_after_s = contract.failover.retry_after_s
        self._retry_after = contract.headers.retry_after

    async def run(self, parts: Components, call: Call) -> Answer:
        """Return the first whole answer. Raises Refusal if no target gives one, ClientGone if nobody waits any more."""
        assert call.model is not None
        failures: list[Failure] = []
        pauses = 0
        for target in parts.router.chain(call.model):
            tries = parts.router.tries()
            for n in range(tries):
                permit = parts.breaker.permit((call.model.id, target.role), parts.clock.now_us())
                if permit is None:
                    break
                try:
                    return await self.attempt(parts, call, target, permit)
                except AttemptFailed as failed:
                    failure = failed.failure
                failures.append(failure)
                call.attempts.append(f"{target.role}:{failure.status or failure.kind}")
                self.after(parts, call, failure)
                pause_s = None
                if failure.move == "retry" and n + 1 < tries:
                    pause_s = parts.router.pause_s(call.request_id, pauses, failure.retry_after_s)
                if pause_s is None:
                    break
                pauses += 1
                await asyncio.sleep(pause_s)
        raise self.exhausted(parts, call, failures)

    def after(self, parts: Components, call: Call, failure: Failure) -> None:
        """Return if another attempt may be made after ``failure``. Raises what the client gets instead, if not."""
        if call.client.gone:
            raise ClientGone
        if self.committed(call):
            raise Refusal("stream_broken", "the provider's stream broke off; what came before is incomplete")
        if failure.move == "return":
            raise parts.failures.refusal_of(failure)

    def committed(self, call: Call) -> bool:
        """Say whether the client has content of one answer, so that no other can take its place."""
        return call.content_passed

    def exhausted(self, parts: Components, call: Call, failures: Sequence[Failure]) -> Refusal:
        """Return the one error of a call that no target answered."""
        if not failures:
            return parts.admission.circuits_open(parts, call)
        if failures[-1].timed_out:
            return Refusal("upstream_timeout", "no provider of this model answered in time")
        if all(failure.status == 429 for failure in failures):
            asked_s = [failure.retry_after_s for failure in failures if failure.retry_after_s is not None]
            wait_s = max(1, math.ceil(max(asked_s, default=self._default_retry_after_s)))
            return Refusal(
                "upstream_rate_limited",
                f"every provider of this model is at its rate limit; retry in {wait_s} s",
                headers={self._retry_after: str(wait_s)},
            )
        return Refusal("upstream_error", "every provider of this model failed")

    async def attempt(self, parts: Components, call: Call, target: ChainTarget, permit: Permit) -> Answer:
        """Try one target once, and tell its circuit how it ended. Raises AttemptFailed."""
        outcome: Outcome = "ignored"
        call.attached = True
        try:
            answer = await self.exchange(parts, call, target)
            outcome = "success"
        except AttemptFailed as failed:
            outcome = "failure" if failed.failure.counts else "ignored"
            raise
        except asyncio.CancelledError:
            if self.ran_out(call):
                call.attempts.append(f"{target.role}:call_timeout")
            outcome = self.outcome_of_cut(call)
            raise
        finally:
            call.attached = False
            parts.breaker.record(permit, outcome, parts.clock.now_us())
        call.attempts.append(f"{target.role}:ok")
        return answer

    def ran_out(self, call: Call) -> bool:
        """Say whether the call's time is up, and not because its client left."""
        return not call.client.gone and call.limit is not None and call.limit.expired()

    def outcome_of_cut(self, call: Call) -> Outcome:
        """Return how an attempt counts that was cut off: what runs out of time is the upstream's fault."""
        return "failure" if self.ran_out(call) else "ignored"

    async def exchange(self, parts: Components, call: Call, target: ChainTarget) -> Answer:
        """Send the request and read the answer to its end. Raises AttemptFailed."""
        request = parts.upstream.build(call, target)
        try:
            upstream = UpstreamAnswer(await parts.transport.handle_async_request(request))
            try:
                if not 200 <= upstream.status < 300:
                    raise AttemptFailed(await self.refused(parts, upstream))
                if call.stream:
                    return await self.stream(parts, call, upstream)
                return await self.whole(parts, call, upstream)
            finally:
                await upstream.close()
        except TRANSPORT_ERRORS as error:
            raise AttemptFailed(parts.failures.of_exception(error)) from error

    async def refused(self, parts: Components, upstream: UpstreamAnswer) -> Failure:
        """Return what an answer that is no success means."""
        body = None
        with suppress(*TRANSPORT_ERRORS):
            async with asyncio.timeout(ERROR_BODY_S):
                body = await upstream.body(ERROR_BODY_BYTES)
        return parts.failures.of_status(upstream.status, upstream.headers, body or b"", parts.clock.wall_s())

    async def whole(self, parts: Components, call: Call, upstream: UpstreamAnswer) -> Answer:
        """Return an unstreamed answer; one that came as a stream all the same is gathered. Raises AttemptFailed."""
        body = await upstream.body(self._body_bytes)
        call.ended_us = parts.clock.now_us()
        if not body:
            raise AttemptFailed(parts.failures.of_answer("empty" if body is not None else "malformed"))
        if upstream.is_events and call.surface.charged:
            return self.gathered(parts, call, body)
        if not upstream.is_json:
            raise AttemptFailed(parts.failures.of_answer("wrong_type"))
        try:
            answer = call.surface.verify(orjson.loads(body.removeprefix(BOM)))
        except (orjson.JSONDecodeError, Malformed):
            raise AttemptFailed(parts.failures.of_answer("malformed")) from None
        except Declined:
            raise AttemptFailed(parts.failures.of_answer("error_object")) from None
        return Answer(call.surface.usage_of(answer), body=answer)

    def gathered(self, parts: Components, call: Call, body: bytes) -> Answer:
        """Return the unstreamed answer that a whole stream amounts to. Raises AttemptFailed."""
        passage = self.passage(call)
        events = passage.gather(body)
        kind = self.ended_early(passage)
        if kind:
            raise AttemptFailed(parts.failures.of_answer(kind))
        try:
            answer = call.surface.verify(call.surface.gather(events))
        except (Malformed, Declined, KeyError, TypeError, AttributeError, ValueError):
            # Each event is well formed, and together they make no answer.
            raise AttemptFailed(parts.failures.of_answer("malformed")) from None
        return Answer(passage.state.usage, body=answer)

    async def stream(self, parts: Components, call: Call, upstream: UpstreamAnswer) -> Answer:
        """Pass a stream on until its end, and return what was held back. Raises AttemptFailed."""
        if not upstream.is_events:
            raise AttemptFailed(parts.failures.of_answer("wrong_type"))
        assert call.out is not None
        passage = self.passage(call)
        async with aclosing(upstream.chunks()) as chunks:
            async for chunk in chunks:
                data = passage.take(chunk)
                if data:
                    # Also before a break in the same chunk: what a client gets must not depend on how bytes were cut.
                    call.content_passed = True
                    call.out.write(data)
                    if call.out.full:
                        await self.wait_for_client(parts, call)
                if passage.terminal or passage.broken:
                    break
            kind = self.ended_early(passage)
            if kind:
                raise AttemptFailed(parts.failures.of_answer(kind))
            call.ended_us = parts.clock.now_us()
            await self.tail(parts, call, passage, chunks)
        return Answer(passage.state.usage, held=passage.held)

    def passage(self, call: Call) -> Passage:
        """Return a fresh passage for one upstream stream."""
        passage = Passage(call.surface, call.asked)
        call.state = passage.state
        return passage

    def ended_early(self, passage: Passage) -> str:
        """Return why a stream that is over is no whole answer, or the empty string if it is one."""
        if passage.terminal:
            return ""
        return passage.broken or ("cut" if passage.events else "empty")

    async def wait_for_client(self, parts: Components, call: Call) -> None:
        """Let the client catch up; the time this takes is not the upstream's."""
        assert call.out is not None
        since_us = parts.clock.now_us()
        await call.out.room()
        call.blocked_us += parts.clock.now_us() - since_us

    async def tail(self, parts: Components, call: Call, passage: Passage, chunks: AsyncIterator[bytes]) -> None:
        """Read on behind the protocol's end for a short while, so that the connection ends cleanly.

        How it ends, if it does, no longer matters: the answer is whole.
        """
        with suppress(*TRANSPORT_ERRORS):
            async with asyncio.timeout(TAIL_S):
                async for chunk in chunks:
                    passage.take(chunk)
                    call.ended_us = parts.clock.now_us()
