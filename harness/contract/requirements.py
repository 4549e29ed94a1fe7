"""The requirement catalogue and who claims what of it; it holds sentences and patterns and judges nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from harness.contract.frozen import FrozenDict
from harness.contract.problems import ContractError, near

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One sentence of the catalogue, and the named clauses that are judged apart."""

    id: str
    profile: str
    portable: bool
    origin: str
    source: str
    text: str
    clauses: Mapping[str, str]


MEMORY = Requirement(
    id="MEMORY",
    profile="resilience",
    portable=True,
    origin="harness",
    source="docs/load.md",
    text="The gateway's memory does not grow with the calls that it has answered.",
    clauses={"flat": "Nothing is kept of a call that is over."},
)
"""What no document says and the shape soak promises: of no catalogue, and broken under load alone."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a target claims: patterns of ids (``BILL-0*``) or single clauses (``BILL-08.hold_size``).

    A leading ``!`` excludes, wherever it stands: ``("BILL-*", "!BILL-08")`` claims all of BILL but BILL-08. Build with
    ``Claims.parse``, which refuses a pattern that matches nothing.
    """

    patterns: tuple[str, ...]

    @classmethod
    def parse(cls, patterns: Iterable[str], where: str = "claims") -> Claims:
        """Return the claims of ``patterns``. Raises ContractError naming every pattern that matches nothing."""
        wanted = tuple(patterns)
        problems = [
            f"{where}: {pattern!r} matches no requirement or clause{near(bare.strip('*'), _names(bare))}"
            for pattern in wanted
            if not any(_covers(bare := pattern.removeprefix("!"), *name) for name in _every_clause())
        ]
        if problems:
            raise ContractError(problems)
        return cls(wanted)

    def covers(self, requirement_id: str, clause: str) -> bool:
        """Say whether this clause is claimed."""
        return matches(self.patterns, requirement_id, clause)

    def clauses_of(self, requirement: Requirement) -> tuple[str, ...]:
        """Return the clauses of ``requirement`` that are claimed, in the catalogue's order."""
        return tuple(clause for clause in requirement.clauses if self.covers(requirement.id, clause))


def matches(patterns: Sequence[str], requirement_id: str, clause: str) -> bool:
    """Say whether ``patterns`` claim this clause: one includes it and none with a leading ``!`` excludes it."""
    claimed = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if _covers(pattern[1:], requirement_id, clause):
                return False
        else:
            claimed = claimed or _covers(pattern, requirement_id, clause)
    return claimed


def _covers(pattern: str, requirement_id: str, clause: str) -> bool:
    wanted_id, dot, wanted_clause = pattern.partition(".")
    return fnmatchcase(requirement_id, wanted_id) and (not dot or fnmatchcase(clause, wanted_clause))


@lru_cache(maxsize=1)
def _every_clause() -> tuple[tuple[str, str], ...]:
    return tuple((one.id, clause) for one in load_requirements().values() for clause in one.clauses)


def _names(pattern: str) -> Iterable[str]:
    """Return what a misspelt pattern may have meant: clauses of its requirement if that is known, else of all."""
    catalogue = load_requirements()
    wanted_id, dot, _ = pattern.partition(".")
    if not dot:
        return catalogue
    return [f"{id_}.{clause}" for id_, clause in _every_clause() if id_ == wanted_id or wanted_id not in catalogue]


@lru_cache(maxsize=1)
def load_requirements() -> Mapping[str, Requirement]:
    """Return the catalogue by id, in its order. Raises ContractError listing everything wrong with the data file."""
    return parse_requirements(tomllib.loads((_DATA / "requirements.toml").read_text("utf-8")), "requirements.toml")


_TEXTS = {"id", "profile", "origin", "source", "text"}
_PROFILES = ("governor", "billing", "insurance", "resilience", "wire", "platform", "security")
_ORIGINS = ("stated", "decided", "mixed")


def parse_requirements(data: Mapping[str, object], where: str) -> Mapping[str, Requirement]:
    """Return the requirements of a parsed catalogue file by id. Raises ContractError listing every problem."""
    problems: list[str] = []
    found: dict[str, Requirement] = {}
    entries = data.get("requirement")
    for number, entry in enumerate(entries if isinstance(entries, list) else (), 1):
        label = f"{where}: {entry.get('id', f'requirement {number}')}"
        wanted = _TEXTS | {"portable", "clauses"}
        problems += [f"{label}: no field {key!r}" for key in sorted(wanted - entry.keys())]
        problems += [f"{label}: unknown field {key!r}{near(key, wanted)}" for key in sorted(entry.keys() - wanted)]
        problems += [
            f"{label}.{key}: must be text" for key in sorted(_TEXTS & entry.keys()) if type(entry[key]) is not str
        ]
        problems += _bad_values(label, entry)
        if entry.get("id") in found:
            problems.append(f"{label}: stands twice")
        if not problems:
            found[entry["id"]] = Requirement(**{**entry, "clauses": FrozenDict(entry["clauses"])})
    if not entries:
        problems.append(f"{where}: no [[requirement]]")
    if problems:
        raise ContractError(problems)
    return FrozenDict(found)


def _bad_values(label: str, entry: Mapping[str, object]) -> Iterable[str]:
    if type(entry.get("portable", True)) is not bool:
        yield f"{label}.portable: must be true or false"
    for key, known in (("profile", _PROFILES), ("origin", _ORIGINS)):
        if entry.get(key, known[0]) not in known:
            yield f"{label}.{key}: {entry[key]!r} is none of {', '.join(known)}"
    clauses = entry.get("clauses", {"": ""})
    if not isinstance(clauses, dict) or not clauses:
        yield f"{label}.clauses: must be a table of at least one clause"
        return
    for name, text in clauses.items():
        if type(text) is not str or (not text and "clauses" in entry):
            yield f"{label}.clauses.{name}: must be a sentence"
        if "clauses" in entry and not (name.isidentifier() and name == name.lower()):
            yield f"{label}.clauses.{name}: must be a snake_case name"


def load_claims(path: Path) -> Claims:
    """Read a claims file: ``claims = ["BILL-0*", "!BILL-08", ...]``. Raises ContractError naming file and pattern."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ContractError([f"{path}: {error}"]) from error
    patterns = data.get("claims")
    if set(data) != {"claims"} or not isinstance(patterns, list) or not all(type(p) is str for p in patterns):
        raise ContractError([f"{path}: must hold one list of patterns, claims = [...]"])
    return Claims.parse(patterns, str(path))


@lru_cache(maxsize=1)
def reference_claims() -> Claims:
    """Return what the reference gateway claims at present."""
    return load_claims(_DATA / "reference_claims.toml")
