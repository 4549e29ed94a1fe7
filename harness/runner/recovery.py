"""The recovery section of a scenario's record: what the runner asks of a run after its faults; it judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.checker import Checker, Outcome, worst
from harness.checkers.recovery import RECOVERY, probes
from harness.contract import Contract
from harness.history import History

SHOWN = 5
"""Pieces of evidence that the section repeats."""
_NAMES = frozenset(check.name for check in RECOVERY)


def recovery_checks(history: History, only: frozenset[str]) -> list[Checker]:
    """Return what is asked of a run that ended with a recovery; nothing of one that did not."""
    if bound_ms(history) is None:
        return []
    return [check for check in RECOVERY if not only or check.requirement in only]


def bound_ms(history: History) -> int | None:
    """Return within which time the healed gateway was to recover, None of a run that ended without a recovery."""
    heal = next((note for note in history.notes if note.kind == "heal"), None)
    return None if heal is None else heal.detail.get("bound_ms")


def told_apart(
    history: History | None, contract: Contract, checked: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Return the recovery section, and the checks without those that met no case.

    ``history`` is the one that ended with a recovery; without one there is no section.
    """
    asked = [check for check in checked if check["checker"] in _NAMES]
    met = [check for check in checked if check["checker"] not in _NAMES or check["clauses"]]
    if history is None:
        return None, met
    asked = [check for check in asked if check["clauses"]]
    clauses = [clause for check in asked for clause in check["clauses"].values()]
    evidence = [
        {**piece, "requirement": check["requirement"], "checker": check["checker"]}
        for check in asked
        for piece in check["evidence"]
    ]
    section = {
        "outcome": worst(Outcome(check["outcome"]) for check in asked).value,
        "bound_ms": bound_ms(history),
        "probes": len(probes(history, contract)),
        "cases": sum(clause["passed"] + clause["failed"] for clause in clauses),
        "failed": sum(clause["failed"] for clause in clauses if clause["outcome"] == Outcome.FAIL.value),
        "unseen": _unseen(history, contract),
        "evidence": evidence[:SHOWN],
    }
    return section, met


def _unseen(history: History, contract: Contract) -> list[str]:
    """Say what of a recovery this run could not show, and why."""
    found = probes(history, contract)
    enterprise = [probe.one.call for probe in found if probe.one.tier == "enterprise"]
    seen: Mapping[str, bool] = {
        "slots and circuits: no lone probe": bool(found),
        "the primary: no journal of the upstreams": history.has_tap("journal"),
        "holds: the books cannot be read": history.has_tap("books"),
    }
    headers = {
        "slots": contract.headers.concurrency_remaining,
        "circuits": contract.headers.circuit,
    }
    missing = [
        f"{what}: no {header}"
        for what, header in headers.items()
        if enterprise and not any(header in call.headers for call in enterprise)
    ]
    return [what for what, there in seen.items() if not there] + missing
