"""The figures: drawn of the scenario that shows most, true to its numbers, and None where there is nothing to show."""

from __future__ import annotations

import re
from pathlib import Path

import numpy
import pytest

from harness.history import read_history
from reports.figures import Figure, draw_all, kinds
from reports.figures.drawing import cells, finished, label, styled
from reports.figures.limits import _thinned
from reports.histories import Histories, Recording
from reports.record import load
from tests.reports.folders import (
    MONEY,
    STORM,
    THRESHOLD_MS,
    Writer,
    check,
    records,
    scenario,
    verdict_of,
    write_money,
    write_run,
    write_storm,
    write_verdict,
)


@pytest.fixture(scope="module")
def figures(rendered: Path) -> dict[str, Figure | None]:
    record = load(rendered)
    return draw_all(record, Histories(record))


def drawn(figures: dict[str, Figure | None], name: str) -> tuple[Figure, dict[str, list[str]]]:
    """Return a figure and its table's rows by their first cell."""
    figure = figures[name]
    assert figure is not None
    return figure, {row[0]: list(row[1:]) for row in figure.rows}


def recording(folder: Path, name: str) -> Recording:
    return Recording(name, 0, read_history(folder))


# What they show


def test_the_timeline_counts_calls_attempts_faults_and_circuit_states(figures: dict[str, Figure | None]) -> None:
    figure, rows = drawn(figures, "faults")
    assert figure.source == f"{STORM}, seed 0"
    assert rows["calls ok"] == ["25", ""]
    assert rows["calls refused"] == ["4", ""]
    assert rows["attempts at primary"] == ["26", ""]
    assert rows["attempts at second"] == ["9", ""]
    assert rows["fault respond at primary"] == ["9", "0 s to 8 s"]
    assert rows["circuit of gpt-5-5 told open"] == ["1", "from 3.2 s"]
    assert rows["circuit of gpt-5-5 told closed"] == ["3", "from 0 s, 8 s, 9.2 s"]
    for word in ("ok 25", "primary 26", "respond at primary", "circuit gpt-5-5"):
        assert word in figure.svg


def test_in_flight_is_the_journals_count_against_the_contracts_cap(figures: dict[str, Figure | None]) -> None:
    figure, rows = drawn(figures, "in_flight")
    assert figure.columns == ["model", "attempts", "peak in flight", "cap", "peak at (s)"]
    assert rows == {"gpt-5-5": ["36", "3", "3", rows["gpt-5-5"][3]]}
    assert "Peak 3 of 3 for gpt-5-5" in figure.caption
    assert "cap 3" in figure.svg


def test_admissions_are_counted_per_window_against_the_ceiling(figures: dict[str, Figure | None]) -> None:
    figure, rows = drawn(figures, "admitted")
    assert rows["a, gpt-5-5"] == ["26", "4", "60", "26", "12", "11.6"]
    assert "26 of 12 for a, gpt-5-5" in figure.caption
    assert "4 calls answered 429" in figure.caption
    assert "ceiling 12" in figure.svg


def test_charges_are_told_per_model_and_what_broke_is_ringed(figures: dict[str, Figure | None]) -> None:
    figure, _ = drawn(figures, "charged")
    assert figure.source == f"{MONEY}, seed 0"
    totals, broken = figure.rows
    assert dict(zip(figure.columns, totals, strict=True)) == {
        "model": "gpt-5-5",
        "calls": "10",
        "tokens": "5,250",
        "booked": "119",
        "told": "120",
        "logged": "119",
        "booked − told": "-1",
        "recomputed": "",
    }
    assert broken[1] == "call c4"
    assert broken[-2:] == ["-1", "expected told 11; actual told 12"]
    assert "1 call broke a promise and is ringed" in figure.caption


def test_insurance_is_told_to_the_millisecond_at_the_threshold(figures: dict[str, Figure | None]) -> None:
    figure, rows = drawn(figures, "insurance")
    assert rows["c4"][1:5] == [f"{THRESHOLD_MS:,}", "0", "not_triggered", "11"]
    assert rows["c6"][1:6] == [f"{THRESHOLD_MS + 1:,}", "1", "paid", "12", "3"]
    assert len(rows) == 10
    assert "threshold 90 s" in figure.svg
    assert "r1" not in rows


def test_latency_is_told_by_surface(figures: dict[str, Figure | None]) -> None:
    figure, rows = drawn(figures, "latency")
    assert list(rows) == ["chat", "responses, streamed"]
    assert rows["chat"][:4] == ["5", "90,000", "115,000", "115,000"]
    assert figure.source == f"{MONEY}, seed 0"


def test_only_answered_calls_have_a_latency(tmp_path: Path) -> None:
    write_storm(tmp_path)
    kind = next(kind for kind in kinds() if kind.name == "latency")
    with styled():
        figure = kind.draw(recording(tmp_path, STORM), {})
    assert figure is not None
    assert sum(int(row[1]) for row in figure.rows) == 25


# Which scenario they show


def test_a_broken_scenario_goes_before_a_larger_one_that_held(tmp_path: Path) -> None:
    write_run(tmp_path)
    write_money(tmp_path / f"{MONEY}-1", seed=1)
    found = records()
    held = check("BILL-01", "charge_matches_usage", {"input": (99, 0, 0), "output": (99, 0, 0)})
    found.append(scenario(MONEY, [held], seed=1, attempts=10_000))
    record = load(write_verdict(tmp_path, verdict_of(found)))
    telling = Histories(record).telling((("BILL-01.",),), "attempts", 5)
    assert [one.seed for one in telling] == [0, 1]


