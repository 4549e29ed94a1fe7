"""The report of a load: every figure drawn, the numbers right, the tables readable, whatever was not there."""

from __future__ import annotations

import csv
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from harness.checkers.load_memory import Memory, Sample, judged
from harness.contract import contract_to_json
from harness.history import HistoryError, Recorder
from harness.load.collect import write_history
from reports.load import render_load, summary
from reports.load_rows import read_rows
from tests.checkers.traffic_histories import Traffic

STEPS = [{"from_ms": 0, "to_ms": 500, "rate": 10}, {"from_ms": 500, "to_ms": 1_000, "rate": 20}]
LOAD = {"shape": "staircase", "bound_us": 5_000, "workers": 1, "count": 14, "length_ms": 1_000, "steps": STEPS}
VERDICT: dict[str, Any] = {
    "verdict": "pass", "exit": 0, "run": {"target": "reference", "mode": "local"}, "scenarios": [],
}  # fmt: skip


def recorded(folder: Path, traffic: Traffic, **verdict: Any) -> Path:
    """Write what ``traffic`` tells as the run of a load, and a verdict above it."""
    history = traffic.history()
    plan = {name: getattr(history.plan, name) for name in history.plan.__slots__}
    with closing(Recorder()) as recorder:
        for call in history.calls:
            recorder.span("call", call.end, asdict(call))
        for attempt in history.attempts:
            recorder.span("attempt", attempt.end, asdict(attempt))
        for second in range(3):
            seen = {"gateway": (60 + second) << 20, "generator 0": 50 << 20}
            recorder.note("memory", second * 1_000_000, ended=second * 5, resident=seen)
        planned = [asdict(call) for call in plan.pop("calls")]
        write_history(
            folder / "load", {**plan, "contract": contract_to_json(traffic.contract), "calls": []}, planned, recorder
        )
    (folder / "verdict.json").write_bytes(orjson.dumps({**VERDICT, **verdict}))
    return folder / "load"


def staircase() -> Traffic:
    """Return ten calls answered in 50 ms, streams among them, one refused, one cut, one late, and one never sent."""
    traffic = Traffic(mode="local", options={"load": {**LOAD, "windows": []}})
    for number in range(10):
        at, stream = 100.0 * number, number % 2 == 1
        call = {"stream": stream, "first_content": round((at + 20) * 1e3), "chunks": (20_000, 30_000, 45_000)}
        traffic.served(f"s{number}", at, at + 50, tokens=40, **call)
    traffic.refused("s10", 910)
    traffic.call("s11", 920, 930, outcome="cut", status=None, first_byte=None)
    traffic.served("s12", 930, 980)
    traffic.calls[-1] = replace(traffic.calls[-1], sent=940_000)
    traffic.served("s13", 990, 999)
    traffic.calls.pop()
    traffic.attempts.pop()
    return traffic


def test_the_report_counts_what_was_planned_sent_and_seen(tmp_path: Path) -> None:
    told = render_load(tmp_path, recorded(tmp_path, staircase()))
    assert {name: told[name] for name in ("planned", "sent", "ok", "refused", "failed", "admitted", "tokens")} == {
        "planned": 14, "sent": 13, "ok": 11, "refused": 1, "failed": 1, "admitted": 11, "tokens": 410,
    }  # fmt: skip
    assert told["late"][-1] == 10.0
    assert (told["response"][0], told["ttft"][0]) == (50.0, 20.0)


@pytest.mark.parametrize(
    ("objective", "count"),
    [({"latency": 50}, 11), ({"latency": 49.9}, 0), ({"ttft": 20}, 5), ({"per-token": 2}, 5), ({"per-token": 1}, 0)],
)
def test_goodput_counts_the_calls_that_met_all_of_an_objective(
    objective: dict[str, float], count: int, tmp_path: Path
) -> None:
    rows = read_rows(recorded(tmp_path, staircase()))
    assert summary(rows, objective)["good"] == count


def test_the_page_draws_every_figure_and_the_same_each_time(tmp_path: Path) -> None:
    folder = recorded(tmp_path, staircase())
    render_load(tmp_path, folder)
    page = (tmp_path / "load.html").read_text()
    for name in ("rates", "latencies", "distribution", "windows", "in_flight", "lateness", "memory", "saturation"):
        assert f'id="fig-{name}"' in page, name
    render_load(tmp_path, folder)
    assert (tmp_path / "load.html").read_text() == page
    assert "chat, streamed" in (tmp_path / "load.md").read_text()
    assert "do not compare" not in page


