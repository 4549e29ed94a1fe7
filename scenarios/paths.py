"""Calls of one model that walk its circuit from state to state; it holds no scenario."""

from __future__ import annotations

import random

from harness.scenario import Call, Injection, Reply, chat
from mock_upstreams.faults import FaultSpec, respond


class Path:
    """Calls of one model, one after the other, each with what its primary does: ``now_ms`` moves on with each."""

    def __init__(self, model: str, rng: random.Random, start_ms: float = 0, make=chat) -> None:  # type: ignore[no-untyped-def]  # one of the call builders
        self.calls: list[Call] = []
        self.injections: list[Injection] = []
        self.now_ms = start_ms + rng.randrange(1, 1_000) / 1e3
        self._make = make
        self._model = model
        self._rng = rng

    def ask(self, fault: FaultSpec | None = None, *, took_ms: float | None = None, **options: object) -> float:
        """Add a call now; ``took_ms`` is how long its primary takes to answer. Return when its attempt there ends."""
        took = self._rng.randrange(5_000, 50_000) / 1e3 if took_ms is None else took_ms
        call: Call = self._make(
            self._model,
            id=f"{self._model}-{len(self.calls) + 1}",
            at_ms=self.now_ms,
            **{"reply": Reply(chunks=1, ttft_ms=took, gap_ms=0), **options},
        )
        self.calls.append(call)
        if fault is not None:
            self.injections.append(Injection("primary", fault, calls=(call.id,)))
        return self.now_ms + took

    def sequence(self, outcomes: str, gap_ms: float = 100) -> float:
        """Ask once per letter, F to fail and S to succeed, each after the one before; return the last one's end."""
        end_ms = self.now_ms
        for outcome in outcomes:
            took_ms = self._rng.randrange(5_000, 50_000) / 1e3
            fault = respond(status=503, after_s=took_ms / 1e3) if outcome == "F" else None
            end_ms = self.ask(fault, took_ms=took_ms)
            self.now_ms += gap_ms
        return end_ms

    def wait_until(self, at_ms: float) -> None:
        """Let time pass until ``at_ms``, and a little more than nothing."""
        self.now_ms = at_ms + self._rng.randrange(100, 900) / 1e3
