"""Temporary folders: gone with their owner, and with the next one where the owner was killed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from harness.cli.scratch import scratch


def test_a_folder_that_nobody_holds_is_cleared_and_a_held_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch() as first:
        (first / "ledger").write_text("mine")
        left = first.parent / "of-a-killed-one"
        left.mkdir()
        (left / ".lock").write_text("")
        (left / "ledger").write_text("nobody's")
        with scratch() as second:
            assert not left.exists()
            assert (first / "ledger").exists()
            assert second != first
    assert not first.exists()
    assert not second.exists()
