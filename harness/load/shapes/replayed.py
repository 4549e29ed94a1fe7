"""Load as others recorded it: the arrivals and sizes of a public trace; it sends nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from harness.checkers.billing import streams_are_billed_at_their_end
from harness.checkers.load_ceilings import each_call_reaches_one_upstream_once
from harness.checkers.load_slots import slots_stay_bounded_under_load
from harness.checkers.remaining import governor_is_announced
from harness.contract import Contract
from harness.load.shape import Asked, Load, numbered, shape, takes_no
from harness.load.shapes.parts import MONEY, text_call, world
from harness.load.sizes import LEAST_INPUT, sized, text_model
from harness.load.trace import check_trace, read_trace
from harness.scenario import Call, Reply

MOST_BODY = 32_768
"""Tokens of prompt that a replayed call really carries; longer ones are cut to that, to spare the network."""
TOKENS_A_CHUNK = 16
MOST_CHUNKS = 64


@shape
def trace(contract: Contract, asked: Asked) -> Load:
    """The arrivals and sizes of a recorded trace (Azure LLM inference, BurstGPT, Mooncake), streamed."""
    takes_no(asked, "arrivals")
    if not asked.trace:
        raise ValueError("the shape trace replays a file: give one with --trace")
    path = Path(asked.trace)
    within_us = round(asked.minutes * 60e6) if asked.minutes else sys.maxsize
    count, last_us = check_trace(path, within_us)
    most = text_model(contract).context_tokens

    def calls(effective: Contract) -> Iterator[Call]:
        for row in takewhile(lambda row: row.at_us < within_us, read_trace(path)):
            prompt = min(max(row.input, LEAST_INPUT), MOST_BODY)
            tokens = min(prompt + max(1, row.output), most)
            chunks = min(max(1, row.output // TOKENS_A_CHUNK), MOST_CHUNKS)
            fields = sized(effective, tokens, Reply(chunks, ttft_ms=20, gap_ms=5), prompt=prompt)
            yield text_call(effective, row.at_us / 1000, "", fields, stream=True)

    return Load(
        world=world(),
        calls=lambda effective: numbered(calls(effective)),
        count=count,
        length_ms=last_us / 1000,
        checks=(
            each_call_reaches_one_upstream_once,
            slots_stay_bounded_under_load,
            governor_is_announced,
            streams_are_billed_at_their_end,
            *MONEY,
        ),
    )
