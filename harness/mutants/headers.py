"""Mutants whose headers leave out, mistake or make up how the governor's limits stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.contract import Model
from harness.gateway.asgi import Headers
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.governor import Governor, Snapshot
from harness.gateway.headers import HeaderWriter
from harness.gateway.insurer import Insurer
from harness.mutants.registry import mutant

Tell = Callable[[Governor, str, Model, int, Snapshot], Snapshot]
"""From the governor, an account, a model, the instant and what is true of it to what is told instead."""


def _telling(parts: Components, tell: Tell) -> Components:
    """Return a gateway that tells of each admission what ``tell`` makes of it."""

    class Other(Governor):
        def _snapshot(self, account: str, model: Model, now_us: int) -> Snapshot:
            return tell(self, account, model, now_us, super()._snapshot(account, model, now_us))

    return replace(parts, governor=Other(parts.contract, parts.clock))


@mutant(breaks="GOV-01")
def says_nothing_of_its_governor_on_streams(parts: Components) -> Components:
    """Sends none of the governor's headers on streams."""

    class Silent(HeaderWriter):
        def stream(self, call: Call, insurer: Insurer) -> Headers:
            said = {name for name, _ in self.governor(call)}
            return [header for header in super().stream(call, insurer) if header[0] not in said]

    return replace(parts, headers=Silent(parts.contract))


@mutant(breaks="GOV-01")
def hides_the_governor_in_refusals(parts: Components) -> Components:
    """Says that the governor is active only once it has let a call in."""

    class Shy(HeaderWriter):
        def governor(self, call: Call) -> Headers:
            return super().governor(call) if call.admitted is not None else []

    return replace(parts, headers=Shy(parts.contract))


@mutant(breaks="GOV-01")
def drops_the_limits_from_errors(parts: Components) -> Components:
    """Sends the governor's figures with answers alone, not with the error of a call that was admitted."""

    class Bare(HeaderWriter):
        def governor(self, call: Call) -> Headers:
            told = super().governor(call)
            return told[:1] if call.refused_as else told

    return replace(parts, headers=Bare(parts.contract))


@mutant(breaks="GOV-01")
def tells_a_refused_call_the_limits(parts: Components) -> Components:
    """Sends a limit with the refusal of a call that was never admitted."""
    name = parts.contract.headers.rpm_limit.encode()

    class Talkative(HeaderWriter):
        def governor(self, call: Call) -> Headers:
            told = super().governor(call)
            if call.enterprise and call.admitted is None and call.model is not None:
                told = [*told, (name, b"%d" % parts.contract.limits(call.model).requests)]
            return told

    return replace(parts, headers=Talkative(parts.contract))


@mutant(breaks="GOV-01")
def leaves_the_circuit_out_of_streams(parts: Components) -> Components:
    """Tells the circuit with unstreamed answers alone."""
    return replace(parts, headers=_without_in_streams(parts, parts.contract.headers.circuit))


@mutant(breaks="GOV-01")
def leaves_the_slots_out_of_streams(parts: Components) -> Components:
    """Tells the slots that remain with unstreamed answers alone."""
    return replace(parts, headers=_without_in_streams(parts, parts.contract.headers.concurrency_remaining))


def _without_in_streams(parts: Components, name: str) -> HeaderWriter:
    class Terse(HeaderWriter):
        def stream(self, call: Call, insurer: Insurer) -> Headers:
            return [header for header in super().stream(call, insurer) if header[0] != name.encode()]

    return Terse(parts.contract)


@mutant(breaks="GOV-01")
def tells_half_open_in_another_word(parts: Components) -> Components:
    """Spells the state of a half-open circuit as the contract does not."""

    class Hyphen(HeaderWriter):
        def governor(self, call: Call) -> Headers:
            return [(name, value.replace(b"half_open", b"half-open")) for name, value in super().governor(call)]

    return replace(parts, headers=Hyphen(parts.contract))


@mutant(breaks="GOV-01")
def tells_the_slots_as_its_rate(parts: Components) -> Components:
    """Tells the number of slots where the limit of requests belongs."""
    return _telling(
        parts, lambda governor, account, model, now_us, true: replace(true, rpm_limit=true.concurrency_limit)
    )


