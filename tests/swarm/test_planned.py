"""A plan read back is the scenario that it came from, and whoever changed it by hand is told what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.checker import CHECKERS
from harness.cli.suite import load
from harness.environment.planned import PlanError, read_plan, scenario_of
from harness.environment.sim import run_in_sim
from harness.history import Recorder
from harness.scenario import SCENARIOS, Scenario, Workload, World, chat
from harness.targets.reference import Reference


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    load()


def recorded(made: Scenario, into: Path | None = None) -> list[bytes]:
    target = Reference()
    contract = target.contract([made.world.overlay] if made.world.overlay else [])
    with closing(Recorder()) as recorder:
        run_in_sim(made, target, contract, seed=3, recorder=recorder)
        if into is not None:
            recorder.write(into)
        return list(recorder.lines())


def plan_of(lines: list[bytes]) -> dict[str, Any]:
    plan: dict[str, Any] = orjson.loads(lines[0])
    return plan


def one_of_each_file() -> list[str]:
    first: dict[str, str] = {}
    for name, scenario in SCENARIOS.items():
        if scenario.part == "core":
            first.setdefault(name.partition(".")[0], name)
    return list(first.values())


def test_a_plan_alone_repeats_its_run_bit_for_bit() -> None:
    repeated = 0
    for name in one_of_each_file():
        made = SCENARIOS[name](Reference().contract([]), 3)
        first = recorded(made)
        if b'"literal_secret"' in first[0]:
            continue
        again = recorded(scenario_of(plan_of(first), CHECKERS))
        assert again == first, name
        repeated += 1
    assert repeated >= 15


def test_a_plan_keeps_what_a_body_is_made_of() -> None:
    calls = (
        chat("gpt-5-5", prompt="Good day", fields={"seed": 2**63, "stop": ["a", "b"], "stream": ...}, id="c1"),
        chat("gpt-5-5", body=b'{"model": "gpt-5-5", "messages": [], "x": "\xff"}', id="c2"),
        chat("gpt-5-5", path="/v1/managed/chat/completions?beta=true", headers={"x-a": "b"}, id="c3"),
        chat("gpt-5-5", at_ms=None, after=("c1", "c2"), delay_ms=1.5, auth=("bearer", "x-api-key"), id="c4"),
        chat("gpt-5-5", at_ms=1000 / 3, id="c5"),
    )
    made = Scenario(World(), Workload(calls), (), name="made", recovers=False)
    first = recorded(made)
    back = scenario_of(plan_of(first), {})
    assert back.workload.calls[0].fields == {"seed": 2**63, "stop": ["a", "b"], "stream": ...}
    assert back.workload.calls[1].body == calls[1].body
    assert back.workload.calls[2].path == calls[2].path
    assert back.workload.calls[3].after == ("c1", "c2")
    assert recorded(back) == first


def test_a_literal_credential_is_in_no_plan_hence_not_repeated() -> None:
    made = Scenario(World(), Workload((chat("gpt-5-5", secret="ck_nobody", id="c1"),)), (), name="made")
    first = recorded(made)
    assert b"ck_nobody" not in first[0]
    with pytest.raises(PlanError, match="call c1 carried a literal credential"):
        scenario_of(plan_of(first), {})


def test_a_body_too_long_for_the_plan_is_told_of() -> None:
    body = orjson.dumps({"model": "gpt-5-5", "messages": [{"role": "user", "content": "x" * 70_000}]})
    made = Scenario(World(), Workload((chat("gpt-5-5", body=body, id="c1"),)), (), name="made", recovers=False)
    first = recorded(made)
    assert len(first[0]) < 200_000
    with pytest.raises(PlanError, match="too long"):
        scenario_of(plan_of(first), {})


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(plan: dict[str, Any]) -> None:
        *steps, last = path.split("/")
        node: Any = plan
        for step in steps:
            node = node[int(step)] if step.isdigit() else node[step]
        if value is ...:
            del node[last]
        else:
            node[last] = value

    return apply


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (change("options", ...), "the plan has no 'options'"),
        (change("options/checks", ["no_such_check"]), "checks that are gone: no_such_check"),
        (change("options/chop", "yes"), "Scenario.chop cannot be 'yes'"),
        (change("calls/0/detail/abort_ms", "soon"), "Call.abort_ms cannot be 'soon'"),
        (change("calls/0/detail/colour", "red"), "Call has no field 'colour'"),
        (change("calls/0/after", "c9"), "comes after ['c9']"),
        (change("options/injections", [{"role": "primary", "fault": {"name": "respnd", "params": {}}}]), "respond"),
    ],
)
def test_a_plan_changed_by_hand_is_told_what_is_wrong(wrong: Callable[[dict[str, Any]], None], said: str) -> None:
    made = Scenario(World(), Workload((chat("gpt-5-5", id="c1"),)), (), name="made", recovers=False)
    plan = plan_of(recorded(made))
    wrong(plan)
    with pytest.raises(PlanError) as raised:
        scenario_of(plan, CHECKERS)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "no plan"),
        (b'{"span": "call"}', "no plan"),
        (b'{"span": "plan", "schema": "other/1"}', "schema 'other/1'"),
    ],
)
def test_a_file_that_is_no_plan_is_told_so(tmp_path: Path, text: bytes, said: str) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(text)
    with pytest.raises(PlanError, match=said.replace("/", ".")):
        read_plan(file)


def test_a_plan_is_read_from_a_folder_a_history_and_a_file(tmp_path: Path) -> None:
    made = Scenario(World(), Workload((chat("gpt-5-5"),)), (), name="made", recovers=False)
    plan = plan_of(recorded(made, tmp_path / "made-3"))
    (tmp_path / "plan.json").write_bytes(orjson.dumps(plan, option=orjson.OPT_INDENT_2))
    for path in ("made-3", "made-3/history.jsonl", "plan.json"):
        assert read_plan(tmp_path / path) == plan
