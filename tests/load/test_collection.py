"""Rows, plan and spans become one ordinary history, also when a worker was killed in the middle of a line."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

import harness.load.shapes  # noqa: F401 - registers them
from harness.environment.plan import planned
from harness.history import Recorder, read_history
from harness.load.collect import add_rows, write_history
from harness.load.shape import SHAPES, Asked
from tests.checkers.traffic_histories import Traffic
from tests.load.tiny import tiny


def plan() -> dict[str, Any]:
    made = Traffic(options={"load": {}}).history().plan
    return {name: getattr(made, name) for name in made.__slots__}


def row(id_: str, end: int) -> bytes:
    traffic = Traffic()
    call = traffic.call(id_, 0, end / 1e3)
    value = {name: getattr(call, name) for name in call.__slots__}
    return orjson.dumps({"span": "call", **value}, option=orjson.OPT_APPEND_NEWLINE)


def test_rows_of_all_workers_are_read_in_the_order_of_their_ends_and_a_broken_last_line_is_left_out(
    tmp_path: Path,
) -> None:
    (tmp_path / "rows-0").write_bytes(row("s1", 5_000) + row("s3", 9_000) + row("s5", 9_500)[:40])
    (tmp_path / "rows-1").write_bytes(row("s2", 7_000))
    looked: list[bytes] = []
    files = [tmp_path / f"rows-{n}" for n in range(3)]  # the third worker never began
    with closing(Recorder()) as recorder:
        assert add_rows(recorder, files, looked.append) == 3
        write_history(tmp_path / "run", plan(), (), recorder)
    assert [call.id for call in read_history(tmp_path / "run").calls] == ["s1", "s2", "s3"]
    assert len(looked) == 3


def test_the_plan_holds_every_call_that_the_shape_draws(tmp_path: Path) -> None:
    load = SHAPES["ceiling-text"].build(tiny(), Asked(seed=4))
    with closing(Recorder()) as recorder:
        recorder.note("start", 0)
        write_history(tmp_path, plan(), (planned(call, load.world) for call in load.calls(tiny())), recorder)
    history = read_history(tmp_path)
    assert [call.id for call in history.plan.calls] == [f"s{number}" for number in range(1, 51)]
    assert [note.kind for note in history.notes] == ["start"]
    assert history.plan.options == {"wall_us": 0, "load": {}}


def test_a_plan_with_calls_in_it_already_is_refused(tmp_path: Path) -> None:
    with closing(Recorder()) as recorder, pytest.raises(ValueError, match="empty list of calls"):
        write_history(tmp_path, {**plan(), "calls": [{"id": "s1"}]}, (), recorder)
