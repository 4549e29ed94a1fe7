"""What is asked of the reference gateway and the mock against their peers in the same run: ratios with their bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.bench.estimates import Estimate, ratio
from harness.bench.measure import Loop, Raw
from harness.bench.plan import CHUNKS, DIRECT, Order


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on how many times ``other``'s figure ``one``'s is: at most ``most``, or at least ``least``."""

    text: str
    one: str
    other: str
    figure: str
    most: float | None = None
    least: float | None = None

    def judge(self, found: Estimate) -> str:
        """Return pass or fail where the whole interval lies on one side of the bound, and inconclusive where not."""
        if self.most is not None:
            return "pass" if found.high <= self.most else "fail" if found.low > self.most else "inconclusive"
        assert self.least is not None
        return "pass" if found.low >= self.least else "fail" if found.high < self.least else "inconclusive"

    @property
    def bound(self) -> str:
        """The bound in words."""
        return f"at most {self.most:g}" if self.most is not None else f"at least {self.least:g}"


MEASURED_BY = {"cpu": "calls", "rate": "calls", "chunk": "chunks"}
"""Which measure gives a goal's figure."""
GOALS = (
    Goal(
        "CPU of a call, against its own pipeline with the upstream leg in process", "reference", "stub", "cpu", most=2
    ),
    Goal("calls a second, against LiteLLM's proxy with one worker", "reference", "litellm", "rate", least=15),
    Goal("calls a second, against Portkey's gateway", "reference", "portkey", "rate", least=1),
    Goal("CPU of an unstreamed call, against AIMock", DIRECT, "aimock", "cpu", most=0.9),
    Goal("CPU of a paced chunk, against AIMock", DIRECT, "aimock", "chunk", most=0.9),
)


def cpu_us(loops: Sequence[Loop], parts: int = 1) -> list[float]:
    """Return each block's CPU microseconds of a call, or of each of its ``parts``; none if it is not told."""
    told = [loop for loop in loops if loop.cpu_s is not None and loop.calls]
    return [1e6 * (loop.cpu_s or 0.0) / loop.calls / parts for loop in told]


def rates(loops: Sequence[Loop]) -> list[float]:
    """Return each block's calls a second."""
    return [loop.calls / loop.seconds for loop in loops if loop.calls]


def asked(order: Order) -> Iterator[Goal]:
    """Yield every goal that ``order`` asks for: both of its subjects and its measure are in it."""
    names = {DIRECT, *order.targets}
    for goal in GOALS:
        if {goal.one, goal.other} <= names and MEASURED_BY[goal.figure] in order.measures:
            yield goal


def judged(raw: Raw, order: Order) -> list[dict[str, Any]]:
    """Return every goal that was asked for: its ratio, its bound and its outcome.

    A goal whose figures could not be told of both has no ratio and is inconclusive: it was not held.
    """
    connections = max(order.connections)
    read: Mapping[str, Callable[[str], list[float]]] = {
        "cpu": lambda name: cpu_us(raw.calls.get((name, connections), ())),
        "rate": lambda name: rates(raw.calls.get((name, connections), ())),
        "chunk": lambda name: cpu_us(raw.chunks.get(name, ()), CHUNKS),
    }
    found = []
    for goal in asked(order):
        one, other = read[goal.figure](goal.one), read[goal.figure](goal.other)
        told = len(one) == len(other) >= 2 and min(*one, *other) > 0
        estimated = ratio(one, other) if told else None
        found.append(
            {
                "goal": goal.text,
                "of": goal.one,
                "against": goal.other,
                "bound": goal.bound,
                "ratio": estimated.as_json() if estimated else None,
                "outcome": goal.judge(estimated) if estimated else "inconclusive",
            }
        )
    return found
