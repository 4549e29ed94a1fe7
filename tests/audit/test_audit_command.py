"""``harness audit`` as its users meet it: what it prints and writes, and how it exits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.main import main
from tests.audit.foreign import MAP, PRICES, booked, served, write

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.toml").write_text(PRICES)
    (tmp_path / "m.toml").write_text(MAP)
    write(tmp_path / "u.csv", served("a", "b"))
    write(tmp_path / "l.csv", booked("a", "b"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run


FOREIGN = ("audit", "--upstream", "u.csv", "--ledger", "l.csv", "--prices", "p.toml", "--map", "m.toml")


def test_clean_books_exit_with_nothing_to_say(shell: Shell, tmp_path: Path) -> None:
    code, out, err = shell(*FOREIGN)
    assert (code, err) == (0, "")
    assert "2 calls, 2 clean, 0 discrepancies, 0 rows not read  exit 0" in out
    assert "up to 0.01 dollars, once a request (the price list)" in out
    record = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert (record["schema"], record["outcome"], record["exit"]) == ("harness.audit/1", "pass", 0)
    names = {path.name for path in (tmp_path / "audit").iterdir()}
    assert {"audit.json", "discrepancies.csv", "discrepancies.parquet", "unreadable.csv"} <= names
    assert not any(name.startswith(".scratch") for name in names)


def test_discrepancies_are_printed_with_their_places(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "l.csv", booked("a") + booked("b", credits=300) + booked("\x1b[31mred"))
    code, out, _ = shell(*FOREIGN, "--out", "found")
    assert code == 1
    assert "RATE_MISMATCH   1 found" in out
    assert "call b  u.csv:3 l.csv:3" in out
    assert "expected  $1.5 (150 credits)" in out
    assert "actual    $3 (300 credits)   2.0 of the printed price" in out
    assert "\x1b[31mred" not in out
    assert (tmp_path / "found" / "discrepancies.csv").read_text().count("\n") == 3


def test_rows_that_were_not_read_are_printed_and_inconclusive(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "l.csv", booked("a") + booked("b", credits="a lot"))
    code, out, _ = shell(*FOREIGN)
    assert code == 2
    assert "l.csv:3  credits 'a lot': no decimal number" in out
    assert (tmp_path / "audit" / "unreadable.csv").read_text().splitlines()[1] == (
        "l.csv,3,credits,a lot,no decimal number"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("audit",), "nothing to audit"),
        (("audit", "--upstream", "u.csv"), "--ledger is missing"),
        (("audit", "--upstream", "u.csv", "--ledger", "l.csv"), "--prices is missing"),
        (("audit", "--upstream", "u.csv", "--ledger", "l.csv", "--prices", "p.toml"), "--map is missing"),
        (("audit", ".", "--ledger", "l.csv"), "give DIR alone"),
        (("audit", "."), "holds no recorded history"),
        (("audit", "nowhere"), "holds no recorded history"),
        ((*FOREIGN, "--map", "nothing"), "no map of that name"),
        ((*FOREIGN, "--ledger", "none.csv"), "cannot read none.csv"),
        ((*FOREIGN, "--tolerance", "-1"), "--tolerance"),
        ((*FOREIGN, "--out", "p.toml"), "cannot write to p.toml"),
    ],
)
def test_what_cannot_be_audited_is_a_usage_error(shell: Shell, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = shell(*arguments)
    assert (code, out) == (64, "")
    assert message in err
    assert not Path("nowhere").exists()


def test_a_new_run_leaves_no_audit_of_the_one_before(shell: Shell, tmp_path: Path) -> None:
    run = ("run", "billing.an_account_reads_its_own_ledger", "--out", "r", "-q", "--workers", "1")
    for _ in range(2):
        assert shell(*run)[0] == 0
        assert not (tmp_path / "r" / "audit").exists()
        assert shell("audit", "r")[0] == 0


def test_files_of_one_book_are_read_together(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path / "l.csv", booked("a"))
    write(tmp_path / "l2.jsonl", booked("b"))
    assert shell(*FOREIGN, "--ledger", "l2.jsonl")[0] == 0


@pytest.mark.parametrize(("mutant", "code", "name"), [("", 0, ""), ("bills_failed_calls", 1, "CHARGED_FAILURE")])
def test_a_recorded_run_is_audited_whole_or_by_scenario(
    shell: Shell, tmp_path: Path, mutant: str, code: int, name: str
) -> None:
    extra = ("--mutant", mutant) if mutant else ()
    shell("run", "billing.failed_calls_cost_nothing", "--seed", "3", "--out", "r", "-q", "--workers", "1", *extra)
    (scenario,) = (path.parent for path in (tmp_path / "r").glob("*/history.jsonl"))
    for folder in ("r", str(scenario)):
        ended, out, _ = shell("audit", folder)
        assert ended == code
        assert name in out
        assert (Path(folder) / "audit" / "audit.json").is_file()
