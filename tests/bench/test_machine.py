"""CPU from /proc is that of a whole tree, of others what is left; the one who listens on a port is known."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from harness.bench import machine
from harness.bench.machine import Usage, Watch, cpu_s, free_port, listener

BURN = "import time; end = time.process_time() + 0.15\nwhile time.process_time() < end: pass\n"
NESTED = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"
pytestmark = pytest.mark.skipif(not machine.PROC.joinpath("stat").exists(), reason="no /proc")


@pytest.mark.parametrize("program", [BURN, NESTED], ids=["child", "grandchild"])
def test_the_cpu_of_a_tree_has_its_ended_children_in_it(program: str) -> None:
    before_s = cpu_s([os.getpid()])
    subprocess.run([sys.executable, "-c", program], check=True)
    assert cpu_s([os.getpid()]) - before_s >= 0.13


def test_the_cpu_of_a_living_child_counts() -> None:
    # It burns, tells, and waits to be let go.
    program = f"{BURN}\nprint(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert cpu_s([child.pid]) >= 0.13
        assert cpu_s([os.getpid()]) >= cpu_s([child.pid])
        child.communicate(b"\n")


def test_a_process_that_is_gone_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert cpu_s([child.pid]) == 0.0


def test_others_are_what_the_machine_did_less_our_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([(100.0, 50.0, 1.0, 7.0), (110.0, 62.0, 1.5, 10.0)])
    monkeypatch.setattr(Watch, "_look", lambda self: next(looks))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert Watch().usage() == Usage(others_cores=0.9, stolen_share=0.025)


def test_the_listener_of_a_port_is_the_process_that_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert listener(server.getsockname()[1]) == os.getpid()
    assert listener(free_port()) is None
