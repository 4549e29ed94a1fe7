"""The -max models: served to the official command line client alone; any other use costs the key, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace

from harness.checkers.cli_only import max_models_are_for_the_official_cli
from harness.checkers.flaws import OFFICIAL_CLI, WRONG_FIELD_TYPE, is_max_model
from harness.contract import Contract
from harness.scenario import (
    Account,
    Call,
    Crash,
    Key,
    Scenario,
    Workload,
    World,
    chat,
    messages,
    responses,
    scenario,
)
from scenarios.requests import cli_call, drawn_reply, max_ids, model_ids, on_every_path, spaced

BACK_MS = 5_000
"""A killed gateway has this long to serve again: a process start on a busy machine is a second or two."""
PLACES = ("/v1/managed/messages", "/v1/messages?beta=true")
SDK = {"user-agent": "Anthropic/Python 2.11.0", "x-stainless-lang": "python"}


@scenario
def the_official_cli_is_served(contract: Contract, rng: random.Random) -> Scenario:
    """Every -max model answers the official client, headless and interactive, and every other model any client."""
    calls = [
        cli_call(contract, id_, interactive=interactive, path=rng.choice(PLACES), stream=stream, reply=drawn_reply(rng))
        for id_ in max_ids(contract)
        for interactive in (False, True)
        for stream in (False, True)
    ]
    calls += [
        cli_call(contract, id_, interactive=interactive, path=path)
        for id_ in model_ids(contract, "enterprise", "messages")
        for interactive, path in zip((False, True), PLACES, strict=True)
    ]
    calls += [messages(id_, headers=SDK) for id_ in model_ids(contract, "enterprise", "messages")]
    calls += list(_other_max(contract))
    return Scenario(
        world=World(),
        workload=Workload(spaced(calls)),
        checks=(max_models_are_for_the_official_cli,),
        recovers=False,
    )


def _other_max(contract: Contract) -> Iterator[Call]:
    """Yield calls of the models whose ids end in -max and that are open to every client."""
    for model in contract.models:
        if model.id.endswith("-max") and not is_max_model(contract, model.id):
            make = {"chat": chat, "messages": messages, "responses": responses}
            tier = "managed" if model.tier == "enterprise" else "general"
            yield from (make[surface](model.id, tier=tier) for surface in model.surfaces if surface in make)


def _nearly_the_cli(contract: Contract, model: str) -> Iterator[Call]:
    """Yield calls of clients that are not the official one: SDKs, curl, and imitations that lack one mark each."""
    marks = contract.cli_only
    yield messages(model)
    yield messages(model, headers=SDK)
    yield messages(model, headers={"user-agent": "curl/8.9.1"}, auth="x-api-key")
    official = cli_call(contract, model, interactive=False)
    for name, value in (
        ("user-agent", "OpenClaw/1.4 claude-cli/2.1.197 (external, sdk-cli)"),
        (marks.app_header, "hermes"),
        (marks.beta_header, "interleaved-thinking-2025-05-14"),
        (marks.session_header, "another-session"),
    ):
        yield replace(official, headers={**official.headers, name: value}, tag="")
    for name in ("user-agent", marks.app_header, marks.beta_header, marks.session_header):
        kept = {key: value for key, value in official.headers.items() if key != name}
        yield replace(official, headers=kept, tag="")


@scenario(reaches=("key_suspended",))
def any_other_use_costs_the_key(contract: Contract, rng: random.Random) -> Scenario:
    """Another client, or another path, gets 403 and loses its key for good; the account's other keys stay open."""
    ids = max_ids(contract)
    open_to_all = model_ids(contract, "enterprise", "messages")[0]
    bad: list[Call] = list(_nearly_the_cli(contract, rng.choice(ids)))
    for model in (rng.choice(ids), rng.choice(ids)):
        cli = cli_call(contract, model, interactive=True)
        bad += [
            replace(cli, surface=surface, path="", stream=stream, fields={})
            for surface in ("chat", "responses")
            for stream in (False, True)
        ]
    bad += [replace(call, stream=True) for call in bad[:2]]
    calls: list[Call] = []
    keys: list[Key] = []
    for number, call in enumerate(bad):
        key, id_ = f"a-{number}", f"bad-{number}"
        keys.append(Key(key))
        calls.append(replace(call, id=id_, key=key))
        later = (
            messages(open_to_all),
            cli_call(contract, ids[0], interactive=False),
            chat(model_ids(contract, "general", "chat")[0], tier="general"),
            messages(ids[0]),
        )
        calls.append(replace(rng.choice(later), key=key, after=(id_,), delay_ms=5))
        if number % 3 == 0:
            calls.append(messages(open_to_all, key="a-other", headers=SDK, after=(id_,), delay_ms=5))
    return Scenario(
        world=World(accounts=(Account("a", keys=(*keys, Key("a-other"))),)),
        workload=Workload(spaced(calls)),
        checks=(max_models_are_for_the_official_cli,),
        recovers=False,
    )


@scenario(reaches=("input_refused",))
def an_earlier_400_suspends_nobody(contract: Contract) -> Scenario:
    """A -max model asked for wrongly in another way gets that way's 400, and the key stays open."""
    forbidden = max_ids(contract)[0]
    wrong = json.dumps({"model": forbidden, "messages": {"role": "user"}, "max_tokens": 16}).encode()
    bad = [
        messages(forbidden, body=wrong, tag=WRONG_FIELD_TYPE),
        chat(forbidden, body=wrong, tag=WRONG_FIELD_TYPE),
        *(
            replace(call, model=forbidden)
            for call in on_every_path(contract, surfaces=("chat", "messages", "responses"))
            if call.path.startswith("/api/v1/") or call.path == "/v1/chat/completions"
        ),
        replace(cli_call(contract, forbidden, interactive=True), body=wrong, tag=f"{OFFICIAL_CLI} {WRONG_FIELD_TYPE}"),
    ]
    calls: list[Call] = []
    for number, call in enumerate(bad):
        id_ = f"bad-{number}"
        calls.append(replace(call, id=id_))
        calls.append(messages(model_ids(contract, "enterprise", "messages")[0], after=(id_,), delay_ms=2))
    return Scenario(
        world=World(),
        workload=Workload(spaced(calls)),
        checks=(max_models_are_for_the_official_cli,),
        recovers=False,
    )


@scenario(reaches=("key_suspended",))
def a_restart_lifts_no_suspension(contract: Contract, rng: random.Random) -> Scenario:
    """A key that was suspended stays so when the gateway is killed and comes back; the others stay open."""
    forbidden, open_to_all = max_ids(contract)[0], model_ids(contract, "enterprise", "messages")[0]
    killed_ms = rng.randrange(400, 900)
    later = messages(open_to_all, at_ms=killed_ms + BACK_MS)
    return Scenario(
        world=World(accounts=(Account("a", keys=(Key("a-bad"), Key("a-good"))),)),
        workload=Workload(
            (
                messages(forbidden, key="a-bad"),
                replace(later, key="a-bad"),
                replace(later, key="a-bad", path="/v1/messages", stream=True),
                replace(later, key="a-good"),
            )
        ),
        crashes=(Crash(at_ms=killed_ms),),
        checks=(max_models_are_for_the_official_cli,),
        recovers=False,
    )
