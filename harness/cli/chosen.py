"""The target and the mutant that a command line names; what is wrong with them ends the command, said once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import click

from harness.cli.suite import make_target, target_spec
from harness.cli.terminal import fail, near
from harness.contract import ContractError
from harness.runner import EXIT_UNREACHABLE, EXIT_USAGE
from harness.target import NotATarget, Target, TargetError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """What a command line says of its target."""

    target: str = "reference"
    contract_path: str = ""
    claims_path: str = ""
    upstreams_url: str = ""
    keys: Sequence[str] = ()

    @property
    def by_address(self) -> bool:
        """Whether the target is given by its address."""
        return "://" in self.target


def chosen_target(options: TargetOptions) -> tuple[Target, dict[str, Any]]:
    """Return the target and its spec; ends the command with what is wrong with them."""
    if (options.keys or options.upstreams_url) and not options.by_address:
        raise click.UsageError("--key and --upstreams go with --target URL alone")
    if options.claims_path and options.target == "reference":
        raise click.UsageError("--claims goes with a gateway of yours: the reference gateway has claims of its own")
    check_unsecret("--target", options.target)
    check_unsecret("--upstreams", options.upstreams_url)
    claims = _claims(options.claims_path) if options.claims_path else ()
    try:
        spec = target_spec(options.target, options.keys, options.upstreams_url, options.contract_path, claims)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return target_of(spec), spec


def target_of(spec: dict[str, Any]) -> Target:
    """Return the target that ``spec`` describes, its contract found lawful; ends the command if something is wrong."""
    from harness.targets.registry import kinds

    try:
        target = told(lambda: make_target(spec))
        target.contract()
    except KeyError:
        name = spec["name"]
        known = [kind for kind in kinds() if kind == kind.lower()]
        raise click.UsageError(
            f"no target {name!r}{near(name, known)}; give {', '.join(known)}, MODULE:APP, or a URL"
        ) from None
    except ContractError as error:
        _refuse("the contract", error, "docs/contract.md says how one is written")
    return target


def told(ask: Callable[[], T]) -> T:
    """Return what ``ask`` does; a TargetError ends the command with the exit code that it deserves."""
    try:
        return ask()
    except TargetError as error:
        fail(str(error), cause=error.cause, help=error.help)
        raise SystemExit(EXIT_USAGE if isinstance(error, NotATarget) else EXIT_UNREACHABLE) from None


def check_mutant(name: str, target: str) -> None:
    """Raise click.UsageError unless ``name`` is empty or a mutant, and the target one that can be mutated."""
    if not name:
        return
    from harness.mutants import MUTANTS

    if name not in MUTANTS:
        raise click.UsageError(f"no mutant {name!r}{near(name, MUTANTS)}; harness list mutants shows them")
    if target != "reference":
        raise click.UsageError("a mutant is the reference gateway made wrong: it goes with --target reference alone")


def check_unsecret(option: str, address: str) -> None:
    """Raise click.UsageError for an address with a user and password in it."""
    if "://" in address and "@" in address.partition("://")[2].partition("/")[0]:
        raise click.UsageError(f"{option}: give the address without a user and password: they would be recorded")


def _claims(path: str) -> tuple[str, ...]:
    from pathlib import Path

    from harness.contract import load_claims

    try:
        return load_claims(Path(path)).patterns
    except ContractError as error:
        _refuse("the claims", error, "docs/targets.md says how they are written; harness list requirements has the ids")


def _refuse(what: str, error: ContractError, help_: str) -> NoReturn:
    count = len(error.problems)
    fail(
        f"{what} cannot be used: {count} problem{'s' if count > 1 else ''}",
        cause="\n".join(error.problems),
        help=help_,
    )
    raise SystemExit(EXIT_USAGE)
