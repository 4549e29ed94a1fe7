"""Saved plans on the command line: what is run again is what was run, and the right gateway can be put in its place."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness import contract
from harness.cli.run import RunOptions
from harness.cli.saved import as_recorded, asked_differently
from tests.cli.conftest import Shell

ROUNDS = "billing.cost_is_rounded_up_once"
HISTORY = f"run/{ROUNDS}-0"
BUILT_IN = Path(contract.__file__).parent / "data" / "hypereal"


@pytest.fixture
def broken(shell: Shell) -> Shell:
    """A shell beside whose folder ``run`` stands: a mutant that was caught."""
    assert shell("run", ROUNDS, "--mutant", "rounds_down", "--workers", "1", "--out", "run")[0] == 1
    return shell


@pytest.fixture
def mine(shell: Shell) -> str:
    """A contract of one's own: the built-in one with another wait in the queue."""
    folder = shell.folder / "mine"
    shutil.copytree(BUILT_IN, folder)
    limits = folder / "limits.toml"
    limits.write_text(limits.read_text().replace("queue_wait_ms = 2_000", "queue_wait_ms = 1_500", 1))
    return str(folder)


def record_in(folder: Path) -> dict[str, Any]:
    (record,) = orjson.loads((folder / "verdict.json").read_bytes())["scenarios"]
    assert isinstance(record, dict)
    return record


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (("--seed", "3"), 1),
        (("--mutant", ""), 0),
        (("--target", "reference", "--seed", "3"), 0),
    ],
)
def test_the_replay_of_a_plan_names_what_was_asked_differently(
    broken: Shell, asked: tuple[str, ...], code: int
) -> None:
    assert broken("run", HISTORY, *asked, "--workers", "1", "--out", "one")[0] == code
    first = record_in(broken.folder / "one")
    replay = shlex.split(first["replay"])
    assert replay[:3] == ["harness", "run", HISTORY]
    assert broken(*replay[1:], "--workers", "1", "--out", "two")[0] == code
    assert record_in(broken.folder / "two")["digest"] == first["digest"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, ""),
        ({"target": "my.gateway:app"}, "--target my.gateway:app"),
        ({"target": "my.gateway:app", "claims_path": "mine.toml"}, "--target my.gateway:app --claims mine.toml"),
        ({"target": "reference", "mutant": "pays_twice"}, "--mutant pays_twice"),
        ({"target": "reference"}, "--mutant ''"),
        ({"target": "http://gateway", "keys": ("a=ck_secret",), "upstreams_url": "http://mocks", "mode": "remote"},
         "--mode remote --target http://gateway --upstreams http://mocks --key a"),
    ],
)  # fmt: skip
def test_a_plan_is_run_again_on_what_it_was_run_on(asked: dict[str, Any], words: str) -> None:
    plan = {"target": "reference", "mode": "sim", "mutant": "rounds_down", "seed": 3}
    given = RunOptions(names=("p.json",), said=frozenset(asked), **asked)
    first = as_recorded({"p.json": plan}, given)
    told = list(asked_differently(plan, replace(first, seed=3)))
    assert shlex.join(told) == words
    named = dict(zip(told[::2], told[1::2], strict=True))
    again = {"target": named.get("--target", "reference"), "mutant": named.get("--mutant", "")}
    said = frozenset(name for name in again if f"--{name}" in named)
    second = as_recorded({"p.json": plan}, RunOptions(names=("p.json",), said=said, **again))
    assert (second.target, second.mutant) == (first.target, first.mutant)


def test_the_replay_of_a_plan_carries_the_contract_and_judging_again_keeps_it(broken: Shell, mine: str) -> None:
    assert broken("run", HISTORY, "--contract", mine, "--workers", "1", "--out", "one")[0] == 1
    first = record_in(broken.folder / "one")
    assert shlex.split(first["replay"]) == ["harness", "run", HISTORY, "--contract", mine]
    assert broken("judge", "one")[0] == 1
    assert record_in(broken.folder / "one")["replay"] == first["replay"]
    assert record_in(broken.folder / "one")["promise"] == first["promise"]


def test_a_recorded_plan_of_no_scenario_is_its_own_replay(broken: Shell) -> None:
    plan = orjson.loads((broken.folder / HISTORY / "history.jsonl").read_bytes().splitlines()[0])
    (broken.folder / "edited.json").write_bytes(orjson.dumps({**plan, "scenario": "swarm.edited"}))
    assert broken("run", "edited.json", "--workers", "1", "--out", "one")[0] == 1
    (broken.folder / "one" / "verdict.json").unlink()
    assert broken("judge", "one")[0] == 1
    assert record_in(broken.folder / "one")["replay"] == "harness run one/swarm.edited-0"


def test_last_failed_after_a_run_of_plans_says_what_it_cannot_do(broken: Shell) -> None:
    assert broken("run", HISTORY, "--workers", "1")[0] == 1
    code, _, said = broken("run", "--last-failed")
    assert code == 64
    assert "saved plans" in said
    assert f"harness run {HISTORY}" in said


def test_last_failed_of_another_selection_names_what_did_not_pass(shell: Shell) -> None:
    assert shell("run", ROUNDS, "--mutant", "rounds_down", "--workers", "1")[0] == 1
    code, _, said = shell("run", "auth", "--last-failed")
    assert code == 64
    assert ROUNDS in said
    assert "all of it passed" not in said


def test_the_help_names_every_command_that_a_newcomer_needs(shell: Shell) -> None:
    _, said, _ = shell("--help")
    for command in ("demo", "run", "power", "swarm", "audit"):
        assert f"harness {command} " in said
    _, said, _ = shell("run", "--help")
    assert '--mutant ""' in said
