"""The report's figures, each drawn from the recorded scenario that shows most of its subject, with a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reports.figures.drawing import Figure, Marked
from reports.histories import Histories, Rank, Recording
from reports.record import Record
from reports.text import line

__all__ = ["Figure", "Kind", "draw_all", "kinds"]

_CANDIDATES = 3
"""How many recordings are tried for a figure before it is given up as not recorded."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A figure that reports may have: its subject, the requirements whose scenarios show it, and how it is drawn.

    ``by`` ranks those scenarios, the highest first. ``draw`` returns None for a recording that has nothing to show.
    """

    name: str
    title: str
    wanted: tuple[str, ...]
    by: tuple[Rank, ...]
    draw: Callable[[Recording, Marked], Figure | None]


def kinds() -> tuple[Kind, ...]:
    """Return every kind of figure, in the report's order."""
    from reports.figures.faults import calls_and_faults
    from reports.figures.insurance import latency_against_threshold
    from reports.figures.latency import latency_by_surface
    from reports.figures.limits import admitted_against_ceiling, in_flight_against_cap
    from reports.figures.money import charged_and_recomputed

    first: tuple[Rank, ...] = ("failed", "calls")
    return (
        Kind(
            "faults",
            "Calls, faults and the circuit",
            ("BRK-", "FAIL-"),
            ("failed", "faults_fired", "calls"),
            calls_and_faults,
        ),
        Kind("latency", "Latency by surface", ("",), ("calls",), latency_by_surface),
        Kind("in_flight", "In flight against the cap", ("GOV-02", "GOV-03", "GOV-09"), first, in_flight_against_cap),
        Kind(
            "admitted", "Admitted per window against the ceiling", ("GOV-04", "RATE-"), first, admitted_against_ceiling
        ),
        Kind(
            "charged", "Charged, told and recomputed", ("BILL-01", "BILL-03", "BILL-05"), first, charged_and_recomputed
        ),
        Kind("insurance", "Latency against the insurance threshold", ("INS-",), first, latency_against_threshold),
    )


def draw_all(record: Record, histories: Histories) -> dict[str, Figure | None]:
    """Draw every kind from the recording that tells most of it; None where no recording shows its subject."""
    drawn: dict[str, Figure | None] = {}
    for kind in kinds():
        candidates = histories.telling(kind.wanted, kind.by, _CANDIDATES)
        figures = (kind.draw(recording, _marked(record, recording, kind.wanted)) for recording in candidates)
        drawn[kind.name] = next((figure for figure in figures if figure is not None), None)
    return drawn


def _marked(record: Record, recording: Recording, wanted: tuple[str, ...]) -> Marked:
    """Return the calls of ``recording`` that a broken promise of ``wanted`` names, with what it says of them."""
    return {
        piece["call"]: line(f"expected {piece['expected']}; actual {piece['actual']}")
        for check in record.checks
        if (check.scenario, check.seed) == (recording.scenario, recording.seed) and check.requirement.startswith(wanted)
        for piece in check.because("fail")
        if piece["call"]
    }
