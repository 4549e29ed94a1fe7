"""A plan read back is the scenario that it came from, and whoever changed it by hand is told what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import orjson
import pytest

from harness.checker import CHECKERS
from harness.cli.saved import check_contract, saved_plans
from harness.cli.suite import SUITE, load, target_spec
from harness.environment.planned import PlanError, read_plan, scenario_of
from harness.environment.sim import run_in_sim
from harness.history import Recorder
from harness.runner import Job, run_job
from harness.scenario import SCENARIOS, Account, Crash, Injection, Key, Scenario, StoreFailure, Workload, World, chat
from harness.targets.reference import Reference
from mock_upstreams.faults import respond


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
        *steps, last = (int(step) if step.isdigit() else step for step in path.split("/"))
        node: Any = plan
        for step in steps:
            node = node[step]
        if value is ...:
            del node[last]
        else:
            node[last] = value

    return apply


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (change("options", ...), "plan.options: missing; it is an object"),
        (change("options/checks", ["no_such_check"]), "checks that are gone: no_such_check"),
        (change("options/chop", "yes"), "Scenario.chop cannot be 'yes'"),
        (change("calls/0/detail/abort_ms", "soon"), "Call.abort_ms cannot be 'soon'"),
        (change("calls/0/detail/colour", "red"), "Call has no field 'colour'"),
        (change("calls/0/after", "c9"), "comes after ['c9']"),
        (change("calls/0/after", "c1"), "wait for one another: c1"),
        (change("calls/0/key", "b-key"), "call c1: key: there is no 'b-key'"),
        (change("calls/0/account", "b"), "call c1: account: there is no 'b'"),
        (change("calls/0/surface", "chatt"), "calls[0].surface: there is no 'chatt'; near: chat"),
        (change("calls/0/detail/client", "codx"), "calls[0].detail.client: there is no 'codx'; near: codex"),
        (change("calls/0/at", 2**60), "plan.calls[0].at: cannot be 1152921504606846976"),
        (change("calls/0/at", "now"), "plan.calls[0].at: cannot be 'now'; it is a whole number or null"),
        (change("options/reaches", ["failover_take"]), "options.reaches: there is no 'failover_take'; near: failover"),
        (change("options/reachs", []), "options has no field 'reachs'; near: reaches"),
        (change("options/world/listeners", {"primary": "shut"}), "World.listeners cannot be {'primary': 'shut'}"),
        (change("options/crashes", [{"at_ms": 5, "after": ["c7"]}]), "crash  comes after ['c7']"),
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


def places(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every field, the first of each list's items standing for all."""
    items: list[tuple[Any, Any]] = list(value.items()) if isinstance(value, dict) else []
    if isinstance(value, list) and value:
        items = [(0, value[0])]
    for name, item in items:
        yield f"{path}{name}"
        yield from places(item, f"{path}{name}/")


def rich() -> Scenario:
    """A little of all that a plan can hold."""
    calls = (
        chat("gpt-5-5", id="c1", key="a1", fields={"seed": 1}, headers={"x-a": "b"}, prompt="Hi", max_tokens=5),
        chat("gpt-5-5", id="c2", at_ms=None, after=("c1",), body=b'{"model": "gpt-5-5"}', client="sdk"),
    )
    return Scenario(
        World((Account("a", keys=(Key("a1"),)),), {"text.requests": 9}, {"second": "refusing"}),
        Workload(calls),
        (CHECKERS["failed_calls_are_free"],),
        injections=(Injection("primary", respond(status=503), first=1, must_fire=False),),
        crashes=(Crash(90_000, id="k1"),),
        store_failures=(StoreFailure(80_000),),
        name="made",
        settle_ms=10,
        recovers=False,
    )


@pytest.mark.parametrize("value", [..., "x", -1], ids=str)
def test_no_field_of_a_plan_brings_the_harness_down(tmp_path: Path, value: Any) -> None:
    whole = plan_of(recorded(rich()))
    target, file = Reference(), tmp_path / "plan.json"
    refused: list[str] = []
    broken: list[tuple[str, Any]] = []
    for path in [path for path in places(whole) if not path.startswith(("contract/", "accounts/", "upstreams/"))]:
        plan = orjson.loads(orjson.dumps(whole))
        change(path, value)(plan)
        file.write_bytes(orjson.dumps(plan))
        try:
            plans = saved_plans([str(file)])
            check_contract(plans, target, "")
        except click.UsageError as error:
            refused.append(error.message)
            continue
        job = Job(plan["scenario"], plan["seed"], "sim", target_spec("reference"), plan=plan)
        if repr(scenario_of(plan, CHECKERS)) != repr(rich()):  # else it is the same run once more
            broken += [(path, error) for error in (run_job(job, SUITE)["error"],) if error is not None]
    assert broken == []
    assert len(refused) >= 20
    assert [said for said in refused if "plan.json: " not in said] == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            change("options/injections/0/role", "primry"),
            "options.injections[0].role: there is no 'primry'; near: primary",
        ),
        (change("options/injections/0/nth", 0), "options.injections: injection i1: nth counts from 1"),
        (change("options/world/listeners", {"secnd": "refusing"}), "options.world.listeners: there is no 'secnd'"),
        (change("options/world/overlay", {"text.request": 9}), "text.request"),
        (change("options/crashes/0/after_appends", 0), "after_appends: cannot be 0; it is 1 or more"),
        (change("calls/0/detail/prompt_bytes", 5), "cannot pad to 5 bytes"),
    ],
)
def test_what_only_the_contract_can_tell_of_a_plan_is_told_before_it_runs(
    tmp_path: Path, wrong: Callable[[dict[str, Any]], None], said: str
) -> None:
    plan = plan_of(recorded(rich()))
    wrong(plan)
    file = tmp_path / "plan.json"
    file.write_bytes(orjson.dumps(plan))
    with pytest.raises(click.UsageError) as refused:
        check_contract(saved_plans([str(file)]), Reference(), "")
    assert said in refused.value.message
