"""``harness power --load``: which mutants it takes, and what it makes of loads, which are made up here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest

import harness.load.shapes  # noqa: F401 - registers them
from harness.cli import power_load
from harness.contract import load_contract
from harness.contract.requirements import MEMORY
from harness.environment.load import LoadRun
from harness.load.shape import SHAPES, Asked
from harness.mutants import MUTANTS
from harness.target import TargetError
from tests.cli.conftest import Shell

UNDER_LOAD = {name: one for name, one in MUTANTS.items() if one.under}
RACE, LEAK = "counts_requests_on_another_machine", "loses_a_slot_once_in_a_while"
LATE = "generator: lateness p99 9.0 ms"


GREW = {"process": "gateway", "outcome": "fail", "promised": True, "why": "grew by 20 MB"}


def record(run: LoadRun, *broken: str, late: bool = False, grew: bool = False, error: str = "") -> dict[str, Any]:
    """Return what a load was judged to be: ``broken`` requirements, a gateway that grew, or not made as planned."""
    evidence = {"clause": "a", "expected": "1", "actual": "2", "call": "s1", "attempts": [], "at_us": None}
    checks = [
        {
            "checker": f"checks_{name}",
            "requirement": name,
            "promise": "Keeps.",
            "outcome": "fail",
            "clauses": {"a": {"outcome": "fail"}},
            "evidence": [{**evidence, "outcome": "fail"}],
        }
        for name in broken
    ]
    outcome = "error" if error else "fail" if broken or grew else "inconclusive" if late else "pass"
    return {
        "scenario": run.name,
        "seed": run.asked.seed,
        "part": "load",
        "outcome": outcome,
        "doubts": [LATE] if late else [],
        "late": late,
        "error": {"kind": "target", "message": error} if error else None,
        "checks": checks,
        "memory": [GREW, {**GREW, "promised": False}] if grew else [],
        "cpu_s": 0.0,
    }


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, dict[str, Any]]], list[str]]:
    """Return what lets loads come to what is given by mutant ("" is none of them), and the list of those made."""

    def given(become: Mapping[str, dict[str, Any]]) -> list[str]:
        made: list[str] = []

        def perform(run: LoadRun, *_: Any) -> tuple[bool, None]:
            made.append(f"{run.name} {run.mutant}".strip())
            if become.get(run.mutant, {}).get("unmade"):
                raise TargetError("harness serve did not start")
            return not become.get(run.mutant, {}).get("stopped"), None

        def judged(run: LoadRun, _: None) -> dict[str, Any]:
            told = become.get(run.mutant, {})
            return record(run, *told.get("broken", ()), late=told == LATENESS, grew="grew" in told)

        monkeypatch.setattr(power_load, "perform_load", perform)
        monkeypatch.setattr(power_load, "judge_load", judged)
        return made

    return given


LATENESS: dict[str, Any] = {"late": True}


def power_of(shell: Shell) -> dict[str, Any]:
    record: dict[str, Any] = orjson.loads((shell.folder / "p" / "power.json").read_bytes())
    return record


@pytest.mark.parametrize("name", sorted(UNDER_LOAD))
def test_its_shape_of_load_judges_what_a_mutant_breaks(name: str) -> None:
    mutant = UNDER_LOAD[name]
    made = SHAPES[mutant.under].build(load_contract(overlays=[power_load.OVERLAY]), Asked())
    judged = {check.requirement for check in made.checks} | ({MEMORY.id} if made.flat else set())
    assert mutant.breaks in judged


def test_a_mutant_is_caught_where_its_load_fails_what_that_of_the_right_gateway_keeps(
    shell: Shell, loads: Callable[..., list[str]]
) -> None:
    made = loads({RACE: {"broken": ["GOV-04"]}, LEAK: {"broken": ["GOV-09"]}})
    code, out, _ = shell("power", "--load", RACE, LEAK, "--seed", "5", "--out", "p")
    assert (code, "2 of 2 mutants caught" in out) == (0, True)
    assert made == ["load.storm", "load.soak", f"load.storm {RACE}", f"load.soak {LEAK}"]
    told = power_of(shell)
    replay = f"harness load storm --mode local --seed 5 --overlay brisk --mutant {RACE}"
    assert told["mutants"][RACE]["evidence"]["replay"] == replay
    assert (told["verdict"], told["false_alarms"]["alarms"], told["false_alarms"]["runs"]) == ("pass", 0, 2)
    assert "harness power --load" in (shell.folder / "p" / "power.md").read_text("utf-8")


def test_a_mutant_that_keeps_its_calls_is_caught_by_its_memory(shell: Shell, loads: Callable[..., list[str]]) -> None:
    loads({"keeps_every_call": {"grew": True}})
    assert shell("power", "--load", "keeps_every_call", "--out", "p")[0] == 0
    told = power_of(shell)
    evidence = told["mutants"]["keeps_every_call"]["evidence"]
    assert (evidence["requirement"], evidence["clause"], evidence["actual"]) == ("MEMORY", "flat", "grew by 20 MB")
    assert told["requirements"]["MEMORY"]["state"] == "noticed"


@pytest.mark.parametrize(
    ("become", "status", "code"),
    [
        ({RACE: {}}, "survived", 1),
        ({RACE: {"broken": ["BILL-01"]}}, "elsewhere", 1),
        ({RACE: {"broken": ["GOV-04"]}, "": {"broken": ["GOV-04"]}}, "survived", 1),
        ({RACE: LATENESS}, "inconclusive", 2),
        ({RACE: {"broken": ["GOV-04"]}, "": LATENESS}, "killed", 2),
        ({RACE: {"unmade": True}}, "errored", 70),
        ({RACE: {"stopped": True}}, "not_asked", 130),
    ],
)
def test_what_becomes_of_a_mutant_that_its_load_does_not_catch(
    become: dict[str, Any], status: str, code: int, shell: Shell, loads: Callable[..., list[str]]
) -> None:
    loads(become)
    told, out, _ = shell("power", "--load", RACE, "--out", "p")
    assert told == code
    found = power_of(shell)
    assert found["mutants"][RACE]["status"] == status
    assert found["counts"][status] == 1
    if status == "inconclusive":
        assert LATE in found["mutants"][RACE]["why"]
        assert "1 inconclusive" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--load", "rounds_down"], "is caught by scenarios, without --load"),
        (["--load", "counts_requests_on_another_machin"], "did you mean 'counts_requests_on_another_machine'"),
        (["--load", "--full"], "--load takes no --full"),
        (["--load", "--shard", "1/2"], "--load takes no --shard"),
        (["counts_requests_on_*"], "harness list mutants"),
    ],
)
def test_what_load_has_no_use_for_is_refused(arguments: list[str], said: str, shell: Shell) -> None:
    code, _, err = shell("power", *arguments, "--out", "p")
    assert code == 64
    assert said in err
    assert not (shell.folder / "p").exists()
