"""Refusals: every error's shape, missing and unknown and misplaced models, one precedence."""

from __future__ import annotations

import json
import random
from dataclasses import replace

from harness.checkers.errors import (
    a_body_without_model_is_refused,
    a_model_on_the_wrong_endpoint_is_told_the_right_one,
    an_unknown_model_is_told_what_there_is,
    errors_have_one_precedence,
    every_error_has_the_documents_shape,
)
from harness.checkers.flaws import (
    NOT_JSON,
    WRONG_CONTENT_TYPE,
    WRONG_FIELD_TYPE,
)
from harness.contract import Contract
from harness.scenario import (
    Account,
    Call,
    Injection,
    Key,
    Reply,
    Scenario,
    Workload,
    World,
    at_once,
    chat,
    count_tokens,
    repeat,
    responses,
    scenario,
)
from mock_upstreams.faults import reset_after, respond, stream_error
from scenarios.auth import NOBODYS
from scenarios.requests import ONE_OF_EACH, SURFACES, WITH_MODEL, max_ids, model_ids, on_every_path, spaced

_NOWHERE = (("/v1/nothing", "POST"), ("/api/v1/chat", "GET"), ("/v1/managed/nothing", "POST"))
"""Paths that nothing is served at, and how they are asked."""


@scenario(
    reaches=(
        "key_refused",
        "key_suspended",
        "input_refused",
        "balance_refused",
        "user_rate_refused",
        "chain_exhausted",
        "client_fault_returned",
        "stream_broken_after_content",
    )
)
def every_class_of_error(contract: Contract, rng: random.Random) -> Scenario:
    """Each way to be refused or to fail, on each surface, streamed or not, answers with the documents' error shape."""
    refused: list[Call] = []
    failing: list[Call] = []
    for stream in (False, True):
        for call in on_every_path(contract, surfaces=SURFACES, stream=stream):
            if call.path in ONE_OF_EACH:
                refused += [
                    replace(call, auth="none"),
                    replace(call, body=b"{", tag=NOT_JSON),
                    replace(call, account="poor"),
                ]
                if not stream:
                    refused += [
                        replace(call, key="a-suspended"),
                        replace(call, content_type="text/plain", tag=WRONG_CONTENT_TYPE),
                        replace(call, model="no-such-model"),
                        replace(call, method="GET", body=b""),
                    ]
                failing.append(replace(call, account="b", id=f"f{len(failing)}"))
    refused += [chat(model_ids(contract, "general", "chat")[0], tier="general", account="c") for _ in range(3)]
    statuses = [500, 503, 529, 429, 401, 404, 400, 409, 413, 422]
    rng.shuffle(statuses)
    missing = failing[: len(statuses) - len(failing)]
    failing += [replace(call, id=f"f{len(failing) + n}") for n, call in enumerate(missing)]
    refused += [Call("raw", "", path=path, method=method, body=b"{}") for path, method in _NOWHERE]
    # Models of their own, whose circuits no failing call has opened.
    fresh = {"chat": -1, "responses": -2, "messages": 1}
    breaking = [
        replace(
            call,
            account="b",
            id=f"{fault}-{call.surface}",
            model=model_ids(contract, "enterprise", call.surface)[fresh[call.surface]],
            reply=Reply(chunks=9, gap_ms=20),
        )
        for fault in ("error", "reset")
        for call in on_every_path(contract, surfaces=SURFACES, stream=True)
        if "managed" in call.path
    ]
    return Scenario(
        world=World(
            accounts=(
                Account("a", keys=(Key("a-key"), Key("a-suspended", "suspended"))),
                Account("poor", credits=0),
                Account("b"),
                Account("c"),
            ),
            overlay={"user_rate.requests": 2},
        ),
        workload=Workload((*spaced(refused, gap_ms=5), *spaced([*failing, *breaking], gap_ms=40))),
        injections=(
            *(
                Injection("*", respond(status=statuses[n % len(statuses)]), calls=(call.id,))
                for n, call in enumerate(failing)
            ),
            Injection("primary", stream_error(content=2), calls=tuple(f"error-{name}" for name in SURFACES)),
            Injection("primary", reset_after(content=3), calls=tuple(f"reset-{name}" for name in SURFACES)),
        ),
        checks=(every_error_has_the_documents_shape, errors_have_one_precedence),
        recovers=False,
    )


@scenario(reaches=("input_refused",))
def a_body_without_model(contract: Contract) -> Scenario:
    """A body without model gets 400 on every path that takes its model from the body."""
    calls = [
        replace(call, model="", fields={"model": ...}, stream=stream)
        for stream in (False, True)
        for call in on_every_path(contract, surfaces=WITH_MODEL)
        if not (stream and call.surface == "count_tokens")
    ]
    return Scenario(
        world=World(),
        workload=Workload(spaced(calls, gap_ms=5)),
        checks=(a_body_without_model_is_refused, every_error_has_the_documents_shape),
        recovers=False,
    )


@scenario(reaches=("input_refused",))
def models_that_nobody_has(contract: Contract) -> Scenario:
    """An unknown model id gets 400 with the ids that the surface serves, on every path."""
    known = model_ids(contract, "enterprise", "chat")[0]
    calls = [
        replace(call, model=model)
        for model in (f"{known}-preview", known.upper())
        for call in on_every_path(contract, surfaces=WITH_MODEL)
    ]
    return Scenario(
        world=World(),
        workload=Workload(spaced(calls, gap_ms=5)),
        checks=(an_unknown_model_is_told_what_there_is, every_error_has_the_documents_shape),
        recovers=False,
    )


