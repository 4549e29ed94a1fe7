"""The ordered, immutable record of one run: spans, their reader and their writer; it may judge nothing.

``history.jsonl`` is one JSON object per line: first ``plan``, then spans written by (end, sequence). All stamps are
integer microseconds since the run's zero, each span naming the clock they came from; across clocks they compare as
intervals only (``History.skew_us``). docs/history.md describes every field.
"""

from __future__ import annotations

import array
import hashlib
import io
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal

import orjson

SCHEMA = "harness.history/1"
_LINES_AT_ONCE = 256
BODY_CAP = 1 << 20
"""Bytes of one body kept under ``bodies/``; a longer one is cut there and its span says how long it was."""

CallOutcome = Literal["ok", "refused", "error", "cut", "aborted", "open"]
"""ok: whole answer or stream with its terminal event. refused: an error status before any attempt could be seen by the
client (4xx or 503). error: an error status or an error event. cut: the transport broke, or the stream ended without
its terminal event. aborted: the client itself went away. open: the run ended first."""


class HistoryError(Exception):
    """A history that cannot be read; the message says which file and line, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one side made of an answer: the upstream of what it sent, the client of what it received.

    ``usage`` is the provider's own usage object as on the wire; ``tools`` are {id, name, arguments} with the arguments
    as text; ``sequence`` is the event types in order, runs folded (``a b*3 c``); ``finish`` is the stop or finish
    reason; ``terminal`` says that the protocol's terminal event (or the whole JSON body) was there.
    """

    text: str = ""
    thinking: str = ""
    signature: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    finish: str | None = None
    usage: Mapping[str, Any] | None = None
    terminal: bool = False
    sequence: str = ""
    model: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    items: str = ""
    """sha256 of the canonical JSON of what else the answer carries in order (output items, blocks), or empty."""


@dataclass(frozen=True, slots=True)
class CallSpan:
    """What the caller saw of one call (clock: client)."""

    id: str
    account: str
    key: str
    surface: str
    model: str
    stream: bool
    sent: int
    first_byte: int | None
    first_content: int | None
    end: int
    outcome: CallOutcome
    status: int | None
    headers: Mapping[str, str]
    reading: Reading
    chunks: tuple[int, ...]
    pings: tuple[int, ...]
    claims: Mapping[str, Any]
    request_sha: str
    answer_sha: str
    answer_bytes: int
    detail: str
    request_bytes: int = 0
    """Length of the body as sent; 0 where it was not recorded."""


