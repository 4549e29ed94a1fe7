"""Steps of which hand-written histories of the wire are made: functions that add to a ``Wire``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from harness.checker import Checker, Outcome
from harness.checkers.flaws import OFFICIAL_CLI
from harness.checkers.wire import ROUTES
from tests.checkers.wire_histories import CHAT, CLAUDE, GENERAL_CLAUDE, GPT, MESSAGES, Case, Wire, reading_of

Step = Callable[[Wire], Any]
PASS, FAIL, UNTOLD = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
COUNT = f"{MESSAGES}/count_tokens"
LIST = "/v1/managed/models"
X_API_KEY = {"auth": "x-api-key"}
BOTH = {"auth": ["bearer", "x-api-key"], "other_key": "b-active"}
CLI = {"tag": OFFICIAL_CLI, "headers": {"user-agent": "claude-cli/2.1.197 (external, sdk-cli)"}}
TTY = {"tag": OFFICIAL_CLI, "headers": {"User-Agent": "claude-cli/2.1.197 (external, cli)"}}
TOOLS = ({"id": "call_1", "name": "lookup", "arguments": '{"a":1}'},)
OTHER_TOOLS = ({"id": "call_2", "name": "lookup", "arguments": '{"a":1}'},)
PLACES = (
    ("managed", MESSAGES, CLAUDE),
    ("root", "/v1/messages", CLAUDE),
    ("general", "/api/v1/messages", GENERAL_CLAUDE),
)


def surface_of(path: str) -> str:
    """The surface whose answers a path gives."""
    route = ROUTES.get(path.partition("?")[0])
    surface = route.surface if route is not None else "raw"
    return "messages" if surface == "count_tokens" else surface


def served(
    path: str = CHAT,
    model: str = GPT,
    *,
    stream: bool = False,
    read: Mapping[str, Any] = MappingProxyType({}),
    saw: Mapping[str, Any] = MappingProxyType({}),
    upstream: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> Step:
    """A charged call that was answered: what both sides read beside the usual, what the caller alone saw."""

    def run(wire: Wire) -> None:
        theirs = reading_of(surface_of(path), stream=stream, **read)
        mine = replace(theirs, **{"model": model, **saw})
        wire.served(path, model, stream=stream, reading=mine, upstream={"reading": theirs, **upstream}, **changes)
        if changes.get("status", 200) == 200:
            wire.entry("post", -1, call=wire.calls[-1].id)

    return run


def refused(path: str, row: str, model: str = GPT, **changes: Any) -> Step:
    """A call that was answered with the contract's error ``row``."""
    return lambda wire: wire.refused(path, model, row, **changes)


def asked(
    path: str,
    model: str,
    sent: dict[str, Any],
    got: dict[str, Any],
    *,
    upstream: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> Step:
    """A call whose body was ``sent`` and reached the upstream as ``got``; ``upstream`` changes the attempt."""

    def run(wire: Wire) -> None:
        id_ = wire.call(path, model, request={"model": model, **sent}, **changes)
        target = f"{model}:us-east"
        wire.attempt(id_, surface=surface_of(path), body={"model": target, **got}, model=target, **upstream)

    return run


def hit_by(fault: str, step: Step) -> Step:
    """A step whose last attempt a fault hit."""
    return in_turn(step, lambda wire: wire.fault(fault))


def in_turn(*steps: Step) -> Step:
    """One step after the other."""

    def run(wire: Wire) -> None:
        for step in steps:
            step(wire)

    return run


def kept(
    check: Checker, clause: str, path: str, model: str, field: str, value: Any, other: Any, *, stream: bool = True
) -> Case:
    """A field of an answer that came back as the upstream sent it, or otherwise."""
    return Case(
        check,
        clause,
        served(path, model, stream=stream, read={field: value}),
        served(path, model, stream=stream, read={field: value}, saw={field: other}),
    )
