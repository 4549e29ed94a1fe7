"""The timeline of one call: its lanes, its gaps, its words, whatever happened to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.history import History, read_history
from reports.timeline import timeline
from tests.reports.folders import Writer
from tests.reports.parsed import Element, parse


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("timeline")
    writer = Writer("one.call")
    writer.call("c1", at_ms=100, ms=1_000, failed=("primary", "second"), insured="paid")
    writer.call("c2", at_ms=0, ms=5, outcome="refused", status=429)
    writer.call("c3", at_ms=0, ms=0, outcome="cut", status=0)
    writer.write(folder)
    return read_history(folder)


def drawn(history: History, call: str) -> Element:
    svg = timeline(history.call[call], history.attempts_of(call), history.entries_of(call), history.faults)
    return parse(str(svg)).one("svg")


def words(svg: Element) -> list[str]:
    return [text.text for text in svg.all("text")]


def test_every_attempt_has_a_lane_and_tells_how_it_ended(history: History) -> None:
    svg = drawn(history, "c1")
    assert [text.text for text in svg.all("text", class_="n")] == [
        "caller",
        "gateway",
        "primary",
        "second",
        "third",
        "books",
    ]
    assert words(svg).count("fault 503 respond") == 2
    assert "served 200" in words(svg)
    assert svg.attributes["aria-label"] == "Timeline of call c1: ok after 1,000 ms, 3 attempts"


def test_the_gateways_own_time_is_told(history: History) -> None:
    call = history.call["c1"]
    attempts = history.attempts_of("c1")
    later = tuple(
        replace(attempt, start=call.sent + 200_000 + n * 250_000, end=call.sent + 300_000 + n * 250_000)
        for n, attempt in enumerate(attempts)
    )
    svg = parse(str(timeline(call, later, (), ()))).one("svg")
    assert [word for word in words(svg) if word.split()[0] in {"wait", "pause", "settle"}] == [
        "wait 200 ms",
        "pause 150 ms",
        "pause 150 ms",
        "settle 200 ms",
    ]


def test_a_gap_after_an_attempt_that_failed_at_once_is_a_pause(history: History) -> None:
    call = history.call["c1"]
    first, second, _ = history.attempts_of("c1")
    tries = (replace(first, start=call.sent, end=call.sent), replace(second, start=call.sent + 500_000, end=call.end))
    svg = parse(str(timeline(call, tries, (), ()))).one("svg")
    assert "pause 500 ms" in words(svg)


def test_the_books_are_told_when_they_changed(history: History) -> None:
    svg = drawn(history, "c1")
    titles = [title.text for title in svg.all("title")]
    assert "post -12 at 1,100 ms" in titles
    assert "payout +3 at 1,100 ms" in titles
    assert [title for title in titles if title.startswith("fault respond fired")]


def test_bars_stay_within_the_drawing_and_start_in_time_order(history: History) -> None:
    svg = drawn(history, "c1")
    width = float(svg.attributes["viewbox"].split()[2])
    for bar in svg.all("rect"):
        assert float(bar.attributes["x"]) >= 96
        assert float(bar.attributes["x"]) + float(bar.attributes["width"]) <= width
    for text in svg.all("text"):
        reach = len(text.text) * 5.0
        end = text.attributes["text-anchor"] == "end"
        x = float(text.attributes["x"])
        assert (x - reach if end else x) >= 0
        assert (x if end else x + reach * (0.5 if text.attributes["text-anchor"] == "middle" else 1)) <= width + 5


def test_a_refused_call_and_an_instant_one_are_drawn_too(history: History) -> None:
    assert "refuse 5 ms" in words(drawn(history, "c2"))
    svg = drawn(history, "c3")
    assert svg.attributes["aria-label"].startswith("Timeline of call c3: cut after 0 ms, 0 attempts")


def test_ticks_are_round_and_few(history: History) -> None:
    svg = drawn(history, "c1")
    assert [text.text for text in svg.all("text", class_="t")] == [
        "0 ms",
        "200 ms",
        "400 ms",
        "600 ms",
        "800 ms",
        "1,000 ms",
    ]


def test_many_attempts_and_chunks_are_bounded_and_said(history: History) -> None:
    call = replace(history.call["c1"], chunks=tuple(range(100_000, 1_100_000, 500)))
    attempts = history.attempts_of("c1") * 20
    svg = parse(str(timeline(call, attempts, history.entries_of("c1") * 100, ()))).one("svg")
    assert "60 attempts, 52 more not drawn" in svg.attributes["aria-label"]
    assert len(svg.all()) < 250


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    writer = Writer("one.call")
    writer.call("<c>", at_ms=0, failed=('"><script>',), fault="</svg>\x00")
    writer.write(tmp_path)
    history = read_history(tmp_path)
    svg = drawn(history, "<c>")
    assert not svg.all("script")
    assert "fault 503 </svg>\\x00" in words(svg)
