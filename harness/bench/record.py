"""bench.json: figures with their intervals from raw values, and whether the machine was quiet enough for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from harness.bench.estimates import Estimate, estimate, medians, percentile
from harness.bench.goals import cpu_us, judged, rates
from harness.bench.machine import MOST_OTHERS_CORES, MOST_STOLEN_SHARE
from harness.bench.measure import Raw
from harness.bench.plan import CHUNKS, CONTROL, DIRECT, Order
from harness.bench.run import Measured
from harness.bench.subjects import Subject

SCHEMA = "harness.bench/1"
MOST_CONTROL_SHARE = 0.10
"""How far two calls of the mock itself may differ, as a share of what one takes."""
_EXIT = {"pass": 0, "fail": 1, "inconclusive": 2}


def build_record(order: Order, measured: Measured, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record: figures by subject, noise, goals, verdict. ``run`` is what the caller knows of the run."""
    raw = measured.raw
    noise = _noise(raw)
    doubts = list(_doubts(raw, noise))
    goals = judged(raw, order)
    verdict = _verdict(doubts, [goal["outcome"] for goal in goals])
    return {
        "schema": SCHEMA,
        "run": {
            **run,
            "targets": list(order.targets),
            "measures": list(order.measures),
            "pairs": order.pairs,
            "blocks": order.blocks,
            "seconds_each": order.seconds,
            "seed": order.seed,
            "left_out": list(measured.left_out),
        },
        "verdict": verdict,
        "exit": _EXIT[verdict],
        "doubts": doubts,
        "noise": noise,
        "subjects": {
            one.name: {"about": one.about, "figures": list(_figures(order, raw, one))} for one in measured.subjects
        },
        "goals": goals,
    }


def _verdict(doubts: Sequence[str], outcomes: Sequence[str]) -> str:
    if doubts:
        return "inconclusive"
    return next((worst for worst in ("fail", "inconclusive") if worst in outcomes), "pass")


def _figures(order: Order, raw: Raw, subject: Subject) -> Iterator[dict[str, Any]]:
    """Yield the figures of one subject: name, unit, value, interval, the command that measures it again."""

    def figure(name: str, unit: str, measure: str, values: Sequence[float], **more: Any) -> Iterator[dict[str, Any]]:
        if len(values) >= 2:
            told = estimate(values).as_json()
            command = order.command(subject.name, measure)
            yield {"figure": name, "measure": measure, "unit": unit, **told, **more, "command": command}

    name = subject.name
    if not subject.answers:
        yield from figure("added latency", "us", "latency", added(raw.latency, name, order.blocks))
        yield from figure("added to the first chunk", "us", "streams", added(raw.first, name, order.blocks))
        yield from figure("added between chunks", "us", "streams", added(raw.gap, name, order.blocks))
    if own := raw.latency.get(name):
        tails = {f"p{share:.0%}"[:-1]: float(f"{percentile(own, share):.4g}") for share in (0.5, 0.9, 0.99)}
        yield from figure("latency", "us", "latency", medians(own, order.blocks), **tails)
    for connections in order.connections:
        loops = raw.calls.get((name, connections), ())
        many = f"{connections} connection{'s' if connections > 1 else ''}"
        yield from figure(f"CPU of a call, {many}", "us", "calls", cpu_us(loops))
        yield from figure(f"calls a second, {many}", "1/s", "calls", rates(loops))
    yield from figure("CPU of a chunk", "us", "chunks", cpu_us(raw.chunks.get(name, ()), CHUNKS))


def added(values: Mapping[str, Sequence[float]], name: str, blocks: int) -> list[float]:
    """Return of each block of rounds the median of what ``name``'s call took longer than the mock's in its round."""
    pairs = zip(values.get(name, ()), values.get(DIRECT, ()), strict=True) if name in values else ()
    return medians([through - direct for through, direct in pairs], blocks)


def _noise(raw: Raw) -> dict[str, Any]:
    """Return what the machine itself makes calls differ by, and how busy others kept it."""
    controls = {}
    for name, values in (("latency", raw.latency), ("first chunk", raw.first)):
        blocks = min(8, len(values.get(CONTROL, ())))
        if blocks >= 2:
            differs: Estimate = estimate(added(values, CONTROL, blocks))
            controls[name] = {**differs.as_json(), "of": float(f"{median(values[DIRECT]):.4g}")}
    return {
        "controls": controls,
        "busy": {
            name: {
                "others_cores": round(usage.others_cores, 3),
                "stolen_share": round(usage.stolen_share, 4),
                "blocks_again": raw.again.get(name, 0),
            }
            for name, usage in raw.usage.items()
        },
    }


def _doubts(raw: Raw, noise: Mapping[str, Any]) -> Iterator[str]:
    """Yield why the figures prove nothing."""
    for name, busy in noise["busy"].items():
        if busy["others_cores"] > MOST_OTHERS_CORES:
            yield (
                f"the machine was busy: others used {busy['others_cores']:.2f} cores while {name} was measured, "
                f"{MOST_OTHERS_CORES:g} is the bound"
            )
        if busy["stolen_share"] > MOST_STOLEN_SHARE:
            yield (
                f"the machine was taken away: {busy['stolen_share']:.1%} of its time was stolen while {name} was "
                f"measured, {MOST_STOLEN_SHARE:.0%} is the bound"
            )
    for name, control in noise["controls"].items():
        off = max(abs(control["low"]), abs(control["high"]))
        if off > MOST_CONTROL_SHARE * control["of"]:
            yield (
                f"the machine is noisy: two calls of the mock itself differ by up to {off:.0f} us in {name}, "
                f"and {MOST_CONTROL_SHARE:.0%} of {control['of']:.0f} us is the bound"
            )
    for name, (count, first) in raw.failed.items():
        yield f"{count} calls to {name} were not answered whole, the first with {first}"
