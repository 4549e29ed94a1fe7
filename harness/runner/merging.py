"""Makes one record of the records of shards, as if one run had made it; it reads no file and renders nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.contract import Requirement
from harness.runner.power_record import summed, together
from harness.runner.record import build_verdict
from harness.runner.shapes import ShardRun
from harness.runner.shards import MisfitError, check_fit
from harness.scenario import SCENARIOS
from harness.shape import problems

Json = Mapping[str, Any]
Named = Sequence[tuple[str, Json]]
"""Records by the names of their folders."""


def merge_verdicts(named: Named, catalogue: Mapping[str, Requirement]) -> dict[str, Any]:
    """Return the verdict over the scenarios of all shards. Raises MisfitError if they do not make one whole."""
    check_fit([(name, {"schema": one["schema"], **one["run"]}) for name, one in named])
    lacking = [flaw for name, one in named for flaw in problems(one["run"], ShardRun, f"{name}: run")]
    if lacking:
        raise MisfitError(lacking)
    seen: dict[tuple[str, int], str] = {}
    twice = []
    for name, one in named:
        for record in one["scenarios"]:
            key = (record["scenario"], record["seed"])
            if key in seen:
                twice.append(f"{record['scenario']} seed {record['seed']} is in {seen[key]} and in {name}")
            seen[key] = name
    if twice:
        raise MisfitError(twice)
    run = _run(named)
    order = {scenario: number for number, scenario in enumerate(SCENARIOS)}
    records = [record for _, one in named for record in one["scenarios"]]
    records.sort(key=lambda record: (record["seed"], order.get(record["scenario"], len(order)), record["scenario"]))
    wanted = () if run["selection"] else run["requirements"] or catalogue
    assumed: dict[str, list[str]] = {}
    for _, one in named:
        assumed.update((name, entry["assumed"]) for name, entry in one["requirements"].items() if entry["assumed"])
    return build_verdict(run, records, catalogue, run["claimed"], expected=frozenset(wanted), assumed=assumed)


def merge_power(named: Named, catalogue: Mapping[str, Requirement]) -> dict[str, Any]:
    """Return the power record over the mutants of all shards. Raises MisfitError if they do not make one whole."""
    check_fit([(name, {"schema": one["schema"], **one["run"]}) for name, one in named])
    mutants: dict[str, Json] = {}
    control: dict[str, Json] = {}
    misfits = []
    for name, one in named:
        misfits += [f"mutant {lie} is in {name} and in another shard" for lie in one["mutants"] if lie in mutants]
        misfits += _different(name, one["control"], control)
        mutants.update(one["mutants"])
        control.update(one["control"])
    run = _run(named)
    misfits += [f"mutant {mutant} is in no shard" for mutant in run["mutants"] if mutant not in mutants]
    if misfits:
        raise MisfitError(misfits)
    return summed(run, mutants, control, together(seed for _, one in named for seed in one["clean"]), catalogue)


def _different(name: str, control: Json, known: Json) -> Iterator[str]:
    for scenario, result in control.items():
        if scenario in known and result["digest"] != known[scenario]["digest"]:
            yield f"the right gateway's run of {scenario} in {name} is not that of another shard: another version?"


def _run(named: Named) -> dict[str, Any]:
    """Return what was asked of the whole: the same in all shards but for what each took."""
    runs = [one["run"] for _, one in named]
    whole = {name: value for name, value in runs[0].items() if name not in ("shard", "interrupted")}
    whole["shards"] = len(runs)
    if "planned" in whole:
        whole["planned"] = sum(run.get("planned", 0) for run in runs)
    whole["seconds"] = max(run.get("seconds", 0) for run in runs)
    if any(run.get("interrupted") for run in runs):
        whole["interrupted"] = True
    return whole
