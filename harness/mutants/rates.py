"""Mutants that hold general traffic by the wrong limit, or tell it the wrong things about its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from harness.gateway.admission import Admission
from harness.gateway.asgi import Headers
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.headers import HeaderWriter
from harness.gateway.insurer import Insurer
from harness.gateway.user_rate import UserRate
from harness.gateway.windows import SlidingLog
from harness.mutants.furniture import FixedWindow
from harness.mutants.registry import mutant


@mutant(breaks="GOV-08")
def governs_general_traffic(parts: Components) -> Components:
    """Lets general calls wait for the governor's slots and use its windows."""

    class Governing(Admission):
        async def admit(self, parts: Components, call: Call) -> None:
            await super().admit(parts, call)
            if call.ticket is None and call.hold is not None and call.model is not None:
                hold = call.hold
                call.ticket = await parts.governor.admit(call.account, call.model, 0, lambda: hold)

    return replace(parts, admission=Governing(parts.contract))


@mutant(breaks="GOV-08")
def announces_the_governor_to_everybody(parts: Components) -> Components:
    """Says on general answers, too, that the governor is active."""
    name = parts.contract.headers.governor.encode()

    class Boasting(HeaderWriter):
        def governor(self, call: Call) -> Headers:
            return super().governor(call) or [(name, b"active")]

    return replace(parts, headers=Boasting(parts.contract))


@mutant(breaks="GOV-08")
def tells_general_streams_their_circuit(parts: Components) -> Components:
    """Sends the circuit's state with general streams."""
    name = parts.contract.headers.circuit.encode()

    class Boasting(HeaderWriter):
        def stream(self, call: Call, insurer: Insurer) -> Headers:
            told = super().stream(call, insurer)
            return told if call.enterprise else [*told, (name, call.circuit.encode())]

    return replace(parts, headers=Boasting(parts.contract))


@mutant(breaks="GOV-08")
def limits_no_general_traffic(parts: Components) -> Components:
    """Holds general traffic by no limit at all."""

    class Free(UserRate):
        def admit(self, account: str) -> None:
            return None

    return replace(parts, user_rate=Free(parts.contract, parts.clock))


@mutant(breaks="GOV-08")
def counts_enterprise_calls_against_the_user_rate(parts: Components) -> Components:
    """Takes a unit of the user's general rate for each Enterprise call."""

    class Mixing(Admission):
        async def admit(self, parts: Components, call: Call) -> None:
            if call.enterprise:
                parts.user_rate.admit(call.account)
            await super().admit(parts, call)

    return replace(parts, admission=Mixing(parts.contract))


@mutant(breaks="RATE-01")
def limits_each_key_by_itself(parts: Components) -> Components:
    """Gives every key of a user a quota of its own."""

    class PerKey(Admission):
        def owner(self, call: Call) -> str:
            return call.account if call.enterprise or call.identity is None else call.identity.key

    return replace(parts, admission=PerKey(parts.contract))


@mutant(breaks="RATE-01")
def limits_each_surface_by_itself(parts: Components) -> Components:
    """Gives a user a quota on every surface."""

    class PerSurface(Admission):
        def owner(self, call: Call) -> str:
            return call.account if call.enterprise else f"{call.account} {call.surface.name}"

    return replace(parts, admission=PerSurface(parts.contract))


@mutant(breaks="RATE-01")
def limits_streams_by_themselves(parts: Components) -> Components:
    """Counts a user's streams and unstreamed calls apart."""

    class PerKind(Admission):
        def owner(self, call: Call) -> str:
            return call.account if call.enterprise else f"{call.account} {call.stream}"

    return replace(parts, admission=PerKind(parts.contract))


@mutant(breaks="RATE-01")
def limits_all_users_together(parts: Components) -> Components:
    """Counts the general requests of all users in one window."""

    class Shared(Admission):
        def owner(self, call: Call) -> str:
            return call.account if call.enterprise else ""

    return replace(parts, admission=Shared(parts.contract))


@mutant(breaks="RATE-01")
def lets_a_user_have_one_too_many(parts: Components) -> Components:
    """Admits one general request more per window than the quota."""

    class Wide(UserRate):
        def _new_log(self) -> SlidingLog:
            return SlidingLog(self._limits.requests + 1, self._limits.window_ms * 1000)

    return replace(parts, user_rate=Wide(parts.contract, parts.clock))


