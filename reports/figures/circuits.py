"""Circuits over time in one scenario: attempts at each target, faults, and each circuit as three sources tell it.

The journal alone (inferred), the contract's machine over the same journal (by contract), and the gateway (advertised).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.checkers.admissions import slack_us
from harness.checkers.causes import failure_of
from harness.checkers.circuits import circuits
from harness.checkers.trajectories import ANY, Modes, Stretch, at_odds, demanded, inferred
from harness.contract import Contract
from harness.contract.requirements import matches
from harness.history import AttemptSpan
from reports.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    VIOLET,
    Figure,
    Marked,
    canvas,
    cells,
    finished,
    label,
)
from reports.figures.faults import told_states, windows
from reports.histories import Recording
from reports.text import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = {
    "served": (GREEN, "o"),
    "slow": (BLUE, "s"),
    "failed": (RED, "x"),
    "429": (ORANGE, "^"),
    "cut": (VIOLET, "v"),
    "left": (GREY, "d"),
}
"""Colour and shape of an attempt by what became of it."""
_COLUMNS = 600
"""Attempts of one kind closer together than this share of the width are drawn as one."""
_COLOURS: Mapping[str, tuple[str, str, float]] = {
    "closed": (GREEN, "", 0.55),
    "open": (RED, "///", 0.55),
    "half open": (ORANGE, "---", 0.55),
    "closed or half open": (GREEN, "---", 0.25),
    "half open or open": (RED, "---", 0.25),
    "closed or open": (GREY, "///", 0.25),
    "unknown": (GREY, "", 0.1),
}


@dataclass(frozen=True, slots=True)
class Lane:
    """One circuit as one source tells it."""

    role: str
    source: str
    stretches: Sequence[tuple[float, float, str]]
    """From, until (seconds), and the state in words."""


def circuits_over_time(recording: Recording, marked: Marked) -> Figure | None:
    """Draw attempts by target and outcome, fault windows, and the lanes of the busiest model's circuits."""
    import pandas

    contract, spans = recording.contract, recording.attempt_spans
    if contract is None or not spans:
        return None
    model = Counter(call.model for call in recording.spans).most_common(1)[0][0]
    attempts = [a for a in spans if recording.history.call[a.call].model == model]
    end_s = max(max(call.end for call in recording.spans), attempts[-1].end if attempts else 0) / 1e6
    lanes, odds_s = _lanes(recording, contract, model, end_s)
    roles = list(dict.fromkeys(lane.role for lane in lanes))
    if not attempts or not roles:
        return None
    made, (dots, strips) = canvas(
        0.75 + 0.3 * len(roles) + 0.2 * len(lanes), (0.3 * len(roles), 0.2 * len(lanes)), 0.175
    )
    counts = _dots(dots, attempts, roles, recording, contract, end_s)
    _faults(dots, windows(recording, end_s, model), roles)
    _strips(strips, lanes, end_s)
    strips.set_xlabel("seconds of the run")
    strips.set_xlim(0, end_s)
    claimed = matches(recording.history.plan.claims, "BRK-01", "opens")
    told = [
        f"{plural(len(attempts), 'attempt')} of {model}",
        f"journal and contract at odds for {odds_s:.3g} s" if odds_s else "journal and contract nowhere at odds",
        *([] if claimed else ["the target claims no circuit breaker"]),
    ]
    columns, rows = cells(pandas.DataFrame([*_attempt_rows(counts), *_lane_rows(lanes)]))
    name = "circuits-" + "".join(letter if letter.isalnum() else "-" for letter in recording.scenario)
    return Figure(
        finished(made, name, f"Circuits over time: {'; '.join(told)}"),
        f"Attempts at each target by what became of them, planned faults shaded, and below each circuit as the "
        f"upstreams' journal alone shows it, as the contract has it, and as answers advertised the first target's: "
        f"{'; '.join(told)}. Where the evidence does not tell, the state is unknown.",
        recording.title,
        columns,
        rows,
    )


def _lanes(recording: Recording, contract: Contract, model: str, end_s: float) -> tuple[list[Lane], float]:
    """Return the lanes of a model's circuits, target after target, and for how long journal and contract contradict."""
    history = recording.history
    slack = slack_us(history) if history.plan.mode == "sim" else history.skew_us
    shown, replayed = inferred(history, contract, slack), circuits(history, contract)
    known = next((m for m in contract.models if any(path[0] == m.id == model for path in shown)), None)
    lanes: list[Lane] = []
    odds_us = 0
    end = round(end_s * 1e6)
    for number, target in enumerate(known.chain if known else ()):
        path = (model, target.role)
        if path not in shown:
            continue
        wanted = demanded(replayed[path], end) if path in replayed else []
        lanes.append(Lane(target.role, "inferred", _worded(shown[path], end_s)))
        lanes.append(Lane(target.role, "by contract", _worded(wanted, end_s)))
        odds_us += sum(until - since for since, until in at_odds(shown[path], wanted))
        told = told_states(recording).get(model)
        if number == 0 and told:
            said = [(since, until, state.replace("_", " ")) for since, until, state in told]
            lanes.append(Lane(target.role, "advertised", said))
    return lanes, odds_us / 1e6


