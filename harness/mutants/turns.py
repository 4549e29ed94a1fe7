"""Mutants that let a client's own retries cost more than they may, or cost somebody else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from harness.contract import Model
from harness.gateway.call import Call
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.governor import Governor, Windows
from harness.gateway.pipeline import Pipeline
from harness.gateway.settlement import Settler
from harness.gateway.usage import Usage
from harness.mutants.moves import classifying
from harness.mutants.registry import mutant


@mutant(breaks="CLIENT-04")
def keeps_one_window_for_all_accounts(parts: Components) -> Components:
    """Counts everybody's requests for a model in one window, so that one failing turn uses up all quotas."""

    class Shared(Governor):
        def _windows_of(self, account: str, model: Model) -> Windows:
            shared = super()._windows_of("everybody", model)
            self._windows.setdefault(account, {})[model.id] = shared
            return shared

    return replace(parts, governor=Shared(parts.contract, parts.clock))


@mutant(breaks="CLIENT-04")
def lets_failed_tries_use_their_neighbours_quota(parts: Components) -> Components:
    """Counts a call that failed upstream in the windows of the model's other accounts as well."""

    class Spreading(Settler):
        def release(self, parts: Components, call: Call) -> None:
            if call.ticket is not None and call.attempts and call.model is not None:
                for account, models in parts.governor._windows.items():
                    if account != call.account and call.model.id in models:
                        models[call.model.id].requests.take(parts.clock.now_us(), 1)
            super().release(parts, call)

    return replace(parts, settler=Spreading(parts.contract))


@mutant(breaks="CLIENT-04")
def blames_the_path_for_callers_who_cannot_pay(parts: Components) -> Components:
    """Counts a 402 of its own against the model's first path: a client that repeats it opens the circuit."""

    class Blaming(Pipeline):
        async def serve(self, parts: Components, call: Call) -> None:
            try:
                await super().serve(parts, call)
            except Refusal as refusal:
                if refusal.name == "insufficient_balance" and call.model is not None:
                    now_us = parts.clock.now_us()
                    permit = parts.breaker.permit((call.model.id, call.model.chain[0].role), now_us)
                    if permit is not None:
                        parts.breaker.record(permit, "failure", now_us)
                raise

    return replace(parts, pipeline=Blaming())


@mutant(breaks="CLIENT-04")
def opens_on_repeated_conflicts(parts: Components) -> Components:
    """Counts a 409, which SDKs repeat, against the path, and no other fault of the client."""
    return classifying(parts, lambda status, made: replace(made, counts=made.counts or status == 409))


@mutant(breaks="CLIENT-04")
def charges_a_retry_for_the_failure_before_it(parts: Components) -> Components:
    """Lets a failed call go free, and adds a credit for it to its account's next success."""

    class Remembering(Settler):
        failed: Counter[str]

        def release(self, parts: Components, call: Call) -> None:
            self.failed[call.account] += bool(call.attempts and call.ticket is not None)
            super().release(parts, call)

        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            return super().cost(parts, call, usage) + self.failed.pop(call.account, 0)

    made = Remembering(parts.contract)
    made.failed = Counter()
    return replace(parts, settler=made)
