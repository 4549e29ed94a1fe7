"""The reference gateway made wrong, each mutant in exactly one way: proof that the checkers can fail."""

from __future__ import annotations

import importlib
import pkgutil

from harness.mutants.registry import MUTANTS, Mutant, mutant

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["MUTANTS", "Mutant", "mutant"]
