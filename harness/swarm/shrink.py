"""Makes a failing scenario small: fewer faults, fewer calls, then plainer ones; it asks only whether one still fails.

Greedy over the scenario's values rather than over Hypothesis's choices: a dropped call leaves all others as they were,
so that a few dozen simulations do what takes choice by choice a thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import islice
from typing import Any

from harness.scenario import Account, Call, Injection, Key, Reply, Scenario, Workload, World

Fails = Callable[[Scenario], bool]
_CALL_KEEPS = frozenset(
    {"surface", "model", "id", "account", "key", "tier", "method", "path", "at_ms", "after", "reply"}
)
_INJECTION_KEEPS = frozenset({"role", "fault", "id", "must_fire"})


def size(scenario: Scenario) -> tuple[int, int]:
    """Return how many faults (injections, crashes, failures of the store, listeners that do not listen) and calls."""
    faults = len(scenario.injections) + len(scenario.crashes) + len(scenario.store_failures)
    return faults + len(scenario.world.listeners), len(scenario.workload.calls)


def shrink(scenario: Scenario, fails: Fails, out_of_time: Callable[[], bool]) -> Scenario:
    """Return the smallest scenario found that still fails, when no single step makes it smaller or time is up."""
    while True:
        before = scenario
        for steps in (_fewer_faults, _fewer_calls, _plainer_world, _plainer_calls, _plainer_faults):
            scenario = _descend(scenario, steps, fails, out_of_time)
        if scenario == before or out_of_time():
            return scenario


def _descend(
    scenario: Scenario, steps: Callable[[Scenario], Iterator[Scenario]], fails: Fails, out_of_time: Callable[[], bool]
) -> Scenario:
    """Take every step that still fails, going on from the place at which the last one was taken."""
    place = 0
    while True:
        for smaller in islice(steps(scenario), place, None):
            if out_of_time():
                return scenario
            if smaller != scenario and fails(smaller):
                scenario = smaller
                break
            place += 1
        else:
            return scenario


def _fewer_faults(scenario: Scenario) -> Iterator[Scenario]:
    bare = replace(scenario.world, listeners={})
    yield replace(scenario, injections=(), crashes=(), store_failures=(), world=bare)
    yield replace(scenario, crashes=(), store_failures=())
    yield replace(scenario, world=bare)
    for role in scenario.world.listeners:
        others = {name: state for name, state in scenario.world.listeners.items() if name != role}
        yield replace(scenario, world=replace(scenario.world, listeners=others))
    for left_out in scenario.injections:
        yield replace(scenario, injections=tuple(one for one in scenario.injections if one is not left_out))


def _fewer_calls(scenario: Scenario) -> Iterator[Scenario]:
    yield replace(scenario, recovers=False)
    calls = scenario.workload.calls
    for length in (len(calls) // 2, len(calls) // 4, 1):
        for start in range(0, len(calls), length) if length else ():
            rest = (*calls[:start], *calls[start + length :])
            if rest:
                yield _with_calls(scenario, rest)


def _with_calls(scenario: Scenario, calls: tuple[Call, ...]) -> Scenario:
    """Return the scenario with these calls alone; who came after one that is gone comes when its time would be."""
    there = {call.id for call in calls}
    kept = []
    for call in calls:
        after = tuple(name for name in call.after if name in there)
        at_ms = call.at_ms if after or call.at_ms is not None else 0.0
        kept.append(replace(call, after=after, at_ms=at_ms))
    aimed = [
        replace(one, calls=tuple(name for name in one.calls if name in there))
        for one in scenario.injections
        if not one.calls or there & set(one.calls)
    ]
    return replace(scenario, workload=Workload(tuple(kept)), injections=tuple(aimed))


def _plainer_world(scenario: Scenario) -> Iterator[Scenario]:
    world = scenario.world
    yield replace(scenario, connect_ms=0.0, latency_ms=0.0, chop=False)
    yield replace(scenario, bodies=False)
    yield replace(scenario, world=replace(world, overlay={}))
    for key in world.overlay:
        rest = {name: value for name, value in world.overlay.items() if name != key}
        yield replace(scenario, world=replace(world, overlay=rest))
    yield replace(scenario, world=_only_needed(world, scenario.workload.calls))
    for account in world.accounts:
        rich = replace(account, credits=Account("").credits)
        yield replace(
            scenario,
            world=replace(world, accounts=tuple(rich if one is account else one for one in world.accounts)),
        )


def _only_needed(world: World, calls: tuple[Call, ...]) -> World:
    """Return the world with the accounts and keys that calls use."""
    used = {(call.account, call.key) for call in calls}
    accounts = []
    for account in world.accounts:
        keys: tuple[Key, ...] = tuple(key for key in account.keys if (account.id, key.id) in used)
        if any(name == account.id for name, _ in used):
            accounts.append(replace(account, keys=keys or account.keys))
    return replace(world, accounts=tuple(accounts))


def _plainer_calls(scenario: Scenario) -> Iterator[Scenario]:
    for number, call in enumerate(scenario.workload.calls):
        for plainer in _plainer_call(call):
            calls = list(scenario.workload.calls)
            calls[number] = plainer
            yield replace(scenario, workload=Workload(tuple(calls)))


def _plainer_call(call: Call) -> Iterator[Call]:
    yield _defaulted(call, *(name for name in _defaults(Call) if name not in _CALL_KEEPS))
    yield replace(call, reply=Reply())
    for name in _defaults(Call):
        if name not in _CALL_KEEPS:
            yield _defaulted(call, name)
    for name in _defaults(Reply):
        yield replace(call, reply=_defaulted(call.reply, name))
    if call.at_ms is not None and not call.after:
        yield replace(call, at_ms=0.0)
        yield replace(call, at_ms=float(round(call.at_ms, -2)))


def _plainer_faults(scenario: Scenario) -> Iterator[Scenario]:
    for number, injection in enumerate(scenario.injections):
        for plainer in _plainer_injection(injection):
            injections = list(scenario.injections)
            injections[number] = plainer
            yield replace(scenario, injections=tuple(injections))


def _plainer_injection(injection: Injection) -> Iterator[Injection]:
    names = [name for name in _defaults(Injection) if name not in _INJECTION_KEEPS]
    yield _defaulted(injection, *names)
    for name in names:
        yield _defaulted(injection, name)
    yield replace(injection, role="primary")
    for name in injection.fault.params:
        if not injection.fault.fault.parameters[name].required:
            rest = {key: value for key, value in injection.fault.params.items() if key != name}
            yield replace(injection, fault=replace(injection.fault, params=rest))


def _defaults(cls: type[Any]) -> dict[str, Any]:
    blank = {Call: Call("", ""), Reply: Reply()}.get(cls)
    if blank is None:
        return {field.name: field.default for field in fields(cls) if field.name not in _INJECTION_KEEPS}
    return {field.name: getattr(blank, field.name) for field in fields(cls)}


def _defaulted(value: Any, *names: str) -> Any:
    defaults = _defaults(type(value))
    return replace(value, **{name: defaults[name] for name in names})
