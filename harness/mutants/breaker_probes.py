"""Mutants whose circuits cool down, probe and close at other times than they should (BRK-02)."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from harness.contract import Breaker as Rules
from harness.gateway.breaker import Breaker, Circuit, Event, Outcome, Path, Permit
from harness.gateway.components import Components
from harness.mutants.furniture import with_breaker_rules, with_circuits
from harness.mutants.registry import mutant


@mutant(breaks="BRK-02")
def never_tries_an_open_path_again(parts: Components) -> Components:
    """Leaves a circuit open for ever."""

    class Shut(Circuit):
        def reopens_us(self) -> int:
            return 1 << 60

    return with_circuits(parts, Shut)


@mutant(breaks="BRK-02")
def cools_down_too_quickly(parts: Components) -> Components:
    """Probes an open path when nine tenths of its cool-down are over."""

    class Impatient(Circuit):
        def cooldown_ms(self) -> int:
            return super().cooldown_ms() * 9 // 10

    return with_circuits(parts, Impatient)


@mutant(breaks="BRK-02")
def cools_down_from_the_last_refusal(parts: Components) -> Components:
    """Begins the cool-down anew with every call that an open circuit keeps away."""

    class Offended(Circuit):
        def admit(self, serial: int, now_us: int) -> bool:
            let = super().admit(serial, now_us)
            if not let and self._state == "open":
                self._opened_us = now_us
            return let

    return with_circuits(parts, Offended)


@mutant(breaks="BRK-02")
def cools_down_from_the_last_outcome(parts: Components) -> Components:
    """Begins the cool-down anew with every call that ends after the circuit opened."""

    class Restless(Circuit):
        def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            super().count(permit, outcome, now_us)
            if self._state == "open":
                self._opened_us = now_us

    return with_circuits(parts, Restless)


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
    return with_breaker_rules(parts, probes=parts.contract.breaker.probes + 1)


@mutant(breaks="BRK-02")
def closes_at_the_first_success(parts: Components) -> Components:
    """Closes a half-open circuit when one probe succeeded."""
    return with_breaker_rules(parts, successes_to_close=1)


@mutant(breaks="BRK-02")
def never_closes_again(parts: Components) -> Components:
    """Goes on probing, however many probes succeed."""
    return with_breaker_rules(parts, successes_to_close=1 << 30)


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
    return with_circuits(parts, _Remembering)


@mutant(breaks="BRK-02")
def reopens_for_no_longer(parts: Components) -> Components:
    """Cools down for the same time however often the probes fail."""
    return with_breaker_rules(parts, cooldown_factor=1)


@mutant(breaks="BRK-02")
def grows_the_cool_down_only_once(parts: Components) -> Components:
    """Cools down for longer the second time, and for no longer than that the third."""

    class Halting(Circuit):
        def cooldown_ms(self) -> int:
            rules = self._rules
            return min(super().cooldown_ms(), rules.cooldown_ms * rules.cooldown_factor)

    return with_circuits(parts, Halting)


@mutant(breaks="BRK-02")
def grows_the_cool_down_past_its_cap(parts: Components) -> Components:
    """Doubles the cool-down with every failed probe, without end."""
    return with_breaker_rules(parts, cooldown_cap_ms=1 << 40)


@mutant(breaks="BRK-02")
def remembers_its_cool_downs_for_ever(parts: Components) -> Components:
    """Begins with the last, long cool-down when a circuit that had closed opens again."""

    class Unforgiving(Circuit):
        def _turn(self, event: Event, now_us: int) -> None:
            trips = self._trips
            super()._turn(event, now_us)
            self._trips = max(self._trips, trips)

    return with_circuits(parts, Unforgiving)


@mutant(breaks="BRK-02")
def forgives_a_failed_probe(parts: Components) -> Components:
    """Goes on probing behind a failed probe, until enough succeed."""

    class Forgiving(Circuit):
        def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            half_open = self.state(now_us) == "half_open"
            super().count(permit, "ignored" if half_open and outcome == "failure" else outcome, now_us)

    return with_circuits(parts, Forgiving)


@mutant(breaks="BRK-02")
def never_takes_a_permit_back(parts: Components) -> Components:
    """Waits for ever for the outcome of a probe that does not end."""
    return with_breaker_rules(parts, permit_timeout_ms=1 << 40)


@mutant(breaks="BRK-02")
def loses_the_permit_of_a_probe_that_proves_nothing(parts: Components) -> Components:
    """Keeps the permit of a probe whose outcome does not count: its client left, or was at fault."""

    class Losing(Circuit):
        def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            if self.state(now_us) != "half_open" or outcome != "ignored":
                super().count(permit, outcome, now_us)

    return with_circuits(parts, Losing)


@mutant(breaks="BRK-02")
def takes_a_probe_that_proves_nothing_for_a_success(parts: Components) -> Components:
    """Closes a circuit on probes whose clients left or were at fault."""

    class Hopeful(Circuit):
        def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            half_open = self.state(now_us) == "half_open"
            super().count(permit, "success" if half_open and outcome == "ignored" else outcome, now_us)

    return with_circuits(parts, Hopeful)


@mutant(breaks="BRK-02")
def lets_late_outcomes_count_as_probes(parts: Components) -> Components:
    """Lets a call that began before the circuit opened decide over it when it is half open."""

    class Confused(Circuit):
        def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
            if self.state(now_us) == "half_open" and permit.generation != self.generation:
                self._probes[permit.serial] = permit.at_us
                permit = Permit(permit.path, self.generation, permit.serial, permit.at_us)
            super().count(permit, outcome, now_us)

    return with_circuits(parts, Confused)
