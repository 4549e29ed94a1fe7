"""The record as one self-contained HTML page; it chooses what to show in full and what to count, and judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reports import matrix
from reports.cards import Detail, Ids, cards, raised, unsettled
from reports.causes import Cause, causes
from reports.figures import draw_all, draw_chaos, kinds
from reports.histories import Histories
from reports.limiter import section_of
from reports.reached import branches, recoveries
from reports.record import OUTCOMES, Check, Record
from reports.text import clipped, line, plural
from reports.views import Table

AIM, CAP = 2 << 20, 5 << 20
"""Bytes that a page should and may have."""


@dataclass(frozen=True, slots=True)
class Level:
    """How much a page shows: of each cause, how many causes, and how many rows of checks before passes are counted."""

    detail: Detail
    causes: int
    rows: int


_LEVELS = (
    Level(Detail(cards=25, views=2, pieces=25, clip=600), causes=400, rows=5000),
    Level(Detail(cards=12, views=1, pieces=8, clip=300), causes=300, rows=2500),
    Level(Detail(cards=0, views=0, pieces=2, clip=160), causes=200, rows=1000),
)
_ERRORS = 20
_ORDER = {outcome: number for number, outcome in enumerate(OUTCOMES)}
_WORDS = (("pass", "kept"), ("fail", "broken"), ("inconclusive", "inconclusive"), ("unsupported", "unsupported"))
_SECTIONS = (
    ("faults", "Faults and circuit", ("faults",)),
    ("latency", "Latency", ("latency",)),
    ("limits", "Limits and load", ("in_flight", "admitted")),
    ("money", "Money", ("charged", "insurance")),
)


def page(record: Record, histories: Histories) -> str:
    """Return ``report.html``: as detailed as fits into the size aimed at."""
    found = causes(record)
    drawings, limiter = _drawings(record, histories), section_of(record.folder)
    for level in _LEVELS:
        text = _render(record, histories, found, drawings, limiter, level)
        if len(text.encode()) <= AIM:
            break
    return text


def _render(
    record: Record,
    histories: Histories,
    found: Sequence[Cause],
    drawings: Sequence[Mapping[str, Any]],
    limiter: Mapping[str, Any] | None,
    level: Level,
) -> str:
    from reports.templates import html

    ids = Ids()
    shown = cards(found[: level.causes], histories, level.detail, ids)
    anchors = {(c.requirement, c.checker): card["anchor"] for c, card in zip(found, shown, strict=False)}
    errors = [_error(record, scenario, ids) for scenario in record.scenarios if scenario.get("error")]
    checks = _checks(record, anchors, level.rows)
    context: dict[str, Any] = {
        "head": _head(
            record, checks["collapsed"], ("broken", "broken promises") if found else ("matrix", "the matrix")
        ),
        "errors": errors[:_ERRORS],
        "more_errors": max(0, len(errors) - _ERRORS),
        "causes": shown,
        "more_causes": max(0, len(found) - level.causes),
        "raised": raised(record),
        "unsettled": unsettled(record, level.detail),
        "doubts": _doubts(record),
        "profiles": matrix.profiles(record),
        "drawings": drawings,
        "limiter": limiter,
        "reached": branches(record),
        "recovery": recoveries(record),
        "checks": checks,
        "method": _method(record),
    }
    context["sections"] = list(_sections(context))
    return html("report.html.j2", context)


def _head(record: Record, collapsed: Sequence[object], skip: tuple[str, str]) -> dict[str, Any]:
    run, counts = record.run, record.counts
    asked = sum(counts.values()) - counts["unsupported"]
    facts = [
        ("target", run["target"]),
        ("mode", run["mode"]),
        ("seed" if ".." not in record.seeds else "seeds", record.seeds),
        ("scenarios", f"{len({scenario['scenario'] for scenario in record.scenarios}):,}"),
        ("checks", f"{len(record.checks):,}"),
        ("calls", f"{sum(scenario.get('calls', 0) for scenario in record.scenarios):,}"),
        ("took", f"{run['seconds']} s" if "seconds" in run else ""),
        ("exit", record.data["exit"]),
    ]
    notes = [f"Why: {why}." for why in record.data.get("why", ())]
    if run["interrupted"]:
        notes.append("Interrupted: this record is partial.")
    if run["mutant"]:
        notes.append(f"The gateway was made wrong on purpose (mutant {run['mutant']}): a failure is the right outcome.")
    if run.get("judged_again"):
        notes.append("Judged again from recorded histories.")
    if collapsed:
        notes.append("Passes are summarised per checker, to keep this page small; verdict.json has the full list.")
    return {
        "verdict": record.verdict,
        "word": record.verdict.upper(),
        "sentence": f"{counts['pass']:,} of {plural(asked, 'promise')} kept" if asked else "no promise was judged",
        "tally": [(outcome, f"{counts[outcome]:,}", word) for outcome, word in _WORDS],
        "skip": skip,
        "footer": Markup(
            "Rendered from <code>verdict.json</code> and the histories beside it; secrets are never recorded."
        ),
        "command": clipped(record.command),
        "target": line(run["target"]),
        "facts": [(name, line(value)) for name, value in facts if str(value)],
        "notes": [line(note, 500) for note in notes],
        "exit": record.data["exit"],
    }


def _sections(context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if context["errors"]:
        yield "errors", "Could not be run"
    if context["causes"]:
        yield "broken", "Broken promises"
    if context["raised"]:
        yield "raised", "Raised in the target"
    if context["unsettled"] or context["doubts"]:
        yield "inconclusive", "Inconclusive"
    yield "matrix", "Requirements"
    yield from ((section["id"], section["title"]) for section in context["drawings"])
    if context["limiter"]:
        yield "limiter", "Limiter"
    if context["reached"] or context["recovery"]:
        yield "reached", "Reached and recovered"
    yield "checks", "All checks"
    yield "method", "Method"


def _error(record: Record, scenario: Mapping[str, Any], ids: Ids) -> dict[str, Any]:
    error = scenario["error"]
    crashes = (f"checker {crash['checker']} crashed:\n{crash['traceback']}" for crash in scenario.get("errors") or ())
    return {
        "id": ids.take(f"error-{scenario['scenario']}-{scenario['seed']}"),
        "scenario": line(scenario["scenario"]),
        "seed": scenario["seed"],
        "message": clipped(error["message"]),
        "cause": clipped("\n".join(filter(None, (str(error.get("cause") or "").strip(), *crashes)))),
        "help": clipped(error.get("help") or ""),
        "replay": clipped(scenario.get("replay", "")),
    }


def _doubts(record: Record) -> list[tuple[str, str, str]]:
    """Return why scenarios that passed do not count, the seeds of one reason together."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for scenario in record.scenarios:
        if scenario["outcome"] != "unsupported" and scenario.get("doubts"):
            reason = (line(scenario["scenario"]), line("; ".join(map(str, scenario["doubts"])), 600))
            seeds.setdefault(reason, []).append(scenario["seed"])
    return [(name, line(", ".join(map(str, found))), why) for (name, why), found in seeds.items()]


