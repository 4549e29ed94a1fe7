"""The reference gateway with everything on, before the mock or with its upstream leg answered in process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import orjson

from harness.bench.plan import GAP_S
from harness.bench.subjects.base import Site, Subject
from harness.clients import path_of
from harness.contract import Contract, contract_to_json, load_contract
from harness.environment.secrets import random_secrets
from harness.environment.sim import roles_of
from harness.scenario import Account, Key, World, chat
from harness.target import UpstreamAddress, Wiring
from harness.targets.child import start_child
from harness.targets.reference import deployment

_UNBOUND = {"text.requests": 10**12, "text.tokens": 10**15, "text.concurrency": 4096, "text.queue_length": 4096}
"""Limits that a measurement does not meet: they are kept and counted all the same."""
_WORLD = World(accounts=(Account("a", credits=10**15, keys=(Key("a-key"),)),))


def limitless() -> Contract:
    """Return the documents' contract with limits that no measurement reaches."""
    return load_contract(overlays=[_UNBOUND])


def model_of(contract: Contract) -> str:
    """Return the first model that chat/completions of the enterprise tier serves."""
    return next(model.id for model in contract.models if "chat" in model.surfaces and model.tier == "enterprise")


@asynccontextmanager
async def reference(site: Site) -> AsyncIterator[Subject]:
    """Serve it: keys, governor, durable ledger, insurance and log are on, the limits out of reach."""
    async with _serving(site, "reference", {}, "the reference gateway, everything on") as subject:
        yield subject


@asynccontextmanager
async def stub(site: Site) -> AsyncIterator[Subject]:
    """Serve the same pipeline, whose upstream leg is answered in process with what the mock would have said."""
    answers = {"whole": site.sample.decode(), "stream": site.sample_stream.decode(), "gap_s": GAP_S}
    async with _serving(site, "stub", {"stub": answers}, "the same pipeline, its upstream leg in process") as subject:
        yield subject


@asynccontextmanager
async def _serving(site: Site, name: str, more: dict[str, Any], about: str) -> AsyncIterator[Subject]:
    contract = limitless()
    secrets = random_secrets(_WORLD)
    address = UpstreamAddress(site.upstream, site.upstream, "up-bench")
    wiring = Wiring(
        mode="local",
        contract=contract,
        world=_WORLD,
        secrets=secrets,
        upstreams=dict.fromkeys(roles_of(contract), address),
        seed=site.seed,
        zero_s=0.0,
        epoch_s=0,
    )
    config = {"contract": contract_to_json(contract), "deployment": deployment(wiring, "bench"), **more}
    database = site.folder / f"{name}.sqlite"
    arguments = ["serve", "gateway", "--config", "-", "--database", str(database)]
    async with start_child(arguments, orjson.dumps(config)) as child:
        parts = urlsplit(child.base_url)
        model = model_of(contract)
        yield Subject(
            name=name,
            host=str(parts.hostname),
            port=parts.port or 80,
            path=path_of(chat(model)),
            headers={"authorization": f"Bearer {secrets['a-key']}"},
            model=model,
            roots=(child.process.pid,),
            about=about,
            answers=name == "stub",
        )