@mutant(breaks="GOV-01")
def tells_the_capacity_of_one_model(parts: Components) -> Components:
    """Tells what the called model's window has left, also where another window of the account is tighter."""
    return _telling(
        parts, lambda governor, account, model, now_us, true: replace(true, capacity_remaining=true.rpm_remaining)
    )


@mutant(breaks="GOV-01")
def tells_the_capacity_of_all_accounts(parts: Components) -> Components:
    """Tells the tightest window of anybody, not of the account."""

    def tell(governor: Governor, account: str, model: Model, now_us: int, true: Snapshot) -> Snapshot:
        left = [log.requests.remaining(now_us) for models in governor._windows.values() for log in models.values()]
        return replace(true, capacity_remaining=min(left))

    return _telling(parts, tell)


@mutant(breaks="GOV-10")
def tells_remaining_before_admission(parts: Components) -> Components:
    """Tells the requests that remained before the call itself was counted."""
    return _telling(
        parts, lambda governor, account, model, now_us, true: replace(true, rpm_remaining=true.rpm_remaining + 1)
    )


@mutant(breaks="GOV-10")
def tells_its_own_slot_as_free(parts: Components) -> Components:
    """Tells the slots that remained before the call had its own."""

    def tell(governor: Governor, account: str, model: Model, now_us: int, true: Snapshot) -> Snapshot:
        return replace(true, concurrency_remaining=true.concurrency_remaining + 1)

    return _telling(parts, tell)


@mutant(breaks="GOV-10")
def tells_a_slot_too_few(parts: Components) -> Components:
    """Counts a call twice where it tells the slots that remain, below zero when none does."""

    def tell(governor: Governor, account: str, model: Model, now_us: int, true: Snapshot) -> Snapshot:
        return replace(true, concurrency_remaining=true.concurrency_remaining - 1)

    return _telling(parts, tell)


@mutant(breaks="GOV-10")
def tells_no_slot_below_zero(parts: Components) -> Components:
    """Tells -1 free slots when the call has the last of them."""

    def tell(governor: Governor, account: str, model: Model, now_us: int, true: Snapshot) -> Snapshot:
        return replace(true, concurrency_remaining=true.concurrency_remaining or -1)

    return _telling(parts, tell)


@mutant(breaks="GOV-10")
def never_tells_less_than_one_request(parts: Components) -> Components:
    """Tells that one request remains when none does."""

    def tell(governor: Governor, account: str, model: Model, now_us: int, true: Snapshot) -> Snapshot:
        return replace(true, rpm_remaining=max(1, true.rpm_remaining))

    return _telling(parts, tell)


@mutant(breaks="GOV-10")
def tells_the_remaining_of_a_moment_ago(parts: Components) -> Components:
    """Tells figures that it refreshes every tenth of a second, so that calls at one time are told the same."""
    kept: dict[tuple[str, str], tuple[int, Snapshot]] = {}

    def tell(governor: Governor, account: str, model: Model, now_us: int, true: Snapshot) -> Snapshot:
        at_us, known = kept.get((account, model.id), (-1_000_000, true))
        if now_us - at_us < 100_000:
            return known
        kept[account, model.id] = now_us, true
        return true

    return _telling(parts, tell)


@mutant(breaks="GOV-10")
def tells_what_remains_at_the_answer(parts: Components) -> Components:
    """Tells the limits as they stand when the answer goes out, not as the admission left them."""

    class Late(HeaderWriter):
        def governor(self, call: Call) -> Headers:
            now_us = parts.clock.now_us()
            windows = parts.governor._windows.get(call.account, {}).values()
            if call.admitted and call.model and any(log.requests.used(now_us) for log in windows):
                call.admitted = parts.governor._snapshot(call.account, call.model, now_us)
            return super().governor(call)

    return replace(parts, headers=Late(parts.contract))


@mutant(breaks="GOV-10")
def tells_the_whole_limit_after_a_pause(parts: Components) -> Components:
    """Tells a full window to the first call after ten silent seconds, whatever still counts."""
    last: dict[tuple[str, str], int] = {}

    def tell(governor: Governor, account: str, model: Model, now_us: int, true: Snapshot) -> Snapshot:
        silent_us = now_us - last.get((account, model.id), now_us)
        last[account, model.id] = now_us
        return replace(true, rpm_remaining=true.rpm_limit - 1) if silent_us > 10_000_000 else true

    return _telling(parts, tell)
