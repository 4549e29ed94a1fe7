"""What a run reached and whether the gateway recovered after it, as tables; it renders and judges nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from reports.record import OUTCOMES, Record
from reports.text import line, plural
from reports.views import Table

_ORDER = ("inconclusive", "pass", "unsupported", "not_asked")


def branches(record: Record) -> Table | None:
    """Return how often each branch was reached, those never reached first; None for a record that does not say."""
    found: Mapping[str, Mapping[str, Any]] = record.data.get("branches") or {}
    rows = [
        (
            line(name),
            line(entry["outcome"].upper().replace("_", " ")),
            line(entry.get("told", "")),
            f"{entry.get('count', 0):,}",
            f"{entry.get('runs', 0):,}",
            line(", ".join(entry.get("meant_by", ())), 300),
            line(entry.get("why", "")),
        )
        for name, entry in sorted(found.items(), key=lambda item: _place(item[1]["outcome"]))
    ]
    columns = ("branch", "outcome", "what happens", "times", "runs", "meant by", "why")
    return Table("What the run reached", columns, rows) if rows else None


def _place(outcome: str) -> int:
    return _ORDER.index(outcome) if outcome in _ORDER else 0


def never_reached(record: Record) -> Iterator[tuple[str, str]]:
    """Yield the branches that should have been reached and were not, each with what it is and why."""
    for name, entry in (record.data.get("branches") or {}).items():
        if entry["outcome"] == "inconclusive":
            yield name, f"{entry.get('told', '')} {entry.get('why', '')}".strip()


def recoveries(record: Record) -> tuple[str, Table] | None:
    """Return what the recoveries came to in a sentence, and those that did not pass; None where nobody looked."""
    sections = [(one, one["recovery"]) for one in record.scenarios if one.get("recovery")]
    if not sections:
        return None
    counts = Counter(section["outcome"] for _, section in sections)
    bounds = sorted({int(section["bound_ms"]) for _, section in sections})
    told = ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in OUTCOMES if counts[outcome])
    within = f"{bounds[0] / 1e3:g} s" if len(bounds) == 1 else f"{bounds[0] / 1e3:g} to {bounds[-1] / 1e3:g} s"
    sentence = f"{plural(len(sections), 'run')} ended with every fault healed and {within} to recover: {told}."
    rows = [
        (
            line(one["scenario"]),
            one["seed"],
            section["outcome"].upper(),
            line(piece.get("requirement", "")),
            line(piece.get("call", "")),
            line(piece.get("expected", "")),
            line(piece.get("actual", "")),
        )
        for one, section in sections
        if section["outcome"] in ("fail", "inconclusive")
        for piece in (section["evidence"] or [{"actual": "; ".join(section.get("unseen", ()))}])
    ]
    columns = ("scenario", "seed", "outcome", "requirement", "call", "expected", "actual")
    return sentence, Table("Runs after which the gateway did not recover", columns, rows)
