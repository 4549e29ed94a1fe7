"""The command that lets a swarm loose on a gateway: what was found, made small, and how to see it again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from harness.branches import BRANCHES
from harness.cli.chosen import TargetOptions, check_mutant, chosen_target
from harness.cli.folder import run_folder, write
from harness.cli.stopping import sigterm_as_ctrl_c
from harness.cli.suite import SUITE, load
from harness.cli.terminal import fail, live, say, status
from harness.cli.text import print_verdict
from harness.contract import load_requirements
from harness.runner import (
    EXIT_FAIL,
    EXIT_HARNESS,
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_UNREACHABLE,
    Job,
    build_verdict,
    run_job,
)
from harness.runner.shards import identity
from harness.swarm.saved import clear_finds, plan_file, save_plan, write_tally
from harness.swarm.search import Search, Tally
from harness.swarm.trial import Subject
from harness.target import Target, TargetError

TOLD_EACH = 100
"""A line of progress comes after every so many simulations, where no line can be drawn over."""


@sigterm_as_ctrl_c()  # a cancelled job keeps what it found too
def swarm_command(
    target: str, contract_path: str, mutant: str, seconds: float, seed: int, out: Path | None, quiet: bool
) -> int:
    """Search for ``seconds``, save and judge what was found, and return the exit code."""
    load()
    made, spec = chosen_target(TargetOptions(target=target, contract_path=contract_path))
    if "sim" not in made.modes:
        raise click.UsageError(f"a swarm runs in simulated time, and target {target} cannot")
    check_mutant(mutant, target)
    folder = run_folder(out)
    clear_finds(folder)
    wrong = _mutant(mutant)
    subject = Subject(made, seed, wrong.apply if wrong else None, mutant)
    search = Search(
        subject,
        seconds=seconds,
        most=1 if wrong else None,
        wanted=wrong.breaks if wrong else "",
        told=lambda so_far: None if quiet else _progress(so_far),
    )
    try:
        tally = search.run()
    except TargetError as error:
        fail(str(error), cause=error.cause, help=error.help)
        return EXIT_UNREACHABLE
    run: dict[str, Any] = {
        "target": target,
        "mode": "sim",
        "seeds": [seed, seed],
        "mutant": mutant,
        "overlay": "",
        "contract": contract_path,
        **identity(made.contract(), made.claims),
        **({"interrupted": True} if tally.interrupted else {}),
    }
    like = Job("", seed, "sim", spec, mutant=mutant, folder=str(folder))
    code = EXIT_OK if tally.simulations else EXIT_INCONCLUSIVE
    try:
        if tally.found:
            code = _record(tally, run, like, made, folder)
        write_tally(folder, run, tally, [_again(run, plan_file(folder, n + 1)) for n in range(len(tally.found))])
    except OSError as error:
        fail(f"what was found could not be written to {folder}", cause=error.strerror or str(error))
        return EXIT_HARNESS
    _print_tally(tally, run, folder)
    return EXIT_INTERRUPTED if tally.interrupted else code


def _mutant(name: str) -> Any:
    from harness.mutants import MUTANTS

    return MUTANTS[name] if name else None


def _again(run: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    """Return what ``harness run`` must be given to run a find again: a plan names all but where its contract stands."""
    return (str(file), *(("--contract", run["contract"]) if run["contract"] else ()))


def _record(tally: Tally, run: dict[str, Any], like: Job, target: Target, folder: Path) -> int:
    """Run every find once more, recorded and judged as ``harness run`` does; return the exit code of the swarm."""
    records = []
    for number, found in enumerate(tally.found, 1):
        file = plan_file(folder, number)
        save_plan(found.plan, file)
        job = replace(like, scenario=found.scenario.name, plan=found.plan, again=_again(run, file))
        records.append(run_job(job, SUITE))
    run = {
        **run,
        "selection": [record["scenario"] for record in records],
        "profiles": [],
        "requirements": [],
        "seconds": round(tally.seconds + tally.shrink_seconds, 2),
    }
    verdict = build_verdict(run, records, load_requirements(), target.claims, expected=frozenset())
    write(folder, verdict, contract=target.contract())
    print_verdict(verdict, folder)
    for record in records:
        if record["outcome"] not in ("fail", "error"):
            fail(f"{record['scenario']} did not fail again", help="does the gateway do the same each time it is asked?")
    return int(verdict["exit"]) if any(record["error"] for record in records) else EXIT_FAIL


def _progress(tally: Tally) -> None:
    if live():
        say(f"\r  {tally.simulations} simulations, {len(tally.found)} found \033[K", err=True, newline=False)
    elif tally.simulations % TOLD_EACH == 0:
        say(f"  {tally.simulations} simulations, {len(tally.found)} found", err=True)


def _print_tally(tally: Tally, run: Mapping[str, Any], folder: Path) -> None:
    """Say how much was tried and what it reached, so that nobody takes an idle swarm for a clean one."""
    seen = Counter(tally.reached)
    rate = tally.simulations / tally.seconds if tally.seconds else 0.0
    say(
        f"\n{_headline(tally)} {len(tally.found)} found in {tally.simulations} simulations  "
        f"({tally.seconds:.1f} s, {rate:.0f} a second; {tally.shrink_seconds:.1f} s to make what was found small)"
    )
    say(f"  calls     {seen['calls']}, {seen['streams']} of them streamed: " + _counts(seen, "calls "))
    say(f"  faults    {seen['faults']}, in {seen['struck']} simulations: " + _counts(seen, "fault "))
    say("  reached   " + _counts(seen, "branch "))
    never = [name for name in BRANCHES if not seen[f"branch {name}"]]
    say("  never     " + (", ".join(never) or "none"))
    for number, found in enumerate(tally.found, 1):
        say(
            f"  found     {found.mark} after {found.after} simulations: {_size(found.faults, found.calls)}, "
            f"drawn with {_size(*found.drawn)}, {found.trials} trials in {found.seconds:.1f} s"
        )
        if len(found.marks) > 1:
            say(f"            also broken: {', '.join(mark for mark in found.marks if mark != found.mark)}")
        say(f"  replay    {shlex.join(['harness', 'run', *_again(run, plan_file(folder, number))])}")
    if tally.interrupted:
        say("interrupted: the search is partial, what it found is whole")


def _headline(tally: Tally) -> str:
    if tally.interrupted:
        return status("interrupted")
    return status("fail" if tally.found else "pass" if tally.simulations else "inconclusive")


def _size(faults: int, calls: int) -> str:
    return f"{faults} fault{'' if faults == 1 else 's'} and {calls} call{'' if calls == 1 else 's'}"


def _counts(seen: Counter[str], prefix: str) -> str:
    told = [(count, name.removeprefix(prefix)) for name, count in seen.items() if name.startswith(prefix)]
    return ", ".join(f"{name} {count}" for count, name in sorted(told, reverse=True)) or "none"
