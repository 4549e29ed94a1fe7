"""A power record as page, Markdown and figure: true to the record, safe, small, and the same bytes again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest

from harness.contract import load_requirements
from harness.runner.power import Campaign, Lie
from harness.runner.power_record import build_power, clean_seed
from reports import ReportError, render_power
from reports.power import CAP
from tests.reports.parsed import parse

HOSTILE = "<script>alert(1)</script> | `tick` \x1b[31m"
IDS = list(load_requirements())[:6]


def hit(requirement: str, actual: str = "2") -> dict[str, Any]:
    evidence = {"clause": "a", "expected": "1", "actual": actual, "call": "c1", "attempts": [], "at_us": None}
    return {
        "requirement": requirement,
        "checker": "a_checker",
        "promise": "Keeps.",
        "clauses": ["a"],
        "evidence": evidence,
    }


def result(*broken: dict[str, Any], error: dict[str, str] | None = None, outcome: str = "pass") -> dict[str, Any]:
    return {
        "scenario": "a.scenario",
        "seed": 0,
        "part": "core",
        "outcome": outcome,
        "digest": "d",
        "doubts": [],
        "error": error,
        "broken": list(broken),
        "cpu_s": 0.1,
    }


def made(many: int = 0, **run: Any) -> dict[str, Any]:
    """Return a record with a mutant of every fate, and ``many`` more that are caught."""
    fates = {
        "caught": result(hit(IDS[0], HOSTILE), hit(IDS[3])),
        "survives": result(),
        "seen_elsewhere": result(hit(IDS[3])),
        "crashes": result(error={"kind": "gateway", "message": f"the gateway crashed {HOSTILE}"}),
        **{f"another_caught_mutant_{number}": result(hit(IDS[0], "x" * 500)) for number in range(many)},
    }
    lies = [Lie(name, IDS[0], f"Lies {HOSTILE}") for name in fates]
    campaign = Campaign(lies, [], {}, seed=0, full=False, control=())
    for name, one in fates.items():
        campaign.rows[name].asked.append(one)
    told = {
        "selection": [],
        "seed": 0,
        "full": False,
        "whole": True,
        "core": 1,
        "claimed": IDS,
        "mutants": {lie.name: lie.breaks for lie in lies},
        **run,
    }
    clean = [clean_seed(4, [result(outcome="fail")], "a folder")]
    return build_power(told, campaign.rows.values(), {"a.scenario": result()}, clean, load_requirements())


def rendered(folder: Path, record: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "power.json").write_bytes(orjson.dumps(record))
    render_power(folder)
    return folder


def test_the_page_shows_every_fate_and_its_evidence(tmp_path: Path) -> None:
    page = parse((rendered(tmp_path, made()) / "power.html").read_text("utf-8"))
    assert page.one("h1").text.startswith(
        "ERROR 1 of 4 mutants caught, 1 survived, 1 seen, but not by its own requirement"
    )
    assert page.one(id="count-killed").text == "1"
    missed = page.one("section", id="broken").all("article")
    assert [card.one("h3").text.split()[1] for card in missed] == ["crashes", "seen_elsewhere", "survives", *IDS[1:]]
    assert "the gateway crashed" in missed[0].text
    rows = {row.one("th").all("span")[0].text: row.text for row in page.one(id="check-rows").all("tr")}
    assert "harness run a.scenario --mode sim --seed 0 --mutant caught" in rows["caught"]
    assert f"Noticed by {IDS[3]} too" in rows["caught"]
    assert "a.scenario 4 fail" in page.one("section", id="alarms").text


def test_ids_are_unique_and_nothing_of_the_record_becomes_markup(tmp_path: Path) -> None:
    text = (rendered(tmp_path, made()) / "power.html").read_text("utf-8")
    page = parse(text)
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    assert text.count("<script") == 1
    assert "\x1b" not in text
    for link in page.one("nav").all("a"):
        assert link.attributes["href"].removeprefix("#") in ids


def test_the_figure_is_a_file_of_its_own_with_a_square_per_requirement_that_noticed(tmp_path: Path) -> None:
    text = (rendered(tmp_path, made()) / "power.svg").read_text("utf-8")
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(--f1)" in text
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= set(re.findall(r"(--[\w-]+):", text))
    assert "Date" not in text


def test_markdown_tells_what_was_missed_in_tables_that_hold(tmp_path: Path) -> None:
    text = (rendered(tmp_path, made()) / "power.md").read_text("utf-8")
    assert text.startswith("# ERROR: 1 of 4 mutants caught")
    assert "**survives** (survived) should break" in text
    assert "<script" not in text.replace("\\<script", "")
    matrix = text[text.index("<!-- kill matrix -->") : text.index("<!-- /kill matrix -->")]
    rows = [row for row in matrix.splitlines() if row.startswith("|")]
    assert len(rows) >= 3
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


@pytest.mark.parametrize(("run", "said", "command"), [
    ({"under_load": 3}, "3 more mutants are caught under load alone", "harness power"),
    ({"under_load": 1}, "1 more mutant is caught under load alone", "harness power"),
    ({"load": {}, "overlay": "brisk"}, "harness load SHAPE --overlay brisk", "harness power --load"),
])  # fmt: skip
def test_what_load_alone_catches_is_told_apart(run: dict[str, Any], said: str, command: str, tmp_path: Path) -> None:
    folder = rendered(tmp_path, made(**run))
    text = (folder / "power.md").read_text("utf-8").replace("\\", "")
    assert said in text
    assert f"`{command}`" in text or f"{command}\n" in text
    page = parse((folder / "power.html").read_text("utf-8"))
    assert ("shape of load" in page.one("section", id="method").text) is ("load" in run)


def test_markdown_stays_a_job_summary_however_many_mutants(tmp_path: Path) -> None:
    folder = rendered(tmp_path, made(2000))
    assert (folder / "power.md").stat().st_size < CAP
    assert "2,001 of 2,004 mutants caught" in (folder / "power.md").read_text("utf-8")


@pytest.mark.parametrize("run", [{"interrupted": True}, {"shard": "1/2"}])
def test_a_part_is_told_as_a_part(tmp_path: Path, run: dict[str, Any]) -> None:
    folder = rendered(tmp_path, made(**run))
    header = parse((folder / "power.html").read_text("utf-8")).one("header")
    assert ("partial" if "interrupted" in run else "Shard 1/2") in header.text


def test_who_interrupted_a_run_is_not_told_that_it_failed(tmp_path: Path) -> None:
    record = made(interrupted=True)
    record["verdict"] = "interrupted"
    page = parse((rendered(tmp_path, record) / "power.html").read_text("utf-8"))
    assert page.one("h1").text.split()[0] == "INTERRUPTED"


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = rendered(tmp_path / "a", made()), rendered(tmp_path / "b", made())
    for name in ("power.md", "power.svg", "power.html"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"schema":"harness.power/2"}', "harness.power/1"),
        (b'{"schema":"harness.power/1"}', "power.run: missing"),
    ],
)
def test_what_is_no_record_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "power.json").write_bytes(content)
    with pytest.raises(ReportError, match=r"power\.json") as refused:
        render_power(tmp_path)
    assert said in str(refused.value)
