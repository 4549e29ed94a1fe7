"""Foreign books: every format tells the same, nothing is dropped, no row that could not be read is a finding."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tracemalloc
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from harness.audit import AuditError, Books, audit, read_run
from harness.audit.foreign import Order, read_foreign, read_maps, read_prices, stage, text_rows
from harness.audit.foreign.cells import MOST_UNITS, Cell, as_amount
from harness.audit.units import Unit
from tests.audit.foreign import MAP, Desk, booked, served, told, write

SUFFIXES = (".csv", ".jsonl", ".json", ".parquet", ".db")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_tells_the_same(desk: Desk, suffix: str) -> None:
    upstream = served("ok", "dear", "free", "model") + served("failed", status="error")
    upstream[3]["model"] = "vendor/big"
    ledger = booked("ok", "model", "ghost", "failed") + booked("dear", credits=151)
    client = told("ok", "model") + told("dear", credits=1)
    found = desk.audit(
        upstream=write(desk.folder / f"u{suffix}", upstream),
        ledger=write(desk.folder / f"l{suffix}", ledger),
        client=write(desk.folder / f"c{suffix}", client),
    )
    assert found.found == [
        ("CLIENT_DISPLAY_MISMATCH", "dear", 151, 1, "nobody", "told a charge that was not made"),
        ("RATE_MISMATCH", "dear", 150, 151, "customer", "1.0067 of the printed price"),
        ("CHARGED_FAILURE", "failed", 0, 150, "customer", "no attempt served it"),
        ("UNBILLED", "free", 150, 0, "provider", "no charge"),
        ("PHANTOM", "ghost", 0, 150, "customer", "no upstream attempt"),
    ]
    assert found.unreadable == []
    assert found.record.exit_code == 1
    assert (found.record.calls, found.record.clean) == (6, 2)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_clean_books_pass(desk: Desk, suffix: str) -> None:
    calls = [f"c{n}" for n in range(50)]
    found = desk.audit(
        upstream=write(desk.folder / f"u{suffix}", served(*calls)),
        ledger=write(desk.folder / f"l{suffix}", booked(*reversed(calls))),
        client=write(desk.folder / f"c{suffix}", told(*calls)),
    )
    assert (found.found, found.unreadable, found.record.exit_code) == ([], [], 0)
    assert (found.record.calls, found.record.clean) == (50, 50)


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


@pytest.mark.parametrize("text", ["150", " 150 ", "150.0", "1.5e2", "+150", "150.00000000000003"])
def test_amounts_are_read_as_exact_decimals(desk: Desk, text: str) -> None:
    found = desk.audit(upstream=served("a"), ledger=booked("a", credits=text))
    assert (found.found, found.unreadable, found.record.exit_code) == ([], [], 0)
    assert len([note for note in found.record.notes if "finer than" in note]) == ("0003" in text)


def test_noise_of_floats_is_neither_a_difference_nor_lost(desk: Desk) -> None:
    desk.prices = '[models.big]\ninput = "0.15"\noutput = "0.60"\n'
    desk.maps = [MAP.replace('money = "credits"', 'money = "dollars"')]
    rows = served("a", "b", input=100, output=0)
    found = desk.audit(
        upstream=rows, ledger=booked("a", credits="1.5000000000000002e-05") + booked("b", credits="0.000015001")
    )
    assert found.classes == [("RATE_MISMATCH", "b")]
    assert found.record.rounding["mode"] == "none"
    assert any("1 values of amount are finer" in note for note in found.record.notes)


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


def test_books_without_a_call_in_common_prove_nothing(desk: Desk) -> None:
    found = desk.audit(upstream=served("a", "b"), ledger=booked("x", "y"))
    assert found.record.doubt.startswith("no call is in both")
    assert found.record.exit_code == 2


def test_lines_are_counted_in_files_with_blank_lines_windows_line_breaks_and_quoted_ones(desk: Desk) -> None:
    text = 'id,who,credits,at\r\n"a","x\r\ny",150,1700000001\r\n\r\nb,x,oops,1700000001\r\n'
    (desk.folder / "l.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = desk.audit(upstream=served("a", "b"), ledger=desk.folder / "l.csv")
    assert [row[1] for row in found.unreadable] == [5]
    assert found.record.clean == 1


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_told_from_the_header(desk: Desk, delimiter: str) -> None:
    path = write(desk.folder / "l.csv", booked("a"))
    path.write_text(path.read_text().replace(",", delimiter))
    assert desk.audit(upstream=served("a"), ledger=path).record.exit_code == 0


def test_copied_rows_are_listed_and_judged_once(desk: Desk) -> None:
    found = desk.audit(upstream=served("a", "a", "b"), ledger=booked("a", "b"), client=told("a", "b", "b"))
    assert [(row[0], row[1], row[3], row[4]) for row in found.unreadable] == [
        ("client.csv", 4, "b", "the same row again"),
        ("upstream.csv", 3, "a", "the same row again"),
    ]
    assert (found.found, found.record.exit_code) == ([], 2)


def test_a_second_charge_is_a_duplicate_unless_it_is_the_same_entry_copied(desk: Desk) -> None:
    ledger = booked("a", "a", "b")
    found = desk.audit(upstream=served("a", "b"), ledger=ledger)
    assert found.classes == [("DUPLICATE", "a")]
    for number, row in zip((7, 7, 8), ledger, strict=True):
        row["n"] = number
    desk.maps = [MAP.replace('amount = "credits"', 'amount = "credits"\nentry = "n"')]
    found = desk.audit(upstream=served("a", "b"), ledger=ledger)
    assert (found.found, [row[3] for row in found.unreadable]) == ([], ["a"])


def test_two_attempts_that_differ_are_no_copies(desk: Desk) -> None:
    found = desk.audit(
        upstream=served("a", output=50) + served("a", at=1_700_000_050), ledger=booked("a"), client=told("a")
    )
    assert (found.found, found.unreadable, found.record.exit_code) == ([], [], 0)


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


def test_a_call_at_the_edge_of_the_other_books_period_fails_nothing(desk: Desk) -> None:
    upstream = served("a", at=1000) + served("b", at=2000) + served("late", at=2900) + served("early", at=1500)
    ledger = booked("a", at=1001) + booked("b", at=2001) + booked("before", at=900)
    found = desk.audit(upstream=upstream[:3], ledger=ledger, cutoff=1000)
    assert found.classes == [("CUTOFF", "before"), ("CUTOFF", "late")]
    assert found.record.exit_code == 0
    found = desk.audit(upstream=upstream, ledger=ledger, cutoff=10)
    assert ("UNBILLED", "early") in found.classes
    assert found.record.exit_code == 1


@pytest.mark.parametrize(("tolerance", "classes"), [(0, ["CLASS_MISMATCH", "RATE_MISMATCH"]), (1, ["RATE_MISMATCH"])])
def test_the_tolerance_is_in_quanta(desk: Desk, tolerance: int, classes: list[str]) -> None:
    ledger = booked("a", credits=151) + booked("b", credits=152)
    found = desk.audit(upstream=served("a", "b"), ledger=ledger, tolerance=tolerance)
    assert [call for _, call in found.classes] == ["a", "b"][2 - len(classes) :]


def test_a_ledger_of_entries_is_chained_and_rolled_forward(desk: Desk) -> None:
    ledger_map = """
    [ledger]
    money = "credits"
    [ledger.columns]
    call = "id"
    account = "who"
    kind = "type"
    amount = "credits"
    balance = "left"
    entry = "n"
    [ledger.kinds]
    charge = "post"
    compensation = "payout"
    deposit = "top_up"
    """
    desk.maps = [MAP.split("[ledger]")[0], ledger_map]
    rows = [
        {"n": 1, "id": "", "who": "a", "type": "deposit", "credits": 1000, "left": 1000},
        {"n": 2, "id": "a", "who": "a", "type": "charge", "credits": -150, "left": 850},
        {"n": 3, "id": "a", "who": "a", "type": "compensation", "credits": 38, "left": 888},
        {"n": 4, "id": "b", "who": "a", "type": "charge", "credits": -150, "left": 738},
    ]
    assert desk.audit(upstream=served("a", "b"), ledger=rows).record.exit_code == 0
    # The order of lines is nothing, that of entries is.
    found = desk.audit(upstream=served("a", "b"), ledger=list(reversed(rows)))
    assert found.record.exit_code == 0
    assert [account["closing"] for account in found.record.accounts] == [738 * 10**8]
    rows[3]["left"] = 700
    assert [name for name, _ in desk.audit(upstream=served("a", "b"), ledger=rows).classes] == ["BALANCE_CHAIN_BREAK"]
    rows[3] |= {"left": 738, "type": "gift"}
    found = desk.audit(upstream=served("a", "b"), ledger=rows)
    assert [row[2:] for row in found.unreadable] == [("type", "gift", "a kind of entry that the map does not name")]


def test_payouts_are_judged_by_what_clients_measured(desk: Desk) -> None:
    desk.prices += '[insurance]\nthreshold_ms = 90000\npayout_ratio = "0.25"\n'
    desk.maps = [
        MAP.replace('amount = "credits"', 'amount = "credits"\npaid = "back"')
        + 'elapsed_ms = "ms"\nlatency_ms = "claimed"\ninsurance = "state"\npaid = "back"\n'
    ]
    slow = {"ms": 95000, "claimed": 94000, "state": "paid", "back": 38}
    fast = {"ms": 90000.0, "claimed": 89000, "state": "not_triggered", "back": 0}
    client = told("slow", **slow) + told("fast", **fast) + told("missed", **fast | {"ms": 95000, "claimed": 94000})
    client += told("undue", **fast | {"state": "paid", "back": 38})
    ledger = [
        {**row, "back": 38 if row["id"] in ("slow", "undue") else 0} for row in booked(*(r["id"] for r in client))
    ]
    found = desk.audit(upstream=served(*(row["id"] for row in client)), ledger=ledger, client=client)
    assert found.classes == [("INSURANCE_MISSED", "missed"), ("INSURANCE_UNDUE", "undue")]
    # Without the client's clock nobody can tell.
    found = desk.audit(upstream=served(*(row["id"] for row in client)), ledger=ledger)
    assert (found.found, found.record.exit_code) == ([], 0)
    assert any("insurance is not judged" in note for note in found.record.notes)


KEY = "sk-live-0123456789abcdefABCDEF"


def test_no_key_reaches_any_output(desk: Desk) -> None:
    desk.maps = [MAP.replace('account = "who"', 'account = "key"')]
    upstream = [{**row, "key": KEY} for row in served("a", "b", "c")]
    ledger = [{**row, "key": KEY, "note": KEY} for row in booked("a", credits=1) + booked("b", credits=KEY)]
    write(desk.folder / "ledger.csv", ledger)
    with (desk.folder / "ledger.csv").open("a") as file:
        file.write(f"{KEY},{KEY}\n")
    found = desk.audit(upstream=upstream, ledger=desk.folder / "ledger.csv")
    assert found.record.exit_code == 1
    for name in ("audit.json", "discrepancies.csv", "discrepancies.parquet", "unreadable.csv"):
        assert KEY.encode()[3:] not in (desk.folder / name).read_bytes()
    accounts = {account["account"] for account in found.record.accounts}
    assert len(accounts) == 1
    assert accounts.pop().startswith("key-")


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


def test_amounts_are_read_as_python_reads_decimals(desk: Desk) -> None:
    draw = random.Random("amounts")
    texts = []
    for _ in range(3000):
        digits = str(draw.randrange(10 ** draw.randrange(1, 17)))
        point = draw.randrange(len(digits) + 1)
        text = f"{digits[:point]}.{digits[point:]}" if draw.random() < 0.8 else digits
        texts.append(text + (f"e{draw.randrange(-25, 3)}" if draw.random() < 0.5 else ""))
    with Books(Unit(), credit=10**8) as books:
        books.db.execute("CREATE TABLE given AS SELECT unnest(?) AS text", [texts])
        read = as_amount(Cell("text"), 10**10)
        found = books.rows(f"SELECT text, {read.value}, {read.problem} FROM given")
    assert len(found) == len(texts)
    for text, units, problem in found:
        exact = Decimal(text).scaleb(10)
        if exact > MOST_UNITS:
            assert problem == "more than any amount here"
        else:
            assert (units, problem) == (int(exact.to_integral_value(ROUND_HALF_UP)), None), text


def test_a_run_read_as_foreign_books_says_the_same(desk: Desk, tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "harness.cli", "run", "billing.every_class_at_its_price", "--seed", "3", "-q"),
            *("--workers", "1", "--mutant", "bills_cached_tokens_in_full", "--out", str(tmp_path / "run")),
        ],
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    (history,) = (tmp_path / "run").glob("*/history.jsonl")
    spans = [json.loads(line) for line in history.read_bytes().splitlines()]
    attempts = [span for span in spans if span["span"] == "attempt" and span["provider"] == "openai"]
    upstream = [{"id": one["call"], "model": one["model"], "usage": one["reading"]["usage"]} for one in attempts]
    calls = {one["call"] for one in attempts}
    ledger = [span for span in spans if span["span"] == "usage" and span["call"] in calls]
    files = {
        "upstream": [write(tmp_path / "upstream.jsonl", upstream)],
        "ledger": [write(tmp_path / "ledger.jsonl", ledger)],
    }
    maps = read_maps(["openai", "ledger=reference"], files)
    what = "SELECT class, call, expected, observed FROM discrepancies ORDER BY call"
    with read_foreign(Order(files, maps, read_prices("hypereal"))) as books:
        foreign = audit(books)
        found = books.rows(what)
    with read_run([history.parent]) as books:
        audit(books)
        own = [row for row in books.rows(what) if row[1] in calls]
    assert len(calls) > 20
    assert foreign.unreadable == 0
    assert found == own
    assert {row[0] for row in found} == {"CLASS_MISMATCH"}
