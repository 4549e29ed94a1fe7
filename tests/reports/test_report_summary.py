"""summary.md: the verdict and what broke, in Markdown that shows text as it is written and fits a job summary."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from reports.record import load
from reports.summary import CAP, cell, code, summary
from tests.reports.folders import MONEY, check, many, piece, scenario, verdict_of, write_verdict


def test_it_opens_with_the_verdict_and_the_counts_of_the_record(rendered: Path) -> None:
    verdict = orjson.loads((rendered / "verdict.json").read_bytes())
    counts = verdict["counts"]
    first = (rendered / "summary.md").read_text("utf-8").splitlines()[0]
    assert first == (
        f"# {verdict['verdict'].upper()}: {counts['pass']} kept, {counts['fail']} broken, "
        f"{counts['inconclusive']} inconclusive, {counts['unsupported']} unsupported"
    )


def test_it_tells_what_broke_and_how_to_see_it_again(rendered: Path) -> None:
    text = (rendered / "summary.md").read_text("utf-8")
    assert "### BILL-01 output" in text
    assert "| 12 credits (11.2 for 1,050 tokens) | 11 credits |" in text
    assert f"`harness run {MONEY} --mode sim --seed 0`" in text
    assert "- **broken.harness seed 0**: KeyError: 'x' (cause: line 1)" in text


def test_it_tells_why_something_is_inconclusive_and_what_is_assumed(rendered: Path) -> None:
    text = (rendered / "summary.md").read_text("utf-8")
    assert "- **BRK-01** opens, no\\_calls\\_while\\_open: no case of it was seen" in text
    assert "never fired" in text
    assert "- prices of the general models (BILL-01)" in text


def test_profiles_add_up_to_the_counts(rendered: Path) -> None:
    verdict = orjson.loads((rendered / "verdict.json").read_bytes())
    table = (rendered / "summary.md").read_text("utf-8").partition("## Profiles")[2]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    totals = [sum(int(row[column]) for row in rows) for column in (2, 3, 4, 5)]
    assert totals == [verdict["counts"][name] for name in ("pass", "fail", "inconclusive", "unsupported")]
    assert {row[0].strip(): row[1].strip() for row in rows}["governor"] == "FAIL"


def test_a_run_of_failures_stays_below_the_limit_and_says_what_is_left_out(tmp_path: Path) -> None:
    long = "|`<b>" * 5_000
    broken = [
        scenario(f"a.s{n}", [check(name, f"c{n}", {clause: (0, 3, 0)}, [piece(clause, long, long)])], error=None)
        for name, clause in (("BILL-01", "input"), ("GOV-02", "cap"), ("FAIL-01", "chat"))
        for n in range(40)
    ]
    errors = [
        scenario(f"e.s{n}", outcome="error", error={"kind": "target", "message": long, "cause": long, "help": long})
        for n in range(50)
    ]
    text = summary(load(write_verdict(tmp_path, verdict_of([*broken, *errors], whole=("BRK-01", "BRK-02")))))
    assert len(text.encode()) < CAP
    shown = {"errors": text.count("- **e.s"), "broken": text.count("\n### ")}
    left_out = [int(count) for count in re.findall(r"^(?:- and|And) (\d+) more", text, re.MULTILINE)]
    assert left_out == [50 - shown["errors"], 120 - shown["broken"]]
    assert min(shown.values()) > 0


def test_interruption_and_overlays_are_told(tmp_path: Path) -> None:
    verdict = verdict_of(many(4), interrupted=True, overlay="short", mutant="rounds_down")
    text = summary(load(write_verdict(tmp_path, verdict)))
    assert "**Interrupted: this record is partial.**" in text
    assert "1 scenario ran under a contract with other numbers (overlay short); report.html says which." in text
    assert "mutant `rounds_down`" in text


def test_a_clean_run_has_no_section_for_what_did_not_happen(tmp_path: Path) -> None:
    text = summary(load(write_verdict(tmp_path, verdict_of(many(4), whole=()))))
    assert text.startswith("# PASS: 4 kept")
    assert "## " in text
    for absent in ("Broken", "Inconclusive", "Could not", "Interrupted"):
        assert absent not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a|b", "a\\|b"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("[x](y)", "\\[x\\](y)"),
        ("`c`", "\\`c\\`"),
        ("a\nb", "a b"),
    ],
)
def test_cells_show_text_as_it_is_written(value: str, shown: str) -> None:
    assert cell(value) == shown


@pytest.mark.parametrize(("value", "shown"), [("ls", "`ls`"), ("a`b", "``a`b``"), ("`x`", "`` `x` ``"), ("", "")])
def test_code_cannot_be_left_from_inside(value: str, shown: str) -> None:
    assert code(value) == shown
