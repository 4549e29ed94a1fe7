"""A bench as a page and as Markdown: what its record says, figure by figure; it measures and judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reports.record import fields, read_record
from reports.text import line, plural

SCHEMA = "harness.bench/1"
NONE = "–"
_RECORD: Mapping[str, type] = {
    "run": dict,
    "verdict": str,
    "exit": int,
    "doubts": list,
    "noise": dict,
    "subjects": dict,
    "goals": list,
}
_RUN: Mapping[str, type] = {"command": str, "machine": dict, "left_out": list, "seed": int, "version": str}
_FIGURE: Mapping[str, type] = {"figure": str, "unit": str, "measure": str, "command": str, "blocks": int}
_GOAL: Mapping[str, type] = {"goal": str, "of": str, "against": str, "bound": str, "outcome": str}
_MEASURED_GOAL: Mapping[str, type] = {**_GOAL, "ratio": dict}
_SHORT = {
    "added latency": "added",
    "added to the first chunk": "first chunk",
    "added between chunks": "gap",
    "CPU of a chunk": "CPU/chunk",
}
_SENTENCES = {
    "pass": "the machine was quiet and every bound that was asked is held",
    "fail": "a bound is not held",
    "inconclusive": "the figures prove nothing",
}

Record = Mapping[str, Any]


def load_bench(folder: Path) -> Record:
    """Read ``folder``'s ``bench.json``. Raises ReportError naming the file and everything that is wrong with it."""
    return read_record(folder / "bench.json", SCHEMA, _problems)


def _problems(data: Record) -> Iterator[str]:
    flaws = list(fields("bench", data, _RECORD)) or list(fields("run", data["run"], _RUN))
    yield from flaws
    if flaws:
        return
    for number, goal in enumerate(data["goals"]):
        unmeasured = isinstance(goal, dict) and goal.get("ratio", ...) is None
        yield from fields(f"goals[{number}]", goal, _GOAL if unmeasured else _MEASURED_GOAL)
    for name, one in data["subjects"].items():
        missing = list(fields(f"subjects.{name}", one, {"about": str, "figures": list}))
        yield from missing
        for number, figure in enumerate([] if missing else one["figures"]):
            yield from fields(f"subjects.{name}.figures[{number}]", figure, _FIGURE)


def columns(record: Record) -> list[str]:
    """Return the short names of every figure that some subject has, latencies of its own aside."""
    names = dict.fromkeys(
        figure["figure"]
        for one in record["subjects"].values()
        for figure in one["figures"]
        if figure["figure"] != "latency"
    )
    order = [*_SHORT][:3]
    return [short(name) for name in sorted(names, key=lambda name: (name not in order, [*names].index(name)))]


def short(figure: str) -> str:
    """Return a figure's name as a table's head has it."""
    told = figure.replace("CPU of a call, ", "CPU/call @").replace("calls a second, ", "calls/s @")
    return _SHORT.get(figure, told.removesuffix(" connections").removesuffix(" connection"))


def rows(record: Record) -> list[tuple[str, ...]]:
    """Return for each subject its figures in the order of ``columns``, each with its interval's half width."""
    names = columns(record)
    return [
        (line(name), *(figures.get(column, NONE) for column in names))
        for name, one in record["subjects"].items()
        for figures in [{short(figure["figure"]): value(figure) for figure in one["figures"]}]
    ]


def value(figure: Record) -> str:
    """Return a figure with the half width of its interval."""
    half = (figure["high"] - figure["low"]) / 2
    digits = 1 if abs(figure["value"]) < 100 else 0
    return f"{figure['value']:,.{digits}f} ±{half:,.{digits}f}"


def bench_markdown(record: Record) -> str:
    """Return ``bench.md``: the table, the bounds, what the figures are worth, and the command behind each."""
    from reports.templates import environment

    return environment(markdown=True).get_template("bench.md.j2").render(_context(record)).rstrip() + "\n"


def bench_page(record: Record) -> str:
    """Return ``bench.html``."""
    from reports.figures.bench import FIGURES, draw_bench
    from reports.templates import html

    drawn = [
        {"kind": {"name": name, "title": FIGURES[name][0]}, "figure": figure}
        for name, figure in draw_bench(record).items()
    ]
    context = {**_context(record), "drawings": drawn}
    context["sections"] = list(_sections(context))
    return html("bench.html.j2", context)


def _context(record: Record) -> dict[str, Any]:
    machine = record["run"]["machine"]
    return {
        "head": _head(record),
        "columns": columns(record),
        "rows": rows(record),
        "about": [(line(name), line(one["about"])) for name, one in record["subjects"].items()],
        "goals": [_goal(goal) for goal in record["goals"]],
        "doubts": [line(doubt, 400) for doubt in record["doubts"]],
        "left_out": [line(text, 400) for text in record["run"]["left_out"]],
        "controls": list(_controls(record["noise"])),
        "busy": [
            (name, f"{busy['others_cores']:.2f} cores", f"{busy['stolen_share']:.2%}", str(busy["blocks_again"]))
            for name, busy in record["noise"].get("busy", {}).items()
        ],
        "figures": list(_figures(record)),
        "machine": [(line(name), line(told)) for name, told in machine.items()],
        "schema": SCHEMA,
    }


def _head(record: Record) -> dict[str, Any]:
    run = record["run"]
    return {
        "verdict": record["verdict"],
        "word": record["verdict"].upper(),
        "sentence": _SENTENCES.get(record["verdict"], ""),
        "tally": [
            (outcome, str(count), f"{outcome} of {plural(len(record['goals']), 'bound')}")
            for outcome in ("pass", "fail", "inconclusive")
            if (count := sum(goal["outcome"] == outcome for goal in record["goals"]))
        ],
        "command": run["command"],
        "target": "bench",
        "skip": ("table", "the table"),
        "facts": [
            (name, line(run[field]))
            for name, field in (("pairs", "pairs"), ("blocks", "blocks"), ("seed", "seed"), ("version", "version"))
            if field in run
        ],
        "notes": [line(doubt, 400) for doubt in record["doubts"]],
        "exit": record["exit"],
        "footer": Markup("Rendered from <code>bench.json</code>."),
    }


def _sections(context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "table", "Side by side"
    if context["goals"]:
        yield "goals", "Bounds"
    yield "noise", "Noise"
    yield "checks", "Every figure"
    yield "method", "Method"


def ratio(goal: Record) -> str:
    """Return a goal's ratio with its interval, or nothing where it could not be measured."""
    found = goal["ratio"]
    return f"{found['value']:g} ({found['low']:g} to {found['high']:g})" if found else ""


def _goal(goal: Record) -> tuple[str, ...]:
    return line(goal["of"]), line(goal["goal"]), ratio(goal) or NONE, goal["bound"], goal["outcome"]


def _controls(noise: Record) -> Iterator[tuple[str, ...]]:
    for name, control in noise.get("controls", {}).items():
        differs = f"{control['value']:+.1f} us ({control['low']:.1f} to {control['high']:.1f})"
        yield line(name), differs, f"{control['of']:,.0f} us"


def _figures(record: Record) -> Iterator[dict[str, str]]:
    for name, one in record["subjects"].items():
        for figure in one["figures"]:
            more: Sequence[str] = [f"{tail} {figure[tail]:,.4g}" for tail in ("p50", "p90", "p99") if tail in figure]
            yield {
                "subject": line(name),
                "figure": line(figure["figure"]),
                "value": f"{figure['value']:,.4g} {figure['unit']}",
                "interval": f"{figure['low']:,.4g} to {figure['high']:,.4g}",
                "more": ", ".join(more),
                "command": figure["command"],
            }