@mutant(breaks="RATE-01")
def keeps_a_users_last_request(parts: Components) -> Components:
    """Refuses the last request of a user's quota."""

    class Narrow(UserRate):
        def _new_log(self) -> SlidingLog:
            return SlidingLog(self._limits.requests - 1, self._limits.window_ms * 1000)

    return replace(parts, user_rate=Narrow(parts.contract, parts.clock))


@mutant(breaks="RATE-01")
def forgets_a_users_requests_at_the_minute(parts: Components) -> Components:
    """Counts a user's requests in fixed windows that begin anew."""

    class Fixed(UserRate):
        def _new_log(self) -> SlidingLog:
            return FixedWindow(self._limits.requests, self._limits.window_ms * 1000)

    return replace(parts, user_rate=Fixed(parts.contract, parts.clock))


@mutant(breaks="RATE-01")
def counts_what_it_refuses_a_user(parts: Components) -> Components:
    """Takes a unit for a request that the quota refused, so that coming back when told is too soon."""

    class Counting(UserRate):
        def admit(self, account: str) -> None:
            try:
                super().admit(account)
            except Refusal:
                self._logs[account].take(self._clock.now_us(), 1)
                raise

    return replace(parts, user_rate=Counting(parts.contract, parts.clock))


def _telling(parts: Components, told: Mapping[str, str | None], *, shift_us: int = 0) -> Components:
    """Return a gateway whose refusals of a user carry ``told`` (None: not at all), for a wait that much longer."""

    class Other(UserRate):
        def _refusal(self, wait_us: int) -> Refusal:
            made = super()._refusal(wait_us + shift_us)
            headers = {**made.headers, **{name: value for name, value in told.items() if value is not None}}
            kept = {name: value for name, value in headers.items() if told.get(name, "") is not None}
            return Refusal(made.name, made.message, headers=kept)

    return replace(parts, user_rate=Other(parts.contract, parts.clock))


@mutant(breaks="RATE-01")
def tells_users_nothing_of_their_rate(parts: Components) -> Components:
    """Refuses with Retry-After alone."""
    names = parts.contract.headers
    return _telling(parts, {names.rate_limit: None, names.rate_remaining: None, names.rate_reset: None})


@mutant(breaks="RATE-01")
def tells_users_no_retry_after(parts: Components) -> Components:
    """Refuses a user without saying when to come back."""
    return _telling(parts, {parts.contract.headers.retry_after: None})


@mutant(breaks="RATE-01")
def tells_users_of_one_that_remains(parts: Components) -> Components:
    """Tells a refused user that one request remains."""
    return _telling(parts, {parts.contract.headers.rate_remaining: "1"})


@mutant(breaks="RATE-01")
def tells_users_always_to_wait_a_second(parts: Components) -> Components:
    """Sends Retry-After: 1, however long the wait is."""
    return _telling(parts, {parts.contract.headers.retry_after: "1"})


@mutant(breaks="RATE-01")
def rounds_the_wait_down(parts: Components) -> Components:
    """Rounds Retry-After and reset down to whole seconds, so that coming back when told is a little too soon."""
    return _telling(parts, {}, shift_us=-999_999)


@mutant(breaks="RATE-01")
def tells_the_wait_as_the_reset(parts: Components) -> Components:
    """Tells the seconds until the reset where its epoch time belongs."""

    class FromNow(UserRate):
        def _refusal(self, wait_us: int) -> Refusal:
            made = super()._refusal(wait_us)
            names = self._headers
            headers = {**made.headers, names.rate_reset: made.headers[names.retry_after]}
            return Refusal(made.name, made.message, headers=headers)

    return replace(parts, user_rate=FromNow(parts.contract, parts.clock))


@mutant(breaks="RATE-01")
def tells_the_end_of_the_window_as_the_reset(parts: Components) -> Components:
    """Tells a reset a whole window from now, whenever the next unit is free."""

    class Whole(UserRate):
        def _refusal(self, wait_us: int) -> Refusal:
            made = super()._refusal(wait_us)
            at_s = math.ceil(self._clock.wall_s() + self._limits.window_ms / 1000)
            return Refusal(made.name, made.message, headers={**made.headers, self._headers.rate_reset: str(at_s)})

    return replace(parts, user_rate=Whole(parts.contract, parts.clock))
