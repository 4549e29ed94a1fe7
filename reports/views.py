"""One call seen from three sides, its caller, the gateway and the upstreams: compared as text, never judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from harness.history import AttemptSpan, CallSpan, LedgerEntry, UsageRow
from reports.histories import Recording
from reports.text import clipped, line, milliseconds

if TYPE_CHECKING:
    from markupsafe import Markup

NONE = "–"
_TEXT = 320
_OWN = "x-hypereal-"
_HEADERS = (_OWN, "x-ratelimit-", "retry-after", "x-request-id", "request-id", "content-type")


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact as each side tells it; ``differs`` where sides that should tell the same do not."""

    name: str
    caller: str
    gateway: str
    upstream: str
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of texts."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class CallView:
    """Everything that a report shows of one call."""

    title: str
    timeline: Markup
    facts: Sequence[Fact]
    tables: Sequence[Table]
    bodies: Sequence[tuple[str, str]]


def view(recording: Recording, call_id: str) -> CallView | None:
    """Return ``call_id`` as it was seen from all sides, or None if its recording has no such call."""
    from reports.timeline import timeline

    history = recording.history
    call = history.call.get(call_id)
    if call is None:
        return None
    attempts = history.attempts_of(call_id)
    entries, rows = history.entries_of(call_id), history.rows_of(call_id)
    planned = history.planned.get(call_id)
    path = planned.path if planned is not None else call.surface
    title = f"{call_id}: {recording.detail(call_id, 'method', 'POST')} {path}, {call.model}"
    if call.stream:
        title += ", streamed"
    return CallView(
        title=line(title),
        timeline=timeline(call, attempts, entries, history.faults),
        facts=tuple(_facts(call, attempts, entries, rows)),
        tables=tuple(_tables(call, attempts, entries, rows)),
        bodies=tuple(_bodies(recording, call, attempts)),
    )


def _facts(
    call: CallSpan, attempts: Sequence[AttemptSpan], entries: Sequence[LedgerEntry], rows: Sequence[UsageRow]
) -> Iterator[Fact]:
    last, row = attempts[-1] if attempts else None, rows[-1] if rows else None
    answer, served = call.reading, last.reading if last else None
    whole = call.outcome == "ok" and served is not None
    yield Fact(
        "ending",
        f"{call.outcome} {call.status or ''}".strip(),
        f"{row.outcome} {row.status}" if row else NONE,
        f"{last.ended} {last.status or ''}".strip() if last else "no attempt",
    )
    yield Fact("model", call.model or NONE, row.model if row else NONE, last.model if last else NONE)
    if answer.error_type or answer.error_message:
        yield Fact(
            "error",
            line(f"{answer.error_type}: {answer.error_message}", _TEXT),
            str(call.claims.get("code", NONE)),
            line(f"{served.error_type}: {served.error_message}", _TEXT) if served and served.error_type else NONE,
        )
    yield _same("text", answer.text, served.text if served else None, whole)
    if answer.tools or (served and served.tools):
        yield _same("tools", _json(answer.tools), _json(served.tools) if served else None, whole)
    yield _same("finish", answer.finish, served.finish if served else None, whole)
    yield _same("ended whole", _yes(answer.terminal), _yes(served.terminal) if served else None, whole)
    yield _same(
        "usage",
        _flat(answer.usage),
        _flat(served.usage) if served else None,
        whole,
        gateway=_flat(row.usage) if row else NONE,
    )
    yield from _money(call, entries, row)
    governed = [f"{_unprefixed(name)} {line(value)}" for name, value in call.headers.items() if _governs(name)]
    if governed:
        yield Fact("told at admission", "\n".join(governed), NONE, NONE)
    yield Fact(
        "time",
        milliseconds(call.end - call.sent),
        f"{row.latency_ms:,} ms" if row else NONE,
        " + ".join(milliseconds(attempt.end - attempt.start) for attempt in attempts) or NONE,
    )


def _unprefixed(header: str) -> str:
    return header.removeprefix(_OWN).removeprefix("managed-").removeprefix("model-")


def _governs(header: str) -> bool:
    return header.endswith("-remaining") or (header.startswith(_OWN) and header.endswith("-circuit"))


def _same(name: str, caller: str | None, upstream: str | None, whole: bool, *, gateway: str = NONE) -> Fact:
    """Return a fact that an answer given whole passes on as the upstream said it."""
    differs = whole and caller != upstream
    return Fact(name, _short(caller), _short(gateway), _short(upstream), differs)


