"""The record of the judgement, ``verdict.json``: scenarios' records in, requirements' verdicts out; docs/verdict.md."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from harness.checker import EVIDENCE_CAP, Outcome, worst
from harness.contract import Requirement
from harness.contract.requirements import matches
from harness.runner.judge import merge
from harness.runner.reached import branches_of, is_whole

SCHEMA = "harness.verdict/1"
EXIT_OK, EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_STALE = 0, 1, 2, 3
EXIT_USAGE, EXIT_UNREACHABLE, EXIT_HARNESS, EXIT_INTERRUPTED = 64, 69, 70, 130
UNSEEN = "no case of it was seen"
INTERRUPTED = "the run was interrupted before it"


def build_verdict(
    run: Mapping[str, Any],
    scenarios: Sequence[Mapping[str, Any]],
    catalogue: Mapping[str, Requirement],
    claims: Sequence[str],
    *,
    expected: frozenset[str],
    assumed: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return the whole record.

    ``run`` is the command and its selection; ``expected`` are the requirements whose every claimed clause the
    selection should have covered (a clause of theirs that nothing judged is inconclusive), all others are told as far
    as they were asked. ``assumed`` says which requirements rest on values that the documents do not give.
    """
    requirements = {}
    for identifier, requirement in catalogue.items():
        entry = _requirement(requirement, scenarios, claims, run, covered=identifier in expected)
        if entry is not None:
            entry["assumed"] = list((assumed or {}).get(identifier, ()))
            requirements[identifier] = entry
    errors = [record for record in scenarios if record.get("error")]
    outcomes = [Outcome(entry["verdict"]) for entry in requirements.values()]
    outcomes += [Outcome(r["outcome"]) for r in scenarios if r["outcome"] in ("fail", "inconclusive")]
    branches = branches_of(scenarios, claims, whole=is_whole(run))
    outcomes += [Outcome(entry["outcome"]) for entry in branches.values() if entry["outcome"] == "inconclusive"]
    overall = "error" if errors else worst(outcomes).value
    if run.get("interrupted") and overall in ("pass", "unsupported"):
        overall = Outcome.INCONCLUSIVE.value  # what did not run has not passed
    return {
        "schema": SCHEMA,
        "run": dict(run),
        "verdict": overall,
        "why": list(_why(overall, run, scenarios, requirements, branches)),
        "exit": exit_code(overall, errors, interrupted=bool(run.get("interrupted"))),
        "counts": _counts(entry["verdict"] for entry in requirements.values()),
        "requirements": requirements,
        "branches": branches,
        "scenarios": [{**record, "replay": replay_command(record, run)} for record in scenarios],
    }


def exit_code(overall: str, errors: Sequence[Mapping[str, Any]], *, interrupted: bool) -> int:
    """Return the process's exit code for a run."""
    if interrupted:
        return EXIT_INTERRUPTED
    if any(record["error"]["kind"] != "target" for record in errors):
        return EXIT_HARNESS
    if errors:
        return EXIT_UNREACHABLE
    return {"pass": EXIT_OK, "fail": EXIT_FAIL}.get(overall, EXIT_INCONCLUSIVE)


def _why(
    overall: str,
    run: Mapping[str, Any],
    scenarios: Sequence[Mapping[str, Any]],
    requirements: Mapping[str, Mapping[str, Any]],
    branches: Mapping[str, Mapping[str, Any]],
) -> Iterable[str]:
    """Yield, in a few words each, what kept the run from a verdict.

    A pass needs none, and a failure only where no requirement tells of it.
    """
    if run.get("interrupted"):
        yield f"interrupted after {len(scenarios)} of {run.get('planned', len(scenarios))} scenario runs"
    if overall != Outcome.PASS.value:
        yield from _counted(
            f"{r['scenario']}: memory of the {one['process']}: {one['why']}"
            for r in scenarios
            for one in r.get("memory", ())
            if one["promised"] and one["outcome"] == overall
        )
    if overall in (Outcome.PASS.value, Outcome.FAIL.value):
        return
    yield from _counted(f"{r['scenario']}: {r['error']['message']}" for r in scenarios if r.get("error"))
    yield from _counted(
        f"{r['scenario']}: {r['doubts'][0]}" for r in scenarios if r["outcome"] == overall and r["doubts"]
    )
    yield from _counted(
        f"{r['scenario']}: {check['checker']} saw nothing to judge"
        for r in scenarios
        for check in r["checks"]
        if not check["clauses"] and not r["doubts"] and check["outcome"] == Outcome.INCONCLUSIVE.value
    )
    open_ = [
        (f"{identifier}.{name}", clause.get("why"))
        for identifier, entry in requirements.items()
        for name, clause in entry["clauses"].items()
        if clause["outcome"] == Outcome.INCONCLUSIVE.value
    ]
    yield from _counted(f"not covered: {name}" for name, why in open_ if why == UNSEEN)
    yield from _counted(_open_in_one_run_alone(scenarios, {name for name, _ in open_}))
    missed = (name for name, entry in branches.items() if entry["outcome"] == Outcome.INCONCLUSIVE.value)
    yield from _counted(f"branch {name} never reached" for name in missed)
    yield from _counted(f"could not be told: {name}" for name, why in open_ if why not in (UNSEEN, INTERRUPTED))


