"""Mutants whose circuits open, close and probe at other times than they should (BRK-01 and BRK-02)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.contract import Breaker as Rules
from harness.contract import ChainTarget
from harness.gateway.breaker import Breaker, Circuit, Event, Outcome, Path, Permit
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.failures import AttemptFailed, Failure
from harness.gateway.relay import Answer, Relay
from harness.gateway.upstream import UpstreamAnswer
from harness.mutants.registry import mutant


def made_of(parts: Components, circuit: Callable[[Rules], Circuit]) -> Components:
    """Return a gateway whose circuits ``circuit`` makes."""

    class Other(Breaker):
        def fresh(self) -> Circuit:
            return circuit(self._rules)

    return replace(parts, breaker=Other(parts.contract))


def ruled_by(parts: Components, **changes: Any) -> Components:
    """Return a gateway whose circuits go by other numbers."""
    return made_of(parts, lambda rules: Circuit(replace(rules, **changes)))


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
    return ruled_by(parts, min_calls=parts.contract.breaker.min_calls + 1)


@mutant(breaks="BRK-02")
def opens_a_call_early(parts: Components) -> Components:
    """Lets a circuit open one call short of the minimum."""
    return ruled_by(parts, min_calls=parts.contract.breaker.min_calls - 1)


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

    return made_of(parts, Lenient)


@mutant(breaks="BRK-02")
def opens_a_failure_early(parts: Components) -> Components:
    """Opens a circuit one failure short of the threshold."""

    class Nervous(Circuit):
        def is_overloaded(self, calls: int, failed: int, slow: int) -> bool:
            return super().is_overloaded(calls, failed + 1, slow)

    return made_of(parts, Nervous)


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

    return made_of(parts, Resentful)


@mutant(breaks="BRK-02")
def forgets_all_outcomes_at_once(parts: Components) -> Components:
    """Counts in windows that begin anew, instead of a sliding one."""

    class Tumbling(Circuit):
        def forget_before(self, oldest_us: int) -> None:
            window_us = self._rules.window_ms * 1000
            super().forget_before((oldest_us + window_us) // window_us * window_us - 1)

    return made_of(parts, Tumbling)


@mutant(breaks="BRK-02")
def does_not_mind_slow_calls(parts: Components) -> Components:
    """Opens a circuit for failures alone, whatever the slow limit says."""
    return ruled_by(parts, slow_ms=None)


@mutant(breaks="BRK-02")
def takes_every_call_for_slow(parts: Components) -> Components:
    """Counts calls as slow that took half of the slow limit."""

    class Hurried(Circuit):
        def is_slow(self, took_us: int) -> bool:
            return super().is_slow(took_us * 2)

    return made_of(parts, Hurried)


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


@mutant(breaks="BRK-02")
def never_tries_an_open_path_again(parts: Components) -> Components:
    """Leaves a circuit open for ever."""

    class Shut(Circuit):
        def reopens_us(self) -> int:
            return 1 << 60

    return made_of(parts, Shut)


@mutant(breaks="BRK-02")
def cools_down_too_quickly(parts: Components) -> Components:
    """Probes an open path when nine tenths of its cool-down are over."""

    class Impatient(Circuit):
        def cooldown_ms(self) -> int:
            return super().cooldown_ms() * 9 // 10

    return made_of(parts, Impatient)


@mutant(breaks="BRK-02")
def cools_down_from_the_last_refusal(parts: Components) -> Components:
    """Begins the cool-down anew with every call that an open circuit keeps away."""

    class Offended(Circuit):
        def admit(self, serial: int, now_us: int) -> bool:
            let = super().admit(serial, now_us)
            if not let and self._state == "open":
                self._opened_us = now_us
            return let

    return made_of(parts, Offended)


@mutant(breaks="BRK-02")
def cools_down_from_the_last_outcome(parts: Components) -> Components:
    """Begins the cool-down anew with every call that ends after the circuit opened."""

    class Restless(Circuit):
        def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            super().count(permit, outcome, now_us)
            if self._state == "open":
                self._opened_us = now_us

    return made_of(parts, Restless)


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


@mutant(breaks="BRK-02")
def probes_with_one_call_more(parts: Components) -> Components:
    """Lets one probe more through at once than permitted."""
    return ruled_by(parts, probes=parts.contract.breaker.probes + 1)


@mutant(breaks="BRK-02")
def closes_at_the_first_success(parts: Components) -> Components:
    """Closes a half-open circuit when one probe succeeded."""
    return ruled_by(parts, successes_to_close=1)


@mutant(breaks="BRK-02")
def never_closes_again(parts: Components) -> Components:
    """Goes on probing, however many probes succeed."""
    return ruled_by(parts, successes_to_close=1 << 30)


class _Remembering(Circuit):
    """A circuit that can put back what it had counted before it opened."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self._before: deque[tuple[int, bool, bool]] = deque()

    def _turn(self, event: Event, now_us: int) -> None:
        if event == "trip":
            self._before = self._outcomes.copy()
        super()._turn(event, now_us)
        if event == "heal":
            self._outcomes = self._before
            self._failed = sum(failed for _, failed, _ in self._before)
            self._slow = sum(slow for _, _, slow in self._before)


