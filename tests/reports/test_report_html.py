"""report.html: what it says agrees with the record, and the page is safe, accessible, small and the same every time."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from reports import render_all
from reports.histories import Histories
from reports.page import AIM, CAP, page
from reports.record import OUTCOMES, load
from tests.reports.folders import (
    MONEY,
    STORM,
    check,
    many,
    piece,
    records,
    scenario,
    verdict_of,
    write_run,
    write_verdict,
)
from tests.reports.parsed import Element, parse


def rendered_page(folder: Path) -> str:
    record = load(folder)
    return page(record, Histories(record))


# What it says


def test_counts_are_those_of_the_record(rendered: Path, page: Element) -> None:
    verdict = orjson.loads((rendered / "verdict.json").read_bytes())
    for outcome in OUTCOMES:
        assert page.one(id=f"count-{outcome}").text == str(verdict["counts"][outcome])
    checks = [one["outcome"] for record in verdict["scenarios"] for one in record["checks"]]
    rows = page.one(id="check-rows").all("tr")
    assert sorted(row.attributes["data-s"] for row in rows) == sorted(checks)
    assert (
        f"{len(checks)} checks: "
        + ", ".join(f"{checks.count(o)} {o}" for o in ("pass", "fail", "inconclusive", "unsupported"))
        in page.one("section", id="checks").text
    )


def test_it_opens_with_verdict_command_and_facts(page: Element) -> None:
    header = page.one("header")
    assert header.one("h1").text == "ERROR 3 of 8 promises kept"
    assert header.one("pre", id="command").text == "harness run --mode sim"
    facts = {div.one("dt").text: div.one("dd").text for div in header.one("dl").all("div")}
    assert facts == {
        "target": "reference",
        "mode": "sim",
        "seed": "0",
        "scenarios": "5",
        "checks": "9",
        "calls": "50",
        "took": "3.2 s",
        "exit": "70",
    }


def test_sections_come_in_the_order_of_need(page: Element) -> None:
    sections = [section.attributes["id"] for section in page.one("main").all("section")]
    assert sections == [
        "errors",
        "broken",
        "inconclusive",
        "matrix",
        "faults",
        "latency",
        "limits",
        "money",
        "reached",
        "checks",
        "method",
    ]
    assert [link.attributes["href"] for link in page.one("nav").all("a")] == [f"#{name}" for name in sections]


def test_each_cause_has_one_card_with_all_that_is_needed(page: Element) -> None:
    cards = page.one("section", id="broken").all("article")
    assert [card.attributes["id"] for card in cards] == [
        "BILL-01-output-charge_matches_usage",
        "BILL-03-chat-answers_tell_the_charge",
        "GOV-02-cap-slots_are_bounded",
    ]
    first = cards[0]
    assert "Output tokens are billed at their price." in first.text
    assert "1 of 10 cases, 1 scenario" in first.text
    assert [pair.text for pair in first.one("div", class_="pair").children] == [
        "expected 12 credits (11.2 for 1,050 tokens)",
        "actual 11 credits",
    ]
    assert f"harness run {MONEY} --mode sim --seed 0" in first.text
    assert "**BILL-01 output**" in first.text


def test_a_call_is_shown_from_three_sides_and_differences_are_marked(page: Element) -> None:
    card = page.one("article", id="BILL-01-output-charge_matches_usage")
    table = card.one("table", class_="facts")
    rows = {row.one("th").text: [cell.text for cell in row.all("td")] for row in table.one("tbody").all("tr")}
    assert rows["ending"] == ["ok 200", "ok 200", "served 200", ""]
    assert rows["credits charged"] == ["told 12", "booked 11, logged 11", "–", "≠ differs"]
    assert rows["usage"][0] == "completion_tokens 50 prompt_tokens 1,000 total_tokens 1,050"
    assert [row.one("th").text for row in table.all("tr", class_="differs")] == ["credits charged"]
    assert card.one("svg", class_="tl").attributes["aria-label"].startswith("Timeline of call c4: ok")


def test_a_call_that_a_card_shows_is_linked_from_the_next(page: Element) -> None:
    card = page.one("article", id="BILL-03-chat-answers_tell_the_charge")
    assert not card.all("svg")
    assert card.one("a", href="#BILL-01-output-charge_matches_usage").text == "c4"


def test_evidence_without_a_call_tells_what_was_in_flight(page: Element) -> None:
    card = page.one("article", id="GOV-02-cap-slots_are_bounded")
    assert "In flight at 2,000 ms" in card.text


def test_what_is_open_says_why(page: Element) -> None:
    section = page.one("section", id="inconclusive").text
    assert "no case of it was seen: opens, no_calls_while_open" in section
    assert "planned fault i1 (respond at second) never fired" in section
    assert f"1 case could not be told ({STORM}): closes" in section


def test_the_matrix_has_every_requirement_clause_by_clause(rendered: Path, page: Element) -> None:
    verdict = orjson.loads((rendered / "verdict.json").read_bytes())
    for identifier, entry in verdict["requirements"].items():
        row = page.one("tr", id=f"req-{identifier}")
        assert row.all("span")[0].text == entry["verdict"].upper()
        clauses = row.one("table", class_="clauses").one("tbody").all("tr")
        assert [tr.all("td")[0].text for tr in clauses] == list(entry["clauses"])
    unclaimed = page.one("tr", id="req-CACHE-01")
    assert "not claimed" in unclaimed.text
    assumed = page.one("tr", id="req-BILL-01")
    assert "Rests on assumed values: prices of the general models." in assumed.text


def test_every_figure_is_there_with_its_table(page: Element) -> None:
    figures = page.all("figure")
    assert [figure.attributes["id"] for figure in figures] == [
        "fig-faults",
        "fig-latency",
        "fig-in_flight",
        "fig-admitted",
        "fig-charged",
        "fig-insurance",
    ]
    for figure in figures:
        svg = figure.one("svg")
        assert svg.attributes["role"] == "img"
        assert svg.attributes["aria-label"]
        assert figure.one("details").one("table").one("tbody").all("tr")


def test_errors_are_shown_with_their_cause(page: Element) -> None:
    section = page.one("section", id="errors")
    assert "KeyError: 'x'" in section.text
    assert "Traceback: line 1" in section.text


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"interrupted": True}, "Interrupted: this record is partial."),
        ({"mutant": "rounds_down"}, "(mutant rounds_down): a failure is the right outcome."),
        ({"judged_again": True}, "Judged again from recorded histories."),
    ],
)
def test_what_colours_the_verdict_is_said_at_the_top(tmp_path: Path, run: dict[str, Any], said: str) -> None:
    folder = write_verdict(tmp_path, verdict_of(many(4), **run))
    assert said in parse(rendered_page(folder)).one("header").text


# What it is


def test_ids_are_unique_and_links_lead_somewhere(page: Element) -> None:
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.all():
        for name in ("href", "aria-labelledby", "for", "data-copy"):
            target = element.attributes.get(name)
            assert target is None or target.removeprefix("#") in ids, (element.tag, name, target)
        for target in re.findall(r"url\(#([^)]+)\)", " ".join(element.attributes.values())):
            assert target in ids


def test_nothing_is_loaded_from_anywhere(html: str, page: Element) -> None:
    assert "://" not in html
    assert not re.search(r"(?i)@import|expression\(|javascript:", html)
    for element in page.all():
        assert element.tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert "src" not in element.attributes
        assert element.attributes.get("href", "#").startswith("#")
        assert not [name for name in element.attributes if name.startswith("on")]


def test_the_policy_lets_only_the_pages_own_script_run(page: Element) -> None:
    policy = page.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    script = "".join(part for part in page.one("script").parts if isinstance(part, str))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}';" in policy
    assert len(script) < 3_000


def test_it_can_be_read_without_eyes(page: Element) -> None:
    assert page.one("html").attributes["lang"] == "en"
    assert len(page.all("h1")) == 1
    for landmark in ("header", "nav", "main", "footer"):
        page.one(landmark)
    assert page.one("a", class_="skip").attributes["href"] == "#broken"
    for th in page.all("th"):
        assert th.attributes.get("scope") in {"row", "col"}
    for table in page.all("table"):
        assert [child.tag for child in table.children if child.tag != "caption"] == ["thead", "tbody"]
    levels = [int(element.tag[1]) for element in page.all() if re.fullmatch("h[1-6]", element.tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    label = page.one("label")
    assert page.one("input", id=label.attributes["for"])
    for element in page.all(class_="s pass") + page.all(class_="s fail"):
        assert element.text in {"PASS", "FAIL"}
    for cell in page.all("ul", class_="strip")[0].all("a"):
        assert cell.attributes["title"] == cell.attributes["class"]


def test_figures_follow_the_readers_colours_and_width(page: Element) -> None:
    for svg in page.all("svg"):
        assert "viewbox" in svg.attributes
        assert not {"width", "height"} & svg.attributes.keys()
        for element in svg.all():
            style = " ".join(element.attributes.values())
            assert not re.search(r"#[0-9a-f]{6}\b", style), style


# Same folder, same bytes


def test_the_same_folder_gives_the_same_bytes_in_any_process(rendered: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(rendered, again)
    code = "import sys, pathlib, reports; reports.render_all(pathlib.Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, str(again)], check=True, env=environment, cwd=Path(__file__).parents[2])
    for name in ("report.html", "junit.xml", "summary.md"):
        assert (again / name).read_bytes() == (rendered / name).read_bytes()


# Size


def test_two_thousand_checks_fit_the_size_aimed_at(tmp_path: Path) -> None:
    html = rendered_page(write_verdict(tmp_path, verdict_of(many(2_000, failing=40))))
    assert len(html.encode()) <= AIM
    rows = parse(html).one(id="check-rows").all("tr")
    assert len(rows) == 2_000
    assert [row.attributes["data-s"] for row in rows[:41]] == ["fail"] * 40 + ["pass"]


def test_twenty_thousand_checks_keep_what_broke_and_count_what_passed(tmp_path: Path) -> None:
    html = rendered_page(write_verdict(tmp_path, verdict_of(many(20_000, failing=60))))
    assert len(html.encode()) <= AIM < CAP
    page = parse(html)
    rows = page.one(id="check-rows").all("tr")
    assert {row.attributes["data-s"] for row in rows} == {"fail"}
    assert len(rows) == 60
    assert "Passes are summarised per checker" in page.one("header").text
    summed = page.one("section", id="checks").all("table")[-1].one("tbody").all("tr")
    assert sum(int(row.all("td")[1].text.replace(",", "")) for row in summed) == 19_940


def test_a_flood_of_causes_stays_below_the_cap(tmp_path: Path) -> None:
    long = "much text " * 500
    checks = [
        check("BILL-01", f"c{n}", {"input": (0, 25, 0)}, [piece("input", long, long, f"c{m}") for m in range(25)])
        for n in range(600)
    ]
    html = rendered_page(write_verdict(tmp_path, verdict_of([scenario("a.b", checks)])))
    assert len(html.encode()) <= CAP
    page = parse(html)
    shown = len(page.one("section", id="broken").all("article"))
    assert f"And {600 - shown} more causes" in page.one("section", id="broken").text


# Hostile content


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'`{{ 7*7 }}{% raw %}\x00\x1b[31m\u202e"


def test_hostile_text_stays_text_wherever_it_stands(tmp_path: Path) -> None:
    broken = check("BILL-01", HOSTILE, {HOSTILE: (0, 1, 0)}, [piece(HOSTILE, HOSTILE, HOSTILE, HOSTILE)])
    doubted = check("INS-03", HOSTILE, {"over_threshold_pays": (0, 0, 1)})
    scenarios = [
        scenario(HOSTILE, [broken, doubted], doubts=[HOSTILE], folder=HOSTILE),
        scenario("e", outcome="error", error={"kind": HOSTILE, "message": HOSTILE, "cause": HOSTILE, "help": HOSTILE}),
    ]
    verdict = verdict_of(scenarios, target=HOSTILE, mutant=HOSTILE, overlay=HOSTILE)
    verdict["requirements"][HOSTILE] = {**verdict["requirements"]["BILL-01"], "profile": HOSTILE, "text": HOSTILE}
    verdict["requirements"][HOSTILE]["assumed"] = [HOSTILE]
    folder = write_verdict(tmp_path, verdict)
    (folder / "run.json").write_bytes(
        orjson.dumps({"argv": [HOSTILE], "versions": {HOSTILE: HOSTILE}, "python": HOSTILE})
    )
    render_all(folder)
    html = (folder / "report.html").read_text("utf-8")
    page = parse(html)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert "{{ 7*7 }}" in html
    assert not set(html) & {"\x00", "\x1b", "\u202e"}
    assert not [name for element in page.all() for name in element.attributes if name.startswith("on")]


def test_hostile_histories_stay_text(tmp_path: Path) -> None:
    from tests.reports.folders import Writer

    writer = Writer("hostile.upstream")
    for n in range(8):
        writer.call(
            f"c{n}",
            at_ms=n,
            model=f"$x^2$ {HOSTILE}",
            surface=HOSTILE,
            failed=(HOSTILE,),
            fault=HOSTILE,
            text=HOSTILE * 200,
        )
    writer.write(tmp_path / "hostile.upstream-0")
    checks = [
        check(
            "BILL-01",
            "charge_matches_usage",
            {"input": (0, 8, 0)},
            [piece("input", "1", "2", f"c{n}") for n in range(8)],
        ),
        check("FAIL-01", "attempts_follow_the_chain", {"chat": (8, 0, 0)}),
    ]
    html = rendered_page(write_verdict(tmp_path, verdict_of([scenario("hostile.upstream", checks)])))
    page = parse(html)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert page.all("svg", class_="tl")
    assert page.all("figure", id="fig-faults")
    assert "more characters)" in html


# What is not there


def test_without_histories_the_verdict_is_still_told(tmp_path: Path) -> None:
    page = parse(rendered_page(write_verdict(tmp_path, verdict_of(records()))))
    assert len(page.one("section", id="broken").all("article")) == 3
    assert not page.all("figure")
    assert page.one("section", id="money").text.count("Not recorded") == 2
    assert f"{MONEY}, seed 0: its history was not recorded." in page.one("section", id="broken").text


def test_a_damaged_history_is_named_and_the_rest_rendered(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    path = folder / f"{MONEY}-0" / "history.jsonl"
    path.write_bytes(path.read_bytes()[:5_000] + b"\n{broken")
    page = parse(rendered_page(folder))
    assert "its history cannot be read: " in page.one("section", id="broken").text
    assert str(tmp_path) not in page.text
    assert page.all("figure", id="fig-faults")
    assert not page.all("figure", id="fig-charged")


def test_a_history_of_another_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    folder = write_verdict(tmp_path, verdict_of(records()))
    write_run(tmp_path / "other")
    shutil.copytree(tmp_path / "other" / f"{STORM}-0", folder / f"{MONEY}-0")
    assert f"{MONEY}, seed 0: its history was not recorded." in parse(rendered_page(folder)).text


def test_a_history_directly_in_the_folder_is_found(tmp_path: Path) -> None:
    write_run(tmp_path / "runs")
    folder = tmp_path / "runs" / f"{MONEY}-0"
    write_verdict(folder, verdict_of([one for one in records() if one["scenario"] == MONEY]))
    assert parse(rendered_page(folder)).all("figure", id="fig-charged")


def test_a_folder_name_cannot_lead_out_of_the_run(tmp_path: Path) -> None:
    write_run(tmp_path / "secret")
    found = records()
    found[0]["folder"] = f"../secret/{MONEY}-0"
    folder = write_verdict(tmp_path / "run", verdict_of(found))
    assert f"{MONEY}, seed 0: its history was not recorded." in parse(rendered_page(folder)).text


def test_a_call_that_the_history_does_not_have_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    found = records()
    found[0]["checks"][0]["evidence"][0]["call"] = "c99"
    page = parse(rendered_page(write_verdict(folder, verdict_of(found))))
    assert "Call c99 is not in the recorded history." in page.text


def test_an_empty_record_is_a_page_too(tmp_path: Path) -> None:
    page = parse(rendered_page(write_verdict(tmp_path, verdict_of([], whole=()))))
    assert page.one("h1").text == "UNSUPPORTED no promise was judged"
    assert "The selection judged no requirement." in page.text
