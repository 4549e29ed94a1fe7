"""One call's timeline as a small inline SVG: caller, gateway, attempts, books; drawn from spans, judging nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from markupsafe import Markup

from harness.history import AttemptSpan, CallSpan, FaultSpan, LedgerEntry
from reports.text import line, milliseconds

_LEFT, _WIDTH, _RIGHT = 96, 700, 20
_ROW, _BAR = 26, 14
_ATTEMPTS, _CHUNKS, _MARKS = 8, 40, 24
"""At most so many attempts, chunk ticks and book entries are drawn; the tables beside the timeline have them all."""
_LETTER = 5.6
"""Width of a letter of the labels, generously."""


class _Axis:
    """Maps instants of the call to the drawing's width."""

    def __init__(self, instants: Iterable[int]) -> None:
        known = list(instants)
        self.since, until = min(known), max(known)
        self.span = max(1, until - self.since)

    def x(self, at_us: int) -> float:
        return round(_LEFT + _WIDTH * (at_us - self.since) / self.span, 1)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield up to nine round instants since the first."""
        steps = (digit * 10**power for power in range(15) for digit in (1, 2, 5))
        step = next(step for step in steps if self.span <= 8 * step)
        for at in range(0, self.span + 1, step):
            yield self.x(self.since + at), milliseconds(at)


def timeline(
    call: CallSpan, attempts: Sequence[AttemptSpan], entries: Sequence[LedgerEntry], faults: Sequence[FaultSpan]
) -> Markup:
    """Return the SVG of ``call``: where its time went, attempt by attempt, and when the books changed."""
    shown = attempts[:_ATTEMPTS]
    booked = [entry for entry in entries if entry.kind != "opening"][:_MARKS]
    axis = _Axis(
        [call.sent, call.end, *(a.start for a in shown), *(a.end for a in shown), *(entry.at for entry in booked)]
    )
    struck = {fault.attempt: fault for fault in faults if fault.call == call.id}
    rows: list[Markup] = [_caller(axis, call), _gateway(axis, call, shown)]
    rows += (_attempt(axis, n, attempt, struck.get(attempt.id)) for n, attempt in enumerate(shown, 2))
    if booked:
        rows.append(_books(axis, len(rows), booked))
    height = _ROW * len(rows) + 20
    left_out = f", {len(attempts) - len(shown)} more not drawn" if len(attempts) > len(shown) else ""
    label = f"Timeline of call {call.id}: {call.outcome} after {milliseconds(call.end - call.sent)}, " + (
        f"{len(attempts)} attempts{left_out}" if len(attempts) != 1 else "1 attempt"
    )
    return Markup('<svg class="tl" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        _LEFT + _WIDTH + _RIGHT, height, line(label), _grid(axis, height), Markup("").join(rows)
    )


def _grid(axis: _Axis, height: int) -> Markup:
    bottom = height - 16
    return Markup("").join(
        Markup('<path class="g" d="M{} 4V{}"/><text class="t" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            x, bottom, x, height - 4, text
        )
        for x, text in axis.ticks()
    )


def _lane(row: int, name: str) -> Markup:
    return Markup('<text class="n" x="{}" y="{}" text-anchor="end">{}</text>').format(
        _LEFT - 8, row * _ROW + 17, line(name, 16)
    )


def _bar(axis: _Axis, row: int, start: int, end: int, kind: str, text: str, *, after: bool = True) -> Markup:
    """Return a bar with its words: inside if they fit, else beside it, on the side that has room."""
    x, width = axis.x(start), max(1.5, round(axis.x(end) - axis.x(start), 1))
    bar = Markup('<rect class="b {}" x="{}" y="{}" width="{}" height="{}" rx="2"/>').format(
        kind, x, row * _ROW + 6, width, _BAR
    )
    if not text:
        return bar
    needed = len(text) * _LETTER + 8
    place, anchor = x + 5, "start"
    if needed > width and after and x + width + needed <= _LEFT + _WIDTH + _RIGHT:
        place = x + width + 5
    elif needed > width and x - needed >= _LEFT:
        place, anchor = x - 5, "end"
    return bar + _words(row, place, text, anchor)


def _words(row: int, x: float, text: str, anchor: str = "start") -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(round(x, 1), row * _ROW + 17, anchor, text)


def _tick(axis: _Axis, row: int, at: int, kind: str, title: str) -> Markup:
    return Markup('<path class="k {}" d="M{} {}v{}"><title>{}</title></path>').format(
        kind, axis.x(at), row * _ROW + 4, _BAR + 4, line(title)
    )


def _caller(axis: _Axis, call: CallSpan) -> Markup:
    kind = {"ok": "ok", "open": "open", "aborted": "left"}.get(call.outcome, "bad")
    drawn = _lane(0, "caller") + _bar(axis, 0, call.sent, call.end, kind, f"{call.outcome} {call.status or ''}".strip())
    for at in call.chunks[:: 1 + len(call.chunks) // _CHUNKS]:
        drawn += _tick(axis, 0, at, "chunk", f"chunk at {milliseconds(at - call.sent)}")
    if call.first_byte is not None:
        drawn += _tick(axis, 0, call.first_byte, "first", f"first byte at {milliseconds(call.first_byte - call.sent)}")
    return drawn


def _gateway(axis: _Axis, call: CallSpan, attempts: Sequence[AttemptSpan]) -> Markup:
    """Draw what the gateway did while no attempt was under way: waiting first, pausing between, settling last."""
    gaps: list[tuple[int, int, str]] = []
    since = call.sent
    for number, attempt in enumerate(attempts):
        if attempt.start > since:
            gaps.append((since, attempt.start, "pause" if number else "wait"))
        since = max(since, attempt.end)
    if call.end > since:
        gaps.append((since, call.end, "settle" if attempts else "refuse" if call.outcome == "refused" else "answer"))
    drawn, free = _lane(1, "gateway"), float(_LEFT)
    for start, end, word in gaps:
        words = f"{word} {milliseconds(end - start)}"
        left, right = axis.x(start), axis.x(end)
        needed = len(words) * _LETTER + 10
        # Words that would run into the gap before are left out; the tables have the instants.
        room = right - left >= needed or left - needed >= free
        drawn += _bar(axis, 1, start, end, "gap", words if room else "", after=False)
        free = right
    return drawn


def _attempt(axis: _Axis, row: int, attempt: AttemptSpan, fault: FaultSpan | None) -> Markup:
    kind = {"served": "ok", "fault": "bad", "left": "left", "open": "open"}.get(attempt.ended, "bad")
    name = attempt.fault or (fault.fault if fault else "")
    words = " ".join(filter(None, (attempt.ended, str(attempt.status or ""), name)))
    drawn = _lane(row, attempt.upstream) + _bar(axis, row, attempt.start, attempt.end, kind, line(words, 60))
    if attempt.head is not None:
        drawn += _tick(axis, row, attempt.head, "first", f"head at {milliseconds(attempt.head - attempt.start)}")
    if fault is not None:
        drawn += _tick(axis, row, fault.at, "fault", f"fault {fault.fault} fired at {milliseconds(fault.at)}")
    return drawn


def _books(axis: _Axis, row: int, entries: Sequence[LedgerEntry]) -> Markup:
    """Draw the ledger's entries as ticks; words that would run into the one before are left to the table."""
    drawn = _lane(row, "books")
    free = float(_LEFT)
    for entry in entries:
        x = axis.x(entry.at)
        amount = f"{entry.credits:+,}" if entry.credits else f"{entry.amount:,}"
        words = f"{entry.kind} {amount}"
        drawn += _tick(axis, row, entry.at, "book", f"{words} at {milliseconds(entry.at)}")
        needed = len(words) * _LETTER + 8
        if x >= free and x + needed <= _LEFT + _WIDTH + _RIGHT:
            drawn += _words(row, x + 4, line(words))
            free = x + needed
        elif x - needed >= free:
            drawn += _words(row, x - 4, line(words), "end")
            free = x
    return drawn
