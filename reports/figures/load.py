"""The figures of a load: rates, latencies, what was in flight, tokens, lateness, saturation; drawn, not judged."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import TYPE_CHECKING, Any

from harness.contract import Limits
from reports.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    VIOLET,
    Figure,
    canvas,
    cells,
    finished,
    plain_numbers,
    styled,
    whole_numbers,
)
from reports.load_rows import Rows

if TYPE_CHECKING:
    import numpy
    import pandas

_BINS = 60
_TABLE_ROWS = 60
QUANTILES = (0.5, 0.95, 0.99)

Draw = Callable[[Rows], "Figure | None"]


def draw_load(rows: Rows) -> dict[str, Figure | None]:
    """Draw every figure of a load by name; None where it has nothing to show."""
    with styled():
        return {name: draw(rows) for name, (_, draw) in FIGURES.items()}


def bin_s(rows: Rows) -> float:
    """Return the width of a stretch of time: a second, or less for a load that is over sooner."""
    length_s = max(float(rows.load["length_ms"]) / 1e3, 1e-3)
    return min(1.0, length_s / _BINS) if length_s < 10 * _BINS else length_s / _BINS / 10


def per_bin(rows: Rows) -> pandas.DataFrame:
    """Return, per stretch of time, calls planned, sent, admitted, refused and failed a second, and latencies (ms)."""
    import pandas

    width, calls = bin_s(rows), rows.calls
    sent = calls[calls["sent_us"].notna()]
    planned = _counted(calls["planned_us"], width) / width
    table = pandas.DataFrame({"planned": planned})
    table["sent"] = _counted(sent["sent_us"], width) / width
    table["admitted"] = _counted(sent.loc[sent["upstream_us"].notna(), "sent_us"], width) / width
    table["refused"] = _counted(sent.loc[sent["outcome"] == "refused", "sent_us"], width) / width
    failed = sent["outcome"].isin(["error", "cut", "open"])
    table["failed"] = _counted(sent.loc[failed, "sent_us"], width) / width
    table = table.fillna(0.0).sort_index()
    ok = sent[sent["outcome"] == "ok"]
    place = _place(ok["planned_us"], width)
    latency = ((ok["end_us"] - ok["planned_us"]) / 1e3).astype(float)
    streams = ok["stream"] & ok["first_content_us"].notna()
    ttft = ((ok["first_content_us"] - ok["planned_us"]) / 1e3)[streams].astype(float)
    late = ((sent["sent_us"] - sent["planned_us"]) / 1e3).clip(lower=0).astype(float)
    for quantile in QUANTILES:
        name = f"p{quantile * 100:g}"
        table[f"latency {name}"] = latency.groupby(place).quantile(quantile)
        table[f"TTFT {name}"] = ttft.groupby(place[streams]).quantile(quantile)
    table["late p99"] = late.groupby(_place(sent["planned_us"], width)).quantile(0.99)
    table["late most"] = late.groupby(_place(sent["planned_us"], width)).max()
    table.index = table.index.astype(float) * width
    table.index.name = "second"
    return table


def _place(instants: pandas.Series[Any], width: float) -> pandas.Series[Any]:
    placed: pandas.Series[Any] = (instants.astype(float) / 1e6 // width).astype(int)
    return placed


def _counted(instants: pandas.Series[Any], width: float) -> pandas.Series[Any]:
    return _place(instants, width).value_counts().astype(float)


def loaded(rows: Rows) -> Limits:
    """Return the limits of what most calls asked for: those of text, or those of images."""
    contract = rows.contract
    most = rows.calls["model"].mode()
    model = None if most.empty else contract.model("enterprise", str(most[0]))
    return contract.text if model is None else contract.limits(model)


def rates(rows: Rows) -> Figure | None:
    """Draw planned, sent, admitted and refused calls a second over time."""
    table = per_bin(rows)
    limits = loaded(rows)
    made, (axes,) = canvas(2.9)
    for name, colour, style in (
        ("planned", GREY, "-"), ("sent", BLUE, "-"), ("admitted", GREEN, "--"), ("refused", ORANGE, "-"),
        ("failed", RED, "-"),
    ):  # fmt: skip
        if table[name].any():
            axes.step(table.index, table[name], where="post", color=colour, linestyle=style, linewidth=1.2, label=name)
    ceiling = limits.requests / limits.window_ms * 1000
    if table["planned"].max() > ceiling / 20:
        axes.axhline(ceiling, color=RED, linewidth=1, linestyle=(0, (6, 3)), label=f"ceiling {ceiling:,.0f}/s")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.15)  # room for the legend
    axes.set_ylabel("calls a second")
    axes.set_xlabel("seconds of the run")
    axes.legend(loc="upper right", ncols=6)
    shown = table[["planned", "sent", "admitted", "refused", "failed"]].round(1).reset_index()
    return _figure(made, "rates", "Calls planned, sent, admitted (seen by an upstream) and refused, by second.", shown)


def latencies(rows: Rows) -> Figure | None:
    """Draw percentiles over time of whole answers and of first tokens, from the scheduled time on."""
    table = per_bin(rows)
    if table["latency p50"].isna().all():
        return None
    streams = not table["TTFT p50"].isna().all()
    made, stacked = canvas(4.2 if streams else 2.9, (1, 1) if streams else (1,))
    for axes, what in zip(stacked, ("latency", "TTFT"), strict=False):
        for name, colour in (("p50", BLUE), ("p95", ORANGE), ("p99", RED)):
            axes.plot(table.index, table[f"{what} {name}"], color=colour, linewidth=1.2, label=name)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(f"{'end to end' if what == 'latency' else 'first token'} (ms)")
    stacked[0].legend(loc="upper right", ncols=3)
    stacked[-1].set_xlabel("seconds of the run")
    names = [name for name in table.columns if name.startswith("latency") or (streams and name.startswith("TTFT"))]
    caption = "Percentiles of whole answers by the second in which they were due, from the scheduled time on."
    return _figure(made, "latencies", caption, table[names].round(2).reset_index())


def distribution(rows: Rows) -> Figure | None:
    """Draw the share of answered calls that took at most so long, from the schedule and from the send."""
    import numpy
    import pandas

    ok = rows.calls[rows.calls["outcome"] == "ok"]
    if ok.empty:
        return None
    found = {
        "from the scheduled time": (ok["end_us"] - ok["planned_us"]) / 1e3,
        "from the send": (ok["end_us"] - ok["sent_us"]) / 1e3,
        "first token, from the schedule": ((ok["first_content_us"] - ok["planned_us"]) / 1e3)[ok["stream"]],
        "until the upstream was reached": (ok["upstream_us"] - ok["sent_us"]) / 1e3,
    }
    made, (axes,) = canvas(2.9)
    told: list[dict[str, Any]] = []
    for (name, values), colour in zip(found.items(), (BLUE, GREEN, ORANGE, VIOLET), strict=True):
        ordered = numpy.sort(values.dropna().astype(float).to_numpy())
        if not len(ordered):
            continue
        keep = numpy.unique(numpy.linspace(0, len(ordered) - 1, min(200, len(ordered))).round().astype(int))
        axes.step(ordered[keep].clip(min=0.05), (keep + 1) / len(ordered), where="post", color=colour, label=name)
        told.append({"measured": name, "calls": len(ordered), **_told_quantiles(ordered)})
    axes.set_xscale("log")
    plain_numbers(axes.xaxis)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("ms")
    axes.set_ylabel("share of answered calls")
    axes.legend(loc="best")
    caption = "Latency of answered calls: from the scheduled time, as a caller waits; from the send; to the upstream."
    return _figure(made, "distribution", caption, pandas.DataFrame(told))


def _told_quantiles(ordered: numpy.ndarray[Any, Any]) -> dict[str, float]:
    import numpy

    found = {f"p{share * 100:g} (ms)": float(numpy.quantile(ordered, share)) for share in (*QUANTILES, 0.999)}
    return {name: round(value, 2) for name, value in {**found, "most (ms)": float(ordered[-1])}.items()}


def in_flight(rows: Rows) -> Figure | None:
    """Draw how many attempts of each model were in flight at once, against its slots."""
    import numpy
    import pandas

    if rows.attempts.empty:
        return None
    made, (axes,) = canvas(2.6)
    told: list[dict[str, Any]] = []
    groups = sorted(rows.attempts.groupby("model"), key=lambda group: -len(group[1]))[:3]
    cap = loaded(rows).concurrency
    for (name, own), colour in zip(groups, (BLUE, GREEN, VIOLET), strict=False):
        instants = numpy.concatenate([own["start_us"].to_numpy(), own["attached_us"].to_numpy()])
        steps = numpy.repeat([1, -1], len(own))
        order = numpy.lexsort((steps, instants))
        levels, instants = steps[order].cumsum(), instants[order]
        edges = numpy.arange(0, instants[-1] + 1e5, bin_s(rows) * 1e6)
        most = [levels[(instants >= a) & (instants < a + bin_s(rows) * 1e6)].max(initial=0) for a in edges]
        axes.step(edges / 1e6, most, where="post", color=colour, linewidth=1.2, label=str(name))
        told.append({"model": name, "attempts": len(own), "peak in flight": int(levels.max()), "cap": cap})
    peak = max(one["peak in flight"] for one in told)
    if cap < 20 * peak:
        axes.axhline(cap, color=RED, linewidth=1, linestyle=(0, (6, 3)), label=f"cap {cap:,}")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.15)
    whole_numbers(axes.yaxis)
    axes.set_ylabel("in flight, most")
    axes.set_xlabel("seconds of the run")
    axes.legend(loc="upper right", ncols=4)
    caption = f"Attempts in flight at the upstreams, the most of each stretch: peak {peak:,}, cap {cap:,}."
    return _figure(made, "flying", caption, pandas.DataFrame(told))


def windows(rows: Rows) -> Figure | None:
    """Draw what the sliding window held of requests, of tokens and of images, against the ceilings."""
    import numpy
    import pandas

    limits = loaded(rows)
    calls = rows.calls[rows.calls["upstream_us"].notna()]
    if calls.empty:
        return None
    ceilings = {"requests": limits.requests, "tokens": limits.tokens}
    if limits.images is not None and calls["images"].any():
        ceilings["images"] = limits.images
    made, stacked = canvas(2.0 * len(ceilings), (1,) * len(ceilings), left=0.09)
    told: list[dict[str, Any]] = []
    for (account, model), own in calls.groupby(["account", "model"], sort=True):
        own = own.sort_values("upstream_us", kind="stable")
        arrived = own["upstream_us"].to_numpy(dtype="int64")
        instants = numpy.concatenate([arrived, arrived + limits.window_ms * 1000])
        inner = numpy.lexsort((numpy.repeat([1, 0], len(arrived)), instants))
        row: dict[str, Any] = {"account": account, "model": model}
        for axes, (name, limit) in zip(stacked, ceilings.items(), strict=True):
            units = 1 if name == "requests" else own[name].fillna(0).to_numpy(dtype="int64")
            units = numpy.broadcast_to(units, len(arrived))
            held = numpy.concatenate([units, -units])[inner].cumsum()
            keep = numpy.unique(numpy.linspace(0, len(inner) - 1, min(400, len(inner))).round().astype(int))
            keep = numpy.union1d(keep, [held.argmax()])
            axes.step(instants[inner][keep] / 1e6, held[keep], where="post", label=f"{account}, {model}", linewidth=1.2)
            row |= {name: int(units.sum()), f"most {name} in one window": int(held.max()), f"of {name}": limit}
        told.append(row)
    for axes, (name, limit) in zip(stacked, ceilings.items(), strict=True):
        axes.axhline(limit, color=RED, linewidth=1, linestyle=(0, (6, 3)))
        axes.set_ylim(0, limit * 1.15 if axes.get_ylim()[1] > limit / 10 else None)
        axes.set_ylabel(f"{name} in the window")
        whole_numbers(axes.yaxis)
    stacked[0].legend(loc="upper left", ncols=2)
    stacked[-1].set_xlabel("seconds of the run")
    most = ", ".join(f"{limit:,} {name}" for name, limit in ceilings.items())
    caption = (
        f"What arrived at the upstreams within {limits.window_ms / 1e3:g} s, against {most}. "
        "The checkers judge by intervals; a line at the ceiling proves nothing by itself."
    )
    return _figure(made, "windows", caption, pandas.DataFrame(told))


def lateness(rows: Rows) -> Figure | None:
    """Draw how late the generator sent its calls, over time, against its bound."""
    table = per_bin(rows)
    if table["late p99"].isna().all():
        return None
    made, (axes,) = canvas(2.4)
    axes.plot(table.index, table["late most"], color=GREY, linewidth=1, label="most")
    axes.plot(table.index, table["late p99"], color=BLUE, linewidth=1.3, label="p99 of the stretch")
    bound_us = rows.load["bound_us"]
    if bound_us is not None:
        label = f"bound {bound_us / 1e3:g} ms, for p99 of all"
        axes.axhline(bound_us / 1e3, color=RED, linewidth=1, linestyle=(0, (6, 3)), label=label)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("late (ms)")
    axes.set_xlabel("seconds of the run")
    axes.legend(loc="upper right", ncols=3)
    caption = "How much later than planned calls were sent: the generator's own, no gateway's."
    return _figure(made, "lateness", caption, table[["late p99", "late most"]].round(2).reset_index())


def memory(rows: Rows) -> Figure | None:
    """Draw what each process had in memory, over time."""
    if rows.memory.empty:
        return None
    table = rows.memory.pivot(index="second", columns="process", values="resident_mb")
    made, (axes,) = canvas(2.6)
    for name, colour in zip(table.columns, cycle((BLUE, GREEN, ORANGE, VIOLET, GREY)), strict=False):
        axes.plot(table.index, table[name], color=colour, linewidth=1.2, label=str(name))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.15)
    axes.set_ylabel("resident (MB)")
    axes.set_xlabel("seconds of the run")
    axes.legend(loc="upper right", ncols=4)
    caption = "Resident memory of each process, with all below it; what two of them share is counted twice."
    return _figure(made, "memory", caption, table.reset_index())


def per_step(rows: Rows) -> list[dict[str, Any]]:
    """Return of each step of a staircase what was asked, what was answered within a second of its end, how fast."""
    told: list[dict[str, Any]] = []
    for step in rows.load["steps"]:
        due = rows.calls["planned_us"].between(step["from_ms"] * 1e3, step["to_ms"] * 1e3, inclusive="left")
        own = rows.calls[due]
        ok = own[own["outcome"] == "ok"]
        span_s = (step["to_ms"] - step["from_ms"]) / 1e3
        in_time = ok[ok["end_us"] < step["to_ms"] * 1e3 + 1e6]
        latency = ((ok["end_us"] - ok["planned_us"]) / 1e3).astype(float)
        late = ((own["sent_us"] - own["planned_us"]) / 1e3).dropna().astype(float)
        told.append(
            {
                "asked a second": round(step["rate"], 1),
                "answered a second": round(len(in_time) / span_s, 1),
                "not ok": len(own) - len(ok),
                "p50 (ms)": round(float(latency.quantile(0.5)), 2) if len(ok) else None,
                "p99 (ms)": round(float(latency.quantile(0.99)), 2) if len(ok) else None,
                "generator late p99 (ms)": round(float(late.quantile(0.99)), 2) if len(late) else None,
            }
        )
    return told


def saturation(rows: Rows) -> Figure | None:
    """Draw, for each step of a staircase, what was asked against what was answered, and how long that took."""
    import pandas

    told = per_step(rows)
    if not told:
        return None
    frame = pandas.DataFrame(told)
    made, stacked = canvas(4.0, (1, 1))
    top, below = stacked
    top.plot(frame["asked a second"], frame["asked a second"], color=GREY, linewidth=1, linestyle="--", label="asked")
    top.plot(frame["asked a second"], frame["answered a second"], color=BLUE, marker="o", label="answered")
    top.set_ylabel("answered a second")
    top.legend(loc="upper left", ncols=2)
    for name, colour in (("p50 (ms)", BLUE), ("p99 (ms)", RED), ("generator late p99 (ms)", GREY)):
        below.plot(frame["asked a second"], frame[name], color=colour, marker="o", label=name)
    below.set_yscale("log")
    plain_numbers(below.yaxis)
    below.set_ylabel("ms")
    below.set_xlabel("calls asked a second")
    below.legend(loc="center left", ncols=3)
    caption = "Each step: answered within a second of its end, against asked. Where the two part, it is full."
    return _figure(made, "saturation", caption, frame)


def _figure(made: Any, name: str, caption: str, frame: pandas.DataFrame) -> Figure:
    columns, rows = cells(frame.head(_TABLE_ROWS))
    return Figure(finished(made, f"load-{name}", caption), caption, "", columns, rows)


FIGURES: dict[str, tuple[str, Draw]] = {
    "rates": ("Calls a second", rates),
    "latencies": ("Latency over time", latencies),
    "distribution": ("Latency", distribution),
    "windows": ("The windows against the ceilings", windows),
    "in_flight": ("In flight against the cap", in_flight),
    "lateness": ("Lateness of the generator", lateness),
    "memory": ("Memory", memory),
    "saturation": ("Saturation", saturation),
}
"""Title and function of each figure, in the order of the page."""
