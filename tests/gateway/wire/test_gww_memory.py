"""A gateway that is left running has no more in memory for all the calls that it served."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from gww_bench import CHAT, MANAGED_CHAT, Bench, Upstreams, bench, chat_answer, ok

from harness.gateway.components import Components
from harness.gateway.replays import Replays

CALLS = 300
_SAMPLE = 100


def grown(headers: Callable[[int], Mapping[str, str]], change: Callable[[Components], Components]) -> float:
    """Return by how many bytes what the gateway and its store allocated grew per call, once its windows were full."""

    async def test(gateway: Bench) -> float:
        async def serve(first: int, calls: int) -> int:
            for number in range(first, first + calls):
                heard = await gateway.ask(MANAGED_CHAT, CHAT, headers=headers(number))
                assert heard.status == 200
                await asyncio.sleep(2)  # so that a window has as many calls as before
                gateway.upstreams.attempts.clear()
                gateway.lines.clear()
            gc.collect()
            ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/harness/gateway/*")])
            return sum(trace.size for trace in ours.traces)

        tracemalloc.start()
        try:
            before = await serve(0, _SAMPLE)
            return (await serve(_SAMPLE, CALLS) - before) / CALLS
        finally:
            tracemalloc.stop()

    found: float = bench(test, Upstreams(primary=ok(chat_answer())), credits=10**9, change=change)
    return found


def test_calls_leave_nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.gateway.store.PAGE", 50)
    monkeypatch.setattr("harness.gateway.memory_store.SPOOL_BYTES", 1)
    assert grown(lambda number: {}, lambda parts: parts) < 40


def test_kept_answers_are_in_memory_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.gateway.store.PAGE", 50)
    monkeypatch.setattr("harness.gateway.memory_store.SPOOL_BYTES", 1)

    def bounded(parts: Components) -> Components:
        return replace(parts, replays=Replays(parts.contract, parts.clock, parts.store, limit_bytes=20_000))

    assert grown(lambda number: {"idempotency-key": f"key-{number}"}, bounded) < 40
