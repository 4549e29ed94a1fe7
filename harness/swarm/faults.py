"""Strategies for faults, made from the mock upstreams' registry: a fault that is added there is drawn here at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from mock_upstreams.faults import FAULTS, Fault, FaultSpec
from mock_upstreams.faults.registry import Parameter

STATUSES = (503, 429, 500, 529, 502, 504, 400, 401, 403, 404, 408, 413, 418, 422)


def _families() -> Mapping[str, tuple[Fault, ...]]:
    """Return all faults in the families that a scenario switches on and off, by where they are written."""
    found: dict[str, list[Fault]] = {}
    for fault in FAULTS.values():
        found.setdefault("faults_" + fault.run.__module__.rpartition(".")[2], []).append(fault)
    return {name: tuple(found[name]) for name in sorted(found)}


FAMILIES = _families()
"""Faults by family: answers, breaks, events, timing, usage."""


def faults(family: str, times_ms: Sequence[float]) -> st.SearchStrategy[FaultSpec]:
    """Return faults of ``family``; seconds are drawn from short ones and from around the promised times."""
    return st.sampled_from(FAMILIES[family]).flatmap(lambda fault: _spec(fault, tuple(times_ms)))


@st.composite
def _spec(draw: st.DrawFn, fault: Fault, times_ms: Sequence[float]) -> FaultSpec:
    params = {}
    for parameter in fault.parameters.values():
        if parameter.required or draw(st.integers(0, 2)) == 2:
            params[parameter.name] = draw(_value(parameter, times_ms))
    return FaultSpec(fault.name, params)


def _value(parameter: Parameter, times_ms: Sequence[float]) -> st.SearchStrategy[Any]:
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if parameter.type == "bool":
        return st.booleans()
    if parameter.type == "str":
        return st.sampled_from(("text/html; charset=utf-8", "text/plain"))
    if parameter.unit == "HTTP status":
        return st.sampled_from(STATUSES)
    if parameter.unit == "seconds":
        return st.sampled_from((0.01, 0.0, 0.3, 1.0, 2.0, *(time / 1e3 for time in times_ms)))
    if parameter.type == "int":
        least = int(parameter.least or 0)
        return st.sampled_from([n for n in (1, 2, 0, 3, 5, 1_000) if n >= least])
    return st.sampled_from((0.5, 0.1, 0.9))
