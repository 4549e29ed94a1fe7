"""Whether a load's processes kept their memory or grew with the calls; no requirement names it, the shape promises it.

Judged is the later half of the calls, when caches and pools are full: the slope between the means of ten blocks of
samples, the median of that of every pair (Theil and Sen), with its 95 % interval. A step or two, as an allocator makes
them, are no slope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, pairwise
from statistics import median
from typing import Any

from harness.checker import Outcome
from harness.history import History

NOTE = "memory"
"""The notes that have the samples: ``resident``, bytes by process, and ``ended``, how many calls had ended by then."""
GATEWAY = "gateway"
MB = 1 << 20
CALLS = 10_000
"""Slopes are told in MB for each so many calls."""
ALLOWED_MB = 1.0
"""What a process may grow by for each so many calls, and still be called flat: a hundred bytes a call."""
FLOOR_MB = 2.0
"""Growth in all that proves nothing: allocators and page caches take and give that much at a time."""
_BLOCKS = 10
_BEYOND = 10
"""How many of the 45 pairs' slopes lie on either side of the 95 % interval (Kendall's distribution for ten points)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process had in memory when so many calls had ended."""

    calls: int
    resident: int


@dataclass(frozen=True, slots=True)
class Memory:
    """A process's memory over a load (MB), and how much it grew for each 10,000 calls of the later half.

    Of a gateway that is not the harness's own process nothing is known.
    """

    process: str
    outcome: str
    at_start: float | None = None
    most: float | None = None
    slope: float | None = None
    low: float | None = None
    high: float | None = None
    """The 95 % interval of the slope."""
    why: str = ""
    promised: bool = False
    """Whether the load is judged by it."""


def memory_of(history: History) -> list[dict[str, Any]]:
    """Return the memory of each process, as it is told in the record; nothing if none was looked at."""
    flat = bool(history.plan.options.get("load", {}).get("flat"))
    found: dict[str, list[Sample]] = {}
    for note in history.notes:
        if note.kind == NOTE:
            for process, resident in note.detail["resident"].items():
                found.setdefault(process, []).append(Sample(note.detail["ended"], resident))
    told = [judged(process, samples) for process, samples in found.items()]
    if found and GATEWAY not in found:
        told.append(Memory(GATEWAY, Outcome.UNSUPPORTED.value, why="not seen: the harness did not start it"))
    return [asdict(replace(one, promised=flat and one.process == GATEWAY)) for one in told]


def judged(process: str, samples: Sequence[Sample]) -> Memory:
    """Return what ``samples``, in order, say of a process; unsupported where they are too few to say anything.

    Fail only if all of the slope's interval is over the allowance, and the growth over the floor; pass only if all of
    it is within the allowance, or the growth within the floor in so many calls that the allowance is more.
    """
    at_start = round(samples[0].resident / MB, 1)
    most = round(max(sample.resident for sample in samples) / MB, 1)
    last = samples[-1].calls
    later = [sample for sample in samples if 2 * sample.calls >= last]
    blocks = [_mean(later[len(later) * n // _BLOCKS : len(later) * (n + 1) // _BLOCKS]) for n in range(_BLOCKS)]
    if len(later) < 2 * _BLOCKS or any(a[0] >= b[0] for a, b in pairwise(blocks)):
        return Memory(process, Outcome.UNSUPPORTED.value, at_start, most, why="too short a load to tell")
    slope, low, high = told = _slope(blocks)
    grown_mb = blocks[-1][1] - blocks[0][1]
    text = f"{slope:g} MB ({low:g} to {high:g}) for each {CALLS:,} calls of the later half, {ALLOWED_MB:g} allowed"
    if low > ALLOWED_MB and grown_mb > FLOOR_MB:
        return Memory(process, Outcome.FAIL.value, at_start, most, *told, f"grew by {text}")
    if last / 2 * ALLOWED_MB / CALLS < FLOOR_MB:
        why = f"a slow leak shows in {2 * FLOOR_MB / ALLOWED_MB * CALLS:,.0f} calls at the least"
        return Memory(process, Outcome.UNSUPPORTED.value, at_start, most, *told, why)
    if high <= ALLOWED_MB or grown_mb <= FLOOR_MB:
        return Memory(process, Outcome.PASS.value, at_start, most, *told)
    return Memory(process, Outcome.INCONCLUSIVE.value, at_start, most, *told, f"may have grown by {text}")


def _mean(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return the mean of calls and of memory (MB)."""
    count = max(1, len(samples))
    return sum(one.calls for one in samples) / count, sum(one.resident for one in samples) / count / MB


def _slope(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the slope of ``points`` for each 10,000 calls, and its 95 % interval."""
    slopes = sorted(
        (after[1] - before[1]) / (after[0] - before[0]) * CALLS for before, after in combinations(points, 2)
    )
    return round(median(slopes), 2), round(slopes[_BEYOND], 2), round(slopes[-1 - _BEYOND], 2)


def memory_grew(history: History) -> list[str]:
    """Return how processes of ours grew, a sentence each: a leak there is no gateway's, but the load's own fault."""
    return [
        f"{one['process']}: {one['why']}"
        for one in memory_of(history)
        if one["process"] != GATEWAY and one["outcome"] == Outcome.FAIL.value
    ]
