"""Credentials: every form on every path, two that disagree, keys that must be refused, and that no key gets out."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.auth import (
    anthropic_api_key_is_accepted_on_managed_messages,
    bad_keys_are_refused_for_free,
    bearer_keys_are_accepted,
    customer_keys_stay_inside,
    x_api_key_is_accepted_on_anthropic_paths,
)
from harness.checkers.errors import every_error_has_the_documents_shape
from harness.checkers.flaws import NO_PREFIX
from harness.contract import Contract
from harness.scenario import Account, Call, Injection, Key, Scenario, Workload, World, scenario
from mock_upstreams.faults import respond
from scenarios.requests import SURFACES, on_every_path, spaced, with_drawn_replies

NOBODYS = "ck_0000000000000000000000000000000000000000"
WITHOUT_PREFIX = "sk-0000000000000000000000000000000000000000"
ANTHROPIC = ("messages", "count_tokens")
MESSAGES = ("/v1/managed/messages", "/api/v1/messages")


@scenario(reaches=("failover_taken",))
def every_form_where_it_is_accepted(contract: Contract, rng: random.Random) -> Scenario:
    """A key opens every path as a bearer token, Anthropic's paths in x-api-key, managed messages in its own header."""
    calls = [
        *on_every_path(contract),
        *on_every_path(contract, surfaces=SURFACES, stream=True),
        *on_every_path(contract, surfaces=ANTHROPIC, auth="x-api-key"),
        *on_every_path(contract, surfaces=("messages",), auth="x-api-key", stream=True),
        *(
            call
            for stream in (False, True)
            for call in on_every_path(contract, surfaces=("messages",), auth="anthropic-api-key", stream=stream)
            if call.path == "/v1/managed/messages"
        ),
    ]
    numbered = Workload(spaced(with_drawn_replies(calls, rng))).numbered()
    # Behind a failover another upstream sees a credential: it must be its own.
    moved = tuple(call.id for call in rng.sample([call for call in numbered if call.surface in SURFACES], 4))
    return Scenario(
        world=World(),
        workload=Workload(numbered),
        injections=(Injection("primary", respond(status=503), calls=moved),),
        bodies=True,
        checks=(
            bearer_keys_are_accepted,
            x_api_key_is_accepted_on_anthropic_paths,
            anthropic_api_key_is_accepted_on_managed_messages,
            customer_keys_stay_inside,
        ),
        recovers=False,
    )


@scenario(reaches=("key_refused",))
def two_credentials_in_one_request(contract: Contract) -> Scenario:
    """Two credentials that disagree are refused, whichever comes first; two that agree, and empty ones, do no harm."""
    calls: list[Call] = []
    anthropic = [call for call in on_every_path(contract, surfaces=("messages",)) if call.path in MESSAGES]
    for call in anthropic:
        calls += [
            replace(call, headers={"x-api-key": NOBODYS}),
            replace(call, auth="x-api-key", headers={"authorization": f"Bearer {NOBODYS}"}),
            replace(call, auth=("bearer", "x-api-key"), other_key="b-key"),
            replace(call, auth=("x-api-key", "bearer"), other_key="b-key"),
            replace(call, auth=("bearer", "x-api-key"), other_key="a-old"),
            replace(call, auth=("bearer", "x-api-key"), other_key="a-second"),
            replace(call, auth=("bearer", "x-api-key")),
            replace(call, headers={"x-api-key": ""}),
            replace(call, auth="x-api-key", headers={"authorization": ""}),
            replace(call, auth="x-api-key", headers={"authorization": "Bearer"}),
            replace(call, auth="none", headers={"authorization": "Bearer", "x-api-key": ""}),
        ]
        # Headers that the path takes no key from may not go upstream with one either.
        calls.append(replace(call, auth=("bearer", "x-api-key", "anthropic-api-key")))
    managed = anthropic[0]
    calls += [
        replace(managed, headers={"anthropic-api-key": NOBODYS}),
        replace(managed, headers={"anthropic-api-key": "", "x-api-key": ""}),
        replace(managed, auth="anthropic-api-key", headers={"x-api-key": ""}),
        replace(managed, auth="anthropic-api-key", headers={"x-api-key": "", "authorization": "Bearer"}),
        replace(managed, auth=("x-api-key", "anthropic-api-key"), other_key="b-key"),
    ]
    for call in on_every_path(contract, surfaces=("chat", "responses", "models")):
        calls += [
            replace(call, auth="none", headers={"authorization": "Bearer"}),
            replace(call, auth="none", headers={"authorization": ""}),
            replace(call, auth=("bearer", "x-api-key")),
        ]
    accounts = (Account("a", keys=(Key("a-key"), Key("a-second"), Key("a-old", "disabled"))), Account("b"))
    return Scenario(
        world=World(accounts=accounts),
        workload=Workload(spaced(calls)),
        bodies=True,
        checks=(
            bearer_keys_are_accepted,
            x_api_key_is_accepted_on_anthropic_paths,
            anthropic_api_key_is_accepted_on_managed_messages,
            customer_keys_stay_inside,
            every_error_has_the_documents_shape,
        ),
        recovers=False,
    )


@scenario(reaches=("key_refused", "key_suspended"))
def keys_that_must_be_refused(contract: Contract) -> Scenario:
    """A key that is missing, malformed, unknown, expired, disabled or suspended opens no path and costs nothing."""
    bad = (
        {"auth": "none"},
        {"secret": WITHOUT_PREFIX, "tag": NO_PREFIX},
        {"bare_key": True, "tag": NO_PREFIX},
        {"secret": NOBODYS},
        {"key": "a-expired"},
        {"key": "a-disabled"},
        {"key": "a-suspended"},
    )
    paths = {
        "/v1/managed/chat/completions",
        "/api/v1/chat/completions",
        "/v1/managed/messages",
        "/api/v1/messages",
        "/v1/managed/messages/count_tokens",
        "/v1/managed/responses",
        "/v1/managed/models",
        "/api/ledger",
    }
    calls = [call for kind in bad for call in on_every_path(contract, **kind) if call.path in paths]
    for kind in bad[1:]:
        calls += [
            call
            for call in (
                *on_every_path(contract, surfaces=("messages",), auth="x-api-key", **kind),
                *on_every_path(contract, surfaces=SURFACES, stream=True, **kind),
            )
            if call.path in ("/v1/managed/messages", "/v1/managed/chat/completions")
        ]
    calls += [call for call in on_every_path(contract, surfaces=("chat",)) if call.path in paths]
    keys = (
        Key("a-key"),
        Key("a-expired", "expired"),
        Key("a-disabled", "disabled"),
        Key("a-suspended", "suspended"),
    )
    return Scenario(
        world=World(accounts=(Account("a", keys=keys),)),
        workload=Workload(spaced(calls, gap_ms=5)),
        bodies=True,
        checks=(bad_keys_are_refused_for_free, customer_keys_stay_inside, every_error_has_the_documents_shape),
        recovers=False,
    )
