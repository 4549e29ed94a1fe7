"""Prints what durable commits cost: the store's group commit beside a commit for each call, on the same disk.

64 calls at a time each append a record of a charge's size and wait until it is on the disk, again and again. The figure
to look at is the ratio of the two rates: both depend on the disk, and their ratio on little but the number of waiters.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from harness.gateway import sqlite_store
from harness.gateway.sqlite_store import SqliteStore

WAITING = 64
SECONDS = 3.0
ROUNDS = 3
WANTED = 8.0
CHARGE = {
    "entry": 4711,
    "call": "req_0123456789abcdef01234567",
    "account": "customer-17",
    "kind": "post",
    "credits": -23,
    "amount": 23,
    "balance": 999_977,
    "flags": (),
    "lines": (("holds:customer-17", -41), ("customer:customer-17", 18), ("revenue", 23)),
    "at": 1_767_225_600_000_000,
    "ref": 4702,
}


async def committing(path: Path) -> tuple[float, list[float]]:
    """Return the commits per second of 64 calls that wait for theirs, and how long each waited in seconds."""
    store = SqliteStore(path)
    waits_s: list[float] = []
    ends = time.perf_counter() + SECONDS
    numbers = count()

    async def caller() -> None:
        while (began := time.perf_counter()) < ends:
            await store.append("entry", {**CHARGE, "entry": next(numbers)})
            waits_s.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(WAITING)))
    rate = len(waits_s) / (time.perf_counter() - began)
    await store.close()
    return rate, sorted(waits_s)


def measured(folder: Path, name: str, group: int) -> float:
    """Print and return the rate with at most ``group`` records in a commit."""
    sqlite_store.GROUP = group
    rate, waits_s = asyncio.run(committing(folder / f"{name}.sqlite"))
    p50_ms, p99_ms = (1e3 * waits_s[int(len(waits_s) * share)] for share in (0.5, 0.99))
    print(f"{name:<18} {rate:9,.0f} commits/s   wait p50 {p50_ms:7.2f} ms   p99 {p99_ms:7.2f} ms")
    return rate


def main() -> int:
    group = sqlite_store.GROUP
    ratios = []
    with tempfile.TemporaryDirectory(dir=".") as folder:  # here, and not where a file system in memory may be
        for number in range(ROUNDS):
            alone = measured(Path(folder), f"one by one {number}", 1)
            ratios.append(measured(Path(folder), f"group commit {number}", group) / alone)
    ratio = sorted(ratios)[ROUNDS // 2]
    print(f"group commit at {WAITING} waiting calls: {ratio:.1f} times the rate, {WANTED:g} wanted")
    return 0 if ratio >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
