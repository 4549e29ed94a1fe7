"""Calls in flight against the slots, and calls admitted per window against the ceiling: drawn, not judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.figures.drawing import (
    LINES,
    ORANGE,
    RED,
    SERIES,
    Figure,
    Marked,
    canvas,
    cells,
    finished,
    label,
    whole_numbers,
)
from reports.histories import Recording
from reports.text import plural

if TYPE_CHECKING:
    import numpy
    import pandas
    from matplotlib.axes import Axes

_POINTS = 400
_SHOWN = 3
"""How many models or accounts are drawn: those nearest to their limit; the table has all."""


@dataclass(frozen=True)
class _Steps:
    """A number that changes at instants (µs), and the limit that it is held against."""

    name: str
    limit: int
    instants: numpy.ndarray[Any, Any]
    levels: numpy.ndarray[Any, Any]
    told: dict[str, Any]

    @property
    def peak(self) -> int:
        return int(self.levels.max())

    @property
    def peak_s(self) -> float:
        return float(self.instants[self.levels.argmax()] / 1e6)


def in_flight_against_cap(recording: Recording, marked: Marked) -> Figure | None:
    """Draw how many attempts of the busiest models were certainly in flight at once, from the upstreams' journal."""
    import pandas

    contract, attempts = recording.contract, recording.attempts
    if contract is None or attempts.empty:
        return None
    found = []
    for key, own in attempts[attempts["tier"] == "managed"].groupby("model", sort=True):
        model = contract.model("enterprise", str(key))
        if model is not None:
            instants, levels = _in_flight(own)
            found.append(_Steps(str(key), contract.limits(model).concurrency, instants, levels, {"attempts": len(own)}))
    steps = _nearest_first(found)
    if not steps:
        return None
    made, (axes,) = canvas(2.6)
    _draw(axes, steps, "cap")
    axes.set_ylabel("attempts in flight")
    axes.legend(loc="upper left", ncols=_SHOWN)
    columns, rows = cells(
        pandas.DataFrame(
            [
                {"model": s.name, **s.told, "peak in flight": s.peak, "cap": s.limit, "peak at (s)": s.peak_s}
                for s in steps
            ]
        )
    )
    top = steps[0]
    return Figure(
        finished(made, "inflight", f"Attempts in flight over time; peak {top.peak} of {top.name}, cap {top.limit}"),
        "Attempts certainly in flight at the upstreams (from their journal: arrival to the last instant attached) "
        f"against the slots of their model. Peak {top.peak:,} of {top.limit:,} for {label(top.name)}.",
        recording.title,
        columns,
        rows,
    )


