"""Where things are served: under any host name, both prefixes, and the paths that the documents' base URLs make."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.hosts import paths_are_served_on_any_host
from harness.contract import Contract
from harness.scenario import Scenario, Workload, World, messages, scenario
from scenarios.requests import SURFACES, model_ids, on_every_path, spaced, with_drawn_replies

HOSTS = ("api.hypereal.cloud", "hypereal.cloud", "hypereal.build", "hypereal.build:8443", "gateway.internal.example")


@scenario(reaches=("key_refused",))
def any_host_serves_every_path(contract: Contract, rng: random.Random) -> Scenario:
    """Whatever host a request names, every path answers alike, refusals included."""
    calls = [
        replace(call, headers={"host": host})
        for host in HOSTS
        for call in on_every_path(contract, surfaces=(*SURFACES, "models"))
        if call.path in _OF_EACH_KIND
    ]
    calls += [replace(call, auth="none") for call in calls[:4]]
    return Scenario(
        world=World(),
        workload=Workload(spaced(with_drawn_replies(calls, rng))),
        checks=(paths_are_served_on_any_host,),
        recovers=False,
    )


_OF_EACH_KIND = ("/v1/managed/chat/completions", "/api/v1/codex/responses", "/v1/messages", "/v1/managed/models")


@scenario(reaches=("input_refused",))
def two_prefixes_are_one_route(contract: Contract, rng: random.Random) -> Scenario:
    """Every general path is served under /v1 and /api/v1, streamed or not; the root alone takes Enterprise ids too."""
    enterprise = model_ids(contract, "enterprise", "messages")
    only = [id_ for id_ in enterprise if contract.model("general", id_) is None]
    general = model_ids(contract, "general", "messages")
    calls = [
        *on_every_path(contract),
        *on_every_path(contract, surfaces=SURFACES, stream=True),
        *(messages(id_, tier="general", path="/v1/messages") for id_ in (enterprise[-1], general[-1])),
        *(
            replace(call, model=id_, stream=stream)
            for id_, stream in ((only[0], False), (only[-1], True))
            for call in on_every_path(contract, surfaces=SURFACES)
            if call.path.startswith("/api/v1/") or call.path == "/v1/chat/completions"
        ),
        *(
            replace(call, model=only[0])
            for call in on_every_path(contract, surfaces=("count_tokens",))
            if call.path.startswith("/api/v1/")
        ),
    ]
    return Scenario(
        world=World(),
        workload=Workload(spaced(with_drawn_replies(calls, rng))),
        checks=(paths_are_served_on_any_host,),
        recovers=False,
    )
