"""Mutants that misread streams in other packets or framings (CHAT-07), or keep silent with the upstream (MSG-03)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.gateway.asgi import Client, ClientStream, Headers
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.failures import Failure
from harness.gateway.passage import Passage
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Relay
from harness.gateway.sse import Event, EventReader
from harness.gateway.surfaces import Surface
from harness.gateway.surfaces.base import Kind, StreamState, rewrite
from harness.gateway.surfaces.chat import Chat
from harness.gateway.surfaces.messages import Messages
from harness.gateway.surfaces.responses import Responses
from harness.mutants.registry import mutant
from harness.mutants.swaps import with_passage, with_surface

# CHAT-07: packets and framings.


@mutant(breaks="CHAT-07")
def decodes_each_packet_by_itself(parts: Components) -> Components:
    """Puts replacement characters where a packet ends inside a character."""

    class Decoding(Passage):
        def take(self, chunk: bytes) -> bytes:
            return super().take(chunk.decode("utf-8", "replace").encode())

    return with_passage(parts, Decoding)


@mutant(breaks="CHAT-07")
def takes_each_packet_for_an_event(parts: Components) -> Components:
    """Forgets what a packet holds behind its last whole event."""

    class Packets(EventReader):
        def feed(self, chunk: bytes) -> list[Event]:
            found = super().feed(chunk)
            self._buffer.clear()
            return found

    return _reading(parts, Packets)


@mutant(breaks="CHAT-07")
def knows_lf_alone(parts: Components) -> Components:
    """Ends an event at two line feeds, and at nothing else."""

    class Unix(EventReader):
        def _with_lf(self, chunk: bytes) -> bytes:
            return chunk

    return _reading(parts, Unix)


@mutant(breaks="CHAT-07")
def takes_a_cut_crlf_for_two_line_ends(parts: Components) -> Components:
    """Forgets between two packets that the first one ended in a CR."""

    class Forgetful(EventReader):
        def feed(self, chunk: bytes) -> list[Event]:
            self._skip_lf = False
            return super().feed(chunk)

    return _reading(parts, Forgetful)


@mutant(breaks="CHAT-07")
def passes_the_last_data_line_on(parts: Components) -> Components:
    """Reads an event of several data lines rightly, and passes the last of them on."""

    class LastLine(EventReader):
        def feed(self, chunk: bytes) -> list[Event]:
            found = super().feed(chunk)
            for event in found:
                lines = event.raw.split(b"\n")
                data = [line for line in lines if line.startswith(b"data:")]
                event.raw = b"\n".join(line for line in lines if line not in data[:-1])
            return found

    return _reading(parts, LastLine)


@mutant(breaks="CHAT-07")
def passes_a_repeated_event_on_once(parts: Components) -> Components:
    """Leaves out an event that is the same as the one before."""

    class Once(EventReader):
        last = b""

        def feed(self, chunk: bytes) -> list[Event]:
            found = []
            for event in super().feed(chunk):
                if event.raw != self.last:
                    found.append(event)
                self.last = event.raw
            return found

    return _reading(parts, Once)


@mutant(breaks="CHAT-07")
def drops_events_that_come_late(parts: Components) -> Components:
    """Leaves out an event of a response whose sequence number is below the last one."""

    class Ordered(Responses):
        def read(self, event: Event, state: StreamState) -> Kind:
            before = state.sequence
            kind = super().read(event, state)
            return "noise" if state.sequence < before else kind

    return with_surface(parts, Ordered())


@mutant(breaks="CHAT-07")
def takes_a_comment_for_the_end_of_an_event(parts: Components) -> Components:
    """Drops the event that a comment stands in front of."""

    class Impatient(EventReader):
        def feed(self, chunk: bytes) -> list[Event]:
            return super().feed(chunk.replace(b": ", b"data: : ", 1) if chunk.startswith(b": ") else chunk)

    return _reading(parts, Impatient)


@mutant(breaks="CHAT-07")
def shares_one_buffer_between_streams(parts: Components) -> Components:
    """Keeps the beginning of an event where every other stream finds it, too."""
    common = bytearray()

    class Common(EventReader):
        def __init__(self) -> None:
            super().__init__()
            self._buffer = common

    return _reading(parts, Common)


@mutant(breaks="CHAT-07")
def reads_lines_of_64_kib(parts: Components) -> Components:
    """Forgets the beginning of a line that is longer than 64 KiB."""

    class Narrow(EventReader):
        def feed(self, chunk: bytes) -> list[Event]:
            found = super().feed(chunk)
            if len(self._buffer) > 1 << 16:
                self._buffer.clear()
            return [event for event in found if len(event.raw) <= 1 << 16]

    return _reading(parts, Narrow)


@mutant(breaks="CHAT-07")
def takes_a_bom_for_text(parts: Components) -> Components:
    """Takes a byte order mark for the beginning of the first field's name."""

    class Literal(EventReader):
        def __init__(self) -> None:
            super().__init__()
            self._at_start = False

    return _reading(parts, Literal)


