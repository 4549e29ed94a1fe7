"""One bench: the mock and the subjects started, measured and stopped; what was measured is handed on as it is."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.bench.caller import Caller
from harness.bench.measure import Bench, Progress, Raw
from harness.bench.plan import CHUNKS, DEFAULT_TARGETS, Order
from harness.bench.subjects import Missing, Site, Subject, mock, started
from harness.target import TargetError


@dataclass(frozen=True, slots=True)
class Measured:
    """What a bench gave: those measured, those left out and why, and the raw values."""

    subjects: tuple[Subject, ...]
    left_out: tuple[str, ...]
    raw: Raw


async def run_bench(order: Order, progress: Progress) -> Measured:
    """Start all, measure, stop all.

    What is measured by default and is not installed is left out. Raises Missing for what was asked by name, TargetError
    for what does not come up or answer.
    """
    left_out = []
    async with AsyncExitStack() as life:
        folder = Path(life.enter_context(TemporaryDirectory(prefix="harness-bench-")))
        direct, upstream = await life.enter_async_context(mock(order.upstreams))
        sample, sample_stream = await _samples(direct)
        site = Site(upstream, folder, order.seed, order.model, order.key, sample, sample_stream)
        subjects = [direct]
        for name in order.targets:
            progress(f"starting {name}")
            try:
                subjects.append(await life.enter_async_context(started(name, site)))
            except Missing as error:
                if order.targets != DEFAULT_TARGETS:
                    raise
                left_out.append(f"{error}: {error.help}")
        raw = await Bench(order, subjects, progress).run()
    return Measured(tuple(subjects), tuple(left_out), raw)


async def _samples(direct: Subject) -> tuple[bytes, bytes]:
    """Return what the mock answers to a call and to a stream."""
    caller = Caller(direct.name, direct.host, direct.port)
    whole = await caller.call(direct.request("sample", stream=False))
    stream = await caller.call(direct.request("sample", stream=True), CHUNKS)
    caller.close()
    if whole is None or stream is None:
        raise TargetError("the mock upstreams do not answer", cause=caller.first_failure)
    return whole.body, stream.body
