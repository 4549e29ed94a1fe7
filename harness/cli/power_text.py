"""A power record as terminal text: what was missed first, then how every area stands, then the one line that counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.cli.terminal import say, status
from harness.runner.power import Row
from harness.runner.power_record import unsure


def line_of(row: Row) -> tuple[str, str]:
    """Return what became of a mutant that is through, as far as it can be told at once, and its progress line."""
    own = next(((r, h) for r in row.asked for h in r["broken"] if h["requirement"] == row.lie.breaks), None)
    errors = [result["error"] for result in row.asked if result["error"]]
    if errors:
        outcome, told = "errored", errors[0]["message"]
    elif own is not None:
        outcome, told = "killed", f"{row.lie.breaks} {own[1]['evidence']['clause']}  {own[0]['scenario']}"
    elif any(result["late"] or unsure(result) for result in row.asked):
        doubts = "; ".join(doubt for result in row.asked for doubt in result["doubts"])
        outcome, told = "inconclusive", doubts or "nothing was proved"
    else:
        others = sorted({hit["requirement"] for result in row.asked for hit in result["broken"]})
        outcome = "elsewhere" if others else "survived"
        told = f"{row.lie.breaks} did not notice{', but ' + ' '.join(others) if others else ''}"
    return outcome, f"  {status(outcome, err=True)} {row.lie.name:<52} {told}"


def print_power(record: Mapping[str, Any], folder: Path) -> None:
    """Print ``record`` to standard output."""
    for name, mutant in record["mutants"].items():
        if mutant["status"] not in ("killed", "not_asked"):
            _print_missed(name, mutant)
    gaps = [name for name, entry in record["requirements"].items() if entry["state"] == "no_mutant"]
    if gaps:
        say(f"\n{status('fail')} claimed, and no mutant breaks it: {', '.join(gaps)}")
    for one in record["clean"]:
        for alarm in one["alarms"]:
            say(f"\n{status('fail')} false alarm: {alarm['scenario']} seed {one['seed']} came to {alarm['outcome']}")
    for scenario, result in record["control"].items():
        if result["error"]:
            say(f"\n{status('error')} the right gateway in {scenario}: {result['error']['message']}")
    few = [name for name, entry in record["requirements"].items() if entry["few"] and entry["mutants"]]
    if few and record["run"]["whole"]:
        say(f"\nwith one mutant alone: {', '.join(few)}")
    _print_areas(record["areas"])
    _print_end(record, folder)


def _print_missed(name: str, mutant: Mapping[str, Any]) -> None:
    say(f"\n{status(mutant['status'])} {name}  should break {mutant['breaks']}")
    say(f"  lie       {mutant['lie']}")
    say(f"  why       {mutant['why']}")
    evidence = mutant["evidence"]
    if evidence:
        say(f"  seen by   {evidence['checker']} ({evidence['requirement']} {evidence['clause']})")
        say(f"    expected  {evidence['expected']}")
        say(f"    actual    {evidence['actual']}")
        say(f"  replay    {evidence['replay']}")
    elif mutant["asked"]:
        say(f"  asked     {', '.join(mutant['asked'][:6])}{', ...' if len(mutant['asked']) > 6 else ''}")


def _print_areas(areas: Mapping[str, Any]) -> None:
    say()
    for area, entry in areas.items():
        told = f"{entry['killed']}/{entry['asked']} mutants caught, "
        told += f"{entry['proved']}/{entry['requirements']} requirements proved"
        told += f", {entry['no_mutant']} without a mutant" if entry["no_mutant"] else ""
        say(f"  {area:<12} {told}")


def _print_end(record: Mapping[str, Any], folder: Path) -> None:
    counts, run, alarms = record["counts"], record["run"], record["false_alarms"]
    seeds = "1 whole seed" if alarms["seeds"] == 1 else f"{alarms['seeds']:,} whole seeds"
    say(
        f"\nfalse alarms {alarms['alarms']} in {alarms['runs']:,} runs of the right gateway, "
        f"{alarms['seeds_alarmed']} in {seeds}: with {alarms['confidence']:.0%} confidence "
        f"at most {alarms['run_bound']:.3%} of runs, {alarms['seed_bound']:.1%} of seeds"
    )
    missed = [f"{counts[name]} {word}" for name, word in _WORDS.items() if counts[name]]
    gaps = sum(entry["no_mutant"] for entry in record["areas"].values())
    missed += [f"{gaps} requirements without a mutant"] if gaps else []
    headline = "interrupted" if run.get("interrupted") else record["verdict"]
    say(
        f"{status(headline)} {counts['killed']} of {counts['mutants']} mutants caught"
        f"{''.join(f', {told}' for told in missed)}  {run['seconds']} s  exit {record['exit']}"
    )
    if run.get("under_load"):
        say(f"{run['under_load']} more are caught under load alone: harness power --load")
    if run.get("interrupted"):
        say("interrupted: this record is partial")
    say(f"report  {folder / 'power.html'}")


_WORDS = {
    "survived": "survived",
    "elsewhere": "seen, but not by their own requirement",
    "inconclusive": "inconclusive",
    "errored": "errored",
    "not_asked": "not asked",
}
