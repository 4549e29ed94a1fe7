"""Mutants of the Responses API: places, items, typed events, streams that nobody asked for, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.failures import AttemptFailed
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer, Relay
from harness.gateway.settlement import Settler
from harness.gateway.sse import Event
from harness.gateway.surfaces.chat import Chat
from harness.gateway.surfaces.messages import Messages
from harness.gateway.surfaces.responses import Responses
from harness.gateway.usage import Usage
from harness.mutants.hosts import lost
from harness.mutants.registry import mutant
from harness.mutants.swaps import Json, answering, dropping, rewriting, with_surface

_KNOWN_ITEMS = ("message", "reasoning", "function_call")


# RESP-01: places and items.


@mutant(breaks="RESP-01")
def knows_no_codex_path(parts: Components) -> Components:
    """Answers 404 where Codex looks for responses."""
    return lost(parts, lambda call: "/codex/" in call.endpoint.path)


@mutant(breaks="RESP-01")
def answers_with_the_items_it_knows(parts: Components) -> Components:
    """Leaves output items of other types out of an unstreamed response."""

    def known(answer: Json) -> Json:
        answer["output"] = [item for item in answer["output"] if item["type"] in _KNOWN_ITEMS]
        return answer

    return answering(parts, Responses, known)


@mutant(breaks="RESP-01")
def answers_without_encrypted_reasoning(parts: Components) -> Components:
    """Takes what it cannot read out of the reasoning items of an unstreamed response."""

    def readable(answer: Json) -> Json:
        for item in answer["output"]:
            item.pop("encrypted_content", None)
        return answer

    return answering(parts, Responses, readable)


@mutant(breaks="RESP-01")
def keeps_the_usage_of_responses_to_itself(parts: Components) -> Components:
    """Bills an unstreamed response on its usage, and does not tell it."""
    return answering(
        parts, Responses, lambda answer: {name: value for name, value in answer.items() if name != "usage"}
    )


# RESP-02: typed events.


@mutant(breaks="RESP-02")
def drops_reasoning_events(parts: Components) -> Components:
    """Passes a response's reasoning on when it is done, and not as it is told."""
    return dropping(parts, Responses, lambda event: event["type"].startswith("response.reasoning"))


@mutant(breaks="RESP-02")
def begins_responses_without_created(parts: Components) -> Components:
    """Leaves out the event that opens a response."""
    return dropping(parts, Responses, lambda event: event["type"] == "response.created")


@mutant(breaks="RESP-02")
def drops_items_that_are_done(parts: Components) -> Components:
    """Leaves out the event that closes a function call, without which Codex runs nothing."""
    return dropping(
        parts,
        Responses,
        lambda event: event["type"] == "response.output_item.done" and event["item"]["type"] == "function_call",
    )


@mutant(breaks="RESP-02")
def completes_responses_without_output(parts: Components) -> Components:
    """Empties the output of response.completed, which SDKs take the final response from."""

    def emptied(event: Json) -> bool:
        if event["type"] != "response.completed":
            return False
        event["response"]["output"] = []
        return True

    return rewriting(parts, Responses, emptied)


@mutant(breaks="RESP-02")
def numbers_no_event(parts: Components) -> Components:
    """Takes the sequence numbers out of a response's events."""
    return rewriting(parts, Responses, lambda event: event.pop("sequence_number", None) is not None)


@mutant(breaks="RESP-02")
def ends_responses_with_done(parts: Components) -> Components:
    """Ends a response as a chat stream, with [DONE]."""

    class Chatty(Pipeline):
        async def finish_stream(self, parts: Components, call: Call, answer: Answer) -> None:
            if call.surface.name == "responses":
                answer.held.append(Event(b"", b"[DONE]", b"data: [DONE]\n\n"))
            await super().finish_stream(parts, call, answer)

    return replace(parts, pipeline=Chatty())


# RESP-03: streams that nobody asked for.


@mutant(breaks="RESP-03")
def takes_an_unasked_stream_for_a_failure(parts: Components) -> Components:
    """Fails over from an upstream that streams although nobody asked it to."""

    class Strict(Relay):
        def gathered(self, parts: Components, call: Call, body: bytes) -> Answer:
            raise AttemptFailed(parts.failures.of_answer("wrong_type"))

    return replace(parts, relay=Strict(parts.contract))


@mutant(breaks="RESP-03")
def gathers_text_alone(parts: Components) -> Components:
    """Leaves tool calls out when it makes a chat answer of a stream."""

    class Wordy(Chat):
        def gather(self, events: Sequence[Event]) -> Json:
            made = super().gather(events)
            for choice in made["choices"]:
                choice["message"].pop("tool_calls", None)
            return made

    return with_surface(parts, Wordy())


