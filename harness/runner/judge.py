"""From a recorded history to verdicts: pure, so that a run recorded by somebody else is judged the same way."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from harness.branches import BRANCHES, branches_reached
from harness.checker import Checker, ClauseResult, Outcome, Verdict, worst
from harness.checkers.load_generator import shortcomings, unanswered
from harness.checkers.load_memory import NOTE as MEMORY
from harness.checkers.load_memory import memory_of
from harness.contract import Contract
from harness.contract.requirements import matches
from harness.environment.raised import BROKEN_OFF
from harness.environment.raised import NOTE as RAISED
from harness.history import History, Note
from harness.runner.recovery import bound_ms, recovery_checks, told_apart

NEVER_CAME = "crash_never_came"
_KEPT = ("gateway_crash", RAISED, NEVER_CAME, MEMORY)
"""The notes that the record tells of."""
STORE_ERROR = "StoreError"
"""How the reference gateway's log calls it that its store did not take a record."""
LATENESS_BOUND_US = 250_000
"""A generator that sent a call later than this has not run the scenario: the verdict is inconclusive."""


def judge(
    history: History, contract: Contract, checks: Iterable[Checker], *, only: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the scenario's record: its outcome, why, and each check's clauses with evidence.

    A planned fault that never fired, a planned crash that never came, a branch that was meant and not reached, or a
    late generator, turns what passed into inconclusive; what failed stays. So does a case that cannot be told of a
    checker that promises something of every case. A load whose shape promises that the
    gateway's memory does not grow is judged by that too, which no requirement names. A checker that crashes makes the
    record an error, never a pass. A run that ends with a recovery is asked for that too, of the requirements in
    ``only`` (empty: all).
    """
    judging = Judging(contract, checks, only=only)
    judging.chapter(history)
    return judging.record()


class Judging:
    """Judges a run chapter by chapter into one record, and holds none of them; a whole run is one chapter.

    A case is counted in the chapter in which its call was sent; evidence is kept as of one run.
    """

    def __init__(self, contract: Contract, checks: Iterable[Checker], *, only: frozenset[str] = frozenset()) -> None:
        self._contract = contract
        self._checks = {check.name: check for check in checks}
        self._only = only
        self._verdicts: dict[str, Verdict] = {}
        self._errors: dict[str, str] = {}
        self._bare: History | None = None
        self._recovered: History | None = None
        self._reached: dict[str, int | None] = {}
        self._fired: Counter[str] = Counter()
        self._late: dict[str, None] = {}
        self._notes: list[Note] = []
        self._outcomes: Counter[str] = Counter()
        self._attempts = self._last_us = 0

    def chapter(self, history: History) -> None:
        """Judge the run's next chapter."""
        if self._bare is None:
            self._bare = History(replace(history.plan, calls=()))
            self._checks |= {check.name: check for check in recovery_checks(history, self._only)}
        self._late |= dict.fromkeys(_lateness(history))
        for name, count in branches_reached(history, self._contract).items():
            self._reached[name] = count if count is None else count + (self._reached.get(name) or 0)
        self._fired.update(fault.injection for fault in history.faults)
        self._notes += (note for note in history.notes if note.kind in _KEPT)
        self._outcomes.update(call.outcome for call in history.calls)
        self._attempts += len(history.attempts)
        self._last_us = max([self._last_us, *(call.end for call in history.calls)])
        for name, check in self._checks.items():
            if name not in self._errors:
                try:
                    self._verdicts[name] = check(history, self._contract, self._verdicts.get(name))
                except Exception:
                    self._errors[name] = traceback.format_exc(limit=8)
        if bound_ms(history) is not None:
            self._recovered = history

    @property
    def raised(self) -> list[Mapping[str, Any]]:
        """What the target let out, as notes tell it."""
        return [note.detail for note in self._notes if note.kind == RAISED]

    def record(self) -> dict[str, Any]:
        """Return the record of the chapters so far. AssertionError if there was none."""
        assert self._bare is not None
        bare = replace(self._bare, notes=tuple(self._notes))
        memory = memory_of(bare)
        doubts = [
            *_unfired(bare, self._fired),
            *_never_came(bare),
            *_unreached(bare, self._reached),
            *self._late,
            *(unanswered(bare.plan, self._outcomes) if "load" in bare.plan.options else ()),
            *self._left_open(bare.plan.claims),
        ]
        checked = [
            _record(self._verdicts[name], check, bare, bool(doubts))
            for name, check in self._checks.items()
            if name not in self._errors
        ]
        recovery, checked = told_apart(self._recovered, self._contract, checked)
        outcomes = [Outcome(check["outcome"]) for check in checked]
        outcomes += [Outcome(one["outcome"]) for one in memory if one["promised"]]
        return {
            "outcome": worst(outcomes).value,
            "doubts": doubts,
            "late": bool(self._late),
            "crashes": _crashes(bare),
            "errors": [{"checker": name, "traceback": told} for name, told in self._errors.items()],
            "checks": checked,
            "recovery": recovery,
            "memory": memory,
            "branches": self._reached,
            "reaches": list(bare.plan.options.get("reaches", ())),
            "calls": self._outcomes.total(),
            "attempts": self._attempts,
            "faults_planned": len(bare.plan.injections),
            "faults_fired": self._fired.total(),
            "virtual_s": round(self._last_us / 1e6, 3),
        }

    def _left_open(self, claims: Sequence[str]) -> Iterator[str]:
        """Say of what was promised of every case, and held in some, how many could not be told, and one of them."""
        for name, verdict in self._verdicts.items():
            for clause, told in verdict.clauses.items() if self._checks[name].whole else ():
                if told.passed and told.inconclusive and matches(claims, verdict.requirement, clause):
                    one = next(e for e in verdict.evidence if e.clause == clause and e.outcome is Outcome.INCONCLUSIVE)
                    cases = f"{told.inconclusive:,} of {told.passed + told.inconclusive + told.failed:,} cases"
                    yield f"{name}: {cases} could not be told ({one.expected}: {one.actual})"


def _record(verdict: Verdict, check: Checker, history: History, doubted: bool) -> dict[str, Any]:
    """Return one check's record: clauses that the target does not claim are unsupported, whatever was seen.

    So are those that this run lacks the tap for, if no case of them could be told without it.
    """
    claims = history.plan.claims
    untapped = check.untapped(history, verdict.clauses)
    clauses: dict[str, Any] = {}
    for name, result in verdict.clauses.items():
        outcome = result.outcome
        if not matches(claims, verdict.requirement, name):
            outcome = Outcome.UNSUPPORTED
        elif doubted and outcome is Outcome.PASS:
            outcome = Outcome.INCONCLUSIVE
        clauses[name] = {"outcome": outcome.value, **asdict(result)}
    outcome = worst(Outcome(clause["outcome"]) for clause in clauses.values())
    if not clauses and not all(c in untapped for c in check.clauses if matches(claims, check.requirement, c)):
        outcome = Outcome.INCONCLUSIVE
    return {
        "checker": check.name,
        "requirement": verdict.requirement,
        "promise": check.promise,
        "can_judge": list(check.clauses),
        "outcome": outcome.value,
        "clauses": clauses,
        "untapped": untapped,
        "evidence": [
            {**asdict(piece), "outcome": piece.outcome.value, "attempts": list(piece.attempts)}
            for piece in verdict.evidence
            if clauses[piece.clause]["outcome"] != Outcome.UNSUPPORTED.value
        ],
    }


def _unfired(history: History, fired: Container[str]) -> list[str]:
    """Say which planned faults never fired although the scenario needs them."""
    return [
        f"planned fault {injection['id']} ({injection['fault']['name']} at {injection['role']}) never fired"
        for injection in history.plan.injections
        if injection.get("must_fire", True) and injection["id"] not in fired
    ]


def _never_came(history: History) -> list[str]:
    """Say which planned crashes never came."""
    return [
        f"a planned crash never came: its store took no {note.detail['after_appends']} appends from then on"
        for note in history.notes
        if note.kind == NEVER_CAME
    ]


def _unreached(history: History, reached: Mapping[str, int | None]) -> list[str]:
    """Say which branches the scenario means to reach were not; one that the target does not claim it need not have."""
    return [
        f"branch {name} was not reached: {BRANCHES[name].told}"
        for name in history.plan.options.get("reaches", ())
        if name in BRANCHES and reached.get(name) == 0 and BRANCHES[name].claimed(history.plan.claims)
    ]


def _crashes(history: History) -> list[dict[str, Any]]:
    """Return what failed inside the gateway unhandled, by error, but for what the scenario's own failures explain.

    A kill explains nothing: a dead process says nothing more. A store that refuses explains as many of its errors as it
    refused appends, a full disk all of them.
    """
    options = history.plan.options
    explained = sum(int(failure.get("appends", 1)) for failure in options.get("store_failures", ()))
    if options.get("full_disks"):
        explained = sys.maxsize
    found = []
    logged: Counter[str] = Counter()
    for note in history.notes:
        if note.kind == "gateway_crash":
            kind = str(note.detail["error"]).partition(" ")[0]
            logged[kind] += note.detail["count"]
            excused = min(explained, note.detail["count"]) if kind == STORE_ERROR else 0
            explained -= excused
            found.append({"error": note.detail["error"], "count": note.detail["count"] - excused})
    for note in history.notes:
        # An answer that stops in its middle is for checkers to see: nothing was raised.
        if note.kind == RAISED and note.detail["type"] and note.detail["message"] != BROKEN_OFF:
            kind, count = note.detail["type"], note.detail["count"]
            told = min(logged[kind], count)  # it was logged on its way out, and is counted there
            logged[kind] -= told
            found.append({"error": f"{kind} out of the application", "count": count - told})
    return [crash for crash in found if crash["count"]]


def _lateness(history: History) -> list[str]:
    """Say in what the generator fell short: then what a run did not show may be its own fault."""
    if history.plan.mode == "sim":
        return []
    if "load" in history.plan.options:
        return [f"generator: {why}" for why in shortcomings(history)]
    late = max((note.detail["max_us"] for note in history.notes if note.kind == "lateness"), default=0)
    return [f"the generator was up to {late / 1e3:.0f} ms late"] if late > LATENESS_BOUND_US else []


def merge(clauses: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several results of one clause as one: a failure anywhere is a failure, a proof anywhere else a pass."""
    total = ClauseResult()
    outcomes = []
    for clause in clauses:
        total.passed += clause["passed"]
        total.failed += clause["failed"]
        total.inconclusive += clause["inconclusive"]
        outcomes.append(Outcome(clause["outcome"]))
    order = (Outcome.FAIL, Outcome.PASS, Outcome.INCONCLUSIVE)
    outcome = next((o for o in order if o in outcomes), Outcome.UNSUPPORTED)
    return {"outcome": outcome.value, **asdict(total)}
