"""Mutants that blame the wrong side, or go through a chain in a way of their own (FAIL-05 and FAIL-06)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness.contract import ChainTarget, Model
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.entropy import Entropy
from harness.gateway.errors import Refusal
from harness.gateway.failures import Failure, FailureClassifier, UpstreamRefusal
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Relay
from harness.gateway.router import Router
from harness.mutants.registry import mutant


def classifying(parts: Components, change: Callable[[int, Failure], Failure]) -> Components:
    """Return a gateway to which an upstream's refusal means what ``change`` makes of status and failure."""

    class Other(FailureClassifier):
        def of_status(self, status: int, headers: Mapping[str, str], body: bytes, wall_s: float) -> Failure:
            return change(status, super().of_status(status, headers, body, wall_s))

    return replace(parts, failures=Other(parts.contract))


@mutant(breaks="FAIL-05")
def hides_client_errors_by_failover(parts: Components) -> Components:
    """Tries every target with a request that the first one called invalid."""
    return classifying(parts, lambda _, made: replace(made, move="retry") if made.move == "return" else made)


@mutant(breaks="FAIL-05")
def tries_again_after_a_409(parts: Components) -> Components:
    """Takes a conflict for something that passes, as the SDKs do, and asks again."""
    return classifying(parts, lambda status, made: replace(made, move="retry") if status == 409 else made)


@mutant(breaks="FAIL-05")
def calls_every_client_fault_a_400(parts: Components) -> Components:
    """Answers 400 whatever an upstream found wrong with the request."""

    class Coarse(FailureClassifier):
        def refusal_of(self, failure: Failure) -> Refusal:
            return super().refusal_of(replace(failure, status=400))

    return replace(parts, failures=Coarse(parts.contract))


@mutant(breaks="FAIL-05")
def sleeps_on_a_client_fault(parts: Components) -> Components:
    """Pauses before it returns a client fault, as if it were to try again."""

    class Slow(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if isinstance(refusal, UpstreamRefusal):
                await asyncio.sleep(parts.contract.failover.backoff_ms / 1e3)
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Slow())


@mutant(breaks="FAIL-05")
def takes_its_own_credentials_fault_for_the_clients(parts: Components) -> Components:
    """Returns an upstream's refusal of the gateway's own credential or target at once."""
    return classifying(parts, lambda _, made: replace(made, move="return") if made.kind == "target_fault" else made)


@mutant(breaks="FAIL-05")
def passes_an_upstreams_401_on(parts: Components) -> Components:
    """Tells the client what the last target said of the gateway's own credential."""

    class Frank(Relay):
        def exhausted(self, parts: Components, call: Call, failures: Sequence[Failure]) -> Refusal:
            made = super().exhausted(parts, call, failures)
            if failures and failures[-1].kind == "target_fault":
                return UpstreamRefusal(made.name, made.message, failures[-1].status or 401, "authentication_error")
            return made

    return replace(parts, relay=Frank(parts.contract))


@mutant(breaks="FAIL-05")
def asks_a_target_without_the_model_again(parts: Components) -> Components:
    """Tries a target again that said 404."""
    return classifying(parts, lambda status, made: replace(made, move="retry") if status == 404 else made)


def _routing(parts: Components, router: Callable[..., Router]) -> Components:
    return replace(parts, router=router(parts.contract, parts.entropy))


@mutant(breaks="FAIL-06")
def tries_the_chain_backwards(parts: Components) -> Components:
    """Begins with the last target of the chain."""

    class Backwards(Router):
        def chain(self, model: Model) -> tuple[ChainTarget, ...]:
            return super().chain(model)[::-1]

    return _routing(parts, Backwards)


@mutant(breaks="FAIL-06")
def passes_the_second_target_over_in_general(parts: Components) -> Components:
    """Goes from the first target to the third, for general models alone."""

    class Leaping(Router):
        def chain(self, model: Model) -> tuple[ChainTarget, ...]:
            first, *rest = super().chain(model)
            return (first, *(rest if model.tier == "enterprise" else rest[1:]))

    return _routing(parts, Leaping)


@mutant(breaks="FAIL-06")
def comes_back_to_the_primary(parts: Components) -> Components:
    """Asks the first target once more when all have failed."""

    class Circular(Router):
        def chain(self, model: Model) -> tuple[ChainTarget, ...]:
            made = super().chain(model)
            return (*made, made[0])

    return _routing(parts, Circular)


