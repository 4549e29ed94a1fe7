"""One upstream stream on its way to one client: tells what may go out when; it touches no connection itself."""

from __future__ import annotations

from harness.gateway.sse import EVENT_BYTES, Event, EventReader, EventTooLong
from harness.gateway.surfaces.base import Malformed, StreamState, Surface


class Passage:
    """One upstream stream on its way to the client: tells what may go out now, and holds the rest back.

    What opens an answer is held until its first content, so that another target can still answer instead. From the
    usage on all is held until the protocol's end was read and the charge is committed. Order is never changed.
    """

    __slots__ = (
        "broken",
        "content",
        "ending",
        "events",
        "held",
        "held_bytes",
        "reader",
        "state",
        "surface",
        "terminal",
    )

    def __init__(self, surface: Surface, asked: str) -> None:
        self.surface = surface
        self.reader = EventReader()
        self.state = StreamState(asked)
        self.held: list[Event] = []
        self.held_bytes = 0
        self.events = 0
        self.content = False
        self.ending = False
        self.terminal = False
        self.broken = ""
        """Why the stream is over, if it broke: malformed, error_event. Behind the protocol's end it means nothing."""

    def take(self, chunk: bytes) -> bytes:
        """Return what ``chunk`` lets out. After a break it is what came before it."""
        ready: list[bytes] = []
        try:
            for event in self.reader.feed(chunk):
                kind = self.surface.read(event, self.state)
                if kind == "noise":
                    continue
                self.events += 1
                if kind == "error":
                    self.broken = "error_event"
                    break
                if kind in ("usage", "terminal"):
                    self.ending = True
                    self.terminal = self.terminal or kind == "terminal"
                if self.ending or not (self.content or kind == "content"):
                    self.hold(event)
                    continue
                if self.held:
                    ready += [held.raw for held in self.held]
                    self.held.clear()
                self.content = True
                ready.append(event.raw)
        except (Malformed, EventTooLong):
            self.broken = "malformed"
        return ready[0] if len(ready) == 1 else b"".join(ready)

    def hold(self, event: Event) -> None:
        """Hold ``event`` back. Raises EventTooLong if there is more of it than any answer could want."""
        self.held.append(event)
        self.held_bytes += len(event.raw)
        if self.held_bytes > EVENT_BYTES:
            raise EventTooLong

    def gather(self, body: bytes) -> list[Event]:
        """Return the events of a stream that is there as a whole, up to where it broke."""
        events: list[Event] = []
        try:
            for event in self.reader.feed(body):
                kind = self.surface.read(event, self.state)
                self.terminal = self.terminal or kind == "terminal"
                if kind == "error":
                    self.broken = "error_event"
                    break
                if kind != "noise":
                    events.append(event)
        except (Malformed, EventTooLong):
            self.broken = "malformed"
        self.events = len(events)
        return events
