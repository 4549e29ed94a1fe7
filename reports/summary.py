"""The record as a Markdown job summary of at most 64 kB; it renders and judges nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reports.causes import Cause, causes
from reports.reached import never_reached, recoveries
from reports.record import Record
from reports.text import line, plural

CAP = 64 << 10
"""Bytes that a job summary may have."""
_MOST = {"errors": 20, "broken": 20, "inconclusive": 60, "assumed": 40}
_CELL = 400
"""Bytes of one value."""
_BRIEF = 90


def summary(record: Record) -> str:
    """Return ``summary.md``: verdict, broken promises with replay, what is inconclusive and why, profiles."""
    everything: dict[str, Sequence[Any]] = {
        "errors": [_error(scenario) for scenario in record.scenarios if scenario.get("error")],
        "broken": causes(record),
        "inconclusive": [*_unsettled(record), *_doubts(record), *_unreached(record)],
        "assumed": [(value, ", ".join(ids)) for value, ids in record.assumed.items()],
    }
    for share in (1, 2, 4, 8):
        shown = {name: found[: _MOST[name] // share] for name, found in everything.items()}
        text = _render(record, shown, {name: len(found) - len(shown[name]) for name, found in everything.items()})
        if len(text.encode()) < CAP:
            break
    return text


def _render(record: Record, shown: Mapping[str, Sequence[Any]], more: Mapping[str, int]) -> str:
    from reports.templates import environment

    template = environment(markdown=True).get_template("summary.md.j2")
    text = template.render(
        verdict=record.verdict.upper(),
        counts=record.counts,
        run=record.run,
        seeds=record.seeds,
        exit=record.data["exit"],
        why=[line(why, 500) for why in record.data.get("why", ())],
        command=line(record.command, _CELL),
        scenarios=plural(len(record.scenarios), "scenario"),
        checks=plural(len(record.checks), "check"),
        calls=plural(sum(scenario.get("calls", 0) for scenario in record.scenarios), "call"),
        recovery=told[0] if (told := recoveries(record)) else "",
        profiles=[
            {"name": name, "verdict": worst(record.counts_of(name)), "counts": record.counts_of(name)}
            for name in record.profiles
        ],
        overlays=", ".join(name for name in record.overlays if not name.startswith("{")),
        changed=len({name for names in record.overlays.values() for name in names}),
        more=more,
        **{**shown, "broken": [_broken(cause) for cause in shown["broken"]]},
    )
    return text.rstrip() + "\n"


def worst(counts: Any) -> str:
    """Return the word for a group of requirements: that of the worst verdict in it."""
    return next((outcome.upper() for outcome in ("fail", "inconclusive", "pass") if counts[outcome]), "UNSUPPORTED")


def _broken(cause: Cause) -> dict[str, Any]:
    first = cause.pieces[0].data if cause.pieces else {"expected": "", "actual": "not recorded", "call": ""}
    scenario, seeds = next(iter(cause.where.items()))
    more = f" and {len(cause.where) - 1} more scenarios" if len(cause.where) > 1 else ""
    return {
        "requirement": cause.requirement,
        "clause": cause.clause,
        "promise": cause.clause_text or cause.checks[0].promise,
        "failed": f"{cause.failed:,}",
        "cases": f"{cause.cases:,}",
        "where": f"{scenario} seed {seeds[0]}{more}",
        "expected": first["expected"],
        "actual": first["actual"],
        "replay": cause.replay,
    }


def _unsettled(record: Record) -> Iterator[dict[str, str]]:
    for identifier, entry in record.requirements.items():
        if entry["verdict"] == "inconclusive":
            clauses = {name: clause for name, clause in entry["clauses"].items() if clause["outcome"] == "inconclusive"}
            why = dict.fromkeys(str(clause.get("why", "could not be told")) for clause in clauses.values())
            yield {"id": identifier, "clauses": ", ".join(clauses), "why": "; ".join(why)}


def _doubts(record: Record) -> Iterator[dict[str, str]]:
    for scenario in record.scenarios:
        if scenario["outcome"] == "inconclusive" and scenario.get("doubts"):
            why = "; ".join(map(str, scenario["doubts"]))
            yield {"id": scenario["scenario"], "clauses": f"seed {scenario['seed']}", "why": why}


def _unreached(record: Record) -> Iterator[dict[str, str]]:
    for name, why in never_reached(record):
        yield {"id": name, "clauses": "branch", "why": why}


def _error(scenario: Any) -> dict[str, str]:
    error = scenario["error"]
    return {
        "name": f"{scenario['scenario']} seed {scenario['seed']}",
        "message": str(error["message"]),
        "cause": next(iter(str(error.get("cause") or "").strip().splitlines()[-1:]), ""),
        "help": str(error.get("help") or ""),
    }


def cell(value: object) -> str:
    """Return ``value`` as one line that Markdown, tables included, shows as it is written."""
    return re.sub(r"([\\`*_{}\[\]<>&|#~$@!])", r"\\\1", line(value, _CELL))


def brief(value: object) -> str:
    """Return ``value`` as ``cell`` does, but short."""
    return cell(line(value, _BRIEF))


def code(value: object) -> str:
    """Return ``value`` as a code span, fenced by more backticks than it has in a row."""
    text = line(value, _CELL)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}" if text else ""