@mutant(breaks="RESP-03")
def gathers_tool_calls_by_arrival(parts: Components) -> Components:
    """Joins argument fragments to the first tool call, whatever their index."""

    class Simple(Chat):
        def gather(self, events: Sequence[Event]) -> Json:
            for event in events:
                for choice in (event.value or {}).get("choices", ()):
                    for call in choice["delta"].get("tool_calls") or ():
                        call["index"] = 0
            return super().gather(events)

    return with_surface(parts, Simple())


@mutant(breaks="RESP-03")
def gathers_every_finish_as_stop(parts: Components) -> Components:
    """Invents the finish reason when it makes a chat answer of a stream."""

    class Inventing(Chat):
        def gather(self, events: Sequence[Event]) -> Json:
            made = super().gather(events)
            for choice in made["choices"]:
                choice["finish_reason"] = "stop"
            return made

    return with_surface(parts, Inventing())


@mutant(breaks="RESP-03")
def gathers_no_signatures(parts: Components) -> Components:
    """Forgets signature deltas when it makes a message of a stream."""

    class Unsigned(Messages):
        def gather(self, events: Sequence[Event]) -> Json:
            signed = ((event.value.get("delta") or {}).get("type") == "signature_delta" for event in events)
            return super().gather([event for event, sign in zip(events, signed, strict=True) if not sign])

    return with_surface(parts, Unsigned())


@mutant(breaks="RESP-03")
def gathers_the_usage_that_a_message_began_with(parts: Components) -> Components:
    """Takes a gathered message's usage from its start, where the output is yet to come."""

    class Early(Messages):
        def gather(self, events: Sequence[Event]) -> Json:
            made = super().gather(events)
            opening = next(event.value["message"] for event in events if event.value["type"] == "message_start")
            return {**made, "usage": opening["usage"]}

    return with_surface(parts, Early())


@mutant(breaks="RESP-03")
def answers_json_as_a_stream(parts: Components) -> Components:
    """Sends the whole answer that it made of a stream under the stream's content type."""

    class Mislabelled(Pipeline):
        async def answer_whole(self, parts: Components, call: Call, answer: Answer) -> None:
            if call.state is not None and call.surface.name == "responses":
                respond = call.client._send

                async def relabelled(message: Any) -> None:
                    if message["type"] == "http.response.start":
                        kept = [(n, v) for n, v in message["headers"] if n != b"content-type"]
                        message = {**message, "headers": [*kept, (b"content-type", b"text/event-stream")]}
                    await respond(message)

                call.client._send = relabelled
            await super().answer_whole(parts, call, answer)

    return replace(parts, pipeline=Mislabelled())


# RESP-04: what they cost.


@mutant(breaks="RESP-04")
def streams_responses_for_free(parts: Components) -> Components:
    """Prices a streamed response at nothing."""
    return _pricing(parts, lambda call, usage: Usage(0, 0, 0, 0) if call.stream else usage)


@mutant(breaks="RESP-04")
def bills_responses_on_their_output_alone(parts: Components) -> Components:
    """Forgets the input of a response, and bills the rest."""
    return _pricing(parts, lambda call, usage: replace(usage, input=0))


@mutant(breaks="RESP-04")
def bills_the_reasoning_of_responses_twice(parts: Components) -> Components:
    """Adds the reasoning tokens to the output that has them in it."""

    class Twice(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            made = super().usage(call, answer)
            if made is None or call.surface.name != "responses":
                return made
            details = answer.usage.get("output_tokens_details") or {}
            return replace(made, output=made.output + (details.get("reasoning_tokens") or 0))

    return replace(parts, settler=Twice(parts.contract))


@mutant(breaks="RESP-04")
def bills_streamed_responses_by_their_events(parts: Components) -> Components:
    """Takes each event of a streamed response for a token of output."""

    class Counting(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            made = super().usage(call, answer)
            if made is None or call.surface.name != "responses" or call.state is None:
                return made
            return replace(made, output=call.state.sequence)

    return replace(parts, settler=Counting(parts.contract))


def _pricing(parts: Components, change: Callable[[Call, Usage], Usage]) -> Components:
    """Return ``parts`` that bill ``change(call, usage)`` for a response."""

    class Changing(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            return super().cost(parts, call, change(call, usage) if call.surface.name == "responses" else usage)

    return replace(parts, settler=Changing(parts.contract))
