"""What each subject costs, as bars with their intervals: added time, and CPU of a call; the record's own figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.figures.drawing import BLUE, INK, ORANGE, Figure, canvas, finished, label, plain_numbers, styled
from reports.text import line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURES: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "added": ("Added time", ("added latency", "added to the first chunk"), "microseconds added"),
    "cpu": ("CPU of a call", ("CPU of a call, 1 connection", "CPU of a call, 64 connections"), "microseconds of CPU"),
}
_ROW_IN = 0.34


def draw_bench(record: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures that the record has values for, by name."""
    drawn = {}
    for name, (title, kinds, unit) in FIGURES.items():
        found = [
            (subject, [_of(one, kind) for kind in kinds])
            for subject, one in record["subjects"].items()
            if any(_of(one, kind) for kind in kinds)
        ]
        if found:
            with styled():
                drawn[name] = _bars(f"bench-{name}", title, kinds, unit, found)
    return drawn


def _of(subject: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    return next((figure for figure in subject["figures"] if figure["figure"] == kind), None)


def _bars(
    name: str,
    title: str,
    kinds: Sequence[str],
    unit: str,
    found: Sequence[tuple[str, Sequence[Mapping[str, Any] | None]]],
) -> Figure:
    names = [label(subject) for subject, _ in found]
    height = 0.95 + _ROW_IN * len(found)
    made, (axes,) = canvas(height, left=0.03 + 0.0068 * max(map(len, names)))
    rows = []
    for number, kind in enumerate(kinds):
        for place, (subject, figures) in enumerate(found):
            figure = figures[number]
            if figure is not None:
                _bar(axes, place + 0.36 * (number - 0.5), figure, (BLUE, ORANGE)[number])
                rows.append(
                    (line(subject), kind, f"{figure['value']:,.4g}", f"{figure['low']:,.4g} to {figure['high']:,.4g}")
                )
        axes.plot([], [], color=(BLUE, ORANGE)[number], linewidth=6, label=kind)
    values = [figure["value"] for _, figures in found for figure in figures if figure is not None]
    if min(values) > 0:
        axes.set_xscale("log")
        axes.set_xlim(left=min(values) / 2)
        plain_numbers(axes.xaxis)
    axes.set_yticks(range(len(found)), names)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlabel(unit)
    made.subplots_adjust(top=1 - 0.32 / height)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2)
    svg = finished(made, name, f"{title} of {', '.join(subject for subject, _ in found)}")
    caption = (
        "Bars are means over blocks, lines their 95 % intervals; the axis is logarithmic where all are above zero."
    )
    return Figure(svg, caption, "", ("subject", "figure", "value (us)", "95 % interval"), rows)


def _bar(axes: Axes, place: float, figure: Mapping[str, Any], colour: str) -> None:
    axes.barh(place, figure["value"], height=0.32, color=colour)
    axes.plot([figure["low"], figure["high"]], [place, place], color=INK, linewidth=1.0)
