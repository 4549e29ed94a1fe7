"""The runner's own calls at a run's end: lone probes that tell whether the gateway recovered; it sends none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from harness.checkers.recovery import PROBE, WARM_UP
from harness.checkers.wire import CHARGED_SURFACES
from harness.contract import Contract, Model
from harness.scenario import Account, Call, Reply, Scenario, World, chat, images, messages

PROBE_ACCOUNT = "recovery"
"""An account of the harness's own, in every world: its lone probes tell whether the gateway recovered."""
LONE_AFTER_MS = 600
"""By then whatever the call before it held is given back, on sockets as well."""
PROBE_TOKENS = 128
"""More than the prompt of one of these calls ever reserves, and what it asks for where it can say so."""


def recovers(scenario: Scenario) -> bool:
    """Say whether a run ends with a recovery check: every run with faults in it does, and what asks for it."""
    faults = scenario.injections or scenario.crashes or scenario.store_failures or scenario.world.listeners
    return scenario.recovers or bool(faults)


def with_probe_account(world: World) -> World:
    """Return ``world`` with the harness's own account in it."""
    return replace(world, accounts=(*world.accounts, Account(PROBE_ACCOUNT)))


def recovery_calls(scenario: Scenario, contract: Contract) -> tuple[Call, ...]:
    """Return, per model that the scenario calls, calls that close its circuit and then one lone probe.

    Only where a circuit can have opened are there calls to close it, and never more than the limits have room for.
    """
    asked: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, str], Model] = {}
    for call in scenario.workload.calls:
        model = contract.model("enterprise" if call.tier == "managed" else "general", call.model)
        if call.surface not in CHARGED_SURFACES or call.path or model is None or model.cli_only:
            continue
        if {"chat", "messages", "images"} & set(model.surfaces):
            asked[call.tier, model.id] += 1
            found[call.tier, model.id] = model
    probes: list[Call] = []
    left = contract.user_rate.requests
    for (tier, _), model in found.items():
        room = left if tier == "general" else _room(model, contract)
        if room < 1:
            continue
        closing = _to_close(scenario, contract, asked[tier, model.id]) if tier == "managed" else 0
        left -= tier == "general"
        probes += _probes(model, tier, closing if closing < room else 0, len(probes))
    return tuple(probes)


def _room(model: Model, contract: Contract) -> int:
    limits = contract.limits(model)
    tokens = PROBE_TOKENS + (model.default_output_tokens if _maker(model) is images else 0)
    return min(limits.requests, limits.tokens // tokens, limits.requests if limits.images is None else limits.images)


def _maker(model: Model) -> Callable[..., Call]:
    """Return what makes a call of ``model``, on the first of its surfaces that probes know."""
    if "chat" in model.surfaces:
        return chat
    return messages if "messages" in model.surfaces else images


def _to_close(scenario: Scenario, contract: Contract, calls: int) -> int:
    """Return how many successes close the circuits of a model that was called so often: none if none can be open."""
    rules = contract.breaker
    may_fail = scenario.injections or scenario.world.listeners or rules.slow_ms is not None
    tries = calls * (1 + contract.failover.retries_per_target)
    return rules.successes_to_close if may_fail and tries >= rules.min_calls else 0


def _probes(model: Model, tier: str, closing: int, taken: int) -> list[Call]:
    """Return calls that follow one another, the last one when nothing of the others is left."""
    make = _maker(model)
    bounded = {} if make is images else {"max_tokens": 16}
    made: list[Call] = []
    for number in range(closing + 1):
        name = f"r{taken + number + 1}"
        first, last = number == 0, number == closing
        made.append(
            make(
                model.id,
                tier=tier,
                account=PROBE_ACCOUNT,
                id=name,
                at_ms=None,
                after=() if first else (made[-1].id,),
                delay_ms=LONE_AFTER_MS if last and not first else 0,
                **bounded,
                reply=Reply(chunks=1, ttft_ms=1, gap_ms=0),
                tag=PROBE if last else WARM_UP,
            )
        )
    return made
