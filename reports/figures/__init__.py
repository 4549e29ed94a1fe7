"""The report's figures, each drawn from the recorded scenario that shows most of its subject, with a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reports.figures.drawing import Figure, Marked, styled
from reports.histories import Histories, Rank, Recording, Wanted, starts
from reports.record import Record
from reports.text import line

__all__ = ["Figure", "Kind", "draw_all", "draw_chaos", "kinds"]

_CHAOS, _TURNS = "chaos.", "retries."
"""How the scenarios are called whose circuits, and whose clients' turns, are drawn each."""
_MOST = 12
"""How many scenarios' circuits one report draws."""
_CANDIDATES = 3
"""How many recordings are tried for a figure before it is given up as not recorded."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A figure that reports may have, and how it is drawn.

    ``wanted`` are the clauses whose scenarios show its subject; of several such scenarios the largest by ``by`` is
    drawn. ``draw`` returns None for a recording with nothing to show.
    """

    name: str
    title: str
    wanted: Wanted
    by: Rank
    draw: Callable[[Recording, Marked], Figure | None]


def kinds() -> tuple[Kind, ...]:
    """Return every kind of figure, in the report's order."""
    from reports.figures.faults import calls_and_faults
    from reports.figures.insurance import latency_against_threshold
    from reports.figures.latency import latency_by_surface
    from reports.figures.limits import admitted_against_ceiling, in_flight_against_cap
    from reports.figures.money import charged_and_recomputed

    slots = (("GOV-02.cap",), ("GOV-02.", "GOV-03."))
    ceilings = (("GOV-04.next_refused",), ("GOV-04.", "RATE-01."))
    thresholds = (("INS-03.at_threshold",), ("INS-03.",), ("INS-",))
    return (
        Kind("faults", "Calls, faults and the circuit", (("BRK-", "FAIL-"),), "faults_fired", calls_and_faults),
        Kind("latency", "Latency by surface", (("FAIL-01.",), ("BILL-01.",)), "attempts", latency_by_surface),
        Kind("in_flight", "In flight against the cap", slots, "attempts", in_flight_against_cap),
        Kind("admitted", "Admitted per window against the ceiling", ceilings, "calls", admitted_against_ceiling),
        Kind(
            "charged", "Charged, told and recomputed", (("BILL-01.", "BILL-03."),), "attempts", charged_and_recomputed
        ),
        Kind("insurance", "Latency against the insurance threshold", thresholds, "calls", latency_against_threshold),
    )


def draw_all(record: Record, histories: Histories) -> dict[str, Figure | None]:
    """Draw every kind from the recording that tells most of it; None where no recording shows its subject."""
    drawn: dict[str, Figure | None] = {}
    with styled():
        for kind in kinds():
            candidates = histories.telling(kind.wanted, kind.by, _CANDIDATES)
            figures = (kind.draw(recording, _marked(record, recording, kind.wanted)) for recording in candidates)
            drawn[kind.name] = next((figure for figure in figures if figure is not None), None)
    return drawn


def draw_chaos(record: Record, histories: Histories) -> list[tuple[str, Figure]]:
    """Draw the circuits of every chaos scenario that was recorded, the broken ones first, and what turns cost.

    Of several seeds the first broken one is drawn, or else the first.
    """
    from reports.figures.circuits import circuits_over_time
    from reports.figures.turns import cost_of_a_turn

    drawn: list[tuple[str, Figure]] = []
    with styled():
        for recording in list(_first_of_each(record, histories, _CHAOS))[:_MOST]:
            figure = circuits_over_time(recording, {})
            if figure is not None:
                drawn.append((recording.scenario, figure))
        turns = cost_of_a_turn(list(_first_of_each(record, histories, _TURNS)))
        if turns is not None:
            drawn.append(("What a turn costs in an outage", turns))
    return drawn


def _first_of_each(record: Record, histories: Histories, start: str) -> Iterator[Recording]:
    named = [scenario for scenario in record.scenarios if scenario["scenario"].startswith(start)]
    seen = set()
    for scenario in sorted(named, key=lambda one: one["outcome"] != "fail"):
        recording = histories.of(scenario["scenario"], scenario["seed"], scenario.get("folder", ""))
        if scenario["scenario"] not in seen and isinstance(recording, Recording):
            seen.add(scenario["scenario"])
            yield recording


def _marked(record: Record, recording: Recording, wanted: Wanted) -> Marked:
    """Return the calls of ``recording`` that a broken promise of ``wanted``'s requirements names, and what it says."""
    about = tuple({start.partition(".")[0] for start in starts(wanted)})
    return {
        piece["call"]: line(f"expected {piece['expected']}; actual {piece['actual']}")
        for check in record.checks
        if (check.scenario, check.seed) == (recording.scenario, recording.seed) and check.requirement.startswith(about)
        for piece in check.because("fail")
        if piece["call"]
    }
