"""The commands that tell what there is: requirements, scenarios, checkers, branches, faults, targets, mutants."""

from __future__ import annotations

import click

from harness.branches import BRANCHES
from harness.checker import CHECKERS
from harness.cli.suite import load
from harness.cli.terminal import near, say
from harness.contract import load_requirements
from harness.contract.requirements import matches, reference_claims
from harness.scenario import SCENARIOS


def list_command(what: str) -> None:
    """Print one line per thing, name first: tables for people, columns for cut and grep."""
    load()
    rows = {
        "scenarios": _scenarios,
        "checkers": _checkers,
        "branches": _branches,
        "faults": _faults,
        "requirements": _requirements,
        "targets": _targets,
        "mutants": _mutants,
        "shapes": _shapes,
    }[what]()
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        say(f"{name:<{width}}  {text}")


def explain_command(identifier: str) -> None:
    """Print a requirement: text, source, clauses with their checkers, scenarios, mutants. Raises click.UsageError."""
    from harness.contract import load_contract
    from harness.mutants import MUTANTS

    load()
    catalogue = load_requirements()
    wanted = identifier.upper()
    if wanted not in catalogue:
        raise click.UsageError(f"no requirement {identifier!r}{near(wanted, catalogue)}; see harness list requirements")
    requirement = catalogue[wanted]
    say(f"{requirement.id}  ({requirement.profile}, {requirement.origin})\n")
    say(f"  {requirement.text}\n")
    say(f"  source    {requirement.source or 'our decision'}")
    say(f"  portable  {'any gateway' if requirement.portable else 'this API only'}\n")
    claims = reference_claims().patterns
    for clause, text in requirement.clauses.items():
        checks = [c.name for c in CHECKERS.values() if c.requirement == wanted and clause in c.clauses]
        claimed = "" if matches(claims, wanted, clause) else "  (not claimed by the reference gateway)"
        say(f"  {clause}{claimed}\n      {text}")
        if checks:
            say(f"      checked by {', '.join(checks)}")
    contract = load_contract()
    names = [n for n, s in SCENARIOS.items() if any(c.requirement == wanted for c in s(contract).checks)]
    say(f"\n  scenarios  {', '.join(names) or 'none'}")
    mutants = [mutant.name for mutant in MUTANTS.values() if mutant.breaks == wanted]
    say(f"  mutants    {', '.join(mutants) or 'none'}")
    if names:
        say(f"\n  harness run --requirement {wanted}")


def _scenarios() -> list[tuple[str, str]]:
    return [(name, f"{made.part:<10}  {made.promise}") for name, made in sorted(SCENARIOS.items())]


def _checkers() -> list[tuple[str, str]]:
    return [(name, f"{check.requirement}  {check.promise}") for name, check in sorted(CHECKERS.items())]


def _branches() -> list[tuple[str, str]]:
    return [(name, f"{branch.clause}  {branch.told}") for name, branch in BRANCHES.items()]


def _requirements() -> list[tuple[str, str]]:
    claims = reference_claims().patterns
    rows = []
    for identifier, requirement in load_requirements().items():
        claimed = sum(matches(claims, identifier, clause) for clause in requirement.clauses)
        rows.append(
            (identifier, f"{requirement.profile:<10} {claimed}/{len(requirement.clauses)} claimed  {requirement.text}")
        )
    return rows


def _faults() -> list[tuple[str, str]]:
    from mock_upstreams.faults import describe

    rows = []
    for fault in describe():
        parameters = ", ".join(
            f"{p['name']}: {p['unit'] or p['type']}" + ("" if p["required"] else f" = {p['default']}")
            for p in fault["parameters"]
        )
        rows.append((fault["name"], f"{fault['promise']}  ({parameters})  e.g. {fault['example']}"))
    return rows


def _targets() -> list[tuple[str, str]]:
    from harness.targets.registry import kinds

    return [(name, f"{', '.join(kind.modes):<10}  {kind.about}  {kind.use}") for name, kind in kinds().items()]


def _mutants() -> list[tuple[str, str]]:
    from harness.mutants import MUTANTS

    return [
        (name, f"{mutant.breaks}  {mutant.lie}{f'  (under load: {mutant.under})' if mutant.under else ''}")
        for name, mutant in sorted(MUTANTS.items())
    ]


def _shapes() -> list[tuple[str, str]]:
    import harness.load.shapes  # noqa: F401 - registers them
    from harness.load.shape import SHAPES

    return [(shape.name, shape.promise) for _, shape in sorted(SHAPES.items())]
