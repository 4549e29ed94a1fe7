"""Recorded plans on the command line: a saved file, a history or a scenario's folder in the place of a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.checker import CHECKERS
from harness.contract import ContractError
from harness.environment.planned import PlanError, read_plan, scenario_of
from harness.environment.playable import check_playable
from harness.runner import Job
from harness.target import Mode, Overlay, Target

if TYPE_CHECKING:
    from harness.cli.run import RunOptions

Plans = Mapping[str, Mapping[str, Any]]
"""Plans by the path that was given for each."""


def saved_plans(names: Sequence[str]) -> Plans:
    """Return the plans that ``names`` are paths of, none if they are no paths. Raises click.UsageError."""
    paths = [name for name in names if _is_path(name)]
    if not paths:
        return {}
    if len(paths) < len(names):
        raise click.UsageError("give files of plans, or names of scenarios, not both")
    try:
        plans = {path: read_plan(Path(path)) for path in dict.fromkeys(paths)}
        for path, plan in plans.items():
            _check(path, plan)
    except PlanError as error:
        raise click.UsageError(str(error)) from None
    return plans


def _check(path: str, plan: Mapping[str, Any]) -> None:
    try:
        scenario_of(plan, CHECKERS)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None


def check_contract(plans: Plans, target: Target, overlay: str) -> None:
    """Raise UsageError for what of ``plans`` cannot be played under the contract of ``target``."""
    for path, plan in plans.items():
        made = scenario_of(plan, CHECKERS)
        overlays: list[Overlay] = [one for one in (overlay, made.world.overlay) if one]
        try:
            check_playable(made, target.contract(overlays))
        except (PlanError, ContractError) as error:
            raise click.UsageError(f"{path}: {error}") from None


def _is_path(name: str) -> bool:
    return name.endswith((".json", ".jsonl")) or (Path(name) / "history.jsonl").is_file()


def as_recorded(plans: Plans, options: RunOptions) -> RunOptions:
    """Return ``options`` with target, mode and mutant of the plans where the command line said nothing else.

    A target that was said is taken as it is, without the plans' mutant. Raises UsageError.
    """
    recorded: set[tuple[str, Mode, str]] = {
        (str(plan["target"]), plan["mode"], str(plan["mutant"])) for plan in plans.values()
    }
    if len(recorded) > 1:
        raise click.UsageError("the plans were recorded with different targets, modes or mutants: run one at a time")
    if options.seeds or options.last_failed or options.shard:
        raise click.UsageError("--seeds, --last-failed and --shard do not go with files of plans")
    target, mode, mutant = recorded.pop()
    return replace(
        options,
        target=options.target if "target" in options.said else target,
        mode=options.mode or mode,
        mutant=options.mutant if {"mutant", "target"} & options.said else mutant,
    )


def saved_jobs(plans: Plans, like: Job, options: RunOptions) -> list[Job]:
    """Return a job per plan: ``like`` that one, under the plan's own seed where ``options`` have none.

    Raises UsageError for two plans whose histories would stand in one folder.
    """
    jobs = []
    for path, plan in plans.items():
        seed = int(plan["seed"]) if options.seed is None else options.seed
        again = (path, *asked_differently(plan, replace(options, seed=seed, mode=like.mode)))
        jobs.append(replace(like, scenario=str(plan["scenario"]), seed=seed, plan=plan, again=again))
    twice = [name for name, count in Counter((job.scenario, job.seed) for job in jobs).items() if count > 1]
    if twice:
        told = ", ".join(f"{scenario} under seed {one}" for scenario, one in twice)
        raise click.UsageError(f"two of the plans are both of {told}: run one at a time")
    return jobs


def asked_differently(plan: Mapping[str, Any], options: RunOptions) -> Iterator[str]:
    """Yield the options that ``harness run`` needs beside the plan's file to do the same again; never a secret."""
    asked = {
        "mode": options.mode,
        "seed": options.seed,
        "target": options.target,
        "mutant": options.mutant,
        "contract": options.contract_path,
        "claims": options.claims_path,
        "upstreams": options.upstreams_url,
    }
    known = {**dict.fromkeys(asked, ""), **{name: plan[name] for name in ("mode", "seed", "target", "mutant")}}
    if asked["target"] != known["target"]:
        known["mutant"] = ""  # a target that is named comes without the plan's mutant
    for name, value in asked.items():
        if value != known[name]:
            yield from (f"--{name}", str(value))
    for key in options.keys:
        yield from ("--key", key.partition("=")[0])
