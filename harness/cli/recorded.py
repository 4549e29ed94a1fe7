"""The commands on a recorded run: judge and render it again, or run it again and compare it bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from harness.checker import CHECKERS
from harness.cli.chosen import check_mutant, target_of
from harness.cli.folder import contract_of, recorded, verdict_of, write
from harness.cli.load_cost import MOST_DRAWN, run_load_again
from harness.cli.run import assumed
from harness.cli.scratch import scratch
from harness.cli.suite import SUITE, load, target_spec
from harness.cli.terminal import fail, say
from harness.cli.text import print_verdict
from harness.contract import ContractError, load_requirements
from harness.contract.loader import contract_from_json
from harness.environment.planned import PlanError, read_plan, scenario_of
from harness.history import HistoryError, Plan
from harness.history import read_plan as read_plan_of
from harness.runner import EXIT_FAIL, EXIT_HARNESS, EXIT_USAGE, Job, build_verdict, rejudge, run_job
from harness.scenario import SCENARIOS


def judge_command(folder: Path) -> int:
    """Judge and render a run folder, or one scenario's folder in it, again."""
    from reports.load import render_load

    load()
    folders = recorded(folder)
    before = verdict_of(folder)
    try:
        records = [_as_asked(rejudge(one, CHECKERS), one, before) for one in folders]
        plan = read_plan_of(folders[0])
    except (HistoryError, ContractError) as error:
        fail("this run cannot be judged", cause=str(error))
        return EXIT_USAGE
    except KeyError as error:
        fail(f"this run was recorded with a check that is gone: {error}", help="harness list checkers")
        return EXIT_USAGE
    earlier = before.get("run", {})
    records = _with_unkept(records, before)
    run: dict[str, Any] = {
        **earlier,  # what was asked, no history knows
        "target": plan.target,
        "mode": plan.mode,
        "mutant": plan.mutant,
        "seeds": [min(r["seed"] for r in records), max(r["seed"] for r in records)],
        "selection": earlier.get("selection", sorted({r["scenario"] for r in records})),
        "judged_again": True,
    }
    catalogue = load_requirements()
    whole = (
        bool(earlier) and not earlier.get("selection") and not earlier.get("requirements") and not earlier.get("shard")
    )
    verdict = build_verdict(
        run,
        records,
        catalogue,
        plan.claims,
        expected=frozenset(catalogue) if whole else frozenset(),
        assumed=assumed(contract_from_json(plan.contract)),
    )
    try:
        write(folder, verdict, again=True)
        if plan.options.get("load") and records[0]["calls"] <= MOST_DRAWN:
            render_load(folder, folders[0])
    except OSError as error:
        fail(f"the verdict could not be written to {folder}", cause=error.strerror or str(error))
        return EXIT_USAGE
    print_verdict(verdict, folder)
    return int(verdict["exit"])


def _as_asked(record: dict[str, Any], folder: Path, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``record`` with how its run is made again where no name of a scenario does it: from a plan."""
    mine = (record["scenario"], record["seed"])
    earlier = (one for one in before.get("scenarios", ()) if (one["scenario"], one["seed"]) == mine)
    again = next((one["again"] for one in earlier if one.get("again")), None)
    if again is None and record["scenario"] not in SCENARIOS and "load" not in before.get("run", {}):
        again = [str(folder)]
    return record if again is None else {**record, "again": again}


def _with_unkept(records: list[dict[str, Any]], before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return ``records`` with what the earlier verdict says of runs whose histories were never kept, marked as such."""
    judged = {(record["scenario"], record["seed"]) for record in records}
    unkept = [
        {**record, "judged_again": False}
        for record in before.get("scenarios", ())
        if not record.get("folder") and (record["scenario"], record["seed"]) not in judged
    ]
    if unkept:
        runs = f"{len(unkept)} of {len(unkept) + len(records)} scenario runs"
        say(f"{runs} stand as they were judged before: their histories were not kept", err=True)
    return sorted([*records, *unkept], key=lambda record: (record["seed"], record["scenario"]))


def replay_command(folder: Path) -> int:
    """Run recorded simulations again and compare; 1 if a single bit differs."""
    load()
    worst = 0
    for one in recorded(folder):
        try:
            plan = read_plan_of(one)
        except HistoryError as error:
            fail("this run cannot be replayed", cause=str(error))
            return EXIT_USAGE
        worst = max(worst, _replay(one, plan))
    return worst


def _replay(folder: Path, plan: Plan) -> int:
    """Run one recorded simulation again, say how it compares, and return the exit code."""
    why = _unrepeatable(folder, plan)
    if why:
        fail(f"{folder} cannot be replayed", **why)
        return EXIT_USAGE
    check_mutant(plan.mutant, plan.target)
    spec = target_spec(plan.target, contract=_base_contract(folder, plan) or {}, claims=plan.claims)
    target_of(spec)
    with scratch() as aside:
        if "load" in plan.options:
            again = run_load_again(plan, spec, aside)
        else:
            given = None if plan.scenario in SCENARIOS else read_plan(folder)
            job = Job(plan.scenario, plan.seed, "sim", spec, mutant=plan.mutant, folder=str(aside), plan=given)
            record = run_job(job, SUITE)
            if not record.get("folder"):
                error = record["error"] or {"message": "; ".join(record["doubts"])}
                fail(f"{folder}: {error['message']}", cause=error.get("cause", ""), help=error.get("help", ""))
                return EXIT_HARNESS
            again = aside / record["folder"]
        size = (folder / "history.jsonl").stat().st_size
        line = _first_difference(folder / "history.jsonl", again / "history.jsonl")
    say(f"{'DIFFERENT' if line else 'identical'}  {plan.scenario}  seed {plan.seed}  {size} bytes")
    if not line:
        return 0
    fail(f"{folder}/history.jsonl differs from line {line} on", help="was it recorded by another version?")
    return EXIT_FAIL


def _first_difference(before: Path, again: Path) -> int:
    """Return the first line in which two files differ, 0 if they are the same; neither is ever whole in memory."""
    with before.open("rb") as ours, again.open("rb") as theirs:
        pairs = enumerate(zip_longest(ours, theirs), 1)
        return next((number for number, (one, other) in pairs if one != other), 0)


def _unrepeatable(folder: Path, plan: Plan) -> dict[str, str]:
    """Return why a recorded run cannot be run again, as cause and help; nothing if it can."""
    if plan.mode != "sim":
        return {
            "cause": f"it was recorded in mode {plan.mode}, and only simulated time repeats itself",
            "help": f"harness judge {folder} judges what was recorded",
        }
    if "load" in plan.options and verdict_of(folder.parent).get("run", {}).get("interrupted"):
        return {
            "cause": "it was interrupted, and sends more when it is not",
            "help": f"harness judge {folder} judges what was recorded",
        }
    if plan.scenario not in SCENARIOS and "load" not in plan.options:
        try:
            scenario_of(read_plan(folder), CHECKERS)
        except PlanError as error:
            why = f"there is no scenario {plan.scenario} in this version, and its plan does not make one: {error}"
            return {"cause": why, "help": "harness list scenarios"}
    if _base_contract(folder, plan) is None:
        return {
            "cause": "its scenario changes the contract, and the one that it started from is not beside it",
            "help": "replay it in its run folder, which has a contract.json",
        }
    return {}


def _base_contract(folder: Path, plan: Plan) -> Mapping[str, Any] | None:
    """Return the recorded contract as it was before the scenario's world changed it; None if that is not known."""
    if not plan.overlay:
        return plan.contract
    return contract_of(folder.parent) or contract_of(folder)