@mutant(breaks="CHAT-07")
def says_that_every_stream_stopped(parts: Components) -> Components:
    """Tells the finish reason stop for a stream that ended in tool calls."""

    class Stopping(Chat):
        def read(self, event: Event, state: StreamState) -> Kind:
            kind = super().read(event, state)
            choices = event.value.get("choices") if event.value is not None else None
            for choice in choices or ():
                if choice.get("finish_reason") == "tool_calls":
                    choice["finish_reason"] = "stop"
                    rewrite(event)
            return kind

    return with_surface(parts, Stopping())


@mutant(breaks="CHAT-07")
def drops_the_details_of_streamed_usage(parts: Components) -> Components:
    """Passes a stream's usage on without the cached and reasoning tokens that it details."""

    class Coarse(Chat):
        def read(self, event: Event, state: StreamState) -> Kind:
            kind = super().read(event, state)
            if event.value is not None and event.value.get("usage") is not None:
                plain = ("prompt_tokens", "completion_tokens", "total_tokens")
                event.value["usage"] = {name: event.value["usage"].get(name) for name in plain}
                rewrite(event)
            return kind

    return with_surface(parts, Coarse())


@mutant(breaks="CHAT-07")
def trims_streamed_text(parts: Components) -> Components:
    """Strips the spaces off each piece of a stream's text."""

    class Trimming(Messages):
        def read(self, event: Event, state: StreamState) -> Kind:
            kind = super().read(event, state)
            delta = event.value.get("delta") if event.value is not None else None
            if isinstance(delta, dict) and delta.get("type") == "text_delta":
                delta["text"] = delta["text"].strip()
                rewrite(event)
            return kind

    return with_surface(parts, Trimming())


def _reading(parts: Components, reader: type[EventReader]) -> Components:
    """Return ``parts`` that read every upstream stream with ``reader``."""

    class Other(Passage):
        def __init__(self, surface: Surface, asked: str) -> None:
            super().__init__(surface, asked)
            self.reader = reader()

    return with_passage(parts, Other)


# MSG-03: pings.


@mutant(breaks="MSG-03")
def pings_only_once(parts: Components) -> Components:
    """Sends the first ping of a silence and no further one."""

    class Once(ClientStream):
        def _tick(self) -> None:
            if not self.started:
                self.ping()

    return _pinging(parts, Once)


@mutant(breaks="MSG-03")
def pings_only_behind_the_first_byte(parts: Components) -> Components:
    """Sends no ping before the stream has begun."""

    class Late(ClientStream):
        def ping(self) -> None:
            if self.started:
                super().ping()
            else:
                self._last_s = self._loop.time()

    return _pinging(parts, Late)


@mutant(breaks="MSG-03")
def pings_only_before_the_first_byte(parts: Components) -> Components:
    """Sends no ping once there was content."""

    class Early(ClientStream):
        content = False

        def write(self, data: bytes) -> None:
            self.content = True
            super().write(data)

        def ping(self) -> None:
            if not self.content:
                super().ping()

    return _pinging(parts, Early)


@mutant(breaks="MSG-03")
def pings_for_the_first_attempt_alone(parts: Components) -> Components:
    """Sends no ping while it waits for another target than the chain's first."""

    class Tired(Relay):
        def after(self, parts: Components, call: Call, failure: Failure) -> None:
            super().after(parts, call, failure)
            if call.out is not None:
                call.out._stop_pings()

    return replace(parts, relay=Tired(parts.contract))


@mutant(breaks="MSG-03")
def pings_by_its_own_clock(parts: Components) -> Components:
    """Sends a ping every so many seconds from the stream's beginning, whatever else was sent in between."""

    class Steady(ClientStream):
        def _tick(self) -> None:
            self._last_s = 0.0
            super()._tick()

    return _pinging(parts, Steady)


@mutant(breaks="MSG-03")
def pings_a_second_late(parts: Components) -> Components:
    """Sends a ping every sixteen seconds."""
    return _pinging(parts, ClientStream, late_s=1.0)


@mutant(breaks="MSG-03")
def pings_messages_with_comments(parts: Components) -> Components:
    """Sends a comment line in the place of Anthropic's ping event."""

    class Commenting(Messages):
        ping = b": ping\n\n"

    return with_surface(parts, Commenting())


@mutant(breaks="MSG-03")
def pings_responses_with_events(parts: Components) -> Components:
    """Sends Anthropic's ping event on responses."""

    class Pinging(Responses):
        ping = b'event: ping\ndata: {"type": "ping"}\n\n'

    return with_surface(parts, Pinging())


def _pinging(
    parts: Components, stream: Callable[[Client, Headers, bytes, float], ClientStream], late_s: float = 0.0
) -> Components:
    """Return ``parts`` that answer streams with ``stream``, which pings ``late_s`` later than promised."""

    class Quiet(Pipeline):
        def open_stream(self, parts: Components, call: Call) -> ClientStream:
            made = super().open_stream(parts, call)
            made.abandon()
            ping_s = parts.contract.timeouts.ping_ms / 1e3 + late_s
            return stream(call.client, parts.headers.stream(call, parts.insurer), call.surface.ping, ping_s)

    return replace(parts, pipeline=Quiet())
