"""What was found of a gateway's limiter, as a page and as a section of a run's report; it identifies nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reports.record import ReportError, fields, read_record
from reports.text import line

SCHEMA = "harness.limiter/1"
FILE = "limiter.json"
_RECORD: Mapping[str, type] = {
    "verdict": str,
    "exit": int,
    "command": str,
    "target": str,
    "mode": str,
    "mutant": str,
    "tier": str,
    "headline": str,
    "identification": dict,
    "shared": list,
    "over_admission": dict,
    "promise": str,
    "observations": list,
}
_IDENTIFICATION: Mapping[str, type] = {"findings": list, "clock_s": float, "admitted": int, "refused": int}
_FINDING: Mapping[str, type] = {"family": str, "about": str, "fits": bool, "figures": str, "against": list}
_SHARED: Mapping[str, type] = {"differs_in": str, "call": str, "why": str}
_OBSERVATION: Mapping[str, type] = {"id": str, "earliest": int, "latest": int}
_OVER: Mapping[str, type] = {"told": str, "limit": int, "window_s": float, "proved": bool}
_WORDS: Mapping[object, str] = {True: "shared", False: "apart", None: "not told"}
_KEPT: Mapping[object, str] = {True: "pass", False: "fail"}
_SENTENCES = {
    "pass": "one kind of limiter is left",
    "fail": "the limiter that the contract promises is ruled out",
    "inconclusive": "it is not told which limiter this is",
}

Record = Mapping[str, Any]


def load_limiter(folder: Path) -> Record:
    """Read ``folder``'s ``limiter.json``. Raises ReportError naming the file and everything that is wrong with it."""
    return read_record(folder / FILE, SCHEMA, _problems)


def _problems(data: Record) -> Iterator[str]:
    flaws = list(fields("limiter", data, _RECORD)) or list(
        fields("identification", data["identification"], _IDENTIFICATION)
    )
    yield from flaws
    if flaws:
        return
    yield from fields("over_admission", data["over_admission"], _OVER)
    for name, entries, wanted in (
        ("identification.findings", data["identification"]["findings"], _FINDING),
        ("shared", data["shared"], _SHARED),
        ("observations", data["observations"], _OBSERVATION),
    ):
        for number, entry in enumerate(entries):
            yield from fields(f"{name}[{number}]", entry, wanted)


def section_of(folder: Path) -> dict[str, Any] | None:
    """Return what a run's report says of the limiter that was asked in it, if any was; of a damaged record, that."""
    if not (folder / FILE).is_file():
        return None
    try:
        return limiter_section(load_limiter(folder))
    except ReportError as error:
        return {"flaw": line(error, 600)}


def limiter_section(record: Record) -> dict[str, Any]:
    """Return the section's texts, tables and figure."""
    from reports.figures.drawing import styled
    from reports.figures.limiter import draw_limiter

    found, over = record["identification"], record["over_admission"]
    with styled():
        figure = draw_limiter(record)
    return {
        "flaw": "",
        "headline": line(record["headline"]),
        "asked": f"{found['admitted'] + found['refused']:,} calls: {found['admitted']:,} let in, "
        f"{found['refused']:,} refused.",
        "coarse": found["clock_s"] >= 1,
        "candidates": [_candidate(one) for one in found["findings"]],
        "scopes": [
            (
                line(f"{one['differs_in']}s"),
                _WORDS.get(one.get("shared"), "not told"),
                line(f"{one['call']} {one['why']}"),
            )
            for one in record["shared"]
        ],
        "over": ("fail" if over["proved"] else "inconclusive", line(over["told"], 600)),
        "promise": (
            _KEPT.get(record.get("promise_kept"), "inconclusive"),
            line(record["promise"]),
        ),
        "kind": {"name": "limiter", "title": "What was let in, and what contradicts each candidate"},
        "figure": figure,
    }


def _candidate(one: Record) -> tuple[str, ...]:
    """Return a row of the evidence: the candidate, what became of it, its figures or what rules them all out."""
    if one["fits"]:
        word = "not ruled out" if one.get("whole", True) else "not ruled out: the search was given up"
        return line(one["family"]), line(one["about"]), word, line(one["figures"]), ""
    return line(one["family"]), line(one["about"]), "ruled out", "", line(", ".join(map(str, one["against"])), 400)


def limiter_page(record: Record) -> str:
    """Return ``limiter.html``."""
    from reports.templates import html

    return html(
        "limiter.html.j2",
        {"head": _head(record), "sections": [("limiter", "Limiter")], "limiter": limiter_section(record)},
    )


def _head(record: Record) -> dict[str, Any]:
    names = ("target", "mode", "tier", "seed", "mutant")
    wrong = f"The gateway was made wrong on purpose (mutant {line(record['mutant'])})." if record["mutant"] else ""
    return {
        "verdict": record["verdict"],
        "word": record["verdict"].upper(),
        "sentence": _SENTENCES.get(record["verdict"], ""),
        "tally": [],
        "command": line(record["command"], 1000),
        "target": line(record["target"]),
        "skip": ("limiter", "the limiter"),
        "facts": [(name, line(record[name])) for name in names if str(record.get(name, ""))],
        "notes": [wrong] if wrong else [],
        "exit": record["exit"],
        "footer": Markup("Rendered from <code>limiter.json</code>."),
    }
