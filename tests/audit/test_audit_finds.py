"""The audit finds every planted lie under its right name, and nothing on clean books, screened or not."""

from __future__ import annotations

import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import harness.audit.screen as screen
from harness.audit import CLASSES, Audit, Books, audit
from harness.audit.record import write_record
from tests.audit.made import ACCOUNTS, CREDIT, LIES, OPENING, THRESHOLD_MS, UNSCREENED, Month, clean, month, plain, slow

FOUND = "SELECT class, call, expected, observed, delta, harmed FROM discrepancies"
SCREENABLE = [name for name in LIES if name not in UNSCREENED]


def rows(books: Books) -> Counter[tuple[Any, ...]]:
    return Counter(books.rows(FOUND))


def audited(made: Month) -> tuple[Audit, Counter[tuple[Any, ...]], bool]:
    with made.books() as books:
        result = audit(books)
        return result, rows(books), books.cleared > 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("logged", [False, True], ids=["screened", "unscreened"])
def test_every_planted_lie_is_found_with_its_class_amounts_and_who_is_harmed(seed: int, logged: bool) -> None:
    lies = list(LIES) if logged else SCREENABLE
    made = month(f"planted/{seed}/{logged}", calls=4_000, lies=lies, each=5, holds=logged, logged=logged)
    result, found, screened = audited(made)
    wanted = Counter(one.row for one in made.expected)
    assert found == wanted, (found - wanted, wanted - found)
    assert screened is not logged
    assert len(made.cases) >= 4_000 + 5 * len(lies)
    assert result.outcome == "fail"
    assert result.calls == len(made.cases)
    assert result.clean == len(made.cases) - len({one.call for one in made.expected})


def test_more_than_a_thousand_lies_of_every_class_are_planted() -> None:
    planted = Counter[str]()
    for seed in range(4):
        for logged in (False, True):
            made = month(
                f"planted/{seed}/{logged}", calls=0, lies=LIES if logged else SCREENABLE, each=5, logged=logged
            )
            made.books().db.close()
            planted.update(one.name for one in made.expected)
    assert planted.total() > 1_000
    assert set(planted) == set(CLASSES) - {"CUTOFF"}


@pytest.mark.parametrize("logged", [False, True], ids=["screened", "unscreened"])
def test_clean_books_raise_nothing(logged: bool) -> None:
    made = month("clean", calls=6_000, holds=logged, logged=logged)
    result, found, screened = audited(made)
    assert not found
    assert (result.outcome, result.exit_code, result.clean, screened) == ("pass", 0, 6_000, not logged)
    assert {account["account"]: account["closing"] for account in result.accounts} == made.closing


