"""Mutants that reserve tokens wrongly, settle them wrongly, or let calls past their window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.contract import Model
from harness.gateway.admission import Admission
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.governor import Governor, Snapshot, Windows
from harness.gateway.settlement import Settler
from harness.gateway.windows import Entry, SlidingLog
from harness.mutants.furniture import FixedWindow, StaleLog, with_tokens
from harness.mutants.registry import mutant


@mutant(breaks="GOV-05")
def reserves_no_tokens(parts: Components) -> Components:
    """Counts tokens when a call ends and reserves none while it runs."""
    return replace(parts, admission=_reserving(parts, lambda call: 0))


@mutant(breaks="GOV-05")
def reserves_the_prompt_alone(parts: Components) -> Components:
    """Reserves nothing for the output that a call asks for."""
    return replace(parts, admission=_reserving(parts, lambda call: call.prompt_tokens))


@mutant(breaks="GOV-05")
def rounds_the_prompt_estimate_down(parts: Components) -> Components:
    """Reserves a token less where the body is no multiple of four bytes."""
    return replace(parts, admission=_reserving(parts, lambda call: len(call.raw) // 4 + call.output_tokens))


@mutant(breaks="GOV-05")
def estimates_the_prompt_by_its_text(parts: Components) -> Components:
    """Reserves tokens for the messages of a body, not for all of it."""

    def by_text(call: Call) -> int:
        return -(-(len(call.raw) - len(b'{"model":""}') - len(call.asked)) // 4) + call.output_tokens

    return replace(parts, admission=_reserving(parts, by_text))


@mutant(breaks="GOV-05")
def reserves_nothing_where_no_limit_is_set(parts: Components) -> Components:
    """Forgets the model's default output where a call does not say how much it wants."""

    def asked_for(call: Call) -> int:
        return call.prompt_tokens + (call.surface.output_tokens(call.body) or 0)

    return replace(parts, admission=_reserving(parts, asked_for))


@mutant(breaks="GOV-05")
def reserves_no_more_than_the_default(parts: Components) -> Components:
    """Reserves at most the model's default output, however much a call asks for."""

    def capped(call: Call) -> int:
        assert call.model is not None
        return call.prompt_tokens + min(call.output_tokens, call.model.default_output_tokens)

    return replace(parts, admission=_reserving(parts, capped))


def _reserving(parts: Components, tokens: Callable[[Call], int]) -> Admission:
    """Return an admission that reserves what ``tokens`` says."""

    class Other(Admission):
        def reservation(self, call: Call) -> int:
            return tokens(call)

    return Other(parts.contract)


@mutant(breaks="GOV-05")
def counts_tokens_only_later(parts: Components) -> Components:
    """Looks for room in a copy of the window that is a round trip behind it."""
    return with_tokens(parts, StaleLog)


@mutant(breaks="GOV-05")
def lets_a_token_too_many_in(parts: Components) -> Components:
    """Admits a call that is one token too large for its window."""
    return with_tokens(parts, lambda limit, window_us: Lenient(limit, window_us))


class Lenient(SlidingLog):
    """Takes one more than its limit, and tells the limit itself."""

    __slots__ = ()

    def wait_us(self, now_us: int, amount: int) -> int:
        return super().wait_us(now_us, amount - 1)


@mutant(breaks="GOV-05")
def keeps_the_last_token(parts: Components) -> Components:
    """Refuses a call that needs all tokens that are left."""

    class Strict(SlidingLog):
        __slots__ = ()

        def wait_us(self, now_us: int, amount: int) -> int:
            return super().wait_us(now_us, amount + 1)

    return with_tokens(parts, Strict)


@mutant(breaks="GOV-05")
def forgets_tokens_at_the_minute(parts: Components) -> Components:
    """Counts tokens in fixed windows that begin anew."""
    return with_tokens(parts, FixedWindow)


@mutant(breaks="GOV-05")
def never_settles_tokens(parts: Components) -> Components:
    """Lets the reservation stand for the whole window, whatever was used."""
    return replace(parts, settler=_settling(parts, lambda call, used: None))


@mutant(breaks="GOV-05")
def settles_no_streams(parts: Components) -> Components:
    """Lets the reservation of a stream stand for the whole window."""
    return replace(parts, settler=_settling(parts, lambda call, used: None if call.stream else used))


