"""Recorded runs: judged and replayed with what they were recorded with, and refused where that cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness import contract
from tests.cli.conftest import Shell

QUICK = "billing.an_account_reads_its_own_ledger"
ROUNDS = "billing.cost_is_rounded_up_once"
OVERLAID = "governor.waiting_in_vain"
BUILT_IN = Path(contract.__file__).parent / "data" / "hypereal"


@pytest.fixture
def mine(shell: Shell) -> str:
    """A contract of one's own: the built-in one with another wait in the queue."""
    folder = shell.folder / "mine"
    shutil.copytree(BUILT_IN, folder)
    limits = folder / "limits.toml"
    limits.write_text(limits.read_text().replace("queue_wait_ms = 2_000", "queue_wait_ms = 1_500", 1))
    return str(folder)


def verdict_in(folder: Path) -> dict[str, Any]:
    verdict: dict[str, Any] = orjson.loads((folder / "verdict.json").read_bytes())
    return verdict


@pytest.mark.parametrize("scenario", [QUICK, OVERLAID])
def test_a_replay_uses_the_recorded_contract(shell: Shell, mine: str, scenario: str) -> None:
    shell("run", scenario, "--contract", mine, "--workers", "1", "--out", "run")
    shutil.rmtree(mine)  # what was recorded is enough
    code, out, _ = shell("replay", "run")
    assert (code, out.split()[0]) == (0, "identical")


def test_a_changed_contract_without_its_origin_cannot_be_replayed(shell: Shell, mine: str) -> None:
    shell("run", OVERLAID, "--contract", mine, "--workers", "1", "--out", "run")
    (shell.folder / "run" / "contract.json").unlink()
    code, _, err = shell("replay", "run")
    assert code == 64
    assert "contract.json" in err


def test_the_printed_command_carries_the_contract_and_runs(shell: Shell, mine: str) -> None:
    shell("run", ROUNDS, "--contract", mine, "--mutant", "rounds_down", "--workers", "1", "--out", "run")
    verdict = verdict_in(shell.folder / "run")
    replay = verdict["requirements"]["BILL-01"]["replay"].split()
    assert replay[replay.index("--contract") + 1] == mine
    assert shell(*replay[1:], "--workers", "1", "--out", "again")[0] == 1
    digests = [v["scenarios"][0]["digest"] for v in (verdict, verdict_in(shell.folder / "again"))]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("command", ["judge", "replay"])
def test_several_seeds_that_passed_say_what_was_kept(shell: Shell, command: str) -> None:
    shell("run", QUICK, "--seeds", "0..1", "--workers", "1", "--out", "run")
    code, _, err = shell(command, "run")
    assert code == 64
    assert "several seeds" in err
    assert "--seed 0" in err


def test_judging_again_keeps_what_was_never_recorded(shell: Shell) -> None:
    arguments = ("--mutant", "rounds_down", "--seeds", "0..1", "--workers", "1", "--out", "run")
    shell("run", QUICK, ROUNDS, *arguments)
    before = verdict_in(shell.folder / "run")
    code, _, err = shell("judge", "run")
    after = verdict_in(shell.folder / "run")
    assert code == 1
    assert "2 of 4 scenario runs" in err
    assert after["requirements"] == before["requirements"]
    assert [r["judged_again"] for r in after["scenarios"] if r["scenario"] == QUICK] == [False, False]


def test_a_replay_leaves_nothing_beside_the_recording(shell: Shell) -> None:
    shell("run", QUICK, "--workers", "1", "--out", "run")
    before = sorted(path.name for path in (shell.folder / "run").iterdir())
    shell("replay", "run")
    assert sorted(path.name for path in (shell.folder / "run").iterdir()) == before


def test_a_history_of_a_scenario_that_is_gone_and_whose_plan_makes_none_is_refused(shell: Shell) -> None:
    shell("run", QUICK, "--workers", "1", "--out", "run")
    history = shell.folder / "run" / f"{QUICK}-0" / "history.jsonl"
    name = b'"scenario":"' + QUICK.encode()
    recorded = history.read_bytes().replace(name, b'"scenario":"billing.gone', 1)
    history.write_bytes(recorded.replace(b'"checks":["', b'"checks":["a_check_that_is_gone","', 1))
    code, _, err = shell("replay", "run")
    assert code == 64
    assert "billing.gone" in err
    assert "a_check_that_is_gone" in err
