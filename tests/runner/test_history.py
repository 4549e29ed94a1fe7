"""The recorder and the reader: order, digest, bodies, and what a broken file is told to be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.history import BODY_CAP, HistoryError, Recorder, read_history

PLAN: dict[str, Any] = {
    "schema": "harness.history/1",
    "seed": 1,
    "mode": "sim",
    "scenario": "s",
    "target": "reference",
    "mutant": "",
    "epoch_s": 0,
    "contract": {},
    "overlay": {},
    "claims": [],
    "accounts": [],
    "upstreams": [],
    "calls": [],
    "injections": [],
    "skew_us": 0,
    "taps": [],
    "options": {},
}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with closing(Recorder()) as made:
        yield made


def test_spans_are_written_by_end_then_by_arrival(recorder: Recorder, tmp_path: Path) -> None:
    recorder.note("late", 30)
    recorder.note("first", 10)
    recorder.note("second", 10)
    recorder.plan(PLAN)
    recorder.write(tmp_path)
    kinds = [orjson.loads(line).get("kind") for line in (tmp_path / "history.jsonl").read_bytes().splitlines()]
    assert kinds == [None, "first", "second", "late"]
    assert [note.kind for note in read_history(tmp_path).notes] == ["first", "second", "late"]


def test_spans_can_be_added_after_reading_what_is_there(recorder: Recorder) -> None:
    recorder.plan(PLAN)
    recorder.note("one", 1)
    before = recorder.digest()
    recorder.note("two", 2)
    assert recorder.digest() != before
    assert [note.kind for note in recorder.history().notes] == ["one", "two"]


def test_bodies_are_kept_by_digest_and_cut_at_the_cap(recorder: Recorder, tmp_path: Path) -> None:
    recorder.plan(PLAN)
    short, long = recorder.body(b"short"), recorder.body(b"x" * (BODY_CAP + 5))
    recorder.write(tmp_path)
    bodies = read_history(tmp_path).bodies
    assert bodies[short] == b"short"
    assert len(bodies[long]) == BODY_CAP
    with pytest.raises(KeyError):
        bodies["../history.jsonl"]


@pytest.mark.parametrize(
    "line", [b"nonsense", b"[]", b"{}", b'{"span":"unknown"}', b'{"span":"note","kind":"x"}', b'{"span":"call","id":1}']
)
def test_a_line_that_is_no_span_is_named(tmp_path: Path, line: bytes) -> None:
    good = orjson.dumps({"span": "plan", **PLAN})
    (tmp_path / "history.jsonl").write_bytes(good + b"\n" + line + b"\n")
    with pytest.raises(HistoryError, match=r"history\.jsonl:2"):
        read_history(tmp_path)


def test_a_file_without_a_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(b"")
    with pytest.raises(HistoryError, match="no plan"):
        read_history(tmp_path)
    with pytest.raises(HistoryError, match="No such file"):
        read_history(tmp_path / "nowhere")
