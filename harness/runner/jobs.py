"""One job is one scenario under one seed: built, run in its mode, judged and written, in whichever process."""

from __future__ import annotations

import contextlib
import gc
import os
import time  # noqa: TID251 - CPU time of the job, for the run's own statistics; nothing simulated reads it
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.checker import CHECKERS, Checker
from harness.contract import Contract
from harness.contract.loader import contract_from_json
from harness.contract.requirements import matches
from harness.environment.local import run_locally
from harness.environment.planned import scenario_of
from harness.environment.raised import NOTE as RAISED
from harness.environment.raised import raised_in
from harness.environment.remote import run_remotely
from harness.environment.sim import run_in_sim
from harness.history import History, Recorder, read_chapters
from harness.runner.judge import Judging, judge
from harness.runner.pool import spread
from harness.scenario import SCENARIOS, Scenario
from harness.target import Mode, Mutate, Overlay, Target, TargetError, Unsupported

EVERYTHING = frozenset[str]()
LATE_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker process needs to know; everything in it can be sent to one.

    The scenario is one of the registry's, by name, or that of ``plan``, a recorded one.
    """

    scenario: str
    seed: int
    mode: Mode
    target: Mapping[str, Any]
    mutant: str = ""
    overlay: str = ""
    requirements: frozenset[str] = EVERYTHING
    """Judge these requirements alone; empty: all that the scenario checks."""
    folder: str = ""
    """Where the history goes; empty: nowhere."""
    keep_passes: bool = True
    plan: Mapping[str, Any] | None = None
    again: tuple[str, ...] = ()
    """What ``harness run`` must be given to run the plan again: its file, and what was asked differently."""


@dataclass(frozen=True, slots=True)
class Suite:
    """How a worker process gets scenarios, targets and mutants: functions of the composition root."""

    load: Callable[[], None]
    target: Callable[[Mapping[str, Any]], Target]
    mutate: Callable[[str], Mutate]


def build(job: Job, target: Target) -> tuple[Scenario, Contract]:
    """Return the job's scenario, checks narrowed to its requirements and to what is claimed, and its contract in force.

    Raises Unsupported for a scenario that would judge nothing of what the target claims; chaos is run all the same.
    Raises PlanError for a plan that no scenario can be made from.
    """
    overlays: list[Overlay] = [job.overlay] if job.overlay else []
    if job.plan is not None:
        made = scenario_of(job.plan, CHECKERS)
    else:
        made = SCENARIOS[job.scenario](target.contract(overlays), job.seed)
    if made.world.overlay:
        overlays.append(made.world.overlay)
    contract = target.contract(overlays)
    if job.requirements:
        made = replace(made, checks=tuple(check for check in made.checks if check.requirement in job.requirements))
    claimed = tuple(check for check in made.checks if _claims_any(target.claims, check))
    if not claimed and made.part == "chaos":
        return made, contract  # what its circuits did is shown all the same
    if made.checks and not claimed:
        raise Unsupported("it judges nothing that this target claims")
    return replace(made, checks=claimed), contract


def _claims_any(claims: Sequence[str], check: Checker) -> bool:
    return any(matches(claims, check.requirement, clause) for clause in check.clauses)


def run_job(job: Job, suite: Suite) -> dict[str, Any]:
    """Run and judge one job; whatever goes wrong is in the record, under ``error``.

    On sockets a run whose generator lagged says nothing about the gateway: it is made again, a bounded number of times.
    """
    suite.load()
    started = time.process_time()
    for again in range(1 if job.mode == "sim" else 1 + LATE_RETRIES):
        with contextlib.closing(Recorder()) as recorder:
            record = _record(job, suite, recorder)
            if record.get("late") and again < LATE_RETRIES:
                continue
            ran = record["outcome"] != "unsupported" or "calls" in record  # not claimed, and shown all the same
            if job.folder and ran and (job.keep_passes or record["outcome"] not in ("pass", "unsupported")):
                _keep(recorder, job, record)
            break
    record["cpu_s"] = round(time.process_time() - started, 4)
    return record


class MutantError(Exception):
    """A mutant that raised when it was given the gateway's components."""


def _named(mutate: Mutate) -> Mutate:
    """Return ``mutate`` raising MutantError where it raises, to tell it from a gateway that does not start."""

    def made(parts: Any) -> Any:
        try:
            return mutate(parts)
        except Exception as error:
            raise MutantError(f"{type(error).__name__}: {error}") from error

    return made


def _keep(recorder: Recorder, job: Job, record: dict[str, Any]) -> None:
    """Write the history; a disk that is full meanwhile is the record's error, not the end of the run."""
    name = f"{job.scenario}-{job.seed}"
    try:
        recorder.write(Path(job.folder) / name)
    except OSError as error:
        message = f"the history could not be written: {error.strerror or error}"
        record.update(outcome="error", error={"kind": "harness", "message": message, "help": "give another --out"})
    else:
        record["folder"] = name


def _blank(job: Job) -> dict[str, Any]:
    """Return the record of a job that has come to nothing yet."""
    named = SCENARIOS[job.scenario] if job.plan is None else None
    options = job.plan["options"] if job.plan is not None else {}
    return {
        "scenario": job.scenario,
        "seed": job.seed,
        **({"again": list(job.again)} if job.again else {}),
        "part": named.part if named else options.get("part", "core"),
        "promise": named.promise if named else options.get("promise", ""),
        "outcome": "error",
        "checks": [],
        "doubts": [],
        "errors": [],
        "error": None,
        "cpu_s": 0.0,
    }


