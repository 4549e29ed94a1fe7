"""Records and histories that somebody damaged: told by file and field, exit 64, never a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.cli.folder import RecordError, record_in
from harness.cli.text import print_verdict
from harness.contract import load_requirements
from harness.history import HistoryError, read_history
from harness.runner.merging import merge_power, merge_verdicts
from harness.runner.shards import MisfitError
from reports.junit import junit
from reports.power import load_power, power_markdown
from reports.record import load as load_record
from reports.summary import summary
from tests.cli.conftest import Shell

ROUNDS = "billing.cost_is_rounded_up_once"
CATALOGUE = {"BILL-01": load_requirements()["BILL-01"]}
DAMAGES: tuple[Any, ...] = (..., "x", -1)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where every field stands, the first of each list's items standing for all."""
    items: list[tuple[Any, Any]] = list(value.items()) if isinstance(value, dict) else []
    if isinstance(value, list) and value:
        items = [(0, value[0])]
    for name, item in items:
        yield (*path, name)
        yield from places(item, (*path, name))


def damaged(whole: bytes) -> Iterator[tuple[tuple[Any, ...], bytes]]:
    """Yield the record with each field in turn left out or made something else."""
    for path in places(orjson.loads(whole)):
        for value in DAMAGES:
            record = orjson.loads(whole)
            node = record
            for step in path[:-1]:
                node = node[step]
            if value is ...:
                del node[path[-1]]
            else:
                node[path[-1]] = value
            yield path, orjson.dumps(record)


def survives(file: Path, whole: bytes, use: Callable[[dict[str, Any]], None]) -> int:
    """Use every damaged record that is not refused; return how many were."""
    refused = 0
    for path, text in damaged(whole):
        file.write_bytes(text)
        try:
            record = record_in(file)
        except RecordError as error:
            refused += str(file) in error.problems[0]
            continue
        try:
            use(record)
        except MisfitError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{path}: {error!r}") from error
    return refused


def test_no_field_of_a_verdict_brings_merging_or_rendering_down(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--mutant", "rounds_down", "--shard", "1/1", "--workers", "1", "--out", "run")
    assert shell("run", ROUNDS, *arguments)[0] == 1
    whole = orjson.loads((shell.folder / "run" / "verdict.json").read_bytes())
    whole["requirements"] = dict(list(whole["requirements"].items())[:1])
    whole["branches"] = {}
    for check in whole["scenarios"][0]["checks"]:
        del check["evidence"][1:]
    del whole["scenarios"][0]["checks"][2:]
    whole["scenarios"][0]["branches"] = dict(list(whole["scenarios"][0]["branches"].items())[:2])
    folder = shell.folder / "damaged"
    folder.mkdir()

    def use(record: dict[str, Any]) -> None:
        made = merge_verdicts([("run", record)], CATALOGUE)
        print_verdict(made, folder)
        capsys.readouterr()
        (folder / "verdict.json").write_bytes(orjson.dumps(made))
        loaded = load_record(folder)
        summary(loaded)
        junit(loaded)

    assert survives(folder / "verdict.json", orjson.dumps(whole), use) >= 80


def test_no_field_of_a_power_record_brings_merging_or_rendering_down(shell: Shell) -> None:
    assert shell("power", "rounds_down", "--shard", "1/1", "--workers", "1", "--out", "run", "-q")[0] == 0
    whole = orjson.loads((shell.folder / "run" / "power.json").read_bytes())
    whole["control"] = dict(list(whole["control"].items())[:1])
    whole["mutants"]["rounds_down"]["not_asked"] = []
    folder = shell.folder / "damaged"
    folder.mkdir()

    def use(record: dict[str, Any]) -> None:
        made = merge_power([("run", record)], CATALOGUE)
        (folder / "power.json").write_bytes(orjson.dumps(made))
        power_markdown(load_power(folder))

    assert survives(folder / "power.json", orjson.dumps(whole), use) >= 60


def test_damaged_lines_of_a_history_are_named(shell: Shell) -> None:
    assert shell("run", ROUNDS, "--workers", "1", "--out", "run")[0] == 0
    file = shell.folder / "run" / f"{ROUNDS}-0" / "history.jsonl"
    lines = file.read_bytes().splitlines()
    kinds: dict[str, int] = {}
    for number, line in enumerate(lines):
        kinds.setdefault(orjson.loads(line)["span"], number)
    assert {"plan", "call", "attempt", "ledger", "usage", "note"} <= set(kinds)
    for kind, number in kinds.items():
        for name in orjson.loads(lines[number]):
            span = {**orjson.loads(lines[number]), name: 1.5 if name != "calls" else [{}]}
            changed = [*lines[:number], orjson.dumps(span), *lines[number + 1 :]]
            file.write_bytes(b"\n".join(changed))
            with pytest.raises(HistoryError) as refused:
                read_history(file.parent)
            assert f"history.jsonl:{number + 1}: " in str(refused.value), (kind, name)


@pytest.mark.parametrize(
    ("command", "damage", "said"),
    [
        (("merge", "run", "--out", "whole"), lambda record: record["scenarios"][0].pop("seed"), "scenarios[0].seed"),
        (("judge", "run"), lambda record: record["run"].update(seeds="all"), "run.seeds: cannot be 'all'"),
        (("run", "--last-failed"), lambda record: record.update(scenarios={}), "scenarios: cannot be {}"),
        (("power", "rounds_down", "--clean", "run"), lambda record: record.pop("run"), "run: missing"),
    ],
)
def test_a_damaged_record_is_refused_by_every_command_that_reads_it(
    shell: Shell, command: tuple[str, ...], damage: Callable[[dict[str, Any]], Any], said: str
) -> None:
    shell("run", ROUNDS, "--workers", "1", "--out", "run")
    record = orjson.loads((shell.folder / "run" / "verdict.json").read_bytes())
    damage(record)
    (shell.folder / "run" / "verdict.json").write_bytes(orjson.dumps(record))
    (shell.folder / "runs").mkdir()
    (shell.folder / "run").rename(shell.folder / "runs" / "1")
    (shell.folder / "run").symlink_to("runs/1")
    code, _, told = shell(*command)
    assert code == 64
    assert "verdict.json" in told
    assert said in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"seed":0', b'"seed":"a"', "plan.seed: cannot be 'a'; it is a whole number"),
        (b'"models":', b'"modells":', "models"),
    ],
)
def test_a_damaged_plan_of_a_history_cannot_be_judged(shell: Shell, old: bytes, new: bytes, said: str) -> None:
    shell("run", ROUNDS, "--workers", "1", "--out", "run")
    file = shell.folder / "run" / f"{ROUNDS}-0" / "history.jsonl"
    file.write_bytes(file.read_bytes().replace(old, new, 1))
    code, _, told = shell("judge", "run")
    assert code == 64
    assert said in told
    assert "Traceback" not in told
