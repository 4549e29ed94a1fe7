"""``harness power`` and ``harness merge``: what they catch, what they refuse, and that both can fail."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.checker import Checker
from harness.cli import power as command
from harness.cli.suite import load
from harness.contract import load_contract
from harness.gateway.components import Components
from harness.gateway.pipeline import Pipeline
from harness.mutants import MUTANTS, Mutant
from harness.runner.power import Subject, subjects
from harness.scenario import SCENARIOS
from tests.cli.conftest import Shell

QUICK = (
    "billing.cost_is_rounded_up_once",
    "billing.an_account_reads_its_own_ledger",
    "auth.every_form_where_it_is_accepted",
)
WRITTEN = ("power.json", "power.md", "power.svg", "power.html", "run.json")


class Failing(Pipeline):
    """Fails at its first call, in a way that nobody handles."""

    failed = False

    def identify(self, parts: Any, call: Any) -> None:
        super().identify(parts, call)
        if not self.failed:
            self.failed = True
            raise RuntimeError("not of this world")


def fails_and_rounds(parts: Components) -> Components:
    wrong: Components = MUTANTS["rounds_down"].apply(parts)
    return replace(wrong, pipeline=Failing())


class BreakingOff(Pipeline):
    """Stops each answer in its middle, raising nothing."""

    async def run(self, parts: Any, endpoint: Any, client: Any) -> None:
        await client.send({"type": "http.response.start", "status": 200, "headers": []})
        await client.send({"type": "http.response.body", "body": b"{", "more_body": True})


def raises(parts: Components) -> Components:
    raise ValueError("no such component")


def exits(parts: Components) -> Components:
    sys.exit(0)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three quick scenarios be all there are."""
    load()

    def quick(*arguments: Any) -> list[Subject]:
        return [subject for subject in subjects(*arguments) if subject.name in QUICK]

    monkeypatch.setattr(command, "subjects", quick)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what makes some registered mutants, and mutants of the test's own, all that there are."""

    def leave(*names: str, **own: tuple[str, Callable[[Components], Components]]) -> None:
        for name in [name for name in MUTANTS if name not in names]:
            monkeypatch.delitem(MUTANTS, name)
        for name, (breaks, apply) in own.items():
            monkeypatch.setitem(MUTANTS, name, Mutant(name, breaks, "Says so.", apply))

    return leave


def record_of(shell: Shell, folder: str) -> dict[str, Any]:
    record: dict[str, Any] = orjson.loads((shell.folder / folder / "power.json").read_bytes())
    return record


def test_a_mutant_is_caught_by_its_own_requirement_and_its_replay_fails_again(shell: Shell) -> None:
    code, out, err = shell("power", "rounds_down", "--workers", "1", "--out", "p")
    assert (code, err.split()[0]) == (0, "KILLED")
    assert "1 of 1 mutants caught" in out
    record = record_of(shell, "p")
    mutant = record["mutants"]["rounds_down"]
    assert mutant["status"] == "killed"
    evidence = mutant["evidence"]
    assert (evidence["requirement"], evidence["scenario"]) == ("BILL-01", QUICK[0])
    assert evidence["expected"] != evidence["actual"]
    assert record["requirements"]["BILL-01"]["interval"] == [0.2065, 1.0]
    assert record["false_alarms"]["alarms"] == 0
    for name in WRITTEN:
        assert (shell.folder / "p" / name).stat().st_size > 0
    again, out, _ = shell(*evidence["replay"].split()[1:], "--workers", "1", "--out", "again")
    assert again == 1
    assert "BILL-01" in out


def test_a_mutant_equal_to_the_reference_survives_and_fails_the_command(
    shell: Shell, only: Callable[..., None]
) -> None:
    only("rounds_down", is_right=("BILL-01", lambda parts: parts))
    code, out, err = shell("power", "is_right", "rounds_down", "--workers", "2", "--out", "p")
    assert code == 1
    assert "SURVIVED" in out
    assert "SURVIVED" in err
    record = record_of(shell, "p")
    assert record["mutants"]["is_right"]["status"] == "survived"
    assert record["mutants"]["rounds_down"]["status"] == "killed"
    assert record["requirements"]["BILL-01"]["power"] == 0.5
    assert "is_right" in (shell.folder / "p" / "power.md").read_text("utf-8").replace("\\", "")


