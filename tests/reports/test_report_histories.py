"""Histories below a run folder: read once, thin where they are large, and never more than a report waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pandas.testing import assert_frame_equal

from harness.history import HistoryError, read_history
from reports import histories
from reports.histories import Histories, Recording
from reports.record import load
from reports.thin import read_thin
from tests.reports.folders import MONEY, STORM, write_money, write_run, write_storm


@pytest.fixture
def opened(tmp_path: Path) -> Histories:
    return Histories(load(write_run(tmp_path)))


def test_a_history_is_read_once(opened: Histories, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened.of(MONEY, 0, f"{MONEY}-0")
    monkeypatch.setattr(histories, "read_history", None)
    assert opened.of(MONEY, 0, f"{MONEY}-0") is first
    assert opened.read == (first,)


def test_more_than_a_report_waits_for_is_not_read(opened: Histories, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(opened.of(MONEY, 0, f"{MONEY}-0"), Recording)
    opened._left = 1_000
    assert opened.of(STORM, 0, f"{STORM}-0") == (
        "its history was not read: 0 MiB are more than a report takes the time for"
    )


def test_a_large_history_is_read_thin_but_for_the_calls_that_evidence_names(
    opened: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "THIN", 0)
    recording = opened.of(MONEY, 0, f"{MONEY}-0")
    assert isinstance(recording, Recording)
    assert recording.history.call["c4"].reading.text == "hello"
    assert [entry.kind for entry in recording.history.entries_of("c4")] == ["post"]
    assert recording.history.call["c5"].reading.text == ""
    assert not recording.history.entries_of("c5")


@pytest.mark.parametrize("write", [write_money, write_storm])
def test_thin_reading_tells_the_same_times_and_endings(tmp_path: Path, write: Any) -> None:
    write(tmp_path)
    full = Recording("x", 0, read_history(tmp_path))
    thin = Recording("x", 0, read_thin(tmp_path, ()))
    assert thin.history.plan == full.history.plan
    assert thin.history.faults == full.history.faults
    assert thin.history.notes == full.history.notes
    assert_frame_equal(thin.attempts, full.attempts)
    kept = [
        "id",
        "account",
        "surface",
        "model",
        "stream",
        "tier",
        "sent",
        "end",
        "outcome",
        "status",
        "arrived",
    ]
    assert_frame_equal(thin.calls[kept], full.calls[kept])
    assert thin.history.ledger == ()


def test_calls_read_whole_are_the_same_as_in_a_full_reading(tmp_path: Path) -> None:
    write_money(tmp_path)
    full, thin = read_history(tmp_path), read_thin(tmp_path, {"c1", "c4"})
    for call in ("c1", "c4"):
        assert thin.call[call] == full.call[call]
        assert thin.attempts_of(call) == full.attempts_of(call)
        assert thin.entries_of(call) == full.entries_of(call)
        assert thin.rows_of(call) == full.rows_of(call)
    assert "c14" not in {entry.call for entry in thin.ledger}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no plan line"),
        (b'{"span":"call","id":"c1"}\n', r"history\.jsonl:1: not a span"),
        (b'{"id":"c1","span":"call"}\n', r"history\.jsonl:1: not a span"),
        (b'{"span":"riddle"}\n', "not a span: b'riddle'"),
        (b'{"span":"note","kind":\n', "not a span"),
    ],
)
def test_a_damaged_large_history_is_refused_by_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "history.jsonl").write_bytes(content)
    with pytest.raises(HistoryError, match=said):
        read_thin(tmp_path, ())


def test_a_missing_history_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"history\.jsonl: No such file"):
        read_thin(tmp_path, ())


def test_the_harness_own_probes_are_in_no_table(opened: Histories) -> None:
    recording = opened.of(MONEY, 0, f"{MONEY}-0")
    assert isinstance(recording, Recording)
    assert "r1" in recording.history.call
    assert "r1" not in set(recording.calls["id"])
    assert "r1" not in set(recording.attempts["call"])


def test_tokens_are_read_as_the_contract_says_the_surface_reports_them(opened: Histories) -> None:
    recording = opened.of(MONEY, 0, f"{MONEY}-0")
    assert isinstance(recording, Recording)
    tokens = recording.calls.set_index("id")["tokens"]
    assert tokens["c0"] == 1_050
    assert tokens.isna()["c1"]  # usage in chat's shape on the responses surface tells nothing
