"""What a verdict is and how a checker becomes known; it may judge nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal

from harness.contract import Contract, load_requirements

if TYPE_CHECKING:
    from harness.history import AttemptSpan, CallSpan, History

EVIDENCE_CAP = 25
"""How many broken cases of one clause keep their evidence; the rest are counted."""


class Outcome(Enum):
    """What one clause, requirement or scenario came to. Worst first, see ``worst``."""

    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    UNSUPPORTED = "unsupported"


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of ``outcomes``: fail, inconclusive, pass, unsupported; unsupported if there are none."""
    order = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
    seen = set(outcomes)
    return next((outcome for outcome in order if outcome in seen), Outcome.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One case that broke (or could not settle) a clause: which call or attempt, what was promised, what was seen."""

    clause: str
    outcome: Outcome
    expected: str
    actual: str
    call: str = ""
    attempts: tuple[str, ...] = ()
    at_us: int | None = None


@dataclass(slots=True)
class ClauseResult:
    """The cases of one clause, counted."""

    passed: int = 0
    failed: int = 0
    inconclusive: int = 0

    @property
    def outcome(self) -> Outcome:
        if self.failed:
            return Outcome.FAIL
        if self.passed:
            # A clause proved on some cases stands although others could not be told: each of those is reported.
            return Outcome.PASS
        return Outcome.INCONCLUSIVE


@dataclass(slots=True)
class Verdict:
    """What one checker says of one history: a result per clause that it met a case of, and the evidence.

    A clause without a case is absent: absent is never passed.
    """

    requirement: str
    checker: str = ""
    clauses: dict[str, ClauseResult] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """The worst clause; inconclusive if there was nothing to judge."""
        if not self.clauses:
            return Outcome.INCONCLUSIVE
        return worst(result.outcome for result in self.clauses.values())

    def case(
        self,
        clause: str,
        ok: bool | None,
        *,
        expected: object = "",
        actual: object = "",
        call: CallSpan | str | None = None,
        attempts: Iterable[AttemptSpan] = (),
        at_us: int | None = None,
    ) -> bool:
        """Count one case of ``clause``: True held, False broke, None cannot be told. Returns whether it did not break.

        ``expected`` and ``actual`` are kept as text, for broken and untold cases only; build them lazily if dear
        (a callable is called only when needed).
        """
        result = self.clauses.get(clause)
        if result is None:
            result = self.clauses[clause] = ClauseResult()
        if ok:
            result.passed += 1
            return True
        outcome = Outcome.INCONCLUSIVE if ok is None else Outcome.FAIL
        count = result.inconclusive if ok is None else result.failed
        if ok is None:
            result.inconclusive += 1
        else:
            result.failed += 1
        if count < EVIDENCE_CAP:
            call_id = call if isinstance(call, str) else (call.id if call is not None else "")
            self.evidence.append(
                Evidence(
                    clause,
                    outcome,
                    str(expected() if callable(expected) else expected),
                    str(actual() if callable(actual) else actual),
                    call_id,
                    tuple(attempt.id for attempt in attempts),
                    at_us,
                )
            )
        return ok is None


Judgement = Callable[["History", Contract, Verdict], None]


@dataclass(frozen=True, slots=True)
class Checker:
    """A pure function from a history and the effective contract to a verdict on one requirement."""

    name: str
    requirement: str
    clauses: tuple[str, ...]
    promise: str
    judge: Judgement
    books: frozenset[str] = frozenset()
    """The clauses that only the gateway's books, or what stands in for them, can tell."""
    untimed: frozenset[str] = frozenset()
    """The clauses that are judged soundly of callers whose clocks do not compare: by counts, and by one clock alone."""
    whole: bool = False
    """Whether it promises something of every case: one that cannot be told leaves the promise open."""

    def untapped(self, history: History, judged: Iterable[str]) -> dict[str, str]:
        """Return which clauses no case was met of for want of a tap, and of which: with it there may have been some.

        Hardly anything can be told of a gateway without the upstreams' journal, so that no clause names it.
        """
        unseen = [clause for clause in self.clauses if clause not in set(judged)]
        if not history.has_tap("journal"):
            return dict.fromkeys(unseen, "this run has no journal of the upstreams")
        if not history.has_tap("books"):
            return {clause: "this run has no books" for clause in unseen if clause in self.books}
        return {}

    def __call__(self, history: History, contract: Contract, verdict: Verdict | None = None) -> Verdict:
        """Judge ``history``, into the verdict on the chapters before it if there is one.

        What rests on when things happened is not told of callers whose clocks do not compare. AssertionError if the
        checker judged a clause that it did not declare.
        """
        verdict = verdict or Verdict(self.requirement, self.name)
        self.judge(history, contract, verdict)
        undeclared = set(verdict.clauses) - set(self.clauses)
        assert not undeclared, f"checker {self.name} judged undeclared clauses {sorted(undeclared)}"
        return verdict if history.clocks_compare else self._without_clocks(verdict)

    def _without_clocks(self, verdict: Verdict) -> Verdict:
        told = Verdict(verdict.requirement, verdict.checker)
        for clause, result in verdict.clauses.items():
            if clause in self.untimed:
                told.clauses[clause] = result
            else:
                told.case(clause, None, expected=self.promise, actual="the callers' clocks do not compare")
        told.evidence += [piece for piece in verdict.evidence if piece.clause in self.untimed]
        return told


CHECKERS: dict[str, Checker] = {}
"""All checkers by name, filled by ``@checker`` as the modules of ``harness.checkers`` are imported."""


def checker(
    requirement: str,
    *clauses: str,
    books: Literal["all"] | tuple[str, ...] = (),
    untimed: Literal["all"] | tuple[str, ...] = (),
    whole: bool = False,
) -> Callable[[Judgement], Checker]:
    """Register a function ``(history, contract, verdict) -> None`` as a checker of ``clauses`` of ``requirement``.

    ``books`` are those of them that cannot be told of a gateway whose books cannot be read, ``untimed`` those that can
    be told of callers whose clocks do not compare. ``whole``: a case that cannot be told leaves a load's promise open.
    Raises ValueError for an id or clause that the catalogue does not have, or a name used twice.
    """

    def register(judge: Judgement) -> Checker:
        known = load_requirements()
        if requirement not in known:
            raise ValueError(f"checker {judge.__name__}: no requirement {requirement!r} in the catalogue")
        missing = [clause for clause in clauses if clause not in known[requirement].clauses]
        if missing or not clauses:
            raise ValueError(
                f"checker {judge.__name__}: {requirement} has no clause {missing}; it has "
                f"{sorted(known[requirement].clauses)}"
            )
        needing = clauses if books == "all" else books
        clockless = clauses if untimed == "all" else untimed
        for name, some in (("books", needing), ("untimed", clockless)):
            if not set(some) <= set(clauses):
                raise ValueError(f"checker {judge.__name__}: {name} {sorted(some)} are not all clauses of it")
        if judge.__name__ in CHECKERS:
            raise ValueError(f"two checkers are called {judge.__name__}")
        promise = (judge.__doc__ or "").strip().splitlines()[0] if judge.__doc__ else ""
        needs, untimes = frozenset(needing), frozenset(clockless)
        made = Checker(judge.__name__, requirement, clauses, promise, judge, needs, untimes, whole)
        CHECKERS[made.name] = made
        return made

    return register