def test_what_only_another_requirement_sees_is_told_as_such(shell: Shell, only: Callable[..., None]) -> None:
    rounds_down = MUTANTS["rounds_down"].apply
    judged = {check.requirement for check in SCENARIOS[QUICK[0]](load_contract()).checks} - {"BILL-01"}
    only(lies_elsewhere=(min(judged), rounds_down))
    code, out, _ = shell("power", "--full", "lies_elsewhere", "--workers", "1", "--out", "p")
    assert code == 1
    assert "seen, but not by their own requirement" in out
    mutant = record_of(shell, "p")["mutants"]["lies_elsewhere"]
    assert mutant["status"] == "elsewhere"
    assert "BILL-01" in mutant["why"]


def test_what_raises_or_crashes_is_errored_and_never_a_kill(shell: Shell, only: Callable[..., None]) -> None:
    own = {
        name: ("BILL-01", apply)
        for name, apply in (("raised", raises), ("exited", exits), ("crashed", fails_and_rounds))
    }
    only("rounds_down", **own)
    code, out, _ = shell("power", *own, "--full", "--workers", "2", "--out", "p")
    assert code == 70
    mutants = record_of(shell, "p")["mutants"]
    assert {mutant["status"] for mutant in mutants.values()} == {"errored"}
    assert mutants["raised"]["errors"][0]["kind"] == "creation"
    assert "no such component" in mutants["raised"]["why"]
    assert mutants["crashed"]["errors"][0]["kind"] == "gateway"
    assert "RuntimeError at test_power_command.py" in mutants["crashed"]["why"]
    assert any(trip["own"] for trip in mutants["crashed"]["tripped"])
    assert "ended the process" in mutants["exited"]["why"]
    assert "3 errored" in out


def test_an_answer_that_breaks_off_is_for_checkers_and_no_crash(shell: Shell, only: Callable[..., None]) -> None:
    only(breaks_off=("AUTH-01", lambda parts: replace(parts, pipeline=BreakingOff())))
    shell("power", "breaks_off", "--workers", "1", "--out", "p", "-q")
    mutant = record_of(shell, "p")["mutants"]["breaks_off"]
    assert mutant["errors"] == []
    assert mutant["status"] != "errored"


