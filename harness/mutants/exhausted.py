"""Mutants that tell the end of a chain wrongly: its status, its words, its price (FAIL-07)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.gateway.admission import Admission
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.error_writer import ErrorWriter
from harness.gateway.errors import Refusal
from harness.gateway.failures import Failure
from harness.gateway.pipeline import Pipeline
from harness.gateway.redact import Redactor
from harness.gateway.relay import Relay
from harness.mutants.registry import mutant

End = Callable[[Components, Call, Sequence[Failure], Refusal], Refusal]


def _ending(parts: Components, end: End) -> Components:
    """Return a gateway that tells the end of a chain by ``end``, given the failures and the right word on them."""

    class Other(Relay):
        def exhausted(self, parts: Components, call: Call, failures: Sequence[Failure]) -> Refusal:
            return end(parts, call, failures, super().exhausted(parts, call, failures))

    return replace(parts, relay=Other(parts.contract))


def _renamed(refusal: Refusal, name: str) -> Refusal:
    return Refusal(name, refusal.message, headers=refusal.headers)


@mutant(breaks="FAIL-07")
def calls_everything_a_bad_gateway(parts: Components) -> Components:
    """Answers 502 whatever all targets failed of."""
    return _ending(parts, lambda parts, call, failures, told: _renamed(told, "upstream_error"))


@mutant(breaks="FAIL-07")
def calls_it_a_timeout_if_any_was(parts: Components) -> Components:
    """Answers 504 if any target timed out, though the last one failed otherwise."""

    def end(parts: Components, call: Call, failures: Sequence[Failure], told: Refusal) -> Refusal:
        return _renamed(told, "upstream_timeout") if any(failure.timed_out for failure in failures) else told

    return _ending(parts, end)


@mutant(breaks="FAIL-07")
def calls_it_a_rate_limit_if_the_last_was(parts: Components) -> Components:
    """Answers 429 if the last target said so, though others failed otherwise."""

    class Last(Relay):
        def exhausted(self, parts: Components, call: Call, failures: Sequence[Failure]) -> Refusal:
            limited = bool(failures) and failures[-1].status == 429
            return super().exhausted(parts, call, failures[-1:] if limited else failures)

    return replace(parts, relay=Last(parts.contract))


@mutant(breaks="FAIL-07")
def tells_the_last_retry_after(parts: Components) -> Components:
    """Passes the last Retry-After on instead of the longest."""

    def end(parts: Components, call: Call, failures: Sequence[Failure], told: Refusal) -> Refusal:
        asked_s = [failure.retry_after_s for failure in failures if failure.retry_after_s is not None]
        if told.name != "upstream_rate_limited" or not asked_s:
            return told
        headers = dict.fromkeys(told.headers, str(max(1, math.ceil(asked_s[-1]))))
        return Refusal(told.name, told.message, headers=headers)

    return _ending(parts, end)


@mutant(breaks="FAIL-07")
def tells_no_retry_after_of_its_own(parts: Components) -> Components:
    """Leaves Retry-After out of a 429 where no upstream told one."""

    def end(parts: Components, call: Call, failures: Sequence[Failure], told: Refusal) -> Refusal:
        asked = any(failure.retry_after_s is not None for failure in failures)
        return told if asked or told.name != "upstream_rate_limited" else Refusal(told.name, told.message)

    return _ending(parts, end)


@mutant(breaks="FAIL-07")
def calls_open_circuits_a_timeout(parts: Components) -> Components:
    """Answers 504 when every circuit was open."""

    class Coarse(Admission):
        def circuits_open(self, parts: Components, call: Call) -> Refusal:
            return _renamed(super().circuits_open(parts, call), "upstream_timeout")

    return replace(parts, admission=Coarse(parts.contract))


@mutant(breaks="FAIL-07")
def calls_it_a_failure_if_all_probes_are_out(parts: Components) -> Components:
    """Answers 502 to a call that no target was asked for, because others are probing them all."""

    def end(parts: Components, call: Call, failures: Sequence[Failure], told: Refusal) -> Refusal:
        return told if failures else Refusal("upstream_error", told.message)

    return _ending(parts, end)


@mutant(breaks="FAIL-07")
def passes_an_upstreams_words_on_unread(parts: Components) -> Components:
    """Lets addresses and keys through that stand in an error's message."""

    class Blind(Redactor):
        def clean(self, text: str, limit: int = 2_000) -> str:
            return text[:limit]

    return replace(parts, errors=ErrorWriter(parts.contract, Blind(parts.deployment)))


