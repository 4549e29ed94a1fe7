"""Foreign books: every format tells the same, nothing is dropped, no row that could not be read is a finding."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from harness.audit import Books, audit, read_run
from harness.audit.foreign import Order, read_foreign, read_maps, read_prices
from harness.audit.foreign.cells import MOST_UNITS, Cell, as_amount
from harness.audit.units import Unit
from tests.audit.foreign import MAP, SUFFIXES, Desk, booked, served, told, write


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
