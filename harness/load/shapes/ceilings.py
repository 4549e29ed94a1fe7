"""The published ceilings on text, reached exactly, gone beyond by one call, and met with answers that are too slow."""

from __future__ import annotations

from dataclasses import replace

from harness.checkers.rates import request_windows_hold
from harness.checkers.waiting import queue_is_short, refused_calls_cost_nothing
from harness.contract import Contract, Limits
from harness.load.shape import Asked, Load, numbered, shape, takes_no
from harness.load.shapes.filled import Amount, Kind, windows
from harness.load.shapes.parts import HEADERS, MONEY, PROOF, stream_of, text_call, world
from harness.load.sizes import LEAST_INPUT, sized, spread_ms
from harness.scenario import Reply

FILLS = 10
"""How many times a window's requests fill the slots, and the queue, at least, for the queue to be sure to show."""
TEXT = Kind(
    limits=lambda contract: contract.text,
    sized=sized,
    call=text_call,
    small=lambda _: LEAST_INPUT + 1,
    proof=PROOF,
)
PROBED_TOKENS = replace(TEXT, proof=tuple(check for check in PROOF if check is not request_windows_hold))
"""Of requests there are enough left: their window is not what a probe of tokens judges."""


@shape
def ceiling_text(contract: Contract, asked: Asked) -> Load:
    """Exactly the published requests and exactly the published tokens in one window, and not one refused."""
    limits = contract.text
    return windows(contract, asked, TEXT, Amount(limits.requests, limits.tokens))


@shape
def probe_rpm(contract: Contract, asked: Asked) -> Load:
    """Exactly the published requests with tokens to spare, and then one small call, which must be refused."""
    limits = contract.text
    return windows(contract, asked, TEXT, Amount(limits.requests, limits.tokens - limits.tokens // 400, "requests"))


@shape
def probe_tpm(contract: Contract, asked: Asked) -> Load:
    """Exactly the published tokens with requests to spare, and then one small call, which must be refused."""
    limits = contract.text
    return windows(
        contract, asked, PROBED_TOKENS, Amount(limits.requests - limits.requests // 15, limits.tokens, "tokens")
    )


@shape
def slow_answers(contract: Contract, asked: Asked) -> Load:
    """The published requests, each of which holds its slot twice as long as there are slots for: the queue shows."""
    takes_no(asked, "minutes", "trace")
    limits = contract.text
    narrowed = _narrowed(limits)
    over_ms = spread_ms(limits)
    slots = narrowed.get("text__concurrency", limits.concurrency)
    reply = Reply(chunks=1, ttft_ms=slots * over_ms / limits.requests * 2 // 1, gap_ms=0)
    calls = stream_of(contract, asked, limits.requests, over_ms, reply)
    return Load(
        world=world(**narrowed),
        calls=lambda effective: numbered(calls(effective)),
        count=limits.requests,
        length_ms=over_ms + limits.queue_wait_ms + reply.ttft_ms,
        # No window is ever full here: of those that hold requests and tokens there is nothing to judge.
        checks=(queue_is_short, refused_calls_cost_nothing, *HEADERS, *MONEY),
    )


def _narrowed(limits: Limits) -> dict[str, int]:
    """Return the overlay without which so few requests would never fill slots and queue: nothing if they do."""
    most = max(1, limits.requests // FILLS)
    wanted = {"text__concurrency": limits.concurrency, "text__queue_length": limits.queue_length}
    return {name: most for name, given in wanted.items() if given > most}
