"""Values of independent blocks as a mean with its 95 % confidence interval (Student's t); it knows no figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median, stdev

_T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Student's 97.5 % quantile for 1 to 30 degrees of freedom; for more the last is a little too wide, which is safe."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and the interval that holds the true one with 95 % confidence, from ``blocks`` values."""

    value: float
    low: float
    high: float
    blocks: int

    def as_json(self) -> dict[str, float]:
        """Return it as data, to four significant digits."""
        return {name: value if name == "blocks" else float(f"{value:.4g}") for name, value in asdict(self).items()}


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of at least two blocks' values with its interval."""
    if len(values) < 2:
        raise ValueError("one block has no interval")
    mean, spread = fmean(values), stdev(values) / math.sqrt(len(values))
    half = _T_975[min(len(values) - 1, len(_T_975)) - 1] * spread
    return Estimate(mean, mean - half, mean + half, len(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """Return how many times ``below`` ``above`` is: the geometric mean of the blocks' ratios, block by block."""
    logs = estimate([math.log(one / other) for one, other in zip(above, below, strict=True)])
    return Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.blocks)


def medians(values: Sequence[float], blocks: int) -> list[float]:
    """Return the median of each of ``blocks`` runs of neighbouring values; a remainder is left out.

    Too few values for one in each block give none.
    """
    size = len(values) // blocks
    if not size:
        return []
    return [median(values[start : start + size]) for start in range(0, size * blocks, size)]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
