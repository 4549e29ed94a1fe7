"""Anthropic messages: their places and native shape, thinking and tools both ways, older ids, token counts."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from harness.checkers.messages import (
    message_streams_keep_their_events,
    messages_are_served_natively,
    older_ids_are_their_latest_equivalents,
    thinking_passes_both_ways,
    token_counts_are_free,
    tools_pass_both_ways,
)
from harness.contract import Contract
from harness.scenario import Call, Injection, Scenario, Workload, World, count_tokens, messages, scenario
from mock_upstreams.faults import respond
from scenarios.requests import TOOL_SCHEMA, drawn_reply, model_ids, on_every_path, spaced, with_drawn_replies

TURN = {"role": "user", "content": "Review this diff."}
ROOT = "/v1/messages"


@scenario
def native_at_every_place(contract: Contract, rng: random.Random) -> Scenario:
    """Messages are served natively at every place, with all that real clients send; at the root by model id."""
    variants: tuple[dict[str, Any], ...] = (
        {},
        {"headers": {"anthropic-version": "2026-10-21"}},
        {"headers": {"anthropic-version": "2099-01-01"}},
        {"fields": {"tools": []}},
        {"fields": {"messages": [TURN, {"role": "system", "content": "Now be brief."}, TURN]}},
    )
    calls = [
        replace(call, **variant)
        for stream in (False, True)
        for call in on_every_path(contract, surfaces=("messages",), stream=stream)
        for variant in (rng.sample(variants, 2) if stream else variants)
    ]
    at_the_root = [*model_ids(contract, "enterprise", "messages"), *model_ids(contract, "general", "messages")]
    calls += [messages(id_, path=ROOT, stream=stream) for id_ in at_the_root for stream in (False, True)]
    return Scenario(
        world=World(),
        workload=Workload(spaced(with_drawn_replies(calls, rng))),
        bodies=True,
        checks=(messages_are_served_natively,),
        recovers=False,
    )


@scenario(reaches=("failover_taken",))
def thinking_and_tools_both_ways(contract: Contract, rng: random.Random) -> Scenario:
    """Thinking, signatures and tools come back as they were sent, and go up again as the client repeats them."""
    history = [
        TURN,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "h\u00e4mm\u2026 \U0001f914", "signature": "c2lnbmF0dXJl+/=="},
                {"type": "redacted_thinking", "data": "b3BhcXVl"},
                {"type": "tool_use", "id": "toolu_01", "name": "lookup", "input": {"path": "a/b", "limit": 2**53 + 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_01",
                    "is_error": True,
                    "content": [{"type": "text", "text": "none"}],
                },
                {"type": "text", "text": "Go on."},
            ],
        },
    ]
    tools = [{"name": "lookup", "description": "d", "input_schema": TOOL_SCHEMA}]
    thinking = {"type": "enabled", "budget_tokens": 4_096}
    variants: tuple[tuple[dict[str, Any], int, str], ...] = (
        ({"thinking": thinking}, 8_192, "thinking"),
        ({"thinking": thinking}, 1_024, "thinking"),
        ({"thinking": {"type": "adaptive"}, "tools": tools}, 2_048, "mixed"),
        ({"tools": tools, "messages": history}, 2_048, "thinking"),
        ({"tools": tools}, 512, "tools"),
        ({}, 512, "unknown"),
    )
    managed, *others = on_every_path(contract, surfaces=("messages",))
    calls = [
        replace(call, stream=stream, fields=fields, max_tokens=most, reply=drawn_reply(rng, shape=shape))
        for stream in (False, True)
        for fields, most, shape in variants
        for call in (managed, rng.choice(others))
    ]
    numbered = Workload(spaced(calls)).numbered()
    hit = tuple(call.id for call in rng.sample(numbered, 4))
    return Scenario(
        world=World(),
        workload=Workload(numbered),
        injections=(Injection("primary", respond(status=529), calls=hit),),
        bodies=True,
        checks=(thinking_passes_both_ways, tools_pass_both_ways, message_streams_keep_their_events),
        recovers=False,
    )


@scenario
def older_ids(contract: Contract, rng: random.Random) -> Scenario:
    """Older ids are served and billed as their latest equivalents, wherever general messages are served."""
    calls = [
        replace(call, model=alias, tier="general", stream=stream)
        for alias in contract.aliases
        for stream in (False, True)
        for call in on_every_path(contract, surfaces=("messages",))
        if "managed" not in call.path
    ]
    sized = [
        replace(
            call,
            reply=drawn_reply(
                rng, input=rng.randrange(90_000), cached=rng.randrange(9_000), output=rng.randrange(9_000)
            ),
        )
        for call in calls
    ]
    return Scenario(
        world=World(),
        workload=Workload(spaced(sized)),
        checks=(older_ids_are_their_latest_equivalents,),
        recovers=False,
    )


@scenario(reaches=("rate_refused",))
def token_counts_cost_nothing(contract: Contract, rng: random.Random) -> Scenario:
    """Token counts are served at every place, cost nothing, and leave the rate window to the messages."""
    open_to = 3
    model, other = model_ids(contract, "enterprise", "messages")[:2]
    counts: list[Call] = [
        *on_every_path(contract, surfaces=("count_tokens",)),
        *on_every_path(contract, surfaces=("count_tokens",), auth="x-api-key"),
        *(count_tokens(model) for _ in range(2 * open_to)),
        *(count_tokens(other) for _ in range(2 * open_to)),
    ]
    calls = [messages(id_, reply=drawn_reply(rng)) for id_ in (model, other) for _ in range(open_to + 1)]
    after = [count_tokens(model), count_tokens(other)]
    return Scenario(
        world=World(overlay={"text.requests": open_to}),
        workload=Workload((*spaced(counts), *spaced(calls, start_ms=600), *spaced(after, start_ms=1_200))),
        checks=(token_counts_are_free,),
        recovers=False,
    )
