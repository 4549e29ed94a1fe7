"""The composition root: brings scenarios, checkers, mutants and targets together, by name, in any process."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.runner import Suite
from harness.target import Mutate, Target


def load() -> None:
    """Import every scenario and checker, so that they are registered."""
    importlib.import_module("harness.checkers")
    importlib.import_module("scenarios")


def make_target(spec: Mapping[str, Any]) -> Target:
    """Return the target that ``spec`` (of ``target_spec``) describes. Raises TargetError; KeyError for no such name."""
    from harness.targets.registry import kind_of

    return kind_of(spec["name"]).make(spec)


def target_spec(
    name: str,
    keys: Sequence[str] = (),
    upstreams_url: str = "",
    contract: str | Mapping[str, Any] = "",
    claims: Sequence[str] = (),
) -> dict[str, Any]:
    """Return a target as data that can be sent to a worker.

    A key is ACCOUNT=SECRET, or ACCOUNT alone, whose secret is in the environment. ValueError for any other, and for a
    secret that no header can carry.
    """
    given = {}
    for pair in keys:
        account, equals, secret = pair.partition("=")
        secret = secret if equals else os.environ.get(variable := f"HARNESS_KEY_{account.upper()}", "")
        if not account or not secret:
            hint = "" if equals else f", or set {variable}"
            raise ValueError(f"--key {account}: give ACCOUNT=SECRET{hint}")
        given[account] = secret
    if not given and os.environ.get("HARNESS_KEY"):
        given["a"] = os.environ["HARNESS_KEY"]
    for account, secret in given.items():
        if not re.fullmatch("[!-~]+", secret):  # it becomes a header's value
            raise ValueError(f"the key of account {account}: a secret is visible ASCII, without spaces and line ends")
    return {
        "name": name,
        "keys": given,
        "upstreams_url": upstreams_url,
        "contract": contract,
        "claims": tuple(claims),
    }


def mutate(name: str) -> Mutate:
    """Return the mutant called ``name``; KeyError if there is none."""
    from harness.mutants import MUTANTS

    return MUTANTS[name].apply


SUITE = Suite(load, make_target, mutate)
