"""Mutants that fail over wrongly, splice, or have a breaker in name only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.contract import ChainTarget, Model
from harness.gateway.breaker import Breaker, Outcome, Path, Permit
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.failures import Failure, FailureClassifier
from harness.gateway.passage import Passage
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Relay
from harness.gateway.router import Router
from harness.mutants.registry import mutant


@mutant(breaks="FAIL-01")
def does_not_know_529(parts: Components) -> Components:
    """Returns an upstream's 529 to the client instead of trying the next one."""

    class Short(FailureClassifier):
        def of_status(self, status: int, headers: Mapping[str, str], body: bytes, wall_s: float) -> Failure:
            made = super().of_status(status, headers, body, wall_s)
            return replace(made, move="return") if status == 529 else made

    return replace(parts, failures=Short(parts.contract))


@mutant(breaks="FAIL-05")
def hides_client_errors_by_failover(parts: Components) -> Components:
    """Tries every target with a request that the first one called invalid."""

    class Stubborn(FailureClassifier):
        def of_status(self, status: int, headers: Mapping[str, str], body: bytes, wall_s: float) -> Failure:
            made = super().of_status(status, headers, body, wall_s)
            return replace(made, move="retry") if made.move == "return" else made

    return replace(parts, failures=Stubborn(parts.contract))


@mutant(breaks="FAIL-06")
def tries_the_chain_backwards(parts: Components) -> Components:
    """Begins with the last target of the chain."""

    class Backwards(Router):
        def chain(self, model: Model) -> tuple[ChainTarget, ...]:
            return super().chain(model)[::-1]

    return replace(parts, router=Backwards(parts.contract, parts.entropy))


@mutant(breaks="FAIL-06")
def retries_without_a_pause(parts: Components) -> Components:
    """Tries a target again at once."""

    class Hasty(Router):
        def pause_s(self, call: str, n: int, retry_after_s: float | None) -> float | None:
            return None if super().pause_s(call, n, retry_after_s) is None else 0.0

    return replace(parts, router=Hasty(parts.contract, parts.entropy))


@mutant(breaks="FAIL-08")
def splices_a_second_answer(parts: Components) -> Components:
    """Fails over in mid-stream and puts the second answer behind the first."""

    class Splicing(Relay):
        def committed(self, call: Call) -> bool:
            return False

    return replace(parts, relay=Splicing(parts.contract))


@mutant(breaks="FAIL-08")
def ends_truncated_streams_as_if_whole(parts: Components) -> Components:
    """Takes the end of a stream for its terminal event."""

    class Trusting(Relay):
        def ended_early(self, passage: Passage) -> str:
            return "" if passage.content else super().ended_early(passage)

    return replace(parts, relay=Trusting(parts.contract))


@mutant(breaks="FAIL-09")
def starts_attempts_for_nobody(parts: Components) -> Components:
    """Goes on failing over for a client that has left."""

    class Unaware(Pipeline):
        def client_left(self, parts: Components, call: Call) -> None:
            if call.out is not None:
                call.out.abandon()

    class Tireless(Relay):
        def after(self, parts: Components, call: Call, failure: Failure) -> None:
            if not call.client.gone:
                super().after(parts, call, failure)

    return replace(parts, pipeline=Unaware(), relay=Tireless(parts.contract))


@mutant(breaks="BRK-01")
def never_opens_a_circuit(parts: Components) -> Components:
    """Counts no failure against a path."""

    class Blind(Breaker):
        def record(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            super().record(permit, "success" if outcome == "failure" else outcome, now_us)

    return replace(parts, breaker=Blind(parts.contract))


@mutant(breaks="BRK-02")
def lets_everybody_through_half_open(parts: Components) -> Components:
    """Admits every call while half open, not the permitted probes alone."""

    class Open(Breaker):
        def permit(self, path: Path, now_us: int) -> Permit | None:
            made = super().permit(path, now_us)
            if made is None and self.state(path, now_us) == "half_open":
                return Permit(path, -1, -1, now_us)
            return made

    return replace(parts, breaker=Open(parts.contract))


@mutant(breaks="BRK-04")
def opens_on_client_errors(parts: Components) -> Components:
    """Counts the client's own faults against the path."""

    class Harsh(FailureClassifier):
        def of_status(self, status: int, headers: Mapping[str, str], body: bytes, wall_s: float) -> Failure:
            return replace(super().of_status(status, headers, body, wall_s), counts=True)

    return replace(parts, failures=Harsh(parts.contract))


@mutant(breaks="BRK-03")
def always_tells_a_closed_circuit(parts: Components) -> Components:
    """Says closed in the circuit header, whatever the state."""

    class Calm(type(parts.admission)):  # type: ignore[misc] # the class of whatever admission there is
        def circuit(self, parts: Components, call: Call) -> str:
            return "closed"

    return replace(parts, admission=Calm(parts.contract))
