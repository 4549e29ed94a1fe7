"""Few calls that tell limiters apart, whatever they are: bursts, trickles and rests, laid out over windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.checkers.general_rate import user_quota_holds
from harness.checkers.rates import request_windows_hold
from harness.contract import Contract
from harness.scenario import Account, Call, Key, Reply, Scenario, Workload, World, chat, evenly, scenario

LIMIT = 6
"""What the contract's limit is made, where it can be: enough to tell a bucket from two counters, with few calls."""
MODEL = "gpt-5-5"
OTHER = "deepseek-v4-pro"
REPLY = Reply(chunks=1, ttft_ms=1, gap_ms=0)
PROBE = "probe"
AROUND = "around"
SCOPES = ("key", "account", "model")
"""What a limiter may count apart: the tag of the call that tells, ``AROUND`` being that of the calls around it."""


def probing(limit: int) -> tuple[float, ...]:
    """Return when to ask, in windows, so that each kind of limiter of about that limit shows itself.

    Two calls of a burst are a five-hundredth of a window apart: on sockets they stay in order, and yet are a burst.
    """
    return tuple(sorted(_probing(limit)))


def _probing(limit: int) -> Iterator[float]:
    soon = 1.3 / limit
    # From rest one more than all, and at once a little more: a bucket has refilled by one, nothing else has.
    yield from (*_burst(0, limit + 1), soon, 2 * soon)
    # One alone and the rest half a window later: what is let in one window after the first tells logs from windows.
    yield from (2.07, *_burst(2.57, limit), *evenly(20, 1.6, 2.67))
    yield from (*_burst(5.37, limit // 2), *_burst(5.92, limit + 1), *evenly(14, 1.35, 6.02))
    # All at once again and again, no two rests between them alike: no phase of a clock's windows fits them all.
    yield from (*_burst(8.6, limit), 8.6 + soon, 8.6 + 2 * soon, *_burst(9.83, limit), 9.83 + soon)
    yield from (*_burst(10.97, limit), *_burst(12.01, limit + 1), *evenly(9, 0.63, 12.63))


def _burst(start: float, calls: int) -> Iterator[float]:
    return (start + n / 500 for n in range(calls))


def probing_scenario(
    limit: int, window_ms: float, like: Call, others: dict[str, Call], accounts: tuple[Account, ...]
) -> Scenario:
    """Return the scenario that asks a limiter of about ``limit`` calls per window with calls ``like`` that one.

    ``others`` are by what they differ in (``SCOPES``): each is asked when the limiter was just seen to be exhausted.
    """
    calls = [replace(like, at_ms=at * window_ms, tag=PROBE) for at in probing(limit)]
    at_ms = calls[-1].at_ms or 0.0
    for scope, other in others.items():
        at_ms += 1.4 * window_ms
        full = tuple(f"{scope}-{n}" for n in range(limit + 2))
        calls += [replace(like, id=name, at_ms=at_ms + 2 * n, tag=AROUND) for n, name in enumerate(full)]
        # Each asks when those before it were answered, so that their order is known however slow the gateway is.
        calls.append(replace(like, id=f"{scope}-before", at_ms=None, after=full, tag=AROUND))
        calls.append(replace(other, id=f"{scope}-other", at_ms=None, after=(f"{scope}-before",), tag=scope))
        calls.append(replace(like, id=f"{scope}-after", at_ms=None, after=(f"{scope}-other",), tag=AROUND))
    return Scenario(
        world=World(accounts=accounts),
        workload=Workload(tuple(calls)),
        checks=(request_windows_hold if like.tier == "managed" else user_quota_holds,),
        name="limiter.tells_the_kind",
        recovers=False,
    )


@scenario(part="limiter", reaches=("rate_refused",))
def tells_the_kind(contract: Contract) -> Scenario:
    """Bursts, trickles and rests that no two kinds of limiter answer alike (`harness limiter` says which it is)."""
    like = chat(MODEL, reply=REPLY, key="a1")
    others = {
        "key": replace(like, key="a2"),
        "account": replace(like, account="b", key=""),
        "model": replace(like, model=OTHER),
    }
    made = probing_scenario(LIMIT, contract.text.window_ms, like, others, ACCOUNTS)
    return replace(made, world=replace(made.world, overlay={"text.requests": LIMIT}))


ACCOUNTS = (Account("a", keys=(Key("a1"), Key("a2"))), Account("b"))
