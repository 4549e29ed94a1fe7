"""Mutants that tell another charge or balance than there is, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.insurer import Settlement
from harness.gateway.ledger import Hold, Ledger, Posting
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer
from harness.gateway.settlement import Bill, Settler
from harness.gateway.sse import Event
from harness.gateway.surfaces import Surface
from harness.mutants.furniture import with_ledger
from harness.mutants.registry import mutant


@mutant(breaks="BILL-03")
def tells_the_available_balance(parts: Components) -> Components:
    """Tells the balance less what other calls hold, instead of the posted one."""

    class Available(Ledger):
        async def post(self, hold: Hold, credits: int, due: int = 0) -> Posting:
            posting = await super().post(hold, credits, due)
            held = self.posted(hold.account) - self.available(hold.account)
            return replace(posting, before=posting.before - held, after=posting.after - held)

    return with_ledger(parts, Available)


@mutant(breaks="BILL-03")
def tells_the_balance_of_the_admission(parts: Components) -> Components:
    """Tells the balance before as it was when the call was let in, whatever other calls were charged since."""
    before: dict[int, int] = {}

    class Stale(Ledger):
        def hold(self, account: str, call: str, credits: int) -> Hold:
            made = super().hold(account, call, credits)
            before[made.entry] = self.posted(account)
            return made

        async def post(self, hold: Hold, credits: int, due: int = 0) -> Posting:
            posting = await super().post(hold, credits, due)
            known = before.pop(hold.entry, posting.before)
            return replace(posting, before=known, after=known - credits)

    return with_ledger(parts, Stale)


@mutant(breaks="BILL-03")
def tells_the_balance_after_the_commit(parts: Components) -> Components:
    """Tells the balance as it is when the charge is committed, with what other calls were charged meanwhile."""

    class Late(Ledger):
        async def post(self, hold: Hold, credits: int, due: int = 0) -> Posting:
            posting = await super().post(hold, credits, due)
            now = self.posted(hold.account)
            return replace(posting, before=now + credits, after=now)

    return with_ledger(parts, Late)


def _billing(parts: Components, change: Callable[[Call, Bill], Bill]) -> Components:
    """Return a gateway that tells of its bill what ``change`` makes of it."""

    class Other(Settler):
        async def charge(self, parts: Components, call: Call, answer: Answer) -> Bill:
            return change(call, await super().charge(parts, call, answer))

    return replace(parts, settler=Other(parts.contract))


@mutant(breaks="BILL-03")
def tells_a_balance_after_that_is_the_one_before(parts: Components) -> Components:
    """Tells the same balance before and after the charge."""
    return _billing(parts, lambda call, bill: replace(bill, after=bill.before))


@mutant(breaks="BILL-03")
def tells_the_hold_as_the_charge(parts: Components) -> Components:
    """Tells what was held as what was charged."""
    return _billing(parts, lambda call, bill: replace(bill, credits=call.hold.credits if call.hold else bill.credits))


@mutant(breaks="BILL-03")
def tells_the_upstreams_model(parts: Components) -> Components:
    """Tells the model that the upstream knows in place of the one that was asked for."""

    def upstream(call: Call, bill: Bill) -> Bill:
        assert call.model is not None
        return replace(bill, model=call.model.chain[0].upstream_model)

    return _billing(parts, upstream)


@mutant(breaks="BILL-03")
def tells_no_charge_of_unstreamed_answers(parts: Components) -> Components:
    """Leaves billing out of the hypereal block of unstreamed answers."""

    class Silent(Pipeline):
        def hypereal(self, call: Call, bill: Bill, settlement: Settlement | None) -> dict[str, Any] | None:
            made = super().hypereal(call, bill, settlement)
            return None if made is None else {"insurance": made["insurance"]}

    return replace(parts, pipeline=Silent())


@mutant(breaks="BILL-03")
def tells_no_charge_of_chat_streams(parts: Components) -> Components:
    """Leaves the hypereal block out of the usage chunk of chat streams."""
    return _silent(parts, "chat")


@mutant(breaks="BILL-03")
def tells_no_charge_of_messages_streams(parts: Components) -> Components:
    """Leaves the hypereal block out of message_delta."""
    return _silent(parts, "messages")


@mutant(breaks="BILL-03")
def tells_no_charge_of_responses_streams(parts: Components) -> Components:
    """Leaves the hypereal block out of response.completed."""
    return _silent(parts, "responses")


def _silent(parts: Components, name: str) -> Components:
    """Return a gateway whose streams of one surface carry no hypereal block."""

    class Silent(type(parts.surfaces[name])):  # type: ignore[misc] # the class of whatever surface there is
        def place(self, events: Sequence[Event], hypereal: object) -> None:
            return None

    surface: Surface = Silent()
    return replace(parts, surfaces={**parts.surfaces, name: surface})
