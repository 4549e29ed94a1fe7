"""How long calls took, by surface, as their callers saw it; simulated upstreams are as slow as a scenario asks."""

from __future__ import annotations

from reports.figures.drawing import GREY, SERIES, Figure, Marked, canvas, cells, finished, label, plain_numbers
from reports.histories import Recording
from reports.text import plural

_POINTS, _LEAST = 120, 6


def latency_by_surface(recording: Recording, marked: Marked) -> Figure | None:
    """Draw the share of answered calls that took at most so long, per surface, streamed and not."""
    import numpy
    import pandas

    calls = recording.calls
    if calls.empty:
        return None
    calls = calls[(calls["outcome"] == "ok") & calls["arrived"].notna()].copy()
    if len(calls) < _LEAST:
        return None
    calls["first byte"] = (calls["first_byte"] - calls["sent"]) / 1e3
    calls["beside"] = (calls["end"] - calls["sent"] - calls["upstream_us"]) / 1e3
    made, (axes,) = canvas(2.9)
    rows = []
    colours = dict(zip(sorted(set(calls["surface"])), SERIES, strict=False))
    for (surface, stream), own in calls.groupby(["surface", "stream"], sort=True):
        kind = f"{surface}, streamed" if stream else str(surface)
        ordered = numpy.sort(own["latency_ms"].to_numpy())
        share = numpy.arange(1, len(ordered) + 1) / len(ordered)
        keep = numpy.unique(numpy.linspace(0, len(ordered) - 1, min(_POINTS, len(ordered))).round().astype(int))
        axes.step(
            ordered[keep],
            share[keep],
            where="post",
            color=colours.get(str(surface), GREY),
            linestyle="--" if stream else "-",
            linewidth=1.4,
            label=label(kind),
        )
        quantiles = own["latency_ms"].quantile([0.5, 0.95, 0.99], interpolation="higher").tolist()
        rows.append(
            {
                "surface": kind,
                "answered": len(own),
                "p50 (ms)": quantiles[0],
                "p95 (ms)": quantiles[1],
                "p99 (ms)": quantiles[2],
                "first byte p95 (ms)": float(own["first byte"].quantile(0.95, interpolation="higher")),
                "not at the upstream p95 (ms)": float(own["beside"].quantile(0.95, interpolation="higher")),
            }
        )
    axes.set_xscale("log")
    plain_numbers(axes.xaxis)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("latency of answered calls (ms)")
    axes.set_ylabel("share of calls")
    axes.legend(loc="best")
    columns, table = cells(pandas.DataFrame(rows))
    mode = recording.history.plan.mode
    note = (
        " Time is virtual: what is not the upstream's own is what the scenario makes of waiting and failover."
        if mode == "sim"
        else ""
    )
    return Figure(
        finished(made, "latency", f"Share of {plural(len(calls), 'answered call')} by latency, per surface"),
        f"Share of {plural(len(calls), 'answered call')} that took at most so long, as their callers saw it.{note}",
        recording.title,
        columns,
        table,
    )
