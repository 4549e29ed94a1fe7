"""Which scenarios a command line selects; a name that selects nothing is a usage error, never a green run."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import click

from harness.cli.terminal import near
from harness.contract import Contract, load_requirements
from harness.runner.shards import Shard
from harness.scenario import SCENARIOS, NamedScenario, Part

PARTS: tuple[str, ...] = get_args(Part)
BY_NAME = ("durability", "limiter")
"""The parts that are run when they are asked for, and not with everything else."""
MOST_SEEDS = 100_000
"""A run holds the record of every seed in memory."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The scenarios to run, the requirements to judge (empty: all), and those that must be covered whole."""

    scenarios: tuple[str, ...]
    requirements: frozenset[str]
    expected: frozenset[str]


def select(names: Sequence[str], profiles: Sequence[str], requirements: Sequence[str], contract: Contract) -> Selection:
    """Return what the names, profiles and ids select. Raises click.UsageError, naming what there is."""
    catalogue = load_requirements()
    wanted = _wanted(profiles, requirements)
    everything = [name for name, scenario in SCENARIOS.items() if scenario.part not in BY_NAME]
    chosen = [name for pattern in names for name in _named(pattern)] or everything
    if wanted:
        chosen = [name for name in chosen if _checked(SCENARIOS[name], contract) & wanted]
    if not chosen:
        raise click.UsageError("nothing selected: no scenario fits all of what was asked; see harness list scenarios")
    expected = frozenset[str]() if names else frozenset(wanted or catalogue)
    return Selection(tuple(dict.fromkeys(chosen)), frozenset(wanted), expected)


def seeds(seed: int | None, span: str) -> range:
    """Return the seeds of ``--seed`` or ``--seeds A..B``. Raises click.UsageError."""
    if not span:
        return range(seed or 0, (seed or 0) + 1)
    if seed is not None:
        raise click.UsageError("give --seed or --seeds, not both")
    match = re.fullmatch(r"(\d+)\.\.(\d+)", span)
    if match is None or int(match[1]) > int(match[2]):
        raise click.UsageError(f"--seeds {span!r}: give A..B with A not above B, such as 0..99")
    found = range(int(match[1]), int(match[2]) + 1)
    if len(found) > MOST_SEEDS:
        raise click.UsageError(f"--seeds {span}: {len(found):,} seeds are too many for one run; give {MOST_SEEDS:,}")
    return found


def parse_shard(text: str) -> Shard | None:
    """Return the shard of ``--shard i/n``, None for a run of the whole. Raises click.UsageError."""
    try:
        return Shard.parse(text) if text else None
    except ValueError as error:
        raise click.UsageError(f"--shard {error}") from None


def _named(pattern: str) -> list[str]:
    if pattern in PARTS:
        return [name for name, scenario in SCENARIOS.items() if scenario.part == pattern]
    found = [name for name in SCENARIOS if fnmatch.fnmatchcase(name, pattern) or name.partition(".")[0] == pattern]
    if not found:
        files = {name.partition(".")[0] for name in SCENARIOS}
        hint = near(pattern, [*SCENARIOS, *files, *PARTS])
        raise click.UsageError(
            f"no scenario {pattern!r}{hint}; give a scenario, a part ({', '.join(PARTS)}), or a file of scenarios: "
            f"{', '.join(sorted(files))}"
        )
    return found


def _wanted(profiles: Sequence[str], requirements: Sequence[str]) -> set[str]:
    known = load_requirements()
    all_profiles = sorted({requirement.profile for requirement in known.values()})
    wanted: set[str] = set()
    for profile in profiles:
        if profile not in all_profiles:
            raise click.UsageError(
                f"no profile {profile!r}{near(profile, all_profiles)}; there are {', '.join(all_profiles)}"
            )
        wanted |= {identifier for identifier, requirement in known.items() if requirement.profile == profile}
    for pattern in requirements:
        found = fnmatch.filter(known, pattern.upper())
        if not found:
            hint = near(pattern.upper().strip("*?"), known)
            raise click.UsageError(
                f"no requirement {pattern!r}{hint}; harness list requirements shows all {len(known)}"
            )
        wanted |= set(found)
    return wanted


def _checked(scenario: NamedScenario, contract: Contract) -> set[str]:
    return {check.requirement for check in scenario(contract).checks}
