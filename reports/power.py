"""A power record as a page and as Markdown, a CI job summary; what was caught and what not is decided elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reports.figures.drawing import Figure
from reports.record import fields, read_record
from reports.text import clipped, line, plural, slug

SCHEMA = "harness.power/1"
CAP = 64 << 10
"""Bytes that a job summary may have."""
_STATUS = {
    "killed": "pass",
    "survived": "fail",
    "elsewhere": "fail",
    "inconclusive": "inconclusive",
    "errored": "error",
    "not_asked": "not_asked",
}
"""How the page colours a mutant's fate."""
_FATES = {
    "killed": "caught",
    "survived": "survived",
    "elsewhere": "seen, but not by its own requirement",
    "inconclusive": "inconclusive",
    "errored": "errored",
    "not_asked": "not asked",
}
_RECORD: Mapping[str, type] = {
    "run": dict,
    "verdict": str,
    "exit": int,
    "counts": dict,
    "mutants": dict,
    "requirements": dict,
    "areas": dict,
    "false_alarms": dict,
    "clean": list,
}
_MUTANT = {"breaks": str, "lie": str, "status": str, "why": str, "asked": list, "tripped": list, "errors": list}
_REQUIREMENT = {"profile": str, "state": str, "mutants": list, "asked": int, "killed": int, "noticed_by": list}

Record = Mapping[str, Any]


def load_power(folder: Path) -> Record:
    """Read ``folder``'s ``power.json``. Raises ReportError naming the file and everything that is wrong with it."""
    return read_record(folder / "power.json", SCHEMA, _problems)


def _problems(data: Record) -> Iterator[str]:
    flaws = list(fields("power", data, _RECORD))
    yield from flaws
    if flaws:
        return
    for name, mutant in data["mutants"].items():
        yield from fields(f"mutants.{name}", mutant, _MUTANT)
    for name, entry in data["requirements"].items():
        yield from fields(f"requirements.{name}", entry, _REQUIREMENT)


def missed(record: Record) -> dict[str, Record]:
    """Return the mutants that were asked and are not caught, by name."""
    return {name: one for name, one in record["mutants"].items() if one["status"] not in ("killed", "not_asked")}


def gaps(record: Record) -> list[str]:
    """Return the requirements that are claimed and that no mutant breaks."""
    return [name for name, entry in record["requirements"].items() if entry["state"] == "no_mutant"]


def few(record: Record) -> list[str]:
    """Return the requirements that one mutant alone breaks."""
    return [name for name, entry in record["requirements"].items() if entry["few"] and entry["mutants"]]


def alarm_sentence(record: Record) -> str:
    """Return what the clean runs say of false alarms."""
    alarms = record["false_alarms"]
    return (
        f"{plural(alarms['alarms'], 'false alarm')} in {plural(alarms['runs'], 'run')} of the right gateway "
        f"({plural(alarms['seeds'], 'whole seed')} of the core): with {alarms['confidence']:.0%} confidence at most "
        f"{alarms['run_bound']:.3%} of its runs and {alarms['seed_bound']:.1%} of its seeds raise one"
    )


def command(record: Record) -> str:
    """Return the command that makes this record again, whole."""
    run = record["run"]
    parts = [
        "harness",
        "power",
        *(["--load"] if "load" in run else []),
        *run["selection"],
        *(["--full"] if run["full"] else []),
    ]
    return shlex.join([*parts, *(["--seed", str(run["seed"])] if run["seed"] else [])])


def power_markdown(record: Record) -> str:
    """Return ``power.md``, a CI job summary: what was missed, the kill matrix, and who caught what."""
    from reports.templates import environment

    template = environment(markdown=True).get_template("power.md.j2")
    for rows in (len(record["mutants"]), 60, 0):
        text = template.render(
            record=record,
            partial=bool(record["run"].get("interrupted")),
            sentence=sentence(record),
            command=command(record),
            missed=list(missed(record).items())[:40],
            more=max(0, len(missed(record)) - 40),
            gaps=gaps(record),
            few=few(record),
            alarms=alarm_sentence(record),
            more_under_load=more_under_load(record),
            matrix=area_rows(record),
            columns=list(record["areas"]),
            requirements=_requirement_rows(record),
            caught=[row for row in _mutant_rows(record) if row["status"] == "killed"][:rows],
        )
        if len(text.encode()) < CAP:
            break
    return text.rstrip() + "\n"


def more_under_load(record: Record) -> str:
    """Return what is said of the mutants that no scenario can catch; nothing where there are none."""
    more = record["run"].get("under_load")
    return f"{plural(more, 'more mutant')} {'is' if more == 1 else 'are'} caught under load alone" if more else ""


def sentence(record: Record) -> str:
    """Return the whole in a few words."""
    counts = record["counts"]
    told = [f"{counts['killed']:,} of {plural(counts['mutants'], 'mutant')} caught"]
    told += [f"{counts[name]:,} {_FATES[name]}" for name in _FATES if name != "killed" and counts.get(name)]
    told += [f"{plural(len(gaps(record)), 'requirement')} without a mutant"] if gaps(record) else []
    return ", ".join(told)


def area_rows(record: Record) -> list[tuple[str, str, str, str, list[str]]]:
    """Return per area: requirements proved, mutants caught, power with its interval, and what each area noticed."""
    return [
        (
            area,
            f"{entry['proved']}/{entry['requirements']}",
            f"{entry['killed']}/{entry['asked']}",
            _interval(entry),
            [str(entry["noticed_by"].get(noticed, "")) for noticed in record["areas"]],
        )
        for area, entry in record["areas"].items()
    ]


