"""What counts prove about a share: intervals from exact or score statistics, on the standard library alone."""

from __future__ import annotations

from math import exp, expm1, lgamma, log, log1p, sqrt
from statistics import NormalDist

CONFIDENCE = 0.95


def wilson(hits: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's two-sided interval for the share behind ``hits`` of ``trials``; all of [0, 1] for no trial."""
    if not trials:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = hits / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    # Rounding must not push an end past the share that was seen.
    return (0.0 if hits == 0 else middle - half), (1.0 if hits == trials else middle + half)


def upper_bound(hits: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Return Clopper and Pearson's exact one-sided bound: a greater share gives so few hits too rarely to be believed.

    For no hit at all it is 1 - (1 - confidence) ** (1 / trials), the rule of three: about 3 / trials.
    """
    if hits >= trials:
        return 1.0
    if not hits:
        return -expm1(log(1 - confidence) / trials)
    low, high = hits / trials, 1.0
    while low < (middle := (low + high) / 2) < high:
        if _at_most(hits, trials, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(hits: int, trials: int, share: float) -> float:
    """Return the probability of ``hits`` or fewer of ``trials`` at ``share``, which lies strictly between 0 and 1."""
    ways = lgamma(trials + 1)
    return sum(
        exp(ways - lgamma(k + 1) - lgamma(trials - k + 1) + k * log(share) + (trials - k) * log1p(-share))
        for k in range(hits + 1)
    )