@mutant(breaks="BRK-02")
def closes_with_a_full_window(parts: Components) -> Components:
    """Closes a circuit with the failures still counted that had opened it."""
    return made_of(parts, _Remembering)


@mutant(breaks="BRK-02")
def reopens_for_no_longer(parts: Components) -> Components:
    """Cools down for the same time however often the probes fail."""
    return ruled_by(parts, cooldown_factor=1)


@mutant(breaks="BRK-02")
def grows_the_cool_down_only_once(parts: Components) -> Components:
    """Cools down for longer the second time, and for no longer than that the third."""

    class Halting(Circuit):
        def cooldown_ms(self) -> int:
            rules = self._rules
            return min(super().cooldown_ms(), rules.cooldown_ms * rules.cooldown_factor)

    return made_of(parts, Halting)


@mutant(breaks="BRK-02")
def grows_the_cool_down_past_its_cap(parts: Components) -> Components:
    """Doubles the cool-down with every failed probe, without end."""
    return ruled_by(parts, cooldown_cap_ms=1 << 40)


@mutant(breaks="BRK-02")
def remembers_its_cool_downs_for_ever(parts: Components) -> Components:
    """Begins with the last, long cool-down when a circuit that had closed opens again."""

    class Unforgiving(Circuit):
        def _turn(self, event: Event, now_us: int) -> None:
            trips = self._trips
            super()._turn(event, now_us)
            self._trips = max(self._trips, trips)

    return made_of(parts, Unforgiving)


@mutant(breaks="BRK-02")
def forgives_a_failed_probe(parts: Components) -> Components:
    """Goes on probing behind a failed probe, until enough succeed."""

    class Forgiving(Circuit):
        def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            half_open = self.state(now_us) == "half_open"
            super().count(permit, "ignored" if half_open and outcome == "failure" else outcome, now_us)

    return made_of(parts, Forgiving)


@mutant(breaks="BRK-02")
def never_takes_a_permit_back(parts: Components) -> Components:
    """Waits for ever for the outcome of a probe that does not end."""
    return ruled_by(parts, permit_timeout_ms=1 << 40)


@mutant(breaks="BRK-02")
def loses_the_permit_of_a_probe_that_proves_nothing(parts: Components) -> Components:
    """Keeps the permit of a probe whose outcome does not count: its client left, or was at fault."""

    class Losing(Circuit):
        def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            if self.state(now_us) != "half_open" or outcome != "ignored":
                super().count(permit, outcome, now_us)

    return made_of(parts, Losing)


@mutant(breaks="BRK-02")
def takes_a_probe_that_proves_nothing_for_a_success(parts: Components) -> Components:
    """Closes a circuit on probes whose clients left or were at fault."""

    class Hopeful(Circuit):
        def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            half_open = self.state(now_us) == "half_open"
            super().count(permit, "success" if half_open and outcome == "ignored" else outcome, now_us)

    return made_of(parts, Hopeful)


@mutant(breaks="BRK-02")
def lets_late_outcomes_count_as_probes(parts: Components) -> Components:
    """Lets a call that began before the circuit opened decide over it when it is half open."""

    class Confused(Circuit):
        def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            if self.state(now_us) == "half_open" and permit.generation != self.generation:
                self._probes[permit.serial] = permit.at_us
                permit = Permit(permit.path, self.generation, permit.serial, permit.at_us)
            super().count(permit, outcome, now_us)

    return made_of(parts, Confused)
