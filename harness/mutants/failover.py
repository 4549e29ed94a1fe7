"""Mutants that do not fail over after server errors, rate limits and timeouts, or in time (FAIL-01 to FAIL-03)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import httpx

from harness.contract import ChainTarget
from harness.gateway.breaker import Permit
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.failures import AttemptFailed, Failure, FailureClassifier
from harness.gateway.passage import Passage
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer, Relay
from harness.mutants.registry import mutant


def giving_up(parts: Components, when: Callable[[Call, Failure], bool]) -> Components:
    """Return a gateway for which a failure that ``when`` is true of is the call's last."""

    class Timid(Relay):
        def after(self, parts: Components, call: Call, failure: Failure) -> None:
            super().after(parts, call, failure)
            if when(call, failure):
                raise self.exhausted(parts, call, [failure])

    return replace(parts, relay=Timid(parts.contract))


def _server_error(failure: Failure) -> bool:
    return failure.status is not None and failure.status >= 500


@mutant(breaks="FAIL-01")
def does_not_know_529(parts: Components) -> Components:
    """Returns an upstream's 529 to the client instead of trying the next one."""

    class Short(FailureClassifier):
        def of_status(self, status: int, headers: Mapping[str, str], body: bytes, wall_s: float) -> Failure:
            made = super().of_status(status, headers, body, wall_s)
            return replace(made, move="return") if status == 529 else made

    return replace(parts, failures=Short(parts.contract))


@mutant(breaks="FAIL-01")
def fails_over_unstreamed_calls_alone(parts: Components) -> Components:
    """Ends a stream at its upstream's first 5xx, as if failover were configured for other calls only."""
    return giving_up(parts, lambda call, failure: call.stream and _server_error(failure))


@mutant(breaks="FAIL-01")
def knows_no_failover_on_responses(parts: Components) -> Components:
    """Ends a call of the Responses API at the first 5xx."""
    return giving_up(parts, lambda call, failure: call.surface.name == "responses" and _server_error(failure))


@mutant(breaks="FAIL-01")
def knows_no_failover_in_general(parts: Components) -> Components:
    """Ends a general call at the first 5xx; Enterprise calls fail over."""
    return giving_up(parts, lambda call, failure: not call.enterprise and _server_error(failure))


@mutant(breaks="FAIL-01")
def gives_up_when_the_second_target_fails(parts: Components) -> Components:
    """Fails over once, and ends the call when the second target answers 5xx as well."""
    return giving_up(parts, lambda call, failure: call.attempts[-1].startswith("second:") and _server_error(failure))


@mutant(breaks="FAIL-01")
def lets_the_beginning_of_a_failed_answer_out(parts: Components) -> Components:
    """Passes on what opens a stream before it has content, and opens it again after failover."""

    class Hasty(Passage):
        def take(self, chunk: bytes) -> bytes:
            out = super().take(chunk)
            if self.content or self.ending:
                return out
            early, self.held = self.held, []
            return out + b"".join(event.raw for event in early)

    class Eager(Relay):
        def passage(self, call: Call) -> Passage:
            passage = Hasty(call.surface, call.asked)
            call.state = passage.state
            return passage

        def committed(self, call: Call) -> bool:
            return False

    return replace(parts, relay=Eager(parts.contract))


@mutant(breaks="FAIL-02")
def gives_up_at_a_429(parts: Components) -> Components:
    """Answers 429 as soon as one upstream is at its rate limit."""
    return giving_up(parts, lambda call, failure: failure.status == 429)


@mutant(breaks="FAIL-02")
def gives_up_at_a_429_of_a_stream(parts: Components) -> Components:
    """Answers a stream with 429 as soon as one upstream is at its rate limit."""
    return giving_up(parts, lambda call, failure: failure.status == 429 and call.stream)


@mutant(breaks="FAIL-02")
def takes_a_long_retry_after_for_an_order(parts: Components) -> Components:
    """Passes a 429 on whose Retry-After is longer than the gateway may wait, though other targets are free."""
    cap_s = parts.contract.failover.backoff_cap_ms / 1e3
    return giving_up(parts, lambda call, failure: failure.status == 429 and (failure.retry_after_s or 0) > cap_s)


@mutant(breaks="FAIL-03")
def gives_up_on_timeouts(parts: Components) -> Components:
    """Answers 504 at the first upstream that takes too long."""
    return giving_up(parts, lambda call, failure: failure.timed_out)


@mutant(breaks="FAIL-03")
def gives_up_when_it_cannot_connect_in_time(parts: Components) -> Components:
    """Answers 504 at the first connect timeout; other timeouts move on."""
    return giving_up(parts, lambda call, failure: failure.kind == "connect_timeout")


@mutant(breaks="FAIL-03")
def gives_up_on_streams_that_fall_silent(parts: Components) -> Components:
    """Tries no other target for a stream whose head came and whose content did not."""
    return giving_up(parts, lambda call, failure: failure.timed_out and call.state is not None)


@mutant(breaks="FAIL-03")
def limits_the_first_byte_alone(parts: Components) -> Components:
    """Waits for the head of an answer as long as it should, and then for ever for the rest."""

    class FirstByte(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            limits = request.extensions["timeout"]
            request.extensions = {**request.extensions, "timeout": {**limits, "read": None}}
            try:
                async with asyncio.timeout(limits["read"]):
                    return await parts.transport.handle_async_request(request)
            except TimeoutError as error:
                raise httpx.ReadTimeout("no first byte", request=request) from error

    return replace(parts, transport=FirstByte())


@mutant(breaks="FAIL-03")
def takes_the_silence_limit_for_the_attempts(parts: Components) -> Components:
    """Leaves an upstream that has been answering for as long as it may be silent."""
    limit_s = parts.contract.timeouts.silence_ms / 1e3

    class Impatient(Relay):
        async def exchange(self, parts: Components, call: Call, target: ChainTarget) -> Answer:
            try:
                async with asyncio.timeout(limit_s):
                    return await super().exchange(parts, call, target)
            except TimeoutError:
                raise AttemptFailed(Failure("read_timeout")) from None

    return replace(parts, relay=Impatient(parts.contract))


@mutant(breaks="FAIL-03")
def gives_each_attempt_the_calls_whole_time(parts: Components) -> Components:
    """Begins the time that a call may run anew with every attempt."""
    limit_s = parts.contract.timeouts.text_call_ms / 1e3

    class Generous(Relay):
        async def attempt(self, parts: Components, call: Call, target: ChainTarget, permit: Permit) -> Answer:
            if call.limit is not None and not call.client.gone:
                call.limit.reschedule(asyncio.get_running_loop().time() + limit_s)
            return await super().attempt(parts, call, target, permit)

    return replace(parts, relay=Generous(parts.contract))


@mutant(breaks="FAIL-03")
def never_ends_a_stream_for_its_length(parts: Components) -> Components:
    """Lets a stream run for as long as a video may take."""

    class Lenient(Pipeline):
        def call_limit_ms(self, parts: Components, call: Call) -> int:
            return parts.contract.timeouts.video_call_ms if call.stream else super().call_limit_ms(parts, call)

    return replace(parts, pipeline=Lenient())


@mutant(breaks="FAIL-03")
def ends_calls_a_second_early(parts: Components) -> Components:
    """Lets a call run for a second less than it may."""

    class Hurried(Pipeline):
        def call_limit_ms(self, parts: Components, call: Call) -> int:
            return super().call_limit_ms(parts, call) - 1_000

    return replace(parts, pipeline=Hurried())
