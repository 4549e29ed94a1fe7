"""The books themselves: double entry, append-only, whole across a crash, and shown to their owner (BILL-06)."""

from __future__ import annotations

from harness.checker import Verdict, checker
from harness.checkers.money import charged, due_credits, is_billable, is_replay, posts
from harness.checkers.wire import answer_body, parsed, seen
from harness.contract import Contract
from harness.history import History, LedgerEntry

LEDGER_PATH = "/api/ledger"


@checker(
    "BILL-06",
    "append_only",
    "double_entry",
    "balance_is_sum",
    "across_restart",
    "own_entries",
    books=("append_only", "double_entry", "balance_is_sum", "across_restart"),
    untimed="all",
)
def money_is_neither_made_nor_lost(history: History, contract: Contract, verdict: Verdict) -> None:
    """Every entry sums to zero, every balance is the sum of its entries, and a crash changes neither."""
    if history.has_tap("books"):
        _entries(history, verdict)
        if any(note.kind == "crash" for note in history.notes):
            _across_restart(history, contract, verdict)
    _own_entries(history, verdict)


def _entries(history: History, verdict: Verdict) -> None:
    opened = "ledger" in history.before
    last, sums = history.before.get("ledger", (0, {}))
    sums = dict(sums)
    for entry in history.ledger:
        verdict.case(
            "append_only",
            entry.entry == last + 1,
            call=entry.call,
            expected=lambda last=last: f"entry {last + 1} follows entry {last}",
            actual=lambda entry=entry: f"entry {entry.entry}",
        )
        last = entry.entry
        amounts = [credits for _, credits in entry.lines]
        whole = {type(credits) for credits in amounts} == {int}
        verdict.case(
            "double_entry",
            whole and len(amounts) >= 2 and sum(amounts) == 0,
            call=entry.call,
            expected=lambda entry=entry: f"entry {entry.entry}: lines in whole credits that sum to zero",
            actual=entry.lines,
        )
        total = sums[entry.account] = sums.get(entry.account, 0) + _own_lines(entry)
        verdict.case(
            "balance_is_sum",
            entry.balance == total,
            call=entry.call,
            expected=lambda entry=entry, total=total: (
                f"entry {entry.entry}: balance {total}, the sum of {entry.account}'s lines"
            ),
            actual=entry.balance,
        )
    history.after["ledger"] = last, sums
    for account in () if opened else history.plan.accounts:
        opening = sum(e.credits for e in history.ledger if e.account == account["id"] and e.kind == "opening")
        verdict.case(
            "balance_is_sum",
            opening == account["credits"],
            expected=f"{account['id']} opens with {account['credits']} credits",
            actual=f"{opening}",
        )


def _own_lines(entry: LedgerEntry) -> int:
    """Return what an entry's lines change of the account's posted balance: what it may spend and what it holds."""
    own = (f"customer:{entry.account}", f"holds:{entry.account}")
    return sum([credits for name, credits in entry.lines if name in own])


def _across_restart(history: History, contract: Contract, verdict: Verdict) -> None:
    open_holds: dict[str, int] = {}
    for entry in history.ledger:
        if entry.kind == "hold":
            open_holds[entry.call] = entry.entry
        elif entry.kind in ("post", "void"):
            open_holds.pop(entry.call, None)
    verdict.case(
        "across_restart",
        not open_holds,
        expected="no hold is left open after the restart",
        actual=f"open holds of {sorted(open_holds)}",
    )
    for one in seen(history, contract):
        told = one.call.claims.get("billing")
        if told and not is_replay(history, one):  # also to a caller whose answer was cut after it
            booked = -sum(entry.credits for entry in posts(history, one.call.id))
            verdict.case(
                "across_restart",
                booked == told.get("credits_charged"),
                call=one.call,
                expected=f"the charge of {told.get('credits_charged')} that the client was told",
                actual=f"{booked} in the books",
            )
    for one in seen(history, contract):
        if not is_billable(one) or one.plan.detail.get("marks"):  # what served a retry goes by its first call's name
            continue
        paid, due = charged(history, one), due_credits(one, contract)
        verdict.case(
            "across_restart",
            paid in (0, due),
            call=one.call,
            attempts=one.attempts,
            expected=f"no charge, or the {due} credits of a whole answer: a crash is not the customer's to pay for",
            actual=f"{paid} credits",
        )


@checker("BILL-06", "across_restart")
def a_start_that_would_harm_the_books_is_refused(history: History, contract: Contract, verdict: Verdict) -> None:
    """Nobody starts on books that another gateway writes, or that cannot be written; they stay as they are."""
    for note in history.notes:
        if note.kind != "second_start":
            continue
        told = note.detail
        verdict.case(
            "across_restart",
            None if not told["made"] else told["refused"] and bool(told["said"]) and told["untouched"] is not False,
            expected=f"a start on books that are {told['case']} is refused with a reason, and changes nothing",
            actual=f"refused: {told.get('refused')}, untouched: {told.get('untouched')}, said {told.get('said')!r}",
            at_us=note.at,
        )


def _own_entries(history: History, verdict: Verdict) -> None:
    for call in history.calls:
        plan = history.planned[call.id]
        if plan.path != LEDGER_PATH or call.outcome != "ok":
            continue
        answer = parsed(answer_body(history, call))
        shown = answer.get("entries") if isinstance(answer, dict) else None
        if not isinstance(shown, list):
            verdict.case("own_entries", False, call=call, expected="{entries: [...]}", actual=f"{answer}"[:200])
            continue
        numbers = {entry.get("entry") for entry in shown if isinstance(entry, dict)}
        strangers = [e.entry for e in history.ledger if e.entry in numbers and e.account != call.account]
        missing = [
            e.entry
            for e in history.ledger
            if e.account == call.account and e.at < call.sent - history.skew_us and e.entry not in numbers
        ]
        verdict.case(
            "own_entries",
            not strangers and not missing and bool(numbers),
            call=call,
            expected=f"every entry of {call.account} and no other's",
            actual=f"missing {missing[:5]}, others' {strangers[:5]}, {len(numbers)} shown",
        )
