"""How much memory processes have, as /proc tells it; Linux alone: elsewhere, and of what has ended, nothing is told."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGESIZE")


def resident(roots: Mapping[str, int]) -> dict[str, int]:
    """Return, by name, the resident bytes of each process of ``roots`` (its id) and of all below it that are no roots.

    What two of them share is counted twice. One that cannot be seen is left out.
    """
    found = {}
    others = frozenset(roots.values())
    for name, pid in roots.items():
        sizes = [size for size in map(_resident, _tree(pid, others)) if size]
        if sizes:
            found[name] = sum(sizes)
    return found


def _resident(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):  # it has ended
        return 0


def _tree(pid: int, others: frozenset[int]) -> Iterator[int]:
    yield pid
    try:
        for task in (PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text().split():
                if int(child) not in others:
                    yield from _tree(int(child), others)
    except OSError:
        return
