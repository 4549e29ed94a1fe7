"""Reads the books of recorded runs: journal, ledger, usage log and what the clients saw, out of ``history.jsonl``.

It judges nothing: what a row means is decided by what reads the books.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from harness.audit.books import AuditError, Books
from harness.audit.units import Unit
from harness.audit.usage import usage_of
from harness.contract import Contract, Model
from harness.contract.loader import contract_from_json
from harness.history import AttemptSpan, CallSpan, History, HistoryError, PlannedCall, read_chapters

BILLED = ("chat", "messages", "responses", "images")
LOST = ("cut", "aborted", "open")
"""Outcomes after which nobody can tell whether the call's answer counts as one."""
CHOP_US = 2_000
"""How long a link that takes chunks apart may hold bytes back."""
SCHEDULING_US = 200_000
"""How much later than it could, on sockets, a busy machine may let a process run."""


def read_run(folders: Sequence[Path], scratch: Path | None = None) -> Books:
    """Return the books of every recorded scenario in ``folders``. Raises AuditError."""
    books: Books | None = None
    for number, folder in enumerate(folders):
        lines = _line_numbers(folder / "history.jsonl")
        try:
            for chapter, history in enumerate(read_chapters(folder)):
                contract = contract_from_json(history.plan.contract)
                if books is None:
                    unit = Unit()
                    books = Books(unit, credit=unit.credit(contract.money.credits_per_usd), scratch=scratch)
                    books.rounding = {"mode": "up", "quantum": "1 credit", "source": "the contract"}
                if not history.has_tap("books"):
                    books.notes.append(f"{folder.name}: the gateway's books could not be read, it is left out")
                    break
                run = _Run(books, history, contract, number, folder.name if len(folders) > 1 else "")
                run.read(lines, first=not chapter)
                del history, run  # before the next one is read
        except HistoryError as error:
            raise AuditError("a recorded run cannot be read", cause=str(error)) from error
    if books is None:
        raise AuditError("no recorded run was given")
    return books


