"""What a user's turn costs upstream while every target is down, by client, with circuits and without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.checkers.turns import Turn, turns
from reports.figures.drawing import BLUE, ORANGE, Figure, canvas, cells, finished, label
from reports.histories import Recording
from reports.text import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NEVER = 100_000
"""A circuit that asks for more calls than this in its window never opens."""
_DOWN = ("upstream_error", "upstream_timeout", "circuits_open")
"""What a try is told, by the contract's error rows, when all its targets are down."""
_WITH, _WITHOUT = "with circuits", "without circuits"
_COLOURS = {_WITH: (BLUE, ""), _WITHOUT: (ORANGE, "///")}


def cost_of_a_turn(recordings: Sequence[Recording]) -> Figure | None:
    """Draw the attempts upstream per turn of each client, in the runs in which none of its tries was served."""
    import pandas

    found: dict[tuple[str, str], list[Turn]] = {}
    sources: dict[str, None] = {}
    for recording in recordings:
        contract = recording.contract
        if contract is None:
            continue
        kind = _WITHOUT if contract.breaker.min_calls > _NEVER else _WITH
        down = {contract.error(name).status for name in _DOWN}
        for turn in turns(recording.history, contract):
            if all(one.call.status in down for one in turn.tries):
                found.setdefault((turn.client, kind), []).append(turn)
                sources[recording.title] = None
    if not found:
        return None
    clients = sorted({client for client, _ in found})
    made, (axes,) = canvas(0.9 + 0.5 * len(clients), left=0.12)
    _bars(axes, found, clients)
    columns, rows = cells(pandas.DataFrame([_row(key, found[key]) for key in sorted(found)]))
    turns_drawn = sum(map(len, found.values()))
    return Figure(
        finished(made, "turns", f"Attempts upstream per user turn in an outage, {plural(turns_drawn, 'turn')}"),
        "Attempts upstream that one user's turn costs while every target fails: the mean over its turns, and what the "
        "dearest cost. A client repeats the call as it was measured to; each try goes through the chain. With circuits "
        "the first calls open them, and later tries are answered without a call upstream.",
        ", ".join(sources),
        columns,
        rows,
    )


def _bars(axes: Axes, found: dict[tuple[str, str], list[Turn]], clients: Sequence[str]) -> None:
    height = 0.36
    dearest = max(len(turn.attempts) for taken in found.values() for turn in taken)
    for (client, kind), taken in found.items():
        colour, hatch = _COLOURS[kind]
        place = clients.index(client) + (0.1 if kind == _WITH else 0.1 + height)
        costs = [len(turn.attempts) for turn in taken]
        mean = sum(costs) / len(costs)
        axes.broken_barh([(0, mean)], (place, height), facecolor=colour, hatch=hatch, alpha=0.6, linewidth=0)
        axes.plot([max(costs)], [place + height / 2], marker="|", color=colour, markersize=9)
        words = label(f"{kind}: {mean:.3g}, at most {max(costs)}")
        axes.text(max(costs) + 0.01 * dearest, place + height / 2, words, fontsize=8, va="center")
    axes.set_xlim(0, max(dearest, 1) * 1.35)
    axes.set_ylim(len(clients), 0)
    axes.set_yticks([n + 0.5 for n in range(len(clients))], [label(name.replace("_", " ")) for name in clients])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("attempts upstream per turn")


def _row(key: tuple[str, str], taken: Sequence[Turn]) -> dict[str, object]:
    costs = [len(turn.attempts) for turn in taken]
    return {
        "client": key[0].replace("_", " "),
        "circuits": key[1],
        "turns": len(taken),
        "tries per turn": round(sum(len(turn.tries) for turn in taken) / len(taken), 1),
        "attempts per turn": round(sum(costs) / len(costs), 1),
        "at most": max(costs),
        "seconds per turn": round(sum(turn.end - turn.sent for turn in taken) / len(taken) / 1e6, 1),
    }
