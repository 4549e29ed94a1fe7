"""Mutants that run too many calls at a time, or lose slots on one way out."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.failures import Failure
from harness.gateway.governor import Governor
from harness.gateway.passage import Passage
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer, Relay
from harness.gateway.settlement import Settler
from harness.gateway.slots import Slots
from harness.mutants.furniture import ROUND_TRIP_S, with_slots
from harness.mutants.registry import mutant


@mutant(breaks="GOV-02")
def has_one_slot_too_many(parts: Components) -> Components:
    """Admits one call more at a time than there are slots."""

    class Loose(Slots):
        def try_take(self) -> bool:
            if self._taken == self._limits.concurrency:
                self._taken += 1
                return True
            return super().try_take()

    return with_slots(parts, Loose)


@mutant(breaks="GOV-02")
def counts_a_slot_only_later(parts: Components) -> Components:
    """Looks whether a slot is free, and counts it as taken a round trip later."""

    class Racing(Slots):
        def try_take(self) -> bool:
            if self._taken >= self._limits.concurrency:
                return False
            asyncio.get_running_loop().call_later(ROUND_TRIP_S, self._count)
            return True

        def _count(self) -> None:
            self._taken += 1

    return with_slots(parts, Racing)


@mutant(breaks="GOV-02")
def frees_the_slot_while_the_upstream_runs(parts: Components) -> Components:
    """Gives a stream's slot back when its first byte is there."""

    class Early(Relay):
        def passage(self, call: Call) -> Passage:
            if call.ticket is not None and call.stream:
                call.ticket.release()
            return super().passage(call)

    return replace(parts, relay=Early(parts.contract))


@mutant(breaks="GOV-02")
def frees_the_slot_of_a_call_that_drains(parts: Components) -> Components:
    """Gives the slot back as the client leaves, while the upstream is still being read."""

    class Hasty(Pipeline):
        def client_left(self, parts: Components, call: Call) -> None:
            super().client_left(parts, call)
            if call.ticket is not None and call.attached:
                call.ticket.release()

    return replace(parts, pipeline=Hasty())


@mutant(breaks="GOV-02")
def frees_the_slot_between_two_tries(parts: Components) -> Components:
    """Gives the slot back when a try failed, and goes on without one."""

    class Slotless(Relay):
        def after(self, parts: Components, call: Call, failure: Failure) -> None:
            super().after(parts, call, failure)
            if call.ticket is not None:
                call.ticket.release()

    return replace(parts, relay=Slotless(parts.contract))


@mutant(breaks="GOV-02")
def takes_a_slot_for_every_target(parts: Components) -> Components:
    """Lets a call that fails over hold one more slot for each failed try, until it ends."""

    class Greedy(Relay):
        async def run(self, parts: Components, call: Call) -> Answer:
            assert call.model is not None
            try:
                return await super().run(parts, call)
            finally:
                for _ in range(taken.pop(call, 0)):
                    parts.governor._slots_of(call.model).give_back()

        def after(self, parts: Components, call: Call, failure: Failure) -> None:
            super().after(parts, call, failure)
            assert call.model is not None
            if call.enterprise and parts.governor._slots_of(call.model).try_take():
                taken[call] = taken.get(call, 0) + 1

    taken: dict[Call, int] = {}
    return replace(parts, relay=Greedy(parts.contract))


@mutant(breaks="GOV-02")
def frees_a_slot_that_it_hands_over(parts: Components) -> Components:
    """Hands a slot to the next waiter and counts it as free all the same."""

    class Doubling(Slots):
        def give_back(self) -> None:
            waiting = self._length
            super().give_back()
            if self._length < waiting:
                self._taken -= 1

    return with_slots(parts, Doubling)


@mutant(breaks="GOV-09")
def keeps_the_slot_after_a_success(parts: Components) -> Components:
    """Gives slots back after failures alone."""

    class Forgetful(Settler):
        def give_back(self, parts: Components, call: Call) -> None:
            if call.usage is None:
                super().give_back(parts, call)
            else:
                call.ticket = None

    return replace(parts, settler=Forgetful(parts.contract))


@mutant(breaks="GOV-09")
def keeps_the_slot_after_an_upstream_error(parts: Components) -> Components:
    """Gives a slot back after an answer, but not when every target failed."""
    return replace(parts, pipeline=_losing("upstream_error"))


