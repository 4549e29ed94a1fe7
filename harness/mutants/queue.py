"""Mutants whose wait queue is too long, too patient, out of order or dear."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from harness.contract import Limits
from harness.gateway.admission import Admission
from harness.gateway.asgi import ClientGone
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.ledger import Posting
from harness.gateway.pipeline import Pipeline
from harness.gateway.slots import Slots, Waiter
from harness.mutants.furniture import with_slots
from harness.mutants.registry import mutant


@mutant(breaks="GOV-03")
def refuses_instead_of_waiting(parts: Components) -> Components:
    """Refuses every call that finds no slot."""
    return with_slots(parts, lambda limits: Slots(replace(limits, queue_length=0)))


@mutant(breaks="GOV-03")
def lets_anybody_wait(parts: Components) -> Components:
    """Keeps a queue that has no bound."""
    return with_slots(parts, lambda limits: Slots(replace(limits, queue_length=1_000_000)))


@mutant(breaks="GOV-03")
def has_a_place_too_many_in_its_queue(parts: Components) -> Components:
    """Lets one call more wait than the queue has places."""
    return with_slots(parts, lambda limits: Slots(replace(limits, queue_length=limits.queue_length + 1)))


@mutant(breaks="GOV-03")
def has_a_place_too_few_in_its_queue(parts: Components) -> Components:
    """Calls the queue full when one place is left."""
    return with_slots(parts, lambda limits: Slots(replace(limits, queue_length=limits.queue_length - 1)))


@mutant(breaks="GOV-03")
def keeps_the_places_of_waiters_that_left(parts: Components) -> Components:
    """Counts a waiter whose client left as one that still waits."""

    class Leaky(Slots):
        async def wait(self, account: str, tokens: int) -> None:
            try:
                await super().wait(account, tokens)
            except asyncio.CancelledError:
                self._length += 1
                raise

    return with_slots(parts, Leaky)


@mutant(breaks="GOV-03")
def lets_calls_wait_too_long(parts: Components) -> Components:
    """Lets a call wait a little longer than was promised."""
    return with_slots(parts, lambda limits: Slots(replace(limits, queue_wait_ms=limits.queue_wait_ms + 20)))


@mutant(breaks="GOV-03")
def gives_up_waiting_too_soon(parts: Components) -> Components:
    """Refuses a waiter a little before its time is up."""
    return with_slots(parts, lambda limits: Slots(replace(limits, queue_wait_ms=limits.queue_wait_ms * 97 // 100)))


@mutant(breaks="GOV-03")
def looks_for_free_slots_now_and_then(parts: Components) -> Components:
    """Lets waiters look for a free slot every so often, instead of handing it to the first of them."""
    every_s = 0.25

    class Polling(Slots):
        def give_back(self) -> None:
            asyncio.get_running_loop().call_later(every_s, super().give_back)

    return with_slots(parts, Polling)


@mutant(breaks="GOV-03")
def serves_the_newest_waiter_first(parts: Components) -> Components:
    """Hands a slot to the waiter of an account that came last."""

    class Stack(Slots):
        def _next(self) -> Waiter:
            return next(iter(self._lines.values())).waiters[-1]

    return with_slots(parts, Stack)


@mutant(breaks="GOV-03")
def serves_the_smallest_waiter_first(parts: Components) -> Components:
    """Hands a slot to the waiter of an account that asks for the fewest tokens."""

    class Shortest(Slots):
        def _next(self) -> Waiter:
            return min(next(iter(self._lines.values())).waiters, key=lambda waiter: waiter.tokens)

    return with_slots(parts, Shortest)


@mutant(breaks="GOV-03")
def sends_waiters_that_left_upstream(parts: Components) -> Components:
    """Notices a departure only once an upstream is at work, so that a waiter that left is served in its turn."""

    class Unaware(Pipeline):
        def client_left(self, parts: Components, call: Call) -> None:
            if call.attached:
                super().client_left(parts, call)
            elif call.out is not None:
                call.out.abandon()

    return replace(parts, pipeline=Unaware())


@mutant(breaks="GOV-03")
def tells_waiters_to_come_back_at_once(parts: Components) -> Components:
    """Sends Retry-After: 0 from a full queue."""
    return with_slots(parts, lambda limits: _Telling(limits, {"retry-after": "0"}))


@mutant(breaks="GOV-03")
def tells_the_wait_in_fractions(parts: Components) -> Components:
    """Sends a Retry-After that is no whole number."""
    return with_slots(parts, lambda limits: _Telling(limits, {"retry-after": f"{limits.queue_wait_ms / 1000:.1f}"}))


@mutant(breaks="GOV-03")
def does_not_say_when_to_come_back(parts: Components) -> Components:
    """Refuses a call that waited in vain without Retry-After."""

    class Silent(Slots):
        def _put_out(self, waiter: Waiter, why: str) -> None:
            self._leave(waiter)
            if not waiter.future.done():
                waiter.future.set_result(Refusal("queue_full", f"the model is busy: {why}"))

    return with_slots(parts, Silent)


class _Telling(Slots):
    """Slots whose refusals carry headers of their own."""

    def __init__(self, limits: Limits, headers: dict[str, str]) -> None:
        super().__init__(limits)
        self._told = headers

    def _queue_full(self, why: str) -> Refusal:
        return Refusal("queue_full", f"the model is busy: {why}", headers=self._told)


@mutant(breaks="GOV-03")
def charges_for_waiting_in_vain(parts: Components) -> Components:
    """Charges a credit for a wait that ended without a slot."""

    class Dear(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if refusal.name == "queue_full":
                posting = parts.ledger.post(parts.ledger.hold(call.account, call.label, 1), 1)
                posts.append(asyncio.ensure_future(posting))  # nobody waits for it
            await super().refuse(parts, call, refusal)

    posts: list[asyncio.Future[Posting]] = []
    return replace(parts, pipeline=Dear())


@mutant(breaks="GOV-03")
def uses_a_unit_for_waiting_in_vain(parts: Components) -> Components:
    """Counts a call that waited in vain in its window, as if it had been admitted."""

    class Counting(Admission):
        async def admit(self, parts: Components, call: Call) -> None:
            try:
                await super().admit(parts, call)
            except Refusal as refusal:
                if refusal.name == "queue_full" and call.model is not None:
                    now_us = parts.clock.now_us()
                    parts.governor._windows_of(call.account, call.model).requests.take(now_us, 1)
                raise

    return replace(parts, admission=Counting(parts.contract))


@mutant(breaks="GOV-03")
def asks_the_upstream_all_the_same(parts: Components) -> Components:
    """Lets a call that the queue refused go upstream, and throws the answer away."""

    class Wasteful(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if refusal.name == "queue_full" and not call.stream:
                with suppress(Refusal, ClientGone):
                    await parts.relay.run(parts, call)
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Wasteful())


@mutant(breaks="GOV-07")
def lets_any_number_of_tokens_wait(parts: Components) -> Components:
    """Bounds the queue by its length alone."""
    return with_slots(parts, lambda limits: Slots(replace(limits, queue_tokens=1 << 60)))


@mutant(breaks="GOV-07")
def lets_a_token_too_many_wait(parts: Components) -> Components:
    """Lets one token more wait than the queue takes."""
    return with_slots(parts, lambda limits: Slots(replace(limits, queue_tokens=limits.queue_tokens + 1)))


@mutant(breaks="GOV-07")
def calls_the_queue_full_at_its_last_token(parts: Components) -> Components:
    """Refuses a call whose tokens are exactly what the queue still takes."""
    return with_slots(parts, lambda limits: Slots(replace(limits, queue_tokens=limits.queue_tokens - 1)))


@mutant(breaks="GOV-07")
def lets_a_call_wait_that_is_too_large(parts: Components) -> Components:
    """Bounds the tokens that wait, but lets a call into an empty queue however large it is."""

    class Lenient(Slots):
        def _fits(self, waiter: Waiter) -> bool:
            return super()._fits(waiter) or not self._length

    return with_slots(parts, Lenient)


@mutant(breaks="GOV-07")
def keeps_the_tokens_of_waiters_that_left(parts: Components) -> Components:
    """Counts the tokens of a waiter whose client left as if it still waited."""

    class Leaky(Slots):
        async def wait(self, account: str, tokens: int) -> None:
            try:
                await super().wait(account, tokens)
            except asyncio.CancelledError:
                self._tokens += tokens
                raise

    return with_slots(parts, Leaky)


@mutant(breaks="GOV-07")
def reserves_tokens_for_those_that_wait(parts: Components) -> Components:
    """Reserves a call's tokens as it comes, and counts them while it waits."""

    class Early(Slots):
        async def wait(self, account: str, tokens: int) -> None:
            logs = [windows.tokens for windows in mutated.governor._windows[account].values()]
            entries = [(log, log.take(parts.clock.now_us(), tokens)) for log in logs]
            try:
                await super().wait(account, tokens)
            finally:
                for log, entry in entries:
                    log.settle(parts.clock.now_us(), entry, 0)

    mutated = with_slots(parts, Early)
    return mutated
