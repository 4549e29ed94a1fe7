"""Pairs of calls that must come out alike whatever anything costs: for gateways whose prices nobody has told us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.checkers.metamorphic import (
    a_detour_costs_what_the_straight_way_costs,
    a_stream_costs_what_the_whole_answer_costs,
    more_tokens_never_cost_less,
    packets_change_nothing,
    two_keys_are_as_good_as_one,
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
    chat,
    messages,
    responses,
    scenario,
)
from mock_upstreams.faults import json_cut_short, respond, slow_drip, split_utf8
from scenarios.requests import spaced

SURFACES = (("chat", chat, "gpt-5-5"), ("messages", messages, "claude-sonnet-4-7"), ("responses", responses, "gpt-5-5"))
USAGE = Reply(chunks=3, ttft_ms=5, gap_ms=1, input=21_013, cached=7_001, output=1_009)
SIZES = (0, 997, 50_021)
"""Tokens of one class, rising."""


def _everywhere() -> Iterator[tuple[str, Call]]:
    for name, make, model in SURFACES:
        yield name, make(model, reply=USAGE)


@scenario(reaches=("failover_taken", "retry_taken"))
def the_same_usage_costs_the_same(contract: Contract) -> Scenario:
    """Whole, streamed, in other packets, after a retry or a failover: the same usage comes to the same charge."""
    calls: list[Call] = []
    injections: list[Injection] = []
    for name, call in _everywhere():
        tags = f"streamed:{name} detour:{name}"
        calls.append(replace(call, id=f"{name}-whole", tag=tags))
        calls.append(replace(call, id=f"{name}-streamed", stream=True, tag=f"streamed:{name} packets:{name}"))
        for packets, fault in (("drip", slow_drip(size=11)), ("split", split_utf8())):
            calls.append(replace(call, id=f"{name}-{packets}", stream=True, tag=f"packets:{name}"))
            injections.append(Injection("primary", fault, calls=(f"{name}-{packets}",)))
        calls.append(replace(call, id=f"{name}-again", tag=f"detour:{name}"))
        injections.append(Injection("primary", json_cut_short(), first=1, calls=(f"{name}-again",)))
        calls.append(replace(call, id=f"{name}-elsewhere", tag=f"detour:{name}"))
        injections.append(Injection("primary", respond(status=503), calls=(f"{name}-elsewhere",)))
    return Scenario(
        world=World(),
        workload=Workload(spaced(calls, 20)),
        injections=tuple(injections),
        checks=(
            a_stream_costs_what_the_whole_answer_costs,
            a_detour_costs_what_the_straight_way_costs,
            packets_change_nothing,
        ),
    )


@scenario
def more_tokens_cost_more(contract: Contract) -> Scenario:
    """Each class of tokens grows alone: the charge never falls."""
    calls: list[Call] = []
    for name, call in _everywhere():
        classes = {"input": "input", "cached": "cache_read", "written": "cache_write", "output": "output"}
        for field, told in classes.items():
            if field == "written" and name != "messages":
                continue  # the other dialects have no such class
            for size in SIZES:
                tokens: dict[str, Any] = {"input": 101, "cached": 0, "output": 11, field: size}
                reply = replace(USAGE, **tokens)
                calls.append(replace(call, reply=reply, tag=f"more_{told}:{name}"))
    return Scenario(world=World(), workload=Workload(spaced(calls, 5)), checks=(more_tokens_never_cost_less,))


@scenario
def two_keys_draw_on_what_one_does(contract: Contract) -> Scenario:
    """Two accounts ask the same, one with a single key and one with two in turn: both are told the same remainder."""
    world = World(accounts=(Account("a"), Account("b", keys=(Key("b1"), Key("b2")))))
    call = chat("gpt-5-5", reply=USAGE)
    calls = [
        replace(call, account=account, key=key, tag=f"keys:{number}")
        for number in range(4)
        for account, key in (("a", ""), ("b", f"b{1 + number % 2}"))
    ]
    return Scenario(world=world, workload=Workload(spaced(calls, 20)), checks=(two_keys_are_as_good_as_one,))
