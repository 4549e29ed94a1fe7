"""A verdict as terminal text: what broke first, then how every profile stands, then the one line that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.cli.terminal import say, status

SHOWN = 3
"""Broken cases of one requirement that are printed; the report has more."""


def print_verdict(verdict: Mapping[str, Any], folder: Path) -> None:
    """Print ``verdict`` to standard output."""
    requirements: Mapping[str, Any] = verdict["requirements"]
    for identifier, entry in requirements.items():
        if entry["verdict"] == "fail":
            _print_failure(identifier, entry)
    for identifier, entry in requirements.items():
        if entry["verdict"] == "inconclusive":
            _print_doubt(identifier, entry)
    for record in verdict["scenarios"]:
        if record.get("error"):
            _print_error(record)
        elif record["outcome"] == "inconclusive" and record["doubts"]:
            say(f"{status('inconclusive')} {record['scenario']}  seed {record['seed']}: {'; '.join(record['doubts'])}")
    for name, entry in verdict.get("branches", {}).items():
        if entry["outcome"] == "inconclusive":
            say(f"{status('inconclusive')} branch {name}  {entry['told']} {entry['why']}")
    _print_recovery(verdict["scenarios"])
    _print_profiles(requirements)
    _print_end(verdict, folder)


def _print_failure(identifier: str, entry: Mapping[str, Any]) -> None:
    pieces = [piece for piece in entry["evidence"] if piece["outcome"] == "fail"]
    first = pieces[0]
    broken = [name for name, clause in entry["clauses"].items() if clause["outcome"] == "fail"]
    say(f"\n{status('fail')} {identifier}  {first['scenario']}   {entry['failed']} of {entry['cases']} cases")
    say(f"  promise   {first['promise']}   ({entry['source'] or entry['origin']})")
    say(f"  clause    {', '.join(broken)}")
    for piece in pieces[:SHOWN]:
        where = f"call {piece['call']}" if piece["call"] else "run"
        if piece["attempts"]:
            where += f"  attempts {', '.join(piece['attempts'][:4])}"
        say(f"  {where}")
        say(f"    expected  {piece['expected']}")
        say(f"    actual    {piece['actual']}")
    say(f"  replay    {first['replay']}")
    say(f"  explain   harness explain {identifier}")


def _print_doubt(identifier: str, entry: Mapping[str, Any]) -> None:
    unsettled = [name for name, clause in entry["clauses"].items() if clause["outcome"] == "inconclusive"]
    why = {clause.get("why", "could not be told") for name, clause in entry["clauses"].items() if name in unsettled}
    say(f"{status('inconclusive')} {identifier}  {', '.join(unsettled)}: {'; '.join(sorted(why))}")
    for piece in entry["evidence"][:SHOWN]:
        say(f"    {piece['scenario']}  expected {piece['expected']}; actual {piece['actual']}")


def _print_error(record: Mapping[str, Any]) -> None:
    error = record["error"]
    say(f"{status('error')} {record['scenario']}  seed {record['seed']}: {error['message']}")
    if error.get("cause"):
        say(f"    cause: {error['cause'].strip()}")
    if error.get("help"):
        say(f"    help:  {error['help']}")
    for crash in record.get("errors", ()):
        say(f"    checker {crash['checker']} crashed:\n{crash['traceback']}")


def _print_recovery(records: Sequence[Mapping[str, Any]]) -> None:
    """Name the runs after which the gateway did not come back to rest, what they showed first."""
    for record in records:
        recovery = record.get("recovery") or {}
        if recovery.get("outcome") != "fail":
            continue
        broken = [piece for piece in recovery["evidence"] if piece["outcome"] == "fail"]
        told = "; ".join(f"{piece['requirement']}: {piece['actual']}" for piece in broken[:1])
        within = f"{recovery['bound_ms'] / 1e3:g} s after the last fault"
        say(f"{status('fail')} {record['scenario']}  seed {record['seed']}: not recovered {within}: {told}")


def _print_profiles(requirements: Mapping[str, Any]) -> None:
    profiles: dict[str, dict[str, int]] = {}
    for entry in requirements.values():
        counts = profiles.setdefault(entry["profile"], {"pass": 0, "fail": 0, "inconclusive": 0, "unsupported": 0})
        counts[entry["verdict"]] += 1
    say()
    for profile, counts in sorted(profiles.items()):
        asked = sum(counts.values()) - counts["unsupported"]
        told = [f"kept {counts['pass']}/{asked}"]
        told += [
            f"{counts[name]} {word}"
            for name, word in (("fail", "broken"), ("inconclusive", "inconclusive"))
            if counts[name]
        ]
        if counts["unsupported"]:
            told.append(f"{counts['unsupported']} unsupported")
        say(f"  {profile:<12} {', '.join(told)}")


def _print_end(verdict: Mapping[str, Any], folder: Path) -> None:
    counts, run = verdict["counts"], verdict["run"]
    ran = len(verdict["scenarios"])
    calls = sum(record.get("calls", 0) for record in verdict["scenarios"])
    seconds = f"  {run['seconds']} s" if "seconds" in run else ""
    headline = "interrupted" if run.get("interrupted") else verdict["verdict"]
    say(
        f"\n{status(headline)} {counts['pass']} kept, {counts['fail']} broken, "
        f"{counts['inconclusive']} inconclusive, {counts['unsupported']} unsupported  "
        f"({ran} scenarios, {calls} calls){seconds}  exit {verdict['exit']}"
    )
    if run.get("interrupted"):
        say("interrupted: this record is partial")
    say(f"report  {folder / 'report.html'}")
