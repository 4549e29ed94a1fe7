"""One trial of a scenario: simulated and judged by every checker; it knows nothing of how scenarios are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from harness.checker import CHECKERS, Outcome
from harness.contract import Contract, ContractError
from harness.environment.sim import run_in_sim
from harness.history import History, Recorder
from harness.runner import judge
from harness.scenario import Scenario
from harness.target import Mutate, Target, TargetError, Unsupported


@dataclass(frozen=True, slots=True)
class Subject:
    """The gateway that a swarm is let loose on: a target, perhaps made wrong by a mutant, and the seed of all runs."""

    target: Target
    seed: int
    mutate: Mutate | None = None
    mutant: str = ""

    def contract(self, scenario: Scenario) -> Contract:
        """Return the effective contract of a scenario. Raises ContractError."""
        return self.target.contract([scenario.world.overlay] if scenario.world.overlay else [])


@dataclass(frozen=True, slots=True)
class Trial:
    """What one simulation came to: the requirements that failed, or the kind of the error that ended it.

    ``judged`` are the checkers that met a case and could tell how it was.
    """

    broken: frozenset[str] = frozenset()
    error: str = ""
    judged: frozenset[str] = frozenset()
    reached: Mapping[str, int] = field(default_factory=Counter)

    @property
    def marks(self) -> frozenset[str]:
        """What the trial failed by: requirements, or the kind of its error."""
        return frozenset({self.error}) if self.error else self.broken


def attempt(scenario: Scenario, subject: Subject) -> Trial | None:
    """Simulate ``scenario`` and judge it by every checker; None if its contract is unlawful or the target cannot.

    Raises TargetError if the gateway does not even start.
    """
    try:
        contract = subject.contract(scenario)
    except ContractError:
        return None
    checks = tuple(CHECKERS.values())
    with closing(Recorder()) as recorder:
        try:
            error = _simulate(replace(scenario, checks=checks), contract, subject, recorder)
        except Unsupported:
            return None
        if error is not None:
            return Trial(error=type(error).__name__)
        history = recorder.history()
    record = judge(history, contract, checks)
    if record["errors"]:
        return Trial(error=f"checker {record['errors'][0]['checker']} crashed")
    told = {Outcome.PASS.value, Outcome.FAIL.value}
    return Trial(
        broken=frozenset(check["requirement"] for check in record["checks"] if check["outcome"] == Outcome.FAIL.value),
        judged=frozenset(check["checker"] for check in record["checks"] if check["outcome"] in told) & CHECKERS.keys(),
        reached=_reached(history, record["branches"]),
    )


def planned(scenario: Scenario, subject: Subject) -> dict[str, Any]:
    """Run ``scenario`` with its own checks and return the plan that its history starts with."""
    with closing(Recorder()) as recorder:
        _simulate(scenario, subject.contract(scenario), subject, recorder)
        plan: dict[str, Any] = orjson.loads(next(recorder.lines()))
    return plan


def _simulate(made: Scenario, contract: Contract, subject: Subject, recorder: Recorder) -> Exception | None:
    """Run a scenario into ``recorder`` and return what ended it early, if anything did."""
    try:
        run_in_sim(
            made,
            subject.target,
            contract,
            seed=subject.seed,
            recorder=recorder,
            mutate=subject.mutate,
            mutant=subject.mutant,
        )
    except Unsupported:
        raise
    except Exception as error:
        if b'"plan"' not in next(recorder.lines())[:20]:
            cause = error.cause if isinstance(error, TargetError) else ""
            raise TargetError(f"the gateway did not start: {error}", cause=cause) from error
        return error
    return None


def _reached(history: History, branches: Mapping[str, int | None]) -> Counter[str]:
    """Count what happened in a run, under the names that a swarm's summary tells; its ``branches`` by their own."""
    found: Counter[str] = Counter(f"calls {call.outcome}" for call in history.calls)
    found.update(f"fault {name}" for attempt in history.attempts for name in filter(None, attempt.fault.split("+")))
    found.update(f"fault {note.kind}" for note in history.notes if note.kind in ("kill", "store_failure"))
    found.update({f"branch {name}": count or 0 for name, count in branches.items()})
    found["calls"] += len(history.calls)
    found["streams"] += sum(call.stream for call in history.calls)
    found["faults"] += len(history.faults)
    found["struck"] += bool(history.faults)
    return +found
