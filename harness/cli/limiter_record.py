"""The record of which limiter a gateway has, in figures and in words: what is printed and rendered is read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.cli.folder import command_line
from harness.cli.terminal import say
from harness.history import History
from harness.load.families import SlidingLog
from harness.load.limiter import Finding, Identification, OverAdmission, explains, identify, over_admission
from harness.load.observations import Observation, Seen
from harness.load.observed import Shared, observations, scopes, told_scope
from harness.runner import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_OK

SCHEMA = "harness.limiter/1"
PROMISED = SlidingLog
"""What GOV-04 and RATE-01 promise: it must be among what was not ruled out, with the contract's own figures."""
SHOWN = 8
"""So many of the calls that rule a kind out are named."""
_EXITS = {"pass": EXIT_OK, "fail": EXIT_FAIL, "inconclusive": EXIT_INCONCLUSIVE}


@dataclass(frozen=True, slots=True)
class Asked:
    """Which calls asked the limiter, and what was said of it: ``limit`` and ``window_s`` if any were given.

    ``promised``: whether the gateway is held to the contract's limiter.
    """

    probe: str
    scopes: Sequence[str]
    promised: bool
    limit: int | None = None
    window_s: float | None = None


def limiter_record(history: History, asked: Asked) -> dict[str, Any]:
    """Return what the history tells of the gateway's limiter."""
    seen = observations(history, asked.probe)
    found, shared = identify(seen), scopes(history, asked.scopes)
    tier = tier_of(history, asked.probe)
    limits = history.plan.contract["text" if tier == "managed" else "user_rate"]
    contract = limits["requests"], limits["window_ms"] / 1000
    # What was given of a gateway that is already there is a guess at its limit, and no promise of it.
    over = over_admission(seen, asked.limit or contract[0], asked.window_s or contract[1])
    kept = kept_promise(seen, found, shared, tier, *contract) if asked.promised else None
    verdict = _verdict(found, kept)
    return {
        "schema": SCHEMA,
        "verdict": verdict,
        "exit": _EXITS[verdict],
        "command": command_line(),
        "target": history.plan.target,
        "mode": history.plan.mode,
        "mutant": history.plan.mutant,
        "seed": history.plan.seed,
        "tier": tier,
        "headline": f"{_headline(found)} {told_scope(shared)}",
        "identification": {
            **asdict(found),
            "findings": [{**asdict(one), "figures": _figures(one)} for one in found.findings],
        },
        "scope": told_scope(shared),
        "shared": [asdict(one) for one in shared],
        "over_admission": {**asdict(over), "proved": over.proved, "told": _over(over)},
        "promised": asked.promised,
        "promise_kept": kept,
        "promise": _promise(kept, *contract) if asked.promised else "",
        "observations": [asdict(one) for one in seen],
    }


def tier_of(history: History, tag: str) -> str:
    """Return which of the two limits the calls of that tag asked."""
    details = (call.detail for call in history.planned.values() if call.detail.get("tag") == tag)
    return next((str(detail["tier"]) for detail in details if detail.get("tier")), "managed")


def kept_promise(
    seen: list[Observation], found: Identification, shared: list[Shared], tier: str, limit: int, window_s: float
) -> bool | None:
    """Say whether the contract's own limiter was not ruled out; None where it was never asked for more than it gives.

    A refusal below that is of something else: another limit, or one of a gateway that is set otherwise.
    """
    if Seen(seen).most_within(window_s) <= limit:
        return None
    if not explains(PROMISED, seen, found.clock_s, limit, window_s) or not _scope_holds(shared, tier):
        return False
    return True if found.refused else None


def _scope_holds(shared: list[Shared], tier: str) -> bool:
    """Say whether no other scope was seen than the contract's: per account, and on managed paths per model."""
    expected = {"key": True, "account": False, "model": tier == "general"}
    return all(one.shared is None or one.shared == expected[one.differs_in] for one in shared)


def _verdict(found: Identification, kept: bool | None) -> str:
    if kept is False:
        return "fail"
    return "pass" if found.refused and len({one.kind for one in found.kept}) == 1 else "inconclusive"


def _headline(found: Identification) -> str:
    if not found.refused:
        return "no limiter seen: nothing was refused; scope"
    kinds = list(dict.fromkeys(one.kind for one in found.kept))
    if not kinds:
        return "none of the known limiters; scope"
    return f"{' or '.join(kinds)},"


def _figures(one: Finding) -> str:
    told_as = {"limit": "limit {}", "window": "window {} s", "burst": "burst {}", "interval": "one more every {} s"}
    return ", ".join(
        form.format(f"{low:.4g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g}")
        for name, form in told_as.items()
        if name in one.ranges
        for low, high in [one.ranges[name]]
    )


def _over(over: OverAdmission) -> str:
    what = f"more than {over.limit} in {over.window_s:g} s"
    if over.proved:
        return f"{what}: proved for every alignment, by {', '.join(over.against[:SHOWN])}"
    excluded = f"; not by a {' or '.join(over.impossible)}" if over.impossible else ""
    return f"{what}: not proved, a {' or '.join(over.possible)} of that limit lets in as much{excluded}"


def _promise(kept: bool | None, limit: int, window_s: float) -> str:
    figures = f"a sliding log of its figures ({limit} in {window_s:g} s) and scope"
    if kept is None:
        return f"not judged: what was asked does not put {figures} to the test"
    return f"{figures} {'is not ruled out' if kept else 'is ruled out: the promise is broken'}"


def print_limiter(record: Mapping[str, Any]) -> None:
    """Print what the record says, the answer first."""
    found = record["identification"]
    say(record["headline"])
    asked = found["admitted"] + found["refused"]
    say(f"  asked     {asked} calls: {found['admitted']} let in, {found['refused']} refused")
    if found["clock_s"] >= 1:
        say("  clock     nothing fits a clock of milliseconds; this is what fits one of whole seconds")
    for one in found["findings"]:
        if one["fits"]:
            unsure = "" if one["whole"] else " (the search for a contradiction was given up)"
            say(f"  fits      {one['family']}: {one['about']}{unsure}")
            say(f"            {one['figures']}")
    for one in found["findings"]:
        if not one["fits"]:
            calls = ", ".join(one["against"][:SHOWN]) + (", ..." if len(one["against"]) > SHOWN else "")
            say(f"  not a     {one['family']}: whatever its figures, it contradicts one of {calls}")
    for scope in record["shared"]:
        word = {True: "shared", False: "apart", None: "not told"}[scope["shared"]]
        say(f"  {scope['differs_in'] + 's':<9} {word}: {scope['call']} {scope['why']}")
    say(f"  over      {record['over_admission']['told']}")
    if record["promise"]:
        say(f"  contract  {record['promise']}")
