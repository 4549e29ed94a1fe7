"""The limiters of the textbooks, exact: instants are whole microseconds, levels are fractions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from random import Random

from harness.load.observations import Observation

Ask = Callable[[int], bool]
"""Asks a limiter at an instant, never before the one asked last, whether it lets a call in."""


def sliding_log(limit: int, window: int, *, refusals: bool = False) -> Ask:
    entries: list[int] = []

    def ask(at: int) -> bool:
        entries[:] = [one for one in entries if at - one < window]
        admitted = len(entries) < limit
        if admitted or refusals:
            entries.append(at)
        return admitted

    return ask


def counting_log(limit: int, window: int) -> Ask:
    return sliding_log(limit, window, refusals=True)


def fixed_window(limit: int, window: int, phase: int) -> Ask:
    used = Counter[int]()

    def ask(at: int) -> bool:
        number = (at - phase) // window
        used[number] += 1
        return used[number] <= limit

    return ask


def first_call_window(limit: int, window: int) -> Ask:
    start, used = -window, 0

    def ask(at: int) -> bool:
        nonlocal start, used
        if at - start >= window:
            start, used = at, 0
        used += 1
        return used <= limit

    return ask


def token_bucket(burst: int, interval: int) -> Ask:
    level, since = Fraction(burst), 0

    def ask(at: int) -> bool:
        nonlocal level, since
        level, since = min(Fraction(burst), level + Fraction(at - since, interval)), at
        admitted = level >= 1
        level -= admitted
        return admitted

    return ask


def gcra(interval: int, tolerance: int) -> Ask:
    arrival = 0  # the theoretical one

    def ask(at: int) -> bool:
        nonlocal arrival
        if at < arrival - tolerance:
            return False
        arrival = max(at, arrival) + interval
        return True

    return ask


def sliding_counter(limit: int, window: int, phase: int, *, down: bool = True) -> Ask:
    used = Counter[int]()

    def ask(at: int) -> bool:
        number, passed = divmod(at - phase, window)
        slides = Fraction(used[number - 1] * (window - passed), window)
        admitted = (int(slides) if down else slides) + used[number] + 1 <= limit
        used[number] += admitted
        return admitted

    return ask


def asked(limiter: Ask, times_us: Iterable[int], rng: Random, blur_us: int = 0) -> list[Observation]:
    """Return what is seen of a limiter asked at ``times_us``: each instant somewhere in an interval of that width."""
    seen = []
    for number, at in enumerate(sorted(times_us)):
        early = rng.randint(0, blur_us)
        seen.append(Observation(f"c{number}", at - early, at - early + blur_us, limiter(at)))
    return seen
