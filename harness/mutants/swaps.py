"""What mutants of the wire share: how a surface or the passage of streams is swapped, a call made for nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.passage import Passage
from harness.gateway.relay import Relay
from harness.gateway.sse import Event
from harness.gateway.surfaces import Surface
from harness.gateway.surfaces.base import Kind, StreamState, rewrite

Json = dict[str, Any]


def with_surface(parts: Components, *surfaces: Surface) -> Components:
    """Return ``parts`` with each of ``surfaces`` in the place of the one of its name."""
    return replace(parts, surfaces={**parts.surfaces, **{surface.name: surface for surface in surfaces}})


def answering(parts: Components, surface: type[Surface], change: Callable[[Json], Json]) -> Components:
    """Return ``parts`` that send ``change(answer)`` to the client of an unstreamed call of ``surface``."""

    class Changing(surface):  # type: ignore[misc, valid-type]  # the class of whatever surface is changed
        def finished(self, answer: Json, asked: str, hypereal: Mapping[str, Any] | None) -> bytes:
            made: bytes = super().finished(change(answer), asked, hypereal)
            return made

    return with_surface(parts, Changing())


def rewriting(parts: Components, surface: type[Surface], change: Callable[[Json], bool]) -> Components:
    """Return ``parts`` that write an event of a stream of ``surface`` anew if ``change`` says that it changed it."""

    class Changing(surface):  # type: ignore[misc, valid-type]  # as above
        def read(self, event: Event, state: StreamState) -> Kind:
            kind: Kind = super().read(event, state)
            if event.value is not None and change(event.value):
                rewrite(event)
            return kind

    return with_surface(parts, Changing())


def dropping(parts: Components, surface: type[Surface], which: Callable[[Json], bool]) -> Components:
    """Return ``parts`` that leave events out of the streams of ``surface``."""

    class Dropping(surface):  # type: ignore[misc, valid-type]  # as above
        def read(self, event: Event, state: StreamState) -> Kind:
            kind: Kind = super().read(event, state)
            return "noise" if event.value is not None and which(event.value) else kind

    return with_surface(parts, Dropping())


def with_passage(parts: Components, passage: type[Passage]) -> Components:
    """Return ``parts`` whose upstream streams pass through ``passage`` on their way to the client."""

    class Other(Relay):
        def passage(self, call: Call) -> Passage:
            made = passage(call.surface, call.asked)
            call.state = made.state
            return made

    return replace(parts, relay=Other(parts.contract))


async def ask_in_vain(parts: Components, call: Call) -> None:
    """Send ``call``, whose body and model are known, to its first target, and drop the answer."""
    assert call.model is not None
    response = await parts.transport.handle_async_request(parts.upstream.build(call, call.model.chain[0]))
    await response.aread()
    await response.aclose()
