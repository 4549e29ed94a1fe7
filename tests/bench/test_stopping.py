"""A program that was started is gone with all whom it started, also where it ended first; so is a file that is none."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from harness.bench.subjects.base import Missing, free_port, program, running

LEAVES_A_WORKER = """
import os, signal, socket, sys
held = socket.socket()
held.bind(("127.0.0.1", int(sys.argv[1])))
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    held.listen()
signal.pause()
"""


@pytest.mark.local
def test_a_worker_that_outlives_its_program_is_ended_too(tmp_path: Path) -> None:
    port = free_port()

    async def started_and_stopped() -> socket.socket:
        async with running("it", [sys.executable, "-c", LEAVES_A_WORKER, str(port)], port, tmp_path):
            return socket.create_connection(("127.0.0.1", port), timeout=10)

    # The worker never answers: its end alone ends the connection.
    with asyncio.run(started_and_stopped()) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc", "/nowhere"])
def test_a_file_that_cannot_be_run_is_no_program(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_NGINX", path)
    with pytest.raises(Missing, match="nginx is not here"):
        program("nginx", "HARNESS_NGINX", help="")
