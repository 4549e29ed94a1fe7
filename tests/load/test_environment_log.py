"""A gateway's log is kept as it was said, however long it is."""

from __future__ import annotations

import pytest

from harness.environment.log import Log


def test_a_log_has_every_line_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mock_upstreams.spool.MEMORY_BYTES", 100)
    monkeypatch.setattr("mock_upstreams.spool.BLOCK_BYTES", 40)
    log, said = Log(), ["", "é\r", '{"crash": "\ud800"}', *map(str, range(100))]
    for line in said:
        log.append(line)
    assert list(log) == list(log) == said
    assert len(log) == 103
