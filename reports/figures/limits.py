"""Calls in flight against the slots, and admitted calls of each window against its ceiling; what is drawn, not judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.figures.drawing import LINES, ORANGE, RED, SERIES, Figure, Marked, canvas, cells, finished, label
from reports.histories import Recording
from reports.text import plural

if TYPE_CHECKING:
    import numpy

_POINTS = 400
_MODELS, _WINDOWS = 3, 3


def in_flight_against_cap(recording: Recording, marked: Marked) -> Figure | None:
    """Draw how many attempts of the busiest models were certainly in flight at once, from the upstreams' journal."""
    import pandas

    contract, attempts = recording.contract, recording.attempts
    if contract is None or attempts.empty:
        return None
    attempts = attempts[attempts["tier"] == "managed"]
    rows = []
    for name, own in attempts.groupby("model", sort=True):
        model = contract.model("enterprise", str(name))
        if model is not None:
            instants, levels = _levels(own)
            rows.append((str(name), contract.limits(model).concurrency, instants, levels, len(own)))
    rows.sort(key=lambda row: (-row[3].max() / row[1], row[0]))
    if not rows:
        return None
    made, (axes,) = canvas(2.3)
    for (name, _, instants, levels, _), line, colour in zip(rows[:_MODELS], LINES, SERIES, strict=False):
        x, y = _thinned(instants, levels)
        axes.step(x / 1e6, y, where="post", color=colour, linestyle=line, linewidth=1.2, label=label(name))
    for cap in sorted({row[1] for row in rows[:_MODELS]}):
        axes.axhline(cap, color=RED, linewidth=1, linestyle=(0, (6, 3)))
        axes.annotate(
            f"cap {cap:,}", (1, cap), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
        )
    axes.set_ylim(0, max(max(row[1] for row in rows[:_MODELS]), max(row[3].max() for row in rows)) * 1.18)
    axes.set_xlabel("seconds of the run")
    axes.set_ylabel("attempts in flight")
    axes.legend(loc="upper left", ncols=_MODELS)
    columns, table = cells(
        pandas.DataFrame(
            [
                {
                    "model": name,
                    "attempts": count,
                    "peak in flight": int(levels.max()),
                    "cap": cap,
                    "peak at (s)": float(instants[levels.argmax()] / 1e6),
                }
                for name, cap, instants, levels, count in rows
            ]
        )
    )
    name, cap, _, levels, _ = rows[0]
    return Figure(
        finished(made, "inflight", f"Attempts in flight over time; peak {levels.max()} of {name}, cap {cap}"),
        "Attempts certainly in flight at the upstreams (from their journal: arrival to the last instant attached) "
        f"against the slots of their model. Peak {int(levels.max()):,} of {cap:,} for {label(name)}.",
        recording.title,
        columns,
        table,
    )


def _levels(own: object) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the instants at which the number in flight changes, and the number from each on."""
    import numpy
    import pandas

    assert isinstance(own, pandas.DataFrame)
    starts, ends = own["start"].to_numpy(), own["attached"].to_numpy()
    instants = numpy.concatenate([starts, ends])
    steps = numpy.concatenate([numpy.ones(len(starts), int), -numpy.ones(len(ends), int)])
    order = numpy.lexsort((steps, instants))  # who leaves at an instant is gone before who arrives at it
    return instants[order], steps[order].cumsum()


def _thinned(instants: numpy.ndarray, levels: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return at most a few hundred points of a step line: of each stretch of time its highest one."""
    import numpy

    if len(instants) <= _POINTS:
        return instants, levels
    edges = numpy.linspace(instants[0], instants[-1], _POINTS + 1)
    bins = numpy.clip(numpy.searchsorted(edges, instants, side="right") - 1, 0, _POINTS - 1)
    highest = numpy.full(_POINTS, -1)
    numpy.maximum.at(highest, bins, levels)
    # A stretch without a change stands where the last change left it.
    last = levels[numpy.clip(numpy.searchsorted(instants, edges[:-1], side="right") - 1, 0, None)]
    return edges[:-1], numpy.where(highest < 0, last, highest)


