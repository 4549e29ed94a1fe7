"""Coding agents: long prompts sent again and again with a little more, tools, sessions, cache reads; it sends nothing.

A session is what one person's agent does: turns one after the other, each with the whole conversation so far. Claude
Code speaks messages and names its session in a header; Codex speaks responses. The upstreams emulate their prompt
caches, so that what was sent before is read from there, as it is billed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from heapq import merge
from typing import Any

from harness.checkers.billing import streams_are_billed_at_their_end
from harness.checkers.load_ceilings import each_call_reaches_one_upstream_once
from harness.checkers.load_slots import slots_stay_bounded_under_load
from harness.checkers.remaining import governor_is_announced
from harness.contract import Contract, Model
from harness.load.shape import Asked, Load, numbered, shape, takes_no
from harness.load.shapes.parts import MONEY, at_ms_of, world
from harness.scenario import Call, Reply

SESSION_TURNS = 6
TURN_MS = 4_000
"""From one turn of a session to the next, more or less: agents do not wait for the same stroke of a clock."""
SYSTEM_BYTES = 96 << 10
"""Instructions and tool descriptions, the same in each turn; with the conversation a body of about 128 kB."""
TOOL_BYTES = 5 << 10
"""What a tool gives back to the agent in a turn."""
SESSIONS_A_SECOND = 2
_WORDS = "read edit grep the file and run its tests again until they pass then say what was changed and why "


@shape
def agents(contract: Contract, asked: Asked) -> Load:
    """Sessions of coding agents: bodies of 128 kB that grow turn by turn, tools, streams, session ids, cache reads."""
    takes_no(asked, "arrivals", "trace")
    minutes = asked.minutes or contract.text.window_ms / 60_000
    sessions = max(1, round(minutes * 60 * SESSIONS_A_SECOND))
    models = _model(contract, "messages"), _model(contract, "responses")

    def calls(effective: Contract) -> Iterator[Call]:
        # Sessions overlap for a bounded time: of the merge's inputs only those that can overlap are made at once.
        window = TURN_MS * SESSION_TURNS * SESSIONS_A_SECOND // 1000 + 2
        lanes = [
            (call for n in range(lane, sessions, window) for call in _session(n, sessions, minutes, asked, models))
            for lane in range(window)
        ]
        return numbered(merge(*lanes, key=at_ms_of))

    return Load(
        world=world(),
        calls=calls,
        count=sessions * SESSION_TURNS,
        length_ms=minutes * 60_000 + SESSION_TURNS * TURN_MS,
        checks=(
            each_call_reaches_one_upstream_once,
            slots_stay_bounded_under_load,
            governor_is_announced,
            streams_are_billed_at_their_end,
            *MONEY,
        ),
    )


def _model(contract: Contract, surface: str) -> Model:
    """Return an Enterprise model on ``surface``, of the kind that it is made for if there is. Raises ValueError."""
    wanted = "claude" if surface == "messages" else "other"
    found = [
        model
        for model in contract.models
        if model.tier == "enterprise" and model.media == "text" and surface in model.surfaces and not model.cli_only
    ]
    if not found:
        raise ValueError(f"the contract has no Enterprise model on {surface}, and agents need one")
    return next((model for model in found if model.family == wanted), found[0])


def _session(number: int, of: int, minutes: float, asked: Asked, models: tuple[Model, Model]) -> Iterator[Call]:
    """Yield the turns of one session."""
    rng = random.Random(f"{asked.seed}/agents/{number}")
    surface = "messages" if number % 2 else "responses"
    model = models[0] if surface == "messages" else models[1]
    start_ms = minutes * 60_000 * number / of
    system = _text(f"session {number} ", SYSTEM_BYTES)
    turns: list[dict[str, Any]] = []
    for turn in range(SESSION_TURNS):
        turns = [*turns, {"role": "user", "content": _text(f"turn {turn} ", TOOL_BYTES)}]
        yield Call(
            surface,
            model.id,
            at_ms=start_ms + turn * TURN_MS + round(rng.uniform(0, TURN_MS / 2), 3),
            stream=True,
            max_tokens=model.default_output_tokens,
            headers=_headers(surface, number),
            fields=_fields(surface, system, turns),
            reply=Reply(chunks=rng.randrange(8, 32), ttft_ms=rng.randrange(50, 400), gap_ms=10, shape=_reply(turn)),
            tag=f"session{number}",
        )
        turns = [*turns, {"role": "assistant", "content": _text(f"answer {turn} ", 200)}]


def _reply(turn: int) -> str:
    """An agent is answered with tool calls until its last turn."""
    return "tools" if turn < SESSION_TURNS - 1 else "text"


def _headers(surface: str, number: int) -> Mapping[str, str]:
    if surface == "messages":
        return {"user-agent": "claude-cli/2.0.1 (external, cli)", "x-claude-code-session-id": f"session-{number}"}
    return {"user-agent": "codex_cli_rs/0.46.0", "session_id": f"session-{number}"}


def _fields(surface: str, system: str, turns: list[dict[str, Any]]) -> Mapping[str, Any]:
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    if surface == "messages":
        cached = {"type": "ephemeral"}
        return {
            "system": [{"type": "text", "text": system, "cache_control": cached}],
            "messages": turns,
            "tools": [{"name": "read_file", "description": "Reads a file.", "input_schema": schema}],
        }
    return {
        "instructions": system,
        "input": turns,
        "tools": [{"type": "function", "name": "read_file", "description": "Reads a file.", "parameters": schema}],
    }


def _text(lead: str, size: int) -> str:
    return (lead + _WORDS * (size // len(_WORDS) + 1))[:size]
