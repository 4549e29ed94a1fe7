"""What every reading is made with: the blank one, folding, tidying and digests, as docs/normal-form.md defines them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson


def blank() -> dict[str, Any]:
    """Return the empty reading."""
    return {
        "text": "",
        "thinking": "",
        "signature": "",
        "tools": [],
        "finish": None,
        "usage": None,
        "terminal": False,
        "sequence": "",
        "model": None,
        "error_type": None,
        "error_message": None,
        "items": "",
    }


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of ``value``."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of ``value``; empty for an empty list or object."""
    return hashlib.sha256(canonical(value)).hexdigest() if value else ""


def tidy(value: Any) -> Any:
    """Return an object without its empty members and without ``hypereal``; any other value as it is."""
    if not isinstance(value, dict):
        return value
    return {k: v for k, v in value.items() if k != "hypereal" and v is not None and v != "" and v != [] and v != {}}


def fold(kinds: Iterable[str]) -> str:
    """Return ``kinds`` in order, runs folded: ``a b*3 c``."""
    runs: list[tuple[str, int]] = []
    last, count = "", 0
    for kind in kinds:
        if kind == last:
            count += 1
        else:
            runs.append((last, count))
            last, count = kind, 1
    runs.append((last, count))
    return " ".join([kind if count == 1 else f"{kind}*{count}" for kind, count in runs if count])


def error_of(error: Any) -> dict[str, Any]:
    """Return ``error_type`` and ``error_message`` of an error object."""
    if not isinstance(error, Mapping):
        return {"error_type": "error", "error_message": str(error)}
    kind = error.get("type") or error.get("code") or "error"
    return {"error_type": str(kind), "error_message": str(error.get("message") or "")}
