"""``harness load`` end to end on loopback, with ceilings that are reached in three seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import click
import orjson
import pytest

import harness.load.shapes  # noqa: F401 - registers them
from harness.checker import CHECKERS
from harness.cli.folder import run_folder
from harness.cli.load import LoadOptions, _fleet
from harness.cli.load_worker import load_worker_command
from harness.cli.suite import load as load_suite
from harness.cli.suite import make_target, target_spec
from harness.environment.load import LoadRun, run_load
from harness.history import read_history
from harness.load.shape import SHAPES, Asked
from harness.runner import rejudge
from tests.load.tiny import LIMITS, tiny

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.local


@pytest.fixture
def overlay(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text("".join(f"{name} = {value}\n" for name, value in LIMITS.items()))
    return str(path)


def command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "load", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def soaking(overlay: str, out: Path) -> tuple[subprocess.Popen[str], set[int]]:
    """Start a soak; return it, and its processes, when it has begun to send."""
    process = command("soak", "--overlay", overlay, "--out", str(out))
    assert process.stderr is not None
    for line in process.stderr:
        if "sent" in line:
            break
    return process, children_of(process.pid)


def children_of(pid: int) -> set[int]:
    """Return the processes below ``pid``, however deep."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found: set[int] = set()
    left = [pid]
    while left:
        below = parents.get(left.pop(), [])
        found.update(below)
        left += below
    return found