def _record(job: Job, suite: Suite, recorder: Recorder) -> dict[str, Any]:
    record = _blank(job)
    try:
        target = suite.target(job.target)
        made, contract = build(job, target)
        record["overlays"] = list(contract.overlays)
        record["reaches"] = list(made.reaches)
        record["could_judge"] = sorted({f"{c.requirement}.{clause}" for c in made.checks for clause in c.clauses})
        let_out = ""
        try:
            mutate = _named(suite.mutate(job.mutant)) if job.mutant else None
            let_out = _run(made, target, contract, job, recorder, mutate)
        finally:
            # What was recorded before a target died or the harness was stopped is kept.
            record["digest"] = recorder.digest()
        with _no_garbage_sought():
            history = recorder.history()
            record.update(judge(history, contract, made.checks, only=job.requirements))
        record["raised"] = _raised(history, let_out)
        if record["errors"]:
            record["outcome"] = "error"
            record["error"] = {"kind": "harness", "message": f"{len(record['errors'])} checkers crashed"}
    except Unsupported as reason:
        record.update(outcome="unsupported", doubts=[str(reason)])
    except MutantError as error:
        record["error"] = {
            "kind": "mutant",
            "message": f"mutant {job.mutant} could not be made: {error}",
            "cause": traceback.format_exception(error.__cause__)[-2],
        }
    except TargetError as error:
        record["error"] = {"kind": "target", "message": str(error), "cause": error.cause, "help": error.help}
    except Exception as error:
        record["error"] = {
            "kind": "harness",
            "message": f"{type(error).__name__}: {error}",
            "cause": traceback.format_exc(limit=-6),
        }
    return record


@contextlib.contextmanager
def _no_garbage_sought() -> Iterator[None]:
    """Keep the collector off: a history is a million objects that all stay, and looking through them finds nothing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _run(
    made: Scenario, target: Target, contract: Contract, job: Job, recorder: Recorder, mutate: Mutate | None
) -> str:
    """Run the job in its mode and return the first traceback of what the target let out, where it can be seen."""
    if job.mode not in target.modes:
        raise Unsupported(f"target {target.name} cannot be run in mode {job.mode}: it has {', '.join(target.modes)}")
    if job.mode == "sim":
        return run_in_sim(made, target, contract, seed=job.seed, recorder=recorder, mutate=mutate, mutant=job.mutant)
    if job.mode == "local":
        run_locally(made, target, contract, seed=job.seed, recorder=recorder, mutant=job.mutant)
    else:
        run_remotely(made, target, contract, seed=job.seed, recorder=recorder)
    return ""


def _raised(history: History, let_out: str) -> dict[str, Any] | None:
    return raised_in((note.detail for note in history.notes if note.kind == RAISED), let_out)


def rejudge(folder: Path, checks: Mapping[str, Checker]) -> dict[str, Any]:
    """Judge a recorded run again with its plan's checks, chapter by chapter if it has such.

    Raises HistoryError or ContractError for what is no such run; KeyError for a check that is gone.
    """
    return judge_chapters(read_chapters(folder), checks, folder.name)


def judge_chapters(chapters: Iterable[History], checks: Mapping[str, Checker], folder: str) -> dict[str, Any]:
    """Judge the chapters of one run, in ``folder``, as they come; raises as ``rejudge``."""
    judging: Judging | None = None
    with _no_garbage_sought():
        for history in chapters:
            if judging is None:
                plan = replace(history.plan, calls=())
                contract = contract_from_json(plan.contract)
                named = [checks[name] for name in plan.options.get("checks", ())]
                judging = Judging(contract, named)
            judging.chapter(history)
            del history  # before the next one is read
    assert judging is not None
    return {
        "scenario": plan.scenario,
        "seed": plan.seed,
        "part": plan.options.get("part", "core"),
        "promise": plan.options.get("promise", ""),
        "overlays": list(contract.overlays),
        "could_judge": sorted({f"{c.requirement}.{clause}" for c in named for clause in c.clauses}),
        "folder": folder,
        "error": None,
        **judging.record(),
        "raised": raised_in(judging.raised, ""),
    }


class _InOrder:
    """Jobs as they are listed, whatever becomes of them."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._left = iter(jobs)

    def take(self) -> Job | None:
        return next(self._left, None)

    def ended(self, item: Job, result: dict[str, Any]) -> None:
        pass


def run_jobs(
    jobs: list[Job], suite: Suite, *, workers: int = 0, stop_at_first: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield a record per job as each ends. ``workers`` 0 takes one per core; one worker stays in this process."""
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    with contextlib.closing(spread(_InOrder(jobs), partial(run_job, suite=suite), lost, workers=workers)) as ended:
        for _, record in ended:
            yield record
            if stop_at_first and record["outcome"] not in ("pass", "unsupported"):
                return


def lost(job: Job, message: str) -> dict[str, Any]:
    """Return the record of a job whose process was killed."""
    return {**_blank(job), "error": {"kind": "harness", "message": message}}
