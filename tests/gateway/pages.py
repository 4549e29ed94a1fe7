"""Reads what the gateway's store gives out in pages to their end."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from harness.gateway.store import Pages


async def gathered(pages: Pages) -> list[Any]:
    """Return all records of all pages."""
    async with aclosing(pages):
        return [record async for page in pages for record in page]


def told(pages: Pages) -> list[Any]:
    """Return all records of a simulated store's pages, which nobody has to wait for."""
    try:
        gathered(pages).send(None)
    except StopIteration as end:
        found: list[Any] = end.value
        return found
    raise AssertionError("the store let its reader wait")
