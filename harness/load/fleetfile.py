"""The load generator as Locust's own master and workers run it; imported by ``locust`` alone.

A worker sends its share of the schedule as one of ``locustfile.py`` does. Locust's users are there to be counted: what
it starts and stops as workers come and go has no part in the load.
"""

from __future__ import annotations

import signal
import socket
import sys
import traceback
from contextlib import suppress
from typing import Any

import gevent
from locust import User, constant, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from harness.load.generator import Generator
from harness.load.line import Line
from harness.load.order import this_build, this_clock
from harness.load.post import Post, RefusedError
from harness.load.relay import Relay

EXIT_USAGE, EXIT_UNREACHABLE, EXIT_HARNESS, EXIT_INTERRUPTED = 64, 69, 70, 130
"""As docs/exit-codes.md has them."""


class Caller(User):
    """A user who does nothing, so that Locust says of a worker that it runs."""

    wait_time = constant(1)

    @task
    def be_counted(self) -> None:
        """Do nothing."""


def _begin(environment: Environment, runner: Any, **_: Any) -> None:
    if isinstance(runner, MasterRunner):
        Relay(runner, Line.inherited())
    else:
        gevent.signal_handler(signal.SIGINT, _end, environment, runner, EXIT_INTERRUPTED, "interrupted")
        gevent.spawn(_take_part, environment, runner)


events.init.add_listener(_begin)  # type: ignore[no-untyped-call]  # Locust's events have no types


def _take_part(environment: Environment, runner: WorkerRunner) -> None:
    """Send this worker's share, and wait for the harness to end it; a worker that cannot do so says why, and ends."""
    post = Post(runner)
    environment.process_exit_code = EXIT_UNREACHABLE  # unless something else becomes of it
    try:
        post.write("hello", build=this_build(), clock=this_clock(), host=socket.gethostname())
        _say("connected; it begins when all workers have come")
        Generator(post).run(environment.events.request.fire)
        if not post.unheard:
            _say("done: its share was sent, and told")
            environment.process_exit_code = 0
        while True:
            post.read()  # nothing more is asked of it: it ends with the harness
    except RefusedError as error:
        code, why = EXIT_USAGE, str(error)
    except EOFError as error:
        code, why = EXIT_UNREACHABLE, str(error)
    except Exception as error:
        traceback.print_exc()
        code, why = EXIT_HARNESS, f"{type(error).__name__}: {error}"
        with suppress(OSError):
            post.write("failed", why=why)
    _end(environment, runner, code, why)


def _end(environment: Environment, runner: WorkerRunner, code: int, why: str) -> None:
    """Say why this process ends, and end it."""
    _say(why)
    environment.process_exit_code = code
    runner.quit()


def _tell_of_its_end(environment: Environment, **_: Any) -> None:
    if environment.process_exit_code == EXIT_UNREACHABLE and isinstance(environment.runner, WorkerRunner):
        _say("ended before its share was sent")


events.quitting.add_listener(_tell_of_its_end)  # type: ignore[no-untyped-call]  # as above


def _say(text: str) -> None:
    print(f"load worker: {text}", file=sys.stderr, flush=True)