@mutant(breaks="FAIL-06")
def tries_each_target_once_more(parts: Components) -> Components:
    """Counts the retries without the last one."""

    class Stubborn(Router):
        def tries(self) -> int:
            return super().tries() + 1

    return _routing(parts, Stubborn)


@mutant(breaks="FAIL-06")
def retries_without_a_pause(parts: Components) -> Components:
    """Tries a target again at once."""

    class Hasty(Router):
        def pause_s(self, call: str, n: int, retry_after_s: float | None) -> float | None:
            return None if super().pause_s(call, n, retry_after_s) is None else 0.0

    return _routing(parts, Hasty)


@mutant(breaks="FAIL-06")
def pauses_ever_the_same(parts: Components) -> Components:
    """Begins the backoff anew with each target."""

    class Flat(Router):
        def pause_s(self, call: str, n: int, retry_after_s: float | None) -> float | None:
            return super().pause_s(call, 0, retry_after_s)

    return _routing(parts, Flat)


@mutant(breaks="FAIL-06")
def lets_the_pauses_grow_past_their_cap(parts: Components) -> Components:
    """Knows no longest pause, but for Retry-After."""

    class Uncapped(Router):
        def pause_s(self, call: str, n: int, retry_after_s: float | None) -> float | None:
            made, rules = super().pause_s(call, n, retry_after_s), self._failover
            grown_ms = rules.backoff_ms * rules.backoff_factor**n
            return made if made is None or retry_after_s is not None else made * max(1, grown_ms / rules.backoff_cap_ms)

    return _routing(parts, Uncapped)


@mutant(breaks="FAIL-06")
def draws_the_jitter_from_zero(parts: Components) -> Components:
    """Pauses for anything between nothing and the whole backoff."""

    class Full(Router):
        def __init__(self, contract: object, entropy: Entropy) -> None:
            super().__init__(parts.contract, entropy)
            self._failover = replace(self._failover, jitter_low_percent=0)

    return _routing(parts, Full)


@mutant(breaks="FAIL-06")
def ignores_retry_after(parts: Components) -> Components:
    """Pauses as if an upstream had not said how long."""

    class Deaf(Router):
        def pause_s(self, call: str, n: int, retry_after_s: float | None) -> float | None:
            return super().pause_s(call, n, None)

    return _routing(parts, Deaf)


@mutant(breaks="FAIL-06")
def undercuts_retry_after_by_the_jitter(parts: Components) -> Components:
    """Comes back up to half of the time too early that an upstream asked for."""

    class Early(Router):
        def pause_s(self, call: str, n: int, retry_after_s: float | None) -> float | None:
            made = super().pause_s(call, n, retry_after_s)
            if made is None or not retry_after_s:
                return made
            return made * (0.5 + self._entropy.uniform("early", call, n) / 2)

    return _routing(parts, Early)


@mutant(breaks="FAIL-06")
def waits_out_any_retry_after(parts: Components) -> Components:
    """Waits for a target for as long as it asks, while others are free."""

    class Patient(Router):
        def pause_s(self, call: str, n: int, retry_after_s: float | None) -> float | None:
            made = super().pause_s(call, n, retry_after_s)
            return retry_after_s if made is None else made

    return _routing(parts, Patient)


@mutant(breaks="FAIL-06")
def takes_the_cap_for_the_pause(parts: Components) -> Components:
    """Comes back after the longest pause of its own to a target that asked for more."""

    class Capped(Router):
        def pause_s(self, call: str, n: int, retry_after_s: float | None) -> float | None:
            cap_s = self._failover.backoff_cap_ms / 1e3
            return super().pause_s(call, n, None if retry_after_s is None else min(retry_after_s, cap_s))

    return _routing(parts, Capped)


@mutant(breaks="FAIL-06")
def reads_no_date_in_retry_after(parts: Components) -> Components:
    """Takes a Retry-After that is an HTTP date for none."""

    class Numeric(FailureClassifier):
        def of_status(self, status: int, headers: Mapping[str, str], body: bytes, wall_s: float) -> Failure:
            made = super().of_status(status, headers, body, wall_s)
            return replace(made, retry_after_s=None) if "GMT" in headers.get("retry-after", "") else made

    return replace(parts, failures=Numeric(parts.contract))
