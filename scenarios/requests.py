"""What the scenarios of the wire send: a call on every path, drawn replies, the official CLI; it has no scenario."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from harness.checkers.flaws import OFFICIAL_CLI
from harness.checkers.wire import BODILESS, ROUTES
from harness.contract import Contract
from harness.scenario import Call, Reply

SURFACES = ("chat", "messages", "responses")
WITH_MODEL = (*SURFACES, "count_tokens")
ONE_OF_EACH = (
    "/v1/managed/chat/completions",
    "/v1/managed/messages",
    "/v1/managed/responses",
    "/v1/messages/count_tokens",
    "/api/v1/chat/completions",
)
"""A path of each surface that takes a model, one of them of the general tier."""
WIDE = 9_007_199_254_740_993
"""2**53 + 1: the first whole number that a double cannot hold."""
WIDEST = 2**63 - 1
TOOL_SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}, "limit": {"type": "integer"}}}


def model_ids(contract: Contract, tier: str, surface: str, family: str = "") -> list[str]:
    """Return the ids of the open models that ``tier`` serves on ``surface``, image models on that of images alone."""
    return [
        model.id
        for model in contract.models
        if model.tier == tier
        and surface in model.surfaces
        and model.media == ("image" if surface == "images" else "text")
        and not model.cli_only
        and family in ("", model.family)
    ]


def max_ids(contract: Contract) -> list[str]:
    """Return the CLI-only ids."""
    return [model.id for model in contract.models if model.cli_only]


def on_every_path(contract: Contract, *, surfaces: Iterable[str] = (), **options: Any) -> Iterator[Call]:
    """Yield a call on every path of the documents, or on those of ``surfaces``, with a model that it serves."""
    wanted = tuple(surfaces)
    for path, route in ROUTES.items():
        if wanted and route.surface not in wanted:
            continue
        tier = "enterprise" if route.tier == "root" else route.tier
        managed = {"tier": "managed" if tier == "enterprise" else "general"}
        if route.surface in BODILESS:
            surface = "raw" if route.surface == "ledger" else "models"
            yield Call(surface, "", path=path, method="GET", **{**managed, **options, "stream": False})
            continue
        bare = "messages" if route.surface == "count_tokens" else route.surface
        stream = options.get("stream", False) and route.surface in SURFACES
        model = model_ids(contract, tier, bare)[0]
        yield Call(route.surface, model, path=path, **{**managed, **options, "stream": stream})


def spaced(calls: Iterable[Call], gap_ms: float = 10, start_ms: float = 0) -> tuple[Call, ...]:
    """Return the calls, each ``gap_ms`` behind the one before; a call that follows others is left as it is."""
    return tuple(call if call.after else replace(call, at_ms=start_ms + gap_ms * n) for n, call in enumerate(calls))


def drawn_reply(rng: random.Random, **options: Any) -> Reply:
    """Return a reply with drawn timing and size."""
    return Reply(chunks=rng.randrange(2, 6), ttft_ms=rng.randrange(1, 60), gap_ms=rng.choice((0, 1, 2, 5)), **options)


def with_drawn_replies(calls: Iterable[Call], rng: random.Random, **options: Any) -> list[Call]:
    """Return the calls, each with a reply of its own drawn timing."""
    return [replace(call, reply=drawn_reply(rng, **options)) for call in calls]


def cli_call(contract: Contract, model: str, *, interactive: bool, **options: Any) -> Call:
    """Return a messages call that carries all that the official command line client was seen to send."""
    session = "0b9c7a52-6d7e-4f6b-9a53-2f1f6f0f6a11"
    marks, entry = contract.cli_only, "cli" if interactive else "sdk-cli"
    user = {"device_id": "ab" * 32, "account_uuid": "", "session_id": session}
    lead = (
        "You are Claude Code, Anthropic's official CLI for Claude."
        if interactive
        else "You are a Claude agent, built on Anthropic's Claude Agent SDK."
    )
    billing = f"x-anthropic-billing-header: cc_version=2.1.197.699; cc_entrypoint={entry};"
    headers = {
        "user-agent": f"claude-cli/2.1.197 (external, {entry})",
        marks.app_header: marks.app_value,
        marks.beta_header: f"{marks.beta_prefix}20250219,interleaved-thinking-2025-05-14",
        marks.session_header: session,
        "anthropic-dangerous-direct-browser-access": "true",
    }
    fields = {
        "system": [{"type": "text", "text": billing}, {"type": "text", "text": lead}],
        "metadata": {"user_id": json.dumps(user)},
        "tools": [{"name": "Bash", "description": "Run a command", "input_schema": TOOL_SCHEMA}],
    }
    call = Call("messages", model, max_tokens=2048, **options)
    return replace(
        call,
        headers={**headers, **call.headers},
        fields={**fields, **call.fields},
        tag=f"{call.tag} {OFFICIAL_CLI}".strip(),
    )