def _drawings(record: Record, histories: Histories) -> list[dict[str, Any]]:
    """Return the sections of figures, each kind with what was drawn of it; chaos only where there was any."""
    drawn = draw_all(record, histories)
    known = {kind.name: kind for kind in kinds()}
    tables = {"faults": [_scenarios(record)], "limits": list(_lateness(histories))}
    sections = [
        {"id": id_, "title": title, "figures": [(known[n], drawn[n]) for n in names], "tables": tables.get(id_, [])}
        for id_, title, names in _SECTIONS
    ]
    chaos = [
        ({"name": f"chaos-{number}", "title": line(title)}, figure)
        for number, (title, figure) in enumerate(draw_chaos(record, histories), 1)
    ]
    if chaos:
        sections.insert(1, {"id": "chaos", "title": "Chaos: circuits over time", "figures": chaos, "tables": []})
    return sections


def _scenarios(record: Record) -> Table:
    """Return what every scenario came to, its seeds together."""
    import pandas

    columns = ("scenario", "outcome", "seeds", "calls", "attempts", "faults planned", "fired", "virtual s", "CPU s")
    names = ("calls", "attempts", "faults_planned", "faults_fired", "virtual_s", "cpu_s")
    order = ("error", *OUTCOMES)
    rows = []
    if record.scenarios:
        frame = pandas.DataFrame(
            {
                "scenario": line(scenario["scenario"]),
                "outcome": order.index(scenario["outcome"]) if scenario["outcome"] in order else 0,
                "seeds": 1,
                **{name: scenario.get(name) or 0 for name in names},
            }
            for scenario in record.scenarios
        )
        added = frame.groupby("scenario", sort=False, as_index=False).agg(
            {"outcome": "min", "seeds": "sum", **dict.fromkeys(names, "sum")}
        )
        for row in added.to_dict("records"):
            counts = (f"{row[name]:,}" for name in ("seeds", *names[:4]))
            times = (f"{row['virtual_s']:,.1f}", f"{row['cpu_s']:,.2f}")
            rows.append((row["scenario"], order[row["outcome"]], *counts, *times))
    return Table(f"All {plural(len(rows), 'scenario')}, with faults planned and fired", columns, rows)


