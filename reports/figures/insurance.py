"""Latency against the insurance threshold, call by call, with what became of each; it decides nobody's payout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Figure,
    Marked,
    canvas,
    cells,
    decades,
    finished,
    label,
)
from reports.histories import Recording
from reports.text import plural

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

_DRAWN, _TOLD = 400, 24
_LOOKS = {"paid": (GREEN, "o"), "not_triggered": (BLUE, "s"), "not_eligible": (GREY, "^"), "pending": (ORANGE, "D")}
_TABLE = {
    "id": "call",
    "surface": "surface",
    "latency": "latency (ms)",
    "distance": "past the threshold (ms)",
    "insurance": "insurance",
    "booked": "charged",
    "paid": "compensated",
}
"""What the table tells of a call, and under which heads."""


def latency_against_threshold(recording: Recording, marked: Marked) -> Figure | None:
    """Draw each insured call's latency by what the gateway's books say of it; the nearest to the threshold are told."""
    if recording.contract is None or recording.calls.empty:
        return None
    threshold = recording.contract.insurance.threshold_ms
    calls = _insured(recording.calls, threshold)
    if calls.empty:
        return None
    statuses = sorted(set(calls["insurance"]), key=lambda s: (list(_LOOKS).index(s) if s in _LOOKS else 9, s))
    made, (axes,) = canvas(0.75 + 0.42 * len(statuses), left=0.1)
    for row, status in enumerate(statuses):
        _draw_band(axes, row, status, calls[calls["insurance"] == status].head(_DRAWN), marked)
    _dress(axes, statuses, calls["distance"], threshold)
    columns, rows = cells(calls.head(_TOLD)[list(_TABLE)].rename(columns=_TABLE))
    count = plural(len(calls), "call")
    bad = sum(1 for call in calls["id"] if call in marked)
    ringed = f" Ringed: {plural(bad, 'call')} that a verdict names as broken." if bad else ""
    return Figure(
        finished(made, "insurance", f"Latency of {count} against the insurance threshold of {threshold} ms"),
        f"{count}: latency by the gateway's own count (by the caller's clock where it gives none) and what became of "
        f"the insurance. The table has the {min(len(calls), _TOLD)} calls nearest to the threshold.{ringed}",
        recording.title,
        columns,
        rows,
    )


def _insured(calls: pandas.DataFrame, threshold_ms: int) -> pandas.DataFrame:
    """Return the calls of which the books tell an insurance, with their latency, the nearest to the threshold first."""
    insured = calls[calls["insurance"] != ""].copy()
    insured["latency"] = insured["insured_ms"].fillna(insured["latency_ms"])
    insured["distance"] = insured["latency"] - threshold_ms
    insured["near"] = insured["distance"].abs()
    return insured.sort_values(["near", "id"], kind="stable")


def _draw_band(axes: Axes, row: int, status: str, own: pandas.DataFrame, marked: Marked) -> None:
    """Draw the calls of one status in a band of their own, and ring those that are marked."""
    colour, marker = _LOOKS.get(status, (RED, "X"))
    # Spread over the band, in a fixed order, so that equal latencies do not hide each other.
    spread = [row + 0.5 + ((n * 5) % 9 - 4) * 0.07 for n in range(len(own))]
    axes.plot(own["distance"], spread, linestyle="none", marker=marker, markersize=4, color=colour, alpha=0.75, mew=0)
    wrong = own["id"].isin(list(marked)).tolist()
    axes.plot(
        own["distance"][wrong],
        [at for at, bad in zip(spread, wrong, strict=True) if bad],
        linestyle="none",
        marker="o",
        markersize=9,
        mfc="none",
        mec=RED,
    )


def _dress(axes: Axes, statuses: list[str], distances: pandas.Series[float], threshold_ms: int) -> None:
    """Give the axes their scale, the threshold and their names."""
    least, most = min(-1.0, float(distances.min())), max(1.0, float(distances.max()))
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(least * 2, most * 2)
    decades(axes.xaxis, least, most, signed=True)
    axes.axvline(0, color=RED, linewidth=1, linestyle=(0, (6, 3)))
    axes.annotate(
        f"threshold {threshold_ms / 1e3:g} s",
        (0, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        va="top",
        fontsize=8,
    )
    axes.set_yticks([n + 0.5 for n in range(len(statuses))], [label(status) for status in statuses])
    axes.set_ylim(len(statuses), -0.25)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("milliseconds past the threshold (logarithmic on both sides)")
