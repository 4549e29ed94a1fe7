"""Mutants that tell a circuit's state wrongly, or blame a path for what it did not do (BRK-03 and BRK-04)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from harness.gateway.admission import Admission
from harness.gateway.asgi import Headers
from harness.gateway.breaker import Breaker, Outcome, Path, Permit
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.headers import HeaderWriter
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Relay
from harness.mutants.moves import classifying
from harness.mutants.registry import mutant


@mutant(breaks="BRK-03")
def always_tells_a_closed_circuit(parts: Components) -> Components:
    """Says closed in the circuit header, whatever the state."""

    class Calm(Admission):
        def circuit(self, parts: Components, call: Call) -> str:
            return "closed"

    return replace(parts, admission=Calm(parts.contract))


@mutant(breaks="BRK-03")
def tells_half_open_circuits_as_open(parts: Components) -> Components:
    """Knows two states only: a half-open circuit is told as open."""

    class Binary(Admission):
        def circuit(self, parts: Components, call: Call) -> str:
            return super().circuit(parts, call).replace("half_open", "open")

    return replace(parts, admission=Binary(parts.contract))


@mutant(breaks="BRK-03")
def tells_open_until_somebody_probed(parts: Components) -> Components:
    """Notices that a cool-down is over with the first probe: the probe itself is told open."""

    class Noting(Breaker):
        def generation(self, path: Path) -> int:
            return self._circuit(path).generation

        def permit(self, path: Path, now_us: int) -> Permit | None:
            made = super().permit(path, now_us)
            if made is not None:
                probed[path] = made.generation
            return made

    class Lagging(Admission):
        def circuit(self, parts: Components, call: Call) -> str:
            made = super().circuit(parts, call)
            assert call.model is not None
            path = (call.model.id, parts.router.chain(call.model)[0].role)
            return "open" if made == "half_open" and probed.get(path) != breaker.generation(path) else made

    probed: dict[Path, int] = {}
    breaker = Noting(parts.contract)
    return replace(parts, breaker=breaker, admission=Lagging(parts.contract))


@mutant(breaks="BRK-03")
def tells_the_last_targets_circuit(parts: Components) -> Components:
    """Tells how the circuit of the chain's last target stands."""

    class Elsewhere(Admission):
        def circuit(self, parts: Components, call: Call) -> str:
            assert call.model is not None
            last = parts.router.chain(call.model)[-1]
            return parts.breaker.state((call.model.id, last.role), parts.clock.now_us())

    return replace(parts, admission=Elsewhere(parts.contract))


@mutant(breaks="BRK-03")
def tells_the_worst_circuit_of_the_chain(parts: Components) -> Components:
    """Says open as soon as any target of the chain is."""

    class Gloomy(Admission):
        def circuit(self, parts: Components, call: Call) -> str:
            assert call.model is not None
            now_us = parts.clock.now_us()
            states = {parts.breaker.state((call.model.id, t.role), now_us) for t in parts.router.chain(call.model)}
            return "open" if "open" in states else super().circuit(parts, call)

    return replace(parts, admission=Gloomy(parts.contract))


@mutant(breaks="BRK-03")
def tells_the_circuit_as_the_answer_goes_out(parts: Components) -> Components:
    """Tells how the circuit stands when the answer is written, not how it stood at admission."""

    class Late(HeaderWriter):
        def governor(self, call: Call) -> Headers:
            if call.admitted is not None:
                call.circuit = parts.admission.circuit(parts, call)
            return super().governor(call)

    return replace(parts, headers=Late(parts.contract))


@mutant(breaks="BRK-03")
def tells_the_circuit_as_the_call_came_in(parts: Components) -> Components:
    """Tells how the circuit stood when the call arrived, though it was admitted after a wait."""

    class Early(Admission):
        async def enter_governed(self, parts: Components, call: Call, credits: int) -> None:
            at_arrival = self.circuit(parts, call)
            await super().enter_governed(parts, call, credits)
            call.circuit = at_arrival

    return replace(parts, admission=Early(parts.contract))