class _Run:
    """One history, or one chapter of it, on its way into the books."""

    def __init__(self, books: Books, history: History, contract: Contract, number: int, prefix: str) -> None:
        self.books = books
        self.history = history
        self.contract = contract
        self.policy = number
        self.prefix = f"{prefix}/" if prefix else ""
        self.file = books.source(f"{self.prefix}history.jsonl")
        self.credit = books.unit.credit(contract.money.credits_per_usd)
        self.planned = history.planned
        self.caused = _caused(history, contract)

    def read(self, lines: Mapping[str, Iterator[int]], *, first: bool) -> None:
        """Add everything; ``lines`` are the lines that its spans are at, the ``first`` chapter tells the promises."""
        if first:
            self._promises()
        self.books.insert("served", list(self._served(lines["attempt"])))
        self.books.insert("entries", list(self._entries(lines["ledger"])))
        self.books.insert("logged", list(self._logged(lines["usage"])))
        self.books.insert("told", list(self._told(lines["call"])))

    def _promises(self) -> None:
        contract, unit = self.contract, self.books.unit
        prices = []
        for model in contract.models:
            if model.price is not None:
                price = model.price
                per_token = (
                    None if given is None else unit.per_token(given)
                    for given in (price.input, price.cache_read, price.cache_write, price.output)
                )
                prices.append((self.policy, _name(model), *per_token))
        self.books.insert("prices", prices)
        policy = contract.insurance
        ratio = Fraction(policy.payout_ratio)
        row = (self.policy, self.credit, "up", policy.threshold_ms * 1000, ratio.numerator, ratio.denominator)
        self.books.insert("policies", [(*row, self.history.skew_us, 0)])
        opening = [
            (f"{self.prefix}{account['id']}", int(account["credits"]) * self.credit)
            for account in self.history.plan.accounts
        ]
        self.books.insert("accounts", opening)

    def _model(self, call: str) -> Model | None:
        """Return the contract's entry for what a call asked for, on the tier that its path belongs to."""
        planned = self.planned.get(call)
        if planned is None or planned.surface not in BILLED:
            return None
        return asked(self.contract, planned)

    def _served(self, lines: Iterator[int]) -> Iterator[tuple[Any, ...]]:
        calls = {attempt.id: call for call, attempts in self.caused.items() for attempt in attempts}
        for attempt, line in zip(self.history.attempts, lines, strict=False):
            call = calls[attempt.id]
            planned = self.planned.get(call)
            if planned is not None and planned.surface not in BILLED:
                continue
            model = self._model(call)
            serves = attempt is self.caused[call][-1] and _whole(attempt)
            flaw, tokens = usage_of(self.contract, attempt, model)
            account = f"{self.prefix}{planned.account}" if planned else None
            yield (
                f"{self.prefix}{call}",
                self.policy,
                account,
                _name(model) if model else None,
                attempt.id,
                serves,
                flaw if serves else "",
                *tokens,
                attempt.start,
                attempt.end,
                self.file,
                line,
            )

    def _entries(self, lines: Iterator[int]) -> Iterator[tuple[Any, ...]]:
        for entry, line in zip(self.history.ledger, lines, strict=False):
            model = self._model(entry.call)
            yield (
                f"{self.prefix}{entry.call}" if entry.call else "",
                f"{self.prefix}{entry.account}",
                _name(model) if model else None,
                entry.kind,
                entry.amount * self.credit,
                entry.credits * self.credit,
                entry.balance * self.credit,
                None,
                None,
                None,
                None,
                entry.entry,
                entry.at,
                self.file,
                line,
            )

    def _logged(self, lines: Iterator[int]) -> Iterator[tuple[Any, ...]]:
        for row, line in zip(self.history.usage, lines, strict=False):
            planned = self.planned.get(row.call)
            if planned is not None and planned.surface not in BILLED:
                continue
            model = self._model(row.call)
            tokens = tuple(row.usage.get(name) for name in ("input", "cache_read", "cache_write", "output"))
            yield (
                f"{self.prefix}{row.call}",
                f"{self.prefix}{row.account}",
                _name(model) if model else None,
                row.outcome,
                row.credits * self.credit,
                row.compensated * self.credit,
                row.insurance,
                row.latency_ms,
                *tokens,
                row.at,
                self.file,
                line,
            )

    def _told(self, lines: Iterator[int]) -> Iterator[tuple[Any, ...]]:
        for call, line in zip(self.history.calls, lines, strict=False):
            if call.surface not in BILLED:
                continue
            planned = self.planned[call.id]
            model = self._model(call.id)
            attempts = self.caused.get(call.id, ())
            # An answer that came again by its key tells the charge of the call that it is from.
            again = bool(planned.detail.get("marks")) and not attempts
            claims, headers = ({}, {}) if again else (call.claims, call.headers)
            billing = claims.get("billing") or {}
            insurance = claims.get("insurance") or {}
            names = self.contract.headers
            paid = insurance.get("credits_compensated")
            header_paid = None if call.stream else _whole_number(headers.get(names.insurance_credits))
            yield (
                f"{self.prefix}{call.id}",
                self.policy,
                f"{self.prefix}{call.account}",
                _name(model) if model else None,
                "ok" if call.outcome == "ok" else "unknown" if call.outcome in LOST else "failed",
                *(self._units(billing.get(name)) for name in ("credits_charged", "balance_before", "balance_after")),
                model is not None and model.tier == "enterprise" and not self._left_early(call, attempts),
                insurance.get("status"),
                None if insurance.get("status") == "pending" else self._units(paid),
                None if call.stream else headers.get(names.insurance_status),
                self._units(header_paid),
                insurance.get("latency_ms"),
                *latency_bounds(self.history, planned, call, attempts),
                call.end,
                self.file,
                line,
            )

    def _left_early(self, call: CallSpan, attempts: Sequence[AttemptSpan]) -> bool:
        """Say whether the caller hung up before its answer was there: the insurance does not cover that."""
        return call.outcome == "aborted" and bool(attempts) and attempts[-1].end > call.end + self.history.skew_us

    def _units(self, credits: Any) -> int | None:
        return credits * self.credit if isinstance(credits, int) and not isinstance(credits, bool) else None


