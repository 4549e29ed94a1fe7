"""Bad input to an audit: a finding or an error with its file and row, nothing silently skipped, nothing made up."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import duckdb
import pytest

from harness.audit import AuditError
from harness.audit.foreign import stage, text_rows
from tests.audit.foreign import MAP, SUFFIXES, Desk, booked, served, told, write

BAD_CELLS = [
    ("input", "-5", "negative"),
    ("input", "1e3", "scientific notation"),
    ("input", "1.2E+05", "scientific notation"),
    ("input", "1,000", "thousands separators"),
    ("input", "1 000", "thousands separators"),
    ("input", "1_000", "thousands separators"),
    ("input", "12.5", "no whole number"),
    ("input", "many", "no whole number"),
    ("input", "NaN", "no whole number"),
    ("input", "0x10", "no whole number"),
    ("input", "", "empty"),
    ("input", "99999999999", "more than 1,000,000,000"),
    ("cached", "-1", "negative"),
    ("model", "small", "a model without a price"),
    ("model", "", "empty"),
    ("at", "yesterday", "no time"),
    ("at", "2026-02-30T00:00:00Z", "no time"),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_cell_that_cannot_be_read_is_listed_and_its_call_set_aside(desk: Desk, suffix: str) -> None:
    calls = [f"c{n:02}" for n in range(len(BAD_CELLS))]
    rows = [{name: str(value) for name, value in row.items()} for row in served(*calls, "good")]
    for row, (field, text, _) in zip(rows, BAD_CELLS, strict=False):
        row[field] = text
    upstream = write(desk.folder / f"u{suffix}", rows)
    found = desk.audit(upstream=upstream, ledger=booked(*calls, "good"))
    first = 2 if suffix == ".csv" else 1
    assert [row[:3] + row[4:] for row in found.unreadable] == [
        (upstream.name, line, field, problem) for line, (field, _, problem) in enumerate(BAD_CELLS, first)
    ]
    assert found.found == []
    assert (found.record.exit_code, found.record.calls, found.record.clean) == (2, len(calls) + 1, 1)


BAD_AMOUNTS = [
    ("-1", "negative"),
    ("1,500", "thousands separators"),
    ("$1.50", "no decimal number"),
    ("1e999", "more than any amount here"),
    ("99999999999999999999", "more than any amount here"),
    ("inf", "no decimal number"),
    ("", "empty"),
]


def test_an_amount_that_cannot_be_read_is_listed(desk: Desk) -> None:
    calls = [f"c{n}" for n in range(len(BAD_AMOUNTS))]
    ledger = [row | {"credits": text} for row, (text, _) in zip(booked(*calls), BAD_AMOUNTS, strict=True)]
    found = desk.audit(upstream=served(*calls, "good"), ledger=ledger + booked("good"))
    assert [(row[1], row[2], row[4]) for row in found.unreadable] == [
        (line, "credits", problem) for line, (_, problem) in enumerate(BAD_AMOUNTS, 2)
    ]
    assert (found.found, found.record.exit_code, found.record.clean) == ([], 2, 1)


def _bytes(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


HEADER = b"id,who,credits,at"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"b,a,150", "3 cells, the header has 4"),
        (b"b,a,150,1700000001,extra", "5 cells, the header has 4"),
        (b"b,\xff\xfe,150,1700000001", "no UTF-8 from byte 3 on"),
        (b"b,a\0,150,1700000001", "a zero byte"),
        (b'b,"a,150,1700000001', "a quote that never closes"),
        (b'b,"a"x,150,1700000001', "no CSV: "),
        (b"b," + b"x" * 5000 + b",150,1700000001", "longer than "),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_broken_line_of_csv_spoils_itself_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, line: bytes, problem: str, last: bool
) -> None:
    monkeypatch.setattr(text_rows, "LONGEST", 4096)
    monkeypatch.setattr(text_rows, "DUCKDB_LONGEST", 2048)
    good = [b"a,a,150,1700000001", b"c,a,150,1700000001"]
    lines = [*good, line] if last else [good[0], line, good[1]]
    (desk.folder / "l.csv").write_bytes(_bytes([HEADER, *lines]))
    found = desk.audit(upstream=served("a", "b", "c"), ledger=desk.folder / "l.csv")
    first, second = found.unreadable
    assert (first[:4], first[4][: len(problem)]) == (("l.csv", 4 if last else 3, "", ""), problem)
    # The line may have been b's: that its charge is missing is no finding.
    assert second[0] == "the ledger"
    assert (second[2], second[3]) == ("call", "b")
    assert (found.found, found.record.exit_code, found.record.clean) == ([], 2, 2)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"id": "b", "credits": 15', "no JSON: "),
        (b'["b", 150]', "no JSON object"),
        (b"null", "no JSON object"),
        (b'{"id": "b\xff", "credits": 150}', "no UTF-8 from byte 10 on"),
        (b"[" * 50_000, "no JSON: "),
    ],
)
def test_a_broken_line_of_json_spoils_itself_alone(desk: Desk, line: bytes, problem: str) -> None:
    good = [json.dumps(row).encode() for row in booked("a", "c")]
    (desk.folder / "l.jsonl").write_bytes(_bytes([good[0], line, good[1]]))
    found = desk.audit(upstream=served("a", "c"), ledger=desk.folder / "l.jsonl")
    assert [row[:2] for row in found.unreadable] == [("l.jsonl", 2)]
    assert found.unreadable[0][4].startswith(problem)
    assert (found.found, found.record.exit_code, found.record.clean) == ([], 2, 2)


def test_more_missing_charges_than_unreadable_lines_are_reported(desk: Desk) -> None:
    (desk.folder / "l.csv").write_bytes(_bytes([HEADER, b"a,a,150,1700000001", b"b,a"]))
    found = desk.audit(upstream=served("a", "b", "c"), ledger=desk.folder / "l.csv")
    assert found.classes == [("UNBILLED", "b"), ("UNBILLED", "c")]
    assert "2 calls have no charge in the ledger; up to 1 of them may be in its unreadable rows" in found.record.notes
    assert found.record.exit_code == 1


def test_phantoms_are_doubted_while_upstream_rows_are_unreadable(desk: Desk) -> None:
    write(desk.folder / "u.csv", served("a"))
    with (desk.folder / "u.csv").open("a") as file:
        file.write("cut short\n")
    found = desk.audit(upstream=desk.folder / "u.csv", ledger=booked("a", "b"))
    assert (found.found, found.record.exit_code) == ([], 2)
    assert [row[3] for row in found.unreadable if row[2] == "call"] == ["b"]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", HEADER, HEADER + b"\n"])
def test_an_empty_ledger_proves_nothing(desk: Desk, content: bytes) -> None:
    (desk.folder / "l.csv").write_bytes(content)
    found = desk.audit(upstream=served("a"), ledger=desk.folder / "l.csv")
    assert found.record.exit_code == 2
    assert found.record.doubt or found.unreadable


def test_copied_rows_are_listed_and_judged_once(desk: Desk) -> None:
    found = desk.audit(upstream=served("a", "a", "b"), ledger=booked("a", "b"), client=told("a", "b", "b"))
    assert [(row[0], row[1], row[3], row[4]) for row in found.unreadable] == [
        ("client.csv", 4, "b", "the same row again"),
        ("upstream.csv", 3, "a", "the same row again"),
    ]
    assert (found.found, found.record.exit_code) == ([], 2)


@pytest.mark.parametrize(
    ("stamps", "zone", "problems"),
    [
        (("2026-01-01T00:00:00Z", "2026-01-01 01:00:00+01:00"), "", []),
        (("2026-01-01T00:00:00", "2026-01-01 00:00:00"), "", []),
        (("2026-01-01T00:00:00Z", "2026-01-01T00:00:00"), "", ["no time zone, where other rows have one"]),
        (("2026-01-01T00:00:00Z", "2026-01-01T02:00:00"), "+02:00", []),
        (("1767225600", "1767225600.0"), "", []),
        (("1767225600000", "1767225600000000"), "", []),
    ],
)
def test_times_of_several_zones_are_one_scale_or_listed(
    desk: Desk, stamps: tuple[str, str], zone: str, problems: list[str]
) -> None:
    desk.maps = [MAP.replace("[ledger]\n", f'[ledger]\nzone = "{zone}"\n')]
    ledger = booked("a", at=stamps[0], credits=1) + booked("b", at=stamps[1], credits=1)
    found = desk.audit(upstream=served("a", "b"), ledger=ledger)
    assert [row[4] for row in found.unreadable] == problems
    with duckdb.connect() as db:
        path = str(desk.folder / "discrepancies.parquet")
        assert set(db.execute("SELECT DISTINCT stamp FROM read_parquet(?)", [path]).fetchall()) == {(1767225600000000,)}


@pytest.mark.parametrize("call", ["=1+1", "@cmd", "+2", "-2", '=HYPERLINK("http://x")'])
def test_a_cell_that_a_spreadsheet_would_run_is_neutralised(desk: Desk, call: str) -> None:
    desk.audit(upstream=served("a"), ledger=booked("a", call) + booked("b", credits="=2"))
    rows = (desk.folder / "discrepancies.csv").read_text()
    assert "'" + call.replace('"', '""') in rows
    assert f",{call}" not in rows
    assert ",'=2," in (desk.folder / "unreadable.csv").read_text()
    assert ",-1.5000000000," not in rows
    with duckdb.connect() as db:
        path = str(desk.folder / "discrepancies.parquet")
        assert db.execute("SELECT call FROM read_parquet(?)", [path]).fetchall() == [(call,)]


def _no_parquet(folder: Path) -> Path:
    path = write(folder / "u.parquet", served("a"))
    path.write_bytes(path.read_bytes()[:-20])
    return path


def _cut_sqlite(folder: Path) -> Path:
    path = write(folder / "u.db", served(*(f"c{n}" for n in range(2000))))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _text(name: str, content: bytes) -> Any:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_no_parquet, "no whole Parquet file"),
        (_cut_sqlite, "cannot be read as SQLite"),
        (_text("u.parquet", b"id,model\n"), "no Parquet file"),
        (_text("u.db", b"SQLite format 3\0" + b"x" * 100), "cannot be read as SQLite"),
        (_text("u.csv", b"\x1f\x8b\x08"), "compressed"),
        (_text("u.csv", "id,model\n".encode("utf-16")), "UTF-16"),
        (_text("u.csv", b"a,b\n1,2\n"), "no column id"),
        (_text("u.csv", b"id,id,model,input,output\n"), "more than once"),
        (_text("u.json", b'[{"id": "a"}, {"id"'), "no JSON array"),
        (lambda folder: folder / "none.csv", "cannot read"),
    ],
)
def test_a_file_that_is_none_is_an_error_that_names_it(desk: Desk, make: Any, message: str) -> None:
    with pytest.raises(AuditError, match=message) as raised:
        desk.audit(upstream=make(desk.folder), ledger=booked("a"))
    assert "u." in str(raised.value) or "none.csv" in str(raised.value)


def test_a_line_of_any_length_is_passed_over_piece_by_piece() -> None:
    class Endless:
        """A file of one line of ten gigabytes, and one more."""

        left = 10 * 2**30
        largest = 0

        def readline(self, size: int = -1) -> bytes:
            assert size > 0
            self.largest = max(self.largest, size)
            if self.left <= 0:
                rest, self.left = (b"", self.left) if self.left < 0 else (b"last\n", -1)
                return rest
            # One piece stands for many, so that the test takes no time.
            self.left -= 2**30
            return b"x" * min(size, text_rows.LONGEST + 1) if self.left else b"x\n"

    file = Endless()
    found = list(text_rows.lines(file))  # type: ignore[arg-type]  # all that is used of a file
    assert [(row.line, bool(row.problem)) for row in found] == [(1, True), (2, False)]
    assert file.largest <= text_rows.LONGEST + 1


def test_a_cell_of_sqlite_that_is_too_long_spoils_its_row_and_one_beyond_memory_the_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "LONGEST", 2**20)
    monkeypatch.setattr(stage, "MOST_AT_ONCE", 2**22)
    path = write(desk.folder / "l.db", booked("a", "b" * (2**20 + 1), "c"))
    found = desk.audit(upstream=served("a", "c"), ledger=path)
    assert [row[:2] + row[4:] for row in found.unreadable] == [("l.db", 2, "longer than 1 MiB")]
    assert (found.found, found.record.exit_code, found.record.clean) == ([], 2, 2)
    path.unlink()
    path = write(desk.folder / "l.db", booked("a", "b" * (2**22 + 1)))
    with pytest.raises(AuditError, match="cannot be read as SQLite") as raised:
        desk.audit(upstream=served("a"), ledger=path)
    assert raised.value.cause == "string or blob too big"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_of_one_endless_line_is_read_in_bounded_memory(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """What ten gigabytes are to the real bounds, 64 MiB are to these."""
    for name, bound in (("LONGEST", 2**16), ("DUCKDB_LONGEST", 2**14), ("BLOCK", 2**16)):
        monkeypatch.setattr(text_rows, name, bound)
    path = write(desk.folder / f"l{suffix}", booked("a"))
    with path.open("ab") as file:
        for _ in range(64):
            file.write(b"x" * 2**20)
        file.write(b"\n")
    tracemalloc.start()
    try:
        found = desk.audit(upstream=served("a"), ledger=path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [(row[0], row[4]) for row in found.unreadable] == [(path.name, "longer than 0 MiB")]
    assert (found.found, found.record.exit_code) == ([], 2)
    assert peak < 16 * 2**20
