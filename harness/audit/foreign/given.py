"""The TOML files that people write for an audit: read, and every misspelt key refused with what it may have meant."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harness.audit.books import AuditError


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's data. Raises AuditError."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise AuditError(f"{path} is no TOML file that can be read", cause=str(error)) from error


def check_keys(name: str, where: str, data: Any, known: Iterable[str]) -> Mapping[str, Any]:
    """Return ``data`` if it is a table with no other keys than ``known``. Raises AuditError."""
    names = tuple(known)
    if not isinstance(data, Mapping):
        raise AuditError(f"{name}: {where} must be a table")
    for key in data:
        if key not in names:
            raise AuditError(
                f"{name}: {where} has no {key!r}{near(key, names)}", help=f"it may have {', '.join(names)}"
            )
    return data


def near(given: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for the name nearest to ``given``, or nothing."""
    found = get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f", did you mean {found[0]!r}?" if found else ""
