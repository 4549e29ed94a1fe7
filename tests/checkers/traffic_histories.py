"""Hand-written histories of traffic, in milliseconds: what callers saw and what upstreams did; right by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.checker import Checker, Outcome
from harness.contract import Contract, load_contract
from harness.history import (
    AttemptSpan,
    CallSpan,
    FaultSpan,
    History,
    LedgerEntry,
    Plan,
    PlannedCall,
    Reading,
)

CONTRACT = load_contract()
NAMES = CONTRACT.headers
PATHS = {
    ("chat", "managed"): "/v1/managed/chat/completions",
    ("messages", "managed"): "/v1/managed/messages",
    ("responses", "managed"): "/v1/managed/responses",
    ("images", "managed"): "/v1/managed/images/generations",
    ("chat", "general"): "/api/v1/chat/completions",
}
ROLES = ("primary", "second", "third")
REGIONS = {"primary": "us-east", "second": "us-west", "third": "eu-central"}
Story = Callable[[bool], "Traffic"]
"""A history in which all is well; or, if asked for it, one thing is not."""


def us(ms: float) -> int:
    return round(ms * 1000)


def usage(total: int) -> dict[str, int]:
    """Return a chat usage object of so many tokens."""
    return {"prompt_tokens": total - total // 2, "completion_tokens": total // 2, "total_tokens": total}


def contract_with(**overlay: Any) -> Contract:
    """Return the contract with numbers changed: ``text__requests=3``."""
    return load_contract(overlays=[{name.replace("__", "."): value for name, value in overlay.items()}])


def error(type_: str | None, message: str = "it failed", sequence: str = "json") -> Reading:
    return Reading(error_type=type_, error_message=message, sequence=sequence)


@dataclass
class Traffic:
    """Collects calls and attempts. ``listeners`` and ``options`` go into the plan as they are."""

    contract: Contract = CONTRACT
    mode: str = "sim"
    listeners: Mapping[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    taps: tuple[str, ...] = ("books", "journal")
    planned: list[PlannedCall] = field(default_factory=list)
    calls: list[CallSpan] = field(default_factory=list)
    attempts: list[AttemptSpan] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    injections: list[dict[str, Any]] = field(default_factory=list)
    faults: list[FaultSpan] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)

    def governor(self, slots: int | None = None, rpm: int | None = None, tpm: int | None = None) -> dict[str, str]:
        """Return an admitted call's headers: all is left but itself, where not given; of tokens nothing is told."""
        limits = self.contract.text
        rpm = limits.requests - 1 if rpm is None else rpm
        tokens = {NAMES.tpm_limit: str(limits.tokens), NAMES.tpm_remaining: str(tpm)} if tpm is not None else {}
        return {
            NAMES.governor: "active",
            NAMES.concurrency_limit: str(limits.concurrency),
            NAMES.concurrency_remaining: str(limits.concurrency - 1 if slots is None else slots),
            NAMES.rpm_limit: str(limits.requests),
            NAMES.rpm_remaining: str(rpm),
            **tokens,
            NAMES.capacity_remaining: str(rpm),
            NAMES.circuit: "closed",
        }

    def call(
        self,
        id_: str,
        at: float,
        end: float,
        *,
        account: str = "a",
        key: str = "a-key",
        surface: str = "chat",
        model: str = "gpt-5-5",
        tier: str = "managed",
        stream: bool = False,
        detail: dict[str, Any] | None = None,
        **changes: Any,
    ) -> CallSpan:
        """Add a call that was sent ``at`` and answered, or over, at ``end``."""
        path = PATHS[surface, tier]
        self.planned.append(PlannedCall(id_, account, key, surface, model, stream, us(at), "", path, detail or {}))
        made = CallSpan(
            id=id_,
            account=account,
            key=key,
            surface=surface,
            model=model,
            stream=stream,
            sent=us(at),
            first_byte=us(end),
            first_content=us(end),
            end=us(end),
            outcome="ok",
            status=200,
            headers={},
            reading=Reading(text=f"primary:{id_}", terminal=True, finish="stop", sequence="json"),
            chunks=(us(end),),
            pings=(),
            claims={},
            request_sha="",
            answer_sha="",
            answer_bytes=0,
            detail="",
            request_bytes=400,
        )
        self.calls.append(replace(made, **changes))
        return self.calls[-1]

    def attempt(
        self, call: str, at: float, end: float, role: str = "primary", fault: str = "", **changes: Any
    ) -> AttemptSpan:
        """Add an attempt of ``call`` at ``role``: a whole answer, or what ``fault`` or a status make of it."""
        plan = next(one for one in self.planned if one.id == call)
        params = changes.pop("params", {})
        status = changes.get("status", 200)
        text = changes.pop("text", f"{role}:{call}" if status == 200 and not fault else "")
        tokens = changes.pop("tokens", 10)
        whole = status == 200 and not fault
        made = AttemptSpan(
            id=f"{role}:{call}:{1 + sum(a.call == call and a.upstream == role for a in self.attempts)}",
            call=call,
            ordinal=len(self.attempts) + 1,
            upstream=role,
            provider="openai",
            surface=plan.surface,
            model=f"{plan.model}:{REGIONS[role]}",
            stream=plan.stream,
            start=us(at),
            head=us(end),
            first_chunk=us(end),
            attached=us(end),
            end=us(end),
            ended="served" if whole else "fault",
            fault=fault or ("" if whole else "respond"),
            left=None,
            status=status,
            bytes=100,
            chunks=1,
            reading=Reading(
                text=text,
                finish="stop" if whole else None,
                usage=usage(tokens) if whole else None,
                terminal=whole,
                sequence="json" if whole else "",
            ),
            credential="",
            headers={},
            request_sha="",
            detail="",
        )
        made = replace(made, **changes)
        if made.ended == "left" and made.left is None:
            made = replace(made, left=(made.end, made.end))
        self.attempts.append(made)
        if params:
            name = f"i{len(self.injections) + 1}"
            self.injections.append({"id": name, "role": role, "fault": {"name": made.fault, "params": params}})
            self.faults.append(FaultSpan(name, made.fault, role, made.id, call, made.start))
        return made

    def served(
        self,
        id_: str,
        at: float,
        end: float,
        *,
        start: float | None = None,
        slots: int | None = None,
        rpm: int | None = None,
        tpm: int | None = None,
        tokens: int = 10,
        **options: Any,
    ) -> None:
        """Add a call that the primary answered from ``start`` on (or at once), and what it was told to remain."""
        headers = {} if options.get("tier") == "general" else self.governor(slots, rpm, tpm)
        self.call(id_, at, end, headers=headers, **options)
        self.attempt(id_, at if start is None else start, end, tokens=tokens)

    def refused(self, id_: str, at: float, end: float | None = None, *, retry_after: str = "5", **options: Any) -> None:
        """Add a call that was refused with 429 at once, or at ``end``."""
        headers = {NAMES.retry_after: retry_after}
        if options.get("tier") != "general":
            headers[NAMES.governor] = "active"
        self.call(
            id_,
            at,
            at if end is None else end,
            **{
                "status": 429,
                "outcome": "refused",
                "reading": error("rate_limit_error"),
                "first_content": None,
                "headers": headers,
                **options,
            },
        )

    def failed(self, id_: str, at: float, end: float, status: int, type_: str, **options: Any) -> CallSpan:
        """Add a call that was answered with an error."""
        return self.call(
            id_,
            at,
            end,
            **{
                "status": status,
                "outcome": "refused" if status < 500 or status == 503 else "error",
                "reading": error(type_),
                "first_content": None,
                **options,
            },
        )

    def history(self) -> History:
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
            accounts=(),
            upstreams=tuple({"role": role, "listener": self.listeners.get(role, "open")} for role in ROLES),
            calls=tuple(self.planned),
            injections=tuple(self.injections),
            skew_us=0 if self.mode == "sim" else 2_000,
            taps=self.taps,
            options={"wall_us": 0, **self.options},
        )
        return History(
            plan,
            tuple(self.calls),
            tuple(self.attempts),
            tuple(self.ledger),
            faults=tuple(self.faults),
            bodies=self.bodies,
        )


def outcome(check: Checker, traffic: Traffic, clause: str) -> Outcome | None:
    """Return what ``check`` says of one clause, None if it met no case of it."""
    verdict = check(traffic.history(), traffic.contract)
    return verdict.clauses[clause].outcome if clause in verdict.clauses else None


def tell_apart(check: Checker, clause: str, story: Story) -> None:
    """Assert that ``check`` passes the story in which all is well, and fails the one in which one thing is not."""
    assert outcome(check, story(False), clause) is Outcome.PASS
    assert outcome(check, story(True), clause) is Outcome.FAIL
