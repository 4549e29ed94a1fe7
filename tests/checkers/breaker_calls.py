"""Hand-written traffic for breakers, a letter for each call: what its primary did, and where it went then."""

from __future__ import annotations

from typing import Any

from harness.history import Reading
from tests.checkers.traffic_histories import Traffic, contract_with, error, us

RULES = contract_with(
    breaker__min_calls=4,
    breaker__window_ms=10_000,
    breaker__cooldown_ms=1_000,
    breaker__cooldown_cap_ms=3_000,
    breaker__probes=2,
    breaker__successes_to_close=2,
    breaker__permit_timeout_ms=5_000,
)


class Calls(Traffic):
    """Calls by letter: F fails at the primary and moves on, S succeeds there, X passes it over, and so on."""

    def go(self, letters: str, at: float, gap: float = 100, lasts: float = 10, **options: Any) -> Calls:
        """Add a call for each letter, ``gap`` ms apart, whose primary takes ``lasts`` ms."""
        for n, letter in enumerate(letters):
            self._one(letter, at + n * gap, lasts, options)
        return self

    def _one(self, letter: str, at: float, lasts: float, options: dict[str, Any]) -> None:
        id_, end = f"c{len(self.calls) + 1}", at + lasts
        if letter == "G":  # its client leaves
            self.call(id_, at, at + lasts / 2, outcome="aborted", status=None, **options)
            self.attempt(id_, at, end, ended="left")
            return
        if letter == "C":  # its own fault
            self.failed(id_, at, end, 400, "invalid_request_error", **options)
            self.attempt(id_, at, end, status=400)
            return
        if letter == "B":  # its stream breaks at the end, after content
            self.call(id_, at, end, stream=True, first_content=us(at + 1), outcome="error", reading=error("api_error"))
            said = Reading(text="primary", sequence="content")
            self.attempt(id_, at, end, fault="truncate", reading=said, first_chunk=us(at + 1))
            return
        self.call(id_, at, end + 20, headers=self.governor() if "headers" not in options else options["headers"])
        if letter != "X":
            status = {"F": 503, "S": 200, "T": 401}[letter]
            self.attempt(id_, at, end, status=status)
        if letter != "S":
            self.attempt(id_, end if letter != "X" else at, end + 20, "second")


def calls(**overlay: Any) -> Calls:
    return Calls(RULES if not overlay else contract_with(**{**BASE, **overlay}))


BASE = {
    "breaker__min_calls": 4,
    "breaker__window_ms": 10_000,
    "breaker__cooldown_ms": 1_000,
    "breaker__cooldown_cap_ms": 3_000,
    "breaker__probes": 2,
    "breaker__successes_to_close": 2,
    "breaker__permit_timeout_ms": 5_000,
}
OPENED = 310
"""When four failures from 0 on, 100 ms apart, have opened a circuit."""


def opened(then: str, at: float, **options: Any) -> Calls:
    """Return four failures, and what came at ``at``."""
    return calls().go("FFFF", 0).go(then, at, **options)


def reopened(then: str, at: float) -> Calls:
    """Return a circuit that a failed probe at 1,400 opened again, and what came at ``at``."""
    return opened("X", 700).go("F", 1_400).go(then, at)
