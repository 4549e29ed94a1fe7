"""Sends a share of a load at its instants and writes down what each caller saw; it judges nothing.

One dispatcher on absolute times: it sleeps until a call is due, starts it, and goes on to the next; one that is late is
sent at once. Calls that take long or fail delay no other. Runs under gevent, in a process of Locust's own.
"""

from __future__ import annotations

import gc
import os
import time  # noqa: TID251 - the generator runs in real time, in a process of its own
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Protocol

import gevent
from gevent import Greenlet, Timeout
from gevent.monkey import get_original
from gevent.pool import Group

from harness.clients import Request, Requests
from harness.clients.exchange import Exchange
from harness.contract import Contract
from harness.load.alarm import make_alarm
from harness.load.connection import Pool
from harness.load.order import Order
from harness.scenario import Call

PROGRESS_S = 0.5
PRIORITY = -20
STOPPING_S = 1.0
"""How long calls under way may still take once the generator is told to stop."""
blocking_sleep: Callable[[float], None] = get_original("time", "sleep")
Watch = Callable[..., None]
"""Locust's request event: what its table and its page are fed with."""


class Rows(Protocol):
    """Takes what callers saw, a JSON line each; ``flush`` puts it where this process's end does no harm to it."""

    def write(self, row: bytes, /) -> object: ...

    def flush(self) -> None: ...


class Line(Protocol):
    """The way to the harness and back (``harness.load.order``). Raises EOFError, OSError, when there is none."""

    def read(self) -> dict[str, Any]: ...

    def write(self, kind: str, **value: Any) -> None: ...

    def rows(self, path: str) -> AbstractContextManager[Rows]: ...


class Generator:
    """One worker's half of a load."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.started = False
        self._stopped = False
        self._zero_us = 0
        self._calls = Group()
        self._sent = self._ended = self._late_us = 0
        self._outcomes: dict[str, int] = {}

    def run(self, watch: Watch) -> None:
        """Take the order, wait for the start, send everything, wait for the answers, and say that it is done."""
        self.started = True
        order = Order(**self._line.read()["order"])
        load, contract = order.made()
        _be_prompt()
        self._pool = Pool(order.base_url)
        self._alarm = make_alarm()
        self._order = order
        self._watch = watch
        with self._line.rows(order.rows) as self._rows:
            self._line.write("ready")
            told = self._line.read()
            if told["kind"] == "go":
                # Where clocks do not compare, the zero is so long after the order came.
                self._zero_us = told["zero_us"] if "zero_us" in told else self.now_us() + told["in_us"]
                helpers = [gevent.spawn(self._listen), gevent.spawn(self._report)]
                helpers += [gevent.spawn(_starve, order.starve_ms / 1e3)] if order.starve_ms else []
                try:
                    self._dispatch(load.share(contract, order.index, order.workers), contract)
                    self._calls.join(timeout=STOPPING_S if self._stopped else None)
                finally:
                    self._calls.kill(block=True)
                    gevent.killall(helpers)
        with suppress(OSError):
            self._line.write("done", **self._progress(), stopped=self._stopped)
        self._pool.close()
        self._alarm.close()

    def now_us(self) -> int:
        """Return the time since the load's zero."""
        return time.monotonic_ns() // 1000 - self._zero_us

    def _dispatch(self, calls: Iterator[Call], contract: Contract) -> None:
        requests = Requests(contract)
        for call in calls:
            assert call.at_ms is not None
            at_us = round(call.at_ms * 1000)
            key, secret = self._order.keys[call.account]
            request = requests.build(call, secret)  # made ahead of its time, while nothing is due
            self._wait_until(at_us)
            if self._stopped:
                return
            self._sent += 1
            self._calls.start(Greenlet(self._perform, call, request, key, at_us))

    def _wait_until(self, at_us: int) -> None:
        """Return at that instant, or as soon as those under way had their turn: what was sent must be read."""
        if at_us > self.now_us():
            self._alarm.wait_until(self._zero_us + at_us)
        else:
            gevent.sleep(0)

    def _perform(self, call: Call, request: Request, key: str, at_us: int) -> None:
        exchange = Exchange(call, self.now_us)
        self._late_us = max(self._late_us, exchange.sent - at_us)
        try:
            with Timeout(self._order.limit_s):
                self._pool.perform(request, exchange)
        except (Timeout, gevent.GreenletExit):
            exchange.left = "open"
        span, line, _ = exchange.finished(key, len(request.body), request.credentials)
        self._rows.write(line)
        self._ended += 1
        outcome = span["outcome"]
        self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        self._tell_locust(call, span)

    def _tell_locust(self, call: Call, span: dict[str, Any]) -> None:
        wrong = None if span["outcome"] == "ok" else RuntimeError(f"{span['outcome']} {span['status'] or ''}".strip())
        name = f"{call.surface} {call.model}"
        fire = self._watch
        fire(
            request_type="CALL",
            name=name,
            response_time=(span["end"] - span["sent"]) / 1e3,
            response_length=span["answer_bytes"],
            exception=wrong,
            context={},
        )
        if span["stream"] and span["first_content"] is not None:
            fire(
                request_type="TTFT",
                name=name,
                response_time=(span["first_content"] - span["sent"]) / 1e3,
                response_length=0,
                exception=None,
                context={},
            )

    def _listen(self) -> None:
        """Stop when told to, or when the harness is gone."""
        with suppress(EOFError, OSError):
            self._line.read()
        self._stopped = True
        self._alarm.ring()

    def _report(self) -> None:
        while True:
            gevent.sleep(PROGRESS_S)
            with suppress(OSError):
                self._rows.flush()  # what a killed worker has seen so far is kept
                self._line.write("progress", **self._progress())

    def _progress(self) -> dict[str, Any]:
        late, self._late_us = self._late_us, 0
        return {
            "sent": self._sent,
            "ended": self._ended,
            "outcomes": self._outcomes,
            "late_us": late,
            "cpu_s": time.process_time(),
            "starved": self._pool.starved,
        }


def _starve(hold_s: float) -> None:
    """Hold the whole process up for a part of every second, as a machine does that has something else to do."""
    while True:
        gevent.sleep(1 - hold_s)
        blocking_sleep(hold_s)


def _be_prompt() -> None:
    """Go before others where the system allows it, and look for no garbage among what stays.

    A generator that waits for the gateway under test to leave it a core measures itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        Path("/proc/self/autogroup").write_text(str(PRIORITY))  # where Linux shares cores out by session
