"""What memory and CPU processes take, as /proc tells it: on Linux alone, and nothing of what has ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGESIZE")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def resident(roots: Mapping[str, int]) -> dict[str, int]:
    """Return, by name, the resident bytes of each process of ``roots`` (its id) and of all below it that are no roots.

    What two of them share is counted twice. One that cannot be seen is left out.
    """
    return dict(_summed(roots, _resident))


class Cores:
    """The cores that processes and all below them use, from the first look at each to the last that it was there."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, float]] = {}
        self._last: dict[str, tuple[float, float]] = {}

    def look(self, now_s: float, roots: Mapping[str, int]) -> None:
        """Take what each process has used until now."""
        for name, used_s in _summed(roots, _used_s):
            self._last[name] = (now_s, used_s)
            self._first.setdefault(name, self._last[name])

    def used(self) -> dict[str, float]:
        """Return the cores by name; nothing of what was seen once."""
        spans = {name: (*self._first[name], *last) for name, last in self._last.items()}
        return {
            name: round((used - had) / (at - since), 3) for name, (since, had, at, used) in spans.items() if at > since
        }


def _summed(roots: Mapping[str, int], of: Callable[[int], float | None]) -> Iterator[tuple[str, Any]]:
    others = frozenset(roots.values())
    for name, pid in roots.items():
        told = [one for one in map(of, _tree(pid, others)) if one is not None]
        if told:
            yield name, sum(told)


def _resident(pid: int) -> int | None:
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        pages = 0
    return pages * _PAGE or None  # it has ended, though it may not have been waited for


def _used_s(pid: int) -> float | None:
    """Return the CPU seconds of a process and of the children that it has waited for."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:  # it has ended
        return None
    return sum(map(int, fields[11:15])) * _TICK_S


def _tree(pid: int, others: frozenset[int]) -> Iterator[int]:
    yield pid
    try:
        for task in (PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text().split():
                if int(child) not in others:
                    yield from _tree(int(child), others)
    except OSError:
        return
