"""The record of a power run, ``power.json``: what became of every mutant, and what that proves; docs/power.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.contract import Requirement
from harness.contract.requirements import matches
from harness.runner.bounds import CONFIDENCE, upper_bound, wilson
from harness.runner.power import Row
from harness.runner.record import EXIT_FAIL, EXIT_HARNESS, EXIT_INCONCLUSIVE, EXIT_INTERRUPTED, EXIT_OK, replay_command

SCHEMA = "harness.power/1"
STATUSES = ("killed", "survived", "elsewhere", "inconclusive", "errored", "not_asked")
SMALL = 2
"""A requirement with fewer mutants than this is told as one that has few."""
_SHOWN = 3

Json = Mapping[str, Any]


def build_power(
    run: Json, rows: Iterable[Row], control: Json, clean: Sequence[Json], catalogue: Mapping[str, Requirement]
) -> dict[str, Any]:
    """Return the whole record.

    ``run`` is what was asked: among others the selected ``mutants`` with what each breaks, and ``whole`` where that is
    all there are, and the number of scenarios in the ``core``. ``control`` holds the right gateway's runs by
    scenario, ``clean`` further seeds of it.
    """
    own = [seed_of_control(run, control)] if control else []
    mutants = {row.lie.name: _mutant(row, control, run) for row in rows}
    return summed(run, mutants, dict(control), together([*own, *clean]), catalogue)


def summed(
    run: Json, mutants: Mapping[str, Json], control: Json, clean: Sequence[Json], catalogue: Mapping[str, Requirement]
) -> dict[str, Any]:
    """Return the record of ``mutants`` as they were judged, here or in shards."""
    requirements = _requirements(run, mutants, catalogue)
    counts = Counter(mutant["status"] for mutant in mutants.values())
    alarms = _false_alarms(run, clean)
    verdict = _verdict(run, mutants.values(), requirements, control, alarms)
    return {
        "schema": SCHEMA,
        "run": dict(run),
        "verdict": verdict,
        "exit": EXIT_INTERRUPTED if run.get("interrupted") else _EXITS[verdict],
        "counts": {"mutants": len(mutants), **{status: counts[status] for status in STATUSES}},
        "mutants": dict(sorted(mutants.items())),
        "requirements": requirements,
        "areas": _areas(requirements, mutants, catalogue),
        "false_alarms": alarms,
        "control": dict(sorted(control.items())),
        "clean": list(clean),
    }


_EXITS = {
    "pass": EXIT_OK,
    "fail": EXIT_FAIL,
    "inconclusive": EXIT_INCONCLUSIVE,
    "error": EXIT_HARNESS,
    "interrupted": EXIT_INTERRUPTED,
}


def _verdict(run: Json, mutants: Iterable[Json], requirements: Mapping[str, Json], control: Json, alarms: Json) -> str:
    mutants = list(mutants)
    if any(m["status"] == "errored" for m in mutants) or any(result["error"] for result in control.values()):
        return "error"
    missed = any(m["status"] in ("survived", "elsewhere") for m in mutants)
    if missed or alarms["alarms"] or any(entry["state"] == "no_mutant" for entry in requirements.values()):
        return "fail"
    if run.get("interrupted"):
        return "interrupted"
    doubtful = any(m["status"] == "inconclusive" for m in mutants) or any(map(unsure, control.values()))
    return "inconclusive" if doubtful else "pass"


def _mutant(row: Row, control: Json, run: Json) -> dict[str, Any]:
    """Return what became of one mutant; what the right gateway breaks as well is no proof against it."""
    hits = [
        (result, hit)
        for result in row.asked
        for hit in result["broken"]
        if (hit["requirement"], hit["checker"]) not in _alarms(control.get(result["scenario"]))
    ]
    own = [(result, hit) for result, hit in hits if hit["requirement"] == row.lie.breaks]
    errors = [{"scenario": result["scenario"], **result["error"]} for result in row.asked if result["error"]]
    if errors:
        status = "errored"
    elif own:
        status = "killed"
    elif not row.over:
        status = "not_asked"
    elif any(result.get("late") or unsure(result) for result in row.asked):
        status = "inconclusive"
    else:
        status = "elsewhere" if hits else "survived"
    shown = own or hits
    return {
        "breaks": row.lie.breaks,
        "lie": row.lie.lie,
        "status": status,
        "why": "" if status == "killed" else _why(row, status, errors, hits),
        "asked": [result["scenario"] for result in row.asked],
        "not_asked": [subject.name for subject in row.left],
        "evidence": _evidence(*shown[0], run, row.lie.name) if shown else None,
        "tripped": _tripped(hits, row.lie.breaks),
        "errors": errors[:_SHOWN],
        "cpu_s": round(sum(result["cpu_s"] for result in row.asked), 3),
    }


def _alarms(result: Json | None) -> set[tuple[str, str]]:
    return {(hit["requirement"], hit["checker"]) for hit in result["broken"]} if result else set()


def _why(row: Row, status: str, errors: Sequence[Json], hits: Sequence[tuple[Json, Json]]) -> str:
    """Return in one sentence why it does not count as caught."""
    if status == "errored":
        return f"{errors[0]['message']} ({errors[0]['scenario']})"
    if status == "not_asked":
        return f"interrupted after {len(row.asked)} scenarios" if row.asked else "interrupted before its turn"
    if not row.asked:
        return f"no scenario judges {row.lie.breaks}"
    doubts = list(dict.fromkeys(doubt for result in row.asked for doubt in result["doubts"]))
    if status == "inconclusive":
        return f"nothing was proved: {'; '.join(doubts[:_SHOWN]) or 'this machine was too slow for it'}"
    if status == "elsewhere":
        others = sorted({hit["requirement"] for _, hit in hits})
        return f"seen by checkers of {', '.join(others)}, and by none of {row.lie.breaks}"
    alarmed = any(hit["requirement"] == row.lie.breaks for result in row.asked for hit in result["broken"])
    if alarmed:
        return f"the checks of {row.lie.breaks} that it fails are failed by the right gateway as well"
    told = f"no checker saw a difference in {len(row.asked)} scenarios"
    return f"{told}; {'; '.join(doubts[:_SHOWN])}" if doubts else told


def _evidence(result: Json, hit: Json, run: Json, mutant: str) -> dict[str, Any]:
    record = {"scenario": result["scenario"], "seed": result["seed"]}
    told = {name: hit[name] for name in ("requirement", "checker", "promise")}
    return {**told, **record, **hit["evidence"], "replay": replay_command(record, {**run, "mutant": mutant})}


def _tripped(hits: Iterable[tuple[Json, Json]], breaks: str) -> list[dict[str, Any]]:
    """Return every checker that saw it, those of its own requirement first."""
    found: dict[tuple[bool, str, str], dict[str, dict[str, None]]] = {}
    for result, hit in hits:
        key = (hit["requirement"] != breaks, hit["requirement"], hit["checker"])
        entry = found.setdefault(key, {"clauses": {}, "scenarios": {}})
        entry["clauses"].update(dict.fromkeys(hit["clauses"]))
        entry["scenarios"][result["scenario"]] = None
    return [
        {
            "requirement": requirement,
            "checker": checker,
            "own": not other,
            "clauses": sorted(entry["clauses"]),
            "scenarios": list(entry["scenarios"]),
        }
        for (other, requirement, checker), entry in sorted(found.items())
    ]


def _requirements(
    run: Json, mutants: Mapping[str, Json], catalogue: Mapping[str, Requirement]
) -> dict[str, dict[str, Any]]:
    """Return the power over each requirement that is claimed or broken; of the whole, one without mutants is a gap."""
    broken: dict[str, list[str]] = {}
    for name, breaks in sorted(run["mutants"].items()):
        broken.setdefault(breaks, []).append(name)
    made = {}
    for identifier, requirement in catalogue.items():
        claimed = any(matches(run["claimed"], identifier, clause) for clause in requirement.clauses)
        named = broken.get(identifier, [])
        if not named and not (claimed and run["whole"]):
            continue
        asked = [mutants[name] for name in named if name in mutants and mutants[name]["status"] != "not_asked"]
        killed = sum(mutant["status"] == "killed" for mutant in asked)
        state = (
            "no_mutant" if not named else "not_asked" if not asked else "missed" if killed < len(asked) else "noticed"
        )
        # A shard knows only its own mutants: what the others lack is for the merged record to say.
        if state == "no_mutant" and run.get("shard"):
            continue
        made[identifier] = {
            "profile": requirement.profile,
            "text": requirement.text,
            "state": state,
            "few": len(named) < SMALL,
            "mutants": named,
            **_power(killed, len(asked)),
            "noticed_by": sorted({t["requirement"] for m in asked for t in m["tripped"]}),
        }
    return made


def _areas(
    requirements: Mapping[str, Json], mutants: Mapping[str, Json], catalogue: Mapping[str, Requirement]
) -> dict[str, dict[str, Any]]:
    """Return the same by area, and by the area of the checkers that noticed how many of its mutants these saw."""
    found: dict[str, list[Json]] = {}
    for entry in requirements.values():
        found.setdefault(entry["profile"], []).append(entry)
    made = {}
    for area, entries in sorted(found.items()):
        asked, killed = (sum(entry[name] for entry in entries) for name in ("asked", "killed"))
        noticed: Counter[str] = Counter()
        for name in (name for entry in entries for name in entry["mutants"] if name in mutants):
            seen_by = {trip["requirement"] for trip in mutants[name]["tripped"]} & catalogue.keys()
            noticed.update({catalogue[identifier].profile for identifier in seen_by})
        made[area] = {
            "requirements": len(entries),
            "proved": sum(entry["state"] == "noticed" for entry in entries),
            "no_mutant": sum(entry["state"] == "no_mutant" for entry in entries),
            **_power(killed, asked),
            "noticed_by": dict(sorted(noticed.items())),
        }
    return made


def _power(killed: int, asked: int) -> dict[str, Any]:
    low, high = wilson(killed, asked)
    share = round(killed / asked, 4) if asked else None
    return {"asked": asked, "killed": killed, "power": share, "interval": [round(low, 4), round(high, 4)]}


def seed_of_control(run: Json, control: Json) -> dict[str, Any]:
    """Return the right gateway's runs of this campaign as one clean seed."""
    return clean_seed(run["seed"], list(control.values()), f"harness power, seed {run['seed']}")


