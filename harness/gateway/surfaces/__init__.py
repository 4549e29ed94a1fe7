"""The wire formats that the gateway serves, by name."""

from harness.gateway.surfaces.base import Surface
from harness.gateway.surfaces.chat import Chat
from harness.gateway.surfaces.images import Images
from harness.gateway.surfaces.messages import CountTokens, Messages
from harness.gateway.surfaces.responses import Responses

__all__ = ["Chat", "CountTokens", "Images", "Messages", "Responses", "Surface", "all_surfaces"]


def all_surfaces() -> dict[str, Surface]:
    """Return one surface of each kind, by name."""
    return {surface.name: surface for surface in (Chat(), Messages(), CountTokens(), Responses(), Images())}
