"""``harness load-worker``: becomes a Locust worker that another machine's harness gives a share; it sends nothing."""

from __future__ import annotations

import os
import socket
import sys
from time import monotonic, sleep  # noqa: TID251 - a person waits for another machine
from typing import NoReturn

import click

from harness.cli.terminal import fail, say
from harness.load import fleetfile_path
from harness.load.process import COMMON, environment
from harness.runner import EXIT_UNREACHABLE

AGAIN_S = 0.5
GREETING_S = 5.0
NOWHERE = "/"
"""A folder, and a home, with no file that sets up a person's Locust."""


def load_worker_command(master: str, max_wait_s: float) -> int:
    """Wait until somebody listens at ``master``, and become its worker; return the exit code if nobody does."""
    host, _, port = master.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.UsageError(f"{master}: give HOST:PORT, as harness load --expect-workers tells it")
    say(f"load worker: waiting for the harness at {master}", err=True)
    last = _unreachable(host, int(port), max_wait_s)
    if not last:
        _become_worker(host, port)
    fail(
        f"no harness waits for workers at {master}",
        cause=last,
        help=f"there: harness load SHAPE --expect-workers N --master-bind-port {port}",
    )
    return EXIT_UNREACHABLE


def _unreachable(host: str, port: int, max_wait_s: float) -> str:
    """Return why nobody could be reached, in that time; nothing if somebody was."""
    until_s = monotonic() + max_wait_s
    while True:
        try:
            with socket.create_connection((host, port), timeout=GREETING_S) as line:
                if line.recv(1):  # a master speaks first; a tunnel to nowhere is closed
                    return ""
            raise ConnectionError("the connection was closed at once")
        except OSError as error:
            if monotonic() + AGAIN_S > until_s:
                return error.strerror or str(error)
        sleep(AGAIN_S)


def _become_worker(host: str, port: str) -> NoReturn:
    """Go on as a Locust worker, in this very process: signals reach it, and nothing is left behind."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(NOWHERE)
    where = ("--worker", "--master-host", host, "--master-port", port)
    command = (sys.executable, "-m", "locust", "-f", str(fleetfile_path()), *where, *COMMON)
    os.execve(command[0], command, environment(NOWHERE))  # noqa: S606 - no shell is wanted