def test_a_checker_that_crashes_on_a_mutant_has_not_caught_it(
    shell: Shell, only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(*_: Any) -> None:
        raise KeyError("credits")

    checks = SCENARIOS[QUICK[0]](load_contract()).checks
    rounded = next(check for check in checks if check.requirement == "BILL-01")
    monkeypatch.setattr(Checker, "__call__", _crashing_for(rounded.name, judge))
    only("rounds_down")
    code, _, _ = shell("power", "rounds_down", "--workers", "1", "--out", "p")
    mutant = record_of(shell, "p")["mutants"]["rounds_down"]
    assert code == 70
    assert mutant["status"] == "errored"
    assert mutant["errors"][0]["kind"] == "checker"


def _crashing_for(name: str, judge: Callable[..., None]) -> Callable[..., Any]:
    whole = Checker.__call__

    def call(self: Checker, history: Any, contract: Any) -> Any:
        return whole(
            replace(self, judge=judge) if self.name == name and history.plan.mutant else self, history, contract
        )

    return call


def test_a_claimed_requirement_without_a_mutant_fails_the_whole(shell: Shell, only: Callable[..., None]) -> None:
    only("rounds_down")
    code, out, _ = shell("power", "--workers", "1", "--out", "p", "-q")
    assert code == 1
    assert "claimed, and no mutant breaks it: AUTH-01" in out
    assert record_of(shell, "p")["requirements"]["BILL-01"]["state"] == "noticed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("power", "rounds_don"), "rounds_down"),
        (("power", "--shard", "3/2"), "1/4"),
        (("power", "rounds_down", "--shard", "2/2"), "nothing is left"),
        (("power", "rounds_down", "--clean", "nowhere"), "verdict.json"),
        (("run", QUICK[1], "--shard", "2/2"), "nothing is left"),
        (("run", "--shard", "1/2", "--last-failed"), "--last-failed"),
        (("merge", "nowhere", "--out", "whole"), "nowhere"),
        (("merge", "nowhere"), "--out"),
    ],
)
def test_what_cannot_be_asked_is_refused(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = shell(*arguments)
    assert code == 64
    assert said in err
    assert out == ""


def test_an_interrupted_campaign_keeps_what_it_found(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = command.run_campaign

    def stopped(*arguments: Any, **options: Any) -> Iterator[Any]:
        for number, ended in enumerate(whole(*arguments, **options)):
            yield ended
            if number == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_campaign", stopped)
    code, out, _ = shell("power", "rounds_down", "bills_cached_tokens_twice", "--workers", "1", "--out", "p")
    assert code == 130
    assert "partial" in out
    record = record_of(shell, "p")
    assert record["run"]["interrupted"]
    assert (record["counts"]["killed"], record["counts"]["not_asked"]) == (1, 1)
    assert "partial" in (shell.folder / "p" / "power.html").read_text("utf-8")


def test_clean_runs_of_this_gateway_count_and_others_are_refused(shell: Shell) -> None:
    shell("run", QUICK[1], "--seeds", "5..7", "--workers", "1", "--out", "clean", "-q")
    code, _, _ = shell("power", "rounds_down", "--clean", "clean", "--workers", "1", "--out", "p", "-q")
    assert code == 0
    alarms = record_of(shell, "p")["false_alarms"]
    assert alarms["runs"] == 4
    assert "clean, 3 seeds" in alarms["sources"]
    shell("run", QUICK[1], "--mutant", "rounds_down", "--workers", "1", "--out", "wrong", "-q")
    code, _, err = shell("power", "rounds_down", "--clean", "wrong", "--out", "p")
    assert code == 64
    assert "rounds_down" in err


def test_power_shards_merge_into_the_whole_or_are_refused(shell: Shell, only: Callable[..., None]) -> None:
    only("rounds_down", is_right=("BILL-01", lambda parts: parts))
    names = ("is_right", "rounds_down", "--workers", "1", "-q")
    whole = shell("power", *names, "--out", "whole")[0]
    codes = [shell("power", *names, "--shard", f"{index}/2", "--out", f"s{index}")[0] for index in (1, 2)]
    assert sorted(codes) == [0, 1]
    code, _, err = shell("merge", "s1", "--out", "merged")
    assert code == 64
    assert "missing: shard 2/2" in err
    assert not (shell.folder / "merged").exists()
    code, out, _ = shell("merge", "s2", "s1", "--out", "merged")
    assert code == whole == 1
    assert "1 of 2 mutants caught" in out
    one, other = record_of(shell, "whole"), record_of(shell, "merged")
    for field in ("verdict", "exit", "counts", "requirements", "areas", "false_alarms"):
        assert one[field] == other[field], field
    assert _untimed(one["mutants"]) == _untimed(other["mutants"])
    shell("power", *names, "--shard", "2/2", "--seed", "4", "--out", "s3")
    code, _, err = shell("merge", "s1", "s3", "--out", "merged")
    assert code == 64
    assert "seed differs" in err


def _untimed(mutants: dict[str, Any]) -> Any:
    return {name: {**mutant, "cpu_s": 0} for name, mutant in mutants.items()}


def test_run_shards_merge_into_the_whole(shell: Shell) -> None:
    asked = ("run", *QUICK[:2], "--mutant", "rounds_down", "--seeds", "3..4", "--workers", "1", "-q")
    whole = shell(*asked, "--out", "whole")[0]
    for index in (1, 2):
        shell(*asked, "--shard", f"{index}/2", "--out", f"s{index}")
    code, out, _ = shell("merge", "s1", "s2", "--out", "merged")
    assert code == whole == 1
    assert "BILL-01" in out
    one, other = (orjson.loads((shell.folder / f / "verdict.json").read_bytes()) for f in ("whole", "merged"))
    for field in ("verdict", "exit", "counts", "requirements"):
        assert one[field] == other[field], field
    ran = [(record["scenario"], record["seed"], record["digest"]) for record in other["scenarios"]]
    assert sorted(ran) == sorted((r["scenario"], r["seed"], r["digest"]) for r in one["scenarios"])
    assert _histories(shell.folder / "merged") == _histories(shell.folder / "whole")
    for index in (1, 2):
        assert len(_scenarios(shell.folder / f"s{index}")) == 2
    shutil.copytree(shell.folder / "s1", shell.folder / "copy")
    code, _, err = shell("merge", "s1", "copy", "s2", "--out", "twice")
    assert code == 64
    assert "s1 and copy" in err


def _histories(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/history.jsonl"))


def _scenarios(folder: Path) -> list[Any]:
    found: list[Any] = orjson.loads((folder / "verdict.json").read_bytes())["scenarios"]
    return found


def test_the_same_record_renders_to_the_same_bytes(shell: Shell) -> None:
    from reports import render_power

    shell("power", "rounds_down", "--workers", "1", "--out", "p", "-q")
    folder = shell.folder / "p"
    before = {name: (folder / name).read_bytes() for name in WRITTEN}
    render_power(folder)
    assert {name: (folder / name).read_bytes() for name in WRITTEN} == before
