"""Hand-written histories about money: one call at a time, right unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from harness.checker import Checker, Outcome
from harness.contract import Contract, load_contract
from harness.history import (
    AttemptSpan,
    CallSpan,
    History,
    LedgerEntry,
    Note,
    Plan,
    PlannedCall,
    Reading,
    UsageRow,
)

CONTRACT = load_contract()
OPENING = 1_000_000
CHAT_USAGE = {"prompt_tokens": 40_000, "completion_tokens": 0, "total_tokens": 40_000}
"""On gpt-5-5 exactly 21 credits: 40,000 x $5.25 a million."""
PATHS = {
    ("chat", "managed"): "/v1/managed/chat/completions",
    ("messages", "managed"): "/v1/managed/messages",
    ("responses", "managed"): "/v1/managed/responses",
    ("chat", "general"): "/api/v1/chat/completions",
    ("messages", "general"): "/api/v1/messages",
    ("responses", "general"): "/api/v1/responses",
}


@dataclass
class Book:
    """Collects what happened, and keeps the ledger's balances right."""

    contract: Contract = CONTRACT
    mode: str = "sim"
    calls: list[CallSpan] = field(default_factory=list)
    attempts: list[AttemptSpan] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    usage: list[UsageRow] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    planned: list[PlannedCall] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    openings: dict[str, int] = field(default_factory=dict)
    taps: tuple[str, ...] = ("books", "journal")

    def account(self, name: str, credits: int = OPENING) -> None:
        self.openings[name] = credits
        self.entry(name, "", "opening", credits, credits, (("top_ups", -credits), (f"customer:{name}", credits)))

    def entry(
        self,
        account: str,
        call: str,
        kind: str,
        credits: int,
        amount: int,
        lines: tuple[tuple[str, int], ...],
        at: int = 0,
        **changes: Any,
    ) -> LedgerEntry:
        before = next((e.balance for e in reversed(self.ledger) if e.account == account), 0)
        made = LedgerEntry(len(self.ledger) + 1, call, account, kind, credits, amount, before + credits, (), lines, at)
        self.ledger.append(replace(made, **changes))
        return self.ledger[-1]

    def hold(self, call: str, amount: int, *, account: str = "a", at: int = 0) -> None:
        lines = ((f"customer:{account}", -amount), (f"holds:{account}", amount))
        self.entry(account, call, "hold", 0, amount, lines, at)

    def post(self, call: str, credits: int, held: int = 0, *, account: str = "a", at: int = 0) -> LedgerEntry:
        lines = ((f"holds:{account}", -held), (f"customer:{account}", held - credits), ("revenue", credits))
        return self.entry(account, call, "post", -credits, credits, lines, at)

    def void(self, call: str, held: int, *, account: str = "a", at: int = 0) -> None:
        self.entry(account, call, "void", 0, held, ((f"holds:{account}", -held), (f"customer:{account}", held)), at)

    def payout(self, call: str, credits: int, *, account: str = "a", at: int = 0) -> None:
        lines = (("insurance", -credits), (f"customer:{account}", credits))
        self.entry(account, call, "payout", credits, credits, lines, at)

    def plan(self, id_: str, surface: str = "chat", model: str = "gpt-5-5", **changes: Any) -> PlannedCall:
        detail = changes.pop("detail", {})
        tier = changes.pop("tier", "managed")
        made = PlannedCall(id_, "a", "a-key", surface, model, False, 0, "", PATHS.get((surface, tier), ""), detail)
        self.planned.append(replace(made, **changes))
        return self.planned[-1]

    def call(self, id_: str, **changes: Any) -> CallSpan:
        plan = next(call for call in self.planned if call.id == id_)
        made = CallSpan(
            id=id_,
            account=plan.account,
            key=plan.key,
            surface=plan.surface,
            model=plan.model,
            stream=plan.stream,
            sent=0,
            first_byte=100_000,
            first_content=100_000,
            end=100_000,
            outcome="ok",
            status=200,
            headers={},
            reading=Reading(terminal=True),
            chunks=(),
            pings=(),
            claims={},
            request_sha="",
            answer_sha="",
            answer_bytes=0,
            detail="",
        )
        self.calls.append(replace(made, **changes))
        return self.calls[-1]

    def attempt(self, call: str, usage: dict[str, Any] | None = None, **changes: Any) -> AttemptSpan:
        plan = next(one for one in self.planned if one.id == call)
        number = len(self.attempts) + 1
        reading = changes.pop("reading", Reading(terminal=True, usage=usage))
        made = AttemptSpan(
            id=f"t{number}",
            call=call,
            ordinal=number,
            upstream="primary",
            provider="openai",
            surface=plan.surface,
            model=f"{plan.model}:us-east",
            stream=plan.stream,
            start=0,
            head=100_000,
            first_chunk=100_000,
            attached=100_000,
            end=100_000,
            ended="served",
            fault="",
            left=None,
            status=200,
            bytes=100,
            chunks=1,
            reading=reading,
            credential="",
            headers={},
            request_sha="",
            detail="",
        )
        self.attempts.append(replace(made, **changes))
        return self.attempts[-1]

    def row(self, call: str, **changes: Any) -> None:
        made = UsageRow(
            call, f"req-{call}", "a", "a-key", "", "gpt-5-5", 200, "ok", 0, 0, "not_triggered", 100, {}, (), 0
        )
        self.usage.append(replace(made, **changes))

    def note(self, kind: str, at: int = 0, **detail: Any) -> None:
        self.notes.append(Note(kind, at, detail))

    def history(self, **options: Any) -> History:
        plan = Plan(
            schema="harness.history/1",
            seed=0,
            mode=self.mode,
            scenario="test",
            target="reference",
            mutant="",
            epoch_s=0,
            contract={},
            overlay={},
            claims=("*",),
            accounts=tuple(
                {"id": name, "credits": credits, "keys": [{"id": f"{name}-key", "state": "active"}]}
                for name, credits in self.openings.items()
            ),
            upstreams=(),
            calls=tuple(self.planned),
            injections=(),
            skew_us=0,
            taps=self.taps,
            options=options,
        )
        return History(
            plan,
            tuple(self.calls),
            tuple(self.attempts),
            tuple(self.ledger),
            tuple(self.usage),
            (),
            tuple(self.notes),
            self.bodies,
        )


def outcome(check: Checker, book: Book, clause: str, **options: Any) -> Outcome | None:
    """Return what ``check`` says of one clause, None if it met no case of it."""
    verdict = check(book.history(**options), book.contract)
    return verdict.clauses[clause].outcome if clause in verdict.clauses else None
