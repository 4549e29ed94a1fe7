"""The Responses API: its places, items and tools of every kind, typed streams, upstreams that stream unasked."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.checkers.billing import responses_are_billed_on_their_usage
from harness.checkers.responses import (
    an_unasked_stream_is_a_whole_answer,
    response_streams_keep_their_events,
    responses_are_served_with_all_their_items,
)
from harness.contract import Contract
from harness.scenario import Call, Injection, Scenario, Workload, World, scenario
from mock_upstreams.faults import respond, sse_although_unstreamed
from scenarios.requests import SURFACES, TOOL_SCHEMA, WIDE, drawn_reply, on_every_path, spaced

TOOLS = [
    {"type": "function", "name": "lookup", "parameters": TOOL_SCHEMA, "strict": False},
    {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark"}},
    {"type": "namespace", "name": "shell", "tools": [{"type": "function", "name": "exec", "parameters": TOOL_SCHEMA}]},
    {"type": "web_search", "search_context_size": "low"},
    {"type": "x_tool_of_tomorrow", "number": WIDE, "nothing": None},
]
ITEMS = [
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are terse."}]},
    {"role": "developer", "content": "And exact."},
    {"type": "reasoning", "summary": [], "encrypted_content": "Z0FBQUFBQm8+/==", "id": "rs_1"},
    {"type": "function_call", "call_id": "call_1", "name": "lookup", "arguments": '{"path": "a"}'},
    {"type": "function_call_output", "call_id": "call_1", "output": "none"},
    {"type": "x_item_of_tomorrow", "payload": {"number": WIDE, "list": [None, True, 1.0]}},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go on."}]},
]
SHAPES = ("text", "tools", "thinking", "mixed", "unknown")


@scenario(reaches=("failover_taken",))
def every_item_at_every_place(contract: Contract, rng: random.Random) -> Scenario:
    """Responses of every shape come back as they were sent, streamed or not, and items of every kind go up so."""
    calls: list[Call] = []
    for stream in (False, True):
        for call in on_every_path(contract, surfaces=("responses",), stream=stream):
            shapes = SHAPES if "managed" in call.path else rng.sample(SHAPES, 2)
            calls += [
                replace(call, fields=fields, reply=drawn_reply(rng, shape=shape))
                for shape, fields in zip(
                    shapes, ({}, {"input": ITEMS, "tools": TOOLS, "store": False}) * 3, strict=False
                )
            ]
    numbered = Workload(spaced(calls)).numbered()
    hit = tuple(call.id for call in rng.sample(numbered, 4))
    return Scenario(
        world=World(),
        workload=Workload(numbered),
        injections=(Injection("primary", respond(status=500), calls=hit),),
        bodies=True,
        checks=(
            responses_are_served_with_all_their_items,
            response_streams_keep_their_events,
            responses_are_billed_on_their_usage,
        ),
        recovers=False,
    )


@scenario
def an_upstream_streams_unasked(contract: Contract, rng: random.Random) -> Scenario:
    """An upstream that streams although nobody asked makes no difference to the answer, on any surface."""
    calls = [
        replace(call, reply=drawn_reply(rng, shape=shape))
        for call in on_every_path(contract, surfaces=SURFACES)
        for shape in (SHAPES if "managed" in call.path else rng.sample(SHAPES, 1))
    ]
    return Scenario(
        world=World(),
        workload=Workload(spaced(calls)),
        injections=(Injection("primary", sse_although_unstreamed()),),
        chop=rng.random() < 0.5,
        checks=(an_unasked_stream_is_a_whole_answer,),
        recovers=False,
    )
