"""Admission is one atomic step: everything is taken at the instant of the grant, or nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import pytest
from gw_support import clock, contract, many, model, run, settled
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import Model
from harness.gateway.errors import Refusal
from harness.gateway.governor import Governor, Snapshot, Ticket
from harness.gateway.ledger import Hold

LIMITS = {
    "requests": 5,
    "tokens": 1000,
    "window_ms": 10_000,
    "concurrency": 2,
    "queue_length": 4,
    "queue_wait_ms": 2000,
    "queue_tokens": 10_000,
}
OTHER = "kimi-latest"
S = 1_000_000


class Purse:
    """Stands for the ledger: gives holds while there is money, and counts them."""

    def __init__(self, credits: int = 1000) -> None:
        self.credits = credits
        self.held = 0

    def hold(self) -> Hold:
        if self.held >= self.credits:
            raise Refusal("insufficient_balance", "nothing left")
        self.held += 1
        return Hold("a", "c", 1, self.held)


def governor(**limits: Any) -> Governor:
    return Governor(contract(text={**LIMITS, **limits}), clock())


async def admit(gate: Governor, account: str = "a", tokens: int = 10, purse: Purse | None = None) -> Ticket:
    return await gate.admit(account, model(), tokens, (purse or Purse()).hold)


async def refused(attempt: Awaitable[object], name: str) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await attempt
    assert refusal.value.name == name
    return refusal.value


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_snapshot_tells_the_limits_right_after_the_admission() -> None:
    async def main() -> None:
        gate = governor()
        await asyncio.sleep(3)
        first = await admit(gate, tokens=100)
        second = await admit(gate, tokens=200)
        assert (first.at_us, first.account, first.model) == (3 * S, "a", model())
        assert first.snapshot == Snapshot(2, 1, 5, 4, 1000, 900, 4, None, None)
        assert second.snapshot == Snapshot(2, 0, 5, 3, 1000, 700, 3, None, None)

    run(main())


def test_the_nth_request_of_a_window_is_admitted_and_the_next_refused_until_the_first_is_a_window_old() -> None:
    async def main() -> None:
        gate = governor()
        await asyncio.sleep(0.5)
        for n in range(5):
            ticket = await admit(gate)
            assert ticket.snapshot.rpm_remaining == 4 - n
            ticket.release()
            await asyncio.sleep(1)
        refusal = await refused(admit(gate), "rate_limited")
        assert refusal.headers == {"retry-after": "5"}
        await asyncio.sleep(4.999999)
        assert (await refused(admit(gate), "rate_limited")).headers == {"retry-after": "1"}
        await asyncio.sleep(0.000001)
        assert (await admit(gate)).at_us == 10_500_000
        await refused(admit(gate), "rate_limited")

    run(main())


def test_windows_are_per_account_and_model_and_slots_per_model() -> None:
    async def main() -> None:
        gate = governor(concurrency=3, requests=1)
        await admit(gate, "a")
        await refused(admit(gate, "a"), "rate_limited")
        assert (await admit(gate, "b")).snapshot.concurrency_remaining == 1
        other = await gate.admit("a", model(OTHER), 10, Purse().hold)
        assert other.snapshot.concurrency_remaining == 2
        assert other.snapshot.rpm_remaining == 0

    run(main())


def test_capacity_is_the_tightest_request_budget_of_the_models_in_use() -> None:
    async def main() -> None:
        gate = governor(concurrency=10)
        for _ in range(3):
            await admit(gate)
        await asyncio.sleep(1)
        other = await gate.admit("a", model(OTHER), 10, Purse().hold)
        assert (other.snapshot.rpm_remaining, other.snapshot.capacity_remaining) == (4, 2)
        assert (await admit(gate, "b")).snapshot.capacity_remaining == 4
        await asyncio.sleep(9)  # the first three have left their window
        assert (await gate.admit("a", model(OTHER), 10, Purse().hold)).snapshot.capacity_remaining == 3

    run(main())


def test_a_model_that_was_not_used_within_its_window_does_not_limit_the_capacity() -> None:
    async def main() -> None:
        image = next(known for known in contract().models if known.tier == "enterprise" and known.media == "image")
        gate = Governor(contract(text=LIMITS, image={"requests": 2, "window_ms": 10_000}), clock())
        await gate.admit("a", image, 1, Purse().hold, images=1)
        assert (await admit(gate)).snapshot.capacity_remaining == 1
        await asyncio.sleep(10)
        assert (await admit(gate)).snapshot.capacity_remaining == 4

    run(main())


def test_identical_concurrent_calls_cannot_slip_past_the_token_limit_together() -> None:
    async def main() -> None:
        gate = governor(concurrency=10)
        results = await asyncio.gather(*(admit(gate, tokens=300) for _ in range(5)), return_exceptions=True)
        tickets = [result for result in results if isinstance(result, Ticket)]
        assert [ticket.snapshot.tpm_remaining for ticket in tickets] == [700, 400, 100]
        assert [result.name for result in results if isinstance(result, Refusal)] == ["rate_limited"] * 2
        assert (await admit(gate, tokens=100)).snapshot.tpm_remaining == 0

    run(main())


def test_settling_counts_the_actual_tokens_from_the_admission_on() -> None:
    async def main() -> None:
        gate = governor(concurrency=10)
        ticket = await admit(gate, tokens=900)
        await asyncio.sleep(4)
        await refused(admit(gate, tokens=101), "rate_limited")
        ticket.settle(250)
        assert (await admit(gate, tokens=101)).snapshot.tpm_remaining == 1000 - 250 - 101
        await asyncio.sleep(6)
        assert (await admit(gate, tokens=0)).snapshot.tpm_remaining == 1000 - 101
        ticket.settle(999)  # its minute is over: this changes nothing
        assert (await admit(gate, tokens=0)).snapshot.tpm_remaining == 1000 - 101

    run(main())


def test_a_call_larger_than_the_token_limit_is_refused_and_waits_no_longer_than_a_window() -> None:
    async def main() -> None:
        gate = governor()
        refusal = await refused(admit(gate, tokens=1001), "rate_limited")
        assert refusal.headers == {"retry-after": "10"}
        assert (await admit(gate, tokens=1000)).snapshot.tpm_remaining == 0

    run(main())


def test_a_full_window_refuses_at_arrival_even_if_there_is_no_slot() -> None:
    async def main() -> None:
        gate = governor(requests=2)
        await admit(gate)
        await admit(gate)
        started = asyncio.get_running_loop().time()
        await refused(admit(gate), "rate_limited")
        assert asyncio.get_running_loop().time() == started

    run(main())


def test_a_window_that_fills_during_the_wait_refuses_at_the_grant_and_the_slot_goes_on() -> None:
    async def main() -> None:
        gate = governor(requests=3)
        first = await admit(gate)
        await admit(gate)
        waiting = [asyncio.create_task(admit(gate, account)) for account in ("a", "a", "b")]
        await turn()
        first.release()  # a's third call takes the slot and the last unit
        await turn()
        third = await waiting[0]
        assert third.snapshot.rpm_remaining == 0
        third.release()  # in turn: b, then a's fourth
        other = await waiting[2]
        other.release()
        await refused(waiting[1], "rate_limited")
        lone = await gate.admit("c", model(), 10, Purse().hold)
        assert lone.snapshot.concurrency_remaining == 0  # one of a's first two is still there

    run(main())


def test_the_unit_is_taken_at_the_instant_of_the_grant() -> None:
    async def main() -> None:
        gate = governor(concurrency=1)
        first = await admit(gate)
        waiting = asyncio.create_task(admit(gate))
        await asyncio.sleep(1.5)
        first.release()
        second = await waiting
        assert second.at_us == 1.5 * S
        second.release()
        for _ in range(3):
            (await admit(gate)).release()
        await asyncio.sleep(8.5)  # the first unit is free again, the second is not
        (await admit(gate)).release()
        await refused(admit(gate), "rate_limited")

    run(main())


def test_a_call_that_found_no_slot_in_time_used_no_unit_and_no_hold() -> None:
    async def main() -> None:
        gate, purse = governor(), Purse()
        tickets = [await admit(gate), await admit(gate)]
        refusal = await refused(admit(gate, tokens=500, purse=purse), "queue_full")
        assert refusal.headers == {"retry-after": "2"}
        assert asyncio.get_running_loop().time() == 2
        for ticket in tickets:
            ticket.release()
        assert (await admit(gate)).snapshot == Snapshot(2, 1, 5, 2, 1000, 970, 2, None, None)
        assert purse.held == 0

    run(main())


def test_a_full_queue_refuses_at_once() -> None:
    async def main() -> None:
        gate = governor()
        for _ in range(2):
            await admit(gate)
        waiting = [asyncio.create_task(admit(gate)) for _ in range(4)]
        await turn()
        await refused(admit(gate), "queue_full")
        assert asyncio.get_running_loop().time() == 0
        for task in waiting:
            await refused(task, "queue_full")

    run(main())


@pytest.mark.parametrize("problem", [Refusal("insufficient_balance", "poor"), RuntimeError("the store is gone")])
@pytest.mark.parametrize("waits", [False, True])
def test_a_hold_that_cannot_be_made_takes_nothing_and_the_slot_goes_on(problem: Exception, waits: bool) -> None:
    def no_hold() -> Hold:
        raise problem

    async def main() -> None:
        gate = governor(concurrency=1)
        first = await admit(gate)
        if not waits:
            first.release()
        task = asyncio.create_task(gate.admit("a", model(), 400, no_hold))
        following = asyncio.create_task(gate.admit("a", model(), 50, Purse().hold))
        await turn()
        first.release()
        with pytest.raises(type(problem)):
            await task
        assert (await following).snapshot == Snapshot(1, 0, 5, 3, 1000, 940, 3, None, None)

    run(main())


def test_a_call_that_is_both_too_poor_and_too_many_is_told_of_its_balance() -> None:
    def too_poor() -> None:
        raise Refusal("insufficient_balance", "poor")

    async def main() -> None:
        gate = governor(requests=1)
        ticket = await admit(gate)
        attempt = gate.admit("a", model(), 10, Purse().hold, afford=too_poor)
        await refused(attempt, "insufficient_balance")
        await admit(gate, "b")  # no slot is left
        await refused(gate.admit("a", model(), 10, Purse().hold, afford=too_poor), "insufficient_balance")
        ticket.release()
        assert (await admit(gate, "c")).snapshot.concurrency_remaining == 0

    run(main())


def test_a_balance_that_falls_during_the_wait_refuses_at_the_grant() -> None:
    async def main() -> None:
        gate, purse = governor(concurrency=1), Purse(1)
        first = await admit(gate)
        waiting = [asyncio.create_task(admit(gate, purse=purse)) for _ in range(2)]
        await turn()
        first.release()
        second = await waiting[0]
        second.release()
        await refused(waiting[1], "insufficient_balance")
        assert (await admit(gate)).snapshot.rpm_remaining == 2

    run(main())


def test_a_cancelled_wait_leaves_no_trace() -> None:
    async def main() -> None:
        gate, purse = governor(concurrency=1), Purse()
        first = await admit(gate)
        for handed_over in (False, True):
            task = asyncio.create_task(admit(gate, tokens=500, purse=purse))
            await turn()
            if handed_over:
                first.release()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert purse.held == 0
        assert (await admit(gate)).snapshot == Snapshot(1, 0, 5, 3, 1000, 980, 3, None, None)

    run(main())


def test_a_slot_is_given_back_once() -> None:
    async def main() -> None:
        gate = governor()
        first = await admit(gate)
        await admit(gate)
        first.release()
        first.release()
        assert (await admit(gate)).snapshot.concurrency_remaining == 0

    run(main())


def test_images_count_in_a_window_of_their_own_and_settle_to_those_returned() -> None:
    async def main() -> None:
        image = next(known for known in contract().models if known.tier == "enterprise" and known.media == "image")
        limits = {name: LIMITS[name] for name in LIMITS if name != "requests"}
        gate = Governor(contract(image={**limits, "images": 10, "concurrency": 9}), clock())

        async def draw(images: int) -> Ticket:
            return await gate.admit("a", image, 1, Purse().hold, images=images)

        first = await draw(4)
        assert (first.snapshot.image_limit, first.snapshot.image_remaining) == (10, 6)
        assert (await draw(6)).snapshot.image_remaining == 0
        assert (await refused(draw(1), "rate_limited")).headers == {"retry-after": "10"}
        first.settle(1, images=1)
        assert (await draw(3)).snapshot.image_remaining == 0

    run(main())


@dataclass
class Caller:
    """One simulated call, and what became of it."""

    at_ms: int
    account: str
    model: Model
    tokens: int
    lasts_ms: int
    actual: int
    leaves_ms: int | None
    poor: bool
    admitted_us: int | None = None
    ended_us: int = 0
    outcome: str = ""
    snapshot: Snapshot | None = None
    settled: int = field(default=0)


async def play(gate: Governor, caller: Caller) -> None:
    """Let ``caller`` do all it does: arrive, wait, be served, settle, leave."""
    time = clock()

    def hold() -> Hold:
        if caller.poor:
            raise Refusal("insufficient_balance", "poor")
        return Hold(caller.account, "c", 1, 1)

    try:
        await asyncio.sleep(caller.at_ms / 1000)
        ticket = await gate.admit(caller.account, caller.model, caller.tokens, hold)
    except Refusal as refusal:
        caller.outcome, caller.ended_us = refusal.name, time.now_us()
        return
    except asyncio.CancelledError:
        caller.outcome, caller.ended_us = "left", time.now_us()
        raise
    caller.outcome, caller.admitted_us, caller.snapshot = "admitted", ticket.at_us, ticket.snapshot
    caller.settled = caller.tokens
    try:
        await asyncio.sleep(caller.lasts_ms / 1000)
        caller.settled = caller.actual
        ticket.settle(caller.actual)
    finally:
        caller.ended_us = time.now_us()
        ticket.release()


def counted(caller: Caller, now_us: int) -> int:
    """Return the tokens that ``caller`` counts for at least at ``now_us``: reserved until it was settled."""
    if caller.ended_us == now_us:
        return min(caller.tokens, caller.settled)
    return caller.settled if caller.ended_us < now_us else caller.tokens


CALLERS = many(
    st.builds(
        Caller,
        at_ms=st.integers(0, 60).map(lambda n: n * 250),
        account=st.sampled_from("ab"),
        model=st.sampled_from([model(), model(), model(OTHER)]),
        tokens=st.integers(0, 400),
        lasts_ms=st.integers(0, 16).map(lambda n: n * 250),
        actual=st.integers(0, 500),
        leaves_ms=st.none() | st.integers(0, 12).map(lambda n: n * 250),
        poor=st.booleans() | st.just(False),
    ),
)


@settled
@given(CALLERS)
def test_no_traffic_breaks_a_limit_or_leaks_a_slot(callers: list[Caller]) -> None:
    async def main() -> None:
        gate = governor()
        tasks = []
        for caller in callers:
            task = asyncio.create_task(play(gate, caller))
            if caller.leaves_ms is not None:
                asyncio.get_running_loop().call_later((caller.at_ms + caller.leaves_ms) / 1000, task.cancel)
            tasks.append(task)
        await asyncio.gather(*tasks, return_exceptions=True)
        admitted = sorted(
            (caller for caller in callers if caller.admitted_us is not None), key=lambda caller: caller.admitted_us or 0
        )
        for known in (model(), model(OTHER)):
            mine = [caller for caller in admitted if caller.model == known]
            for caller in mine:
                at_us = caller.admitted_us or 0
                assert sum(c.admitted_us <= at_us < c.ended_us for c in mine if c.admitted_us is not None) <= 2
            for account in "ab":
                own = [caller for caller in mine if caller.account == account]
                for caller in own:
                    since = (caller.admitted_us or 0) - 10 * S
                    window = [c for c in own if since < (c.admitted_us or 0) <= (caller.admitted_us or 0)]
                    assert len(window) <= 5
                    others = [c for c in window if c is not caller and (c.admitted_us or 0) < (caller.admitted_us or 0)]
                    assert caller.tokens + sum(counted(c, caller.admitted_us or 0) for c in others) <= 1000
                remaining = [(c.admitted_us, c.snapshot.rpm_remaining) for c in own if c.snapshot]
                assert len(set(remaining)) == len(remaining)
        for caller in callers:
            waited_us = caller.ended_us - caller.at_ms * 1000
            assert caller.outcome
            if caller.admitted_us is not None:
                assert caller.at_ms * 1000 <= caller.admitted_us <= caller.at_ms * 1000 + 2 * S
                assert not caller.poor
                assert caller.snapshot is not None
                assert min(caller.snapshot.rpm_remaining, caller.snapshot.tpm_remaining) >= 0
            elif caller.outcome == "queue_full":
                assert waited_us <= 2 * S
            elif caller.outcome == "insufficient_balance":
                assert caller.poor
        await asyncio.sleep(20)
        for known in (model(), model(OTHER)):
            lone = await gate.admit("a", known, 0, Purse().hold)
            assert lone.snapshot == Snapshot(2, 1, 5, 4, 1000, 1000, 4, None, None)

    run(main())


def test_one_accounts_storm_takes_neither_quota_nor_turn_of_another() -> None:
    async def main() -> None:
        gate = governor(concurrency=1, requests=100, queue_length=6)
        first = await admit(gate)
        storm = [asyncio.create_task(admit(gate)) for _ in range(20)]
        await turn()
        guest = [asyncio.create_task(admit(gate, "b")) for _ in range(2)]
        await turn()
        ticket, order = first, []
        for _ in range(4):
            ticket.release()
            await turn()
            (done,) = [task for task in (*storm, *guest) if task.done() and not task.exception() and task not in order]
            order.append(done)
            ticket = done.result()
        assert [task.result().account for task in order] == ["a", "b", "a", "b"]
        assert order[1].result().snapshot.rpm_remaining == 99
        ticket.release()
        refusals = [task.exception() for task in storm if task.done() and task.exception()]
        assert len(refusals) == 20 - 6 + 2  # past the queue, and the two that made room for the guest
        assert {refusal.name for refusal in refusals if isinstance(refusal, Refusal)} == {"queue_full"}
        await asyncio.sleep(3)
        for task in storm:
            task.exception()

    run(main())
