"""What one run left behind, piece by piece: its plan and its spans as plain values; it reads and judges nothing.

All stamps are integer microseconds since the run's zero, each span naming the clock they came from; across clocks they
compare as intervals only (``History.skew_us``). docs/history.md describes every field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# Nobody changes a span, and yet none is frozen: that would double what making one costs, and a load has millions.

SCHEMA = "harness.history/1"

CallOutcome = Literal["ok", "refused", "error", "cut", "aborted", "open"]
"""ok: whole answer or stream with its terminal event. refused: an error status before any attempt could be seen by the
client (4xx or 503). error: an error status or an error event. cut: the transport broke, or the stream ended without
its terminal event. aborted: the client itself went away. open: the run ended first."""


@dataclass(slots=True, unsafe_hash=True)
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


@dataclass(slots=True, unsafe_hash=True)
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


@dataclass(slots=True, unsafe_hash=True)
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


@dataclass(slots=True, unsafe_hash=True)
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


@dataclass(slots=True, unsafe_hash=True)
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


@dataclass(slots=True, unsafe_hash=True)
class FaultSpan:
    """An injection fired (clock: upstream): its id from the plan, the attempt that it hit, and when."""

    injection: str
    fault: str
    upstream: str
    attempt: str
    call: str
    at: int


@dataclass(slots=True, unsafe_hash=True)
class Note:
    """Something the runner did or noticed: start, heal, restart, crash, lateness, end of the workload."""

    kind: str
    at: int
    detail: Mapping[str, Any]


@dataclass(slots=True, unsafe_hash=True)
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


@dataclass(slots=True, unsafe_hash=True)
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