def _worded(stretches: Sequence[Stretch], end_s: float) -> list[tuple[float, float, str]]:
    return [
        (one.since / 1e6, min(one.until / 1e6, end_s), words(one.modes)) for one in stretches if one.since / 1e6 < end_s
    ]


def words(modes: Modes) -> str:
    """Return the modes in which a circuit can have been in words: ``closed or half open``; all of them: unknown."""
    order = ("closed", "half_open", "open")
    return "unknown" if modes == ANY else " or ".join(mode.replace("_", " ") for mode in order if mode in modes)


def _kind(attempt: AttemptSpan, recording: Recording, contract: Contract) -> str:
    failure = failure_of(attempt, recording.history.call[attempt.call], contract)
    slow_ms = contract.breaker.slow_ms
    if failure is None:
        return "slow" if slow_ms is not None and attempt.end - attempt.start > slow_ms * 1000 else "served"
    if failure.cause == "abandoned":
        return "left"
    if attempt.status == 429:
        return "429"
    return "cut" if failure.content else "failed"


def _dots(
    axes: Axes,
    attempts: Sequence[AttemptSpan],
    roles: Sequence[str],
    recording: Recording,
    contract: Contract,
    end_s: float,
) -> dict[tuple[str, str], int]:
    """Draw a mark per attempt where it began, in its target's row, and return how many there are of each kind."""
    found: dict[tuple[str, str], list[float]] = {}
    for attempt in attempts:
        found.setdefault((attempt.upstream, _kind(attempt, recording, contract)), []).append(attempt.start / 1e6)
    for kind, (colour, shape) in _MARKS.items():
        places = {
            (round(at * _COLUMNS / end_s), roles.index(role))
            for (role, one), instants in found.items()
            for at in instants
            if one == kind and role in roles
        }
        if not places:
            continue
        total = sum(len(instants) for (_, one), instants in found.items() if one == kind)
        x, y = zip(*sorted(places), strict=True)
        offset = -0.2 if kind == "served" else 0.15
        axes.plot(
            [column * end_s / _COLUMNS for column in x],
            [row + 0.5 + offset for row in y],
            linestyle="none",
            marker=shape,
            markersize=3.4,
            color=colour,
            label=f"{kind} {total:,}",
        )
    axes.set_ylim(len(roles), -0.8)
    axes.set_yticks([n + 0.5 for n in range(len(roles))], [f"attempts at {role}" for role in roles], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper right", ncols=len(_MARKS), handlelength=1, columnspacing=1, borderpad=0)
    return {key: len(instants) for key, instants in found.items()}


def _faults(axes: Axes, planned: Sequence[tuple[str, str, float, float]], roles: Sequence[str]) -> None:
    """Shade each planned fault in its target's row."""
    for _, role, since, until in planned:
        for row, name in enumerate(roles):
            if role in ("*", name):
                axes.broken_barh(
                    [(since, max(0, until - since))],
                    (row + 0.05, 0.9),
                    facecolor=RED,
                    alpha=0.13,
                    hatch="///",
                    linewidth=0,
                    zorder=0,
                )


def _strips(axes: Axes, lanes: Sequence[Lane], end_s: float) -> None:
    for row, lane in enumerate(lanes):
        for since, until, state in lane.stretches:
            colour, hatch, alpha = _COLOURS.get(state, (VIOLET, "xx", 0.4))
            axes.broken_barh(
                [(since, until - since)], (row + 0.12, 0.76), facecolor=colour, alpha=alpha, hatch=hatch, linewidth=0
            )
            if until - since > 0.0085 * end_s * len(state):  # else the words run into the next stretch
                axes.text(since, row + 0.52, f" {label(state)}", fontsize=7, va="center", clip_on=True)
    axes.set_ylim(len(lanes), 0)
    names = [f"{lane.role}, {lane.source}" for lane in lanes]
    axes.set_yticks([n + 0.5 for n in range(len(lanes))], [label(name) for name in names], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _attempt_rows(counts: Mapping[tuple[str, str], int]) -> Iterator[dict[str, object]]:
    for (role, kind), count in sorted(counts.items()):
        yield {"target": role, "told by": "attempts", "state": kind, "times": count, "seconds": None, "when": ""}


def _lane_rows(lanes: Sequence[Lane]) -> Iterator[dict[str, object]]:
    for lane in lanes:
        for state in dict.fromkeys(state for _, _, state in lane.stretches):
            met = [(since, until) for since, until, one in lane.stretches if one == state]
            yield {
                "target": lane.role,
                "told by": lane.source,
                "state": state,
                "times": len(met),
                "seconds": round(sum(until - since for since, until in met), 3),
                "when": ", ".join(f"{since:.3g} to {until:.3g} s" for since, until in met[:6]),
            }
