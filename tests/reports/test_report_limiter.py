"""limiter.html, and the report's section on a limiter: what they say is what the record says, and they are safe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from reports import ReportError, render_all, render_limiter
from tests.reports.folders import records, verdict_of, write_verdict
from tests.reports.parsed import Element, parse


def limiter_record() -> dict[str, Any]:
    """Three calls against a limit of two: a sliding log is left, a token bucket ruled out by the third."""
    left = {"family": "sliding log", "about": "each counts for a window", "fits": True, "whole": True, "against": []}
    gone = {"family": "token <b>bucket", "about": "fills up", "fits": False, "whole": True, "against": ["c3"]}
    decided = ((10_000_000, True), (10_500_000, None), (12_000_000, False))
    return {
        "schema": "harness.limiter/1",
        "verdict": "pass",
        "exit": 0,
        "command": "harness limiter --limit 2",
        "target": "reference",
        "mode": "sim",
        "mutant": "",
        "seed": 0,
        "tier": "managed",
        "headline": "sliding log, per account",
        "identification": {
            "findings": [{**left, "figures": "limit 2, window 59 to 60 s"}, {**gone, "figures": ""}],
            "clock_s": 0.001,
            "admitted": 1,
            "refused": 1,
        },
        "scope": "per account",
        "shared": [{"differs_in": "key", "shared": True, "call": "key-other", "why": "refused while ..."}],
        "over_admission": {"limit": 2, "window_s": 60.0, "proved": False, "told": "more than 2 in 60 s: not proved"},
        "promised": True,
        "promise_kept": True,
        "promise": "a sliding log of its figures is not ruled out",
        "observations": [
            {"id": f"c{n}", "earliest": at_us, "latest": at_us, "admitted": admitted}
            for n, (at_us, admitted) in enumerate(decided, 1)
        ],
    }


def write(folder: Path, record: dict[str, Any]) -> Path:
    (folder / "limiter.json").write_bytes(orjson.dumps(record))
    return folder


def rows(table: Element) -> list[list[str]]:
    return [[cell.text for cell in row.children] for row in table.one("tbody").all("tr")]


def test_the_page_tells_the_evidence_of_every_candidate_and_scope(tmp_path: Path) -> None:
    (path,) = render_limiter(write(tmp_path, limiter_record()))
    page = parse(path.read_text("utf-8"))
    section = page.one("section", id="limiter")
    candidates, scopes, calls = section.all("table")
    assert rows(candidates) == [
        ["sliding log", "each counts for a window", "not ruled out", "limit 2, window 59 to 60 s", ""],
        ["token <b>bucket", "fills up", "ruled out", "", "c3"],
    ]
    assert rows(scopes) == [["keys", "shared", "key-other refused while ..."]]
    assert rows(calls) == [
        ["c1", "0.000", "let in", "–"],
        ["c2", "0.500", "not known", "–"],
        ["c3", "2.000", "refused", "token <b>bucket"],
    ]
    assert "sliding log, per account" in section.text
    assert "PASS The contract's promise: a sliding log of its figures is not ruled out." in section.text
    assert page.one("h1").text == "PASS one kind of limiter is left"
    assert "not ruled out: limit 2, window 59 to 60 s" in section.one("svg").text


def test_the_same_record_renders_to_the_same_bytes(tmp_path: Path) -> None:
    first, second = (render_limiter(write(tmp_path, limiter_record()))[0].read_bytes() for _ in range(2))
    assert first == second


def test_a_runs_report_has_the_section_if_a_limiter_was_asked_in_it(tmp_path: Path) -> None:
    write_verdict(tmp_path, verdict_of(records()))
    render_all(tmp_path)
    assert not parse((tmp_path / "report.html").read_text("utf-8")).all("section", id="limiter")
    written = render_limiter(write(tmp_path, limiter_record()))
    assert tmp_path / "report.html" in written
    page = parse((tmp_path / "report.html").read_text("utf-8"))
    assert "sliding log, per account" in page.one("section", id="limiter").text
    assert page.one("nav").one("a", href="#limiter").text == "Limiter"


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    made = limiter_record()
    change(made)
    return made


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (broken(lambda made: made.update(schema="x")), "schema is 'x'"),
        (broken(lambda made: made.pop("headline")), "limiter.headline: missing"),
        (broken(lambda made: made["identification"].pop("clock_s")), "identification.clock_s: missing"),
        (broken(lambda made: made["over_admission"].pop("told")), "over_admission.told: missing"),
        (broken(lambda made: made["observations"][1].pop("earliest")), "observations[1].earliest: missing"),
    ],
)
def test_a_damaged_record_is_told_of_by_field_and_costs_no_report(
    record: dict[str, Any], said: str, tmp_path: Path
) -> None:
    write_verdict(write(tmp_path, record), verdict_of([]))
    render_all(tmp_path)
    section = parse((tmp_path / "report.html").read_text("utf-8")).one("section", id="limiter")
    assert f"cannot be shown: {tmp_path / 'limiter.json'}: {said}" in section.text
    with pytest.raises(ReportError) as refused:
        render_limiter(tmp_path)
    assert said in str(refused.value)