@scenario(reaches=("input_refused",))
def models_on_the_wrong_endpoint(contract: Contract) -> Scenario:
    """A model asked for in a format that it is not served in gets 400 with the right path; managed serves Claude."""
    claude = model_ids(contract, "general", "messages", "claude")
    others = {tier: model_ids(contract, tier, "chat", "other") for tier in ("enterprise", "general")}
    calls: list[Call] = []
    for stream in (False, True):
        for call in on_every_path(contract, surfaces=SURFACES, stream=stream):
            if "managed" not in call.path and call.surface in ("chat", "responses"):
                calls += [replace(call, model=model) for model in (claude[0], claude[-1])[: 2 - stream]]
            elif call.surface == "messages":
                tiers = {"/v1/managed/messages": ["enterprise"], "/v1/messages": ["enterprise", "general"]}
                names = [others[tier][n] for tier in tiers.get(call.path, ["general"]) for n in (0, -1)[: 2 - stream]]
                calls += [replace(call, model=model) for model in names]
        managed = model_ids(contract, "enterprise", "chat", "claude")
        calls += [make(model, stream=stream) for make in (chat, responses) for model in managed]
    calls.append(count_tokens(others["enterprise"][0]))
    return Scenario(
        world=World(),
        workload=Workload(spaced(calls, gap_ms=5)),
        checks=(a_model_on_the_wrong_endpoint_is_told_the_right_one, every_error_has_the_documents_shape),
        recovers=False,
    )


@scenario(reaches=("key_refused", "key_suspended", "input_refused"))
def the_first_flaw_wins(contract: Contract) -> Scenario:
    """A request with two flaws gets the answer of the first in the contract's order, for each pair of neighbours."""
    forbidden = max_ids(contract)[0]
    calls: list[Call] = []
    for call in on_every_path(contract, surfaces=SURFACES):
        if call.path not in ONE_OF_EACH:
            continue
        bad = replace(call, body=b"{", tag=NOT_JSON)
        poor = replace(call, account="poor")
        calls += [
            replace(bad, auth="none"),
            replace(poor, secret=NOBODYS),
            replace(bad, secret=NOBODYS, tag=NOT_JSON),
            replace(bad, key="a-suspended"),
            replace(call, key="a-suspended", model="no-such-model"),
            replace(poor, key="poor-suspended"),
            replace(bad, account="poor"),
            replace(poor, model="no-such-model"),
            replace(poor, content_type="text/plain", tag=WRONG_CONTENT_TYPE),
        ]
    for number, path in enumerate(("/v1/managed/chat/completions", "/v1/managed/messages", "/v1/messages")):
        surface = "chat" if "chat" in path else "messages"
        call = Call(surface, forbidden, path=path)
        wrong = json.dumps({"model": forbidden, "messages": "x", "max_tokens": 9}).encode()
        calls += [
            replace(call, auth="none"),
            replace(call, key="a-suspended"),
            replace(call, account="poor", key=f"poor-{number}"),
            replace(call, body=wrong, tag=WRONG_FIELD_TYPE),
        ]
    keys = tuple(Key(f"poor-{n}") for n in range(3))
    return Scenario(
        world=World(
            accounts=(
                Account("a", keys=(Key("a-key"), Key("a-suspended", "suspended"))),
                Account("poor", credits=0, keys=(Key("poor-key"), Key("poor-suspended", "suspended"), *keys)),
            )
        ),
        workload=Workload(spaced(calls, gap_ms=5)),
        checks=(errors_have_one_precedence, every_error_has_the_documents_shape),
        recovers=False,
    )


@scenario(reaches=("balance_refused", "slots_full", "queue_full"))
def balance_before_admission(contract: Contract) -> Scenario:
    """While a model has no slot, or no closed circuit, whoever cannot pay or may not call still hears that first."""
    busy, down = model_ids(contract, "enterprise", "chat", "other")[:2]
    slots = contract.breaker.min_calls
    holders = repeat(chat(busy, account="b", reply=Reply(chunks=2, ttft_ms=900, gap_ms=10)), at_once(slots))
    trips = repeat(chat(down, account="b"), at_once(slots))
    full = _between_good_calls(chat(busy, account="b"), start_ms=100)
    # By then the targets' pauses are over, and no circuit has cooled down yet.
    shut = _between_good_calls(chat(down, account="b"), start_ms=contract.breaker.cooldown_ms / 2)
    return Scenario(
        world=World(
            accounts=(
                Account("a", keys=(Key("a-key"), Key("a-suspended", "suspended"))),
                Account("b"),
                Account("poor", credits=0),
            ),
            overlay={"text.concurrency": slots, "text.queue_length": 0},
        ),
        workload=Workload((*holders, *trips, *full, *shut)),
        injections=(Injection("*", respond(status=401), models=(down,)),),
        checks=(errors_have_one_precedence, every_error_has_the_documents_shape),
        recovers=False,
    )


def _between_good_calls(call: Call, start_ms: float) -> tuple[Call, ...]:
    """Return flawed calls of one model, a good one before and after each: these tell that there is no room."""
    row = [call]
    for flawed in (
        replace(call, account="poor"),
        replace(call, secret=NOBODYS),
        replace(call, account="a", key="a-suspended"),
    ):
        row += [flawed, call]
    return spaced(row, gap_ms=20, start_ms=start_ms)
