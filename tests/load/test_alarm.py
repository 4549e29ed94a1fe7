"""The generator's alarm rings at its instant and not before it, lets others run meanwhile, and can be rung by hand."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.hub import get_hub

from harness.load.alarm import Alarm, KernelAlarm, SleepingAlarm, make_alarm


@pytest.fixture(params=[KernelAlarm, SleepingAlarm])
def alarm(request: pytest.FixtureRequest) -> Iterator[Alarm]:
    made = request.param()
    yield made
    made.close()
    get_hub().destroy()


def now_us() -> int:
    return time.monotonic_ns() // 1000


def test_it_rings_no_earlier_than_it_is_to(alarm: Alarm) -> None:
    for ahead_us in (300, 1_700, 50):
        at_us = now_us() + ahead_us
        alarm.wait_until(at_us)
        assert now_us() >= at_us


def test_it_rings_at_once_for_what_is_past(alarm: Alarm) -> None:
    alarm.wait_until(now_us() - 1_000_000)


def test_others_run_while_it_is_waited_for(alarm: Alarm) -> None:
    turns = gevent.spawn(lambda: [gevent.sleep(0) for _ in range(3)])
    waiting = gevent.spawn(alarm.wait_until, now_us() + 3_600_000_000)
    turns.join()
    assert not waiting.ready()
    alarm.ring()
    waiting.join()


def test_a_ring_that_nobody_waits_for_wakes_nobody_later(alarm: Alarm) -> None:
    alarm.ring()
    gevent.sleep(0.001)
    waiting = gevent.spawn(alarm.wait_until, now_us() + 3_600_000_000)
    gevent.sleep(0.001)
    assert not waiting.ready()
    alarm.ring()
    waiting.join()


def test_a_ring_that_was_put_off_before_it_was_heard_troubles_nobody() -> None:
    made = KernelAlarm()
    made._set(now_us() + 3_600_000_000)
    made._rung()  # as when another answer came between the two
    waiting = gevent.spawn(made.wait_until, now_us() + 100)
    waiting.join()
    made.close()
    get_hub().destroy()


def test_it_gives_its_timer_back() -> None:
    before = timers()
    made = make_alarm()
    assert timers() == before + 1
    made.close()
    assert timers() == before


def timers() -> int:
    folder = Path("/proc/self/fd")
    return sum("timerfd" in os.readlink(link) for link in folder.iterdir() if link.is_symlink())