def _money(call: CallSpan, entries: Sequence[LedgerEntry], row: UsageRow | None) -> Iterator[Fact]:
    billing, insurance = _mapping(call.claims.get("billing")), _mapping(call.claims.get("insurance"))
    posts = [entry for entry in entries if entry.kind == "post"]
    payouts = sum(entry.credits for entry in entries if entry.kind == "payout")
    told, paid = billing.get("credits_charged"), insurance.get("credits_compensated")
    booked = -sum(entry.credits for entry in posts)
    known = [value for value in (told, booked if entries else None, row.credits if row else None) if value is not None]
    gateway = [f"booked {booked:,}"] if entries else []
    gateway += [f"logged {row.credits:,}"] if row else []
    if known:
        yield Fact(
            "credits charged",
            NONE if told is None else f"told {_credits(told)}",
            ", ".join(gateway) or NONE,
            NONE,
            differs=len(set(known)) > 1,
        )
    if "balance_before" in billing or posts:
        before_after = [f"{entry.balance - entry.credits:,} → {entry.balance:,}" for entry in posts]
        told_balance = f"{_credits(billing.get('balance_before'))} → {_credits(billing.get('balance_after'))}"
        yield Fact("balance", told_balance if billing else NONE, ", ".join(before_after) or NONE, NONE)
    if insurance or payouts or (row and row.compensated):
        said = f"told {_credits(paid)} ({insurance.get('status', NONE)})" if insurance else NONE
        kept = [f"booked {payouts:,}"] if entries else []
        kept += [f"logged {row.compensated:,} ({row.insurance})"] if row else []
        yield Fact("insurance", said, ", ".join(kept) or NONE, NONE)


def _tables(
    call: CallSpan, attempts: Sequence[AttemptSpan], entries: Sequence[LedgerEntry], rows: Sequence[UsageRow]
) -> Iterator[Table]:
    yield Table(
        "Attempts at upstreams",
        ("attempt", "upstream", "from", "until", "ended", "fault", "status", "chunks", "bytes"),
        [
            (
                line(attempt.id),
                attempt.upstream,
                milliseconds(attempt.start),
                milliseconds(attempt.end),
                attempt.ended,
                attempt.fault or NONE,
                str(attempt.status or NONE),
                f"{attempt.chunks:,}",
                f"{attempt.bytes:,}",
            )
            for attempt in attempts
        ],
    )
    yield Table(
        "Ledger",
        ("entry", "kind", "credits", "held or released", "balance", "flags", "at"),
        [
            (
                str(entry.entry),
                entry.kind,
                f"{entry.credits:+,}",
                f"{entry.amount:,}",
                f"{entry.balance:,}",
                ", ".join(entry.flags) or NONE,
                milliseconds(entry.at),
            )
            for entry in entries
        ],
    )
    yield Table(
        "Usage log",
        ("status", "outcome", "credits", "compensated", "insurance", "latency", "flags", "at"),
        [
            (
                str(row.status),
                row.outcome,
                f"{row.credits:,}",
                f"{row.compensated:,}",
                row.insurance or NONE,
                f"{row.latency_ms:,} ms",
                ", ".join(row.flags) or NONE,
                milliseconds(row.at),
            )
            for row in rows
        ],
    )
    headers = [(name, line(value)) for name, value in call.headers.items() if name.startswith(_HEADERS)]
    yield Table("Headers of the answer", ("header", "value"), headers)


def _bodies(recording: Recording, call: CallSpan, attempts: Sequence[AttemptSpan]) -> Iterator[tuple[str, str]]:
    """Yield the recorded bodies, each cut to what a report shows."""
    wanted = [("request, as sent", call.request_sha), ("answer, as received", call.answer_sha)]
    wanted += [(f"request, as {attempt.id} received it", attempt.request_sha) for attempt in attempts]
    for title, digest in wanted:
        body = recording.history.bodies.get(digest) if digest else None
        if body:
            yield line(title), clipped(body.decode(errors="backslashreplace"))


def in_flight_at(recording: Recording, at_us: int) -> Table:
    """Return how many attempts were certainly in flight at an instant, by model and upstream."""
    counts: dict[tuple[str, str], int] = {}
    for attempt in recording.history.attempts:
        if attempt.start <= at_us < attempt.attached:
            key = (attempt.model.partition(":")[0], attempt.upstream)
            counts[key] = counts.get(key, 0) + 1
    rows = [(line(model), upstream, f"{count:,}") for (model, upstream), count in sorted(counts.items())]
    return Table(f"In flight at {milliseconds(at_us)}", ("model", "upstream", "attempts"), rows)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() if value else NONE


def _flat(value: Any, path: str = "") -> str:
    """Return what is not zero or empty in a usage object, one dotted name with its number a line."""
    if isinstance(value, Mapping):
        inner = (_flat(item, f"{path}.{name}" if path else str(name)) for name, item in sorted(value.items()))
        return "\n".join(filter(None, inner)) or ("" if path else NONE)
    return f"{path} {_credits(value)}" if value else ""


def _credits(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else line(NONE if value is None else value)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _short(value: str | None) -> str:
    return clipped(value, _TEXT) if value else NONE
