"""The branches section of ``verdict.json``: what a whole run reached, how often, and what it never did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.branches import BRANCHES, Branch
from harness.checker import Outcome


def is_whole(run: Mapping[str, Any]) -> bool:
    """Say whether a run was of everything, or of all of ``core``: only then must every branch be reached."""
    narrowed = any(run.get(name) for name in ("requirements", "profiles", "interrupted", "mutant", "shard"))
    return not narrowed and "selection" in run and list(run["selection"]) in ([], ["core"])


def branches_of(
    scenarios: Sequence[Mapping[str, Any]], claims: Sequence[str], *, whole: bool
) -> dict[str, dict[str, Any]]:
    """Return each branch of the vocabulary: how often it was reached, in how many runs, and who means to reach it.

    One that nobody reached is inconclusive in a whole run, unsupported where the target does not claim it or where none
    of the scenarios that mean it could run, and not asked of any other run.
    """
    found = {}
    for name, branch in BRANCHES.items():
        counts = [(record.get("branches") or {}).get(name) for record in scenarios]
        meant = [record for record in scenarios if name in record.get("reaches", ())]
        reached = [count for count in counts if count]
        outcome, why = _outcome(branch, bool(reached), meant, claims, whole=whole)
        found[name] = {
            "outcome": outcome,
            "why": why,
            "told": branch.told,
            "clause": branch.clause,
            "count": sum(reached),
            "runs": len(reached),
            "meant_by": sorted({record["scenario"] for record in meant}),
        }
    return found


def _outcome(
    branch: Branch, reached: bool, meant: Sequence[Mapping[str, Any]], claims: Sequence[str], *, whole: bool
) -> tuple[str, str]:
    if reached:
        return Outcome.PASS.value, ""
    if not branch.claimed(claims):
        return Outcome.UNSUPPORTED.value, "not claimed"
    if not whole:
        return "not_asked", ""
    if meant and all(record["outcome"] in ("unsupported", "error") for record in meant):
        return Outcome.UNSUPPORTED.value, "no scenario that means to reach it could run"
    told = [record for record in meant if (record.get("branches") or {}).get(branch.name) is not None]
    if meant and not told:
        return Outcome.UNSUPPORTED.value, f"this run has no {branch.tap}"
    return Outcome.INCONCLUSIVE.value, "never reached" if meant else "never reached, and no scenario means to"
