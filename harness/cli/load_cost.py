"""A simulated load run and judged side by side, or run again, and what loads cost of cores, memory and disk."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter  # noqa: TID251 - how fast virtual time went, for the person who waits
from typing import Any

from harness.checker import CHECKERS
from harness.cli.suite import SUITE
from harness.cli.terminal import say
from harness.contract import Contract, with_overlays
from harness.environment.history_writer import HistoryWriter
from harness.environment.load import LoadRun, Watch
from harness.environment.load_sim import run_load_in_sim
from harness.history import Plan
from harness.load.shape import SHAPES, Asked, Load
from harness.runner.beside import JudgeBeside, JudgeLostError
from harness.sim import SimulationError
from harness.target import TargetError

MOST_DRAWN = 200_000
"""Of how many calls at most figures are drawn: a longer load's would take more memory than its run did."""


Error = dict[str, Any] | None
"""What went wrong with a load that has a history all the same."""


def simulated(
    run: LoadRun, made: Load, contract: Contract, watch: Watch
) -> tuple[bool, Error, dict[str, Any] | None, dict[str, float]]:
    """Run ``made`` in virtual time; return whether it ran to its end, what went wrong, its record, and what it cost.

    Raises as ``run_load_in_sim`` where it came to no history; where it did and something went wrong there is no record.
    """
    mutate = SUITE.mutate(run.mutant) if run.mutant else None
    started, before_s = perf_counter(), _own_s()
    try:
        with JudgeBeside(HistoryWriter(run, made, contract), CHECKERS) as beside:
            ended = run_load_in_sim(run, made, contract, watch, beside.chapter, mutate=mutate)
            simulation_s = _own_s() - before_s
            judged = beside.judged()
    except (TargetError, SimulationError, JudgeLostError) as wrong:
        if not _was_recorded(run.folder):
            raise
        if isinstance(wrong, TargetError):
            return True, {"kind": "target", "message": str(wrong), "cause": wrong.cause, "help": wrong.help}, None, {}
        message = f"{type(wrong).__name__}: {wrong}"
        return True, {"kind": "harness", "message": message, "cause": "", "help": ""}, None, {}
    cost = {
        "virtual_s": judged.record["virtual_s"],
        "wall_s": round(perf_counter() - started, 2),
        "simulation_cpu_s": round(simulation_s, 2),
        "judgement_cpu_s": round(judged.cpu_s, 2),
        "simulation_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "judgement_peak_bytes": judged.peak_bytes,
    }
    return ended, None, judged.record, cost


def _was_recorded(folder: Path) -> bool:
    history = folder / "history.jsonl"
    return history.is_file() and history.stat().st_size > 0


def run_load_again(plan: Plan, target: Mapping[str, Any], folder: Path) -> Path:
    """Run a load that was recorded in virtual time again; return the folder of its history, below ``folder``."""
    import harness.load.shapes  # noqa: F401 - registers them

    told = plan.options["load"]
    shape = SHAPES[told["shape"]]
    asked = Asked(plan.seed, told["minutes"], told["arrivals"], told["trace"])
    gateway = SUITE.target(target)
    base = gateway.contract()
    made = shape.build(base, asked)
    contract = with_overlays(base, [made.world.overlay]) if made.world.overlay else base
    run = LoadRun(shape, asked, gateway, base, "sim", told["workers"], folder / plan.scenario, plan.mutant)
    mutate = SUITE.mutate(run.mutant) if run.mutant else None
    try:
        written = HistoryWriter(run, made, contract).chapter
        run_load_in_sim(run, made, contract, lambda _: None, written, mutate=mutate)
    except (TargetError, SimulationError):  # as it did when it was recorded, or the histories differ
        if not _was_recorded(run.folder):
            raise
    return run.folder


def print_cost(cost: Mapping[str, float], folder: Path, calls: int) -> None:
    """Print what a simulated load took, and how much faster than the clock it was."""
    size = (folder / "history.jsonl").stat().st_size
    times = cost["virtual_s"] / cost["wall_s"] if cost["wall_s"] else 0
    say(
        f"load    {cost['virtual_s']:,.0f} virtual seconds in {cost['wall_s']:,.1f} s, {times:.1f} times as fast; CPU "
        f"{cost['simulation_cpu_s']:,.1f} s to simulate, {cost['judgement_cpu_s']:,.1f} s to judge beside it"
    )
    say(
        f"        history {size / 1e6:,.0f} MB, {size / max(1, calls):,.0f} bytes a call; at most "
        f"{cost['simulation_peak_bytes'] / 1e6:,.0f} MB of memory to simulate, and "
        f"{cost['judgement_peak_bytes'] / 1e6:,.0f} MB to judge"
    )


def _own_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
