"""A swarm on disk: its tally, and each find as the plan of a history, for ``harness run FILE``; it runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from harness.swarm.search import Tally

SCHEMA = "harness.swarm/1"
TALLY = "swarm.json"
_LAST = ("claims", "accounts", "upstreams", "taps", "contract")


def plan_file(folder: Path, number: int) -> Path:
    """Return where the plan of the ``number``-th find of a swarm stands."""
    return folder / f"found-{number}.json"


def save_plan(plan: Mapping[str, Any], into: Path) -> None:
    """Write ``plan`` to ``into``, laid out to be read and edited. Raises OSError."""
    front = {name: value for name, value in plan.items() if name not in _LAST}
    ordered = {**front, **{name: plan[name] for name in _LAST if name in plan}}
    into.write_bytes(orjson.dumps(ordered, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_tally(folder: Path, run: Mapping[str, Any], tally: Tally, again: Sequence[Sequence[str]]) -> None:
    """Write what the swarm ``run`` tried and found to ``swarm.json``, also where it found nothing. Raises OSError.

    ``again`` has, for each find, what ``harness run`` must be given to run it again.
    """
    record = {
        "schema": SCHEMA,
        "run": dict(run),
        "simulations": tally.simulations,
        "unlawful": tally.unlawful,
        "seconds": round(tally.seconds, 2),
        "shrink_seconds": round(tally.shrink_seconds, 2),
        "reached": dict(sorted(tally.reached.items())),
        "found": [
            {
                "mark": found.mark,
                "marks": found.marks,
                "after": found.after,
                "faults": found.faults,
                "calls": found.calls,
                "trials": found.trials,
                "again": ["harness", "run", *words],
            }
            for found, words in zip(tally.found, again, strict=True)
        ],
    }
    (folder / TALLY).write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def clear_finds(folder: Path) -> None:
    """Remove what an earlier swarm left in ``folder``. Raises OSError."""
    for path in (*folder.glob("found-*.json"), folder / TALLY):
        path.unlink(missing_ok=True)
