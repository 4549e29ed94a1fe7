"""A verdict as terminal text: what broke first, then how every profile stands, then the one line that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.cli.terminal import hanging, say, status

SHOWN = 3
"""Broken cases of one requirement that are printed; the report has more."""


def print_verdict(verdict: Mapping[str, Any], folder: Path | None) -> None:
    """Print ``verdict`` to standard output, and where its report is, if it was written."""
    requirements: Mapping[str, Any] = verdict["requirements"]
    for identifier, entry in requirements.items():
        if entry["verdict"] == "fail":
            _print_failure(identifier, entry)
    for identifier, entry in requirements.items():
        if entry["verdict"] == "inconclusive":
            _print_doubt(identifier, entry)
    _print_errors([record for record in verdict["scenarios"] if record.get("error")])
    _print_raised([record for record in verdict["scenarios"] if record.get("raised")])
    for record in verdict["scenarios"]:
        if not record.get("error") and record["outcome"] == "inconclusive" and record["doubts"]:
            say(f"{status('inconclusive')} {record['scenario']}  seed {record['seed']}: {'; '.join(record['doubts'])}")
    for name, entry in verdict.get("branches", {}).items():
        if entry["outcome"] == "inconclusive":
            say(f"{status('inconclusive')} branch {name}  {entry['told']} {entry['why']}")
    _print_recovery(verdict["scenarios"])
    _print_memory(verdict["scenarios"])
    _print_profiles(requirements)
    _print_end(verdict, folder)


def _print_failure(identifier: str, entry: Mapping[str, Any]) -> None:
    pieces = [piece for piece in entry["evidence"] if piece["outcome"] == "fail"]
    if not pieces:  # somebody took it out of the record
        say(f"\n{status('fail')} {identifier}  {entry['failed']} of {entry['cases']} cases, and no evidence of them")
        return
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


def _print_errors(records: Sequence[Mapping[str, Any]]) -> None:
    """Print each error once, with where else it was met."""
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        said = record["error"]["message"] + record["error"].get("cause", "")
        alike.setdefault(said, []).append(record)
    for first, *others in alike.values():
        error = first["error"]
        say(f"{status('error')} {first['scenario']}  seed {first['seed']}: {error['message']}")
        if error.get("cause"):
            say(f"    cause: {hanging(error['cause'], 11)}")
        if error.get("help"):
            say(f"    help:  {hanging(error['help'], 11)}")
        for crash in first.get("errors", ()):
            say(f"    checker {crash['checker']} crashed:\n{crash['traceback']}")
        if others:
            say(f"    the same in {len(others)} more: {', '.join(_run_of(record) for record in others[:SHOWN])}")


def _print_raised(records: Sequence[Mapping[str, Any]]) -> None:
    """Print what the target let out of its own code: information beside the failures, the first one in full."""
    if not records:
        return
    first = records[0]["raised"]
    count = sum(record["raised"]["count"] for record in records)
    say(f"\nraised       {count} in the target, first {first['type']}: {first['message']}")
    say(f"    in {first['request']}, {_run_of(records[0])}")
    if first["traceback"]:
        say(f"    {hanging(first['traceback'], 4)}")


def _run_of(record: Mapping[str, Any]) -> str:
    return f"{record['scenario']} seed {record['seed']}"


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


def _print_memory(records: Sequence[Mapping[str, Any]]) -> None:
    """Say whose memory is not what a load promises of it."""
    for record in records:
        for one in record.get("memory", ()):
            if one["promised"] and one["outcome"] in ("fail", "inconclusive"):
                told = f"memory of the {one['process']}: {one['why']}"
                say(f"{status(one['outcome'])} {record['scenario']}  seed {record['seed']}: {told}")


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


def _print_end(verdict: Mapping[str, Any], folder: Path | None) -> None:
    counts, run = verdict["counts"], verdict["run"]
    ran = len(verdict["scenarios"])
    calls = sum(record.get("calls", 0) for record in verdict["scenarios"])
    seconds = f"  {run['seconds']} s" if "seconds" in run else ""
    counted = (
        f"{counts['pass']} kept, {counts['fail']} broken, {counts['inconclusive']} inconclusive, "
        f"{counts['unsupported']} unsupported  ({ran} scenarios, {calls} calls){seconds}  exit {verdict['exit']}"
    )
    headline = status("interrupted" if run.get("interrupted") else verdict["verdict"])
    why = "; ".join(verdict.get("why", ()))
    say(f"\n{headline} {why or counted}")
    if why:
        say(f"{'':<12} {counted}")
    if folder is not None:
        say(f"report  {folder / 'report.html'}")
