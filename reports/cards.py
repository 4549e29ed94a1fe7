"""What a report shows of each promise that broke or stayed open: chosen and cut to size here, judged elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reports.causes import Cause, Piece
from reports.histories import Histories, Recording
from reports.record import Record
from reports.text import clipped, line, milliseconds, plural, slug
from reports.views import CallView, Table, in_flight_at, view

_FIRST = 3
"""Cards whose first call is shown unfolded."""


@dataclass(frozen=True, slots=True)
class Detail:
    """How many cards show calls in full and how many each, how many pieces of evidence, and bytes of each side."""

    cards: int
    views: int
    pieces: int
    clip: int


class Ids:
    """Ids of a page, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """Return ``wanted`` as an id, with a number behind it if it is taken."""
        made = base = slug(wanted)
        number = 2
        while made in self._taken:
            made, number = f"{base}-{number}", number + 1
        self._taken.add(made)
        return made


def cards(causes: Sequence[Cause], histories: Histories, detail: Detail, ids: Ids) -> list[dict[str, Any]]:
    """Return the cards of ``causes``; those first in line show calls as seen from all sides, each call once."""
    showcase = _Showcase(histories, detail.views)
    return [_card(number, cause, showcase, detail, ids) for number, cause in enumerate(causes)]


def _card(number: int, cause: Cause, showcase: _Showcase, detail: Detail, ids: Ids) -> dict[str, Any]:
    anchor = ids.take(cause.anchor)
    pieces = cause.pieces[: detail.pieces]
    seen = showcase.of(pieces, anchor) if number < detail.cards else Seen()
    where = [f"{line(name)} (seed {line(', '.join(map(str, seeds)), 80)})" for name, seeds in cause.where.items()]
    entry = cause.entry
    source = entry.get("source") or (f"{entry['origin']} here" if entry.get("origin") else "")
    return {
        "anchor": anchor,
        "requirement": line(cause.requirement),
        "clause": line(cause.clause),
        "checker": line(cause.checker),
        "count": f"{cause.failed:,} of {plural(cause.cases, 'case')}, {plural(len(cause.where), 'scenario')}",
        "failed": f"{cause.failed:,}",
        "promise": line(cause.clause_text or entry.get("text", ""), 1000),
        "source": f"({line(source)})" if source else "",
        "told": line(cause.checks[0].promise, 500),
        "pieces": [
            {"expected": clipped(piece.data["expected"]), "actual": clipped(piece.data["actual"])} for piece in pieces
        ],
        "rows": [_row(piece, detail.clip) for piece in pieces],
        "where": [*where[:3], *([f"{len(where) - 3} more"] if len(where) > 3 else [])],
        "seen": seen,
        "open": number < _FIRST,
        "replay": clipped(cause.replay),
        "replay_id": ids.take(f"replay-{anchor}"),
        "issue": _issue(cause, pieces),
        "issue_id": ids.take(f"issue-{anchor}"),
    }


def _row(piece: Piece, clip: int) -> tuple[str, ...]:
    return (
        line(piece.check.scenario),
        str(piece.check.seed),
        line(piece.call) or "–",
        milliseconds(piece.at_us),
        clipped(piece.data["expected"], clip),
        clipped(piece.data["actual"], clip),
    )


