"""Mutants of chat completions: answers of another shape, streams held back or ended wrongly, tool calls changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.passage import Passage
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer, Relay
from harness.gateway.sse import Event
from harness.gateway.surfaces.base import Kind, StreamState, rewrite
from harness.gateway.surfaces.chat import DONE, Chat
from harness.mutants.registry import mutant
from harness.mutants.swaps import Json, answering, with_passage, with_surface

# CHAT-01: the answer.


@mutant(breaks="CHAT-01")
def names_the_upstreams_model(parts: Components) -> Components:
    """Answers with the id by which the upstream knows the model."""

    class Honest(Chat):
        def finished(self, answer: Json, asked: str, hypereal: Mapping[str, Any] | None) -> bytes:
            return super().finished(answer, answer.get("model", asked), hypereal)

    return with_surface(parts, Honest())


@mutant(breaks="CHAT-01")
def renames_the_first_chunk_alone(parts: Components) -> Components:
    """Names the model that was asked for in a stream's first chunk, and the upstream's in all others."""

    class Once(Chat):
        def read(self, event: Event, state: StreamState) -> Kind:
            raw = event.raw
            kind = super().read(event, state)
            if state.sequence == 0:
                event.raw = raw
            state.sequence = 0
            return kind

    return with_surface(parts, Once())


@mutant(breaks="CHAT-01")
def calls_chat_a_text_completion(parts: Components) -> Components:
    """Calls an answer by the name that the older completions had."""
    return answering(parts, Chat, lambda answer: {**answer, "object": "text_completion"})


@mutant(breaks="CHAT-01")
def loses_the_role_of_the_answer(parts: Components) -> Components:
    """Leaves the role out of an unstreamed answer's message."""

    def roleless(answer: Json) -> Json:
        for choice in answer["choices"]:
            choice["message"].pop("role", None)
        return answer

    return answering(parts, Chat, roleless)


@mutant(breaks="CHAT-01")
def keeps_the_usage_of_chat_to_itself(parts: Components) -> Components:
    """Bills an unstreamed answer on its usage, and does not tell it."""

    def without(answer: Json) -> Json:
        answer.pop("usage", None)
        return answer

    return answering(parts, Chat, without)


@mutant(breaks="CHAT-01")
def answers_two_callers_with_one_answer(parts: Components) -> Components:
    """Lets a chat call wait for another one that asks the same model, and answers both with one answer."""
    under_way: dict[str, asyncio.Future[Answer]] = {}

    class Sharing(Relay):
        async def run(self, parts: Components, call: Call) -> Answer:
            if call.stream or call.surface.name != "chat":
                return await super().run(parts, call)
            running = under_way.get(call.asked)
            if running is not None:
                await asyncio.wait((running,))
                if running.cancelled():  # the other one has no answer to share
                    return await super().run(parts, call)
                call.ended_us = parts.clock.now_us()
                return copied(running.result())
            running = under_way[call.asked] = asyncio.get_running_loop().create_future()
            try:
                answer = await super().run(parts, call)
                running.set_result(copied(answer))
                return answer
            finally:
                running.cancel()
                del under_way[call.asked]

    def copied(answer: Answer) -> Answer:
        return Answer(answer.usage, body=orjson.loads(orjson.dumps(answer.body)))

    return replace(parts, relay=Sharing(parts.contract))


# CHAT-02: streams.


@mutant(breaks="CHAT-02")
def buffers_whole_streams(parts: Components) -> Components:
    """Lets a stream out when it is over."""

    class Buffered(Passage):
        def take(self, chunk: bytes) -> bytes:
            self.ending = True
            return super().take(chunk)

    return with_passage(parts, Buffered)


@mutant(breaks="CHAT-02")
def buffers_tool_calls(parts: Components) -> Components:
    """Lets a stream's tool calls out when they are complete, and text as it comes."""

    class Buffered(Passage):
        def take(self, chunk: bytes) -> bytes:
            self.ending = self.ending or b'"tool_calls":[' in chunk or b"input_json_delta" in chunk
            return super().take(chunk)

    return with_passage(parts, Buffered)


@mutant(breaks="CHAT-02")
def ends_chat_streams_without_done(parts: Components) -> Components:
    """Ends a chat stream behind its usage."""
    return _ending(parts, lambda call, held: [event for event in held if event.data != DONE])


@mutant(breaks="CHAT-02")
def tells_usage_behind_done(parts: Components) -> Components:
    """Sends a chat stream's usage when the stream is over for its reader."""
    return _ending(parts, lambda call, held: sorted(held, key=_tells_usage))


@mutant(breaks="CHAT-02")
def tells_usage_only_if_asked(parts: Components) -> Components:
    """Takes the usage out of a stream whose client did not ask for it."""

    def wanted(call: Call, held: list[Event]) -> list[Event]:
        options = call.body.get("stream_options") or {}
        return held if options.get("include_usage") else [event for event in held if not _tells_usage(event)]

    return _ending(parts, wanted)


