"""Mutants that hide how a stream broke: spliced, closed as if whole, or broken off in another's form (FAIL-08)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.passage import Passage
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Relay
from harness.gateway.sse import Event
from harness.gateway.surfaces import Surface
from harness.gateway.surfaces.base import Body, Kind, Malformed, StreamState
from harness.mutants.registry import mutant


@mutant(breaks="FAIL-08")
def splices_a_second_answer(parts: Components) -> Components:
    """Fails over in mid-stream and puts the second answer behind the first."""

    class Splicing(Relay):
        def committed(self, call: Call) -> bool:
            return False

    return replace(parts, relay=Splicing(parts.contract))


@mutant(breaks="FAIL-08")
def splices_behind_thoughts(parts: Components) -> Components:
    """Takes text alone for content: behind thinking or tool calls it fails over."""

    class Texts(Passage):
        def take(self, chunk: bytes) -> bytes:
            out = super().take(chunk)
            if b"text_delta" in out or b"output_text.delta" in out or b'"content":"' in out:
                spoken.add(self.state)
            return out

    class Deaf(Relay):
        def passage(self, call: Call) -> Passage:
            passage = Texts(call.surface, call.asked)
            call.state = passage.state
            return passage

        def committed(self, call: Call) -> bool:
            return super().committed(call) and call.state in spoken

    spoken: set[StreamState] = set()
    return replace(parts, relay=Deaf(parts.contract))


@mutant(breaks="FAIL-08")
def ends_truncated_streams_as_if_whole(parts: Components) -> Components:
    """Takes the end of a stream for its terminal event."""

    class Trusting(Relay):
        def ended_early(self, passage: Passage) -> str:
            return "" if passage.content else super().ended_early(passage)

    return replace(parts, relay=Trusting(parts.contract))


@mutant(breaks="FAIL-08")
def takes_the_usage_for_the_end(parts: Components) -> Components:
    """Takes a stream that told its usage for whole, though its terminal event never came."""

    class Content(Relay):
        def ended_early(self, passage: Passage) -> str:
            return "" if passage.ending and not passage.broken else super().ended_early(passage)

    return replace(parts, relay=Content(parts.contract))


@mutant(breaks="FAIL-08")
def passes_over_what_it_cannot_read(parts: Components) -> Components:
    """Leaves a malformed event out of a stream and goes on."""

    def lenient(surface: Surface) -> Surface:
        class Lenient(type(surface)):  # type: ignore[misc] # the class of whatever surface it is
            def read(self, event: Event, state: StreamState) -> Kind:
                try:
                    return super().read(event, state)  # type: ignore[no-any-return] # as above
                except Malformed:
                    return "noise"

        return Lenient()

    return replace(parts, surfaces={name: lenient(surface) for name, surface in parts.surfaces.items()})


def _breaking_off(parts: Components, last: bytes | None = None, surface: str = "") -> Components:
    """Return a gateway that ends a stream that had content with ``last``, or without any end at all."""

    class Other(Pipeline):
        async def break_off(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if not call.content_passed or surface not in ("", call.surface.name):
                await super().break_off(parts, call, refusal)
                return
            assert call.out is not None
            if last is None:
                await asyncio.sleep(0.001)  # what came before goes out
                call.out.abandon()
                return
            call.out.write(last)
            call.out.end()
            await call.out.flushed()

    return replace(parts, pipeline=Other())


@mutant(breaks="FAIL-08")
def closes_a_broken_stream_without_a_word(parts: Components) -> Components:
    """Ends the client's body cleanly where the upstream's stream broke."""
    return _breaking_off(parts, b"")


@mutant(breaks="FAIL-08")
def cuts_the_client_off_as_it_was_cut_off(parts: Components) -> Components:
    """Breaks the client's connection where the upstream's stream broke, and says nothing."""
    return _breaking_off(parts)


@mutant(breaks="FAIL-08")
def invents_a_finish_reason(parts: Components) -> Components:
    """Ends a broken stream of chat with a finish reason that no upstream gave."""
    chunk = b'data: {"id":"x","object":"chat.completion.chunk","created":0,"model":"m","choices":'
    finish = b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    return _breaking_off(parts, chunk + finish + b"data: [DONE]\n\n", "chat")


@mutant(breaks="FAIL-08")
def breaks_every_stream_off_in_chats_form(parts: Components) -> Components:
    """Sends one form of error event on every surface."""

    def alike(surface: Surface) -> Surface:
        class Alike(type(surface)):  # type: ignore[misc] # the class of whatever surface it is
            def error_event(self, error: Body, state: StreamState | None) -> bytes:
                return Surface.error_event(self, error, state)

        return Alike()

    return replace(parts, surfaces={name: alike(surface) for name, surface in parts.surfaces.items()})
