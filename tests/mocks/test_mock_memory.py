"""What a run's upstreams keep of it: everything, in the order in which it came, and hardly any of it in memory."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mock_upstreams.counts import Counts
from mock_upstreams.journal import Journal
from mock_upstreams.parts import Exchange
from mock_upstreams.spool import Spool


@pytest.mark.parametrize("memory_bytes", [1 << 20, 50], ids=["memory", "file"])
def test_a_spool_gives_back_the_lines_of_an_instant_while_more_come(
    memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mock_upstreams.spool.MEMORY_BYTES", memory_bytes)
    monkeypatch.setattr("mock_upstreams.spool.BLOCK_BYTES", 40)
    spool = Spool()
    added = [b"line\r %d\n" % n for n in range(100)]
    assert list(spool.lines()) == []
    for line in added:
        spool.add(line)
    reading = spool.lines()
    seen = []
    for line in reading:
        seen.append(line)
        spool.add(b"later\n")
    assert seen == added
    assert list(spool.lines()) == [*added, *[b"later\n"] * 100]


@pytest.mark.parametrize("keep", [None, 3])
def test_a_journal_is_read_on_from_where_it_was_left_also_if_it_forgets(keep: int | None) -> None:
    journal = Journal(0.0, keep)
    for number in range(5):
        journal.end(
            journal.arrive(number, Exchange("openai", "chat", "primary", f"c{number}", 1, "gpt-5-5", False, {}, {})),
            "whole",
            number + 0.5,
        )
    told = [[orjson.loads(line)["call"] for line in journal.lines(9.0, after)] for after in (0, 3, 5)]
    assert told == [[f"c{number}" for number in range(0 if keep is None else 2, 5)], ["c3", "c4"], []]


@given(st.lists(st.sampled_from(["", "c1", "c2", "s1", "c01", "c", "7", "c99999999999", "c70000", "c140000", "1c"])))
def test_names_are_counted_one_by_one(names: list[str]) -> None:
    counts, before = Counts(), []
    for name in names:
        before.append(name)
        assert counts.count(name) == before.count(name)


def test_a_name_is_counted_as_often_as_it_comes() -> None:
    counts = Counts()
    assert [(counts.count("c3"), counts.count("x")) for _ in range(1000)] == [(n, n) for n in range(1, 1001)]


def test_names_in_a_row_take_a_byte_each() -> None:
    counts = Counts()
    for n in range(200_000):
        counts.count(f"s{n}")
    assert sum(map(len, counts._rows.values())) == 200_000
    assert len(counts._others) == 1  # s0
