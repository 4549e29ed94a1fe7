"""The figures of an audit, each over what one query added up: no call is read one by one, and nothing is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from reports.amounts import Amounts
from reports.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Figure,
    canvas,
    decades,
    finished,
    label,
    styled,
)
from reports.text import line, plural

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from harness.audit import Audit, Books

_BARS, _BINS, _ROWS = 12, 120, 200
_SINCE_EPOCH_US = 10**15
"""A stamp above this is a time of day, one below it counts from the start of a run."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Draw = Callable[["Audit", "Books", Amounts], "Figure | None"]


def draw_audit(audit: Audit, books: Books, amounts: Amounts) -> dict[str, Figure | None]:
    """Draw every figure of an audit by name; None where the books have nothing to show."""
    with styled():
        return {name: draw(audit, books, amounts) for name, (_, draw) in FIGURES.items()}


def frame_of(books: Books, statement: str, parameters: tuple[int, ...] = ()) -> pandas.DataFrame:
    """Return a query's rows as a frame of Python's own numbers: sums may be wider than 64 bits."""
    import pandas

    found = books.db.execute(statement, parameters)
    names = [column[0] for column in found.description or ()]
    return pandas.DataFrame(found.fetchall(), columns=names, dtype="object")


def charged_per_model(audit: Audit, books: Books, amounts: Amounts) -> Figure | None:
    """Draw what each model's served tokens cost by the printed prices beside what the ledger charged."""
    models = frame_of(books, "SELECT * FROM models ORDER BY greatest(priced, charged) DESC, model")
    if models.empty:
        return None
    models["model"] = models["model"].replace("", "(none)")
    shown = models.head(_BARS)
    made, (axes,) = canvas(0.8 + 0.42 * len(shown), left=0.17)
    at = list(range(len(shown)))
    for column, shift, colour, name in (("priced", -0.2, BLUE, "expected"), ("charged", 0.2, ORANGE, "charged")):
        widths = [amounts.number(units) for units in shown[column]]
        axes.barh([y + shift for y in at], widths, height=0.36, color=colour, label=name)
    widest = max(1.0, *(amounts.number(units) for column in ("priced", "charged") for units in shown[column]))
    for y, priced, charged in zip(at, shown["priced"], shown["charged"], strict=True):
        told = amounts.credits(charged - priced, signed=True) if charged != priced else "equal"
        end = amounts.number(max(priced, charged, 0))
        axes.annotate(told, (end, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlim(min(0.0, *(amounts.number(units) for units in shown["charged"])), widest * 1.16)
    _names(axes, shown["model"].map(label).tolist())
    axes.xaxis.set_major_formatter(_grouped)
    axes.set_xlabel("credits; beside the bars charged less expected")
    axes.legend(loc="lower right", ncols=2)
    rows = [
        (
            line(row["model"]),
            f"{row['served']:,}",
            *(f"{row[name]:,}" for name in ("input", "cache_read", "cache_write", "output")),
            amounts.both(row["priced"]),
            amounts.both(row["charged"]),
            amounts.both(row["charged"] - row["priced"], signed=True),
        )
        for row in models.head(_ROWS).to_dict("records")
    ]
    columns = ("model", "answers", "input", "cache read", "cache write", "output", "expected", "charged", "difference")
    return Figure(
        finished(made, "models", f"Expected and charged credits of {plural(len(models), 'model')}"),
        "Expected: the tokens that upstreams served at the printed prices, each call rounded as promised. Charged: "
        "what the ledger took, less refunds. A difference here nets calls charged too much against calls charged too "
        "little; the classes above do not. A failed or lost answer may lawfully be free.",
        _more(len(models), len(shown), "model"),
        columns,
        rows,
    )


def delta_by_class(audit: Audit, books: Books, amounts: Amounts) -> Figure | None:
    """Draw by class how much customers and how much the provider lost, apart."""
    found = [one for one in audit.classes if one.over or one.under]
    if not found:
        return None
    made, (axes,) = canvas(0.85 + 0.34 * len(found), left=0.21)
    at = list(range(len(found)))
    over = [amounts.number(one.over) for one in found]
    under = [amounts.number(one.under) for one in found]
    axes.barh(at, over, height=0.6, color=RED, label="customers lost")
    axes.barh(at, [-value for value in under], height=0.6, color=BLUE, hatch="///", label="provider lost")
    most = max(*over, *under, 10.0)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(-most * 8, most * 8)
    decades(axes.xaxis, -most, most, signed=True)
    for y, one in zip(at, found, strict=True):
        for units, side in ((one.over, 1), (-one.under, -1)):
            if units:
                axes.annotate(
                    amounts.credits(abs(units)),
                    (amounts.number(units), y),
                    xytext=(4 * side, 0),
                    textcoords="offset points",
                    va="center",
                    ha="left" if side > 0 else "right",
                    fontsize=8,
                )
    axes.axvline(0, color=GREY, linewidth=1)
    _names(axes, [one.name for one in found])
    axes.set_xlabel("credits (logarithmic on both sides)")
    axes.legend(loc="lower right", ncols=1)
    rows = [(one.name, f"{one.count:,}", amounts.both(one.over), amounts.both(one.under)) for one in found]
    return Figure(
        finished(made, "classes", "What customers and provider lost, by class of discrepancy"),
        "Gross amounts: what customers lost (right) and what the provider lost (left) are never netted.",
        "",
        ("class", "discrepancies", "customers lost", "provider lost"),
        rows,
    )


def charges_over_time(audit: Audit, books: Books, amounts: Amounts) -> Figure | None:
    """Draw charges and payouts per slice of the ledger's time."""
    first, last = books.rows("SELECT min(stamp), max(stamp) FROM entries WHERE kind IN ('post', 'payout', 'refund')")[0]
    if first is None:
        return None
    width = max(1, -(-(last - first + 1) // _BINS))
    slices = frame_of(
        books,
        """SELECT (stamp - ?) // ? AS n,
                   coalesce(sum(amount) FILTER (kind = 'post'), 0) AS charged,
                   coalesce(sum(amount) FILTER (kind = 'payout'), 0) AS paid,
                   coalesce(sum(amount) FILTER (kind = 'refund'), 0) AS refunded,
                   count(*) FILTER (kind = 'post') AS charges, count(*) FILTER (kind = 'payout') AS payouts
            FROM entries WHERE stamp IS NOT NULL AND kind IN ('post', 'payout', 'refund') GROUP BY n ORDER BY n""",
        (first, width),
    )
    made, stacked = canvas(3.4, (2, 1), left=0.09)
    unit, name, clock = _time_axis(first, last)
    starts = [int(n) * width / unit for n in slices["n"]]
    for axes, column, colour, what in (
        (stacked[0], "charged", BLUE, "charged"),
        (stacked[1], "paid", GREEN, "paid out"),
    ):
        heights = [amounts.number(units) for units in slices[column]]
        axes.bar(starts, heights, width=width / unit, align="edge", color=colour, linewidth=0)
        axes.set_ylabel(f"credits\n{what}")
        axes.yaxis.set_major_formatter(_grouped)
        axes.set_ylim(0, max(1.0, *heights) * 1.1)
        axes.locator_params(axis="y", nbins=4)
    stacked[-1].set_xlim(0, max((int(slices["n"].max()) + 1) * width / unit, 1e-9))
    stacked[-1].set_xlabel(name)
    rows = [
        (
            clock(first + int(row["n"]) * width),
            f"{row['charges']:,}",
            amounts.both(row["charged"]),
            f"{row['payouts']:,}",
            amounts.both(row["paid"]),
            amounts.both(row["refunded"]),
        )
        for row in slices.to_dict("records")
    ]
    made.align_ylabels(stacked)
    return Figure(
        finished(made, "time", "Credits charged and paid out over time"),
        "What the ledger charged (above) and paid out of the insurance (below), by its own clock; recordings of "
        "several scenarios lie over each other, each from its own start.",
        "",
        ("from", "charges", "charged", "payouts", "paid out", "refunded"),
        rows,
    )


def payout_curve(audit: Audit, books: Books, amounts: Amounts) -> Figure | None:
    """Draw what share of its charge an insured call was paid, by its distance from the threshold."""
    if "told" not in books.has:
        return None
    found = frame_of(
        books,
        """WITH calls AS (
            SELECT CASE WHEN t.slowest IS NULL THEN t.latency_ms
                        ELSE (coalesce(t.fastest, t.slowest) + t.slowest) // 2000 END - y.threshold // 1000 AS distance,
                   coalesce(c.net, t.charged, 0) AS charged, coalesce(c.paid, 0) AS paid, y.ratio_over, y.ratio_under,
                   t.call IN (SELECT call FROM discrepancies WHERE class LIKE 'INSURANCE%') AS wrong
            FROM told t JOIN policies y ON y.policy = t.policy LEFT JOIN cases c ON c.call = t.call
            WHERE t.insured AND t.outcome = 'ok' AND y.threshold IS NOT NULL
        ), placed AS (
            SELECT *, CASE WHEN abs(distance) <= 5 THEN distance
                           ELSE sign(distance) * floor(10 * log10(abs(distance))) * 1e6 END AS place
            FROM calls WHERE distance IS NOT NULL AND charged > 0
        )
        SELECT min(distance) AS low, max(distance) AS high, avg(distance) AS at, count(*) AS calls,
               count_if(paid > 0) AS compensated, count_if(wrong) AS wrong, sum(charged) AS charged, sum(paid) AS paid,
               max(ratio_over / ratio_under) AS ratio
        FROM placed GROUP BY place ORDER BY low""",
    )
    if found.empty:
        return None
    made, (axes,) = canvas(2.9)
    ratio = float(found["ratio"].max()) * 100
    shares = [100 * paid / charged for paid, charged in zip(found["paid"], found["charged"], strict=True)]
    least, most = min(-10.0, float(found["low"].min())), max(10.0, float(found["high"].max()))
    axes.set_xscale("symlog", linthresh=1)
    axes.plot([least * 2, 0, 0, most * 2], [0, 0, ratio, ratio], color=GREY, linewidth=1.4, label="promised at least")
    for wrong, colour, marker, name in (
        (False, GREEN, "o", "paid of the charge"),
        (True, RED, "X", "with discrepancies"),
    ):
        points = [(x, y) for x, y, bad in zip(found["at"], shares, found["wrong"], strict=True) if bool(bad) is wrong]
        if points:
            axes.plot(*zip(*points, strict=True), linestyle="none", marker=marker, ms=5, color=colour, label=name)
    axes.axvline(0, color=RED, linewidth=1, linestyle=(0, (6, 3)))
    axes.set_xlim(least * 2, most * 2)
    decades(axes.xaxis, least, most, signed=True)
    axes.set_ylim(-0.06 * max(ratio, *shares), max(ratio, *shares) * 1.25)
    axes.set_ylabel("% of the charge paid")
    axes.set_xlabel("milliseconds past the threshold by independent clocks (logarithmic on both sides)")
    axes.legend(loc="upper left")
    rows = [
        (
            _span(int(row["low"]), int(row["high"])),
            f"{row['calls']:,}",
            f"{row['compensated']:,}",
            f"{row['wrong']:,}",
            amounts.both(row["charged"]),
            amounts.both(row["paid"]),
            f"{share:.2f} %",
        )
        for row, share in zip(found.to_dict("records"), shares, strict=True)
    ]
    return Figure(
        finished(made, "payouts", "Share of the charge paid out against the distance from the threshold"),
        f"Every insured, answered and charged call by how far its latency lies from the threshold, near ones one by "
        f"one, far ones in bands; by the clocks of caller and upstream, by the gateway's own where there are none. At "
        f"the threshold nothing is due, above it {ratio:g} % rounded up to whole credits: small charges lie higher.",
        "",
        ("ms past the threshold", "calls", "compensated", "wrongly", "charged", "paid out", "share"),
        rows,
    )


def balance_roll_forward(audit: Audit, books: Books, amounts: Amounts) -> Figure | None:
    """Draw how the accounts' money went from opening to closing, and what no entry explains."""
    totals = books.rows(
        """SELECT sum(opening), sum(top_ups), sum(charges), sum(payouts), sum(refunds),
                  sum(coalesce(unexplained, 0)), sum(abs(coalesce(unexplained, 0))), count(*), count(closing)
           FROM rolled"""
    )[0]
    if not totals[7]:
        return None
    opening, top_ups, charges, payouts, refunds, unexplained, gross, accounts, closed = (int(one) for one in totals)
    steps = [
        ("top-ups", top_ups, GREEN),
        ("charges", -charges, BLUE),
        ("payouts", payouts, GREEN),
        ("refunds", refunds, GREEN),
        ("unexplained", unexplained, RED),
    ]
    made, (axes,) = canvas(2.9, left=0.13)
    level, levels = opening, [opening]
    for x, (_, change, colour) in enumerate(steps, 1):
        bottom, top = sorted((amounts.number(level), amounts.number(level + change)))
        axes.bar(x, top - bottom, bottom=bottom, width=0.6, color=colour)
        axes.annotate(
            amounts.credits(change, signed=True),
            (x, top),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
        axes.plot([x - 1 + (0.3 if x > 1 else 0), x + 0.3], [amounts.number(level)] * 2, color=GREY, linewidth=0.8)
        level += change
        levels.append(level)
    for x, units in ((0, opening), (len(steps) + 1, level)):
        axes.plot([x - 0.3, x + 0.3], [amounts.number(units)] * 2, color=ORANGE, linewidth=3)
        axes.annotate(
            amounts.credits(units),
            (x, amounts.number(units)),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    low, high = (amounts.number(pick(levels)) for pick in (min, max))
    room = max(high - low, 1.0)
    axes.set_ylim(low - 0.1 * room, high + 0.2 * room)
    axes.set_xticks(range(len(steps) + 2), ["opening", *(name for name, _, _ in steps), "closing"])
    axes.grid(axis="x", visible=False)
    axes.locator_params(axis="y", nbins=5)
    axes.yaxis.set_major_formatter(_grouped)
    axes.set_ylabel("credits")
    rows = [
        ("opening", amounts.both(opening)),
        *((name, amounts.both(change, signed=True)) for name, change, _ in steps),
        ("closing", amounts.both(level)),
        ("unexplained, gross", amounts.both(gross)),
    ]
    return Figure(
        finished(made, "rolled", "Balances from opening to closing"),
        f"All {plural(accounts, 'account')} together; {closed:,} of them show a closing balance. The axis does not "
        "start at zero. Unexplained is what the shown balances moved by and no entry tells.",
        "",
        ("what", "amount"),
        rows,
    )


FIGURES: Mapping[str, tuple[str, Draw]] = {
    "models": ("Expected against charged, by model", charged_per_model),
    "classes": ("Lost by customers and by the provider, by class", delta_by_class),
    "time": ("Charges and payouts over time", charges_over_time),
    "payouts": ("Payouts around the threshold", payout_curve),
    "rolled": ("Roll-forward of all balances", balance_roll_forward),
}
"""Title and drawing of each figure, in the page's order."""


def _grouped(value: float, _: Any) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,g}"


def _names(axes: Axes, names: list[str]) -> None:
    """Name horizontal bars from the top down."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _more(count: int, shown: int, noun: str) -> str:
    return f"{count - shown:,} more {noun}s are in the table." if count > shown else ""


def _time_axis(first: int, last: int) -> tuple[float, str, Callable[[int], str]]:
    """Return the microseconds of the axis's unit, its label, and how a stamp is told in the table."""
    units = ((86_400e6, "days"), (3_600e6, "hours"), (60e6, "minutes"), (1e6, "seconds"), (1e3, "milliseconds"))
    unit, name = next((unit for unit in units if last - first >= 3 * unit[0]), units[-1])
    if first < _SINCE_EPOCH_US:
        return unit, f"{name} since {first / 1e6:,.3f} s", lambda stamp: f"{stamp / 1e6:,.3f} s"

    def told(stamp: int) -> str:
        return (_EPOCH + timedelta(microseconds=stamp)).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")

    return unit, f"{name} since {told(first)}", told


def _span(low: int, high: int) -> str:
    return f"{low:+,}" if low == high else f"{low:+,} to {high:+,}"
