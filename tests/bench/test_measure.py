"""Blocks of a bench: one that others disturbed is measured again, and on a machine that is never quiet that is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from harness.bench import measure
from harness.bench.machine import Usage
from harness.bench.measure import Bench
from harness.bench.plan import Order
from harness.bench.subjects import Subject

QUIET, BUSY, TAKEN = Usage(0.02, 0.0), Usage(0.5, 0.0), Usage(0.0, 0.03)
MOCK = Subject(
    name="mock", host="127.0.0.1", port=1, path="/", headers={}, model="m", roots=(), about="a mock", answers=False
)


class Watched:
    """What a watch of the machine says, one block after the other."""

    def __init__(self, usages: Iterator[Usage]) -> None:
        self._usages = usages

    def usage(self) -> Usage:
        return next(self._usages)


@pytest.mark.parametrize(
    ("usages", "stand", "again"),
    [
        ((QUIET, QUIET, QUIET), [0, 1, 2], 0),
        ((BUSY, QUIET, TAKEN, BUSY, QUIET, QUIET), [1, 4, 5], 3),
        ((BUSY, BUSY, BUSY, BUSY, TAKEN, QUIET), [3, 4, 5], 3),
        ((QUIET, BUSY, BUSY, BUSY, TAKEN, BUSY), [0, 4, 5], 3),
    ],
)
def test_a_block_that_others_disturbed_does_not_stand(
    usages: tuple[Usage, ...], stand: list[int], again: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(usages)
    monkeypatch.setattr(measure, "Watch", lambda roots: Watched(said))
    bench = Bench(Order(blocks=3), [MOCK], lambda _: None)

    async def turn_itself(turn: int) -> int:
        return turn

    assert asyncio.run(bench._blocks("calls", 3, turn_itself)) == stand
    assert bench.raw.again == {"calls": again}
    assert [usage.disturbs for usage in bench._usages["calls"]] == [usages[turn].disturbs for turn in stand]
