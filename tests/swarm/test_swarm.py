"""The swarm finds what is wrong, makes it small, saves it, and leaves a right gateway alone."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from harness import contract
from harness.cli.main import main
from harness.cli.suite import load
from harness.contract import ContractError
from harness.mutants import MUTANTS
from harness.scenario import Injection, Scenario, Workload, World, chat
from harness.swarm.faults import FAMILIES
from harness.swarm.search import Search, Tally
from harness.swarm.shrink import shrink, size
from harness.swarm.strategies import scenarios
from harness.swarm.trial import Subject, attempt
from harness.targets.reference import Reference
from mock_upstreams.faults import FAULTS, delay, respond

LONG_S = 600.0
"""More than any search here takes: what ends each is its number of simulations, so that no clock decides."""


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    load()


def search(mutant: str = "", *, simulations: int, seed: int = 1, most: int | None = 1) -> Tally:
    wrong = MUTANTS[mutant] if mutant else None
    subject = Subject(Reference(), seed, wrong.apply if wrong else None, mutant)
    return Search(
        subject, seconds=LONG_S, simulations=simulations, most=most, wanted=wrong.breaks if wrong else ""
    ).run()


@pytest.mark.parametrize("mutant", ["bills_failed_calls", "pays_twice", "bills_every_attempt"])
def test_the_swarm_finds_a_mutant_unaided_and_makes_it_small(mutant: str) -> None:
    tally = search(mutant, simulations=120)
    (found,) = tally.found
    assert found.mark == MUTANTS[mutant].breaks
    assert found.faults <= 3
    assert found.calls <= 5


def test_a_right_gateway_raises_no_alarm_and_much_happens_to_it() -> None:
    tally = search(simulations=100)
    assert [(found.mark, found.after) for found in tally.found] == []
    assert tally.simulations == 100
    assert tally.reached["struck"] >= 20
    assert all(
        tally.reached[name]
        for name in ("calls ok", "calls refused", "streams", "branch failover_taken", "branch balance_refused")
    )


def test_a_seed_draws_the_same_scenarios_again() -> None:
    first, second = search(simulations=12, seed=7), search(simulations=12, seed=7)
    assert first.reached == second.reached
    assert first.reached != search(simulations=12, seed=8).reached


def test_all_faults_may_be_drawn_and_every_scenario_is_lawful() -> None:
    target = Reference()
    drawn: set[str] = set()
    most = 0

    @seeded(5)
    @settings(
        max_examples=150, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(scenarios(target.contract()))
    def draw(scenario: Scenario) -> None:
        nonlocal most
        drawn.update(injection.fault.name for injection in scenario.injections)
        most = max(most, len(scenario.workload.numbered()))
        try:
            target.contract([scenario.world.overlay])
        except ContractError as error:
            raise AssertionError(f"{dict(scenario.world.overlay)}: {error.problems}") from error

    draw()
    assert len(drawn) >= len(FAULTS) // 2
    assert {fault.name for family in FAMILIES.values() for fault in family} == set(FAULTS)
    assert most >= 5


def crowd() -> Scenario:
    calls = tuple(chat("gpt-5-5", id=f"c{n}", at_ms=10.0 * n, stream=n % 2 == 0) for n in range(1, 9))
    late = chat("gpt-5-5", id="late", at_ms=None, after=("c3",))
    injections = tuple(Injection("primary", delay(seconds=n), id=f"i{n}", start_ms=n) for n in range(1, 5))
    return Scenario(
        World(overlay={"text.concurrency": 3, "text.requests": 9}, listeners={"second": "refusing"}),
        Workload((*calls, late)),
        (),
        injections=(*injections, Injection("primary", respond(status=503), id="i5", calls=("c5",))),
        name="crowd",
        chop=True,
    )


def test_shrinking_leaves_what_the_failure_needs_and_nothing_else() -> None:
    def fails(scenario: Scenario) -> bool:
        ids = {call.id for call in scenario.workload.calls}
        struck = any(one.fault.name == "respond" for one in scenario.injections)
        return {"c5", "late"} <= ids and struck and scenario.world.overlay.get("text.concurrency") == 3

    small = shrink(crowd(), fails, lambda: False)
    assert size(small) == (1, 2)
    assert [call.id for call in small.workload.calls] == ["c5", "late"]
    assert small.workload.calls[1].after == ()
    assert small.world.overlay == {"text.concurrency": 3}
    assert not small.chop
    assert small.injections[0].calls == ()


def test_shrinking_stops_when_time_is_up() -> None:
    asked = 0

    def fails(scenario: Scenario) -> bool:
        nonlocal asked
        asked += 1
        return True

    small = shrink(crowd(), fails, lambda: asked >= 2)
    assert asked == 2
    assert size(small)[0] == 0


def test_a_scenario_with_an_unlawful_contract_is_left_out() -> None:
    scenario = Scenario(World(overlay={"text.concurrency": -1}), Workload((chat("gpt-5-5"),)), ())
    assert attempt(scenario, Subject(Reference(), 0)) is None


def test_an_interrupted_search_keeps_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = MUTANTS["bills_failed_calls"]

    def told(tally: Tally) -> None:
        if tally.found:
            raise KeyboardInterrupt

    tally = Search(Subject(Reference(), 1, wrong.apply, wrong.name), seconds=LONG_S, told=told).run()
    assert tally.interrupted
    assert len(tally.found) == 1


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out + shown.err


def test_a_saved_find_is_replayed_to_the_same_verdict_and_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = command(
        monkeypatch, capsys, "swarm", "--mutant", "bills_failed_calls", "--seed", "1", "--seconds", "300", "--out", "a"
    )
    assert code == 1
    assert "replay    harness run a/found-1.json" in said
    assert "FAIL         BILL-02" in said
    assert orjson.loads(Path("a/found-1.json").read_bytes())["mutant"] == "bills_failed_calls"
    assert Path("a/report.html").is_file()

    code, said = command(monkeypatch, capsys, "run", "a/found-1.json", "--out", "b", "-q")
    assert code == 1
    assert "FAIL         BILL-02" in said
    first, second = (next(Path(folder).glob("*/history.jsonl")).read_bytes() for folder in ("a", "b"))
    assert first == second
    before, after = (orjson.loads(Path(folder, "verdict.json").read_bytes()) for folder in ("a", "b"))
    assert before["requirements"] == after["requirements"]

    code, said = command(monkeypatch, capsys, "replay", "b")
    assert (code, said.split()[0]) == (0, "identical")


def test_files_that_are_no_plans_are_usage_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_text("{}")
    for arguments, said in (
        (("run", "missing.json"), "missing.json"),
        (("run", "other.json"), "no plan"),
        (("run", "other.json", "core"), "not both"),
        (("swarm", "--mutant", "no_such"), "no mutant"),
        (("swarm", "--target", "http://127.0.0.1:9"), "simulated time"),
    ):
        code, told = command(monkeypatch, capsys, *arguments)
        assert code == 64, told
        assert said in told


def test_a_clean_swarm_leaves_its_tally_and_a_swarm_of_nothing_is_not_green(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.swarm.search.Search.run", lambda self: Tally(simulations=3))
    code, said = command(monkeypatch, capsys, "swarm", "--seconds", "1", "--out", "clean")
    assert (code, said.split()[0]) == (0, "PASS")
    tally = orjson.loads(Path("clean/swarm.json").read_bytes())
    assert (tally["schema"], tally["simulations"], tally["found"]) == ("harness.swarm/1", 3, [])
    monkeypatch.setattr("harness.swarm.search.Search.run", lambda self: Tally())
    code, said = command(monkeypatch, capsys, "swarm", "--seconds", "1", "--out", "clean")
    assert (code, said.split()[0]) == (2, "INCONCLUSIVE")


def test_a_find_under_a_contract_of_ones_own_is_replayed_under_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(Path(contract.__file__).parent / "data" / "hypereal", "mine")
    limits = Path("mine/limits.toml")
    limits.write_text(limits.read_text().replace("queue_wait_ms = 2_000", "queue_wait_ms = 1_500", 1))
    arguments = ("--contract", "mine", "--mutant", "bills_failed_calls", "--seed", "1", "--seconds", "300")
    code, said = command(monkeypatch, capsys, "swarm", *arguments, "--out", "a", "-q")
    assert code == 1
    assert "replay    harness run a/found-1.json --contract mine" in said
    (found,) = orjson.loads(Path("a/swarm.json").read_bytes())["found"]
    assert found["again"] == ["harness", "run", "a/found-1.json", "--contract", "mine"]
    assert command(monkeypatch, capsys, *found["again"][1:], "--out", "b", "-q")[0] == 1
    first, second = (next(Path(folder).glob("*/history.jsonl")).read_bytes() for folder in ("a", "b"))
    assert first == second
    code, said = command(monkeypatch, capsys, "replay", "a")
    assert (code, said.split()[0]) == (0, "identical")


def test_a_find_that_does_not_fail_again_is_still_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = MUTANTS["bills_failed_calls"]
    tally = Search(Subject(Reference(), 1, wrong.apply, wrong.name), seconds=LONG_S, most=1).run()
    monkeypatch.setattr("harness.swarm.search.Search.run", lambda self: tally)
    code, said = command(monkeypatch, capsys, "swarm", "--seconds", "1", "--out", "a")  # on the right gateway
    assert code == 1
    assert "did not fail again" in said
