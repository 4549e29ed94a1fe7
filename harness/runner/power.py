"""Which mutants meet which scenarios, and when a mutant has been seen enough; it judges and renders nothing itself."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harness.checkers.recovery import RECOVERY
from harness.contract import Contract
from harness.environment.probes import recovers
from harness.runner.jobs import Job, Suite, lost, run_job
from harness.runner.pool import spread
from harness.scenario import SCENARIOS, Part

CPU_LIMIT_S = 120
"""CPU time after which a run is given up: a mutant may well never end."""


@dataclass(frozen=True, slots=True)
class Lie:
    """A mutant as the engine knows it: its name, the requirement that it breaks, the lie in one sentence."""

    name: str
    breaks: str
    lie: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A scenario as a mutant may be put through it: its part, what it judges, and the calls it makes as its cost.

    ``after`` are the requirements that the runner asks of it besides, of the recovery that the run ends with.
    """

    name: str
    part: Part
    judges: frozenset[str]
    calls: int
    after: frozenset[str] = frozenset()


def subjects(contract: Contract, seed: int) -> list[Subject]:
    """Return every scenario that sim can run, core first and cheapest first."""
    made = []
    for named in SCENARIOS.values():
        if named.part in ("durability", "limiter"):
            continue
        built = named(contract, seed)
        judges = frozenset(check.requirement for check in built.checks)
        after = frozenset(check.requirement for check in RECOVERY) if recovers(built) else frozenset[str]()
        made.append(Subject(named.name, named.part, judges, len(built.workload.calls), after - judges))
    return sorted(made, key=lambda subject: (subject.part != "core", subject.calls, subject.name))


@dataclass(slots=True)
class Row:
    """One mutant and what became of it in the scenarios that it was put through so far, in their order."""

    lie: Lie
    left: deque[Subject]
    full: bool
    asked: list[dict[str, Any]] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Say whether a checker of its own requirement has caught it, or it could not be run as it should."""
        return any(
            result["error"] or any(hit["requirement"] == self.lie.breaks for hit in result["broken"])
            for result in self.asked
        )

    @property
    def over(self) -> bool:
        """Say whether what was seen is enough."""
        return not self.left or (self.settled and not (self.full and self.left[0].part == "core"))


class Campaign:
    """The queue of a power run: the right gateway through the core, and every mutant through its scenarios in turn.

    A mutant meets the scenarios that judge the requirement it breaks, core first and cheapest first, those that ask it
    of their recovery alone behind the others, until one of them catches it. ``full`` makes it meet the whole core all
    the same, and of the ceilings those of its requirement if nothing in the core has caught it. Of one mutant one run
    is under way at a time, so that the record does not depend on who was quicker.
    """

    def __init__(
        self,
        lies: Sequence[Lie],
        known: Sequence[Subject],
        target: Mapping[str, Any],
        *,
        seed: int,
        full: bool,
        control: Iterable[str],
    ) -> None:
        self.rows = {lie.name: Row(lie, deque(_way(lie, known, full=full)), full) for lie in lies}
        self.control: dict[str, dict[str, Any]] = {}
        """What became of the right gateway, by scenario."""
        self._target, self._seed = target, seed
        self._right = deque(control)
        self._checked = set(self._right)
        self._idle = deque(self.rows)

    def take(self) -> Job | None:
        """Return the next run: the right gateway's first, then that of a mutant that is in none."""
        if self._right:
            return self._job("", self._right.popleft())
        while self._idle:
            row = self.rows[self._idle.popleft()]
            if not row.over:
                return self._job(row.lie.name, row.left.popleft().name)
        return None

    def ended(self, item: Job, result: dict[str, Any]) -> None:
        """Learn what became of a run; a scenario that caught a mutant is asked about the right gateway too."""
        if not item.mutant:
            self.control[item.scenario] = result
            return
        self.rows[item.mutant].asked.append(result)
        self._idle.appendleft(item.mutant)
        if result["broken"] and item.scenario not in self._checked:
            self._checked.add(item.scenario)
            self._right.append(item.scenario)

    def _job(self, mutant: str, scenario: str) -> Job:
        return Job(scenario, self._seed, "sim", self._target, mutant=mutant)


def _way(lie: Lie, known: Sequence[Subject], *, full: bool) -> Iterator[Subject]:
    own = [subject for subject in known if lie.breaks in subject.judges]
    # What every run with a recovery is asked comes after what a scenario was written to ask.
    besides = [subject for subject in known if lie.breaks in subject.after]
    core = [subject for subject in (*own, *besides) if subject.part == "core"]
    yield from core
    if full:
        yield from (subject for subject in known if subject.part == "core" and subject not in core)
    yield from (subject for subject in own if subject.part != "core")


def run_campaign(
    campaign: Campaign, suite: Suite, *, workers: int = 0
) -> Generator[tuple[Job, dict[str, Any]], None, None]:
    """Yield each run of ``campaign`` with what ``examine`` found, as it ends."""
    yield from spread(campaign, partial(examine, suite=suite), _lost, workers=workers)


def examine(job: Job, suite: Suite) -> dict[str, Any]:
    """Run one job and return what of its record power is about."""
    try:
        with _limited(CPU_LIMIT_S):
            return condensed(run_job(job, suite))
    except OverdueError as error:
        return _lost(job, str(error))
    except SystemExit:
        return _lost(job, "the gateway ended the process that it ran in")


def condensed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a scenario's record power is about: what broke with its first evidence, and what went wrong."""
    return {
        "scenario": record["scenario"],
        "seed": record["seed"],
        "part": record["part"],
        "outcome": record["outcome"],
        "digest": record.get("digest", ""),
        "doubts": record["doubts"],
        "late": bool(record.get("late")),
        "error": _trouble(record),
        "broken": [_hit(check) for check in record["checks"] if check["outcome"] == "fail"],
        "cpu_s": record["cpu_s"],
    }


def _hit(check: Mapping[str, Any]) -> dict[str, Any]:
    clauses = [name for name, clause in check["clauses"].items() if clause["outcome"] == "fail"]
    first = next(piece for piece in check["evidence"] if piece["outcome"] == "fail")
    evidence = {name: first[name] for name in ("clause", "expected", "actual", "call", "attempts", "at_us")}
    told = {name: check[name] for name in ("requirement", "checker", "promise")}
    return {**told, "clauses": clauses, "evidence": evidence}


def _trouble(record: Mapping[str, Any]) -> dict[str, str] | None:
    """Return why a run is no proof of anything: what crashed in it, if anything did."""
    if record.get("errors"):
        crash = record["errors"][0]
        last = crash["traceback"].strip().splitlines()[-1]
        return {"kind": "checker", "message": f"checker {crash['checker']} crashed: {last}"}
    if record["error"]:
        kind = "creation" if record["error"]["kind"] == "mutant" else "run"
        return {"kind": kind, "message": record["error"]["message"]}
    if record.get("crashes"):
        first = record["crashes"][0]
        return {"kind": "gateway", "message": f"the gateway crashed: {first['error']}, {first['count']} times"}
    return None


def _lost(job: Job, message: str) -> dict[str, Any]:
    return condensed(lost(job, message))


class OverdueError(Exception):
    """A run that took more CPU time than any should."""


@contextmanager
def _limited(cpu_s: int) -> Iterator[None]:
    """Raise OverdueError inside, again and again, once it has taken ``cpu_s`` of CPU time (where the system can)."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise OverdueError(f"the run was given up after {cpu_s} s of CPU time")

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, cpu_s, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