@mutant(breaks="FAIL-07")
def tells_where_it_looked_in_a_header(parts: Components) -> Components:
    """Names the last target's address in a header of the error."""

    def end(parts: Components, call: Call, failures: Sequence[Failure], told: Refusal) -> Refusal:
        assert call.model is not None
        url = parts.upstream.url(call, parts.router.chain(call.model)[-1])
        return Refusal(told.name, told.message, headers={**told.headers, "x-upstream": str(url)})

    return _ending(parts, end)


@mutant(breaks="FAIL-07")
def bills_the_prompt_of_a_call_that_nobody_answered(parts: Components) -> Components:
    """Charges the price of the prompt when every target failed."""

    class Charging(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if call.hold is not None and call.hold.open and refusal.name == "upstream_error":
                assert call.model is not None
                await parts.ledger.post(call.hold, parts.prices.estimate(call.model, call.prompt_tokens, 0))
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Charging())


def _breaking_off(parts: Components, end: Callable[[Pipeline, Components, Call, Refusal], None]) -> Components:
    """Return a gateway that ends a stream that has had pings, but no content, by ``end``."""

    class Other(Pipeline):
        async def break_off(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if call.content_passed:
                await super().break_off(parts, call, refusal)
                return
            assert call.out is not None
            end(self, parts, call, refusal)
            call.out.end()
            await call.out.flushed()

    return replace(parts, pipeline=Other())


def _event(parts: Components, call: Call, refusal: Refusal) -> bytes:
    return call.surface.error_event(parts.errors.body(refusal, call.request_id), call.state)


@mutant(breaks="FAIL-07")
def says_nothing_after_pings(parts: Components) -> Components:
    """Ends a stream that had nothing but pings without a word when every target failed."""
    return _breaking_off(parts, lambda pipeline, parts, call, refusal: None)


@mutant(breaks="FAIL-07")
def says_it_twice_after_pings(parts: Components) -> Components:
    """Sends two error events to a stream that had nothing but pings."""

    def end(pipeline: Pipeline, parts: Components, call: Call, refusal: Refusal) -> None:
        assert call.out is not None
        call.out.write(_event(parts, call, refusal) * 2)

    return _breaking_off(parts, end)


@mutant(breaks="FAIL-07")
def forgets_the_kind_of_error_after_pings(parts: Components) -> Components:
    """Calls every error an upstream's failure once the head of a stream is sent."""

    def end(pipeline: Pipeline, parts: Components, call: Call, refusal: Refusal) -> None:
        assert call.out is not None
        call.out.write(_event(parts, call, _renamed(refusal, "upstream_error")))

    return _breaking_off(parts, end)


@mutant(breaks="FAIL-07")
def says_that_it_is_done_after_the_error(parts: Components) -> Components:
    """Ends a failed stream of chat with the protocol's own end."""

    def end(pipeline: Pipeline, parts: Components, call: Call, refusal: Refusal) -> None:
        assert call.out is not None
        done = b"data: [DONE]\n\n" if call.surface.name == "chat" else b""
        call.out.write(_event(parts, call, refusal) + done)

    return _breaking_off(parts, end)


@mutant(breaks="FAIL-07")
def takes_its_pings_for_content(parts: Components) -> Components:
    """Tries no other target once the client has had a ping."""

    class Shy(Relay):
        def committed(self, call: Call) -> bool:
            return super().committed(call) or call.begun

    return replace(parts, relay=Shy(parts.contract))