def _lateness(histories: Histories) -> Iterator[Table]:
    """Yield how late the load generator was, where time was real."""
    rows = [
        (recording.title, f"{note.detail.get('calls', 0):,}", f"{note.detail.get('max_us', 0) / 1e3:,.1f} ms")
        for recording in histories.read
        if recording.history.plan.mode != "sim"
        for note in recording.history.notes
        if note.kind == "lateness"
    ]
    if rows:
        yield Table("Lateness of the load generator", ("scenario", "calls", "at most late"), rows)


def _checks(record: Record, anchors: Mapping[tuple[str, str], str], most: int) -> dict[str, Any]:
    """Return the rows of all checks; where they are too many, those that passed as counts per checker."""
    checks: Sequence[Check] = sorted(record.checks, key=lambda check: _ORDER.get(check.outcome, 0))
    collapsed: list[tuple[str, ...]] = []
    if len(checks) > most:
        passes: dict[tuple[str, str], list[int]] = {}
        for check in checks:
            if check.outcome == "pass":
                passes.setdefault((check.requirement, check.checker), []).append(check.cases)
        collapsed = [(*map(line, key), f"{len(cases):,}", f"{sum(cases):,}") for key, cases in sorted(passes.items())]
        checks = [check for check in checks if check.outcome != "pass"]
    left_out = max(0, len(checks) - most)
    counts = record.checks_by_outcome
    told = ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in ("pass", "fail", "inconclusive", "unsupported"))
    told = f"{plural(len(record.checks), 'check')}: {told}."
    return {
        "told": f"{told} {left_out:,} rows left out." if left_out else told,
        "rows": [
            {
                "outcome": check.outcome,
                "requirement": line(check.requirement),
                "scenario": line(check.scenario),
                "seed": check.seed,
                "checker": line(check.checker),
                "anchor": anchors.get((check.requirement, check.checker), "") if check.outcome == "fail" else "",
                "cases": f"{check.cases:,}",
                "failed": f"{check.failed:,}",
            }
            for check in checks[:most]
        ],
        "collapsed": collapsed,
    }


def _method(record: Record) -> dict[str, Any]:
    clocks = {
        "sim": "Time was virtual: exact to the microsecond, and the same seed gives the same history bit for bit.",
        "local": "Processes on loopback sockets, real time: clocks compare within 2 ms.",
        "remote": "A gateway asked from outside, real time: only what its callers can see was judged.",
    }
    environment = record.environment
    versions = [("schema", record.data["schema"])]
    versions += [(name, environment[name]) for name in ("written", "python", "platform") if name in environment]
    named = environment.get("versions")
    versions += sorted(named.items()) if isinstance(named, dict) else []
    if not environment:
        versions.append(("run.json", "not recorded"))
    return {
        "clock": clocks.get(str(record.run["mode"]), f"Mode {line(record.run['mode'])}."),
        "assumed": [(line(value), line(", ".join(ids), 600)) for value, ids in record.assumed.items()],
        "overlays": [(line(name, 500), line(", ".join(where), 500)) for name, where in record.overlays.items()],
        "versions": [(line(name), line(value)) for name, value in versions],
    }
