"""A find on disk: the plan of a history as a file of its own, for ``harness run FILE``; it runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

_LAST = ("claims", "accounts", "upstreams", "taps", "contract")


def plan_file(folder: Path, number: int) -> Path:
    """Return where the plan of the ``number``-th find of a swarm stands."""
    return folder / f"found-{number}.json"


def save_plan(plan: Mapping[str, Any], into: Path) -> None:
    """Write ``plan`` to ``into``, laid out to be read and edited. Raises OSError."""
    front = {name: value for name, value in plan.items() if name not in _LAST}
    ordered = {**front, **{name: plan[name] for name in _LAST if name in plan}}
    into.write_bytes(orjson.dumps(ordered, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def clear_plans(folder: Path) -> None:
    """Remove the finds of an earlier swarm from ``folder``. Raises OSError."""
    for path in folder.glob("found-*.json"):
        path.unlink()
