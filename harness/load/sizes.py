"""How large a call is, and how long it lasts, so that ceilings can be met to the token; it sends nothing."""

from __future__ import annotations

from typing import Any

from harness.contract import Contract, Limits, Model
from harness.scenario import Reply

LEAST_INPUT = 80
"""Tokens of the shortest prompt that holds a call's marker and the body around it."""
MOST_INPUT = 2_048
"""Tokens of prompt that a sized call has at most, unless it is asked for a longer one: the rest is its answer's."""
SPREAD = 0.95
"""The share of a window over which its calls are spread."""
PROBED = 23 / 24
"""The share of a window after which the calls are sent that must not fit any more."""
BUSY = 0.4
"""The share of the slots that the calls in flight take on average: bursts need the rest."""


def text_model(contract: Contract) -> Model:
    """Return the model that a text ceiling is reached on. Raises ValueError if the contract has none."""
    for model in contract.models:
        if model.tier == "enterprise" and model.media == "text" and "chat" in model.surfaces and not model.cli_only:
            return model
    raise ValueError("the contract has no Enterprise text model on the chat surface: there is no ceiling to reach")


def sized(contract: Contract, tokens: int, reply: Reply, *, prompt: int = 0) -> dict[str, Any]:
    """Return the fields of a call whose reservation, and whose usage as served, are exactly ``tokens``.

    GOV-05 reserves a token for each four bytes of the body, and max_tokens: the body is padded, the rest is its answer.
    Raises ValueError for less than a call can have, or more than the model's context.
    """
    model = text_model(contract)
    wanted = prompt or min(tokens * 5 // 7, MOST_INPUT)
    used = min(max(wanted, LEAST_INPUT), tokens - 1)
    if used < LEAST_INPUT or tokens > model.context_tokens:
        raise ValueError(
            f"a call of {tokens:,} tokens: one to {model.id} has {LEAST_INPUT + 1:,} to {model.context_tokens:,}"
        )
    output = tokens - used
    return {
        "prompt_bytes": 4 * used,
        "max_tokens": output,
        "reply": Reply(reply.chunks, reply.ttft_ms, reply.gap_ms, input=used, output=output),
    }


def image_model(contract: Contract) -> Model:
    """Return the model that an image ceiling is reached on. Raises ValueError if the contract has none."""
    for model in contract.models:
        if model.tier == "enterprise" and model.media == "image" and "images" in model.surfaces:
            return model
    raise ValueError("the contract has no Enterprise image model on the images surface: there is no ceiling to reach")


def reserved_for_image(contract: Contract) -> int:
    """Return the tokens that GOV-05 reserves for the shortest call for images: its body's, and the model's default."""
    return LEAST_INPUT + image_model(contract).default_output_tokens


def sized_image(contract: Contract, tokens: int, reply: Reply) -> dict[str, Any]:
    """Return the fields of a call for images whose usage as served is exactly ``tokens``, and whose reservation fits.

    Raises ValueError for less than is reserved for one, since the last would find no room, or more than its context.
    """
    model, least = image_model(contract), reserved_for_image(contract)
    if not least <= tokens <= model.context_tokens:
        raise ValueError(f"a call of {tokens:,} tokens: one to {model.id} has {least:,} to {model.context_tokens:,}")
    return {
        "prompt_bytes": 4 * LEAST_INPUT,
        "reply": Reply(reply.chunks, reply.ttft_ms, reply.gap_ms, input=LEAST_INPUT, output=tokens - LEAST_INPUT),
    }


def spread_ms(limits: Limits) -> float:
    """Return the time over which a window's calls are spread."""
    return limits.window_ms * SPREAD


def slot_ms(limits: Limits, calls: int, over_ms: float) -> float:
    """Return how long a call may hold its slot at most, if ``calls`` in ``over_ms`` shall find one on average."""
    return limits.concurrency * over_ms / calls


def lasting_ms(limits: Limits, calls: int, over_ms: float) -> float:
    """Return how long answers take, in whole milliseconds, so that so many calls leave slots free for bursts."""
    return max(1.0, min(slot_ms(limits, calls, over_ms) * BUSY, limits.window_ms * 0.05) // 1)
