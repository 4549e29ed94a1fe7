"""A gateway that is served already, by its address; it is not started, and its CPU is told if it runs here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from harness.bench.machine import listener
from harness.bench.subjects.base import LOOPBACK, Site, Subject
from harness.bench.subjects.reference import model_of
from harness.clients import path_of
from harness.contract import load_contract
from harness.scenario import chat
from harness.target import NotATarget


@asynccontextmanager
async def url(name: str, site: Site) -> AsyncIterator[Subject]:
    """Take the gateway at ``name``: below a bare address at the documents' path, else at the path that it has."""
    parts = urlsplit(name)
    if parts.scheme != "http" or not parts.hostname:
        raise NotATarget(f"{name} cannot be measured", cause="a plain http address is wanted", help="http://host:port")
    model = site.model or model_of(load_contract())
    host = parts.hostname
    here = listener(parts.port or 80) if host in (LOOPBACK, "localhost", "::1") else None
    yield Subject(
        name=name,
        host=host,
        port=parts.port or 80,
        path=parts.path if parts.path.strip("/") else path_of(chat(model)),
        headers={"authorization": f"Bearer {site.key}"} if site.key else {},
        model=model,
        roots=() if here is None else (here,),
        about="a gateway that is served already",
    )
