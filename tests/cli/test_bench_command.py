"""``harness bench`` on loopback, small: what it measures, writes and refuses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from reports import ReportError, render_bench
from tests.cli.conftest import Shell
from tests.reports.parsed import parse

SMALL = ("--pairs", "4", "--blocks", "2", "--seconds", "0.02", "-q")
TO_MOCKS = ("--upstreams", "http://127.0.0.1:1")


@pytest.mark.local
def test_a_bench_measures_writes_and_tells(shell: Shell, tmp_path: Path) -> None:
    targets = ["reference", *(["nginx"] if shutil.which("nginx", path="/usr/sbin:/usr/bin") else [])]
    code, out, err = shell("bench", *(f"--target={name}" for name in targets), *SMALL, "--out", "b")
    record = orjson.loads((tmp_path / "b" / "bench.json").read_bytes())
    assert code == record["exit"]
    assert code in (0, 1, 2), err  # what this machine is worth just now is not for a test to say
    assert list(record["subjects"]) == ["mock", *targets]
    told = {figure["figure"]: figure for figure in record["subjects"]["reference"]["figures"]}
    assert set(told) == {
        *("added latency", "added to the first chunk", "added between chunks", "latency", "CPU of a chunk"),
        *(
            f"{what}, {many}"
            for what in ("CPU of a call", "calls a second")
            for many in ("1 connection", "64 connections")
        ),
    }
    assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in told.values())
    assert not [doubt for doubt in record["doubts"] if "not answered whole" in doubt]
    assert set(record["noise"]["busy"]) == {"latency", "streams", "calls", "chunks"}
    assert re.search(r"^reference +[-\d,.]+ ±", out, re.MULTILINE)
    page = parse((tmp_path / "b" / "bench.html").read_text("utf-8"))
    assert page is not None
    assert "| reference |" in (tmp_path / "b" / "bench.md").read_text("utf-8")
    before = [(tmp_path / "b" / name).read_bytes() for name in ("bench.md", "bench.html")]
    render_bench(tmp_path / "b")
    assert before == [(tmp_path / "b" / name).read_bytes() for name in ("bench.md", "bench.html")]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--target", "refrence"), "did you mean 'reference'"),
        (("--target", "http://127.0.0.1:1"), "--upstreams"),
        (("--pairs", "9", "--blocks", "8"), "needs two at least"),
        (("--measure", "latencies"), "latency"),
        ((*TO_MOCKS, "--target", "http://user:hidden@127.0.0.1:1"), "--target: give the address without a user"),
        (
            ("--target", "http://127.0.0.1:1", "--upstreams", "http://user:hidden@h"),
            "--upstreams: give the address wit",
        ),
        (("--upstreams", "http://127.0.0.1:abc"), "--upstreams: give it as http://HOST:PORT: plain http"),
        (("--upstreams", "http://127.0.0.1:1/below"), "--upstreams: give it as http://HOST:PORT: plain http"),
        (("--upstreams", "127.0.0.1:1"), "--upstreams: give it as http://HOST:PORT: plain http"),
        ((*TO_MOCKS, "--target", "http://127.0.0.1:99999"), "a port from 1 to 65535"),
        ((*TO_MOCKS, "--target", "http://127.0.0.1:0"), "a port from 1 to 65535"),
        ((*TO_MOCKS, "--target", "http://[::1/v1"), "http://HOST:PORT/PATH"),
        ((*TO_MOCKS, "--target", "http://127.0.0.1:1/v1?team=x"), "nothing after that"),
        ((*TO_MOCKS, "--target", "http://127.0.0.1:1/v1 x"), "visible ASCII"),
        ((*TO_MOCKS, "--target", "https://127.0.0.1:1/v1"), "plain http"),
        (("--target", "reference", "--key", "a=hidden"), "go with --target URL alone"),
        (("--target", "reference", "--model", "m"), "go with --target URL alone"),
        ((*TO_MOCKS, "--target", "http://127.0.0.1:1", "--key", "a=hidden", "--key", "b=hidden"), "give one"),
        ((*TO_MOCKS, "--target", "http://127.0.0.1:1", "--key", "a=hidden\r\nx: y"), "a secret is visible ASCII"),
    ],
)
def test_what_cannot_be_measured_is_a_usage_error(shell: Shell, arguments: tuple[str, ...], told: str) -> None:
    code, _, err = shell("bench", *arguments)
    assert code == 64
    assert told in " ".join(err.split())
    assert "hidden" not in err
    assert not (shell.folder / "runs").exists()


@pytest.mark.local
def test_a_program_that_is_not_installed_is_refused_by_name(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_NGINX", "/nowhere")
    code, _, err = shell("bench", "--target", "nginx", *SMALL)
    assert code == 64
    assert "nginx is not here" in err


@pytest.mark.local
def test_a_gateway_by_its_address_is_measured_and_its_key_is_nowhere_told(shell: Shell, tmp_path: Path) -> None:
    # A mock takes any key, and stands in for a gateway before itself.
    with serving_mocks() as address:
        path = f"{address}/bench/second/openai/v1/chat/completions"
        code, out, err = shell(
            *("bench", "--target", path, "--upstreams", address, "--key", "a=ck_hidden", "--model", "m"),
            *("--measure", "latency", *SMALL, "--out", "b"),
        )
    record = orjson.loads((tmp_path / "b" / "bench.json").read_bytes())
    assert code == record["exit"], err
    assert list(record["subjects"]) == ["mock", path]
    assert "--model m" in record["subjects"][path]["figures"][0]["command"]
    written = b"".join(file.read_bytes() for file in (tmp_path / "b").iterdir())
    assert b"ck_hidden" not in written + out.encode() + err.encode()


@contextmanager
def serving_mocks() -> Iterator[str]:
    """Serve mock upstreams in a process of their own, and yield their address."""
    arguments = [sys.executable, "-m", "harness.cli", "serve", "upstreams", "--config", "-"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write("{}\n")
        child.stdin.flush()
        try:
            yield child.stdout.readline().split()[1]
        finally:
            child.terminate()


@pytest.mark.local
def test_mocks_that_are_not_there_are_told(shell: Shell) -> None:
    code, _, err = shell("bench", "--target", "reference", "--upstreams", "http://127.0.0.1:1", *SMALL)
    assert code == 69
    assert "takes no connection" in err


def test_a_record_that_is_none_is_not_rendered(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_bytes(orjson.dumps({"schema": "harness.bench/1", "run": {}}))
    with pytest.raises(ReportError, match="verdict"):
        render_bench(tmp_path)


def test_a_bound_without_a_ratio_is_rendered_and_one_without_the_field_is_refused(tmp_path: Path) -> None:
    goal = {"goal": "CPU", "of": "reference", "against": "stub", "bound": "at most 2", "outcome": "inconclusive"}
    run = {"command": "harness bench", "machine": {}, "left_out": [], "seed": 0, "version": "1"}
    record = {"schema": "harness.bench/1", "run": run, "verdict": "inconclusive", "exit": 2, "doubts": [], "noise": {}}
    record |= {"subjects": {}, "goals": [{**goal, "ratio": None}]}
    (tmp_path / "bench.json").write_bytes(orjson.dumps(record))
    render_bench(tmp_path)
    assert "| reference | CPU | – | at most 2 | inconclusive |" in (tmp_path / "bench.md").read_text("utf-8")
    (tmp_path / "bench.json").write_bytes(orjson.dumps({**record, "goals": [goal]}))
    with pytest.raises(ReportError, match="ratio"):
        render_bench(tmp_path)
