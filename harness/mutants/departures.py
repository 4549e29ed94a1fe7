"""Mutants that go on without their client, or forget what it held (FAIL-09)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.failures import Failure
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Relay
from harness.gateway.settlement import Settler
from harness.mutants.registry import mutant


class _Draining(Pipeline):
    """A pipeline whose drain time is its own."""

    def drain_s(self, parts: Components, call: Call) -> float | None:
        """Return for how long the call goes on without its client, None for as long as it likes."""
        return parts.contract.timeouts.drain_ms / 1e3 if call.attached else 0.0

    def client_left(self, parts: Components, call: Call) -> None:
        if call.out is not None:
            call.out.abandon()
        drain_s = self.drain_s(parts, call)
        if drain_s is not None and call.limit is not None and not call.limit.expired():
            call.limit.reschedule(min(call.limit.ends_s, asyncio.get_running_loop().time() + drain_s))


@mutant(breaks="FAIL-09")
def starts_attempts_for_nobody(parts: Components) -> Components:
    """Goes on failing over for a client that has left."""

    class Unaware(_Draining):
        def drain_s(self, parts: Components, call: Call) -> float | None:
            return None

    class Tireless(Relay):
        def after(self, parts: Components, call: Call, failure: Failure) -> None:
            if not call.client.gone:
                super().after(parts, call, failure)

    return replace(parts, pipeline=Unaware(), relay=Tireless(parts.contract))


@mutant(breaks="FAIL-09")
def makes_the_try_that_it_was_pausing_for(parts: Components) -> Components:
    """Lets a pause between two tries, and the try after it, count as draining."""

    class Pausing(_Draining):
        def drain_s(self, parts: Components, call: Call) -> float | None:
            return parts.contract.timeouts.drain_ms / 1e3

    return replace(parts, pipeline=Pausing())


@mutant(breaks="FAIL-09")
def drains_without_bound(parts: Components) -> Components:
    """Lets an upstream that is at work finish, however long it takes."""

    class Boundless(_Draining):
        def drain_s(self, parts: Components, call: Call) -> float | None:
            return None if call.attached else 0.0

    return replace(parts, pipeline=Boundless())


@mutant(breaks="FAIL-09")
def does_not_notice_that_an_unstreamed_client_left(parts: Components) -> Components:
    """Finds out that the client of an unstreamed call is gone when it sends the answer."""

    class Unaware(_Draining):
        def drain_s(self, parts: Components, call: Call) -> float | None:
            if call.stream:
                return super().drain_s(parts, call)
            call.client.gone = False
            return None

    return replace(parts, pipeline=Unaware())


@mutant(breaks="FAIL-09")
def drains_for_a_second_at_least(parts: Components) -> Components:
    """Takes a drain time of 0 for one that was not set."""

    class Slow(_Draining):
        def drain_s(self, parts: Components, call: Call) -> float | None:
            return max(1.0, parts.contract.timeouts.drain_ms / 1e3) if call.attached else 0.0

    return replace(parts, pipeline=Slow())


@mutant(breaks="FAIL-09")
def frees_the_slot_when_the_client_leaves(parts: Components) -> Components:
    """Gives the slot of a client that left to the next one while the upstream is still at work."""

    class Hasty(Pipeline):
        def client_left(self, parts: Components, call: Call) -> None:
            super().client_left(parts, call)
            parts.settler.give_back(parts, call)

    return replace(parts, pipeline=Hasty())


@mutant(breaks="FAIL-09")
def keeps_the_slot_for_another_drain_time(parts: Components) -> Components:
    """Gives the slot of a client that left back a drain time after its upstream call ended."""
    drain_s = parts.contract.timeouts.drain_ms / 1e3

    class Slow(Settler):
        def give_back(self, parts: Components, call: Call) -> None:
            if call.client.gone:
                asyncio.get_running_loop().call_later(drain_s, super().give_back, parts, call)
            else:
                super().give_back(parts, call)

    return replace(parts, settler=Slow(parts.contract))
