"""Which gateways can be put under test, one file of this package each; it makes targets and starts none.

A target is a class under ``@target``: called with its spec it is a ``harness.target.Target``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

import harness.targets
from harness.target import Target

URL = "URL"
IMPORT = "MODULE:APP"
Spec = Mapping[str, Any]
"""What the command line says of a target, as data: name, keys, upstreams_url, contract, claims (see ``Promised``)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A target that there is: its name (or the form of it), the modes it has, what it is, and how to use it."""

    name: str
    modes: tuple[str, ...]
    about: str
    use: str
    make: Callable[[Spec], Target]


KINDS: dict[str, Kind] = {}
Made = TypeVar("Made", bound=Callable[[Spec], Target])


def target(name: str, *, modes: tuple[str, ...], use: str) -> Callable[[Made], Made]:
    """Register a class as the target ``name``, described by the first line of its docstring and an example command."""

    def register(made: Made) -> Made:
        if name in KINDS:
            raise ValueError(f"two targets are called {name}")
        KINDS[name] = Kind(name, modes, (made.__doc__ or "").partition("\n")[0], use, made)
        return made

    return register


def kinds() -> Mapping[str, Kind]:
    """Return every target by name, in the order of the names."""
    for module in iter_modules(harness.targets.__path__):
        import_module(f"harness.targets.{module.name}")
    return dict(sorted(KINDS.items()))


def kind_of(name: str) -> Kind:
    """Return the kind of target that ``name`` is: one by its own name, an address, or an import string; KeyError."""
    found = kinds()
    return found[name if name in found else URL if "://" in name else IMPORT if ":" in name else name]
