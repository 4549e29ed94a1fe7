"""What was charged: the books against the tokens served and against what answers told; expectations are the record's."""

from __future__ import annotations

from reports.figures.drawing import RED, SERIES, Figure, Marked, canvas, cells, finished, label
from reports.histories import Recording
from reports.text import plural

_MODELS, _DRAWN = 6, 400
_MARKERS = ("o", "s", "^", "D", "v", "P")


def charged_and_recomputed(recording: Recording, marked: Marked) -> Figure | None:
    """Draw credits charged against tokens served, per model, and charged minus told, per call."""
    import pandas

    calls = recording.calls
    if calls.empty:
        return None
    calls = calls.assign(charged=calls["booked"].fillna(calls["told"]))
    calls = calls[calls["charged"].notna() & calls["tokens"].notna()]
    if calls.empty:
        return None
    calls = calls.assign(difference=calls["booked"] - calls["told"]).reset_index(drop=True)
    wrong = calls["id"].isin(list(marked))
    made, (charged, difference) = canvas(3.4, (2.4, 1))
    charged.sharex(charged)
    busiest = list(calls["model"].value_counts().head(_MODELS).index)
    shown = pandas.concat([calls[wrong].head(_DRAWN), calls[~wrong].iloc[:: 1 + len(calls) // _DRAWN]]).sort_index()
    for model, colour, marker in zip(busiest, SERIES, _MARKERS, strict=False):
        own = shown[shown["model"] == model]
        charged.plot(
            own.index, own["charged"], linestyle="none", marker=marker, markersize=4, color=colour, alpha=0.8, mew=0,
            label=label(model),
        )  # fmt: skip
    rest = shown[~shown["model"].isin(busiest)]
    charged.plot(rest.index, rest["charged"], linestyle="none", marker=".", color=SERIES[5], alpha=0.6, label="others" if len(rest) else "_")
    bad = shown[shown["id"].isin(list(marked))]
    for axes, column in ((charged, "charged"), (difference, "difference")):
        axes.plot(bad.index, bad[column], linestyle="none", marker="o", markersize=9, mfc="none", mec=RED)
    charged.set_yscale("symlog", linthresh=10)
    charged.set_ylabel("credits charged")
    charged.legend(loc="upper left", bbox_to_anchor=(0, 1.02), ncols=4, markerscale=1.2, handletextpad=0.1)
    charged.set_ylim(0, max(10, calls["charged"].max()) * 12)
    difference.axhline(0, color=SERIES[5], linewidth=1)
    difference.vlines(shown.index, 0, shown["difference"].fillna(0), color=SERIES[3], linewidth=1.4)
    reach = max(1, calls["difference"].abs().max()) if calls["difference"].notna().any() else 1
    difference.set_ylim(-reach * 1.3, reach * 1.3)
    difference.set_ylabel("booked − told")
    difference.set_xlabel("calls that were charged, by time")
    columns, rows = _table(calls, marked)
    return Figure(
        finished(made, "charged", f"Credits charged for {plural(len(calls), 'call')}, and booked minus told"),
        f"Credits charged for each of {plural(len(calls), 'call')} (above), and how far the books are from what the "
        "answer told its caller (below; flat is right). The checkers recompute every charge from the upstream's usage "
        f"and the contract's prices: {_verdict(calls, marked)}.",
        recording.title,
        columns,
        rows,
    )


def _verdict(calls: object, marked: Marked) -> str:
    import pandas

    assert isinstance(calls, pandas.DataFrame)
    bad = int(calls["id"].isin(list(marked)).sum())
    return f"{plural(bad, 'call')} named by a broken promise, ringed here" if bad else "no call here is named by a broken promise"


def _table(calls: object, marked: Marked) -> tuple[list[str], list[list[str]]]:
    """Return totals per model, the broken calls with what the record expected of them at the end."""
    import pandas

    assert isinstance(calls, pandas.DataFrame)
    totals = calls.groupby("model", sort=True).agg(
        calls=("id", "count"), tokens=("tokens", "sum"), booked=("booked", "sum"), told=("told", "sum"), logged=("logged", "sum")
    )
    totals["booked − told"] = totals["booked"] - totals["told"]
    totals["credits per 1,000 tokens"] = (totals["booked"] / totals["tokens"].clip(lower=1) * 1000).round(4)
    columns, rows = cells(totals.reset_index().astype({"tokens": int}))
    for call in calls[calls["id"].isin(list(marked))].head(12).itertuples():
        row = [f"{call.model}: call {call.id}", "1", f"{int(call.tokens):,}", *(_credits(v) for v in (call.booked, call.told, call.logged, call.difference)), marked[str(call.id)]]
        rows.append(row)
    return columns, rows


def _credits(value: float) -> str:
    return "–" if value != value else f"{int(value):,}"
