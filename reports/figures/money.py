"""What was charged, call by call, and what answers told of it; what it should have been is the record's to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.figures.drawing import GREY, RED, SERIES, Figure, Marked, canvas, cells, decades, finished, label
from reports.histories import Recording
from reports.text import plural

if TYPE_CHECKING:
    import pandas

_MODELS, _DRAWN, _NAMED = 5, 400, 12
_MARKERS = ("o", "s", "^", "D", "v")


def charged_and_recomputed(recording: Recording, marked: Marked) -> Figure | None:
    """Draw the credits charged for each call and how far the books are from what the answer told; ring broken ones."""
    import pandas

    calls = recording.calls
    if calls.empty:
        return None
    calls = calls.assign(charged=calls["booked"].fillna(calls["told"]), off=calls["booked"] - calls["told"])
    calls = calls[calls["charged"].notna()].reset_index(drop=True)
    if calls.empty:
        return None
    broken = calls["id"].isin(list(marked))
    shown = pandas.concat([calls[broken].head(_DRAWN), calls[~broken].iloc[:: 1 + len(calls) // _DRAWN]])
    made, (charged, off) = canvas(4.0, (2.4, 1))
    busiest = list(calls["model"].value_counts().index[:_MODELS])
    for model, colour, marker in zip(busiest, SERIES, _MARKERS, strict=False):
        own = shown[shown["model"] == model]
        charged.plot(
            own.index, own["charged"], linestyle="none", marker=marker, markersize=4, color=colour, alpha=0.85, mew=0,
            label=label(model),
        )  # fmt: skip
    others = shown[~shown["model"].isin(busiest)]
    if len(others):
        charged.plot(others.index, others["charged"], linestyle="none", marker=".", color=GREY, label="other models")
    ringed = shown[shown["id"].isin(list(marked))]
    for axes, column in ((charged, "charged"), (off, "off")):
        axes.plot(ringed.index, ringed[column], linestyle="none", marker="o", markersize=9, mfc="none", mec=RED)
    dearest = max(10.0, float(calls["charged"].max()))
    charged.set_yscale("symlog", linthresh=1)
    charged.set_ylim(-0.2, dearest * 12)
    decades(charged.yaxis, 0, dearest)
    charged.set_ylabel("credits charged")
    charged.legend(loc="upper left", ncols=6, handletextpad=0.1, columnspacing=1)
    off.vlines(shown.index, 0, shown["off"].fillna(0), color=RED, linewidth=1.4)
    off.axhline(0, color=GREY, linewidth=1)
    reach = max(1.0, float(calls["off"].abs().max())) if calls["off"].notna().any() else 1.0
    off.set_ylim(-reach * 1.3, reach * 1.3)
    off.set_ylabel("booked − told")
    off.set_xlabel("charged calls, in the order they were sent")
    columns, rows = _table(calls, marked)
    found = int(broken.sum())
    told = (
        f"{plural(found, 'call')} broke a promise and is ringed" if found == 1 else f"{found} broke one and are ringed"
    )
    return Figure(
        finished(made, "charged", f"Credits charged for {plural(len(calls), 'call')}, and booked minus told"),
        f"Credits charged for each of {plural(len(calls), 'call')} (above), and how far the books are from what the "
        "answer told its caller (below: flat is right). The checkers recomputed every charge from the upstream's "
        f"usage and the contract's prices: {told if found else 'no call here broke a promise'}.",
        recording.title,
        columns,
        rows,
    )


def _table(calls: pandas.DataFrame, marked: Marked) -> tuple[list[str], list[list[str]]]:
    """Return totals per model, and below them the broken calls with what the record expected of them."""
    totals = calls.groupby("model", sort=True).agg(
        calls=("id", "count"), tokens=("tokens", "sum"), booked=("booked", "sum"), told=("told", "sum"),
        logged=("logged", "sum"),
    )  # fmt: skip
    totals["booked − told"] = calls.groupby("model", sort=True)["off"].sum()
    columns, rows = cells(totals.reset_index())
    columns.append("recomputed")
    for row in rows:
        row.append("")
    for call in calls[calls["id"].isin(list(marked))].head(_NAMED).to_dict("records"):
        _, single = cells(
            calls[calls["id"] == call["id"]][["model", "id", "tokens", "booked", "told", "logged", "off"]]
        )
        rows.append([*single[0], marked[str(call["id"])]])
        rows[-1][1] = f"call {rows[-1][1]}"
    return columns, rows