@dataclass(slots=True)
class Seen:
    """What a card shows beside its evidence: calls, links to cards that show a call already, tables, gaps."""

    views: list[CallView] = field(default_factory=list)
    elsewhere: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Showcase:
    """Shows the calls that evidence names, each on the first card that names it."""

    def __init__(self, histories: Histories, most: int) -> None:
        self._histories = histories
        self._most = most
        self._shown: dict[tuple[str, int, str], str] = {}

    def of(self, pieces: Sequence[Piece], anchor: str) -> Seen:
        """Return what the card called ``anchor`` shows of ``pieces``: few calls or instants, and what is missing."""
        seen = Seen()
        for piece in pieces:
            if len(seen.views) + len(seen.elsewhere) + len(seen.tables) >= self._most:
                break
            check = piece.check
            key = (check.scenario, check.seed, piece.call or f"at {piece.at_us}")
            card = self._shown.get(key)
            if card is not None:
                if card != anchor:
                    seen.elsewhere.append((line(piece.call) or milliseconds(piece.at_us), card))
                continue
            recording = self._histories.of(check.scenario, check.seed, check.folder)
            if not isinstance(recording, Recording):
                note = f"{line(check.scenario)}, seed {check.seed}: {line(recording, 500)}."
                seen.notes = list(dict.fromkeys([*seen.notes, note]))[:3]
                continue
            self._shown[key] = anchor
            self._show(piece, recording, seen)
        return seen

    @staticmethod
    def _show(piece: Piece, recording: Recording, seen: Seen) -> None:
        if piece.call:
            found = view(recording, piece.call)
            if found is not None:
                seen.views.append(found)
            else:
                seen.notes.append(f"Call {line(piece.call)} is not in the recorded history.")
        elif piece.at_us is not None:
            table = in_flight_at(recording, piece.at_us)
            seen.tables += [table] if table.rows else []


def _issue(cause: Cause, pieces: Sequence[Piece]) -> str:
    """Return what one pastes into a bug tracker, as Markdown."""
    lines = [
        f"**{line(cause.requirement)} {line(cause.clause)}**: {line(cause.clause_text, 1000)}",
        "",
        f"{plural(cause.failed, 'case')} of {cause.cases:,} broken in {line(', '.join(cause.where), 300)}.",
        "",
        "```",
    ]
    for piece in pieces[:1]:
        lines += [f"call      {line(piece.call)}"] if piece.call else []
        lines += [f"expected  {line(piece.data['expected'], 800)}", f"actual    {line(piece.data['actual'], 800)}"]
    return "\n".join([*lines, f"replay    {line(cause.replay, 800)}", "```"])


def unsettled(record: Record, detail: Detail) -> list[dict[str, Any]]:
    """Return the requirements that stayed open: their open clauses by the reason why."""
    found = []
    for identifier, entry in record.requirements.items():
        if entry["verdict"] != "inconclusive":
            continue
        reasons: dict[str, list[dict[str, str]]] = {}
        for name, clause in entry["clauses"].items():
            if clause["outcome"] == "inconclusive":
                told = {"name": line(name), "text": line(clause.get("text", ""), 500)}
                reasons.setdefault(line(clause.get("why") or _why(clause), 500), []).append(told)
        pieces = [piece for piece in entry["evidence"] if piece["outcome"] == "inconclusive"][: detail.pieces]
        found.append(
            {
                "id": line(identifier),
                "slug": slug(identifier),
                "reasons": list(reasons.items()),
                "rows": [
                    (
                        line(piece.get("scenario", "")),
                        str(piece.get("seed", "")),
                        line(piece["call"]) or "–",
                        clipped(piece["expected"], detail.clip),
                        clipped(piece["actual"], detail.clip),
                    )
                    for piece in pieces
                ],
            }
        )
    return found


def _why(clause: Any) -> str:
    count = clause.get("inconclusive", 0)
    where = ", ".join(map(str, clause.get("scenarios") or ()))
    told = f"{plural(count, 'case')} could not be told" if count else "what passed does not count, see above"
    return f"{told} ({where})" if where else told


def raised(record: Record) -> dict[str, Any] | None:
    """Return what the target let out of its own code: how much, in which scenarios, and the first in full."""
    found = [scenario for scenario in record.scenarios if scenario.get("raised")]
    if not found:
        return None
    first = found[0]["raised"]
    return {
        "count": plural(sum(scenario["raised"]["count"] for scenario in found), "exception"),
        "where": line(", ".join(dict.fromkeys(scenario["scenario"] for scenario in found)), 600),
        "first": line(f"{first['type']}: {first['message']}", 500),
        "request": line(first.get("request", "")),
        "traceback": clipped(first.get("traceback", "")),
    }
