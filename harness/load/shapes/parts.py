"""What shapes are put together from: worlds, checks, single calls, and streams of them; it sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from harness.checkers.billing import answers_tell_the_charge, charge_matches_usage, one_charge_per_success
from harness.checkers.ledger import money_is_neither_made_nor_lost
from harness.checkers.load_ceilings import each_call_reaches_one_upstream_once, the_rate_is_held, the_tokens_are_held
from harness.checkers.load_slots import slots_stay_bounded_under_load
from harness.checkers.rates import request_windows_hold
from harness.checkers.remaining import (
    admitted_answers_tell_the_limits,
    governor_is_announced,
    remaining_headers_are_true,
)
from harness.checkers.tokens import reservations_are_told, token_windows_hold
from harness.contract import Contract
from harness.load.schedule import ARRIVALS
from harness.load.shape import Asked
from harness.load.sizes import LEAST_INPUT, image_model, sized, text_model
from harness.scenario import Account, Call, Reply, World

AMPLE = 10**9
"""Credits that no load uses up."""
MONEY = (charge_matches_usage, answers_tell_the_charge, one_charge_per_success, money_is_neither_made_nor_lost)
HEADERS = (
    reservations_are_told,
    remaining_headers_are_true,
    governor_is_announced,
    admitted_answers_tell_the_limits,
    slots_stay_bounded_under_load,
)
GOVERNOR = (request_windows_hold, token_windows_hold, *HEADERS)
PROOF = (the_rate_is_held, the_tokens_are_held, each_call_reaches_one_upstream_once, *GOVERNOR, *MONEY)


def world(*accounts: str, **overlay: Any) -> World:
    """Return a world of accounts that can pay for anything; ``overlay``: dots of its keys as double underscores."""
    return World(
        accounts=tuple(Account(name, credits=AMPLE) for name in accounts or ("a",)),
        overlay={name.replace("__", "."): value for name, value in overlay.items()},
    )


def text_call(contract: Contract, at_ms: float, tag: str, fields: dict[str, Any], **options: Any) -> Call:
    """Return a chat call to the model that text is loaded with."""
    return Call("chat", text_model(contract).id, at_ms=at_ms, tag=tag, **fields, **options)


def image_call(contract: Contract, at_ms: float, tag: str, fields: dict[str, Any]) -> Call:
    """Return a call to the model that images are loaded with."""
    return Call("images", image_model(contract).id, at_ms=at_ms, tag=tag, **fields)


def stream_of(
    contract: Contract, asked: Asked, count: int, over_ms: float, reply: Reply, *, account: str = "a", tag: str = ""
) -> Callable[[Contract], Iterator[Call]]:
    """Return what yields so many small calls of one account at random over a time."""
    fields = sized(contract, small_tokens(contract), reply)

    def calls(effective: Contract) -> Iterator[Call]:
        key = f"{asked.seed}/{account}{tag}"
        for at_us in ARRIVALS[asked.arrivals or "poisson"](count, round(over_ms * 1000), key):
            yield text_call(effective, at_us / 1000, tag, fields, account=account)

    return calls


def small_tokens(contract: Contract) -> int:
    """Return a size of call of which the token limit never refuses one before the request limit does."""
    return min(4 * LEAST_INPUT, contract.text.tokens // contract.text.requests // 2)


def at_ms_of(call: Call) -> float:
    """Return when a scheduled call is due."""
    assert call.at_ms is not None
    return call.at_ms