@settings(max_examples=12, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(seed=st.integers(0, 2**32), calls=st.integers(1, 60), lies=st.lists(st.sampled_from(SCREENABLE), max_size=4))
def test_the_screen_changes_no_result(seed: int, calls: int, lies: list[str]) -> None:
    results = []
    for worthwhile in (True, False):
        made = month(seed, calls=calls, lies=lies)
        with made.books() as books, pytest.MonkeyPatch.context() as patch:
            patch.setattr(screen, "_worthwhile", lambda _, answer=worthwhile: answer)
            result = audit(books)
            results.append((rows(books), result.as_json() | {"unmatched": {}}))
    assert results[0] == results[1]
    wanted = Counter(one.row for one in made.expected)
    assert results[0][0] == wanted


@pytest.mark.parametrize("book", ["served", "entries", "told"])
def test_a_row_that_stands_twice_among_clean_ones_is_counted(book: str) -> None:
    made = month("twins", calls=0)
    made.cases = [plain(number, Random(number)) for number in range(500)]
    with made.books() as books:
        books.db.execute(f"INSERT INTO {book} SELECT * FROM {book} WHERE call = 'call-7'")
        result = audit(books)
        assert books.cleared == 499
        assert result.calls == 500
        assert [row[0] for row in books.rows("SELECT call FROM suspects")] == ["call-7"]
        assert "DUPLICATE" in {row[0] for row in rows(books)} or book != "entries"


def test_rows_without_a_call_are_no_calls() -> None:
    made = month("nameless", calls=200)
    with made.books() as books:
        books.db.execute("INSERT INTO entries (call, account, kind, amount, change, seq, file, line) "
                         "VALUES ('', 'z', 'top_up', 5, 5, 100000, 1, 1)")  # fmt: skip
        assert audit(books).calls == 200
        assert not rows(books)


@pytest.mark.parametrize(
    ("outcome", "charged", "lawful"),
    [("unknown", 0, True), ("unknown", 1, True), ("unknown", 2, False), ("ok", 0, False), ("failed", 1, False)],
)
def test_a_call_whose_answer_was_lost_is_charged_once_or_not_at_all(outcome: str, charged: int, lawful: bool) -> None:
    case = plain(1, Random(1))
    case.outcome, case.entries = outcome, [("post", case.price)] * charged
    _, found, _ = audited(Month([case]))
    assert (not found) is lawful


@pytest.mark.parametrize(
    ("latency_us", "slack_us", "told_ms", "paid", "found"),
    [
        (THRESHOLD_MS * 1000 - 1000, 0, None, False, []),
        (THRESHOLD_MS * 1000, 0, None, False, []),
        (THRESHOLD_MS * 1000 + 999, 0, None, False, []),
        (THRESHOLD_MS * 1000 + 1000, 0, None, True, []),
        (THRESHOLD_MS * 1000 - 1000, 0, None, True, ["INSURANCE_UNDUE"]),
        (THRESHOLD_MS * 1000, 0, None, True, ["INSURANCE_UNDUE"]),
        (THRESHOLD_MS * 1000 + 1000, 0, None, False, ["INSURANCE_MISSED"]),
        # Clocks that cannot tell: the gateway is held to the latency that it told itself.
        (THRESHOLD_MS * 1000, 5_000, THRESHOLD_MS, False, []),
        (THRESHOLD_MS * 1000, 5_000, THRESHOLD_MS + 1, True, []),
        (THRESHOLD_MS * 1000, 5_000, THRESHOLD_MS + 1, False, ["INSURANCE_MISSED"]),
        (THRESHOLD_MS * 1000, 5_000, THRESHOLD_MS, True, ["INSURANCE_UNDUE"]),
        # And a latency that it may not tell does not save it.
        (THRESHOLD_MS * 1000 + 9_000, 5_000, 1_000, False, ["CLIENT_DISPLAY_MISMATCH", "INSURANCE_MISSED"]),
    ],
)
def test_calls_are_placed_against_the_threshold_by_independent_clocks(
    latency_us: int, slack_us: int, told_ms: int | None, paid: bool, found: list[str]
) -> None:
    for filler in (0, 60):  # alone, and among clean calls, where it is screened
        case = plain(1_000, Random(2))
        slow(case)
        case.latency_us, case.slack_us, case.told_ms = latency_us, slack_us, told_ms
        if not paid:
            case.entries = case.entries[:1]
        _, rows_found, _ = audited(Month([*month("others", calls=filler).cases, case]))
        assert sorted(row[0] for row in rows_found) == found


def test_a_payout_for_a_call_whose_caller_was_cut_off_is_lawful_once() -> None:
    for payouts, found in ((0, []), (1, []), (2, ["INSURANCE_DUPLICATE"])):
        case = plain(1, Random(3))
        slow(case)
        case.outcome = "unknown"
        case.entries = [case.entries[0], *[case.entries[1]] * payouts]
        assert [row[0] for row in audited(Month([case]))[1]] == found


def test_accounts_roll_forward_to_the_unit_and_say_how_far_off_they_are() -> None:
    made = month("rolled", calls=800)
    with made.books() as books:
        books.db.execute("UPDATE entries SET balance = balance + 7 WHERE account = 'a' AND seq >= 300")
        result = audit(books)
        broken = rows(books)
    by_name = {account["account"]: account for account in result.accounts}
    assert [row[0] for row in broken if row[0] != "CLIENT_DISPLAY_MISMATCH"] == ["BALANCE_CHAIN_BREAK"]
    assert {name: account["unexplained"] for name, account in by_name.items()} == {"a": 7, "b": 0, "c": 0}
    for account in by_name.values():
        sums = account["opening"] + account["top_ups"] - account["charges"] + account["payouts"] + account["refunds"]
        assert account["closing"] - sums == account["unexplained"]
        assert account["opening"] == OPENING
    assert result.unexplained == 1


@pytest.mark.parametrize("logged", [False, True], ids=["screened", "unscreened"])
def test_balances_beyond_64_bits_are_compared_and_written_to_the_unit(logged: bool, tmp_path: Path) -> None:
    opening = 10**12 * CREDIT
    made = month("rich", calls=60, lies=["loses_money_between_two_entries"], logged=logged)
    made.opening = opening
    with made.books() as books:
        result = audit(books)
        found = rows(books)
        write_record(result, books, tmp_path)
        written = books.rows("SELECT observed FROM read_parquet(?)", [str(tmp_path / "discrepancies.parquet")])
    (expected,) = made.expected
    assert found == Counter([expected.row])
    assert abs(opening - (expected.observed or 0)) < OPENING
    assert {account["opening"] for account in result.accounts} == {opening}
    assert [int(observed) for (observed,) in written] == [expected.observed]
    (row,) = csv.DictReader((tmp_path / "discrepancies.csv").read_text().splitlines())
    assert Decimal(row["observed_usd"]) * 10**10 == expected.observed


def test_balances_told_to_clients_form_one_order_where_the_ledger_shows_none() -> None:
    rng = Random(4)
    for broken in (False, True):
        made = Month([plain(number, rng) for number in range(300)], balances=False)
        with made.books() as books:
            if broken:
                early = "call IN (SELECT call FROM told ORDER BY stamp LIMIT 150)"
                books.db.execute(
                    f"UPDATE told SET before = before - {CREDIT}, after = after - {CREDIT} "
                    f"WHERE account = 'b' AND {early}"
                )
            audit(books)
            assert {row[0] for row in rows(books)} == ({"BALANCE_CHAIN_BREAK"} if broken else set())


@pytest.mark.parametrize("edge", ["first", "last"])
@pytest.mark.parametrize("missing", ["served", "entries"])
@pytest.mark.parametrize("cut", [None, 3_000_000])
def test_what_lies_at_the_edge_of_a_cut_period_belongs_to_another_month(
    edge: str, missing: str, cut: int | None
) -> None:
    rng = Random(5)
    made = Month([plain(number, rng) for number in range(100)])
    call = "call-0" if edge == "first" else "call-99"
    with made.books() as books:
        books.cutoff_us = cut
        books.db.execute(f"DELETE FROM {missing} WHERE call IN ('{call}', 'call-50')")
        books.db.execute("UPDATE entries SET balance = NULL")
        books.db.execute("UPDATE told SET before = NULL, after = NULL, charged = NULL")
        audit(books)
        found = {row[1]: row[0] for row in rows(books)}
    lost = "PHANTOM" if missing == "served" else "UNBILLED"
    assert found == {"call-50": lost, call: "CUTOFF" if cut else lost}


def test_each_discrepancy_points_at_its_rows_in_every_book() -> None:
    made = month("pointers", calls=50, lies=["charges_twice", "charges_what_no_upstream_got"])
    with made.books() as books:
        audit(books)
        for name, call, served, booked, told in books.rows(
            "SELECT class, call, served, booked, told FROM discrepancies"
        ):
            for text, book in ((served, "served"), (booked, "entries"), (told, "told")):
                places = [place.rpartition(":") for place in text.split()]
                assert len(places) == books.value(f"SELECT count(*) FROM {book} WHERE call = ?", [call])
                for source, _, line in places:
                    assert books.rows(
                        f"SELECT call FROM {book} JOIN sources USING (file) WHERE name = ? AND line = ?",
                        [source, int(line)],
                    ) == [(call,)]
            assert bool(served) is (name == "DUPLICATE")


def test_gross_over_and_gross_under_are_never_netted() -> None:
    rng = Random(6)
    over, under = plain(1, rng), plain(2, rng)
    over.entries, under.entries = [("post", over.price * 3)], [("post", under.price // 3 // CREDIT * CREDIT)]
    result, _, _ = audited(Month([over, under]))
    rates = next(one for one in result.classes if one.name == "RATE_MISMATCH")
    assert (rates.count, rates.over, rates.under) == (2, over.net - over.price, under.price - under.net)


def test_no_books_at_all_prove_nothing() -> None:
    with Month([]).books() as books:
        result = audit(books)
    assert (result.outcome, result.exit_code, result.calls) == ("inconclusive", 2, 0)
    assert len(result.accounts) == len(ACCOUNTS)


def test_a_clean_call_is_clean_in_every_variety() -> None:
    rng = Random(7)
    kinds = Counter((case.outcome, len(case.attempts), len(case.entries)) for case in
                    (clean(number, rng, holds=True) for number in range(3_000)))  # fmt: skip
    assert len(kinds) > 8