@dataclass(frozen=True, slots=True)
class AttemptSpan:
    """What an upstream did with one request that reached it (clock: upstream): the ground truth.

    ``ended``: served (all of a lawful answer was sent), fault (an injection decided the ending), left (the caller went
    away; ``left`` is the interval in which it did), open (the run ended first). ``attached`` is the last
    instant at which the caller was certainly still there: the attempt counts as in flight from start to attached.
    """

    id: str
    call: str
    ordinal: int
    upstream: str
    provider: str
    surface: str
    model: str
    stream: bool
    start: int
    head: int | None
    first_chunk: int | None
    attached: int
    end: int
    ended: Literal["served", "fault", "left", "open"]
    fault: str
    left: tuple[int, int] | None
    status: int | None
    bytes: int
    chunks: int
    reading: Reading
    credential: str
    headers: Mapping[str, str]
    request_sha: str
    detail: str


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One entry of the gateway's books (clock: gateway).

    ``kind``: opening, top_up, hold, post, void, payout, refund. ``credits`` is the change of the account's posted
    balance, signed (a hold and a void change nothing: their ``amount`` is what is held or released); ``balance`` is
    the posted balance after it. ``lines`` are the double entry: (book account, signed credits), summing to zero.
    """

    entry: int
    call: str
    account: str
    kind: str
    credits: int
    amount: int
    balance: int
    flags: tuple[str, ...]
    lines: tuple[tuple[str, int], ...]
    at: int


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One row of the gateway's usage log (clock: gateway). ``status`` is the HTTP status it answered."""

    call: str
    request: str
    account: str
    key: str
    endpoint: str
    model: str
    status: int
    outcome: str
    credits: int
    compensated: int
    insurance: str
    latency_ms: int
    usage: Mapping[str, Any]
    flags: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """An injection fired (clock: upstream): its id from the plan, the attempt that it hit, and when."""

    injection: str
    fault: str
    upstream: str
    attempt: str
    call: str
    at: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something the runner did or noticed: start, heal, restart, crash, lateness, end of the workload."""

    kind: str
    at: int
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call as it was planned: everything but secrets.

    ``detail`` holds the other fields of ``harness.scenario.Call`` that differ from their defaults, by name (tag, tier,
    reply as a mapping, max_tokens, auth, abort_ms, ...): read it with ``get``. ``fields`` maps names to values, each in
    a list (empty for a field left out), and ``own_body`` says that the body was given as it is. ``path`` is the path
    really asked;
    ``at`` is None for a call that follows others (``after``: their ids, joined by commas).
    """

    id: str
    account: str
    key: str
    surface: str
    model: str
    stream: bool
    at: int | None
    after: str
    path: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """The first line: all that was decided before the first call."""

    schema: str
    seed: int
    mode: str
    scenario: str
    target: str
    mutant: str
    epoch_s: int
    contract: Mapping[str, Any]
    overlay: Mapping[str, Any]
    claims: tuple[str, ...]
    accounts: tuple[Mapping[str, Any], ...]
    upstreams: tuple[Mapping[str, Any], ...]
    calls: tuple[PlannedCall, ...]
    injections: tuple[Mapping[str, Any], ...]
    skew_us: int
    taps: tuple[str, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class History:
    """A whole run in memory, indexed. ``skew_us`` widens comparisons across clocks: 0 in sim, 2,000 on sockets."""

    plan: Plan
    calls: tuple[CallSpan, ...] = ()
    attempts: tuple[AttemptSpan, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    usage: tuple[UsageRow, ...] = ()
    faults: tuple[FaultSpan, ...] = ()
    notes: tuple[Note, ...] = ()
    bodies: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def skew_us(self) -> int:
        return self.plan.skew_us

    @cached_property
    def planned(self) -> Mapping[str, PlannedCall]:
        """Planned calls by id."""
        return {call.id: call for call in self.plan.calls}

    @cached_property
    def call(self) -> Mapping[str, CallSpan]:
        """Call spans by id."""
        return {call.id: call for call in self.calls}

    @cached_property
    def _attempts(self) -> Mapping[str, tuple[AttemptSpan, ...]]:
        return _grouped(sorted(self.attempts, key=lambda a: (a.start, a.ordinal)))

    def attempts_of(self, call: str) -> tuple[AttemptSpan, ...]:
        """Return the attempts that carried ``call``'s marker, by arrival."""
        return self._attempts.get(call, ())

    @cached_property
    def _ledger(self) -> Mapping[str, tuple[LedgerEntry, ...]]:
        return _grouped(self.ledger)

    def entries_of(self, call: str) -> tuple[LedgerEntry, ...]:
        """Return the ledger entries of ``call`` in the ledger's order."""
        return self._ledger.get(call, ())

    @cached_property
    def _usage(self) -> Mapping[str, tuple[UsageRow, ...]]:
        return _grouped(self.usage)

    def rows_of(self, call: str) -> tuple[UsageRow, ...]:
        """Return the usage-log rows of ``call``."""
        return self._usage.get(call, ())

    @cached_property
    def memo(self) -> dict[str, Any]:
        """What checkers derived from this history, by name, so that it is derived once."""
        return {}

    def has_tap(self, tap: str) -> bool:
        """Say whether the run could see ``tap`` (books, journal, bodies, log)."""
        return tap in self.plan.taps


def _grouped(spans: Iterable[Any]) -> dict[str, tuple[Any, ...]]:
    groups: dict[str, list[Any]] = {}
    for span in spans:
        groups.setdefault(span.call, []).append(span)
    return {call: tuple(group) for call, group in groups.items()}


ATTEMPT = b'{"span":"attempt",'
"""What the line of an attempt begins with."""
_STAMP = re.compile(rb'"(?:end|at)":(-?[0-9]+)')


def stamp_of(line: bytes) -> int:
    """Return the instant that orders a span's line: an attempt's end, an entry's, row's, fault's or note's ``at``.

    The line is not parsed, which would cost more than all else that is done with it. A quote inside of a string is
    written with a backslash, so what is found is a member, and no object with such a member comes before the span's
    own. Raises ValueError if there is none.
    """
    found = _STAMP.search(line)
    if found is None:
        raise ValueError(f"no end and no instant in {line[:200]!r}")
    return int(found[1])


_KINDS: Mapping[str, tuple[str, type[Any]]] = {
    "call": ("calls", CallSpan),
    "attempt": ("attempts", AttemptSpan),
    "ledger": ("ledger", LedgerEntry),
    "usage": ("usage", UsageRow),
    "fault": ("faults", FaultSpan),
    "note": ("notes", Note),
}


class Recorder:
    """Collects spans as bytes while a run goes on, spooled to disk, and writes them ordered by (end, sequence).

    ``plan`` and span values are plain JSON data; ``body`` keeps a body's bytes and returns their digest.
    """

    def __init__(self, spool_bytes: int = 64 << 20) -> None:
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=spool_bytes)  # noqa: SIM115 - lives as long as self
        self._unwritten: list[bytes] = []
        self._ends = array.array("q")
        self._offsets = array.array("q")
        self._size = 0
        self._plan = b"{}\n"
        self.bodies: dict[str, bytes] = {}

    def plan(self, plan: Mapping[str, Any]) -> None:
        """Set the first line."""
        self._plan = orjson.dumps({"span": "plan", **plan}, option=orjson.OPT_APPEND_NEWLINE)

    def span(self, kind: str, end: int, value: Mapping[str, Any]) -> bytes:
        """Add a span (call, attempt, ledger, usage, fault or note) that ended at ``end`` µs, and return its line."""
        line = orjson.dumps({"span": kind, **value}, option=orjson.OPT_APPEND_NEWLINE)
        self.line(end, line)
        return line

    def line(self, end: int, line: bytes) -> None:
        """Add a span that is a line already, its newline included."""
        self._ends.append(end)
        self._offsets.append(self._size)
        self._size += len(line)
        self._unwritten.append(line)
        if len(self._unwritten) >= _LINES_AT_ONCE:
            self._write_out()

    def _write_out(self) -> None:
        self._spool.write(b"".join(self._unwritten))
        self._unwritten.clear()

    def note(self, kind: str, at: int, **detail: Any) -> None:
        """Add a note of the runner's."""
        self.span("note", at, {"kind": kind, "at": at, "detail": detail})

    def body(self, content: bytes) -> str:
        """Keep ``content`` (cut at BODY_CAP) under its sha256 and return that."""
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self.bodies:
            self.bodies[digest] = content[:BODY_CAP]
        return digest

    def lines(self) -> Iterator[bytes]:
        """Yield the plan's line, then every span's by (end, order of arrival)."""
        self._write_out()
        yield self._plan
        for index in sorted(range(len(self._ends)), key=self._ends.__getitem__):
            self._spool.seek(self._offsets[index])
            yield self._spool.readline()
        self._spool.seek(0, io.SEEK_END)

    def digest(self) -> str:
        """Return the sha256 of ``history.jsonl`` as it would be written now."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line)
        return digest.hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``history.jsonl`` and ``bodies/`` into ``folder``, which is made if need be. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "history.jsonl").open("wb") as file:
            file.writelines(self.lines())
        if self.bodies:
            (folder / "bodies").mkdir(exist_ok=True)
            for digest, content in self.bodies.items():
                (folder / "bodies" / digest).write_bytes(content)

    def history(self) -> History:
        """Return what was recorded so far as a history, without going through the disk."""
        return _parse(self.lines(), "the recorder", self.bodies)

    def close(self) -> None:
        """Drop the spool."""
        self._spool.close()


def read_history(folder: Path) -> History:
    """Read a run folder's history. Raises HistoryError, which names the file, the line and what is wrong."""
    path = folder / "history.jsonl"
    try:
        with path.open("rb") as file:
            return _parse(file, str(path), _Bodies(folder / "bodies"))
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror or error}") from error