def test_times_by_clocks_that_do_not_compare_are_told(tmp_path: Path) -> None:
    traffic = staircase()
    traffic.options["load"]["clocks"] = [0, 2]
    render_load(tmp_path, recorded(tmp_path, traffic))
    assert "on clocks that do not compare" in (tmp_path / "load.html").read_text()


def test_the_tables_have_a_row_for_each_call_and_say_the_same(tmp_path: Path) -> None:
    render_load(tmp_path, recorded(tmp_path, staircase()))
    with (tmp_path / "load-calls.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"s{number}" for number in range(14)]
    assert rows[-1]["outcome"] == "not sent"
    with duckdb.connect() as db:
        found = db.execute(f"SELECT id, tokens FROM '{tmp_path / 'load-calls.parquet'}' ORDER BY planned_us").fetchall()
    assert found[0] == ("s0", 40)
    assert len(found) == 14


def test_memory_is_told_by_process_and_second(tmp_path: Path) -> None:
    memory = [
        {**asdict(judged("gateway", [Sample(0, 60 << 20)])), "promised": True},
        asdict(Memory("generator 0", "pass", 50.0, 50.0, 0.1, -0.2, 0.3)),
        asdict(Memory("another", "unsupported", why="not seen")),
    ]
    scenario = {"scenario": "load.soak", "replay": "harness load soak", "memory": memory}
    told = render_load(tmp_path, recorded(tmp_path, staircase(), scenarios=[scenario]))
    assert told["memory"] == memory
    text = (tmp_path / "load.md").read_text()
    assert "| gateway | 60.0 | 60.0 | – | unsupported | too short a load to tell |" in text
    assert "| generator 0 | 50.0 | 50.0 | 0.10 (-0.20 to 0.30) | pass | – |" in text
    assert "| another | – | – | – | unsupported | not seen |" in text
    with (tmp_path / "load-memory.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[2] == {"second": "1.0", "process": "gateway", "calls": "5", "resident_mb": "61.0"}
    assert len(rows) == 6


def test_a_load_of_which_nothing_was_sent_is_rendered_too(tmp_path: Path) -> None:
    traffic = staircase()
    traffic.calls.clear()
    traffic.attempts.clear()
    told = render_load(tmp_path, recorded(tmp_path, traffic))
    assert (told["sent"], told["rate"], told["late"]) == (0, 0.0, [])


def test_what_is_no_load_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no load"):
        read_rows(recorded(tmp_path, Traffic()))


def test_images_are_counted_as_the_upstream_served_them(tmp_path: Path) -> None:
    traffic = staircase()
    first = traffic.attempts[0]
    reading = replace(first.reading, text="b64_json:1\nb64_json:2\n")
    traffic.attempts[0] = replace(first, surface="images", reading=reading)
    rows = read_rows(recorded(tmp_path, traffic))
    assert rows.calls["images"].fillna(0).tolist() == [2] + [0] * 13


def test_a_window_is_told_as_it_was_filled_beside_its_plan(tmp_path: Path) -> None:
    windows = [
        {"word": "w0", "account": "a", "requests": 3, "tokens": 120, "over": "requests", "images": 0},
        {"word": "w1", "account": "b", "requests": 1, "tokens": 40, "over": "", "images": 2},
    ]
    traffic = Traffic(mode="local", options={"load": {**LOAD, "windows": windows}})
    for number in range(2):
        traffic.served(f"c{number}", 100.0 * number, 100.0 * number + 50, tokens=40, detail={"tag": "w0"})
    traffic.refused("c2", 250, detail={"tag": "w0"})
    traffic.refused("c3", 300, detail={"tag": "w0 over"})
    told = render_load(tmp_path, recorded(tmp_path, traffic))
    assert [(one["answered"], one["refused"], one["tokens_served"], one["span_s"]) for one in told["windows"]] == [
        (2, 1, 80, 0.3),
        (0, 0, 0, None),
    ]
    text = (tmp_path / "load.md").read_text("utf-8")
    assert "| w0 | a | 2 of 3 | 80 of 120 | – | 0.300 | requests: refused |" in text
    assert "| w1 | b | 0 of 1 | 0 of 40 | 0 of 2 | – | – |" in text