def _open_in_one_run_alone(scenarios: Sequence[Mapping[str, Any]], open_: Collection[str]) -> Iterable[str]:
    """Yield the clauses that other scenarios covered, with the scenario whose own cases of them could not be told."""
    for record in scenarios:
        for check in record["checks"] if not record["doubts"] else ():
            for clause, entry in check["clauses"].items():
                name = f"{check['requirement']}.{clause}"
                if entry["outcome"] == Outcome.INCONCLUSIVE.value and name not in open_:
                    yield f"{record['scenario']}: {name} could not be told"


def _counted(told: Iterable[str]) -> Iterable[str]:
    """Yield the first of ``told`` and how many more there are."""
    found = list(told)
    if found:
        yield found[0] + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")


def _requirement(
    requirement: Requirement,
    scenarios: Sequence[Mapping[str, Any]],
    claims: Sequence[str],
    run: Mapping[str, Any],
    *,
    covered: bool,
) -> dict[str, Any] | None:
    """Return one requirement's entry, or None if the selection has nothing to do with it."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    where: dict[str, set[str]] = {}
    evidence: list[dict[str, Any]] = []
    impossible: dict[str, str] = {}
    for record in scenarios:
        if record["outcome"] == "unsupported":
            for name in record.get("could_judge", ()):
                impossible.setdefault(name, "; ".join(record["doubts"]))
        for check in record["checks"]:
            if check["requirement"] != requirement.id:
                continue
            for name, why in check.get("untapped", {}).items():
                impossible.setdefault(f"{requirement.id}.{name}", why)
            for name, clause in check["clauses"].items():
                found.setdefault(name, []).append(clause)
                where.setdefault(name, set()).add(record["scenario"])
            evidence.extend(_evidence(check, record, run))
    if not found and not covered:
        return None
    clauses: dict[str, Any] = {}
    for name, text in requirement.clauses.items():
        if name in found:
            entry = merge(found[name])
        elif not matches(claims, requirement.id, name):
            entry = {"outcome": Outcome.UNSUPPORTED.value, "why": "not claimed"}
        elif f"{requirement.id}.{name}" in impossible:
            entry = {"outcome": Outcome.UNSUPPORTED.value, "why": impossible[f"{requirement.id}.{name}"]}
        elif covered:
            entry = {"outcome": Outcome.INCONCLUSIVE.value, "why": INTERRUPTED if run.get("interrupted") else UNSEEN}
        else:
            entry = {"outcome": "not_asked"}
        clauses[name] = {"text": text, "scenarios": sorted(where.get(name, ())), **entry}
    judged = [Outcome(clause["outcome"]) for clause in clauses.values() if clause["outcome"] != "not_asked"]
    evidence.sort(key=lambda piece: (piece["outcome"] != "fail", piece["scenario"], piece["seed"]))
    return {
        "verdict": worst(judged).value,
        "profile": requirement.profile,
        "text": requirement.text,
        "source": requirement.source,
        "origin": requirement.origin,
        "clauses": clauses,
        "unsupported": sorted(name for name, clause in clauses.items() if clause["outcome"] == "unsupported"),
        "cases": sum(clause.get("passed", 0) + clause.get("failed", 0) for clause in clauses.values()),
        "failed": sum(clause.get("failed", 0) for clause in clauses.values()),
        "evidence": evidence[:EVIDENCE_CAP],
        "replay": evidence[0]["replay"] if evidence else "",
        "overlay": sorted({name for record in scenarios for name in record.get("overlays", ())}),
    }


def _evidence(check: Mapping[str, Any], record: Mapping[str, Any], run: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for piece in check["evidence"]:
        yield {
            **piece,
            "scenario": record["scenario"],
            "seed": record["seed"],
            "checker": check["checker"],
            "promise": check["promise"],
            "folder": record.get("folder", ""),
            "replay": replay_command(record, run),
        }


def replay_command(record: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Return the one command that runs a record's scenario again, with every option that its outcome depends on.

    Secrets are never in it: an account's key is taken from the environment (``--key ACCOUNT``).
    """
    if record.get("again"):
        return shlex.join(["harness", "run", *record["again"]])
    what = ["load", record["scenario"].removeprefix("load.")] if "load" in run else ["run", record["scenario"]]
    parts = ["harness", *what, "--mode", run.get("mode", "sim"), "--seed", str(record["seed"])]
    for option, asked in run.get("load", {}).items():
        if asked is True:
            parts.append(f"--{option}")
        elif asked and option in ("minutes", "arrivals", "trace", "workers", "expect-workers", "starve"):
            parts += [f"--{option}", f"{asked:g}" if isinstance(asked, float) else str(asked)]
    if "load" in run and run.get("overlay"):
        parts += ["--overlay", run["overlay"]]
    if run.get("target", "reference") != "reference":
        parts += ["--target", run["target"]]
    for option in ("contract", "claims", "upstreams", "mutant"):
        if run.get(option):
            parts += [f"--{option}", run[option]]
    for account in run.get("keys", ()):
        parts += ["--key", account]
    return shlex.join(parts)


def _counts(verdicts: Iterable[str]) -> dict[str, int]:
    counts = {outcome.value: 0 for outcome in Outcome}
    for verdict in verdicts:
        counts[verdict] += 1
    return counts
