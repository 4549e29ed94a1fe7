"""The command that lets a swarm loose on a gateway: what was found, made small, and how to see it again."""

from __future__ import annotations

import shlex
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from harness.cli.chosen import TargetOptions, check_mutant, chosen_target
from harness.cli.folder import run_folder, write
from harness.cli.suite import SUITE, load
from harness.cli.terminal import fail, live, say, status
from harness.cli.text import print_verdict
from harness.contract import load_requirements
from harness.runner import EXIT_HARNESS, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNREACHABLE, Job, build_verdict, run_job
from harness.swarm.saved import clear_plans, plan_file, save_plan
from harness.swarm.search import Search, Tally
from harness.swarm.trial import Subject
from harness.target import TargetError

REACHED = (
    "streams",
    "retries",
    "failovers",
    "pinged",
    "429",
    "402",
    "circuit not closed",
    "payouts",
    "charges",
    "charges above their hold",
    "crash",
    "store failure",
)
TOLD_EACH = 100
"""A line of progress comes after every so many simulations, where no line can be drawn over."""


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
    clear_plans(folder)
    wrong = _mutant(mutant)
    subject = Subject(made, seed, wrong.apply if wrong else None, mutant)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled job keeps what it found too
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
    like = Job("", seed, "sim", spec, mutant=mutant, folder=str(folder))
    code = EXIT_OK
    if tally.found:
        try:
            code = _record(tally, like, made.claims, folder)
        except OSError as error:
            fail(f"what was found could not be written to {folder}", cause=error.strerror or str(error))
            return EXIT_HARNESS
    _print_tally(tally, folder)
    return EXIT_INTERRUPTED if tally.interrupted else code


def _mutant(name: str) -> Any:
    from harness.mutants import MUTANTS

    return MUTANTS[name] if name else None


def _record(tally: Tally, like: Job, claims: tuple[str, ...], folder: Path) -> int:
    """Run every find once more, recorded and judged as ``harness run`` does; return the verdict's exit code."""
    records = []
    for number, found in enumerate(tally.found, 1):
        file = plan_file(folder, number)
        save_plan(found.plan, file)
        job = replace(like, scenario=found.scenario.name, plan=found.plan, again=(str(file),))
        records.append(run_job(job, SUITE))
    run: dict[str, Any] = {
        "target": like.target["name"],
        "mode": "sim",
        "seeds": [like.seed, like.seed],
        "mutant": like.mutant,
        "overlay": "",
        "selection": [record["scenario"] for record in records],
        "profiles": [],
        "requirements": [],
        "seconds": round(tally.seconds + tally.shrink_seconds, 2),
    }
    if tally.interrupted:
        run["interrupted"] = True
    verdict = build_verdict(run, records, load_requirements(), claims, expected=frozenset())
    write(folder, verdict)
    print_verdict(verdict, folder)
    return int(verdict["exit"])


def _progress(tally: Tally) -> None:
    if live():
        say(f"\r  {tally.simulations} simulations, {len(tally.found)} found \033[K", err=True, newline=False)
    elif tally.simulations % TOLD_EACH == 0:
        say(f"  {tally.simulations} simulations, {len(tally.found)} found", err=True)


def _print_tally(tally: Tally, folder: Path) -> None:
    """Say how much was tried and what it reached, so that nobody takes an idle swarm for a clean one."""
    seen = Counter(tally.reached)
    rate = tally.simulations / tally.seconds if tally.seconds else 0.0
    say(
        f"\n{_headline(tally)} {len(tally.found)} found in {tally.simulations} simulations  "
        f"({tally.seconds:.1f} s, {rate:.0f} a second; {tally.shrink_seconds:.1f} s to make what was found small)"
    )
    say(f"  calls     {seen['calls']}: " + _counts(seen, "calls "))
    say(f"  faults    {seen['faults']}, in {seen['struck']} simulations: " + _counts(seen, "fault "))
    say("  reached   " + _named(seen, REACHED))
    for number, found in enumerate(tally.found, 1):
        say(
            f"  found     {found.mark} after {found.after} simulations: {_size(found.faults, found.calls)}, "
            f"drawn with {_size(*found.drawn)}, {found.trials} trials in {found.seconds:.1f} s"
        )
        if len(found.marks) > 1:
            say(f"            also broken: {', '.join(mark for mark in found.marks if mark != found.mark)}")
        say(f"  replay    {shlex.join(['harness', 'run', str(plan_file(folder, number))])}")
    if tally.interrupted:
        say("interrupted: the search is partial, what it found is whole")


def _headline(tally: Tally) -> str:
    return status("interrupted" if tally.interrupted else "fail" if tally.found else "pass")


def _size(faults: int, calls: int) -> str:
    return f"{faults} fault{'' if faults == 1 else 's'} and {calls} call{'' if calls == 1 else 's'}"


def _counts(seen: Counter[str], prefix: str) -> str:
    told = [(count, name.removeprefix(prefix)) for name, count in seen.items() if name.startswith(prefix)]
    return ", ".join(f"{name} {count}" for count, name in sorted(told, reverse=True)) or "none"


def _named(seen: Counter[str], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {seen[name]}" for name in names)
