"""The gateway's process is killed with SIGKILL under load and comes back on its file, time and again (BILL-06, INS-07).

Sim kills a gateway between any two steps (``crashes``); here it is a real process, a real file and a real signal, at
seeded instants of real time. A run kills KILLS times; many seeds make a campaign.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from harness.checkers.billing import one_charge_per_success, streams_are_billed_at_their_end
from harness.checkers.idempotency import a_key_outlives_a_crash
from harness.checkers.insurance import charges_outlive_a_crash_with_their_payouts, payouts_come_once
from harness.checkers.ledger import a_start_that_would_harm_the_books_is_refused, money_is_neither_made_nor_lost
from harness.contract import Contract
from harness.scenario import (
    Account,
    Call,
    Crash,
    FullDisk,
    Reply,
    Scenario,
    SecondGateway,
    Workload,
    World,
    chat,
    evenly,
    messages,
    responses,
    scenario,
)
from scenarios.idempotency import again, keyed

KILLS = 5
CLEAR_MS = 350
"""How far over the threshold a latency is that clocks of sockets and a busy machine leave no doubt about."""
WORLD = World(accounts=(Account("a"), Account("b")))
PRICED = Reply(chunks=4, ttft_ms=40, gap_ms=10, input=38_000, output=900)
BOOKS = (
    money_is_neither_made_nor_lost,
    streams_are_billed_at_their_end,
    one_charge_per_success,
    payouts_come_once,
)


def _call(number: int, reply: Reply, *, life: int, at_ms: float) -> Call:
    """Return a call at an instant of a life of the gateway (from 0); behind that life's end it meets no gateway."""
    make, model = ((chat, "gpt-5-5"), (messages, "claude-sonnet-4-7"), (responses, "gpt-5-5"))[number % 3]
    call = make(model, account="ab"[number % 2], stream=number % 4 < 2, reply=reply)
    return replace(call, at_ms=None, after=(_killed(life),), delay_ms=at_ms) if life else replace(call, at_ms=at_ms)


def _load(instants_ms: Sequence[float], reply: Reply, *, life: int) -> list[Call]:
    return [_call(n, reply, life=life, at_ms=at_ms) for n, at_ms in enumerate(instants_ms)]


def _killed(life: int) -> str:
    """Return the id of the kill that a life of the gateway follows."""
    return f"kill{life}"


def _kill(life: int, at_ms: float) -> Crash:
    """Return the kill that ends a life of the gateway at an instant of it."""
    name = _killed(life + 1)
    return Crash(id=name, after=(_killed(life),), delay_ms=at_ms) if life else Crash(at_ms, id=name)


@scenario(part="durability", reaches=("crash_replayed",))
def killed_under_load(contract: Contract, rng: random.Random) -> Scenario:
    """Killed at any instant: no charge that was told is lost, none comes twice, no hold stays open."""
    calls: list[Call] = []
    for life in range(KILLS + 1):
        calls += _load(evenly(60, 750), replace(PRICED, ttft_ms=rng.randrange(60, 200)), life=life)
    return Scenario(
        world=WORLD,
        workload=Workload(tuple(calls)),
        crashes=tuple(_kill(life, rng.uniform(150, 700)) for life in range(KILLS)),
        checks=BOOKS,
        process=True,
    )


@scenario(part="durability", reaches=("crash_replayed", "killed_inside_a_stream"))
def killed_inside_streams(contract: Contract, rng: random.Random) -> Scenario:
    """Killed while every call streams: what was cut costs nothing, or its whole price, and comes once."""
    long = replace(PRICED, chunks=30, gap_ms=10)
    calls: list[Call] = []
    for life in range(KILLS + 1):
        calls += [replace(call, stream=True) for call in _load(evenly(24, 120), long, life=life)]
    return Scenario(
        world=WORLD,
        workload=Workload(tuple(calls)),
        crashes=tuple(_kill(life, rng.uniform(120, 420)) for life in range(KILLS)),
        checks=BOOKS,
        process=True,
    )


