"""What may stand in a run folder, and what is said of one that cannot be rendered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from reports import ReportError, render_all
from reports.record import load
from tests.reports.folders import MONEY, check, records, scenario, verdict_of, write_verdict


def test_a_folder_without_a_verdict_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"verdict\.json: No such file"):
        render_all(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"), [(b"{", "not JSON"), (b"[]", "must be a JSON object"), (b"\xff", "not JSON")]
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "verdict.json").write_bytes(content)
    with pytest.raises(ReportError, match=said):
        render_all(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_another_schema_is_refused(tmp_path: Path) -> None:
    write_verdict(tmp_path, {**verdict_of(records()), "schema": "harness.verdict/2"})
    with pytest.raises(ReportError, match=r"reads 'harness\.verdict/1'"):
        load(tmp_path)


def test_all_flaws_are_told_at_once(tmp_path: Path) -> None:
    verdict = verdict_of(records())
    del verdict["requirements"]["BILL-01"]["profile"]
    verdict["scenarios"][0]["seed"] = "0"
    verdict["scenarios"][1]["checks"][0]["evidence"][0].pop("actual")
    verdict["scenarios"][1]["checks"][1]["clauses"]["next_refused"] = None
    verdict["scenarios"][4]["error"] = {}
    write_verdict(tmp_path, verdict)
    with pytest.raises(ReportError) as refused:
        load(tmp_path)
    told = str(refused.value)
    assert [line.partition(": ")[2] for line in told.splitlines()] == [
        "requirements.BILL-01.profile: missing",
        "scenarios[0].seed: must be int, is str",
        "scenarios[1].checks[0].evidence[0].actual: missing",
        "scenarios[1].checks[1].clauses.next_refused: must be an object",
    ]


def test_a_long_list_of_flaws_is_cut(tmp_path: Path) -> None:
    verdict = verdict_of([scenario("a.b", [check("BILL-01", "c", {"input": (1, 0, 0)})], seed=n) for n in range(30)])
    for one in verdict["scenarios"]:
        del one["seed"]
    write_verdict(tmp_path, verdict)
    with pytest.raises(ReportError, match="and 20 more"):
        load(tmp_path)


def test_unknown_fields_and_a_missing_run_file_are_no_hindrance(tmp_path: Path) -> None:
    verdict = {**verdict_of(records()), "later": {"x": 1}}
    verdict["run"] = {}
    write_verdict(tmp_path, verdict)
    (tmp_path / "run.json").unlink()
    written = render_all(tmp_path)
    assert [path.name for path in written] == ["junit.xml", "summary.md", "report.html"]
    assert "not recorded" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("run", "command"),
    [
        ({}, "harness run money.slow_and_wrong --mode sim --seed 3"),
        (
            {"target": "http://x/", "mode": "remote"},
            "harness run money.slow_and_wrong --mode remote --seed 3 --target http://x/",
        ),
        ({"mutant": "rounds_down"}, "harness run money.slow_and_wrong --mode sim --seed 3 --mutant rounds_down"),
        (
            {"mode": "local", "load": {"minutes": 2.0, "expect-workers": 2, "apart": True}},
            "harness load money.slow_and_wrong --mode local --seed 3 --minutes 2 --expect-workers 2 --apart",
        ),
    ],
)
def test_a_check_past_the_kept_evidence_can_still_be_replayed(
    tmp_path: Path, run: dict[str, Any], command: str
) -> None:
    verdict = verdict_of([scenario(MONEY, [check("BILL-01", "c", {"input": (1, 0, 0)})], seed=3)], **run)
    write_verdict(tmp_path, verdict)
    assert load(tmp_path).checks[0].replay == command


def test_the_replay_command_is_the_recorded_one(tmp_path: Path) -> None:
    verdict = verdict_of(records())
    for one in verdict["scenarios"]:
        one["replay"] = "harness run this exactly"
    write_verdict(tmp_path, verdict)
    assert load(tmp_path).checks[0].replay == "harness run this exactly"


def test_the_command_without_a_run_file_is_what_was_asked(tmp_path: Path) -> None:
    write_verdict(tmp_path, verdict_of(records(), seeds=[0, 99], selection=["core"]))
    (tmp_path / "run.json").unlink()
    assert load(tmp_path).command == "harness run core --mode sim --seeds 0..99"
    (tmp_path / "run.json").write_bytes(orjson.dumps({"argv": ["harness", "run", "a b"]}))
    assert load(tmp_path).command == "harness run 'a b'"


def test_overlays_are_told_with_the_scenarios_that_ran_under_them(tmp_path: Path) -> None:
    own = '{"text.requests": 3}'
    found = [scenario("a.b", seed=n, overlays=[own]) for n in range(2)] + [scenario("c.d")]
    assert load(write_verdict(tmp_path, verdict_of(found))).overlays == {own: ["a.b"]}
    assert load(write_verdict(tmp_path, verdict_of(found, overlay="short"))).overlays == {
        "short": ["a.b", "c.d"],
        own: ["a.b"],
    }
