"""Latency against the insurance threshold, call by call, with what became of each; it decides nobody's payout."""

from __future__ import annotations

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

_DRAWN, _TOLD = 400, 24
_LOOKS = {"paid": (GREEN, "o"), "not_triggered": (BLUE, "s"), "not_eligible": (GREY, "^"), "pending": (ORANGE, "D")}


def latency_against_threshold(recording: Recording, marked: Marked) -> Figure | None:
    """Draw each insured call's latency by what the gateway's books say of it; the nearest to the threshold are told."""
    contract, calls = recording.contract, recording.calls
    if contract is None or calls.empty:
        return None
    threshold = contract.insurance.threshold_ms
    calls = calls[calls["insurance"] != ""].copy()
    if calls.empty:
        return None
    calls["latency"] = calls["insured_ms"].fillna(calls["latency_ms"])
    calls["distance"] = calls["latency"] - threshold
    calls["near"] = calls["distance"].abs()
    calls = calls.sort_values(["near", "id"], kind="stable")
    statuses = sorted(set(calls["insurance"]), key=lambda s: (list(_LOOKS).index(s) if s in _LOOKS else 9, s))
    made, (axes,) = canvas(0.75 + 0.42 * len(statuses), left=0.1)
    for row, status in enumerate(statuses):
        own = calls[calls["insurance"] == status].head(_DRAWN)
        colour, marker = _LOOKS.get(status, (RED, "X"))
        # Spread over a band, in a fixed order, so that equal latencies do not hide each other.
        spread = [row + 0.5 + ((n * 5) % 9 - 4) * 0.07 for n in range(len(own))]
        axes.plot(
            own["distance"], spread, linestyle="none", marker=marker, markersize=4, color=colour, alpha=0.75, mew=0
        )
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
    least, most = min(-1.0, float(calls["distance"].min())), max(1.0, float(calls["distance"].max()))
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(least * 2, most * 2)
    decades(axes.xaxis, least, most, signed=True)
    axes.axvline(0, color=RED, linewidth=1, linestyle=(0, (6, 3)))
    axes.annotate(
        f"threshold {threshold / 1e3:g} s",
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
    near = calls.head(_TOLD)[["id", "surface", "latency", "distance", "insurance", "booked", "paid"]]
    columns, rows = cells(
        near.rename(
            columns={
                "id": "call",
                "latency": "latency (ms)",
                "distance": "past the threshold (ms)",
                "booked": "charged",
                "paid": "compensated",
            }
        )
    )
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