def test_a_gateway_that_lets_one_too_many_in_is_caught_by_the_probe_and_leaves_an_ordinary_run(
    overlay: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = command("probe-rpm", "--overlay", overlay, "--mutant", "admits_one_too_many", "--out", str(out))
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 1, (said, complained)
    assert "GOV-04" in said
    assert "harness load probe-rpm --mode local --seed 0" in said
    assert "--mutant admits_one_too_many" in said
    history = read_history(out / "load.probe-rpm-0")
    assert len(history.plan.calls) == len(history.calls) == len(history.attempts) == 51
    assert {entry.account for entry in history.ledger} >= {"a"}
    verdict = orjson.loads((out / "verdict.json").read_bytes())
    assert verdict["requirements"]["GOV-04"]["clauses"]["next_refused"]["outcome"] == "fail"
    written = {path.name for path in out.iterdir()}
    assert written >= {"load.html", "load.md", "load.json", "load-calls.csv", "load-memory.csv", "report.html"}
    assert not list(out.glob("*/rows-*"))


def test_ctrl_c_keeps_the_rows_and_leaves_no_process_behind(overlay: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process, below = soaking(overlay, out)
    assert len(below) >= 3  # upstreams, gateway, Locust
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]
    history = read_history(out / "load.soak-0")
    assert len(history.calls) < len(history.plan.calls)
    assert orjson.loads((out / "verdict.json").read_bytes())["verdict"] == "inconclusive"


def test_mocks_that_die_end_the_load_and_are_no_fault_of_the_gateway(overlay: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process, below = soaking(overlay, out)
    mocks = [pid for pid in below if b"upstreams" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(mocks[0], signal.SIGKILL)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 70, (said, complained)
    assert "the mock upstreams died (exit -9)" in said
    assert "Traceback" not in complained
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]
    assert read_history(out / "load.soak-0").calls


def test_a_starved_and_a_lost_worker_make_the_verdict_inconclusive_and_keep_the_rows(tmp_path: Path) -> None:
    load_suite()
    contract = tiny()
    asked = Asked(arrivals="constant")  # so that whenever one is stopped, some of its calls are due
    shape = SHAPES["ceiling-text"]
    run = LoadRun(
        shape=shape,
        asked=asked,
        target=make_target(target_spec("reference")),
        base=contract,
        mode="local",
        workers=2,
        folder=tmp_path / "load.ceiling-text-0",
        starve_ms=60,
    )
    ticks: list[int] = []

    def hurting(at: Mapping[str, Any]) -> None:
        """Kill one generator as soon as it has sent something; both are held up all the time."""
        if at["sent"] > 4 and not ticks:
            ticks.append(at["sent"])
            os.kill(at["pids"][1], signal.SIGKILL)

    assert asyncio.run(run_load(run, shape.build(contract, asked), contract, hurting))
    record = rejudge(run.folder, CHECKERS)
    told = "; ".join(record["doubts"])
    assert record["outcome"] == "inconclusive", record["checks"]
    assert "generator: lateness p99" in told
    assert "generator: 1 of 2 workers were lost" in told
    history = read_history(run.folder)
    assert 4 < sum(call.outcome == "ok" for call in history.calls) < 50
    assert all(history.call[attempt.call] for attempt in history.attempts)  # nothing came from nowhere
    assert len(history.plan.calls) == 50


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ceiling-txt"], "did you mean 'ceiling-text'"),
        (["trace"], "give one with --trace"),
        (["storm", "--minutes", "3"], "takes no --minutes"),
        (["ceiling-text", "--trace", "some.csv"], "takes no --trace"),
        (["agents", "--arrivals", "gamma"], "takes no --arrivals"),
        (["trace", "--trace", "none.csv"], "none.csv: No such file"),
        (["ceiling-text", "--mode", "remote"], "can be loaded in sim or local"),
        (["ceiling-text", "--mode", "sim", "--workers", "2"], "it takes no workers"),
        (["ceiling-text", "--target", "http://127.0.0.1:9", "--key", "a=ck_x"], "no gateway answered"),
        (["ceiling-text", "--minutes", "0"], "minutes"),
        (["ceiling-text", "--minutes", "inf"], "--minutes inf: at most 44,640"),
        (["ceiling-text", "--minutes", "nan"], "--minutes nan: at most 44,640"),
        (["ceiling-text", "--objective", "ttft=0"], "--objective ttft=0: give latency=MS"),
        (["ceiling-text", "--overlay", "none.toml"], "none.toml"),
        (["ceiling-text", "--apart"], "--apart goes with --expect-workers"),
        (["ceiling-text", "--expect-workers", "2", "--workers", "2"], "give one of the two"),
        (["ceiling-text", "--expect-workers", "2", "--master-bind-host", "none.invalid"], "--master-bind-port"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_anything_starts(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from harness.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["harness", "load", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (64, 69)
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_port_that_somebody_has_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from harness.cli.main import main

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(
            sys, "argv", ["harness", "load", "soak", "--web", str(port), "--out", str(tmp_path / "run")]
        )
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 64
    assert f"--web {port}: Address already in use" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_waiting_for_workers_where_others_can_reach_it_is_warned_of(
    host: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = _fleet(LoadOptions(shape="soak", expect_workers=2, master_bind_host=host, master_bind_port=0))
    assert asked is not None
    assert asked.expected == 2
    assert ("keys" in capsys.readouterr().err) is warned


@pytest.mark.parametrize("given", ["nobody", "nobody:", ":5557", "nobody:0", "nobody:65536", "nobody:-1"])
def test_a_worker_is_told_where_its_harness_is(given: str) -> None:
    with pytest.raises(click.UsageError, match="give HOST:PORT"):
        load_worker_command(given, 0)


def test_a_worker_that_finds_no_harness_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert load_worker_command(f"127.0.0.1:{port}", 0) == 69
    assert "Connection refused" in capsys.readouterr().err


def test_a_worker_takes_no_tunnel_to_nowhere_for_its_harness(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def close_at_once() -> None:
            listener.accept()[0].close()

        closing = Thread(target=close_at_once)
        closing.start()
        assert load_worker_command(f"127.0.0.1:{listener.getsockname()[1]}", 0) == 69
        closing.join()
    assert "closed at once" in capsys.readouterr().err


def test_a_load_that_came_to_no_history_does_not_block_its_folder(tmp_path: Path) -> None:
    left = tmp_path / "load.soak-0"
    left.mkdir()
    (left / "locust-0.txt").touch()
    (left / "rows-0.jsonl").touch()
    with click.Context(click.Command("load")):
        run_folder(tmp_path)
    assert not list(tmp_path.iterdir())
