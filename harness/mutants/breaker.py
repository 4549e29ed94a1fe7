"""Mutants whose circuits open at other times than they should, or on other outcomes (BRK-01 and BRK-02)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.contract import ChainTarget
from harness.gateway.breaker import Breaker, Circuit, Outcome, Path, Permit
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.failures import AttemptFailed, Failure
from harness.gateway.relay import Answer, Relay
from harness.gateway.upstream import UpstreamAnswer
from harness.mutants.furniture import with_breaker_rules, with_circuits
from harness.mutants.registry import mutant


def _overlooking(parts: Components, harmless: Callable[[Call, Failure], bool]) -> Components:
    """Return a gateway that does not count failures against a path that ``harmless`` is true of."""

    class Overlooking(Relay):
        async def exchange(self, parts: Components, call: Call, target: ChainTarget) -> Answer:
            try:
                return await super().exchange(parts, call, target)
            except AttemptFailed as failed:
                if harmless(call, failed.failure):
                    failed.failure = replace(failed.failure, counts=False)
                raise

    return replace(parts, relay=Overlooking(parts.contract))


@mutant(breaks="BRK-01")
def never_opens_a_circuit(parts: Components) -> Components:
    """Counts no failure against a path."""

    class Blind(Breaker):
        def record(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            super().record(permit, "success" if outcome == "failure" else outcome, now_us)

    return replace(parts, breaker=Blind(parts.contract))


@mutant(breaks="BRK-01")
def counts_no_failure_of_a_stream(parts: Components) -> Components:
    """Has a breaker for unstreamed calls alone."""

    return _overlooking(parts, lambda call, failure: call.stream)


@mutant(breaks="BRK-01")
def counts_no_rate_limit(parts: Components) -> Components:
    """Does not take a 429 for overload."""
    return _overlooking(parts, lambda _, failure: failure.status == 429)


@mutant(breaks="BRK-01")
def counts_no_timeout(parts: Components) -> Components:
    """Does not take it for a failure if an upstream says nothing."""
    return _overlooking(parts, lambda _, failure: failure.timed_out)


@mutant(breaks="BRK-01")
def counts_statuses_alone(parts: Components) -> Components:
    """Takes an error status for a failure, and no broken connection."""
    return _overlooking(parts, lambda _, failure: failure.kind in ("reset", "cut"))


@mutant(breaks="BRK-01")
def counts_every_200_as_a_success(parts: Components) -> Components:
    """Does not take an error under a 200, an empty body or an HTML page for a failure of the path."""
    return _overlooking(parts, lambda _, failure: failure.kind in ("error_object", "empty", "wrong_type", "malformed"))


@mutant(breaks="BRK-01")
def lets_every_third_call_through_an_open_circuit(parts: Components) -> Components:
    """Goes on asking an open path now and then."""

    class Leaky(Breaker):
        kept_away = 0

        def permit(self, path: Path, now_us: int) -> Permit | None:
            made = super().permit(path, now_us)
            if made is None and self.state(path, now_us) == "open":
                self.kept_away += 1
                if self.kept_away % 3 == 0:
                    return Permit(path, -1, -1, now_us)
            return made

    return replace(parts, breaker=Leaky(parts.contract))


@mutant(breaks="BRK-01")
def always_asks_the_last_target(parts: Components) -> Components:
    """Asks the last target of a chain even if its circuit is open: somebody has to answer."""

    class Desperate(Breaker):
        def permit(self, path: Path, now_us: int) -> Permit | None:
            made = super().permit(path, now_us)
            last = {model.id: model.chain[-1].role for model in parts.contract.models if model.chain}
            if made is None and self.state(path, now_us) == "open" and path[1] == last[path[0]]:
                return Permit(path, -1, -1, now_us)
            return made

    return replace(parts, breaker=Desperate(parts.contract))


@mutant(breaks="BRK-02")
def opens_a_call_late(parts: Components) -> Components:
    """Wants one call more than the minimum before a circuit may open."""
    return with_breaker_rules(parts, min_calls=parts.contract.breaker.min_calls + 1)


@mutant(breaks="BRK-02")
def opens_a_call_early(parts: Components) -> Components:
    """Lets a circuit open one call short of the minimum."""
    return with_breaker_rules(parts, min_calls=parts.contract.breaker.min_calls - 1)


@mutant(breaks="BRK-02")
def counts_each_outcome_twice(parts: Components) -> Components:
    """Records an outcome when the answer ends and once more when the call does."""

    class Double(Breaker):
        def record(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            super().record(permit, outcome, now_us)
            super().record(permit, outcome, now_us)

    return replace(parts, breaker=Double(parts.contract))


@mutant(breaks="BRK-02")
def opens_above_the_threshold_alone(parts: Components) -> Components:
    """Does not open a circuit whose share of failures is exactly the threshold."""

    class Lenient(Circuit):
        def is_overloaded(self, calls: int, failed: int, slow: int) -> bool:
            exactly = failed * 100 == self._rules.failure_percent * calls
            return super().is_overloaded(calls, failed - exactly, slow)

    return with_circuits(parts, Lenient)


@mutant(breaks="BRK-02")
def opens_a_failure_early(parts: Components) -> Components:
    """Opens a circuit one failure short of the threshold."""

    class Nervous(Circuit):
        def is_overloaded(self, calls: int, failed: int, slow: int) -> bool:
            return super().is_overloaded(calls, failed + 1, slow)

    return with_circuits(parts, Nervous)


@mutant(breaks="BRK-02")
def shares_a_circuit_among_models(parts: Components) -> Components:
    """Has one circuit per target, so that one model's failures shut another's path."""

    class Shared(Breaker):
        def _circuit(self, path: Path) -> Circuit:
            return super()._circuit(("", path[1]))

    return replace(parts, breaker=Shared(parts.contract))


@mutant(breaks="BRK-02")
def shares_a_circuit_among_targets(parts: Components) -> Components:
    """Has one circuit per model, so that a failing primary shuts the targets behind it."""

    class Shared(Breaker):
        def _circuit(self, path: Path) -> Circuit:
            return super()._circuit((path[0], ""))

    return replace(parts, breaker=Shared(parts.contract))


@mutant(breaks="BRK-02")
def never_forgets_an_outcome(parts: Components) -> Components:
    """Counts every outcome since the circuit was last closed, however old."""

    class Resentful(Circuit):
        def forget_before(self, oldest_us: int) -> None:
            return

    return with_circuits(parts, Resentful)


@mutant(breaks="BRK-02")
def forgets_all_outcomes_at_once(parts: Components) -> Components:
    """Counts in windows that begin anew, instead of a sliding one."""

    class Tumbling(Circuit):
        def forget_before(self, oldest_us: int) -> None:
            window_us = self._rules.window_ms * 1000
            super().forget_before((oldest_us + window_us) // window_us * window_us - 1)

    return with_circuits(parts, Tumbling)


@mutant(breaks="BRK-02")
def does_not_mind_slow_calls(parts: Components) -> Components:
    """Opens a circuit for failures alone, whatever the slow limit says."""
    return with_breaker_rules(parts, slow_ms=None)


@mutant(breaks="BRK-02")
def takes_every_call_for_slow(parts: Components) -> Components:
    """Counts calls as slow that took half of the slow limit."""

    class Hurried(Circuit):
        def is_slow(self, took_us: int) -> bool:
            return super().is_slow(took_us * 2)

    return with_circuits(parts, Hurried)


@mutant(breaks="BRK-02")
def counts_a_stream_when_it_begins(parts: Components) -> Components:
    """Records a success as soon as a stream's head is there, and no longer listens to its end."""

    class AtOnce(Relay):
        async def attempt(self, parts: Components, call: Call, target: ChainTarget, permit: Permit) -> Answer:
            asking[call.request_id] = permit
            return await super().attempt(parts, call, target, permit)

        async def stream(self, parts: Components, call: Call, upstream: UpstreamAnswer) -> Answer:
            parts.breaker.record(asking[call.request_id], "success", parts.clock.now_us())
            return await super().stream(parts, call, upstream)

    class Once(Breaker):
        def record(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            if permit not in recorded:
                recorded.add(permit)
                super().record(permit, outcome, now_us)

    asking: dict[str, Permit] = {}
    recorded: set[Permit] = set()
    return replace(parts, relay=AtOnce(parts.contract), breaker=Once(parts.contract))
