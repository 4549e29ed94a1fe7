"""How a figure becomes inline SVG: matplotlib's output without its page, its colours the report's own; no data here."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.text import line

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Canvas

Marked = Mapping[str, str]
"""The calls of one recording that the record names as broken, with what it says of them."""

INK = "#000000"
SERIES = ("#0f0f01", "#0f0f02", "#0f0f03", "#0f0f04", "#0f0f05", "#0f0f06")
"""Stand-ins for the report's colours (blue, orange, green, red, violet, grey), which follow the reader's scheme."""
BLUE, ORANGE, GREEN, RED, VIOLET, GREY = SERIES
HATCHES = ("", "///", "\\\\\\", "---", "xx", "||")
"""Hatches of lines alone: dots become thousands of circles in an SVG."""
LINES = ("-", "--", ":")
_WIDTH_IN = 11.0
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "harness",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "hatch.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn figure: the SVG, what it shows and of which scenario, and the numbers behind it."""

    svg: Markup
    caption: str
    source: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@contextmanager
def styled() -> Iterator[None]:
    """Draw and write figures in the report's style: inside this alone."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


def canvas(height_in: float, heights: Sequence[float] = (1,), left: float = 0.065) -> tuple[Canvas, list[Axes]]:
    """Return an empty figure of stacked axes that share their x axis; ``left`` is the share kept for their labels."""
    from matplotlib.figure import Figure as Canvas

    made = Canvas(figsize=(_WIDTH_IN, height_in))
    axes = made.subplots(len(heights), 1, sharex=True, height_ratios=list(heights), squeeze=False)
    made.subplots_adjust(left=left, right=0.99, top=1 - 0.1 / height_in, bottom=0.45 / height_in, hspace=0.14)
    made.patch.set_visible(False)
    stacked = [row[0] for row in axes]
    for one in stacked:
        one.patch.set_visible(False)
    return made, stacked


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2 and 5 of each decade, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def whole_numbers(axis: Axis) -> None:
    """Label an axis that counts at whole numbers alone."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def decades(axis: Axis, least: float, most: float, *, signed: bool = False) -> None:
    """Label a symmetric logarithmic axis that is linear within one: 0, 1, 10, 100 and so on, and their negatives."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    powers = [10.0**power for power in range(9)]
    ticks = [0.0, *(p for p in powers if p <= most * 1.5), *(-p for p in powers if -p >= least * 1.5)]
    axis.set_major_locator(FixedLocator(sorted(ticks)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+,.0f}" if signed and value else f"{value:,.0f}"))
    axis.set_minor_locator(NullLocator())


def finished(made: Canvas, name: str, label: str) -> Markup:
    """Return the figure as SVG to stand in HTML: ids led by ``name``, colours by variables, its size the page's."""
    out = io.StringIO()
    made.savefig(out, format="svg")
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<\?.*?\?>", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box is not None, "matplotlib wrote an SVG without a viewBox"
    head = Markup('<svg class="fig" viewBox="{}" role="img" aria-label="{}">').format(box[1], line(label, 500))
    body = svg[svg.index(">") + 1 :].replace("xlink:href", "href")
    referenced = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in referenced else "", body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", body)
    body = body.replace(INK, "currentColor").replace("#ffffff", "var(--page)")
    for number, colour in enumerate(SERIES, 1):
        body = body.replace(colour, f"var(--f{number})")
    body = re.sub(r"\s*\n\s*", "\n", body)
    return head + Markup(body)  # noqa: S704 - matplotlib escaped every text in it


def label(text: object, cap: int = 40) -> str:
    """Return ``text`` short and in letters that the bundled font has."""
    return "".join(letter if " " <= letter <= "ſ" else "?" for letter in line(text, cap))


def cells(frame: pandas.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return a frame as a table's columns and rows of text."""
    rows = [[_text(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return [str(column) for column in frame.columns], rows


def _text(value: object) -> str:
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return line(value)
