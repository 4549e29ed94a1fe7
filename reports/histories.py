"""The recorded histories of a run folder: found, read once at need, and chosen for figures; a missing one says why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.contract import Contract, ContractError, contract_from_json
from harness.history import AttemptSpan, CallSpan, History, HistoryError, read_history
from reports.record import Record
from reports.thin import read_thin

if TYPE_CHECKING:
    import pandas

Rank = Literal["faults_fired", "attempts", "calls"]

Wanted = tuple[tuple[str, ...], ...]
"""Groups of clauses, the most telling first, each as starts of ``ID.clause``."""

THIN = 8 << 20
"""Bytes from which on a history is read without the content of calls that nobody asks for."""
CAP = 160 << 20
"""Bytes of histories that a report reads in all; more takes longer than anybody waits for a report."""
_NAME = re.compile(r"\w[\w.-]*")
"""A folder's name, which cannot lead out of the folder that it is in."""
_CALL_COLUMNS = (
    "id", "account", "surface", "model", "stream", "tier", "sent", "first_byte", "end", "latency_ms", "outcome",
    "status", "arrived", "upstream_us", "booked", "paid", "told", "logged", "insurance", "insured_ms", "tokens",
)  # fmt: skip
_RECOVERY = ("recovery", "recovery_warmup")
"""Tags of the harness's own probes after the scenario, which no figure is about."""


@dataclass(frozen=True)
class Recording:
    """One recorded scenario: its history, and the tables that figures are drawn from."""

    scenario: str
    seed: int
    history: History

    @property
    def title(self) -> str:
        return f"{self.scenario}, seed {self.seed}"

    @cached_property
    def contract(self) -> Contract | None:
        """The effective contract of the run, or None if its plan holds none that this version can read."""
        try:
            return contract_from_json(self.history.plan.contract)
        except (ContractError, KeyError, TypeError, ValueError):
            return None

    def detail(self, call: str, name: str, default: Any = "") -> Any:
        """Return what the plan says of ``call`` in a field that differs from its default, or ``default``."""
        planned = self.history.planned.get(call)
        return planned.detail.get(name, default) if planned is not None else default

    def _probe(self, call: str) -> bool:
        return self.detail(call, "tag") in _RECOVERY

    @cached_property
    def spans(self) -> tuple[CallSpan, ...]:
        """The scenario's own calls, in the order they were sent."""
        return tuple(sorted((c for c in self.history.calls if not self._probe(c.id)), key=lambda c: c.sent))

    @cached_property
    def attempt_spans(self) -> tuple[AttemptSpan, ...]:
        """The attempts of the scenario's own calls, by arrival."""
        return tuple(sorted((a for a in self.history.attempts if not self._probe(a.call)), key=lambda a: a.start))

    @cached_property
    def calls(self) -> pandas.DataFrame:
        """A row per call: what its caller saw, what was booked, told and logged for it, and its first arrival."""
        import pandas

        return pandas.DataFrame([self._call(call) for call in self.spans], columns=_CALL_COLUMNS)

    def _call(self, call: CallSpan) -> tuple[Any, ...]:
        history = self.history
        entries, rows = history.entries_of(call.id), history.rows_of(call.id)
        attempts = history.attempts_of(call.id)
        billing, insurance = _mapping(call.claims.get("billing")), _mapping(call.claims.get("insurance"))
        posts = [entry.credits for entry in entries if entry.kind == "post"]
        return (
            call.id,
            call.account,
            call.surface,
            call.model,
            call.stream,
            self.detail(call.id, "tier", "managed"),
            call.sent,
            call.first_byte,
            call.end,
            (call.end - call.sent) / 1e3,
            call.outcome,
            call.status or 0,
            attempts[0].start if attempts else None,
            sum(attempt.end - attempt.start for attempt in attempts),
            -sum(posts) if posts else None,
            sum(entry.credits for entry in entries if entry.kind == "payout"),
            _number(billing.get("credits_charged")),
            sum(row.credits for row in rows) if rows else None,
            rows[-1].insurance if rows else str(insurance.get("status", "")),
            rows[-1].latency_ms if rows else _number(insurance.get("latency_ms")),
            self._tokens(attempts[-1]) if attempts else None,
        )

    def _tokens(self, attempt: AttemptSpan) -> int | None:
        """Return how many tokens an upstream reported, all classes together, or None if that cannot be read."""
        usage, contract = attempt.reading.usage, self.contract
        if usage is None or contract is None:
            return None
        identity = next((one for one in contract.usage if one.surface == attempt.surface), None)
        if identity is None:
            return None
        paths = [identity.input, identity.output]
        if not identity.includes_cache:
            paths += [identity.cache_read, identity.cache_write]
        found = [_number(_at(usage, path)) for path in paths]
        return None if found[0] is None or found[1] is None else sum(value or 0 for value in found)

    @cached_property
    def attempts(self) -> pandas.DataFrame:
        """A row per attempt: model as the client names it, upstream, when it was certainly in flight, its end."""
        import pandas

        return pandas.DataFrame(
            {
                "call": attempt.call,
                "upstream": attempt.upstream,
                "model": attempt.model.partition(":")[0],
                "tier": self.detail(attempt.call, "tier", "managed"),
                "start": attempt.start,
                "attached": attempt.attached,
                "end": attempt.end,
                "ended": attempt.ended,
            }
            for attempt in self.attempt_spans
        )


