"""An audit as page and Markdown: every class and amount, safe, in tables that hold, and the same bytes again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.audit import Audit, audit
from reports.amounts import Amounts
from reports.audit import CAP, render
from tests.audit.made import CREDIT, LIES, Month, month
from tests.reports.parsed import parse

HOSTILE = "<script>alert(1)</script>|`x`"


def rendered(out: Path, made: Month, *, hostile: bool = False) -> Audit:
    out.mkdir(exist_ok=True)
    with made.books() as books:
        if hostile:
            books.db.execute("UPDATE served SET model = ?, account = ? WHERE call = 'call-300'", [HOSTILE, HOSTILE])
            books.db.execute("UPDATE entries SET model = ? WHERE call = 'call-300'", [HOSTILE])
            books.insert("unreadable", [(HOSTILE, 3, "amount", f"=1+1{HOSTILE}", "no number")])
            books.notes.append(HOSTILE)
        result = audit(books)
        render(result, books, out)
        return result


def lying() -> Month:
    return month("report", calls=300, lies=LIES, each=2)


def test_the_page_tells_every_class_with_its_amounts_over_and_under_apart(tmp_path: Path) -> None:
    result = rendered(tmp_path, lying())
    page = parse((tmp_path / "audit.html").read_text("utf-8"))
    amounts = Amounts(result.digits, result.credit)
    rows = {
        row.one("th").text.split()[0]: row for row in page.one("section", id="classes").all("table")[0].all("tr")[1:]
    }
    for one in result.classes:
        assert (one.name in rows) is bool(one.count)
        if one.count:
            told = [cell.text for cell in rows[one.name].all("td")]
            assert told == [f"{one.count:,}", amounts.both(one.over), amounts.both(one.under)]
    assert page.one("h1").text.startswith("FAIL the books do not agree")
    assert page.one(id="count-over").text == amounts.both(sum(one.over for one in result.classes))


def test_each_discrepancy_is_shown_with_its_call_amounts_and_places(tmp_path: Path) -> None:
    made = lying()
    rendered(tmp_path, made)
    page = parse((tmp_path / "audit.html").read_text("utf-8"))
    shown = [row.text for row in page.one(id="check-rows").all("tr")]
    assert len(shown) == len(made.expected)
    amounts = Amounts(10, CREDIT)
    for one in made.expected:
        row = next(text for text in shown if text.startswith(one.name) and f" {one.call} " in text)
        assert f" {amounts.credits(one.expected)} {amounts.credits(one.observed)} " in row
        assert row.endswith(one.harmed)
        assert re.search(r"(upstream|ledger|client)\.jsonl:\d+", row)


@pytest.mark.parametrize("name", ["models", "classes", "time", "payouts", "rolled"])
def test_each_figure_is_there_with_the_numbers_behind_it(tmp_path: Path, name: str) -> None:
    rendered(tmp_path, lying())
    figure = parse((tmp_path / "audit.html").read_text("utf-8")).one("figure", id=f"fig-{name}")
    assert figure.one("svg").attributes["aria-label"]
    assert figure.one("table").all("tr")


def test_clean_books_are_told_in_one_sentence(tmp_path: Path) -> None:
    rendered(tmp_path, month("clean report", calls=200))
    page = parse((tmp_path / "audit.html").read_text("utf-8"))
    assert page.one("h1").text == "PASS all books agree: 200 calls"
    assert not page.all("section", id="checks")
    assert (tmp_path / "audit.md").read_text("utf-8").startswith("# PASS: all books agree: 200 calls")


def test_no_books_are_rendered_too(tmp_path: Path) -> None:
    rendered(tmp_path, Month([]))
    assert "INCONCLUSIVE the books prove nothing" in (tmp_path / "audit.html").read_text("utf-8").replace("</span>", "")


def test_nothing_of_the_books_becomes_markup_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    rendered(tmp_path, lying(), hostile=True)
    text = (tmp_path / "audit.html").read_text("utf-8")
    page = parse(text)
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    assert text.count("<script") == 1
    assert HOSTILE in page.text
    for link in page.one("nav").all("a"):
        assert link.attributes["href"].removeprefix("#") in ids
    markdown = (tmp_path / "audit.md").read_text("utf-8")
    assert "<script" not in markdown.replace("\\<script", "")


def test_markdown_tables_hold_and_fit_a_job_summary(tmp_path: Path) -> None:
    rendered(tmp_path, month("long", calls=0, lies=LIES, each=40), hostile=True)
    text = (tmp_path / "audit.md").read_text("utf-8")
    assert len(text.encode()) < CAP
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1, block


def test_the_same_books_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        rendered(tmp_path / name, lying())
    for name in ("audit.html", "audit.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


@pytest.mark.parametrize(
    ("units", "credits", "dollars"),
    [
        (None, "–", "–"),
        (0, "0", "$0.00"),
        (CREDIT, "1", "$0.01"),
        (-150 * CREDIT, "−150", "−$1.50"),
        (1, "0.00000001", "$0.0000000001"),
        (123_456_789 * CREDIT + 25_000_000, "123,456,789.25", "$1,234,567.8925"),
    ],
)
def test_amounts_are_told_exactly(units: int | None, credits: str, dollars: str) -> None:
    amounts = Amounts(10, CREDIT)
    assert (amounts.credits(units), amounts.dollars(units)) == (credits, dollars)
