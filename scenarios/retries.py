"""Clients that repeat what failed, as they were measured to: what a user's turn costs in an outage, and whom."""

from __future__ import annotations

from dataclasses import replace

from harness.checkers.breaker import open_circuits_get_no_calls
from harness.checkers.breaker_states import circuits_follow_their_rules
from harness.checkers.fairness import quotas_are_apart
from harness.checkers.outages import an_outage_costs_a_bounded_number_of_calls
from harness.checkers.rates import request_windows_hold
from harness.checkers.turns import (
    retries_pay_for_their_own_success,
    turns_leave_others_their_quota,
    turns_open_no_circuit_by_their_own_fault,
)
from harness.contract import Contract
from harness.scenario import (
    Account,
    Call,
    Injection,
    Reply,
    Scenario,
    Workload,
    World,
    chat,
    evenly,
    messages,
    responses,
    scenario,
)
from mock_upstreams.faults import cut_after, respond
from scenarios.failover import NO_BREAKER

CHECKS = (retries_pay_for_their_own_success, turns_leave_others_their_quota)
BOUNDED = (
    an_outage_costs_a_bounded_number_of_calls,
    open_circuits_get_no_calls,
    circuits_follow_their_rules,
)
WORLD = World(accounts=(Account("a"), Account("b")))
DOWN = respond(status=503, after_s=0.017)
REPLY = Reply(chunks=2, ttft_ms=20, gap_ms=1)
APART_MS = 1_307
"""One user after another, not quite at once."""
USERS = {"sdk": 6, "claude_code": 4, "codex": 2}
"""How many users' turns fall into an outage, the fewer the more tries each of them has."""


OTHERS = 60
"""How many calls of somebody who does not repeat them fall into it too."""


def turns(client: str, users: int, start_ms: float = 0) -> list[Call]:
    """Return one turn for each user of a client, on the surface that the client speaks."""
    make, model = {
        "sdk": (chat, "gpt-5-5"),
        "claude_code": (messages, "claude-sonnet-4-7"),
        "codex": (responses, "qwen3-7-plus"),
    }[client]
    stream = client != "sdk"
    return [
        make(model, id=f"{client}{n + 1}", at_ms=start_ms + n * APART_MS, stream=stream, reply=REPLY, client=client)
        for n in range(users)
    ]


def _outage(contract: Contract, client: str) -> Scenario:
    """Return an outage of all targets that outlasts the turns of a client's users, and what others ask meanwhile."""
    calls = turns(client, USERS[client])
    others = [
        replace(calls[0], id=f"other{n}", account="b", client="", at_ms=at_ms)
        for n, at_ms in enumerate(evenly(OTHERS, contract.breaker.cooldown_ms * 6, 501.3))
    ]
    return Scenario(
        world=WORLD,
        workload=Workload((*calls, *others)),
        injections=(Injection("*", DOWN),),
        checks=(*CHECKS, *BOUNDED, quotas_are_apart),
        exact=True,
    )


@scenario(part="chaos", reaches=("circuit_opened", "chain_exhausted"))
def sdk_in_an_outage(contract: Contract) -> Scenario:
    """An official SDK's three tries reach three targets twice each, until their circuits open."""
    return _outage(contract, "sdk")


@scenario(part="chaos", reaches=("every_circuit_open", "half_open_probed"))
def claude_code_in_an_outage(contract: Contract) -> Scenario:
    """Claude Code's eleven tries in three minutes reach upstreams as often as circuits let them, not oftener."""
    return _outage(contract, "claude_code")


@scenario(part="chaos", reaches=("every_circuit_open", "half_open_probed"))
def codex_in_an_outage(contract: Contract) -> Scenario:
    """Codex' thirty tries reach upstreams as often as circuits let them, not oftener."""
    return _outage(contract, "codex")


@scenario(part="chaos", reaches=("chain_exhausted", "retry_taken"))
def without_a_breaker(contract: Contract) -> Scenario:
    """The same turns where no circuit may open: each try costs every target all its tries."""
    calls = [call for client, users in USERS.items() for call in turns(client, users)]
    return Scenario(
        world=replace(WORLD, overlay=NO_BREAKER),
        workload=Workload(tuple(calls)),
        injections=(Injection("*", DOWN),),
        checks=(retries_pay_for_their_own_success,),
        exact=True,
        recovers=False,
    )


@scenario(part="chaos", reaches=("rate_refused", "chain_exhausted"))
def within_their_quota(contract: Contract) -> Scenario:
    """A turn that fails on and on uses up its own account's requests and no others', whose calls are let in."""
    limit = 10
    calls = turns("codex", 2)
    others = [
        replace(calls[0], id=f"other{n}", account="b", client="", at_ms=at_ms)
        for n, at_ms in enumerate(evenly(limit, contract.text.window_ms, 307.9))
    ]
    return Scenario(
        world=replace(WORLD, overlay={**NO_BREAKER, "text.requests": limit}),
        workload=Workload((*calls, *others)),
        injections=(Injection("*", DOWN),),
        checks=(*CHECKS, quotas_are_apart, request_windows_hold),
        recovers=False,
    )


@scenario(part="chaos", reaches=("client_fault_returned", "balance_refused"))
def by_their_own_fault(contract: Contract) -> Scenario:
    """Turns that fail by their own fault, however often they are repeated, open no circuit for others."""
    fault = respond(status=409, after_s=0.013)
    wrong = turns("sdk", contract.breaker.min_calls)
    over_ms = contract.breaker.min_calls * APART_MS
    poor = [replace(call, account="poor") for call in turns("codex", 2, over_ms)]
    end_ms = over_ms + contract.breaker.cooldown_ms  # the failures just before are still remembered
    after = [
        replace(call, id=f"{call.id}-after{n}", account="b", client="", at_ms=end_ms + n * APART_MS)
        for call in (wrong[0], poor[0])
        for n in range(3)
    ]
    return Scenario(
        world=replace(WORLD, accounts=(*WORLD.accounts, Account("poor", credits=0))),
        workload=Workload((*wrong, *poor, *after)),
        injections=(Injection("*", fault, accounts=("a",), stop_ms=end_ms),),
        checks=(turns_open_no_circuit_by_their_own_fault, *CHECKS),
        exact=True,
        recovers=False,
    )


@scenario(part="chaos", reaches=("chain_exhausted", "stream_broken_after_content"))
def served_in_the_end(contract: Contract) -> Scenario:
    """A turn whose first tries fail pays for the one that is served: after an outage, after a broken stream."""
    down_ms = 3_000
    calls = [call for client in USERS for call in turns(client, 3, start_ms=100)]
    broken = [
        replace(call, id=f"{call.id}-broken")
        for client in ("claude_code", "codex")
        for call in turns(client, 2, 40_000)
    ]
    return Scenario(
        world=replace(WORLD, overlay=NO_BREAKER),
        workload=Workload((*calls, *broken)),
        injections=(
            Injection("*", DOWN, stop_ms=down_ms),
            Injection("*", cut_after(content=1), calls=tuple(call.id for call in broken)),
        ),
        checks=(retries_pay_for_their_own_success,),
        recovers=False,
    )
