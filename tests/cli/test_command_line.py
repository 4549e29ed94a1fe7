"""The command line as its users meet it: what it prints where, what it writes, and how it exits."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.gateway.sqlite_store import APPLICATION_ID, MIGRATIONS
from tests.cli.conftest import Shell
from tests.load.tiny import LIMITS

QUICK = "billing.an_account_reads_its_own_ledger"
SEEDS = "0..11"
"""Of two files: a line is told of each run, and there is time enough to end them in the middle."""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "billing.an_account_reads_its_own_leger"), QUICK),
        (("run", "biling"), "billing"),
        (("run", "--profile", "biling"), "billing"),
        (("run", "--requirement", "BIL-01"), "BILL-01"),
        (("run", "--target", "referense"), "reference"),
        (("run", "--mutant", "rounds_don"), "rounds_down"),
        (("run", "--seeds", "9..1"), "0..99"),
        (("run", "--seeds", "1..2", "--seed", "1"), "not both"),
        (("run", "auth", "--profile", "insurance"), "nothing selected"),
        (("rum",), "run"),
        (("limiter", "--window", "nan"), "'nan' is no number"),
        (("load", "soak", "--expect-workers", "1", "--expect-workers-max-wait", "nan"), "'nan' is no number"),
        (("load-worker", "127.0.0.1:1", "--max-wait", "inf"), "--max-wait"),
        (("serve", "upstreems"), "upstreams"),
        (("run", "--seeds", "0..999999999"), "too many"),
        (("run", "--sed", "1"), "--seed"),
        (("explain", "BILL-1"), "BILL-01"),
        (("list", "fautls"), "faults"),
        (("run", "--contract", "no/such/contract.toml"), "docs/contract.md"),
        (("run", "--requirement", "bil-*"), "did you mean 'BILL-"),
        (("run", "--claims", "x.toml"), "reference gateway"),
    ],
)
def test_a_wrong_word_names_the_right_one_and_exits_64(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = shell(*arguments)
    assert code == 64
    assert "error:" in err
    assert said in err
    assert out == ""


@pytest.mark.parametrize("what", ["scenarios", "checkers", "faults", "requirements", "targets", "mutants", "shapes"])
def test_lists_have_one_line_per_thing(shell: Shell, what: str) -> None:
    code, out, _ = shell("list", what)
    lines = out.splitlines()
    assert code == 0
    assert len(lines) >= 3
    assert all(len(line.split()) >= 2 for line in lines)


def test_explain_tells_clauses_checkers_scenarios_and_mutants(shell: Shell) -> None:
    code, out, _ = shell("explain", "bill-01")
    assert code == 0
    for word in ("rounded_up_once", "charge_matches_usage", "billing.cost_is_rounded_up_once", "rounds_down"):
        assert word in out


def test_a_run_writes_its_folder_and_exits_0(shell: Shell) -> None:
    code, out, err = shell("run", QUICK, "--workers", "1", "--out", "run")
    assert code == 0
    assert "PASS" in out
    assert QUICK in err
    folder = shell.folder / "run"
    verdict = orjson.loads((folder / "verdict.json").read_bytes())
    assert verdict["schema"] == "harness.verdict/1"
    assert verdict["requirements"]["BILL-06"]["clauses"]["own_entries"]["outcome"] == "pass"
    for name in ("run.json", "report.html", "summary.md", "junit.xml", f"{QUICK}-0/history.jsonl"):
        assert (folder / name).stat().st_size > 0, name


def test_a_mutant_is_caught_with_evidence_and_a_replay_that_fails_the_same_way(shell: Shell) -> None:
    code, out, _ = shell("run", "--requirement", "BILL-01", "--mutant", "rounds_down", "--workers", "1", "--out", "run")
    assert code == 1
    assert "FAIL" in out
    assert "expected" in out
    assert "actual" in out
    verdict = orjson.loads((shell.folder / "run" / "verdict.json").read_bytes())
    replay = verdict["requirements"]["BILL-01"]["replay"].split()
    assert replay[:2] == ["harness", "run"]
    assert "--mutant" in replay
    again, out, _ = shell(*replay[1:], "--workers", "1", "--out", "again")
    assert again == 1
    assert "BILL-01" in out


def test_a_selection_that_is_all_unsupported_is_not_green(shell: Shell) -> None:
    code, out, _ = shell("run", "insurance.at_the_threshold", "--mode", "local", "--workers", "1", "--out", "run")
    assert code == 2
    assert "UNSUPPORTED" in out


def test_judging_again_gives_the_same_verdict(shell: Shell) -> None:
    shell("run", QUICK, "--workers", "1", "--out", "run")
    before = orjson.loads((shell.folder / "run" / "verdict.json").read_bytes())
    code, out, _ = shell("judge", "run")
    after = orjson.loads((shell.folder / "run" / "verdict.json").read_bytes())
    assert code == 0
    assert "PASS" in out
    assert after["requirements"] == before["requirements"]


def test_replay_finds_the_same_bits_and_a_changed_bit(shell: Shell) -> None:
    shell("run", QUICK, "--workers", "1", "--out", "run")
    code, out, _ = shell("replay", "run")
    assert (code, out.split()[0]) == (0, "identical")
    history = shell.folder / "run" / f"{QUICK}-0" / "history.jsonl"
    history.write_bytes(history.read_bytes().replace(b'"status":200', b'"status":201', 1))
    code, out, err = shell("replay", "run")
    assert (code, out.split()[0]) == (1, "DIFFERENT")
    assert "line" in err


def test_replay_sends_a_simulated_load_again_but_not_one_that_was_interrupted(shell: Shell, process: Any) -> None:
    (shell.folder / "tiny.toml").write_text("".join(f"{name} = {value}\n" for name, value in LIMITS.items()))
    load = ("load", "ceiling-text", "--mode", "sim", "--overlay", "tiny.toml", "--seed", "4", "--out", "run", "-q")
    running = process(*load)
    running.communicate(timeout=60)
    assert running.returncode == 0
    code, out, _ = shell("replay", "run")
    assert (code, out.split()[:2]) == (0, ["identical", "load.ceiling-text"])
    path = shell.folder / "run" / "verdict.json"
    verdict = orjson.loads(path.read_bytes())
    verdict["run"]["interrupted"] = True
    path.write_bytes(orjson.dumps(verdict))
    code, _, err = shell("replay", "run")
    assert code == 64
    assert "interrupted" in err


def test_replay_refuses_a_run_of_another_mode(shell: Shell) -> None:
    shell("run", QUICK, "--workers", "1", "--out", "run")
    history = shell.folder / "run" / f"{QUICK}-0" / "history.jsonl"
    history.write_bytes(history.read_bytes().replace(b'"mode":"sim"', b'"mode":"local"', 1))
    code, _, err = shell("replay", "run")
    assert code == 64
    assert "harness judge" in err


def test_last_failed_runs_what_failed_and_says_when_nothing_did(shell: Shell) -> None:
    shell("run", QUICK, "--workers", "1")
    code, _, err = shell("run", "--last-failed")
    assert code == 64
    assert "passed" in err
    shell("run", "billing.cost_is_rounded_up_once", QUICK, "--mutant", "rounds_down", "--workers", "1")
    code, out, _ = shell("run", "--last-failed", "--list")
    assert (code, out.split()) == (0, ["billing.cost_is_rounded_up_once"])


def test_an_unwritable_folder_is_told_before_anything_runs(shell: Shell) -> None:
    (shell.folder / "file").write_text("in the way")
    code, out, err = shell("run", QUICK, "--out", "file/run")
    assert code == 64
    assert "cannot write" in err
    assert "--out" in err
    assert out == ""


@pytest.mark.parametrize("command", ["judge", "replay"])
@pytest.mark.parametrize("content", [None, b"", b"not json\n", b'{"span":"call"}\n'])
def test_a_folder_without_a_readable_run_is_refused(shell: Shell, command: str, content: bytes | None) -> None:
    (shell.folder / "run").mkdir()
    if content is not None:
        (shell.folder / "run" / "history.jsonl").write_bytes(content)
    code, _, err = shell(command, "run")
    assert code == 64
    assert "error:" in err


def test_a_contract_with_problems_tells_them_all(shell: Shell) -> None:
    (shell.folder / "bad.toml").write_text('name = "x"\nversionn = "1"\n[timeouts]\nconnect_ms = "soon"\n')
    code, _, err = shell("run", QUICK, "--target", "http://127.0.0.1:1", "--contract", "bad.toml")
    assert code == 64
    assert "versionn" in err
    assert "connect_ms" in err


def test_no_escape_codes_without_a_terminal_and_colour_when_forced(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    _, out, err = shell("run", QUICK, "--workers", "1", "--out", "run")
    assert "\x1b" not in out + err
    monkeypatch.setenv("FORCE_COLOR", "1")
    _, out, _ = shell("run", QUICK, "--workers", "1", "--out", "run")
    assert "\x1b[" in out
    monkeypatch.setenv("NO_COLOR", "1")
    _, out, _ = shell("run", QUICK, "--workers", "1", "--out", "run")
    assert "\x1b" not in out


@pytest.mark.local
def test_ctrl_c_keeps_a_partial_record_and_exits_130(process: Any, tmp_path: Path) -> None:
    running = process("run", "billing", "balances", "--seeds", SEEDS, "--out", "run")
    first = running.stderr.readline()  # some of it is done
    assert first
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted after" in out  # the headline names why
    verdict = orjson.loads((tmp_path / "run" / "verdict.json").read_bytes())
    assert verdict["run"]["interrupted"] is True
    assert verdict["exit"] == 130


@pytest.mark.parametrize(
    "arguments",
    [
        ("--key", "a=ck_x"),
        ("--upstreams", "http://127.0.0.1:1"),
        ("--mode", "remote"),
        ("--target", "http://127.0.0.1:1", "--mode", "sim"),
        ("--out", ""),
    ],
)
def test_options_that_do_not_fit_are_refused(shell: Shell, arguments: tuple[str, ...]) -> None:
    code, _, err = shell("run", QUICK, *arguments)
    assert code == 64
    assert "error:" in err
    assert not list(shell.folder.iterdir())


def test_a_folder_used_again_holds_the_new_run_alone(shell: Shell) -> None:
    shell("run", "billing.cost_is_rounded_up_once", "--mutant", "rounds_down", "--workers", "1", "--out", "run")
    code, _, _ = shell("run", QUICK, "--workers", "1", "--out", "run")
    assert code == 0
    assert shell("judge", "run")[0] == 0
    assert [path.name for path in (shell.folder / "run").iterdir() if path.is_dir()] == [f"{QUICK}-0"]


def test_a_folder_with_other_files_is_left_alone(shell: Shell) -> None:
    (shell.folder / "mine").mkdir()
    (shell.folder / "mine" / "thesis.txt").write_text("do not touch")
    code, _, err = shell("run", QUICK, "--out", "mine")
    assert code == 64
    assert "thesis.txt" in err
    assert [path.name for path in (shell.folder / "mine").iterdir()] == ["thesis.txt"]


def test_a_folder_that_another_command_writes_to_is_refused(shell: Shell) -> None:
    (shell.folder / "run").mkdir()
    held = os.open(shell.folder / "run", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, _, err = shell("run", QUICK, "--workers", "1", "--out", "run")
    finally:
        os.close(held)
    assert code == 64
    assert "another command is writing to it" in err
    assert not list((shell.folder / "run").iterdir())
    assert shell("run", QUICK, "--workers", "1", "--out", "run")[0] == 0


def test_last_failed_looks_within_what_is_selected(shell: Shell) -> None:
    shell("run", "billing.cost_is_rounded_up_once", QUICK, "--mutant", "rounds_down", "--workers", "1")
    code, out, _ = shell("run", "billing", "--last-failed", "--list")
    assert (code, out.split()) == (0, ["billing.cost_is_rounded_up_once"])


def test_a_history_of_another_schema_is_refused(shell: Shell) -> None:
    shell("run", QUICK, "--workers", "1", "--out", "run")
    history = shell.folder / "run" / f"{QUICK}-0" / "history.jsonl"
    history.write_bytes(history.read_bytes().replace(b"harness.history/1", b"harness.history/9", 1))
    code, _, err = shell("judge", "run")
    assert code == 64
    assert "harness.history/9" in err


@pytest.mark.parametrize("command", [("run", QUICK, "--workers", "1"), ("power", "bills_failed_calls")])
def test_a_command_leaves_the_signals_as_it_found_them(shell: Shell, command: tuple[str, ...]) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert shell(*command, "--out", "out")[0] == 0
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.local
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_no_worker_outlives_a_run_that_is_killed(process: Any, number: signal.Signals, code: int) -> None:
    running = process("run", "billing", "balances", "--seeds", SEEDS, "--out", "run", "--workers", "2")
    assert running.stderr.readline()
    workers = [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
    assert len(workers) == 2
    ends = [os.pidfd_open(pid) for pid in workers]
    running.send_signal(number)
    running.communicate(timeout=60)
    assert running.returncode == code
    for end in ends:
        assert select.select([end], [], [], 20)[0], "a worker lives on"
        os.close(end)


@pytest.mark.local
def test_a_worker_that_is_killed_is_told_and_exits_70(process: Any, tmp_path: Path) -> None:
    running = process("run", "billing", "balances", "--seeds", SEEDS, "--out", "run", "--workers", "2")
    assert running.stderr.readline()
    workers = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(workers[0]), signal.SIGKILL)
    out, err = running.communicate(timeout=100)
    assert running.returncode == 70
    assert "Traceback" not in out + err
    assert "a worker process was killed" in out
    assert orjson.loads((tmp_path / "run" / "verdict.json").read_bytes())["verdict"] == "error"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("gateway", "--database", "/nowhere/ledger.sqlite"), 64),
        (("gateway", "--host", "256.1.1.1"), 64),
        (("gateway", "--overlay", "shrt"), 64),
        (("gateway", "--config", '{"contract": 1}'), 64),
        (("gateway", "--config", "nonsense"), 64),
        (("upstreams", "--config", '{"listeners": {"primary": "opne"}}'), 64),
        (("upstreams", "--config", "[]"), 64),
        (("upstreams", "--config", '{"listeners": 3}'), 64),
        (("gateway", "--overlay", "short", "--config", "{}"), 64),
    ],
)
def test_a_server_that_cannot_start_says_why(shell: Shell, arguments: tuple[str, ...], code: int) -> None:
    found, out, err = shell("serve", *arguments)
    assert found == code
    assert "error:" in err
    assert out == ""


@pytest.mark.parametrize(
    ("body", "said"), [("{", "record 1 is not JSON"), ('{"entry":7,"account":"a","kind":"x","lines":[]}', "entry 7")]
)
def test_a_gateway_does_not_start_on_a_damaged_book(shell: Shell, body: str, said: str) -> None:
    path = shell.folder / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as ledger:
        ledger.execute(MIGRATIONS[0])
        ledger.execute("INSERT INTO record (kind, body) VALUES ('entry', ?)", (body,))
        ledger.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        ledger.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        ledger.commit()
    code, out, err = shell("serve", "gateway", "--database", str(path))
    assert (code, out) == (70, "")
    assert "is damaged" in err
    assert said in err
    assert "Traceback" not in err


def test_a_server_is_told_every_problem_of_its_configuration(shell: Shell) -> None:
    config = {"contract": {"nme": "x"}, "deployment": {"zero_s": "now"}, "listners": {}}
    code, _, err = shell("serve", "gateway", "--config", orjson.dumps(config).decode())
    assert code == 64
    for said in ("listners: unknown", "nme: unknown", "near: name", "zero_s", "accounts: missing", "docs/serving.md"):
        assert said in err, said


def test_an_id_is_found_whatever_its_case(shell: Shell) -> None:
    code, out, _ = shell("run", "--requirement", "bill-0*", "--list")
    assert code == 0
    assert "billing.cost_is_rounded_up_once" in out.split()


def test_a_fault_of_the_harness_itself_exits_70(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cli.catalogue.list_command", lambda what: 1 / 0)
    code, _, err = shell("list", "faults")
    assert code == 70
    assert "ZeroDivisionError" in err


@pytest.mark.local
@pytest.mark.parametrize(("arguments", "code"), [(("run", QUICK, "--out", "run"), 0), (("list", "scenarios"), 0)])
def test_a_reader_that_goes_away_changes_nothing_but_the_output(
    process: Any, arguments: tuple[str, ...], code: int
) -> None:
    running = process(*arguments)
    running.stdout.close()
    told = running.stderr.read()
    assert running.wait(timeout=60) == code
    assert "BrokenPipe" not in told
    assert "Traceback" not in told


@pytest.mark.local
def test_a_run_goes_on_when_nobody_reads_its_progress(process: Any, tmp_path: Path) -> None:
    running = process("run", "billing.cost_is_rounded_up_once", QUICK, "--mutant", "rounds_down", "--out", "run")
    running.stderr.close()
    running.stdout.close()
    assert running.wait(timeout=60) == 1
    assert len(orjson.loads((tmp_path / "run" / "verdict.json").read_bytes())["scenarios"]) == 2


@pytest.mark.local
def test_a_server_reads_on_and_ends_with_its_input_alone(process: Any) -> None:
    running = process("serve", "upstreams", "--config", "-")
    running.stdin.write('{"listeners": {"primary": "open"}}\n')
    running.stdin.flush()
    assert running.stdout.readline().startswith("ready ")
    running.stdin.write("and more\n")
    running.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(timeout=0.3)
    running.communicate(timeout=20)  # closes its input
    assert running.returncode == 0
