"""junit.xml: every check is a case, and nothing that did not pass looks as if it had."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest

from reports.junit import junit
from reports.record import load
from tests.reports.folders import MONEY, STORM, check, piece, records, scenario, verdict_of, write_verdict


@pytest.fixture
def suites(rendered: Path) -> ET.Element:
    return ET.fromstring((rendered / "junit.xml").read_text("utf-8"))


def case(suites: ET.Element, classname: str, name: str) -> ET.Element:
    found = [one for one in suites.iter("testcase") if (one.get("classname"), one.get("name")) == (classname, name)]
    assert len(found) == 1
    return found[0]


def test_every_check_is_one_case_with_its_outcome(rendered: Path, suites: ET.Element) -> None:
    verdict = orjson.loads((rendered / "verdict.json").read_bytes())
    kinds = {"fail": "failure", "inconclusive": "error", "unsupported": "skipped"}
    for one in verdict["scenarios"]:
        for checked in one["checks"]:
            found = case(suites, one["scenario"], checked["checker"])
            assert [child.tag for child in found if child.tag != "properties"] == (
                [] if checked["outcome"] == "pass" else [kinds[checked["outcome"]]]
            )


def test_counts_are_those_of_the_record(rendered: Path, suites: ET.Element) -> None:
    verdict = orjson.loads((rendered / "verdict.json").read_bytes())
    outcomes = [checked["outcome"] for one in verdict["scenarios"] for checked in one["checks"]]
    own = 2  # the scenario that could not run, and the one that this mode cannot
    gaps = sum(
        any(clause["outcome"] == "inconclusive" and not clause["scenarios"] for clause in entry["clauses"].values())
        for entry in verdict["requirements"].values()
    )
    assert suites.get("tests") == str(len(outcomes) + own + gaps)
    assert suites.get("failures") == str(outcomes.count("fail"))
    assert suites.get("errors") == str(outcomes.count("inconclusive") + 1 + gaps)
    assert suites.get("skipped") == str(outcomes.count("unsupported") + 1)
    assert gaps == 1
    for suite in suites:
        assert suite.get("tests") == str(len(list(suite.iter("testcase"))))


def test_a_failure_tells_expected_actual_and_how_to_see_it_again(suites: ET.Element) -> None:
    found = case(suites, MONEY, "charge_matches_usage")
    failure = found.find("failure")
    assert failure is not None
    assert failure.get("type") == "BILL-01"
    assert failure.get("message") == "BILL-01 output: 1 case of 20 broken"
    assert failure.text is not None
    assert failure.text.splitlines() == [
        "promise   Charge matches usage.",
        "clause    output, call c4, attempts primary:c4:1",
        "expected  12 credits (11.2 for 1,050 tokens)",
        "actual    11 credits",
        f"replay    harness run {MONEY} --mode sim --seed 0",
    ]
    properties = {one.get("name"): one.get("value") for one in found.iter("property")}
    assert properties == {"requirement": "BILL-01", "seed": "0", "promise": "Charge matches usage."}


def test_inconclusive_is_an_error_that_says_why(suites: ET.Element) -> None:
    doubted = case(suites, "doubted.fault_never_fired", "retries_are_bounded").find("error")
    assert doubted is not None
    assert doubted.get("type") == "inconclusive"
    assert "never fired" in (doubted.get("message") or "")
    untold = case(suites, STORM, "circuits_open").find("error")
    assert untold is not None
    assert "no success seen" in (untold.text or "")


def test_what_nothing_judged_is_an_error_too(suites: ET.Element) -> None:
    gap = case(suites, "coverage", "BRK-01").find("error")
    assert gap is not None
    assert gap.get("message") == "opens: no case of it was seen; no_calls_while_open: no case of it was seen"


def test_a_crash_is_an_error_of_its_own_kind(suites: ET.Element) -> None:
    crash = case(suites, "broken.harness", "scenario").find("error")
    assert crash is not None
    assert (crash.get("type"), crash.get("message")) == ("harness", "KeyError: 'x'")
    assert "line 1" in (crash.text or "")


def test_a_crashed_checker_is_told_beside_the_checks_that_worked(tmp_path: Path) -> None:
    crashed = scenario(
        "a.b",
        [check("BILL-01", "works", {"input": (1, 0, 0)})],
        outcome="error",
        error={"kind": "harness", "message": "1 checkers crashed"},
        errors=[{"checker": "crashes", "traceback": "ZeroDivisionError"}],
    )
    suites = ET.fromstring(junit(load(write_verdict(tmp_path, verdict_of([crashed])))))
    error = case(suites, "a.b", "scenario").find("error")
    assert error is not None
    assert "checker crashes crashed:\nZeroDivisionError" in (error.text or "")
    assert case(suites, "a.b", "works").find("error") is None


def test_seeds_tell_cases_apart_only_where_there_are_several(tmp_path: Path) -> None:
    checks = [check("BILL-01", "c", {"input": (1, 0, 0)})]
    one = write_verdict(tmp_path / "1", verdict_of([scenario("a.b", checks, seed=7)], whole=()))
    two = write_verdict(tmp_path / "2", verdict_of([scenario("a.b", checks, seed=n) for n in (7, 8)], whole=()))
    names = [[c.get("name") for c in ET.fromstring(junit(load(f))).iter("testcase")] for f in (one, two)]
    assert names == [["c"], ["c[seed=7]", "c[seed=8]"]]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    hostile = "]]><failure/>\x00\x1b\ufffe & \u202e </testcase>"
    broken = check("BILL-01", "c", {"input": (0, 1, 0)}, [piece("input", hostile, hostile * 1000, "c1")])
    folder = write_verdict(tmp_path, verdict_of([scenario("a.b", [broken])]))
    suites = ET.fromstring(junit(load(folder)))
    failure = case(suites, "a.b", "c").find("failure")
    assert failure is not None
    assert "]]><failure/>\\x00\\x1b\\ufffe & \\u202e </testcase>" in (failure.text or "")
    assert len(failure.text or "") < 6_000


def test_many_pieces_of_evidence_are_counted(tmp_path: Path) -> None:
    pieces = [piece("input", f"e{n}", "a") for n in range(9)]
    folder = write_verdict(
        tmp_path, verdict_of([scenario("a.b", [check("BILL-01", "c", {"input": (0, 9, 0)}, pieces)])])
    )
    failure = ET.fromstring(junit(load(folder))).find(".//failure")
    assert failure is not None
    assert "e4" in (failure.text or "")
    assert "e5" not in (failure.text or "")
    assert "(4 more)" in (failure.text or "")


def test_records_of_every_kind_stay_well_formed() -> None:
    assert {one["outcome"] for one in records()} == {"fail", "inconclusive", "unsupported", "error"}
