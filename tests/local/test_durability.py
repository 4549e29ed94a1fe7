"""A gateway that is killed with SIGKILL, or has trouble with its file, on real sockets: the smallest crash campaign."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cli.suite import SUITE, load, target_spec
from harness.runner import Job, run_jobs

pytestmark = [pytest.mark.local, pytest.mark.timeout(400)]

LATE_WRITER = "writes_its_ledger_behind_the_answers"
SETTLING = "durability.killed_while_settling"
KILLS = {
    "durability.killed_under_load": 5,
    "durability.killed_inside_streams": 5,
    SETTLING: 5,
    "durability.keys_outlive_a_kill": 1,
    "durability.a_full_disk": 1,
    "durability.a_file_that_cannot_be_written": 1,
    "durability.two_gateways_on_one_file": 0,
}


@pytest.fixture(scope="module")
def records() -> dict[str, dict[str, Any]]:
    """Every scenario of the campaign once: a few at a time, for they mostly wait."""
    load()
    jobs = [Job(name, 1, "local", target_spec("reference"), overlay="short") for name in KILLS]
    return {record["scenario"]: record for record in run_jobs(jobs, SUITE, workers=4)}


@pytest.mark.parametrize("name", KILLS)
def test_the_books_outlive_whatever_befalls_their_process(name: str, records: dict[str, dict[str, Any]]) -> None:
    record = records[name]
    assert record["error"] is None, record["error"]
    broken = [(check["checker"], check["evidence"][:2]) for check in record["checks"] if check["outcome"] == "fail"]
    assert (record["outcome"], broken, record["doubts"]) == ("pass", [], [])
    assert record["branches"]["killed"] == KILLS[name]


def test_the_starts_that_had_to_fail_were_tried(records: dict[str, dict[str, Any]]) -> None:
    for name in ("durability.a_file_that_cannot_be_written", "durability.two_gateways_on_one_file"):
        (check,) = [
            check for check in records[name]["checks"] if check["checker"].startswith("a_start_that_would_harm_the_boo")
        ]
        assert check["clauses"]["across_restart"]["passed"] == 1, name


def test_a_gateway_that_answers_before_it_commits_is_caught_by_kills() -> None:
    load()
    job = Job(SETTLING, 1, "local", target_spec("reference"), mutant=LATE_WRITER, overlay="short")
    (record,) = run_jobs([job], SUITE, workers=1)
    assert record["error"] is None, record["error"]
    broken = {check["requirement"] for check in record["checks"] if check["outcome"] == "fail"}
    assert "BILL-06" in broken
