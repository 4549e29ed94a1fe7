"""Streams in every lawful framing: cut anywhere, CRLF, comments, doubled and displaced events; pings in silence."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from harness.checkers.chat import streams_come_as_they_are_made
from harness.checkers.messages import message_streams_keep_their_events
from harness.checkers.responses import response_streams_keep_their_events
from harness.checkers.streams import silence_is_filled_with_pings, streams_are_read_whatever_their_packets
from harness.contract import Contract
from harness.scenario import Call, Injection, Reply, Scenario, Workload, World, scenario
from mock_upstreams.faults import (
    FaultSpec,
    bom,
    comments,
    crlf,
    duplicate_event,
    events_out_of_order,
    hang_before_headers,
    long_event,
    multi_line_data,
    pings,
    respond,
    silence,
    slow_drip,
    split_crlf,
    split_utf8,
)
from scenarios.requests import SURFACES, drawn_reply, on_every_path, spaced

MANAGED = ("/v1/managed/chat/completions", "/v1/managed/messages", "/v1/managed/responses")
CHECKS = (
    streams_are_read_whatever_their_packets,
    message_streams_keep_their_events,
    response_streams_keep_their_events,
)


def streams(contract: Contract) -> Iterator[Call]:
    """Yield a stream of each surface."""
    return (c for c in on_every_path(contract, surfaces=SURFACES, stream=True) if c.path in MANAGED)


def _framings(rng: random.Random, *, chop: bool) -> tuple[tuple[FaultSpec, ...], ...]:
    """Return each framing as the faults that make it, the last of them the last to act."""
    # A line that is longer than a reader's buffer, on links that cut it; line ends cut in two, on those that do not.
    own = (long_event(size=rng.randrange(65_000, 90_000)),) if chop else (multi_line_data(), split_crlf(gap_s=0))
    return (
        (split_utf8(),),
        (slow_drip(size=rng.randrange(24, 96)),),
        (crlf(),),
        (comments(every=rng.randrange(1, 4)),),
        (pings(every=rng.randrange(1, 4)),),
        (bom(),),
        (multi_line_data(),),
        (duplicate_event(content=rng.randrange(1, 4)),),
        (events_out_of_order(content=rng.randrange(0, 3)),),
        own,
    )


def _framed(contract: Contract, rng: random.Random, shapes: tuple[str, ...], *, chop: bool) -> Scenario:
    """Return a stream of each surface in every framing, its shape drawn from ``shapes``."""
    calls: list[Call] = []
    injections: list[Injection] = []
    for number, framing in enumerate(((), *_framings(rng, chop=chop))):
        for call in streams(contract):
            call_id = f"{call.surface}-{number}"
            reply = replace(drawn_reply(rng, shape=rng.choice(shapes)), chunks=rng.randrange(2, 5))
            calls.append(replace(call, id=call_id, reply=reply))
            injections += [Injection("primary", fault, calls=(call_id,)) for fault in framing]
    return Scenario(
        world=World(),
        workload=Workload(spaced(calls)),
        injections=tuple(injections),
        chop=chop,
        checks=CHECKS,
        recovers=False,
    )


@scenario
def every_framing(contract: Contract, rng: random.Random) -> Scenario:
    """What a client reads is what the upstream sent, whatever lawful framing the events come in."""
    return _framed(contract, rng, ("mixed",), chop=False)


@scenario
def every_framing_in_pieces(contract: Contract, rng: random.Random) -> Scenario:
    """The same over links that split and merge the bytes anywhere."""
    return _framed(contract, rng, ("text", "tools", "thinking", "unknown"), chop=True)


@scenario(reaches=("ping_sent",))
def pings_while_an_upstream_is_silent(contract: Contract, rng: random.Random) -> Scenario:
    """A silent upstream's callers hear a ping at every interval: before the first byte, in the middle, at the end."""
    interval_ms = contract.timeouts.ping_ms
    calls: list[Call] = []
    injections: list[Injection] = []
    # Long enough for some pings, and short of the time after which an upstream's silence is a failure.
    quiet_ms = min(rng.uniform(2.2, 3.8) * interval_ms, contract.timeouts.silence_ms * 0.9)
    for call in streams(contract):
        late = replace(call, id=f"late-{call.surface}", reply=Reply(chunks=3, ttft_ms=quiet_ms, gap_ms=5))
        slow = replace(call, id=f"slow-{call.surface}", reply=Reply(chunks=2, ttft_ms=20, gap_ms=1.3 * interval_ms))
        brisk = replace(call, id=f"brisk-{call.surface}", reply=Reply(chunks=6, ttft_ms=10, gap_ms=interval_ms * 0.4))
        middle = replace(call, id=f"middle-{call.surface}", reply=drawn_reply(rng))
        end = replace(call, id=f"end-{call.surface}", reply=drawn_reply(rng))
        calls += [late, slow, brisk, middle, end]
        injections += [
            Injection("primary", silence(seconds=quiet_ms / 1e3, content=1), calls=(middle.id,)),
            Injection("primary", silence(seconds=1.2 * interval_ms / 1e3, chunks=1_000), calls=(end.id,)),
        ]
    return Scenario(
        world=World(),
        workload=Workload(spaced(calls)),
        injections=tuple(injections),
        bodies=True,
        latency_ms=rng.choice((0, 1, 5)),
        checks=(silence_is_filled_with_pings, streams_are_read_whatever_their_packets),
        recovers=False,
    )


@scenario(reaches=("ping_sent", "failover_taken"))
def pings_across_a_failover(contract: Contract, rng: random.Random) -> Scenario:
    """Pings go on while one target after another is silent, and no ping is mistaken for an answer's beginning."""
    interval_ms = contract.timeouts.ping_ms
    calls = [
        replace(call, id=f"over-{call.surface}", reply=Reply(chunks=12, ttft_ms=1.4 * interval_ms, gap_ms=20))
        for call in streams(contract)
    ]
    hung = [replace(call, id=f"hung-{call.surface}", reply=drawn_reply(rng)) for call in streams(contract)]
    late_s = rng.uniform(1.1, 1.9) * interval_ms / 1e3
    return Scenario(
        world=World(),
        workload=Workload(spaced([*calls, *hung])),
        injections=(
            Injection("primary", respond(status=503, after_s=late_s), calls=tuple(call.id for call in calls)),
            Injection("primary", hang_before_headers(), calls=tuple(call.id for call in hung)),
        ),
        checks=(silence_is_filled_with_pings, streams_come_as_they_are_made),
        recovers=False,
    )