@mutant(breaks="CHAT-02")
def leaves_usage_to_the_clients_options(parts: Components) -> Components:
    """Asks the upstream of a stream for usage unless the client said that it wants none."""

    class Obedient(Chat):
        def upstream_body(self, body: Mapping[str, Any], upstream_model: str) -> bytes:
            sent = orjson.loads(super().upstream_body(body, upstream_model))
            if (body.get("stream_options") or {}).get("include_usage") is False:
                sent["stream_options"]["include_usage"] = False
            return orjson.dumps(sent)

    return with_surface(parts, Obedient())


@mutant(breaks="CHAT-02")
def drops_usage_beside_choices(parts: Components) -> Components:
    """Knows usage only in a chunk without choices, and takes it out of one that has the finish reason."""

    class Strict(Chat):
        def read(self, event: Event, state: StreamState) -> Kind:
            kind = super().read(event, state)
            if kind == "usage" and event.value["choices"]:
                event.value["usage"] = None
                rewrite(event)
            return kind

    return with_surface(parts, Strict())


# CHAT-04: tool calls.


@mutant(breaks="CHAT-04")
def gives_tool_calls_ids_of_its_own(parts: Components) -> Components:
    """Numbers the tool calls of an unstreamed answer anew."""

    def renamed(answer: Json) -> Json:
        for n, call in enumerate(_tool_calls(answer)):
            call["id"] = f"call_{n}"
        return answer

    return answering(parts, Chat, renamed)


@mutant(breaks="CHAT-04")
def writes_tool_arguments_anew(parts: Components) -> Components:
    """Parses the arguments of a tool call and writes them again in its own manner."""

    def rewritten(answer: Json) -> Json:
        for call in _tool_calls(answer):
            value = orjson.loads(call["function"]["arguments"])
            call["function"]["arguments"] = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
        return answer

    return answering(parts, Chat, rewritten)


@mutant(breaks="CHAT-04")
def puts_all_fragments_into_the_first_tool_call(parts: Components) -> Components:
    """Streams the second of two tool calls under the index of the first."""
    return _streaming(parts, lambda delta: [call.update(index=0) for call in delta.get("tool_calls") or ()] != [])


@mutant(breaks="CHAT-04")
def drops_fragments_without_arguments(parts: Components) -> Components:
    """Takes a fragment with no arguments yet, which opens a tool call, for empty."""

    class Pruning(Chat):
        def read(self, event: Event, state: StreamState) -> Kind:
            kind = super().read(event, state)
            calls = _delta(event).get("tool_calls") or []
            empty = calls and not any(call.get("function", {}).get("arguments") for call in calls)
            return "noise" if empty else kind

    return with_surface(parts, Pruning())


@mutant(breaks="CHAT-04")
def joins_argument_fragments(parts: Components) -> Components:
    """Holds a tool call's second fragment back and sends it together with the third."""

    class Joining(Chat):
        def read(self, event: Event, state: StreamState) -> Kind:
            kind = super().read(event, state)
            calls = _delta(event).get("tool_calls") or []
            text = calls[0].get("function", {}).get("arguments") if len(calls) == 1 else ""
            if not text:
                return kind
            if state.opening is None:
                state.opening = text
                return "noise"
            calls[0]["function"]["arguments"] = state.opening + text
            state.opening = None
            rewrite(event)
            return kind

    return with_surface(parts, Joining())


def _delta(event: Event) -> Json:
    choices = event.value.get("choices") if event.value is not None else None
    delta: Json = choices[0]["delta"] if choices else {}
    return delta


def _tool_calls(answer: Json) -> list[Json]:
    return [call for choice in answer["choices"] for call in choice["message"].get("tool_calls") or ()]


def _tells_usage(event: Event) -> bool:
    return event.value is not None and event.value.get("usage") is not None and not event.value.get("choices", [1])


def _streaming(parts: Components, change: Callable[[Json], bool]) -> Components:
    """Return ``parts`` that write a chat chunk anew if ``change`` says that it changed its delta."""

    class Changing(Chat):
        def read(self, event: Event, state: StreamState) -> Kind:
            kind = super().read(event, state)
            if change(_delta(event)):
                rewrite(event)
            return kind

    return with_surface(parts, Changing())


def _ending(parts: Components, change: Callable[[Call, list[Event]], list[Event]]) -> Components:
    """Return ``parts`` that end a chat stream with ``change(call, held)``, ``held`` being what was held back."""

    class Changing(Pipeline):
        async def finish_stream(self, parts: Components, call: Call, answer: Answer) -> None:
            if call.surface.name == "chat":
                answer.held = change(call, answer.held)
            await super().finish_stream(parts, call, answer)

    return replace(parts, pipeline=Changing())
