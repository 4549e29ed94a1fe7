"""The timeline of one scenario: how calls ended, where attempts went, when faults struck, what the circuit was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    HATCHES,
    ORANGE,
    RED,
    SERIES,
    VIOLET,
    Figure,
    Marked,
    canvas,
    cells,
    finished,
    label,
    whole_numbers,
)
from reports.histories import Recording
from reports.text import plural, seconds

if TYPE_CHECKING:
    import numpy
    from matplotlib.axes import Axes

_BINS = 60
_FAULTS, _PATHS, _ROLES = 6, 3, 5
_OUTCOMES = (
    ("ok", GREEN),
    ("refused", ORANGE),
    ("error", RED),
    ("cut", VIOLET),
    ("aborted", GREY),
    ("open", BLUE),
)
_STATES = {"closed": (GREEN, ""), "half_open": (ORANGE, "---"), "open": (RED, "///")}


def calls_and_faults(recording: Recording, marked: Marked) -> Figure | None:
    """Draw calls by outcome, attempts by upstream, fault windows and advertised circuit states over time."""
    import numpy
    import pandas

    if not recording.spans:
        return None
    states = told_states(recording)
    end_s = max(max(call.end for call in recording.spans), 1) / 1e6
    start_s = min(0.0, recording.spans[0].sent / 1e6)
    edges = numpy.linspace(start_s, end_s, _BINS + 1)
    faults = [
        (f"{name} at {'all' if role == '*' else role}", since, until)
        for name, role, since, until in windows(recording, end_s)
    ][:_FAULTS]
    made, (calls, attempts, strips) = canvas(
        3.0 + 0.2 * max(1, len(faults) + len(states)),
        (1.1, 1.1, 0.18 * max(2, len(faults) + len(states))),
        left=0.175,
    )
    counts = _stack(
        calls,
        edges,
        {name: [c.sent / 1e6 for c in recording.spans if c.outcome == name] for name, _ in _OUTCOMES},
        dict(_OUTCOMES),
    )
    roles = list(dict.fromkeys(sorted(a.upstream for a in recording.attempt_spans)))
    known = [str(upstream.get("role", "")) for upstream in recording.history.plan.upstreams]
    roles = sorted(roles, key=lambda role: known.index(role) if role in known else len(known))[:_ROLES]
    tried = _stack(
        attempts,
        edges,
        {role: [a.start / 1e6 for a in recording.attempt_spans if a.upstream == role] for role in roles},
        dict(zip(roles, (BLUE, ORANGE, GREEN, VIOLET, GREY), strict=False)),
    )
    failed = [a.end / 1e6 for a in recording.attempt_spans if a.ended == "fault"]
    _failures(attempts, failed, edges)
    whole_numbers(calls.yaxis)
    whole_numbers(attempts.yaxis)
    calls.set_ylabel("calls sent")
    attempts.set_ylabel("attempts")
    _strips(strips, faults, states, end_s - start_s)
    strips.set_xlabel("seconds of the run")
    strips.set_xlim(start_s, end_s)
    words = f"{plural(len(recording.spans), 'call')}, {plural(len(recording.attempt_spans), 'attempt')}, " + plural(
        len(recording.history.faults), "fault"
    )
    columns, rows = cells(
        pandas.DataFrame(
            [
                *({"what": f"calls {name}", "count": count, "when": ""} for name, count in counts.items()),
                *({"what": f"attempts at {name}", "count": count, "when": ""} for name, count in tried.items()),
                *({"what": f"fault {name}", "count": n, "when": when} for name, n, when in _fired(recording)),
                *({"what": f"circuit of {m} told {s}", "count": n, "when": w} for m, s, n, w in _told(states)),
            ]
        )
    )
    return Figure(
        finished(made, "faults", f"Calls, attempts and faults over time: {words}"),
        f"How calls ended, which upstreams were tried, when faults were planned and fired, and the circuit state that "
        f"answers advertised ({words}). Ticks under the attempts are attempts that a fault ended.",
        recording.title,
        columns,
        rows,
    )


def _stack(axes: Axes, edges: numpy.ndarray, series: dict[str, list[float]], colours: dict[str, str]) -> dict[str, int]:
    """Draw counts per bin, one on top of the other, and return the totals of those that have any."""
    import numpy

    base = numpy.zeros(len(edges) - 1)
    totals = {}
    for (name, instants), hatch in zip(series.items(), HATCHES, strict=False):
        if not instants:
            continue
        counts, _ = numpy.histogram(instants, edges)
        axes.stairs(
            base + counts,
            edges,
            baseline=base,
            fill=True,
            color=colours[name],
            hatch=hatch,
            alpha=0.75,
            linewidth=0,
            label=f"{label(name)} {len(instants):,}",
        )
        base = base + counts
        totals[name] = len(instants)
    if totals:
        axes.legend(loc="upper right", ncols=len(totals), handlelength=1.2, columnspacing=1)
        axes.set_ylim(0, max(1, base.max()) * 1.35)
    return totals


def _failures(axes: Axes, failed: Sequence[float], edges: numpy.ndarray) -> None:
    """Draw ticks below the attempts for those that failed; where there are many, one per bin that has any."""
    import numpy

    if len(failed) > 3 * _BINS:
        counts, _ = numpy.histogram(failed, edges)
        failed = list((edges[:-1] + edges[1:])[counts > 0] / 2)
    axes.vlines(failed, 0, 0.06, transform=axes.get_xaxis_transform(), color=RED, linewidth=1.2)


def windows(recording: Recording, end_s: float, model: str = "") -> list[tuple[str, str, float, float]]:
    """Return the planned fault windows, of ``model`` alone if given, in order: fault, role, from, until (seconds)."""
    found = []
    for injection in recording.history.plan.injections:
        if model and injection.get("models") and model not in injection["models"]:
            continue
        stop = injection.get("stop_ms")
        until = end_s if stop is None else min(end_s, stop / 1e3)
        found.append((injection["fault"]["name"], injection["role"], injection.get("start_ms", 0) / 1e3, until))
    return list(dict.fromkeys(found))


def told_states(recording: Recording) -> dict[str, list[tuple[float, float, str]]]:
    """Return, for the models called most, the stretches of the circuit state that their answers advertised."""
    contract = recording.contract
    header = contract.headers.circuit if contract is not None else "x-hypereal-managed-circuit"
    told: dict[str, list[tuple[float, str]]] = {}
    for call in recording.spans:
        if header in call.headers:
            told.setdefault(call.model, []).append((call.sent / 1e6, call.headers[header]))
    busiest = sorted(told, key=lambda model: -len(told[model]))[:_PATHS]
    end_s = max((call.end for call in recording.spans), default=0) / 1e6
    stretches: dict[str, list[tuple[float, float, str]]] = {}
    for model in busiest:
        kept: list[tuple[float, float, str]] = []
        for at, state in told[model]:
            if kept and kept[-1][2] == state:
                continue
            if kept:
                kept[-1] = (kept[-1][0], at, kept[-1][2])
            kept.append((at, end_s, state))
        stretches[model] = kept
    return stretches


def _strips(
    axes: Axes,
    faults: Sequence[tuple[str, float, float]],
    states: dict[str, list[tuple[float, float, str]]],
    span_s: float,
) -> None:
    """Draw fault windows and circuit states as labelled strips."""
    names = []
    for row, (name, since, until) in enumerate(faults):
        axes.broken_barh(
            [(since, max(until - since, 0))], (row + 0.15, 0.7), facecolor=RED, alpha=0.35, hatch="///", linewidth=0
        )
        names.append(name)
    for row, (model, stretches) in enumerate(states.items(), len(faults)):
        for since, until, state in stretches:
            colour, hatch = _STATES.get(state, (SERIES[-1], ""))
            axes.broken_barh(
                [(since, until - since)], (row + 0.15, 0.7), facecolor=colour, alpha=0.6, hatch=hatch, linewidth=0
            )
            if until - since > 0.009 * span_s * len(state):  # else the words run into the next stretch
                axes.text(since, row + 0.5, f" {label(state)}", fontsize=7.5, va="center", clip_on=True)
        names.append(f"circuit {model}")
    axes.set_ylim(max(len(names), 1), 0)
    axes.set_yticks([n + 0.5 for n in range(len(names))], [label(name) for name in names], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _fired(recording: Recording) -> list[tuple[str, int, str]]:
    found: dict[str, list[int]] = {}
    for fault in recording.history.faults:
        found.setdefault(f"{fault.fault} at {fault.upstream}", []).append(fault.at)
    return [(name, len(at), f"{seconds(min(at))} to {seconds(max(at))}") for name, at in sorted(found.items())]


def _told(states: dict[str, list[tuple[float, float, str]]]) -> list[tuple[str, str, int, str]]:
    found = []
    for model, stretches in states.items():
        for state in dict.fromkeys(state for _, _, state in stretches):
            when = [f"{since:.3g} s" for since, _, told in stretches if told == state]
            found.append((model, state, len(when), "from " + ", ".join(when[:6])))
    return found
