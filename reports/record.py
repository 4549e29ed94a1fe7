"""The record of a judgement as the renderers read it: loaded, its shape checked, flattened; it changes no verdict."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

SCHEMA = "harness.verdict/1"
OUTCOMES = ("fail", "inconclusive", "pass", "unsupported")
_PROBLEMS_SHOWN = 10

_VERDICT = {"run": dict, "verdict": str, "exit": int, "counts": dict, "requirements": dict, "scenarios": list}
_REQUIREMENT = {"verdict": str, "profile": str, "text": str, "clauses": dict, "evidence": list}
_SCENARIO = {"scenario": str, "seed": int, "outcome": str, "checks": list}
_CHECK = {"checker": str, "requirement": str, "outcome": str, "clauses": dict, "evidence": list}
_PIECE = {"clause": str, "outcome": str, "expected": str, "actual": str, "call": str}


class ReportError(Exception):
    """A run folder that cannot be rendered; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one checker found in one scenario under one seed."""

    scenario: str
    seed: int
    folder: str
    checker: str
    requirement: str
    promise: str
    outcome: str
    clauses: Mapping[str, Mapping[str, Any]]
    evidence: Sequence[Mapping[str, Any]]
    replay: str

    @property
    def cases(self) -> int:
        """How many cases were told either way."""
        return sum(clause.get("passed", 0) + clause.get("failed", 0) for clause in self.clauses.values())

    @property
    def failed(self) -> int:
        """How many cases broke."""
        return sum(clause.get("failed", 0) for clause in self.clauses.values())

    def because(self, outcome: str) -> Iterator[Mapping[str, Any]]:
        """Yield the evidence of ``outcome``."""
        return (piece for piece in self.evidence if piece["outcome"] == outcome)


@dataclass(frozen=True)
class Record:
    """A run folder's ``verdict.json`` (``data``) and ``run.json`` (``environment``, empty if there is none)."""

    folder: Path
    data: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def run(self) -> Mapping[str, Any]:
        """What was asked; what an older record does not say stands at its default."""
        return {"target": "unknown", "mode": "unknown", "mutant": "", "interrupted": False, **self.data["run"]}

    @property
    def verdict(self) -> str:
        return str(self.data["verdict"])

    @property
    def requirements(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.data["requirements"]
        return found

    @property
    def scenarios(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.data["scenarios"]
        return found

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Every check of every scenario and seed, in the record's order."""
        return tuple(
            Check(
                scenario["scenario"],
                scenario["seed"],
                scenario.get("folder", ""),
                check["checker"],
                check["requirement"],
                check.get("promise", ""),
                check["outcome"],
                check["clauses"],
                check["evidence"],
                scenario.get("replay", ""),
            )
            for scenario in self.scenarios
            for check in scenario["checks"]
        )

    @cached_property
    def checks_by_outcome(self) -> Counter[str]:
        """How many checks came to each outcome."""
        return Counter(check.outcome for check in self.checks)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many requirements came to each outcome, as recorded."""
        return {outcome: int(self.data["counts"].get(outcome, 0)) for outcome in OUTCOMES}

    @property
    def profiles(self) -> tuple[str, ...]:
        """The profiles of the requirements, in the record's order."""
        return tuple(dict.fromkeys(entry["profile"] for entry in self.requirements.values()))

    def of_profile(self, profile: str) -> dict[str, Mapping[str, Any]]:
        """Return the requirements of ``profile`` by id."""
        return {name: entry for name, entry in self.requirements.items() if entry["profile"] == profile}

    def counts_of(self, profile: str) -> Mapping[str, int]:
        """How many requirements of ``profile`` came to each outcome."""
        seen = Counter(entry["verdict"] for entry in self.of_profile(profile).values())
        return {outcome: seen[outcome] for outcome in OUTCOMES}

    @property
    def seeds(self) -> str:
        """The seeds as a person writes them."""
        seeds = [str(seed) for seed in self.run.get("seeds") or sorted({one["seed"] for one in self.scenarios})]
        return "none" if not seeds else seeds[0] if seeds[0] == seeds[-1] else f"{seeds[0]}..{seeds[-1]}"

    @property
    def command(self) -> str:
        """The command that wrote the folder, or the one that its record stands for."""
        argv = self.environment.get("argv")
        if isinstance(argv, list) and argv:
            return shlex.join(str(part) for part in argv)
        return self._again(*map(str, self.run.get("selection") or ()), seed=self.seeds)

    def _again(self, *names: str, seed: str) -> str:
        run = self.run
        parts = ["harness", "run", *names, "--mode", str(run["mode"]), "--seeds" if ".." in seed else "--seed", seed]
        if run["target"] != "reference":
            parts += ["--target", str(run["target"])]
        return shlex.join([*parts, *(["--mutant", str(run["mutant"])] if run["mutant"] else [])])

    @cached_property
    def assumed(self) -> Mapping[str, list[str]]:
        """The values that no document gives, each with the requirements that rest on it."""
        found: dict[str, list[str]] = {}
        for identifier, entry in self.requirements.items():
            for value in entry.get("assumed") or ():
                found.setdefault(str(value), []).append(identifier)
        return found

    @cached_property
    def overlays(self) -> Mapping[str, list[str]]:
        """What changed the contract's numbers, each with the scenarios that ran under it."""
        found: dict[str, dict[str, None]] = {}
        everywhere = [self.run["overlay"]] if self.run.get("overlay") else []
        for scenario in self.scenarios:
            for name in [*everywhere, *(scenario.get("overlays") or ())]:
                found.setdefault(str(name), {})[scenario["scenario"]] = None
        return {name: list(scenarios) for name, scenarios in found.items()}


def load(folder: Path) -> Record:
    """Read ``folder``'s record. Raises ReportError naming the file and everything that is wrong with it."""
    data = read_record(folder / "verdict.json", SCHEMA, _problems)
    environment = folder / "run.json"
    return Record(folder, data, read_json(environment) if environment.is_file() else {})


def read_record(path: Path, schema: str, problems: Callable[[Mapping[str, Any]], Iterable[str]]) -> Mapping[str, Any]:
    """Return the record of that schema in a file. Raises ReportError naming the file and all that is wrong with it.

    ``problems`` tells what keeps an object of the schema from being rendered.
    """
    data = read_json(path)
    other = f"schema is {data.get('schema')!r}, and this report reads {schema!r}"
    found = [other] if data.get("schema") != schema else list(problems(data))
    if found:
        more = [f"and {len(found) - _PROBLEMS_SHOWN} more"] if len(found) > _PROBLEMS_SHOWN else []
        raise ReportError("\n".join(f"{path}: {problem}" for problem in [*found[:_PROBLEMS_SHOWN], *more]))
    return data


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises ReportError naming the file."""
    try:
        data = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror or error}") from error
    except orjson.JSONDecodeError as error:
        raise ReportError(f"{path}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ReportError(f"{path}: must be a JSON object")
    return data


def _problems(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps ``data`` from being rendered; unknown fields are nobody's business."""
    flaws = list(fields("verdict", data, _VERDICT))
    yield from flaws
    if flaws:
        return
    if "why" in data:
        yield from fields("verdict", data, {"why": list})
    for identifier, entry in data["requirements"].items():
        yield from _judged(f"requirements.{identifier}", entry, _REQUIREMENT)
    for number, scenario in enumerate(data["scenarios"]):
        where = f"scenarios[{number}]"
        flaws = list(fields(where, scenario, _SCENARIO))
        yield from flaws
        if not flaws and scenario.get("error"):
            yield from fields(f"{where}.error", scenario["error"], {"message": str})
        if not flaws and scenario.get("raised"):
            yield from fields(f"{where}.raised", scenario["raised"], {"count": int, "type": str, "message": str})
        for index, check in enumerate(() if flaws else scenario["checks"]):
            yield from _judged(f"{where}.checks[{index}]", check, _CHECK)


def _judged(where: str, value: Any, wanted: Mapping[str, type]) -> Iterator[str]:
    """Yield the problems of a requirement or a check: its fields, its clauses, its evidence."""
    flaws = list(fields(where, value, wanted))
    yield from flaws
    if flaws:
        return
    for name, clause in value["clauses"].items():
        yield from fields(f"{where}.clauses.{name}", clause, {"outcome": str})
    for place, piece in enumerate(value["evidence"]):
        yield from fields(f"{where}.evidence[{place}]", piece, _PIECE)


def fields(where: str, value: Any, wanted: Mapping[str, type]) -> Iterator[str]:
    """Yield what is wrong with the ``wanted`` fields of an object."""
    if not isinstance(value, dict):
        yield f"{where}: must be an object"
        return
    for name, kind in wanted.items():
        if name not in value:
            yield f"{where}.{name}: missing"
        elif not isinstance(value[name], kind):
            yield f"{where}.{name}: must be {kind.__name__}, is {type(value[name]).__name__}"