@mutant(breaks="GOV-09")
def keeps_the_slot_after_a_timeout(parts: Components) -> Components:
    """Gives a slot back on every way out but a timeout."""
    return replace(parts, pipeline=_losing("upstream_timeout"))


@mutant(breaks="GOV-09")
def keeps_the_slot_when_a_handler_crashes(parts: Components) -> Components:
    """Gives a slot back after every refusal, but not after a crash in the middle of an admission."""

    class Careless(Governor):
        def _turn_away(self, slots: Slots, why: BaseException) -> None:
            if isinstance(why, Refusal):
                super()._turn_away(slots, why)

    return replace(parts, governor=Careless(parts.contract, parts.clock))


@mutant(breaks="GOV-09")
def keeps_the_slot_of_a_broken_stream(parts: Components) -> Components:
    """Gives a slot back on every way out but that of a stream that broke in the middle."""
    return replace(parts, pipeline=_losing("stream_broken"))


def _losing(name: str) -> Pipeline:
    """Return a pipeline that forgets the ticket of a call that is refused as ``name``."""

    class Losing(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if refusal.name == name:
                call.ticket = None
            await super().refuse(parts, call, refusal)

    return Losing()


@mutant(breaks="GOV-09")
def leaks_the_slot_of_a_client_that_left(parts: Components) -> Components:
    """Gives a slot back after an answer, but not when the client went away."""

    class Forgetful(Settler):
        def give_back(self, parts: Components, call: Call) -> None:
            if not call.client.gone:
                super().give_back(parts, call)

    return replace(parts, settler=Forgetful(parts.contract))


@mutant(breaks="GOV-09")
def leaks_the_slot_of_a_client_that_left_unstreamed(parts: Components) -> Components:
    """Loses the slot of an unstreamed call whose client leaves and whose answer does not come within the drain time."""

    class Forgetful(Pipeline):
        def abort(self, parts: Components, call: Call) -> None:
            if not call.stream:
                call.ticket = None
            super().abort(parts, call)

    return replace(parts, pipeline=Forgetful())


@mutant(breaks="GOV-09")
def loses_the_slot_of_a_waiter_that_leaves(parts: Components) -> Components:
    """Lets a waiter whose client left take a slot with it that nobody gives back."""

    class Leaky(Slots):
        async def wait(self, account: str, tokens: int) -> None:
            try:
                await super().wait(account, tokens)
            except asyncio.CancelledError:
                self._taken += 1
                raise

    return with_slots(parts, Leaky)


@mutant(breaks="GOV-09")
def loses_a_slot_granted_as_its_waiter_leaves(parts: Components) -> Components:
    """Loses a slot whose waiter leaves between the grant and its taking note of it."""

    class Careless(Slots):
        async def wait(self, account: str, tokens: int) -> None:
            await super().wait(account, tokens)
            await asyncio.sleep(ROUND_TRIP_S)

    return with_slots(parts, Careless)


@mutant(breaks="GOV-09")
def loses_a_slot_granted_at_the_last_instant(parts: Components) -> Components:
    """Turns a waiter away whose slot comes in the last millisecond of its time, and loses the slot."""

    class Careless(Slots):
        async def wait(self, account: str, tokens: int) -> None:
            loop = asyncio.get_running_loop()
            until_s = loop.time() + self._limits.queue_wait_ms / 1000
            await super().wait(account, tokens)
            if loop.time() + ROUND_TRIP_S >= until_s:
                raise self._queue_full("no slot came free in time")

    return with_slots(parts, Careless)


@mutant(breaks="GOV-09")
def loses_the_slot_of_a_call_that_its_window_refuses(parts: Components) -> Components:
    """Keeps the slot of a call that waited for it and then found its window full."""

    class Careless(Governor):
        def _turn_away(self, slots: Slots, why: BaseException) -> None:
            if not isinstance(why, Refusal):
                super()._turn_away(slots, why)

    return replace(parts, governor=Careless(parts.contract, parts.clock))


@mutant(breaks="GOV-09")
def gives_a_slot_back_twice(parts: Components) -> Components:
    """Gives the slot of a departed client back when it leaves and once more when its upstream is done."""

    class Twice(Pipeline):
        def abort(self, parts: Components, call: Call) -> None:
            if call.ticket is not None and call.model is not None:
                parts.governor._slots_of(call.model).give_back()
            super().abort(parts, call)

    return replace(parts, pipeline=Twice())
