"""Failover: every way in which an upstream fails before it said anything, on every surface, streamed and not."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

from harness.checkers.broken_streams import nothing_is_added_to_a_broken_stream
from harness.checkers.exhausted import (
    exhausted_calls_get_one_error,
)
from harness.checkers.failover import (
    broken_answers_move_on,
    rate_limited_upstreams_move_on,
    server_errors_move_on,
    timeouts_move_on,
)
from harness.checkers.moves import (
    pauses_grow,
    targets_are_tried_in_order,
)
from harness.checkers.time_limits import time_limits_hold
from harness.contract import Contract
from harness.scenario import (
    Call,
    Injection,
    Reply,
    Scenario,
    Workload,
    World,
    chat,
    messages,
    responses,
    scenario,
)
from mock_upstreams.faults import (
    FaultSpec,
    cut_after,
    cut_before_headers,
    delay,
    empty_200,
    error_in_200,
    hang_after_headers,
    hang_before_headers,
    html_200,
    json_cut_short,
    malformed_event,
    reset_after,
    reset_before_headers,
    respond,
    silence,
    stall,
    stream_error,
    truncate,
    wrong_content_type,
)

SURFACES = (("chat", chat, "gpt-5-5"), ("messages", messages, "claude-sonnet-4-7"), ("responses", responses, "gpt-5-5"))
QUICK = Reply(chunks=2, ttft_ms=10, gap_ms=2)
NO_BREAKER = {"breaker.min_calls": 1_000_000}
"""Whatever fails here, no circuit opens: a failed target stays the one that is tried first."""
ORDER = (targets_are_tried_in_order, pauses_grow)
MOVED = (server_errors_move_on, nothing_is_added_to_a_broken_stream, *ORDER)
GENERAL = {"gpt-5-5": "gpt-5.5", "claude-sonnet-4-7": "claude-sonnet-4-6"}
GENERAL_RESPONSES = "gpt-5.1-codex"


def everywhere(**options: object) -> Iterator[Call]:
    """Yield a call on each surface, unstreamed and streamed."""
    for name, make, model in SURFACES:
        for stream in (False, True):
            yield make(model, stream=stream, id=f"{name}-{'s' if stream else 'u'}", reply=QUICK, **options)


def half_of_them(turn: int, **options: object) -> list[Call]:
    """Return a call on each surface, unstreamed or streamed; the other half of all on the next turn."""
    return [call for number, call in enumerate(everywhere(**options)) if number % 2 == (number // 2 + turn) % 2]


def in_general(call: Call) -> Call:
    """Return ``call`` as one of the general API's."""
    model = GENERAL_RESPONSES if call.surface == "responses" else GENERAL[call.model]
    return replace(call, tier="general", model=model, id=f"{call.id}-general")


class Plan:
    """Collects calls, evenly spaced, each with the faults that strike it and no other."""

    def __init__(self, gap_ms: float = 50) -> None:
        self.calls: list[Call] = []
        self.injections: list[Injection] = []
        self._gap_ms = gap_ms

    def add(self, call: Call, *faults: tuple[str, FaultSpec] | tuple[str, FaultSpec, int]) -> None:
        """Add ``call``; each of ``faults`` is a role, what strikes there, and at how many tries (all, if not given)."""
        call = replace(call, id=f"{call.id}-{len(self.calls) + 1}", at_ms=len(self.calls) * self._gap_ms)
        self.calls.append(call)
        for role, fault, *first in faults:
            self.injections.append(Injection(role, fault, first=first[0] if first else None, calls=(call.id,)))

    @property
    def workload(self) -> Workload:
        """All calls added."""
        return Workload(tuple(self.calls))


def somewhere(fault: FaultSpec, rng: random.Random) -> Iterable[tuple[str, FaultSpec, int] | tuple[str, FaultSpec]]:
    """Return the fault at the first try alone, at the whole primary, or at primary and second target."""
    depth = rng.choice((0, 0, 1, 1, 2))
    if depth == 0:
        return (("primary", fault, 1),)
    return tuple((role, fault) for role in ("primary", "second")[:depth])


