"""Chat completions: whole and streamed answers, streams as they are made, tool calls, bodies that arrive as sent."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from harness.checkers.chat import (
    chat_answers_a_completion,
    streams_come_as_they_are_made,
    tool_calls_come_back_unchanged,
)
from harness.checkers.passage import everything_reaches_the_upstream
from harness.contract import Contract
from harness.scenario import Account, Call, Injection, Reply, Scenario, Workload, World, chat, scenario
from mock_upstreams.faults import cut_after, respond, usage_with_finish
from scenarios.requests import (
    SURFACES,
    TOOL_SCHEMA,
    WIDE,
    WIDEST,
    model_ids,
    on_every_path,
    spaced,
    with_drawn_replies,
)


@scenario
def answers_whole_and_streamed(contract: Contract, rng: random.Random) -> Scenario:
    """Every chat path answers a completion, or a stream with usage in its final chunk and [DONE] behind it."""
    models = {tier: model_ids(contract, tier, "chat") for tier in ("enterprise", "general")}
    calls: list[Call] = []
    for stream in (False, True):
        for call in on_every_path(contract, surfaces=("chat",), stream=stream):
            ids = models["enterprise" if call.tier == "managed" else "general"]
            calls += [replace(call, model=model) for model in (*ids[:1], *rng.sample(ids[1:], 3))]
            if stream:
                calls.append(replace(call, fields={"stream_options": {"include_usage": False}}))
                calls.append(replace(call, tag="usage_with_finish"))
    one = chat(models["enterprise"][0], at_ms=1, reply=Reply(ttft_ms=rng.randrange(5, 50)))
    together = [one, replace(one, account="b"), replace(one, at_ms=3, max_tokens=9)]
    numbered = Workload((*together, *spaced(with_drawn_replies(calls, rng)))).numbered()
    odd = tuple(call.id for call in numbered if call.tag)
    return Scenario(
        world=World(accounts=(Account("a"), Account("b"))),
        workload=Workload(numbered),
        injections=(Injection("primary", usage_with_finish(), calls=odd),),
        bodies=True,
        checks=(chat_answers_a_completion, streams_come_as_they_are_made),
        recovers=False,
    )


@scenario
def streams_are_not_buffered(contract: Contract, rng: random.Random) -> Scenario:
    """The caller of a stream has its first content while the upstream is still at work, on every surface."""
    slow = Reply(chunks=20, ttft_ms=rng.randrange(10, 200), gap_ms=rng.randrange(15, 40))
    calls = [
        replace(call, reply=replace(slow, shape=shape))
        for shape in ("text", "thinking", "tools")
        for call in on_every_path(contract, surfaces=SURFACES, stream=True)
        if "managed" in call.path or shape == "text"
    ]
    return Scenario(
        world=World(),
        workload=Workload(spaced(calls)),
        latency_ms=rng.choice((0, 1, 4)),
        checks=(streams_come_as_they_are_made,),
        recovers=False,
    )


@scenario(reaches=("failover_taken",))
def tool_calls_come_back(contract: Contract, rng: random.Random) -> Scenario:
    """Tool calls come back with the ids, names and argument fragments that the upstream sent, also after a failover."""
    calls = [
        replace(call, fields={"tools": [function("list_changed_files")], "tool_choice": choice})
        for stream in (False, True)
        for choice in ("auto", "required")
        for call in on_every_path(contract, surfaces=("chat",), stream=stream)
    ]
    calls += [replace(call, fields={"tools": [], "n": 1}) for call in calls[::3]]
    shaped = [
        *with_drawn_replies(calls, rng, shape="tools"),
        *with_drawn_replies(rng.sample(calls, 4), rng, shape="mixed"),
    ]
    numbered = Workload(spaced(shaped)).numbered()
    hit = tuple(call.id for call in rng.sample(numbered, 4))
    return Scenario(
        world=World(),
        workload=Workload(numbered),
        injections=(
            Injection("primary", respond(status=503), calls=hit[:2]),
            Injection("primary", cut_after(chunks=0, inside=True), calls=hit[2:]),
        ),
        checks=(tool_calls_come_back_unchanged,),
        recovers=False,
    )


def function(name: str, **more: Any) -> dict[str, Any]:
    """Return a function tool."""
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": TOOL_SCHEMA, **more}}


_ANY: dict[str, Any] = {
    "x_unknown": {"nested": [1, 1.0, True, None, "", {"deep": {}}], "text": 'µ \U0001f600 \\u0000 "quoted"'},
    "x_wide": [WIDE, -WIDE, WIDEST, -WIDEST - 1, 2**64 - 1],
    "x_null": None,
    "metadata": {"trace": "t-1", "empty": ""},
}
"""Fields of any surface that no gateway needs to know, in every JSON type."""
BETAS = "context-management-2025-06-27,x-beta-of-tomorrow-2099-01-01"
"""What the messages body's context_management depends on, and what nobody knows yet."""
BODIES: dict[str, dict[str, Any]] = {
    "chat": {
        **_ANY,
        "temperature": 0.2,
        "top_p": 1,
        "max_completion_tokens": 640,
        "seed": WIDE,
        "stop": ["\n\n", "END"],
        "logit_bias": {"50256": -100},
        "tools": [function("lookup", strict=True)],
        "tool_choice": {"type": "function", "function": {"name": "lookup"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": TOOL_SCHEMA}},
        "reasoning_effort": "high",
        "reasoning": {"max_tokens": 2_000},
        "modalities": ["image", "text"],
        "image_config": {"aspect_ratio": "1:1", "image_size": "1K"},
        "cache_control": {"type": "ephemeral"},
        "prompt_cache_key": "k",
        "user": "u-1",
    },
    "messages": {
        **_ANY,
        "temperature": 1.0,
        "top_k": 40,
        "stop_sequences": ["END"],
        "system": [{"type": "text", "text": "context", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [{"name": "lookup", "input_schema": TOOL_SCHEMA, "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2_048},
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "output_config": {"effort": "high"},
        "service_tier": "auto",
    },
    "responses": {
        **_ANY,
        "instructions": "be brief",
        "temperature": 0.7,
        "tools": [{"type": "function", "name": "lookup", "parameters": TOOL_SCHEMA, "strict": False}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": TOOL_SCHEMA}, "verbosity": "low"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "prompt_cache_key": "k",
        "client_metadata": {"turn": WIDE},
    },
}
"""Everything that the documents say passes through, by surface."""


@scenario(reaches=("failover_taken",))
def everything_reaches_the_upstream_unchanged(contract: Contract, rng: random.Random) -> Scenario:
    """Every field of every JSON type arrives as it was sent, on every path, streamed or not, at every target tried."""
    calls: list[Call] = []
    for call in on_every_path(contract, surfaces=SURFACES):
        body = BODIES[call.surface]
        opted = {"anthropic-beta": BETAS} if call.surface == "messages" else {}
        calls.append(replace(call, fields={**body, "hypereal": {"cache": "auto"}}, headers=opted))
        if "managed" in call.path:
            name = rng.choice(sorted(body))
            calls += [call, replace(call, fields={name: body[name]}), replace(call, fields=body, stream=True)]
            options = {"stream_options": {"include_usage": True, "x_more": WIDE}} if call.surface == "chat" else {}
            calls.append(replace(call, fields=options, stream=True))
    counts = on_every_path(contract, surfaces=("count_tokens",))
    calls += [replace(call, fields={"tools": BODIES["messages"]["tools"], **_ANY}) for call in counts]
    numbered = Workload(spaced(with_drawn_replies(calls, rng))).numbered()
    hit = tuple(call.id for call in rng.sample(numbered, 5))
    return Scenario(
        world=World(),
        workload=Workload(numbered),
        injections=(Injection("primary", respond(status=529), calls=hit),),
        bodies=True,
        checks=(everything_reaches_the_upstream,),
        recovers=False,
    )
