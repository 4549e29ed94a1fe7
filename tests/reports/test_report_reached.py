"""What a run reached and whether the gateway recovered: shown in the page, the summary and junit.xml alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from reports import render_all
from reports.reached import branches, never_reached, recoveries
from reports.record import load
from tests.reports.folders import MONEY, scenario, verdict_of, write_verdict

RECOVERED = {"outcome": "pass", "bound_ms": 120_000, "probes": 1, "cases": 3, "failed": 0, "unseen": [], "evidence": []}
LEAK = {"requirement": "GOV-09", "call": "r1", "outcome": "fail", "expected": "79 free", "actual": "78 free"}
LEFT = {**RECOVERED, "outcome": "fail", "failed": 1, "evidence": [LEAK]}
TAKEN = {"outcome": "pass", "why": "", "told": "A call moved on.", "clause": "FAIL-06.chain_order"}
MISSED = {"outcome": "inconclusive", "why": "never reached", "told": "A slow call was paid.", "clause": "INS-03.x"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records: list[dict[str, Any]] = [
        {**scenario(MONEY), "recovery": RECOVERED},
        {**scenario("governor.storm"), "recovery": LEFT},
        {**scenario("chat.plain"), "recovery": None},
    ]
    verdict = verdict_of(records)
    verdict["branches"] = {
        "failover_taken": {**TAKEN, "count": 12, "runs": 3, "meant_by": ["failover.server_errors"]},
        "payout": {**MISSED, "count": 0, "runs": 0, "meant_by": ["insurance.slow_success"]},
    }
    write_verdict(tmp_path, verdict)
    return tmp_path


def test_what_was_never_reached_comes_first(folder: Path) -> None:
    table = branches(load(folder))
    assert table is not None
    assert [(row[0], row[1], row[3]) for row in table.rows] == [
        ("payout", "INCONCLUSIVE", "0"),
        ("failover_taken", "PASS", "12"),
    ]
    assert [name for name, _ in never_reached(load(folder))] == ["payout"]


def test_runs_that_did_not_recover_are_listed_with_what_they_showed(folder: Path) -> None:
    told = recoveries(load(folder))
    assert told is not None
    sentence, table = told
    assert sentence == "2 runs ended with every fault healed and 120 s to recover: 1 fail, 1 pass."
    assert [(row[0], row[3], row[6]) for row in table.rows] == [("governor.storm", "GOV-09", "78 free")]


def test_page_summary_and_junit_show_them(folder: Path) -> None:
    render_all(folder)
    page = (folder / "report.html").read_text("utf-8")
    assert 'id="reached"' in page
    assert "78 free" in page
    summary = (folder / "summary.md").read_text("utf-8")
    assert "every fault healed" in summary
    assert "payout" in summary
    cases = ET.fromstring((folder / "junit.xml").read_text("utf-8")).iter("testcase")
    found = {(case.get("classname"), case.get("name")): case.find("error") for case in cases}
    missed = found["branches", "payout"]
    assert missed is not None
    assert missed.get("type") == "inconclusive"


def test_an_older_record_says_nothing_of_either(folder: Path) -> None:
    verdict = verdict_of([scenario(MONEY)])
    verdict.pop("branches", None)
    write_verdict(folder, verdict)
    assert branches(load(folder)) is None
    assert recoveries(load(folder)) is None
