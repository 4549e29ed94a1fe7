"""The commands that run: selection in, run folder and terminal text out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter  # noqa: TID251 - how long the command took, for the person who waits
from typing import Any

import click

from harness.cli.chosen import TargetOptions, check_mutant, chosen_target, told
from harness.cli.folder import last_run, run_folder, write
from harness.cli.progress import Progress
from harness.cli.saved import Plans, as_recorded, check_contract, saved_jobs, saved_plans
from harness.cli.selection import Selection, parse_shard, seeds, select
from harness.cli.stopping import sigterm_as_ctrl_c
from harness.cli.suite import SUITE, load
from harness.cli.terminal import fail, say
from harness.cli.text import print_verdict
from harness.contract import Contract, load_requirements
from harness.runner import EXIT_FAIL, EXIT_HARNESS, Job, build_verdict, run_jobs
from harness.runner.shards import identity
from harness.target import Mode, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(TargetOptions):
    """What ``harness run`` was asked."""

    names: tuple[str, ...] = ()
    mode: Mode | None = None
    profiles: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    mutant: str = ""
    seed: int | None = None
    seeds: str = ""
    last_failed: bool = False
    list_only: bool = False
    exit_first: bool = False
    workers: int | None = None
    shard: str = ""
    out: Path | None = None
    quiet: bool = False
    said: frozenset[str] = frozenset()
    """The options that the command line gave; the others a saved plan may fill in."""


def run_command(options: RunOptions) -> int:
    """Run what was selected and return the exit code."""
    load()
    if options.out is not None and str(options.out) in ("", "."):
        raise click.UsageError("--out: give a folder of its own")
    plans = saved_plans(options.names)
    if plans:
        options = as_recorded(plans, options)
    check_mutant(options.mutant, options.target)
    target, spec = chosen_target(options)
    mode: Mode = options.mode or ("remote" if options.by_address else "sim")
    if mode not in target.modes:
        raise click.UsageError(f"--mode {mode}: target {options.target} can be run in {' or '.join(target.modes)}")
    overlay = "short" if mode == "local" else ""
    contract = target.contract([overlay] if overlay else [])
    check_contract(plans, target, overlay)
    selection = select(() if plans else options.names, options.profiles, options.requirements, contract)
    if plans:
        selection = Selection(tuple(str(p["scenario"]) for p in plans.values()), selection.requirements, frozenset())
    part = parse_shard(options.shard)
    if part is not None and options.last_failed:
        raise click.UsageError("--shard and --last-failed do not go together: a part of the last run is no whole")
    if options.last_failed:
        selection = _last_failed(selection)
    if part is not None:
        selection = replace(selection, expected=frozenset())  # the merged record says what was not covered
    like = Job("", 0, mode, spec, options.mutant, overlay, selection.requirements)
    jobs, span = _jobs(options, plans, selection, like)
    if options.list_only:
        for name in selection.scenarios:
            say(name)
        return 0
    told(target.check)
    folder = run_folder(options.out)
    jobs = [replace(job, folder=str(folder)) for job in jobs]
    run = {
        "target": options.target,
        "mode": mode,
        "seeds": [span.start, span.stop - 1],
        "mutant": options.mutant,
        "overlay": overlay,
        "contract": options.contract_path,
        "claims": options.claims_path,
        "upstreams": options.upstreams_url,
        "keys": sorted(spec["keys"]) if options.by_address else [],
        "selection": list(selection.scenarios if options.last_failed else options.names),
        "profiles": list(options.profiles),
        "requirements": sorted(selection.requirements),
        **identity(contract, target.claims),
        **({"shard": str(part)} if part is not None else {}),
    }
    return execute(
        jobs,
        run,
        selection,
        target,
        folder,
        contract=contract,
        workers=options.workers,
        exit_first=options.exit_first,
        quiet=options.quiet,
    )


def _jobs(options: RunOptions, plans: Plans, selection: Selection, like: Job) -> tuple[list[Job], range]:
    """Return the jobs that were asked for, each ``like`` that one, and the seeds that they span. Raises UsageError."""
    if plans:
        jobs = saved_jobs(plans, like, options)
        return jobs, range(min(job.seed for job in jobs), max(job.seed for job in jobs) + 1)
    span = seeds(options.seed, options.seeds)
    part = parse_shard(options.shard)
    jobs = [
        replace(like, scenario=name, seed=one, keep_passes=len(span) == 1)
        for number, one in enumerate(span)
        for place, name in enumerate(selection.scenarios)
        # Each seed is dealt out one further, so that no shard gets the dear scenarios of all seeds.
        if part is None or part.takes(number + place)
    ]
    if not jobs:
        raise click.UsageError(
            f"--shard {part}: nothing is left for it, there are {len(selection.scenarios)} scenarios"
        )
    return jobs, span


@sigterm_as_ctrl_c()  # a cancelled job keeps its partial record too
def execute(
    jobs: list[Job],
    run: dict[str, Any],
    selection: Selection,
    target: Target,
    folder: Path,
    *,
    contract: Contract,
    workers: int | None,
    exit_first: bool = False,
    quiet: bool = False,
) -> int:
    """Run ``jobs``, write the run folder, print the verdict and return the exit code. Ctrl-C keeps what is there.

    ``contract`` is what the scenarios are made from, before their worlds change it.
    """
    records: list[dict[str, Any]] = []
    started = perf_counter()
    local_workers = 4 if run["mode"] == "local" else 0  # a local run waits most of its time
    with Progress(len(jobs), quiet=quiet) as progress:
        try:
            for record in run_jobs(jobs, SUITE, workers=workers or local_workers, stop_at_first=exit_first):
                records.append(record)
                progress.finished(record)
        except KeyboardInterrupt:
            run["interrupted"] = True
    order = {(job.scenario, job.seed): n for n, job in enumerate(jobs)}
    records.sort(key=lambda record: order[record["scenario"], record["seed"]])
    run.update(planned=len(jobs), seconds=round(perf_counter() - started, 2))
    verdict = build_verdict(
        run,
        records,
        load_requirements(),
        target.claims,
        expected=selection.expected,
        assumed=assumed(contract),
    )
    try:
        write(folder, verdict, contract=contract)
    except OSError as error:
        print_verdict(verdict, None)  # it is known, though it cannot be kept
        fail(f"the record could not be written to {folder}", cause=error.strerror or str(error))
        return EXIT_HARNESS
    print_verdict(verdict, folder)
    return int(verdict["exit"])


def demo_command(out: Path | None) -> int:
    """Run the core on the reference gateway, then one mutant on one scenario; 0 if both went as they should."""
    from harness.mutants import MUTANTS

    load()
    folder = run_folder(out)
    target, spec = chosen_target(TargetOptions())
    contract = target.contract()
    say("The reference gateway, on simulated time:\n")
    core = select(("core",), (), (), contract)
    jobs = [Job(name, 0, "sim", spec, folder=str(folder)) for name in core.scenarios]
    run = {"target": "reference", "mode": "sim", "seeds": [0, 0], "mutant": "", "selection": ["core"]}
    right = execute(jobs, dict(run), core, target, folder, contract=contract, workers=None, quiet=True)
    mutant = MUTANTS["bills_failed_calls"]
    say(f"\nNow a gateway that is wrong in one way, {mutant.name}: {mutant.lie}\n")
    wrong_folder = folder / "mutant"
    broken = select((), (), (mutant.breaks,), contract)
    jobs = [
        Job(name, 0, "sim", spec, mutant=mutant.name, requirements=broken.requirements, folder=str(wrong_folder))
        for name in broken.scenarios
    ]
    wrong_run = {**run, "mutant": mutant.name, "selection": list(broken.scenarios)}
    caught = execute(jobs, wrong_run, broken, target, wrong_folder, contract=contract, workers=None, quiet=True)
    if right == 0 and caught == EXIT_FAIL:
        say("\nThe right gateway passed and the wrong one was caught. Next: harness run --help")
        return 0
    return right or EXIT_HARNESS


def _last_failed(selection: Selection) -> Selection:
    """Return what of ``selection`` did not pass in the newest run below runs/; nothing left is a usage error."""
    last = last_run()
    if last is None:
        raise click.UsageError("there is no last run below runs/")
    folder, verdict = last
    failed = [r for r in verdict["scenarios"] if r["outcome"] not in ("pass", "unsupported")]
    if not failed:
        raise click.UsageError(f"nothing selected: all of it passed in {folder}")
    plans = [record["replay"] for record in failed if record.get("again")]
    if plans:
        more = f" (and {len(plans) - 1} more)" if len(plans) > 1 else ""
        raise click.UsageError(
            f"--last-failed selects scenarios of the suite, and the last run, {folder}, was of saved plans; run one "
            f"again with: {plans[0]}{more}"
        )
    names = {record["scenario"] for record in failed}
    chosen = tuple(name for name in selection.scenarios if name in names)
    if not chosen:
        told = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        raise click.UsageError(f"nothing selected: what did not pass in {folder} ({told}) is not among what was asked")
    return Selection(chosen, selection.requirements, frozenset())


def assumed(contract: Contract) -> dict[str, list[str]]:
    """Return, per requirement, the assumed blocks of the contract that its verdict rests on."""
    found: dict[str, list[str]] = {}
    if contract.user_rate.origin == "assumed":
        for identifier in ("RATE-01", "GOV-08"):
            found.setdefault(identifier, []).append("the per-user limit of the general API")
    if any(model.price is not None and model.price.origin == "assumed" for model in contract.models):
        for identifier in ("BILL-01", "RESP-04", "MSG-06"):
            found.setdefault(identifier, []).append("prices of the general models")
    return found