@scenario(reaches=("failover_taken", "retry_taken"))
def server_errors(contract: Contract, rng: random.Random) -> Scenario:
    """Every 5xx, 529 included, at the first try, the whole primary, or two targets: the client sees one answer."""
    plan = Plan()
    turn = rng.randrange(2)
    for status in (500, 502, 503, 504, 529):
        turn += 1
        for call in half_of_them(turn):
            fault = respond(status=status, after_s=rng.randrange(1, 300) / 1e3)
            plan.add(call, *somewhere(fault, rng))
            if status == 503:
                plan.add(in_general(call), *somewhere(fault, rng))
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=MOVED,
        recovers=False,
    )


@scenario(reaches=("failover_taken", "retry_after_told"))
def rate_limited_upstreams(contract: Contract, rng: random.Random) -> Scenario:
    """A 429 with every kind of Retry-After: none, short, exactly the pause cap, and beyond it."""
    cap_s = contract.failover.backoff_cap_ms / 1e3
    plan = Plan()
    for turn, told_s in enumerate((None, 1.0, cap_s, cap_s + 1), rng.randrange(2)):
        for call in half_of_them(turn):
            fault = respond(status=429, retry_after_s=told_s, after_s=rng.randrange(1, 100) / 1e3)
            plan.add(call, *somewhere(fault, rng))
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(rate_limited_upstreams_move_on, *MOVED),
        recovers=False,
    )


@scenario(reaches=("silence_ended", "retry_taken"))
def silent_upstreams(contract: Contract, rng: random.Random) -> Scenario:
    """Upstreams that hang before or after the head, or stop before any content; and one that is just in time."""
    limit_ms = contract.timeouts.silence_ms
    plan = Plan()
    in_time, late = delay(seconds=limit_ms * 0.95 / 1e3), delay(seconds=limit_ms * 1.2 / 1e3)
    for turn, fault in enumerate((hang_before_headers(), hang_after_headers(), in_time, late, None), rng.randrange(2)):
        for call in half_of_them(turn):
            plan.add(call, ("primary", fault or (stall(content=0) if call.stream else stall()), 1))
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(timeouts_move_on, time_limits_hold, *MOVED),
        recovers=False,
    )


@scenario(reaches=("retry_after_told",))
def retry_after_as_a_date(contract: Contract, rng: random.Random) -> Scenario:
    """A Retry-After that is an HTTP date is waited for as one in seconds is."""
    plan = Plan()
    for call in half_of_them(rng.randrange(2)):
        plan.add(call, ("primary", respond(status=429, retry_after_s=1.0, dated=True), 1))
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(rate_limited_upstreams_move_on, *ORDER),
        exact=True,  # only there is it certain that upstream and gateway mean the same date
        recovers=False,
    )


@scenario(reaches=("retry_taken", "chain_exhausted"))
def pauses_up_to_their_cap(contract: Contract) -> Scenario:
    """Pauses that would grow past the cap are as long as the cap, and no longer."""
    rules = contract.failover
    plan = Plan()
    for call in half_of_them(0):
        plan.add(call, ("*", respond(status=503)))
    return Scenario(
        world=World(overlay={**NO_BREAKER, "failover.backoff_cap_ms": rules.backoff_ms * rules.backoff_factor}),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=ORDER,
        recovers=False,
    )


@scenario(reaches=("silence_ended", "retry_taken"))
def to_the_millisecond(contract: Contract, rng: random.Random) -> Scenario:
    """Silent for a millisecond less than the limit, an upstream is waited for; for a millisecond more, it is left."""
    limit_ms = contract.timeouts.silence_ms
    plan = Plan()
    turn = rng.randrange(2)
    for offset_ms in (-1, 1):
        for call in half_of_them(turn):
            plan.add(call, ("primary", delay(seconds=(limit_ms - QUICK.ttft_ms + offset_ms) / 1e3), 1))
        for call in half_of_them(turn + 1):
            plan.add(call, ("primary", silence(seconds=(limit_ms + offset_ms) / 1e3, content=0), 1))
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(timeouts_move_on, time_limits_hold, *ORDER),
        exact=True,
        recovers=False,
    )


