"""Mutants that take broken answers for answers, or give up on them (FAIL-04)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.passage import Passage
from harness.gateway.relay import Answer, Relay
from harness.gateway.surfaces import Surface
from harness.gateway.surfaces.base import Declined
from harness.gateway.upstream import UpstreamAnswer
from harness.mutants.failover import giving_up
from harness.mutants.registry import mutant


@mutant(breaks="FAIL-04")
def gives_up_where_nobody_listens(parts: Components) -> Components:
    """Answers 502 at the first target that cannot be reached."""
    return giving_up(parts, lambda call, failure: failure.kind in ("refused", "tls", "unreachable"))


@mutant(breaks="FAIL-04")
def gives_up_on_a_failed_handshake(parts: Components) -> Components:
    """Answers 502 when a target's TLS handshake fails; one that refuses connections is passed over."""
    return giving_up(parts, lambda call, failure: failure.kind == "tls")


@mutant(breaks="FAIL-04")
def gives_up_on_a_reset(parts: Components) -> Components:
    """Answers 502 when a target resets its connection."""
    return giving_up(parts, lambda call, failure: failure.kind == "reset")


@mutant(breaks="FAIL-04")
def gives_up_on_half_a_body(parts: Components) -> Components:
    """Answers 502 when the body of an unstreamed answer breaks off."""
    return giving_up(parts, lambda call, failure: failure.kind in ("cut", "malformed") and not call.stream)


@mutant(breaks="FAIL-04")
def gives_up_on_an_empty_answer(parts: Components) -> Components:
    """Answers 502 when a success has no body."""
    return giving_up(parts, lambda call, failure: failure.kind == "empty" and not call.stream)


@mutant(breaks="FAIL-04")
def gives_up_on_a_page(parts: Components) -> Components:
    """Answers 502 when a proxy in between answers with a page of its own."""
    return giving_up(parts, lambda call, failure: failure.kind == "wrong_type")


@mutant(breaks="FAIL-04")
def gives_up_on_a_first_event_that_is_an_error(parts: Components) -> Components:
    """Answers 502 when a stream begins with its provider's error event."""
    return giving_up(parts, lambda call, failure: failure.kind == "error_event")


@mutant(breaks="FAIL-04")
def fails_over_before_the_head_alone(parts: Components) -> Components:
    """Takes the head of a stream for an answer that no other can replace."""

    class Hasty(Relay):
        def committed(self, call: Call) -> bool:
            return call.state is not None

    return replace(parts, relay=Hasty(parts.contract))


@mutant(breaks="FAIL-04")
def takes_a_stream_without_events_for_an_answer(parts: Components) -> Components:
    """Ends the client's stream without a word, and well, when its upstream's had no event."""

    class Content(Relay):
        def ended_early(self, passage: Passage) -> str:
            return "" if not passage.events and not passage.broken else super().ended_early(passage)

    return replace(parts, relay=Content(parts.contract))


@mutant(breaks="FAIL-04")
def passes_an_error_in_a_200_on(parts: Components) -> Components:
    """Takes any JSON object under a 200 for an answer, error objects too."""

    def trusting(surface: Surface) -> Surface:
        class Trusting(type(surface)):  # type: ignore[misc] # the class of whatever surface it is
            def verify(self, answer: Any) -> dict[str, Any]:
                try:
                    return super().verify(answer)  # type: ignore[no-any-return] # as above
                except Declined:
                    return dict(answer)

        return Trusting()

    return replace(parts, surfaces={name: trusting(surface) for name, surface in parts.surfaces.items()})


@mutant(breaks="FAIL-04")
def never_looks_at_the_content_type(parts: Components) -> Components:
    """Takes a body for what it should be, whatever its content type says that it is."""

    class Trusting(Relay):
        async def whole(self, parts: Components, call: Call, upstream: UpstreamAnswer) -> Answer:
            upstream.media_type = "application/json"
            return await super().whole(parts, call, upstream)

        async def stream(self, parts: Components, call: Call, upstream: UpstreamAnswer) -> Answer:
            upstream.media_type = "text/event-stream"
            return await super().stream(parts, call, upstream)

    return replace(parts, relay=Trusting(parts.contract))
