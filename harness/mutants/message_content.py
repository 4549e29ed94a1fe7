"""Mutants that change what messages say on their way back: events, thinking, signatures, tools (MSG-02, 04, 05)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import orjson

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer
from harness.gateway.sse import Event
from harness.gateway.surfaces.base import Kind, StreamState
from harness.gateway.surfaces.messages import Messages
from harness.mutants.registry import mutant
from harness.mutants.swaps import Json, answering, dropping, rewriting, with_surface

# MSG-02: streams.


@mutant(breaks="MSG-02")
def drops_signature_deltas(parts: Components) -> Components:
    """Passes on the kinds of deltas that it knows, and signatures are none of them."""
    return dropping(parts, Messages, lambda event: (event.get("delta") or {}).get("type") == "signature_delta")


@mutant(breaks="MSG-02")
def drops_thinking_deltas(parts: Components) -> Components:
    """Keeps a stream's thinking to itself."""
    return dropping(parts, Messages, lambda event: (event.get("delta") or {}).get("type") == "thinking_delta")


@mutant(breaks="MSG-02")
def drops_the_end_of_blocks(parts: Components) -> Components:
    """Passes no content_block_stop on."""
    return dropping(parts, Messages, lambda event: event["type"] == "content_block_stop")


@mutant(breaks="MSG-02")
def drops_the_usage_of_message_delta(parts: Components) -> Components:
    """Passes a stream's stop reason on without the usage beside it."""
    return rewriting(
        parts, Messages, lambda event: event["type"] == "message_delta" and event.pop("usage", None) is not None
    )


@mutant(breaks="MSG-02")
def tells_the_input_of_a_stream_as_zero(parts: Components) -> Components:
    """Tells the output tokens of a stream's end and zeros for all others."""

    def zeroed(event: Json) -> bool:
        if event["type"] != "message_delta" or not isinstance(event.get("usage"), dict):
            return False
        event["usage"] = {name: n if name.startswith("output") else 0 for name, n in event["usage"].items()}
        return True

    return rewriting(parts, Messages, zeroed)


@mutant(breaks="MSG-02")
def ends_messages_before_their_stop_reason(parts: Components) -> Components:
    """Sends message_stop before message_delta."""

    class Hasty(Pipeline):
        async def finish_stream(self, parts: Components, call: Call, answer: Answer) -> None:
            if call.surface.name == "messages":
                answer.held.sort(key=lambda event: event.value["type"] == "message_delta")
            await super().finish_stream(parts, call, answer)

    return replace(parts, pipeline=Hasty())


@mutant(breaks="MSG-02")
def drops_the_input_of_streamed_tools(parts: Components) -> Components:
    """Passes a tool's block on without the fragments of its input."""
    return dropping(parts, Messages, lambda event: (event.get("delta") or {}).get("type") == "input_json_delta")


@mutant(breaks="MSG-02")
def streams_events_without_their_names(parts: Components) -> Components:
    """Writes a messages stream's events as OpenAI's are written, without their event field."""

    class Nameless(Messages):
        def read(self, event: Event, state: StreamState) -> Kind:
            kind = super().read(event, state)
            event.name = b""
            event.raw = event.raw.partition(b"\n")[2] if event.raw.startswith(b"event:") else event.raw
            return kind

    return with_surface(parts, Nameless())


# MSG-04 and MSG-05: thinking and tools on their way back.


@mutant(breaks="MSG-04")
def answers_without_signatures(parts: Components) -> Components:
    """Leaves the signature out of an unstreamed answer's thinking."""
    return changing_blocks(parts, lambda block: block.pop("signature", None))


@mutant(breaks="MSG-04")
def cleans_signatures(parts: Components) -> Components:
    """Takes everything out of an unstreamed answer's signatures that is no letter and no digit."""

    def stripped(block: Json) -> None:
        if "signature" in block:
            block["signature"] = "".join(filter(str.isalnum, block["signature"]))

    return changing_blocks(parts, stripped)


@mutant(breaks="MSG-04")
def trims_thinking(parts: Components) -> Components:
    """Strips the space off the end of an unstreamed answer's thinking."""

    def trimmed(block: Json) -> None:
        if "thinking" in block:
            block["thinking"] = block["thinking"].strip()

    return changing_blocks(parts, trimmed)


@mutant(breaks="MSG-04")
def drops_redacted_thinking(parts: Components) -> Components:
    """Leaves thinking that nobody can read out of an unstreamed answer."""

    def readable(answer: Json) -> Json:
        answer["content"] = [block for block in answer["content"] if block["type"] != "redacted_thinking"]
        return answer

    return answering(parts, Messages, readable)


@mutant(breaks="MSG-05")
def writes_tool_input_as_text(parts: Components) -> Components:
    """Gives a tool's input back as a string of JSON, as OpenAI's format has it."""

    def written(block: Json) -> None:
        if block["type"] == "tool_use":
            block["input"] = orjson.dumps(block["input"]).decode()

    return changing_blocks(parts, written)


@mutant(breaks="MSG-05")
def streams_tool_ids_of_its_own(parts: Components) -> Components:
    """Gives the tool calls of a stream ids of its own."""

    def renamed(event: Json) -> bool:
        block = event.get("content_block") or {}
        if block.get("type") != "tool_use":
            return False
        block["id"] = f"toolu_{event['index']}"
        return True

    return rewriting(parts, Messages, renamed)


def changing_blocks(parts: Components, change: Callable[[Json], object]) -> Components:
    """Return ``parts`` that make ``change`` to each content block of an unstreamed message."""

    def changed(answer: Json) -> Json:
        for block in answer["content"]:
            change(block)
        return answer

    return answering(parts, Messages, changed)
