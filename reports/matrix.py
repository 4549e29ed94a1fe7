"""The requirement matrix: per profile every requirement with its verdict and clauses, as recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from reports.record import Record
from reports.summary import worst
from reports.text import line, plural, slug

_MARKS = {"pass": " ✓", "fail": " ✗", "inconclusive": " ?", "unsupported": " –"}
_ORDER = ("fail", "inconclusive", "pass", "unsupported", "not_asked")


def profiles(record: Record) -> list[dict[str, Any]]:
    """Return the profiles in the record's order; those with something broken or open are shown unfolded."""
    made = []
    for name in record.profiles:
        counts = record.counts_of(name)
        rows = [_row(identifier, entry) for identifier, entry in record.of_profile(name).items()]
        asked = sum(counts.values()) - counts["unsupported"]
        words = [f"{counts['pass']} of {asked} kept"] if asked else []
        words += [
            f"{counts[o]} {word}" for o, word in (("fail", "broken"), ("inconclusive", "inconclusive")) if counts[o]
        ]
        words += [f"{counts['unsupported']} unsupported"] if counts["unsupported"] else []
        made.append(
            {
                "name": line(name),
                "verdict": worst(counts).lower(),
                "told": ", ".join(words),
                "open": counts["fail"] > 0,
                "rows": rows,
                "size": plural(len(rows), "requirement"),
            }
        )
    return made


def _row(identifier: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    clauses = entry["clauses"]
    counts = Counter(clause["outcome"] for clause in clauses.values())
    told = ", ".join(f"{counts[outcome]} {outcome.replace('_', ' ')}" for outcome in _ORDER if counts[outcome])
    return {
        "id": line(identifier),
        "slug": slug(identifier),
        "verdict": entry["verdict"],
        "mark": _MARKS.get(entry["verdict"], ""),
        "text": line(entry["text"], 1500),
        "source": line(f"({entry.get('source') or entry.get('origin', '')})"),
        "assumed": line(", ".join(map(str, entry.get("assumed") or ())), 400),
        "told": f"{plural(len(clauses), 'clause')}: {told}",
        "open": entry["verdict"] == "fail",
        "cases": f"{entry.get('cases', 0):,}",
        "failed": f"{entry.get('failed', 0):,}",
        "clauses": [_clause(name, clause) for name, clause in clauses.items()],
    }


def _clause(name: str, clause: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": line(name),
        "outcome": clause["outcome"],
        "text": line(clause.get("text", ""), 600),
        "why": line(clause.get("why", ""), 300),
        "passed": f"{clause.get('passed', 0):,}",
        "failed": f"{clause.get('failed', 0):,}",
    }
