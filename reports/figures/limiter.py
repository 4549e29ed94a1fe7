"""What a limiter let in and refused, over time, and where each candidate contradicts it: drawn, not identified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.figures.drawing import BLUE, GREEN, GREY, ORANGE, RED, Figure, canvas, finished, label, whole_numbers
from reports.text import line, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LANE_IN = 0.26
_DECISIONS: Mapping[object, str] = {True: "let in", False: "refused"}

Record = Mapping[str, Any]


def draw_limiter(record: Record) -> Figure | None:
    """Draw how many were let in within the stated window, call by call, above a lane for each candidate."""
    observed, findings = record["observations"], record["identification"]["findings"]
    if not observed:
        return None
    zero = min(one["earliest"] for one in observed)
    at_s = {one["id"]: (one["earliest"] - zero) / 1e6 for one in observed}
    over = record["over_admission"]
    made, (above, below) = canvas(
        2.4 + _LANE_IN * max(1, len(findings)), (1.6, max(0.3, _LANE_IN * len(findings))), left=0.2
    )
    _draw_calls(above, observed, at_s, over["limit"], over["window_s"])
    _draw_lanes(below, findings, at_s)
    below.set_xlabel("seconds since the first call")
    kept = sum(one["fits"] for one in findings)
    return Figure(
        finished(made, "limiter", f"Calls let in and refused; {kept} of {len(findings)} candidates not ruled out"),
        f"Above: how many of {plural(len(observed), 'call')} the window of {over['window_s']:g} s that ends at each "
        f"instant let in, by when each was sent, against the stated limit of {over['limit']:,}. Below, marked on the "
        "lane of each candidate that is ruled out: the calls of which at least one contradicts it, whatever its "
        "figures and whenever exactly each call came.",
        line(f"{record['target']}, {record['mode']}"),
        ("call", "at (s)", "decision", "contradicts"),
        [
            (
                line(one["id"]),
                f"{at_s[one['id']]:,.3f}",
                _DECISIONS.get(one.get("admitted"), "not known"),
                line(", ".join(finding["family"] for finding in findings if one["id"] in finding["against"]) or "–"),
            )
            for one in observed
        ],
    )


def _draw_calls(axes: Axes, observed: Sequence[Record], at_s: Mapping[str, float], limit: int, window_s: float) -> None:
    """Draw the number let in within one window as steps, the limit, and each call as a stroke."""
    let_in = sorted(at_s[one["id"]] for one in observed if one.get("admitted"))
    changes = sorted([(at, 1) for at in let_in] + [(at + window_s, -1) for at in let_in])
    levels, level = [], 0
    for _, step in changes:
        level += step
        levels.append(level)
    axes.step([at for at, _ in changes], levels, where="post", color=BLUE, linewidth=1.3, label="let in, in the window")
    axes.axhline(limit, color=RED, linewidth=1, linestyle=(0, (6, 3)))
    axes.annotate(
        f"limit {limit:,}", (1, limit), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
    )
    top = 1.75 * max([limit, *levels])
    for row, (word, colour) in enumerate((("let in", GREEN), ("refused", ORANGE), ("not known", GREY))):
        at = [at_s[one["id"]] for one in observed if _DECISIONS.get(one.get("admitted"), "not known") == word]
        if at:
            axes.vlines(at, top * (0.93 - 0.07 * row), top * (0.99 - 0.07 * row), color=colour, linewidth=1, label=word)
    axes.set_ylim(0, top)
    whole_numbers(axes.yaxis)
    axes.set_ylabel("calls")
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.8), ncols=4)


def _draw_lanes(axes: Axes, findings: Sequence[Record], at_s: Mapping[str, float]) -> None:
    """Draw a lane for each candidate: its figures if it is left, or else the calls that contradict it."""
    for row, one in enumerate(findings):
        if one["fits"]:
            axes.axhline(row, color=GREEN, linewidth=1.5)
            axes.annotate(
                label(f"not ruled out: {one['figures']}", 120),
                (0, row),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=8,
            )
        else:
            axes.axhline(row, color=GREY, linewidth=0.5)
            at = [at_s[name] for name in one["against"] if name in at_s]
            axes.plot(at, [row] * len(at), linestyle="none", marker="x", markersize=5, color=RED)
    axes.set_yticks(range(len(findings)), [label(one["family"]) for one in findings])
    axes.set_ylim(len(findings) - 0.5, -0.8)
    axes.grid(axis="y", visible=False)