def admitted_against_ceiling(recording: Recording, marked: Marked) -> Figure | None:
    """Draw how many calls each sliding window admitted, per account and model (general tier: per account)."""
    import numpy
    import pandas

    contract, calls = recording.contract, recording.calls
    if contract is None or calls.empty:
        return None
    found = []
    for (account, name), own in calls[calls["tier"] == "managed"].groupby(["account", "model"], sort=True):
        model = contract.model("enterprise", str(name))
        if model is not None:
            limits = contract.limits(model)
            found.append(_admitted(f"{account}, {name}", limits.requests, limits.window_ms, own))
    for user, own in calls[calls["tier"] == "general"].groupby("account", sort=True):
        rate = contract.user_rate
        found.append(_admitted(f"{user}, general", rate.requests, rate.window_ms, own))
    steps = _nearest_first(one for one in found if len(one.instants))
    if not steps:
        return None
    made, (axes,) = canvas(2.6)
    _draw(axes, steps, "ceiling")
    refused = calls[calls["status"] == 429]
    if len(refused):
        ticks = numpy.unique((refused["sent"].to_numpy() / 1e6).round(2))
        axes.vlines(
            ticks[:: 1 + len(ticks) // 200], 0, 0.05, transform=axes.get_xaxis_transform(), color=ORANGE, linewidth=1,
            label="answered 429",
        )  # fmt: skip
    axes.set_ylabel("admitted in the window")
    axes.legend(loc="upper left", ncols=_SHOWN + 1)
    columns, rows = cells(
        pandas.DataFrame(
            [
                {
                    "account, model": s.name,
                    **s.told,
                    "most in one window": s.peak,
                    "ceiling": s.limit,
                    "window ends at (s)": s.peak_s,
                }
                for s in steps
            ]
        )
    )
    top = steps[0]
    return Figure(
        finished(made, "admitted", f"Calls admitted per sliding window; most {top.peak} of {top.limit}"),
        "Calls that reached an upstream in the window that ends at each instant, against the contract's ceiling: "
        f"{top.peak:,} of {top.limit:,} for {label(top.name)}. The instants are those of first arrival upstream, so a "
        f"line at the ceiling proves nothing by itself: the checkers do. {plural(len(refused), 'call')} answered 429.",
        recording.title,
        columns,
        rows,
    )


def _in_flight(own: pandas.DataFrame) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
    """Return the instants at which the number in flight changes, and the number from each on."""
    import numpy

    instants = numpy.concatenate([own["start"].to_numpy(), own["attached"].to_numpy()])
    steps = numpy.repeat([1, -1], len(own))
    order = numpy.lexsort((steps, instants))  # who leaves at an instant is gone before who arrives at it
    return instants[order], steps[order].cumsum()


def _admitted(name: str, limit: int, window_ms: int, own: pandas.DataFrame) -> _Steps:
    """Return how many calls the window that ends at each arrival upstream holds; it empties as the log slides on."""
    import numpy

    arrived = numpy.sort(own["arrived"].dropna().to_numpy().astype("int64"))
    instants = numpy.concatenate([arrived, arrived + window_ms * 1000])
    steps = numpy.repeat([1, -1], len(arrived))
    order = numpy.lexsort((steps, instants))
    told = {"reached an upstream": len(arrived), "answered 429": int((own["status"] == 429).sum())}
    return _Steps(name, limit, instants[order], steps[order].cumsum(), {**told, "window (s)": window_ms / 1e3})


def _nearest_first(steps: Iterable[_Steps]) -> list[_Steps]:
    return sorted(steps, key=lambda one: (-one.peak / max(one.limit, 1), one.name))


def _draw(axes: Axes, steps: list[_Steps], word: str) -> None:
    """Draw the lines nearest to their limits, and the limits."""
    shown = steps[:_SHOWN]
    for one, style, colour in zip(shown, LINES, SERIES, strict=False):
        x, y = _thinned(one.instants, one.levels)
        axes.step(x / 1e6, y, where="post", color=colour, linestyle=style, linewidth=1.3, label=label(one.name))
    for limit in sorted({one.limit for one in shown}):
        axes.axhline(limit, color=RED, linewidth=1, linestyle=(0, (6, 3)))
        axes.annotate(
            f"{word} {limit:,}", (1, limit), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
        )
    top = max(max(one.limit, one.peak) for one in shown)
    axes.set_ylim(0, top * 1.3)
    whole_numbers(axes.yaxis)
    axes.set_xlabel("seconds of the run")


def _thinned(
    instants: numpy.ndarray[Any, Any], levels: numpy.ndarray[Any, Any]
) -> tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]:
    """Return at most a few hundred points of a step line: of each stretch of time its highest one."""
    import numpy

    if len(instants) <= _POINTS:
        return instants, levels
    edges = numpy.linspace(instants[0], instants[-1], _POINTS + 1)
    stretch = numpy.clip(numpy.searchsorted(edges, instants, side="right") - 1, 0, _POINTS - 1)
    # A stretch starts where the last change before it left off.
    highest = levels[numpy.clip(numpy.searchsorted(instants, edges[:-1], side="right") - 1, 0, None)].copy()
    numpy.maximum.at(highest, stretch, levels)
    return edges[:-1], highest
