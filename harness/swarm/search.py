"""The swarm's loop: draw a scenario, try it, make what fails small; it prints nothing and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from time import monotonic  # noqa: TID251 - how long a person's search goes on; nothing simulated reads it
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.strategies import SearchStrategy

from harness.checker import CHECKERS
from harness.scenario import Scenario
from harness.swarm.shrink import shrink, size
from harness.swarm.strategies import NAME, scenarios
from harness.swarm.trial import Subject, Trial, attempt, planned

ROUND = 500
"""Scenarios that Hypothesis draws in one go: the next round starts afresh, under a seed of its own."""
SHRINK_S = 45.0
"""How long one failure is made smaller at most."""


@dataclass(frozen=True, slots=True)
class Found:
    """One failure, made small: what fails, the scenario, and what it took. ``marks`` is all that fails in it."""

    mark: str
    marks: tuple[str, ...]
    scenario: Scenario
    after: int
    plan: Mapping[str, Any]
    drawn: tuple[int, int]
    trials: int
    seconds: float

    @property
    def faults(self) -> int:
        return size(self.scenario)[0]

    @property
    def calls(self) -> int:
        return size(self.scenario)[1]


@dataclass(slots=True)
class Tally:
    """What a swarm did and found so far."""

    simulations: int = 0
    unlawful: int = 0
    seconds: float = 0.0
    shrink_seconds: float = 0.0
    reached: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    interrupted: bool = False


class _Enough(BaseException):
    """Ends a round of Hypothesis's, which would take any Exception for a failing example."""


class Search:
    """Looks for scenarios in which a subject breaks a promise."""

    def __init__(
        self,
        subject: Subject,
        *,
        seconds: float,
        most: int | None = None,
        simulations: int | None = None,
        wanted: str = "",
        told: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        """``most`` failures end the search, or so many ``simulations``; of several broken requirements ``wanted``
        is the one that a failure is shrunk by. ``told`` hears of the tally after each trial."""
        self.tally = Tally()
        self._subject = subject
        self._seconds = seconds
        self._most = most
        self._simulations = simulations
        self._wanted = wanted
        self._told = told
        self._started = monotonic()

    def run(self) -> Tally:
        """Search until the time is up or enough was found; an interrupt keeps what there is."""
        strategy = scenarios(self._subject.target.contract())
        try:
            for number in count():
                self._round(strategy, number)
        except _Enough:
            pass
        except KeyboardInterrupt:
            self.tally.interrupted = True
        self.tally.seconds = monotonic() - self._started - self.tally.shrink_seconds
        return self.tally

    def _round(self, strategy: SearchStrategy[Scenario], number: int) -> None:
        @seeded(f"{self._subject.seed}/{number}")
        @settings(
            max_examples=ROUND,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def tried(scenario: Scenario) -> None:
            self._try(scenario)

        tried()

    def _try(self, scenario: Scenario) -> None:
        tally = self.tally
        if monotonic() - self._started >= self._seconds or tally.simulations == self._simulations:
            raise _Enough
        trial = attempt(scenario, self._subject)
        if trial is None:
            tally.unlawful += 1
            return
        tally.simulations += 1
        tally.reached.update(trial.reached)
        known = {found.mark for found in tally.found}
        if trial.marks and not trial.marks & known:
            started = monotonic()
            tally.found.append(self._small(scenario, trial))
            tally.shrink_seconds += monotonic() - started
        self._told(tally)
        if self._most is not None and len(tally.found) >= self._most:
            raise _Enough

    def _small(self, scenario: Scenario, trial: Trial) -> Found:
        """Return the failure of ``scenario``, made as small as the time for it allows, under a name of its own."""
        mark = self._wanted if self._wanted in trial.marks else min(trial.marks)
        started, trials = monotonic(), 0

        def fails(smaller: Scenario) -> bool:
            nonlocal trials
            trials += 1
            again = attempt(smaller, self._subject)
            return again is not None and mark in again.marks

        small = shrink(scenario, fails, lambda: monotonic() - started > SHRINK_S)
        named = replace(small, name=f"{NAME}.found_{len(self.tally.found) + 1}")
        small = named if fails(named) else small
        last = attempt(small, self._subject)
        assert last is not None
        # Those that have nothing to judge in it, or cannot tell, would only make the verdict long.
        small = replace(small, checks=tuple(CHECKERS[name] for name in sorted(last.judged or CHECKERS)))
        return Found(
            mark,
            tuple(sorted(last.marks)),
            small,
            self.tally.simulations,
            planned(small, self._subject),
            size(scenario),
            trials,
            monotonic() - started,
        )
