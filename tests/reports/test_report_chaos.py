"""The report of chaos runs: every circuit three times, what turns cost, and targets that claim no breaker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.cli.suite import SUITE, load, target_spec
from harness.contract import load_requirements
from harness.runner import Job, Suite, build_verdict, run_job
from harness.target import Target
from harness.targets.reference import Reference
from reports import render_all
from reports.figures import draw_chaos
from reports.figures.circuits import words
from reports.histories import Histories
from reports.record import load as load_record
from tests.reports.parsed import Element, parse

NAMES = ("chaos.outage", "retries.sdk_in_an_outage", "retries.without_a_breaker")
NO_BREAKER = ("ERR-*",)


class Modest(Reference):
    """The reference gateway, claiming nothing of what these scenarios judge."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = NO_BREAKER


def modest(_: Any) -> Target:
    return Modest()


def written(folder: Path, names: tuple[str, ...], suite: Suite = SUITE, claims: tuple[str, ...] = ("*",)) -> Path:
    load()
    spec = target_spec("reference", (), "", "")
    found = [run_job(Job(name, 0, "sim", spec, folder=str(folder)), suite) for name in names]
    run = {"target": "reference", "mode": "sim", "seeds": [0, 0], "mutant": ""}
    verdict = build_verdict(run, found, load_requirements(), claims, expected=frozenset())
    (folder / "verdict.json").write_bytes(orjson.dumps(verdict))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("chaos"), NAMES)


@pytest.fixture(scope="module")
def page(folder: Path) -> Element:
    render_all(folder)
    return parse((folder / "report.html").read_text("utf-8"))


def table(page: Element, figure: str) -> list[list[str]]:
    rows = page.one("figure", id=figure).one("table").all("tr")
    return [[cell.text.strip() for cell in row.all("td") or row.all("th")] for row in rows]


def test_a_chaos_run_has_a_section_of_its_own(page: Element) -> None:
    assert page.one("section", id="chaos").one("h2").text == "Chaos: circuits over time"
    for number in (1, 2):
        assert page.one("figure", id=f"fig-chaos-{number}").one("svg")


def test_circuits_are_told_by_journal_contract_and_gateway(folder: Path) -> None:
    drawn = dict(draw_chaos(load_record(folder), Histories(load_record(folder))))
    figure = drawn["chaos.outage"]
    told = {(row[0], row[1], row[2]) for row in figure.rows}
    for source in ("inferred", "by contract", "advertised"):
        assert ("primary", source, "open") in told
        assert ("primary", source, "closed") in told
    assert ("primary", "attempts", "failed") in told
    assert ("second", "attempts", "served") in told
    assert "nowhere at odds" in figure.caption
    for word in ("primary, inferred", "primary, advertised", "closed", "open", "served"):
        assert word in figure.svg


def test_turns_cost_less_with_circuits(folder: Path) -> None:
    drawn = dict(draw_chaos(load_record(folder), Histories(load_record(folder))))
    figure = drawn["What a turn costs in an outage"]
    costs = {(row[0], row[1]): float(row[4]) for row in figure.rows}
    assert costs["sdk", "without circuits"] == 18
    assert costs["codex", "without circuits"] == 180
    assert costs["sdk", "with circuits"] < 9
    assert figure.source == "retries.sdk_in_an_outage, seed 0, retries.without_a_breaker, seed 0"


def test_the_figures_are_the_same_bytes_again(folder: Path) -> None:
    first, again = (
        [figure.svg for _, figure in draw_chaos(load_record(folder), Histories(load_record(folder)))] for _ in range(2)
    )
    assert first == again
    assert len(first) == 2
    assert sum(map(len, first)) < 120_000


def test_a_target_that_claims_no_breaker_is_unsupported_and_shown_all_the_same(tmp_path: Path) -> None:
    written(tmp_path, ("chaos.outage",), Suite(load, modest, SUITE.mutate), NO_BREAKER)
    record = load_record(tmp_path)
    assert record.scenarios[0]["outcome"] == "unsupported"
    ((name, figure),) = draw_chaos(record, Histories(record))
    assert name == "chaos.outage"
    assert "the target claims no circuit breaker" in figure.caption


def test_a_run_without_chaos_has_no_such_section(rendered: Path) -> None:
    assert draw_chaos(load_record(rendered), Histories(load_record(rendered))) == []


@pytest.mark.parametrize(
    ("modes", "text"),
    [
        ({"closed"}, "closed"),
        ({"half_open", "closed"}, "closed or half open"),
        ({"open", "half_open"}, "half open or open"),
        ({"closed", "open", "half_open"}, "unknown"),
    ],
)
def test_modes_have_words(modes: set[Any], text: str) -> None:
    assert words(frozenset(modes)) == text