def _interval(entry: Record) -> str:
    low, high = entry["interval"]
    return f"{entry['power']:.0%} ({low:.0%} to {high:.0%})" if entry["asked"] else "–"


def _requirement_rows(record: Record) -> list[tuple[str, str, str, str, str]]:
    return [
        (
            line(name),
            entry["state"].replace("_", " "),
            f"{entry['killed']}/{entry['asked']}",
            _interval(entry),
            line(", ".join(other for other in entry["noticed_by"] if other != name), 400) or "–",
        )
        for name, entry in record["requirements"].items()
    ]


def _mutant_rows(record: Record) -> list[dict[str, Any]]:
    """Return the mutants with their evidence, those that were not caught first."""
    order = sorted(record["mutants"].items(), key=lambda item: (item[1]["status"] == "killed", item[0]))
    return [_mutant_row(name, mutant) for name, mutant in order]


def _mutant_row(name: str, mutant: Record) -> dict[str, Any]:
    evidence = mutant.get("evidence") or {}
    others = sorted({trip["requirement"] for trip in mutant["tripped"] if not trip["own"]})
    rest = len(mutant.get("not_asked") or ())
    return {
        "name": line(name),
        "slug": slug(f"mutant-{name}"),
        "breaks": line(mutant["breaks"]),
        "lie": line(mutant["lie"], 600),
        "status": mutant["status"],
        "colour": _STATUS.get(mutant["status"], "fail"),
        "fate": _FATES.get(mutant["status"], mutant["status"]),
        "why": line(mutant["why"], 600),
        "clause": line(evidence.get("clause", "")),
        "checker": line(evidence.get("checker", "")),
        "promise": line(evidence.get("promise", ""), 600),
        "scenario": line(evidence.get("scenario", "")),
        "call": line(evidence.get("call", "")),
        "expected": clipped(evidence.get("expected", ""), 600),
        "actual": clipped(evidence.get("actual", ""), 600),
        "replay": clipped(evidence.get("replay", ""), 600),
        "others": line(", ".join(others), 400),
        "errors": [line(f"{error['scenario']}: {error['message']}", 600) for error in mutant["errors"]],
        "asked": f"{plural(len(mutant['asked']), 'scenario')} asked" + (f", {rest} not" if rest else ""),
    }


def power_page(record: Record, figure: Figure) -> str:
    """Return ``power.html``: what was missed, the kill matrix, every mutant with its evidence and its replay."""
    from reports.templates import html

    rows = _mutant_rows(record)
    context = {
        "head": _head(record),
        "missed": [row for row in rows if row["status"] not in ("killed", "not_asked")],
        "gaps": [(name, line(record["requirements"][name]["text"], 600)) for name in gaps(record)],
        "few": few(record),
        "kind": {"name": "matrix", "title": "Who noticed what"},
        "figure": figure,
        "areas": area_rows(record),
        "columns": list(record["areas"]),
        "requirements": _requirement_rows(record),
        "rows": rows,
        "alarms": alarm_sentence(record),
        "more_under_load": more_under_load(record),
        "under_load": "load" in record["run"],
        "alarmed": [
            (line(alarm["scenario"]), str(one["seed"]), line(alarm["outcome"]))
            for one in record["clean"]
            for alarm in one["alarms"]
        ],
        "sources": [line(source) for source in record["false_alarms"]["sources"]],
        "versions": [
            ("schema", line(record["schema"])),
            ("version", line(record["run"].get("version", "–"))),
            ("contract", line(record["run"].get("contract_digest", "–"))),
        ],
    }
    context["sections"] = list(_sections(context))
    return html("power.html.j2", context)


def _sections(context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if context["missed"] or context["gaps"]:
        yield "broken", "Missed"
    yield "matrix", "Kill matrix"
    yield "requirements", "Requirements"
    yield "checks", "Mutants"
    yield "alarms", "False alarms"
    yield "method", "Method"


def _head(record: Record) -> dict[str, Any]:
    run, counts = record["run"], record["counts"]
    facts = [
        ("scenarios", "all of the core" if run["full"] else "" if "load" in run else "up to the first kill"),
        ("mode", run.get("mode", "")),
        ("overlay", run.get("overlay", "")),
        ("seed", run["seed"]),
        ("shard", run.get("shard", "")),
        ("took", f"{run['seconds']} s" if "seconds" in run else ""),
        ("exit", record["exit"]),
    ]
    notes = ["Interrupted: this record is partial."] if run.get("interrupted") else []
    notes += [f"Shard {run['shard']}: the others' mutants are not in it."] if run.get("shard") else []
    return {
        "verdict": record["verdict"],
        "word": record["verdict"].upper(),
        "sentence": sentence(record),
        "tally": [
            (name, f"{counts[name]:,}", fate) for name, fate in _FATES.items() if counts.get(name) or name == "killed"
        ],
        "command": command(record),
        "target": "power",
        "skip": ("matrix", "the kill matrix"),
        "facts": [(name, line(value)) for name, value in facts if str(value)],
        "notes": notes,
        "exit": record["exit"],
        "footer": Markup("Rendered from <code>power.json</code>."),
    }