def admitted_against_ceiling(recording: Recording, marked: Marked) -> Figure | None:
    """Draw how many calls each sliding window admitted, per account and model (general tier: per account)."""
    import numpy
    import pandas

    contract, calls = recording.contract, recording.calls
    if contract is None or calls.empty or not calls["arrived"].notna().any():
        return None
    pools: list[tuple[str, int, int, numpy.ndarray, int]] = []
    for keys, own in calls.groupby(["tier", "account", "model"], sort=True):
        tier, account, name = (str(key) for key in keys)
        model = contract.model("enterprise", name) if tier == "managed" else None
        if model is not None:
            limits = contract.limits(model)
            pools.append(_pool(f"{account} / {name}", limits.requests, limits.window_ms, own))
    for account, own in calls[calls["tier"] == "general"].groupby("account", sort=True):
        pools.append(_pool(f"{account} (general)", contract.user_rate.requests, contract.user_rate.window_ms, own))
    pools = sorted((pool for pool in pools if len(pool[3])), key=lambda pool: (-len(pool[3]) / pool[1], pool[0]))
    if not pools:
        return None
    made, (axes,) = canvas(2.3)
    rows = []
    for number, (name, limit, window_us, instants, refused) in enumerate(pools):
        counts = numpy.arange(1, len(instants) + 1) - numpy.searchsorted(instants, instants - window_us, side="right")
        peak = int(counts.argmax())
        rows.append(
            {
                "account / model": name,
                "admitted": len(instants),
                "refused 429": refused,
                "window (s)": window_us / 1e6,
                "most in one window": int(counts[peak]),
                "ceiling": limit,
                "window ends at (s)": float(instants[peak] / 1e6),
            }
        )
        if number < _WINDOWS:
            x, y = _thinned(instants, counts)
            axes.step(
                x / 1e6,
                y,
                where="post",
                color=SERIES[number],
                linestyle=LINES[number],
                linewidth=1.2,
                marker="." if len(x) < 3 else None,
                label=label(name),
            )
    for limit in sorted({pool[1] for pool in pools[:_WINDOWS]}):
        axes.axhline(limit, color=RED, linewidth=1, linestyle=(0, (6, 3)))
        axes.annotate(
            f"ceiling {limit:,}", (1, limit), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
        )
    refused_at = calls[(calls["status"] == 429)]["sent"].to_numpy() / 1e6
    if len(refused_at):
        bins = numpy.unique(numpy.round(refused_at, 2))
        bins = bins[:: 1 + len(bins) // 200]
        axes.vlines(bins, 0, 0.05, transform=axes.get_xaxis_transform(), color=ORANGE, linewidth=1, label="refused 429")
    axes.set_ylim(0, max(max(pool[1] for pool in pools[:_WINDOWS]), max(row["most in one window"] for row in rows)) * 1.18)  # type: ignore[type-var]
    axes.set_xlabel("seconds of the run")
    axes.set_ylabel("admitted in the window")
    axes.legend(loc="lower right", ncols=2)
    columns, table = cells(pandas.DataFrame(rows))
    top = rows[0]
    return Figure(
        finished(made, "admitted", f"Calls admitted per sliding window; most {top['most in one window']} of {pools[0][1]}"),
        "Calls that reached an upstream in the window that ends at each instant, against the contract's ceiling. The "
        "instant is that of the first arrival upstream, so a step near the line is not yet a proof; the verdict is the "
        f"checkers'. {plural(len(refused_at), 'call')} answered 429.",
        recording.title,
        columns,
        table,
    )


def _pool(name: str, limit: int, window_ms: int, own: object) -> tuple[str, int, int, numpy.ndarray, int]:
    import numpy
    import pandas

    assert isinstance(own, pandas.DataFrame)
    instants = numpy.sort(own["arrived"].dropna().to_numpy().astype(int))
    return name, limit, window_ms * 1000, instants, int((own["status"] == 429).sum())

