"""Latency insurance: at the threshold to the millisecond, whatever made the call slow, and never for failures."""

from __future__ import annotations

from dataclasses import replace

from harness.checkers.billing import answers_tell_the_charge
from harness.checkers.insurance import (
    answers_carry_the_settlement,
    headers_say_what_the_body_says,
    only_whole_answers_are_insured,
    payouts_are_the_promised_share,
    payouts_come_once,
    slow_successes_are_paid,
    streams_settle_after_their_end,
)
from harness.contract import Contract
from harness.scenario import Call, Injection, Reply, Scenario, Workload, World, chat, messages, responses, scenario
from mock_upstreams.faults import cut_after, delay, respond, stall, usage_zero

COST = Reply(chunks=1, gap_ms=0, input=38_000, output=100)
SURFACES = (("chat", chat, "gpt-5-5"), ("messages", messages, "claude-sonnet-4-7"), ("responses", responses, "gpt-5-5"))
TOLD = (answers_carry_the_settlement, headers_say_what_the_body_says, answers_tell_the_charge)
PAID = (payouts_are_the_promised_share, payouts_come_once, streams_settle_after_their_end)


def _well_over(contract: Contract) -> float:
    """Return a time well over the threshold, as far over it as the gateway's patience with a silent upstream allows."""
    return min(contract.insurance.threshold_ms * 1.8, contract.timeouts.silence_ms * 0.95)


def _spaced(calls: list[Call], gap_ms: float = 37) -> Workload:
    return Workload(tuple(replace(call, at_ms=n * gap_ms) for n, call in enumerate(calls)))


@scenario(reaches=("payout",))
def slow_success(contract: Contract) -> Scenario:
    """Well under, and well over the threshold: on every surface, streamed or not, the slow ones alone are paid."""
    threshold = contract.insurance.threshold_ms
    calls = [
        make(model, stream=stream, reply=replace(COST, ttft_ms=ttft_ms, input=tokens))
        for _, make, model in SURFACES
        for stream in (False, True)
        for ttft_ms in (threshold * 0.2, _well_over(contract))
        for tokens in (38_000, 7_001)
    ]
    return Scenario(world=World(), workload=_spaced(calls), checks=(slow_successes_are_paid, *TOLD, *PAID))


@scenario(reaches=("payout",))
def at_the_threshold(contract: Contract) -> Scenario:
    """A millisecond under, exactly at, and a millisecond over the threshold; and a fraction of one over."""
    threshold = contract.insurance.threshold_ms
    calls = [
        make(model, stream=stream, reply=replace(COST, ttft_ms=threshold + offset))
        for _, make, model in SURFACES
        for stream in (False, True)
        for offset in (-1, 0, 0.999, 1)
    ]
    return Scenario(world=World(), workload=_spaced(calls), checks=(slow_successes_are_paid, *TOLD, *PAID), exact=True)


@scenario(reaches=("payout", "failover_taken", "retry_taken"))
def whatever_made_it_slow(contract: Contract) -> Scenario:
    """Queueing, failed attempts and the pauses between them count towards the latency."""
    threshold = contract.insurance.threshold_ms
    silence = contract.timeouts.silence_ms
    failing = min(threshold * 1.3, silence * 0.9)
    calls = [
        make(model, stream=stream, id=f"{name}-{int(stream)}", reply=replace(COST, ttft_ms=threshold * 0.45))
        for name, make, model in SURFACES
        for stream in (False, True)
    ]
    named = tuple(call.id for call in calls)
    return Scenario(
        world=World(),
        workload=_spaced(calls),
        injections=(
            Injection("primary", respond(status=503), calls=named),
            Injection("primary", delay(seconds=failing / 1e3), calls=named, first=len(named)),
        ),
        checks=(slow_successes_are_paid, *TOLD, *PAID),
    )


@scenario(reaches=("payout", "queue_wait"))
def waiting_counts(contract: Contract) -> Scenario:
    """A call that waited for its slot is as slow as its caller found it."""
    wait = contract.text.queue_wait_ms
    threshold = contract.insurance.threshold_ms
    slots = 2
    first = [chat("gpt-5-5", at_ms=0, reply=replace(COST, ttft_ms=wait * 0.6)) for _ in range(slots)]
    held = threshold - wait * 0.3
    waiting = [chat("gpt-5-5", at_ms=5, stream=stream, reply=replace(COST, ttft_ms=held)) for stream in (False, True)]
    return Scenario(
        world=World(overlay={"text.concurrency": slots}),
        workload=Workload((*first, *waiting)),
        exact=True,  # a wait in the queue is shorter than the scheduling of sockets can be told apart
        checks=(slow_successes_are_paid, *TOLD, *PAID),
    )


@scenario
def slow_readers_are_not_slow_answers(contract: Contract) -> Scenario:
    """A client that reads slowly is not compensated for its own pace."""
    threshold = contract.insurance.threshold_ms
    calls = [
        make(model, stream=True, read_pause_ms=threshold / 4, reply=replace(COST, chunks=8, ttft_ms=50, gap_ms=5))
        for _, make, model in SURFACES
    ]
    return Scenario(
        world=World(), workload=_spaced(calls), checks=(slow_successes_are_paid, streams_settle_after_their_end)
    )


@scenario
def slow_uploads_are_not_slow_answers(contract: Contract) -> Scenario:
    """The latency starts when the whole request is there, not when its first byte came."""
    threshold = contract.insurance.threshold_ms
    calls = [
        make(model, stream=stream, upload_ms=threshold * 0.5, reply=replace(COST, ttft_ms=threshold * 0.8))
        for _, make, model in SURFACES
        for stream in (False, True)
    ]
    return Scenario(world=World(), workload=_spaced(calls), checks=(slow_successes_are_paid, *TOLD))


@scenario(reaches=("silence_ended", "stream_broken_after_content", "client_left"))
def slow_failures_are_not_paid(contract: Contract) -> Scenario:
    """Slow and failed, slow and abandoned, slow and free of charge: none of them is compensated."""
    threshold = contract.insurance.threshold_ms
    slow = replace(COST, chunks=4, ttft_ms=threshold * 0.9, gap_ms=threshold * 0.2)
    calls: list[Call] = []
    for name, make, model in SURFACES:
        calls += [
            make(model, stream=True, id=f"cut-{name}", reply=slow),
            make(model, id=f"hang-{name}", reply=slow),
            make(model, stream=True, id=f"free-{name}", reply=replace(COST, ttft_ms=_well_over(contract))),
            make(model, id=f"left-{name}", reply=replace(COST, ttft_ms=threshold * 1.01), abort_ms=threshold),
            # Its last chunk comes within the drain time, so that it is charged.
            make(
                model,
                stream=True,
                id=f"gone-{name}",
                reply=replace(slow, ttft_ms=threshold * 0.5, gap_ms=threshold * 0.17),
                abort_ms=threshold,
            ),
        ]
    named = [call.id for call in calls]
    return Scenario(
        world=World(),
        workload=_spaced(calls),
        injections=(
            Injection("*", cut_after(content=2), calls=tuple(i for i in named if i.startswith("cut"))),
            Injection("*", stall(chunks=0), calls=tuple(i for i in named if i.startswith("hang"))),
            Injection("*", usage_zero(), calls=tuple(i for i in named if i.startswith("free"))),
        ),
        checks=(only_whole_answers_are_insured, slow_successes_are_paid, payouts_come_once),
    )