@scenario(part="durability", reaches=("killed",))
def killed_while_settling(contract: Contract, rng: random.Random) -> Scenario:
    """Killed a moment after the first of many slow calls was answered: exactly one payout per charge in the end."""
    slow = replace(PRICED, chunks=1, gap_ms=0)
    calls: list[Call] = []
    crashes: list[Crash] = []
    for life in range(KILLS + 1):
        ends_ms = contract.insurance.threshold_ms + CLEAR_MS
        batch = [
            _call(n, replace(slow, ttft_ms=ends_ms - spread_ms), life=life, at_ms=spread_ms)
            for n, spread_ms in enumerate(evenly(30, 60))
        ]
        first = replace(batch[0], id=f"first{life}")
        calls += [first, *batch[1:]]
        if life < KILLS:
            crashes.append(Crash(id=_killed(life + 1), after=(first.id,), delay_ms=rng.uniform(0, 30)))
    return Scenario(
        world=WORLD,
        workload=Workload(tuple(calls)),
        crashes=tuple(crashes),
        checks=(*BOOKS, charges_outlive_a_crash_with_their_payouts),
        process=True,
    )


@scenario(part="durability", reaches=("killed",))
def keys_outlive_a_kill(contract: Contract, rng: random.Random) -> Scenario:
    """Killed under load of calls with keys of their own: each retry gets what was told, and no key is charged twice."""
    firsts = [
        keyed(contract, replace(call, id=f"first{n}"), f"key {n}")
        for n, call in enumerate(_load(evenly(40, 500), PRICED, life=0))
    ]
    retries = [replace(again(first, f"again-{first.id}"), after=(first.id, _killed(1))) for first in firsts]
    return Scenario(
        world=WORLD,
        workload=Workload((*firsts, *retries)),
        crashes=(Crash(id=_killed(1), after=(firsts[15].id,), delay_ms=rng.uniform(0, 150)),),
        checks=(*BOOKS, a_key_outlives_a_crash),
        process=True,
    )


@scenario(part="durability", reaches=("handler_crashed",))
def a_full_disk(contract: Contract, rng: random.Random) -> Scenario:
    """The disk is full in the middle of a commit: nobody is told of a charge that the books do not keep."""
    calls = [*_load(evenly(120, 1_500), PRICED, life=0), *_load(evenly(30, 300), PRICED, life=1)]
    return Scenario(
        world=WORLD,
        workload=Workload(tuple(calls)),
        full_disks=(FullDisk(rng.uniform(300, 600), room_bytes=rng.randrange(40_000)),),
        crashes=(_kill(0, 1_400),),
        checks=BOOKS,
        process=True,
    )


@scenario(part="durability", reaches=("killed",))
def a_file_that_cannot_be_written(contract: Contract, rng: random.Random) -> Scenario:
    """A start on books that are read-only is refused and leaves them alone; afterwards all is still there."""
    calls = [*_load(evenly(40, 500), PRICED, life=0), *_load(evenly(20, 200), PRICED, life=1)]
    return Scenario(
        world=WORLD,
        workload=Workload(tuple(calls)),
        crashes=(replace(_kill(0, rng.uniform(200, 450)), read_only=True),),
        checks=(*BOOKS, a_start_that_would_harm_the_books_is_refused),
        process=True,
    )


@scenario(part="durability")
def two_gateways_on_one_file(contract: Contract, rng: random.Random) -> Scenario:
    """A second gateway on the books of one that serves does not start, and the first is not disturbed."""
    return Scenario(
        world=WORLD,
        workload=Workload(tuple(_load(evenly(80, 2_000), PRICED, life=0))),
        second_gateways=(SecondGateway(rng.uniform(100, 300)),),
        checks=(*BOOKS, a_start_that_would_harm_the_books_is_refused),
        process=True,
    )
