"""The kill matrix and the power per requirement as one figure: what was broken against what noticed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reports.figures.drawing import BLUE, GREY, INK, ORANGE, RED, Figure, finished, styled
from reports.text import line, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW_IN = 0.155
_MARGIN_IN = 1.05
_WIDTH_IN = 13.5
_CAPTION = (
    "Each row is a requirement that mutants break, each column one whose checkers noticed. The fuller a square, the "
    "more of the row's mutants; on the diagonal is the proof, orange marks bystanders. Right: the share of mutants "
    "caught by their own requirement with its 95 % interval (Wilson)."
)


def kill_matrix(record: Mapping[str, Any]) -> Figure:
    """Draw what noticed the mutants of each requirement, and the power over it with its interval."""
    from matplotlib.figure import Figure as Canvas

    shown = {name: entry for name, entry in record["requirements"].items() if entry["asked"] or not entry["mutants"]}
    names = list(shown)
    # A checker of a requirement that has no row here may have noticed too.
    columns = [*names, *sorted({t for entry in shown.values() for t in entry["noticed_by"]} - shown.keys())]
    height = _MARGIN_IN + _ROW_IN * max(len(names), 3)
    with styled():
        made = Canvas(figsize=(_WIDTH_IN, height))
        matrix, power = made.subplots(1, 2, sharey=True, width_ratios=[6.5, 1])
        made.subplots_adjust(left=0.06, right=0.99, top=1 - 0.7 / height, bottom=0.3 / height, wspace=0.02)
        made.patch.set_visible(False)
        matrix.patch.set_visible(False)
        power.patch.set_visible(False)
        _squares(matrix, record, names, columns)
        _intervals(power, shown)
        svg = finished(made, "power", f"Kill matrix of {plural(len(record['mutants']), 'mutant')}")
    rows = [(line(name), *_row(entry)) for name, entry in shown.items()]
    return Figure(svg, _CAPTION, "", ("requirement", "mutants", "caught", "interval", "noticed by"), rows)


def _row(entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    low, high = entry["interval"]
    told = f"{low:.0%} to {high:.0%}" if entry["asked"] else "–"
    return str(entry["asked"]), str(entry["killed"]), told, line(", ".join(entry["noticed_by"]), 400) or "–"


def shares(record: Mapping[str, Any], requirement: str) -> dict[str, float]:
    """Return, by requirement that noticed, the share of ``requirement``'s mutants that its checkers saw."""
    asked = [
        record["mutants"][name]
        for name in record["requirements"][requirement]["mutants"]
        if name in record["mutants"] and record["mutants"][name]["status"] != "not_asked"
    ]
    seen: dict[str, int] = {}
    for mutant in asked:
        for noticed in {trip["requirement"] for trip in mutant["tripped"]}:
            seen[noticed] = seen.get(noticed, 0) + 1
    return {noticed: count / len(asked) for noticed, count in sorted(seen.items())}


def _squares(axes: Axes, record: Mapping[str, Any], names: list[str], columns: list[str]) -> None:
    from matplotlib.patches import Rectangle

    place = {name: number for number, name in enumerate(columns)}
    for row, name in enumerate(names):
        for noticed, share in shares(record, name).items():
            side = 0.86 * share**0.5
            colour = BLUE if noticed == name else ORANGE
            corner = (place[noticed] - side / 2, row - side / 2)
            axes.add_patch(Rectangle(corner, side, side, facecolor=colour, edgecolor="none"))
        if record["requirements"][name]["state"] != "noticed":
            axes.add_patch(Rectangle((row - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=1.2))
    axes.set_xlim(-0.7, len(columns) - 0.3)
    axes.set_ylim(len(names) - 0.3, -0.7)
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=6)
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xlabel("whose checkers noticed", fontsize=8)
    axes.set_ylabel("what the mutants break", fontsize=8)


def _intervals(axes: Axes, shown: Mapping[str, Mapping[str, Any]]) -> None:
    for row, entry in enumerate(shown.values()):
        if not entry["asked"]:
            axes.plot([0], [row], marker="x", color=RED, markersize=4)
            continue
        low, high = entry["interval"]
        colour = BLUE if entry["state"] == "noticed" else RED
        axes.plot([low, high], [row, row], color=GREY, linewidth=1.2)
        axes.plot([entry["power"]], [row], marker="o", color=colour, markersize=3.5)
    axes.set_xlim(-0.04, 1.04)
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=7)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.set_title("power", fontsize=8, color=INK)


def standalone(figure: Figure) -> str:
    """Return the figure's SVG as a file of its own, in the report's colours, light and dark."""
    from reports.templates import asset

    variables = re.findall(r":root \{(.*?)\}", asset("report.css"), re.DOTALL)
    light, dark = (" ".join(re.findall(r"--(?:page|ink|sans|f\d): [^;]*;", found)) for found in variables[:2])
    style = (
        f"<style>svg {{ {light} background: var(--page); color: var(--ink); fill: currentColor; "
        f"font-family: var(--sans); }} @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>"
    )
    head, end, body = str(figure.svg).partition(">")
    named = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f"{named}{end}{style}{body}\n"