@mutant(breaks="GOV-05")
def keeps_the_reservation_of_failures(parts: Components) -> Components:
    """Lets the reservation of a call stand that no upstream answered."""
    return replace(parts, settler=_settling(parts, lambda call, used: used if call.usage else None))


@mutant(breaks="GOV-05")
def counts_no_cached_tokens(parts: Components) -> Components:
    """Settles to the tokens that were not read from a cache."""

    def fresh(call: Call, used: int) -> int:
        return used - call.usage.cache_read if call.usage else used

    return replace(parts, settler=_settling(parts, fresh))


@mutant(breaks="GOV-05")
def counts_the_output_alone(parts: Components) -> Components:
    """Settles to the tokens of the answer."""
    return replace(parts, settler=_settling(parts, lambda call, used: call.usage.output if call.usage else used))


@mutant(breaks="GOV-05")
def settles_downwards_alone(parts: Components) -> Components:
    """Never counts more than was reserved."""

    def at_most(call: Call, used: int) -> int:
        return min(used, call.prompt_tokens + call.output_tokens)

    return replace(parts, settler=_settling(parts, at_most))


def _settling(parts: Components, tokens: Callable[[Call, int], int | None]) -> Settler:
    """Return a settler that lets a call count as ``tokens`` of it and of what it used; None leaves the reservation."""

    class Other(Settler):
        def give_back(self, parts: Components, call: Call) -> None:
            if call.ticket is not None and tokens(call, self.used_tokens(call)) is None:
                call.ticket.release()
                call.ticket = None
            super().give_back(parts, call)

        def used_tokens(self, call: Call) -> int:
            used = super().used_tokens(call)
            told = tokens(call, used)
            return used if told is None else told

    return Other(parts.contract)


@mutant(breaks="GOV-05")
def settles_tokens_as_of_the_end(parts: Components) -> Components:
    """Counts what a call used from its end on, instead of from its admission."""

    class AtEnd(SlidingLog):
        __slots__ = ()

        def settle(self, now_us: int, entry: Entry, amount: int) -> None:
            super().settle(now_us, entry, 0)
            super().take(now_us, amount)

    return with_tokens(parts, AtEnd)


@mutant(breaks="GOV-05")
def shares_tokens_among_accounts(parts: Components) -> Components:
    """Counts the tokens of all accounts to a model in one window."""
    return replace(parts, governor=_sharing(parts, lambda account, model: model.id))


@mutant(breaks="GOV-05")
def shares_tokens_among_models(parts: Components) -> Components:
    """Counts an account's tokens of all models in one window."""
    return replace(parts, governor=_sharing(parts, lambda account, model: account))


def _sharing(parts: Components, key: Callable[[str, Model], str]) -> Governor:
    """Return a governor whose windows of tokens are one where ``key`` is."""
    shared: dict[str, SlidingLog] = {}

    class Sharing(Governor):
        def _windows_of(self, account: str, model: Model) -> Windows:
            made = super()._windows_of(account, model)
            made.tokens = shared.setdefault(key(account, model), made.tokens)
            return made

    return Sharing(parts.contract, parts.clock)


@mutant(breaks="GOV-05")
def tells_no_tokens_on_streams(parts: Components) -> Components:
    """Leaves the token headers out of streams."""
    names = parts.contract.headers
    left_out = {names.tpm_limit.encode(), names.tpm_remaining.encode()}

    class Terse(type(parts.headers)):  # type: ignore[misc] # the class of whatever header writer there is
        def stream(self, call: Call, insurer: object) -> list[tuple[bytes, bytes]]:
            return [header for header in super().stream(call, insurer) if header[0] not in left_out]

    return replace(parts, headers=Terse(parts.contract))


@mutant(breaks="GOV-05")
def tells_tokens_before_its_own_reservation(parts: Components) -> Components:
    """Tells the tokens that remained before the call's own were reserved."""

    class Before(Governor):
        def _snapshot(self, account: str, model: Model, now_us: int) -> Snapshot:
            made = super()._snapshot(account, model, now_us)
            own = self._windows_of(account, model).tokens._entries[-1].amount
            return replace(made, tpm_remaining=min(made.tpm_limit, made.tpm_remaining + own))

    return replace(parts, governor=Before(parts.contract, parts.clock))