class _Bodies(Mapping[str, bytes]):
    """The bodies of a run folder, read when asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, digest: str) -> bytes:
        if not digest.isalnum():
            raise KeyError(digest)
        try:
            return (self._folder / digest).read_bytes()
        except OSError as error:
            raise KeyError(digest) from error

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in sorted(self._folder.iterdir())) if self._folder.is_dir() else iter(())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _parse(lines: Iterable[bytes], where: str, bodies: Mapping[str, bytes]) -> History:
    found: dict[str, list[Any]] = {attribute: [] for attribute, _ in _KINDS.values()}
    plan: Plan | None = None
    for number, line in enumerate(lines, 1):
        try:
            value = orjson.loads(line)
            kind = value.pop("span")
            if kind == "plan":
                if value["schema"] != SCHEMA:
                    raise HistoryError(f"{where}:{number}: schema {value['schema']!r}; this version reads {SCHEMA}")
                value["calls"] = tuple(PlannedCall(**call) for call in value["calls"])
                plan = Plan(**{key: _frozen(item) for key, item in value.items()})
                continue
            attribute, cls = _KINDS[kind]
            if "reading" in value:
                value["reading"] = Reading(**{key: _frozen(item) for key, item in value["reading"].items()})
            found[attribute].append(cls(**{key: _frozen(item) for key, item in value.items()}))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise HistoryError(f"{where}:{number}: not a span of {SCHEMA}: {error}") from error
    if plan is None:
        raise HistoryError(f"{where}: no plan line; a history starts with one")
    return History(plan, bodies=bodies, **{attribute: tuple(spans) for attribute, spans in found.items()})


def _frozen(value: Any) -> Any:
    return (
        tuple(tuple(item) if isinstance(item, list) else item for item in value) if isinstance(value, list) else value
    )