def test_of_two_that_held_the_one_that_judged_more_goes_first(tmp_path: Path) -> None:
    write_storm(tmp_path / f"{STORM}-0")
    write_storm(tmp_path / f"{STORM}-1", seed=1)
    few = check("BRK-02", "c", {"opens_at_threshold": (9, 0, 0), "closes": (0, 0, 1)})
    more = check("BRK-02", "c", {"opens_at_threshold": (1, 0, 0), "closes": (1, 0, 0)})
    found = [scenario(STORM, [few], calls=99), scenario(STORM, [more], seed=1)]
    record = load(write_verdict(tmp_path, verdict_of(found)))
    assert [one.seed for one in Histories(record).telling((("BRK-02.",),), "calls", 5)] == [1, 0]
    assert [one.seed for one in Histories(record).telling((("BRK-02.",),), "calls", 1)] == [1]
    assert not list(Histories(record).telling((("INS-",),), "calls", 5))


# Nothing to show


@pytest.mark.parametrize("name", [kind.name for kind in kinds()])
def test_a_history_without_calls_has_no_figure(tmp_path: Path, name: str) -> None:
    Writer("empty.run").write(tmp_path)
    kind = next(kind for kind in kinds() if kind.name == name)
    with styled():
        assert kind.draw(recording(tmp_path, "empty.run"), {}) is None


@pytest.mark.parametrize("name", ["in_flight", "admitted", "insurance"])
def test_without_a_readable_contract_there_is_no_limit_to_draw_against(tmp_path: Path, name: str) -> None:
    writer = Writer("foreign.gateway")
    for n in range(8):
        writer.call(f"c{n}", at_ms=n)
    writer.write(tmp_path, contract={"name": "of another version"})
    kind = next(kind for kind in kinds() if kind.name == name)
    with styled():
        assert kind.draw(recording(tmp_path, "foreign.gateway"), {}) is None


# How they are drawn


def test_svg_can_stand_beside_others_in_one_page(figures: dict[str, Figure | None]) -> None:
    seen: set[str] = set()
    for figure in figures.values():
        assert figure is not None
        ids = re.findall(r' id="([^"]+)"', figure.svg)
        assert not seen & set(ids)
        seen |= set(ids)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', figure.svg)) <= set(ids)
        for absent in ("<style", "<?xml", "<metadata", "xlink", "http", "#000000", "<!--"):
            assert absent not in figure.svg
    assert seen


def test_figures_are_small(figures: dict[str, Figure | None]) -> None:
    assert sum(len(figure.svg) for figure in figures.values() if figure is not None) < 250_000


def test_a_crowd_of_calls_is_thinned(tmp_path: Path) -> None:
    writer = Writer("crowd.of_calls")
    for n in range(5_000):
        writer.call(f"c{n}", at_ms=n * 7, ms=50 + n % 97, insured="paid" if n % 3 else "not_triggered")
    writer.write(tmp_path)
    one = recording(tmp_path, "crowd.of_calls")
    with styled():
        made = [kind.draw(one, {"c3": "expected 1; actual 2"}) for kind in kinds()]
    assert all(figure is not None for figure in made)
    assert sum(len(figure.svg) for figure in made if figure is not None) < 450_000


def test_thinning_keeps_the_peak() -> None:
    instants = numpy.arange(10_000) * 1_000
    levels = numpy.zeros(10_000, dtype=int)
    levels[7_777] = 81
    x, y = _thinned(instants, levels)
    assert len(x) <= 400
    assert y.max() == 81
    assert abs(x[y.argmax()] - 7_777_000) < 25_000


def test_thinning_keeps_a_level_through_a_stretch_without_change() -> None:
    instants = numpy.concatenate([numpy.arange(500), [100_000]])
    levels = numpy.concatenate([numpy.full(500, 5), [0]])
    _, y = _thinned(instants, levels)
    assert (y[10:399] == 5).all()


@pytest.mark.parametrize(
    ("given", "shown"),
    [("a\nb", "a b"), ("漢字", "??"), ("ü$x^2$", "ü$x^2$"), ("x" * 60, "x" * 40 + "? (20 more characters)")],
)
def test_labels_have_letters_that_the_bundled_font_has(given: str, shown: str) -> None:
    assert label(given) == shown


def test_a_label_is_escaped_and_is_no_formula(tmp_path: Path) -> None:
    from reports.figures.drawing import canvas

    with styled():
        made, (axes,) = canvas(1)
        axes.set_xlabel("$x^2$ <script>")
        svg = finished(made, "one", 'its "label"')
    assert "$x^2$ &lt;script&gt;" in svg
    assert 'aria-label="its &#34;label&#34;"' in svg


def test_cells_are_plain_text() -> None:
    import pandas

    frame = pandas.DataFrame({"n": [1_000, 2], "x": [0.5, float("nan")], "t": ["a\nb", None]})
    assert cells(frame) == (["n", "x", "t"], [["1,000", "0.5", "a b"], ["2", "–", "–"]])
