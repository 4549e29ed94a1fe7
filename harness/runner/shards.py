"""A run in parts: which jobs a shard takes, and whether the shards that came back make one whole; it reads no file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import orjson

from harness.contract import Contract
from harness.contract.loader import contract_to_json

Run = Mapping[str, Any]
_SAME = {
    "schema": "schema",
    "version": "version",
    "contract_digest": "contract digest",
    "contract": "--contract",
    "target": "target",
    "mode": "mode",
    "mutant": "mutant",
    "overlay": "overlay",
    "claimed": "claims",
    "selection": "selection",
    "profiles": "selection of profiles",
    "requirements": "selection of requirements",
    "mutants": "selection of mutants",
    "seed": "seed",
    "seeds": "seeds",
    "full": "--full",
}
"""What the runs of one whole have in common, by its field, as it is told."""
_SHOWN = 100


class MisfitError(Exception):
    """Shards that do not make one whole; ``problems`` says which and why."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``of`` parts that run apart; ``index`` counts from 1."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that is written ``i/n``. Raises ValueError."""
        index, slash, of = text.partition("/")
        if not (slash and index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
            raise ValueError(f"{text!r}: give i/n with i from 1 to n, such as 1/4")
        return cls(int(index), int(of))

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def takes(self, number: int) -> bool:
        """Say whether the thing with this number is this shard's: dealt out in turn."""
        return number % self.of == self.index - 1


def identity(contract: Contract, claims: Sequence[str]) -> dict[str, Any]:
    """Return what a run's record says of the suite and the contract that it ran with."""
    content = orjson.dumps(contract_to_json(contract), option=orjson.OPT_SORT_KEYS)
    return {
        "version": version("llm-gateway-harness"),
        "contract_digest": hashlib.sha256(content).hexdigest(),
        "claimed": list(claims),
    }


def check_fit(named: Sequence[tuple[str, Run]]) -> None:
    """Take note that the runs, each with the name of its folder, are the shards of one whole.

    Raises MisfitError naming every folder that differs from the first, overlaps another, or is not there.
    """
    problems = [*_differences(named), *_gaps(named)]
    if problems:
        raise MisfitError(problems)


def _differences(named: Sequence[tuple[str, Run]]) -> Iterator[str]:
    first, wanted = named[0]
    for name, run in named[1:]:
        for field, told in _SAME.items():
            if run.get(field) != wanted.get(field):
                yield f"{told} differs: {first} has {_short(wanted.get(field))}, {name} has {_short(run.get(field))}"


def _gaps(named: Sequence[tuple[str, Run]]) -> Iterator[str]:
    taken: dict[int, str] = {}
    counts: dict[int, str] = {}
    for name, run in named:
        try:
            shard = Shard.parse(str(run.get("shard", "")))
        except ValueError:
            yield f"{name} is no shard: it was run without --shard"
            continue
        counts.setdefault(shard.of, name)
        if shard.index in taken:
            yield f"shard {shard} is there twice: {taken[shard.index]} and {name}"
        taken.setdefault(shard.index, name)
    if len(counts) > 1:
        yield f"shards of different counts: {', '.join(f'{name} is one of {of}' for of, name in counts.items())}"
    elif counts:
        of = next(iter(counts))
        missing = [str(Shard(index, of)) for index in range(1, of + 1) if index not in taken]
        if missing:
            yield f"missing: shard {', '.join(missing)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
