"""Mutants that treat the retries of a client, which carry its own key, as they should not."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from harness.gateway.asgi import Headers
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.ledger import Ledger
from harness.gateway.pipeline import Pipeline
from harness.gateway.replays import Kept, Replays
from harness.mutants.furniture import with_ledger
from harness.mutants.registry import mutant


def _with(parts: Components, replays: type[Replays]) -> Components:
    return replace(parts, replays=replays(parts.contract, parts.clock, parts.store))


@mutant(breaks="CLIENT-04")
def runs_every_retry_again(parts: Components) -> Components:
    """Takes no notice of an idempotency key."""

    class Deaf(Replays):
        def enter(self, call: Call) -> Kept | None:
            return None

    return _with(parts, Deaf)


@mutant(breaks="CLIENT-04")
def replays_to_any_body(parts: Components) -> Components:
    """Answers a key again whatever it comes with."""

    class Careless(Replays):
        def digest(self, call: Call) -> bytes:
            return b""

    return _with(parts, Careless)


@mutant(breaks="CLIENT-04")
def knows_a_key_only_once_its_call_is_over(parts: Components) -> Components:
    """Lets a second call with a key run beside the first one."""

    class Late(Replays):
        def enter(self, call: Call) -> Kept | None:
            running, self._running = self._running, {}
            try:
                return super().enter(call)
            finally:
                self._running = {**running, **self._running}

        async def keep(self, call: Call, headers: Headers, body: bytes) -> None:
            if call.replay_key in self._running:
                await super().keep(call, headers, body)

        def leave(self, call: Call) -> None:
            if call.replay_key in self._running:
                super().leave(call)

    return _with(parts, Late)


@mutant(breaks="CLIENT-04")
def shares_keys_between_accounts(parts: Components) -> Components:
    """Keeps answers by the key alone, whoever sent it."""

    class Shared(Replays):
        def key(self, call: Call, word: str) -> tuple[str, str]:
            return ("", word)

    return _with(parts, Shared)


@mutant(breaks="CLIENT-04")
def replays_refusals_of_calls_that_never_ran(parts: Components) -> Components:
    """Keeps an answer also if the call was not let in."""

    class Eager(Replays):
        def lasts(self, call: Call) -> bool:
            return True

    return _with(parts, Eager)


@mutant(breaks="CLIENT-04")
def keeps_an_answer_for_ever(parts: Components) -> Components:
    """Does not forget a key when its time is over."""

    class Elephant(Replays):
        def _forget_old(self) -> None:
            pass

    return _with(parts, Elephant)


@mutant(breaks="CLIENT-04")
def forgets_its_keys_in_a_crash(parts: Components) -> Components:
    """Has its keys in memory alone."""

    class Forgetful(Replays):
        async def open(self, ledger: Ledger) -> None:
            pass

    return _with(parts, Forgetful)


@mutant(breaks="CLIENT-04")
def keeps_charges_whose_answers_a_crash_took(parts: Components) -> Components:
    """Lets a charge stand whose answer nobody can have any more, and charges the retry too."""

    class Keeping(Ledger):
        async def take_back(self, holds: Set[int]) -> None:
            pass

    return with_ledger(parts, Keeping)


@mutant(breaks="CLIENT-04")
def keeps_an_answer_once_it_was_given(parts: Components) -> Components:
    """Stores an answer behind its client's back, so that a kill may come between."""

    class Late(Replays):
        async def keep(self, call: Call, headers: Headers, body: bytes) -> None:
            pass

    return _with(parts, Late)


class _Booking(Pipeline):
    """Books something for a replay."""

    async def replay(self, parts: Components, call: Call, kept: Kept) -> None:
        await self.book(parts, call, kept)
        await super().replay(parts, call, kept)

    async def book(self, parts: Components, call: Call, kept: Kept) -> None:
        raise NotImplementedError


@mutant(breaks="CLIENT-04")
def charges_a_replay(parts: Components) -> Components:
    """Charges a credit for an answer that it had already."""

    class Charging(_Booking):
        async def book(self, parts: Components, call: Call, kept: Kept) -> None:
            await parts.ledger.post(parts.ledger.hold(call.account, call.label, 1), 1)

    return replace(parts, pipeline=Charging())


@mutant(breaks="INS-05")
def pays_a_replay_of_a_slow_call(parts: Components) -> Components:
    """Compensates a replay if the answer says that its call was slow."""

    class Paying(_Booking):
        async def book(self, parts: Components, call: Call, kept: Kept) -> None:
            if b'"status":"paid"' in kept.body:
                await parts.ledger.payout(call.account, call.label, 1)

    return replace(parts, pipeline=Paying())


@mutant(breaks="INS-05")
def tells_of_a_payout_for_a_replay(parts: Components) -> Components:
    """Writes a replay of a compensated call into the usage log as compensated."""

    class Telling(_Booking):
        async def book(self, parts: Components, call: Call, kept: Kept) -> None:
            if b'"status":"paid"' in kept.body:
                call.insurance = "paid"

    return replace(parts, pipeline=Telling())
