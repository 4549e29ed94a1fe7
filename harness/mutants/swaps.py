"""What mutants of the wire share: how a surface or the passage of streams is swapped, a call made for nothing."""

from __future__ import annotations

from dataclasses import replace

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.passage import Passage
from harness.gateway.relay import Relay
from harness.gateway.surfaces import Surface


def with_surface(parts: Components, *surfaces: Surface) -> Components:
    """Return ``parts`` with each of ``surfaces`` in the place of the one of its name."""
    return replace(parts, surfaces={**parts.surfaces, **{surface.name: surface for surface in surfaces}})


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