@scenario(reaches=("failover_taken", "silence_ended", "stream_broken_after_content"))
def calls_up_to_their_limit(contract: Contract) -> Scenario:
    """A text call that takes as long as it may is served; one that would take longer ends when its time is up."""
    limit_ms, silence_ms = contract.timeouts.text_call_ms, contract.timeouts.silence_ms
    pieces = int(limit_ms // (silence_ms * 0.8)) + 1
    nearly_ms = limit_ms * 0.97 / pieces
    plan = Plan()
    for call in everywhere():
        if call.stream:
            drip = replace(QUICK, chunks=pieces, gap_ms=nearly_ms, ttft_ms=nearly_ms)
            plan.add(replace(call, reply=drip))
            plan.add(replace(call, reply=replace(drip, chunks=pieces + 2)))
        else:
            # Both tries of the primary fail late, and the next target answers just in time.
            late_ms = silence_ms * 0.8
            rest_ms = limit_ms * 0.97 - late_ms * 2 - contract.failover.backoff_ms
            fails = respond(status=503, after_s=late_ms / 1e3)
            plan.add(call, ("primary", fails), ("second", delay(seconds=rest_ms / 1e3)))
        plan.add(call, ("*", hang_before_headers()))
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(time_limits_hold, exhausted_calls_get_one_error, nothing_is_added_to_a_broken_stream),
        recovers=False,
    )


def _broken(call: Call) -> list[FaultSpec]:
    """Return the faults that leave an answer of this kind without any content."""
    anyhow = [
        reset_before_headers(),
        cut_before_headers(),
        reset_after(chunks=0),
        cut_after(chunks=0),
        empty_200(),
        html_200(),
        error_in_200(),
        wrong_content_type(),
    ]
    if call.stream:
        return [
            *anyhow,
            error_in_200(status=429),
            stream_error(chunks=0),
            stream_error(content=0),
            truncate(chunks=0),
            truncate(content=0),
            malformed_event(content=0),
        ]
    return [*anyhow, json_cut_short(), json_cut_short(length="untold"), reset_after(), cut_after()]


@scenario(reaches=("failover_taken", "retry_taken"))
def broken_answers(contract: Contract, rng: random.Random) -> Scenario:
    """Connections and answers broken in every way before any content: the next try answers."""
    plan = Plan()
    for number, call in enumerate(everywhere()):
        for fault in _broken(call)[number // 2 % 2 :: 2]:
            plan.add(call, *somewhere(fault, rng))
    return _broken_answers(plan)


@scenario(part="ceilings", reaches=("failover_taken", "retry_taken"))
def broken_answers_everywhere(contract: Contract, rng: random.Random) -> Scenario:
    """The whole matrix: every way of breaking, on every surface, streamed or not."""
    plan = Plan()
    for call in everywhere():
        for fault in _broken(call):
            plan.add(call, *somewhere(fault, rng))
    return _broken_answers(plan)


def _broken_answers(plan: Plan) -> Scenario:
    return Scenario(
        world=World(overlay=NO_BREAKER),
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(broken_answers_move_on, *MOVED),
        recovers=False,
    )


@scenario(reaches=("unreachable_target_passed", "retry_taken"))
def refusing_primary(contract: Contract) -> Scenario:
    """The primary refuses connections: the next target answers."""
    return _unreachable("refusing")


@scenario(reaches=("unreachable_target_passed", "retry_taken"))
def tls_failing_primary(contract: Contract) -> Scenario:
    """The primary fails the TLS handshake: the next target answers."""
    return _unreachable("tls_failing")


def _unreachable(state: str) -> Scenario:
    plan = Plan()
    for number, call in enumerate(everywhere()):
        plan.add(call, *((("second", respond(status=503), 1),) if number % 3 == 0 else ()))
    return Scenario(
        world=World(overlay=NO_BREAKER, listeners={"primary": state}),  # type: ignore[dict-item]  # one of the words
        workload=plan.workload,
        injections=tuple(plan.injections),
        checks=(broken_answers_move_on, *MOVED),
        recovers=False,
    )


@scenario(reaches=("unreachable_target_passed",))
def unconnectable_primary(contract: Contract) -> Scenario:
    """The primary answers no connection attempt: after the connect timeout the next target answers."""
    plan = Plan()
    for call in everywhere():
        plan.add(call)
    return Scenario(
        world=World(overlay=NO_BREAKER, listeners={"primary": "hanging"}),
        workload=plan.workload,
        checks=(timeouts_move_on, targets_are_tried_in_order, nothing_is_added_to_a_broken_stream),
        exact=True,
        recovers=False,
    )
