"""Work over processes: everything once, a queue that learns, and a process that dies is told."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from harness.runner.pool import spread


class Countdown:
    """Each item's result asks for the next lower one: nothing is there before something else has ended."""

    def __init__(self, *starts: int) -> None:
        self.waiting = list(starts)
        self.seen: list[tuple[int, int]] = []

    def take(self) -> int | None:
        return self.waiting.pop(0) if self.waiting else None

    def ended(self, item: int, result: int) -> None:
        self.seen.append((item, result))
        if item % 10:
            self.waiting.append(item - 1)


def square(item: int) -> int:
    return item * item


def square_or_die(item: int) -> int:
    if item == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def lost(item: int, message: str) -> int:
    assert "killed" in message
    return -1


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_queue_that_learns_is_emptied(workers: int) -> None:
    queue = Countdown(13, 22)
    ended = dict(spread(queue, square, lost, workers=workers))
    assert ended == {item: item * item for item in (13, 12, 11, 10, 22, 21, 20)}
    assert dict(queue.seen) == ended


def test_what_a_killed_process_was_at_is_lost_and_the_rest_is_told_too() -> None:
    ended = dict(spread(Countdown(13), square_or_die, lost, workers=2))
    assert ended == {13: 169, 12: -1, 11: -1, 10: -1}


@pytest.mark.parametrize("workers", [1, 2])
def test_whoever_stops_early_leaves_no_work_behind(workers: int) -> None:
    queue = Countdown(19)
    with contextlib.closing(spread(queue, square, lost, workers=workers)) as ended:
        assert next(ended) == (19, 361)
    assert len(queue.seen) <= 2
