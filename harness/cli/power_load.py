"""The mutants that load alone can catch, each under its shape of load on sockets: a record as any power run's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter  # noqa: TID251 - how long the command took, for the person who waits
from typing import Any

from harness.cli.folder import run_folder
from harness.cli.load import judge_load, perform_load
from harness.cli.power import finish, select
from harness.cli.power_text import line_of
from harness.cli.progress import Progress
from harness.cli.scratch import scratch
from harness.cli.stopping import sigterm_as_ctrl_c
from harness.cli.suite import load as load_suite
from harness.cli.suite import make_target, target_spec
from harness.cli.terminal import status
from harness.contract import Contract, load_requirements, with_overlays
from harness.contract.requirements import MEMORY
from harness.environment.load import LoadRun
from harness.load.shape import SHAPES, Asked
from harness.runner.power import Lie, Row, Subject, condensed
from harness.runner.power_record import build_power
from harness.runner.shards import identity
from harness.target import Target, TargetError

OVERLAY = "brisk"
"""The contract's rates in short windows: a race needs the rate, not the minute."""


@sigterm_as_ctrl_c()  # a cancelled job keeps its partial record too
def power_load_command(names: tuple[str, ...], seed: int, out: Path | None, quiet: bool) -> int:
    """Put every selected mutant through its load, write the record and return the exit code. Ctrl-C keeps what is.

    The right gateway goes through each of the shapes first: a mutant is not caught by what that fails as well.
    """
    import harness.load.shapes  # noqa: F401 - registers them

    load_suite()
    lies = select(names, under_load=True)
    target = make_target(target_spec("reference", (), "", ""))
    contract = target.contract([OVERLAY])
    run: dict[str, Any] = {
        "target": "reference",
        "mode": "local",
        "overlay": OVERLAY,
        "load": {},
        "seed": seed,
        "full": False,
        "selection": list(names),
        "whole": False,  # of the mutants that there are, and of the requirements that must have one
        "mutants": {lie.name: lie.breaks for lie in lies},
        "core": len(lies),  # a load is no part of the core: no seed of it counts as whole
        **identity(contract, target.claims),
    }
    folder = run_folder(out)
    started = perf_counter()
    rows = {lie.name: Row(lie, deque([_subject(lie)]), full=False) for lie in lies}
    control: dict[str, dict[str, Any]] = {}
    try:
        whole = _run(rows, control, _Loads(target, contract, seed), quiet=quiet)
    except KeyboardInterrupt:  # between two loads, or while one is being started
        whole = False
    if not whole:
        run["interrupted"] = True
    run["seconds"] = round(perf_counter() - started, 2)
    catalogue = {**load_requirements(), MEMORY.id: MEMORY}
    return finish(folder, build_power(run, rows.values(), control, [], catalogue))


def _subject(lie: Lie) -> Subject:
    """Return the load that a mutant is put through."""
    from harness.mutants import MUTANTS

    return Subject(MUTANTS[lie.name].under, "ceilings", frozenset({lie.breaks}), 0)


def _run(rows: Mapping[str, Row], control: dict[str, dict[str, Any]], loads: _Loads, *, quiet: bool) -> bool:
    """Run the right gateway under every shape that is needed, then each mutant; False if it was interrupted."""
    shapes = dict.fromkeys(row.left[0].name for row in rows.values())
    with Progress(len(shapes) + len(rows), quiet=quiet) as progress:
        for shape in shapes:
            result = loads.result(shape, "")
            if result is None:
                return False
            control[result["scenario"]] = result
            outcome = result["outcome"]
            line = (
                f"  {status(outcome, err=True)} {f'the right gateway under {shape}':<52} {'; '.join(result['doubts'])}"
            )
            progress.told(outcome, line.rstrip(), loud=outcome != "pass")
        for name, row in rows.items():
            result = loads.result(row.left[0].name, name)
            if result is None:
                return False
            row.left.popleft()
            row.asked.append(result)
            fate, line = line_of(row)
            progress.told(fate, line, loud=fate != "killed")
    return True


class _Loads:
    """Loads of one target under one contract and seed, one after the other: each has both cores to itself."""

    def __init__(self, target: Target, contract: Contract, seed: int) -> None:
        self._target = target
        self._contract = contract
        self._seed = seed

    def result(self, name: str, mutant: str) -> dict[str, Any] | None:
        """Return what of one load's record power is about; None if it was interrupted."""
        shape, asked = SHAPES[name], Asked(self._seed)
        made = shape.build(self._contract, asked)
        contract = with_overlays(self._contract, [made.world.overlay]) if made.world.overlay else self._contract
        with scratch() as folder:
            run = LoadRun(
                shape=shape,
                asked=asked,
                target=self._target,
                base=self._contract,
                mode="local",
                workers=1,
                folder=folder / f"load.{name}-{self._seed}",
                mutant=mutant,
            )
            try:
                whole, died = perform_load(run, made, contract, lambda at: None)
            except TargetError as gone:
                return _unmade(run, str(gone))
            if not whole:
                return None
            record = judge_load(run, died)
            result = condensed(record)
            return {**result, "broken": [*result["broken"], *_grown(record)]}


def _grown(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield that the gateway's memory grew under a load that promises it does not, as what a checker found broken."""
    for one in record["memory"]:
        if one["promised"] and one["outcome"] == "fail":
            yield {
                "requirement": MEMORY.id,
                "checker": "memory_of",
                "promise": MEMORY.text,
                "clauses": list(MEMORY.clauses),
                "evidence": {
                    "clause": "flat",
                    "expected": MEMORY.clauses["flat"],
                    "actual": one["why"],
                    "call": "",
                    "attempts": [],
                    "at_us": None,
                },
            }


def _unmade(run: LoadRun, message: str) -> dict[str, Any]:
    """Return the result of a load that came to no history."""
    return {
        "scenario": run.name,
        "seed": run.asked.seed,
        "part": "load",
        "outcome": "error",
        "digest": "",
        "doubts": [],
        "late": False,
        "error": {"kind": "creation" if run.mutant else "run", "message": message},
        "broken": [],
        "cpu_s": 0.0,
    }