def starts(wanted: Wanted) -> tuple[str, ...]:
    """Return all starts of all groups."""
    return tuple(start for group in wanted for start in group)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = _mapping(value).get(part)
    return value


class Histories:
    """The recordings below a run folder, or the one directly in it."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._read: dict[str, Recording | str] = {}
        self._left = CAP
        self._named: dict[tuple[str, int], set[str]] = {}
        for check in record.checks:
            if check.evidence:
                calls = {piece["call"] for piece in check.evidence}
                self._named.setdefault((check.scenario, check.seed), set()).update(calls)

    def path(self, folder: str) -> Path:
        """Return where a scenario's record says that its history is; a run folder may also hold one directly."""
        root = self._record.folder
        if _NAME.fullmatch(folder) and (root / folder / "history.jsonl").is_file():
            return root / folder
        return root

    def of(self, scenario: str, seed: int, folder: str) -> Recording | str:
        """Return the recording of a scenario under a seed, or why there is none."""
        key = f"{scenario} {seed}"
        if key not in self._read:
            self._read[key] = self._open(scenario, seed, self.path(folder))
        return self._read[key]

    def _open(self, scenario: str, seed: int, folder: Path) -> Recording | str:
        path = folder / "history.jsonl"
        if not path.is_file():
            return "its history was not recorded"
        size = path.stat().st_size
        if size > self._left:
            return f"its history was not read: {size >> 20} MiB are more than a report takes the time for"
        self._left -= size
        try:
            named = self._named.get((scenario, seed), set())
            history = read_history(folder) if size < THIN else read_thin(folder, named)
        except HistoryError as error:
            return f"its history cannot be read: {error}".replace(str(self._record.folder), ".")
        if (history.plan.scenario, history.plan.seed) != (scenario, seed):
            return "its history was not recorded"
        return Recording(scenario, seed, history)

    def telling(self, wanted: Wanted, by: Rank, most: int) -> Iterator[Recording]:
        """Yield up to ``most`` recordings of scenarios that judged clauses of ``wanted``.

        Broken ones come first, then those that judged most clauses of the first group, of the second, and so on, then
        the largest by ``by``.
        """
        anywhere = starts(wanted)
        ranked = []
        for number, scenario in enumerate(self._record.scenarios):
            judged = [
                (f"{check['requirement']}.{name}", clause)
                for check in scenario["checks"]
                for name, clause in check["clauses"].items()
                if clause.get("passed") or clause.get("failed")
            ]
            told = [(name, clause) for name, clause in judged if name.startswith(anywhere)]
            if told:
                broken = any(clause.get("failed") for _, clause in told)
                breadth = [len({name for name, _ in told if name.startswith(group)}) for group in wanted]
                ranked.append(([-int(broken), *(-n for n in breadth), -int(scenario.get(by) or 0)], number))
        found = 0
        for _, number in sorted(ranked):
            if found == most:
                return
            scenario = self._record.scenarios[number]
            recording = self.of(scenario["scenario"], scenario["seed"], scenario.get("folder", ""))
            if isinstance(recording, Recording):
                found += 1
                yield recording

    @property
    def read(self) -> tuple[Recording, ...]:
        """The recordings read so far."""
        return tuple(one for one in self._read.values() if isinstance(one, Recording))