@mutant(breaks="BRK-04")
def opens_on_client_errors(parts: Components) -> Components:
    """Counts the client's own faults against the path."""
    return classifying(parts, lambda _, made: replace(made, counts=True))


@mutant(breaks="BRK-04")
def opens_on_bodies_that_are_too_large(parts: Components) -> Components:
    """Counts a 413 against the path, and no other fault of the client."""
    return classifying(parts, lambda status, made: replace(made, counts=made.counts or status == 413))


@mutant(breaks="BRK-04")
def opens_when_clients_leave(parts: Components) -> Components:
    """Counts it against the path when a client goes away."""

    class Blaming(Relay):
        def outcome_of_cut(self, call: Call) -> Outcome:
            return "failure"

    return replace(parts, relay=Blaming(parts.contract))


@mutant(breaks="BRK-04")
def does_not_mind_being_refused_by_a_target(parts: Components) -> Components:
    """Goes on asking a path that does not accept the gateway's own credential or does not know the model."""
    return classifying(parts, lambda _, made: replace(made, counts=made.counts and made.kind != "target_fault"))


@mutant(breaks="BRK-04")
def does_not_mind_a_missing_model(parts: Components) -> Components:
    """Counts 401 to 403 against a path, and 404 not."""
    return classifying(parts, lambda status, made: replace(made, counts=made.counts and status != 404))


@mutant(breaks="BRK-04")
def asks_the_primary_if_every_circuit_is_open(parts: Components) -> Components:
    """Tries the first target all the same when no path of a model is open."""
    chains = {model.id: model.chain for model in parts.contract.models}

    class Desperate(Breaker):
        def permit(self, path: Path, now_us: int) -> Permit | None:
            made, chain = super().permit(path, now_us), chains[path[0]]
            if made is not None or path[1] != chain[0].role:
                return made
            shut = all(self.state((path[0], target.role), now_us) == "open" for target in chain)
            return Permit(path, -1, -1, now_us) if shut else None

    class Lenient(Admission):
        def require_circuit(self, parts: Components, call: Call) -> None:
            return

    return replace(parts, breaker=Desperate(parts.contract), admission=Lenient(parts.contract))


class _Telling(Admission):
    """An admission that tells in its own way that every circuit is open."""

    def told(self, refusal: Refusal) -> Refusal:
        """Return what the client hears instead of ``refusal``."""
        return refusal

    def circuits_open(self, parts: Components, call: Call) -> Refusal:
        return self.told(super().circuits_open(parts, call))


@mutant(breaks="BRK-04")
def calls_open_circuits_a_bad_gateway(parts: Components) -> Components:
    """Answers 502 when every circuit is open."""

    class Coarse(_Telling):
        def told(self, refusal: Refusal) -> Refusal:
            return Refusal("upstream_error", refusal.message, headers=refusal.headers)

    return replace(parts, admission=Coarse(parts.contract))


@mutant(breaks="BRK-04")
def tells_nobody_when_to_come_back(parts: Components) -> Components:
    """Leaves Retry-After out when every circuit is open."""

    class Curt(_Telling):
        def told(self, refusal: Refusal) -> Refusal:
            return Refusal(refusal.name, refusal.message)

    return replace(parts, admission=Curt(parts.contract))


@mutant(breaks="BRK-04")
def tells_fractions_of_a_second(parts: Components) -> Components:
    """Writes Retry-After with a decimal point, which no client reads."""

    class Exact(_Telling):
        def told(self, refusal: Refusal) -> Refusal:
            return Refusal(
                refusal.name, refusal.message, headers={name: f"{text}.0" for name, text in refusal.headers.items()}
            )

    return replace(parts, admission=Exact(parts.contract))


@mutant(breaks="BRK-04")
def keeps_callers_waiting_for_open_circuits(parts: Components) -> Components:
    """Waits for a second before it says that every circuit is open."""

    class Slow(Pipeline):
        async def refuse(self, parts: Components, call: Call, refusal: Refusal) -> None:
            if refusal.name == "circuits_open":
                await asyncio.sleep(1.0)
            await super().refuse(parts, call, refusal)

    return replace(parts, pipeline=Slow())