def clean_seed(seed: int, results: Iterable[Json], source: str) -> dict[str, Any]:
    """Return what the right gateway came to under one seed: whatever is neither pass nor unsupported is an alarm.

    A load that could not be told from what the machine made of it is no run of it.
    """
    judged = [result for result in results if result["outcome"] != "unsupported" and not unsure(result)]
    return {
        "seed": seed,
        "runs": len(judged),
        "core": sum(result.get("part") == "core" for result in judged),
        "alarms": [{"scenario": r["scenario"], "outcome": r["outcome"]} for r in judged if r["outcome"] != "pass"],
        "source": source,
    }


def unsure(result: Json) -> bool:
    """Say whether a load came to no verdict: on sockets that is the generator's doing, or the machine's."""
    return result.get("part") == "load" and result["outcome"] == "inconclusive"


def together(clean: Iterable[Json]) -> list[Json]:
    """Return clean seeds with none counted twice: of two records of one seed that with more alarms, then more runs."""
    best: dict[int, Json] = {}
    for one in clean:
        known = best.get(one["seed"])
        if known is None or _weight(one) > _weight(known):
            best[one["seed"]] = one
    return [best[seed] for seed in sorted(best)]


def _weight(one: Json) -> tuple[int, int]:
    return len(one["alarms"]), one["runs"]


def _false_alarms(run: Json, clean: Sequence[Json]) -> dict[str, Any]:
    """Return the exact bounds on the share of right runs, and of whole seeds of the core, that would raise an alarm."""
    whole = [one for one in clean if one["core"] == run["core"]]
    runs = sum(one["runs"] for one in clean)
    alarms = sum(len(one["alarms"]) for one in clean)
    alarmed = sum(bool(one["alarms"]) for one in whole)
    return {
        "confidence": CONFIDENCE,
        "runs": runs,
        "alarms": alarms,
        "run_bound": round(upper_bound(alarms, runs), 6),
        "seeds": len(whole),
        "seeds_alarmed": alarmed,
        "seed_bound": round(upper_bound(alarmed, len(whole)), 6),
        "sources": sorted({one["source"] for one in clean}),
    }
