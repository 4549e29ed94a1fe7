"""The command that shows the suite's power: mutants in, kill matrix, bounds and terminal text out."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter  # noqa: TID251 - how long the command took, for the person who waits
from typing import Any

import click
import orjson

from harness.cli.folder import RecordError, environment, record_in, run_folder
from harness.cli.power_text import line_of, print_power
from harness.cli.progress import Progress
from harness.cli.selection import parse_shard
from harness.cli.stopping import sigterm_as_ctrl_c
from harness.cli.suite import SUITE, load, make_target, target_spec
from harness.cli.terminal import fail, near
from harness.contract import load_requirements
from harness.runner import EXIT_HARNESS
from harness.runner.power import Campaign, Lie, run_campaign, subjects
from harness.runner.power_record import build_power, clean_seed
from harness.runner.shards import identity


@sigterm_as_ctrl_c()  # a cancelled job keeps its partial record too
def power_command(
    names: tuple[str, ...],
    full: bool,
    seed: int,
    clean: tuple[Path, ...],
    workers: int | None,
    shard: str,
    out: Path | None,
    quiet: bool,
) -> int:
    """Run every selected mutant, write the record and return the exit code. Ctrl-C keeps what is there."""
    load()
    part = parse_shard(shard)
    selected = select(names)
    mine = [lie for number, lie in enumerate(selected) if part is None or part.takes(number)]
    if not mine:
        raise click.UsageError(f"--shard {part}: nothing is left for it, there are {len(selected)} mutants")
    spec = target_spec("reference", (), "", "")
    target = make_target(spec)
    contract = target.contract()
    known = subjects(contract, seed)
    core = [subject for subject in known if subject.part == "core"]
    run: dict[str, Any] = {
        "target": "reference",
        "mode": "sim",
        "seed": seed,
        "full": full,
        "selection": list(names),
        "whole": not names,
        "mutants": {lie.name: lie.breaks for lie in selected},
        "core": len(core),
        **identity(contract, target.claims),
        **({"shard": str(part)} if part is not None else {}),
        **({} if names else {"under_load": len(select((), under_load=True))}),
    }
    if out is not None and out.resolve() in {folder.resolve() for folder in clean}:
        raise click.UsageError(f"--out {out} is one of the --clean runs: give a folder of its own")
    seeds = [one for folder in clean for one in _clean_seeds(folder, run)]
    # A selection asks the right gateway only what it asks the mutants; the whole asks it the whole core.
    asked = {lie.breaks for lie in mine}
    control = [subject.name for subject in core if not names or full or subject.judges & asked]
    campaign = Campaign(mine, known, spec, seed=seed, full=full, control=control)
    folder = run_folder(out)
    started = perf_counter()
    if not _run(campaign, workers or 0, quiet=quiet):
        run["interrupted"] = True
    run["seconds"] = round(perf_counter() - started, 2)
    record = build_power(run, campaign.rows.values(), campaign.control, seeds, load_requirements())
    return finish(folder, record)


def finish(folder: Path, record: Mapping[str, Any]) -> int:
    """Write a power record and what is rendered from it, print it and return its exit code."""
    from reports import render_power

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_bytes(orjson.dumps(environment(), option=orjson.OPT_INDENT_2))
        (folder / "power.json").write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
        render_power(folder)
    except OSError as error:
        fail(f"the record could not be written to {folder}", cause=error.strerror or str(error))
        return EXIT_HARNESS
    print_power(record, folder)
    return int(record["exit"])


def _run(campaign: Campaign, workers: int, *, quiet: bool) -> bool:
    """Run ``campaign`` and tell of each mutant as it is through; False if it was interrupted."""
    with Progress(len(campaign.rows), quiet=quiet) as progress:
        try:
            with contextlib.closing(run_campaign(campaign, SUITE, workers=workers)) as ended:
                for job, _ in ended:
                    row = campaign.rows.get(job.mutant)
                    if row is not None and row.over:
                        outcome, line = line_of(row)
                        progress.told(outcome, line, loud=outcome != "killed")
        except KeyboardInterrupt:
            return False
    return True


def select(names: Sequence[str], *, under_load: bool = False) -> list[Lie]:
    """Return the mutants that names and patterns select, none being all. Raises click.UsageError, with what is near.

    Patterns find those alone that scenarios can catch, or those that it takes a load to see; a whole name finds any
    mutant where scenarios are asked, so that what is invisible to them can be shown to be so.
    """
    from harness.mutants import MUTANTS

    known = sorted(name for name, one in MUTANTS.items() if bool(one.under) is under_load)
    chosen: dict[str, None] = {}
    for pattern in names:
        found = fnmatch.filter(known, pattern) or [name for name in MUTANTS if name == pattern and not under_load]
        if not found:
            why = "is caught by scenarios, without --load" if pattern in MUTANTS else f"is none{near(pattern, known)}"
            raise click.UsageError(f"mutant {pattern!r} {why}; harness list mutants shows them")
        chosen.update(dict.fromkeys(found))
    return [Lie(name, MUTANTS[name].breaks, MUTANTS[name].lie) for name in chosen or known]


def _clean_seeds(folder: Path, run: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the clean seeds of a run folder. Raises click.UsageError for one that says nothing of this gateway."""
    try:
        verdict = record_in(folder / "verdict.json")
    except RecordError as error:
        raise click.UsageError(
            f"--clean {folder}: no run folder with a verdict.json that can be read: {error}"
        ) from None
    other, scenarios = verdict["run"], verdict["scenarios"]
    for field, wanted in (("target", "reference"), ("mode", "sim"), ("mutant", ""), *_same(run)):
        if other.get(field) != wanted:
            raise click.UsageError(f"--clean {folder}: its {field} is {other.get(field)!r}, not {wanted!r}")
    if other.get("shard"):
        raise click.UsageError(
            f"--clean {folder}: it is shard {other['shard']}; harness merge joins it with the others"
        )
    by_seed: dict[int, list[dict[str, Any]]] = {}
    for record in scenarios:
        by_seed.setdefault(record["seed"], []).append(record)
    for seed, records in sorted(by_seed.items()):
        yield clean_seed(seed, records, f"{folder.name}, {len(by_seed)} seeds")


def _same(run: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, run[name]) for name in ("version", "contract_digest"))