def _caused(history: History, contract: Contract) -> dict[str, list[AttemptSpan]]:
    """Return the attempts that each call caused, in their order.

    Upstream a retry goes by the name that is in its body, that of the call which it repeats. Whose an attempt is tells
    the time at which it began: calls of one name do not overlap but for those that are refused.
    """
    in_use = contract.error("key_in_use").status
    tries: dict[str, list[CallSpan]] = {}
    for call in history.calls:
        tries.setdefault(str(history.planned[call.id].detail.get("marks") or call.id), []).append(call)
    found: dict[str, list[AttemptSpan]] = {}
    for attempt in sorted(history.attempts, key=lambda one: (one.start, one.ordinal)):
        under_way = [
            call
            for call in tries.get(attempt.call, ())
            if call.sent - history.skew_us <= attempt.start <= call.end + history.skew_us and call.status != in_use
        ]
        latest = max(under_way, key=lambda call: call.sent, default=None)
        found.setdefault(latest.id if latest is not None else attempt.call, []).append(attempt)
    return found


def asked(contract: Contract, planned: PlannedCall) -> Model | None:
    """Return the model that a call asked for: on the root's /v1/messages an Enterprise id makes an Enterprise call."""
    path = planned.path
    if path.startswith("/v1/managed/"):
        return contract.model("enterprise", planned.model)
    enterprise = contract.model("enterprise", planned.model) if path.startswith("/v1/messages") else None
    return enterprise or contract.model("general", planned.model)


def latency_bounds(
    history: History, planned: PlannedCall, call: CallSpan, attempts: Sequence[AttemptSpan]
) -> tuple[int | None, int | None]:
    """Return between which microseconds a call's true latency lies, by the clocks of caller and upstream.

    It starts with the whole request at the gateway and ends with the upstream's last byte there. A caller that sent or
    read slowly leaves the lower bound open.
    """
    if not attempts:
        return None, None
    link_us = round(1000 * float(history.plan.options.get("latency_ms", 0) or 0))
    link_us += CHOP_US if history.plan.options.get("chop") else 0
    dial_us = round(1000 * float(history.plan.options.get("connect_ms", 0) or 0)) + 2 * link_us
    received = call.sent + round(1000 * float(planned.detail.get("upload_ms", 0) or 0))
    ended = attempts[-1].end
    slowest = ended + link_us - received if history.skew_us == 0 else call.end - received
    if planned.detail.get("read_pause_ms"):
        return None, None if history.skew_us else slowest
    if history.skew_us == 0:
        return max(0, ended - received - dial_us), max(0, slowest)
    # On sockets the first attempt's arrival, not the caller's send, is where the gateway certainly had the request; and
    # a busy machine may note an end late.
    return max(0, ended - attempts[0].start - SCHEDULING_US), max(0, slowest)


def _whole(attempt: AttemptSpan) -> bool:
    """Say whether an attempt answered with a whole success."""
    return attempt.status == 200 and attempt.reading.terminal and not attempt.reading.error_type


def _name(model: Model) -> str:
    """Return a model's name in the books: the same id may have two prices on two tiers."""
    return f"{model.tier}/{model.id}"


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _line_numbers(path: Path) -> dict[str, Iterator[int]]:
    """Return at which lines the spans of each kind are, in order. Raises AuditError."""
    found = {kind: array("q") for kind in ("attempt", "ledger", "usage", "call")}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_heads(file), 1):
                if line in found:
                    found[line].append(number)
    except OSError as error:
        raise AuditError("a recorded run cannot be read", cause=f"{path}: {error.strerror or error}") from error
    return {kind: iter(numbers) for kind, numbers in found.items()}


def _heads(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield the kind of each span: a line opens with it."""
    for line in lines:
        head = line[:40].decode("ascii", "replace")
        yield head.split('"')[3] if head.startswith('{"span"') else ""
