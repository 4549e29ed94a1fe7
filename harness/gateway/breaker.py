"""Circuit breakers, one per model path: values, a table of transitions and the time passed in; they call nobody.

closed     lets everything through; trips when, of the outcomes of the last window, at least ``min_calls``, the share
           of failed (or slow, if set) ones reaches the threshold
open       lets nothing through until its cool-down is over
half_open  lets ``probes`` through at once; enough successes heal it, one failure relapses

An outcome counts at the end of its call, and only in the state that gave its permit: a call that outlives a change of
state can neither trip nor heal what came after it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Literal

from harness.contract import Breaker as Rules
from harness.contract import Contract

State = Literal["closed", "open", "half_open"]
Event = Literal["trip", "cool", "heal", "relapse"]
Outcome = Literal["success", "failure", "ignored"]
Path = tuple[str, str]
"""A model's id and the role of a target in its chain."""

TABLE: Mapping[tuple[State, Event], State] = {
    ("closed", "trip"): "open",
    ("open", "cool"): "half_open",
    ("half_open", "heal"): "closed",
    ("half_open", "relapse"): "open",
}


class Permit:
    """Leave to call a path once; its outcome is recorded, or it is taken back after the permit's time."""

    __slots__ = ("at_us", "generation", "path", "serial")

    def __init__(self, path: Path, generation: int, serial: int, at_us: int) -> None:
        self.path = path
        self.generation = generation
        self.serial = serial
        self.at_us = at_us


class Circuit:
    """The breaker of one path."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._state: State = "closed"
        self.generation = 0
        self._outcomes: deque[tuple[int, bool, bool]] = deque()
        """When, failed, slow."""
        self._failed = 0
        self._slow = 0
        self._opened_us = 0
        self._trips = 0
        """How often it opened since it was last closed: each time for longer."""
        self._probes: dict[int, int] = {}
        """When each probe under way was let through, by serial number."""
        self._successes = 0

    def state(self, now_us: int) -> State:
        """Return the state at ``now_us``; a cool-down that is over makes it half_open."""
        if self._state == "open" and now_us >= self.reopens_us():
            self._turn("cool", now_us)
        return self._state

    def reopens_us(self) -> int:
        """Return when the present (or last) cool-down ends."""
        return self._opened_us + self.cooldown_ms() * 1000

    def cooldown_ms(self) -> int:
        """Return how long the present (or last) cool-down is: longer with each trip, to the cap."""
        rules = self._rules
        grown_ms: int = rules.cooldown_ms * rules.cooldown_factor ** max(0, self._trips - 1)
        return min(grown_ms, rules.cooldown_cap_ms)

    def wait_us(self, now_us: int) -> int:
        """Return how long the path stays shut for certain: the rest of its cool-down."""
        return self.reopens_us() - now_us if self.state(now_us) == "open" else 0

    def admit(self, serial: int, now_us: int) -> bool:
        """Say whether one more call may go through; in half_open it is a probe from now on."""
        state = self.state(now_us)
        if state == "half_open":
            lost_us = now_us - self._rules.permit_timeout_ms * 1000
            self._probes = {probe: at_us for probe, at_us in self._probes.items() if at_us > lost_us}
            if len(self._probes) >= self._rules.probes:
                return False
            self._probes[serial] = now_us
        return state != "open"

    def count(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
        """Count the outcome of a call that ended now."""
        state = self.state(now_us)
        if permit.generation != self.generation:
            return
        slow = self.is_slow(now_us - permit.at_us)
        if state == "closed" and outcome != "ignored":
            self._outcomes.append((now_us, outcome == "failure", slow))
            self._failed += outcome == "failure"
            self._slow += slow
            self.forget_before(now_us - self._rules.window_ms * 1000)
            if self.is_overloaded(len(self._outcomes), self._failed, self._slow):
                self._turn("trip", now_us)
        elif state == "half_open" and self._probes.pop(permit.serial, None) is not None and outcome != "ignored":
            self._successes += 1
            if outcome == "failure" or slow:
                self._turn("relapse", now_us)
            elif self._successes >= self._rules.successes_to_close:
                self._turn("heal", now_us)

    def is_slow(self, took_us: int) -> bool:
        """Say whether a call that took so long counts as slow."""
        slow_ms = self._rules.slow_ms
        return slow_ms is not None and took_us > slow_ms * 1000

    def forget_before(self, oldest_us: int) -> None:
        """Let the outcomes go that are as old as ``oldest_us``."""
        outcomes = self._outcomes
        while outcomes[0][0] <= oldest_us:
            _, failed, slow = outcomes.popleft()
            self._failed -= failed
            self._slow -= slow

    def is_overloaded(self, calls: int, failed: int, slow: int) -> bool:
        """Say whether so many failed and slow outcomes among so many open the circuit."""
        rules = self._rules
        return calls >= rules.min_calls and (
            failed * 100 >= rules.failure_percent * calls
            or (rules.slow_ms is not None and slow * 100 >= rules.slow_percent * calls)
        )

    def _turn(self, event: Event, now_us: int) -> None:
        """Change the state by the table; whatever the old one had counted is forgotten."""
        self._state = TABLE[self._state, event]
        self.generation += 1
        self._outcomes.clear()
        self._failed = self._slow = self._successes = 0
        self._probes = {}
        if self._state == "open":
            self._opened_us = now_us
            self._trips += 1
        elif self._state == "closed":
            self._trips = 0


class Breaker:
    """The circuits of all paths, each by the contract's numbers."""

    def __init__(self, contract: Contract) -> None:
        self._rules = contract.breaker
        self._circuits: dict[Path, Circuit] = {}
        self._serials = itertools.count(1)

    def state(self, path: Path, now_us: int) -> State:
        """Return how ``path`` stands."""
        return self._circuit(path).state(now_us)

    def permit(self, path: Path, now_us: int) -> Permit | None:
        """Return leave to call ``path`` once; None while it is open, or half-open with all its probes out."""
        circuit = self._circuit(path)
        serial = next(self._serials)
        return Permit(path, circuit.generation, serial, now_us) if circuit.admit(serial, now_us) else None

    def record(self, permit: Permit, outcome: Outcome, now_us: int) -> None:
        """Record how a call ended, streams at their end; ``ignored`` only gives the permit back."""
        self._circuit(permit.path).count(permit, outcome, now_us)

    def retry_after_s(self, paths: Iterable[Path], now_us: int) -> int:
        """Return the whole seconds, at least one, until the first of ``paths`` may let a call through again."""
        waits = [self._circuit(path).wait_us(now_us) for path in paths]
        return max(1, -(-min(waits, default=0) // 1_000_000))

    def _circuit(self, path: Path) -> Circuit:
        circuit = self._circuits.get(path)
        if circuit is None:
            circuit = self._circuits[path] = self.fresh()
        return circuit

    def fresh(self) -> Circuit:
        """Return the circuit of a path that was never called."""
        return Circuit(self._rules)
