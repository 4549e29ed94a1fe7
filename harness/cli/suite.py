"""The composition root: brings scenarios, checkers, mutants and targets together, by name, in any process."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from harness.runner import Suite
from harness.target import Mutate, Target


def load() -> None:
    """Import every scenario and checker, so that they are registered."""
    importlib.import_module("harness.checkers")
    importlib.import_module("scenarios")


def make_target(spec: Mapping[str, Any]) -> Target:
    """Return the target that ``spec`` (see ``target_spec``) describes. Raises TargetError."""
    from harness.targets.imported import ImportedTarget
    from harness.targets.reference import Reference
    from harness.targets.url import UrlTarget

    name = spec["name"]
    if name == "reference":
        return Reference(contract=spec["contract"])
    if "://" in name:
        return UrlTarget(name, keys=spec["keys"], upstreams_url=spec["upstreams_url"], contract=spec["contract"])
    return ImportedTarget(name, contract=spec["contract"])


def target_spec(name: str, keys: tuple[str, ...], upstreams_url: str, contract: str) -> dict[str, Any]:
    """Return a target as data that can be sent to a worker. ValueError for a malformed key."""
    given = {}
    for pair in keys:
        account, equals, secret = pair.partition("=")
        if not equals or not secret:
            raise ValueError(f"--key {account}: give ACCOUNT=SECRET")
        given[account] = secret
    if not given and os.environ.get("HARNESS_KEY"):
        given["a"] = os.environ["HARNESS_KEY"]
    return {"name": name, "keys": given, "upstreams_url": upstreams_url, "contract": contract}


def mutate(name: str) -> Mutate:
    """Return the mutant called ``name``; KeyError if there is none."""
    from harness.mutants import MUTANTS

    return MUTANTS[name].apply


SUITE = Suite(load, make_target, mutate)
