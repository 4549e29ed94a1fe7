"""Hand-written histories of the wire: calls that went right unless told otherwise, beside what the upstream did."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from harness.checker import Checker, Outcome
from harness.checkers.wire import ROUTES
from harness.contract import Contract, load_contract
from harness.history import AttemptSpan, CallSpan, FaultSpan, History, LedgerEntry, Note, Plan, PlannedCall, Reading

GPT, CLAUDE, MAX = "gpt-5-5", "claude-sonnet-4-7", "claude-opus-4-7-max"
GENERAL, GENERAL_CLAUDE, CODEX = "gpt-5.5", "claude-sonnet-4-6", "gpt-5.3-codex"
GENERAL_CHAT, GENERAL_RESPONSES = "/api/v1/chat/completions", "/api/v1/responses"
CHAT, MESSAGES, RESPONSES = "/v1/managed/chat/completions", "/v1/managed/messages", "/v1/managed/responses"
IMAGES, IMAGE = "/v1/managed/images/generations", "gpt-image-2"
OWN = "gateway's"
STATES = ("active", "expired", "disabled", "suspended")
USAGE = {
    "chat": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    "messages": {"input_tokens": 10, "output_tokens": 5},
    "responses": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    "images": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
}
SEQUENCES = {
    "chat": "role content*3 finish usage done",
    "messages": "message_start content_block_start content_block_delta*3 content_block_stop message_delta message_stop",
    "responses": "response.created response.output_text.delta*3 response.completed",
}
FINISH = {"chat": "stop", "messages": "end_turn", "responses": "completed"}


def reading_of(surface: str, *, stream: bool = False, **changes: Any) -> Reading:
    """What a side reads of a whole answer."""
    usual = Reading(
        text="primary:c1:0",
        finish=FINISH.get(surface),
        usage=USAGE.get(surface),
        terminal=True,
        sequence=SEQUENCES[surface] if stream and surface in SEQUENCES else "json",
        items="digest",
    )
    return replace(usual, **changes)


@dataclass
class Wire:
    """Collects one run."""

    contract: Contract = field(default_factory=load_contract)
    options: dict[str, Any] = field(default_factory=dict)
    credits: dict[str, int] = field(default_factory=dict)
    taps: tuple[str, ...] = ("books", "journal", "bodies", "log")
    skew_us: int = 0
    calls: list[CallSpan] = field(default_factory=list)
    attempts: list[AttemptSpan] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    faults: list[FaultSpan] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    planned: list[PlannedCall] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)

    def body(self, value: Any) -> str:
        """Keep a body, given as JSON data or bytes, and return its digest."""
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        digest = hashlib.sha256(content).hexdigest()
        self.bodies[digest] = content
        return digest

    def call(
        self,
        path: str = CHAT,
        model: str = GPT,
        *,
        status: int | None = 200,
        outcome: str = "",
        reading: Reading | None = None,
        request: Any = None,
        answer: Any = None,
        stream: bool = False,
        account: str = "a",
        key: str = "",
        detail: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Add a call: its plan, and what its caller saw."""
        id_ = f"c{len(self.planned) + 1}"
        at = 1_000_000 * len(self.planned)
        surface = ROUTES[path.partition("?")[0]].surface if path.partition("?")[0] in ROUTES else "raw"
        method = {"method": "GET"} if surface in ("models", "ledger") else {}
        key = key or f"{account}-active"
        told = {**method, **(detail or {})}
        self.planned.append(PlannedCall(id_, account, key, surface, model, stream, at, "", path, told))
        whole = reading or reading_of(surface, stream=stream, model=model)
        content = b"" if answer is None else answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        span = CallSpan(
            id=id_,
            account=account,
            key=key,
            surface=surface,
            model=model,
            stream=stream,
            sent=at,
            first_byte=at + 10_000,
            first_content=at + 20_000,
            end=at + 400_000,
            outcome=outcome or ("ok" if status == 200 else "cut" if status is None else "refused"),  # type: ignore[arg-type]  # a word of the type
            status=status,
            headers={"content-type": "text/event-stream" if stream else "application/json"},
            reading=whole,
            chunks=(at + 10_000, at + 20_000),
            pings=(),
            claims={},
            request_sha="" if request is None else self.body(request),
            answer_sha="" if answer is None else self.body(content),
            answer_bytes=len(content),
            detail="",
        )
        self.calls.append(replace(span, **changes))
        return id_

    def refused(self, path: str, model: str, row: str, **changes: Any) -> str:
        """Add a call that was answered with the contract's error row ``row``."""
        error = self.contract.error(row)
        reading = Reading(sequence="json", error_type=error.type, error_message=f"{row}: no")
        anthropic = path in ROUTES and ROUTES[path].anthropic
        claims = {"code": row, **({"envelope": "error"} if anthropic else {})}
        outcome = "refused" if error.status < 500 or error.status == 503 else "error"
        given = {"status": error.status, "outcome": outcome, "reading": reading, "claims": claims, **changes}
        return self.call(path, model, **given)

    def served(
        self, path: str = CHAT, model: str = GPT, *, upstream: Mapping[str, Any] | None = None, **changes: Any
    ) -> str:
        """Add a call that the primary answered; ``upstream`` changes the attempt."""
        id_ = self.call(path, model, **changes)
        span = self.calls[-1]
        surface = "messages" if span.surface == "count_tokens" else span.surface
        given = dict(upstream or {})
        reading = given.pop("reading", None) or reading_of(span.surface, stream=span.stream, model=f"{model}:us-east")
        self.attempt(id_, surface=surface, model=f"{model}:us-east", stream=span.stream, reading=reading, **given)
        return id_

    def attempt(
        self, call: str, *, surface: str = "chat", upstream: str = "primary", body: Any = None, **changes: Any
    ) -> None:
        """Add an attempt, which served a whole answer unless told otherwise."""
        span = next(span for span in self.calls if span.id == call)
        made = AttemptSpan(
            id=f"{upstream}-{len(self.attempts)}",
            call=call,
            ordinal=len(self.attempts),
            upstream=upstream,
            provider="openai",
            surface=surface,
            model=span.model,
            stream=span.stream,
            start=span.sent + 1_000,
            head=span.sent + 5_000,
            first_chunk=span.sent + 5_000,
            attached=span.end - 1_000,
            end=span.end - 1_000,
            ended="served",
            fault="",
            left=None,
            status=200,
            bytes=100,
            chunks=5,
            reading=reading_of(surface, stream=span.stream),
            credential=OWN,
            headers={},
            request_sha="" if body is None else self.body(body),
            detail="",
        )
        self.attempts.append(replace(made, **changes))

    def fault(self, name: str) -> None:
        """Let a fault have hit the last attempt."""
        last = self.attempts[-1]
        self.faults.append(FaultSpan("i1", name, last.upstream, last.id, last.call, last.start))

    def entry(self, kind: str, credits: int, *, call: str = "", account: str = "a", at: int = 0) -> None:
        """Add a ledger entry."""
        number = len(self.ledger) + 1
        self.ledger.append(LedgerEntry(number, call, account, kind, credits, abs(credits), 0, (), (), at))

    def note(self, kind: str, **detail: Any) -> None:
        """Add a note of the runner's."""
        self.notes.append(Note(kind, 0, detail))

    def history(self) -> History:
        """Return the run."""
        names = dict.fromkeys(["a", *(plan.account for plan in self.planned)])
        accounts = tuple(
            {
                "id": name,
                "credits": self.credits.get(name, 1_000_000),
                "keys": [
                    {"id": f"{name}-{state}", "state": state, "digest": f"digest-{name}-{state}"} for state in STATES
                ],
            }
            for name in names
        )
        plan = Plan(
            schema="harness.history/1",
            seed=0,
            mode="sim",
            scenario="hand.written",
            target="reference",
            mutant="",
            epoch_s=0,
            contract={},
            overlay={},
            claims=("*",),
            accounts=accounts,
            upstreams=tuple({"name": role, "role": role, "credential": OWN} for role in ("primary", "second", "third")),
            calls=tuple(self.planned),
            injections=(),
            skew_us=self.skew_us,
            taps=self.taps,
            options=self.options,
        )
        return History(
            plan,
            calls=tuple(self.calls),
            attempts=tuple(self.attempts),
            ledger=tuple(self.ledger),
            faults=tuple(self.faults),
            notes=tuple(self.notes),
            bodies=self.bodies,
        )

    def outcome(self, check: Checker, clause: str) -> Outcome | None:
        """Return what ``check`` makes of ``clause`` in this run; None where it met no case of it."""
        result = check(self.history(), self.contract).clauses.get(clause)
        return result.outcome if result is not None else None


class Case(NamedTuple):
    """A run that keeps a clause and one that breaks it."""

    check: Checker
    clause: str
    good: Callable[[Wire], Any]
    bad: Callable[[Wire], Any]

    def __str__(self) -> str:
        return f"{self.check.requirement}.{self.clause}"


Judgements = list[tuple[Checker, Callable[[Wire], Any], set[str]]]
"""Checkers, runs, and the clauses that the run bears on."""
