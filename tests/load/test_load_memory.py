"""What is said of a process that keeps its memory, of one that grows with the calls, and of one too short to tell."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.checkers.load_generator import shortcomings
from harness.checkers.load_memory import MB, NOTE, Sample, judged, memory_of
from harness.environment.processes import Cores, resident
from harness.history import History, Note
from harness.runner.judge import judge
from tests.checkers.traffic_histories import Traffic

LOAD = {"shape": "soak", "bound_us": None, "workers": 1, "windows": [], "steps": []}


def samples(grows_mb: Callable[[float], float], calls: int = 75_000, seconds: int = 600) -> list[Sample]:
    """Return a sample a second of a process that has 60 MB, and ``grows_mb`` of the calls in tens of thousands."""
    noise = random.Random("noise")
    made = []
    for second in range(seconds + 1):
        ended = calls * second // seconds
        made.append(Sample(ended, round((60 + grows_mb(ended / 1e4) + noise.uniform(0, 0.3)) * MB)))
    return made


@pytest.mark.parametrize(
    ("grows_mb", "calls", "outcome"),
    [
        (lambda tens: 0.0, 75_000, "pass"),
        (lambda tens: 0.8 * tens, 75_000, "pass"),
        (lambda tens: min(20.0, 20 * tens), 75_000, "pass"),  # a cache that fills up in the first half
        (lambda tens: 30 * (1 - 2.718 ** -(2 * tens)), 75_000, "pass"),
        (lambda tens: -2 * tens, 75_000, "pass"),
        (lambda tens: 40 * tens, 75_000, "fail"),
        (lambda tens: 1.2 * tens, 75_000, "fail"),
        (lambda tens: 40 * tens, 3_000, "fail"),  # no need for many calls
        (lambda tens: 8.0 * (tens > 5), 75_000, "inconclusive"),  # one step, once
        (lambda tens: 4.0 * (tens > 4.5) + 4.0 * (tens > 6.5), 75_000, "inconclusive"),
        (lambda tens: 1.5 * (tens > 5), 75_000, "pass"),
        (lambda tens: 0.0, 20_000, "unsupported"),
        (lambda tens: 4 * tens, 4_000, "unsupported"),  # less than allocators take at a time
    ],
)
def test_growth_is_judged_by_its_slope_and_what_is_known_of_it(
    grows_mb: Callable[[float], float], calls: int, outcome: str
) -> None:
    told = judged("gateway", samples(grows_mb, calls))
    assert told.outcome == outcome, told
    assert (told.why == "") is (outcome == "pass")
    assert told.at_start == pytest.approx(60 + grows_mb(0), abs=0.4)
    assert told.most >= told.at_start


@pytest.mark.parametrize(
    "seen", [samples(lambda tens: 90 * tens, seconds=15), [Sample(0, MB)], [Sample(7, MB)] * 100], ids=len
)
def test_too_few_samples_tell_nothing(seen: Sequence[Sample]) -> None:
    told = judged("gateway", seen)
    assert (told.outcome, told.slope, told.why) == ("unsupported", None, "too short a load to tell")


def soaked(flat: bool, **grows: Callable[[float], float]) -> History:
    """Return the history of a load in which processes grew so."""
    traffic = Traffic(mode="local", options={"load": {**LOAD, "flat": flat}})
    traffic.served("s1", 100, 150)
    history = traffic.history()
    seen = {name: samples(grows_mb) for name, grows_mb in grows.items()}
    notes = [
        Note(
            NOTE,
            second,
            {"ended": at[0].calls, "resident": {name: one.resident for name, one in zip(seen, at, strict=True)}},
        )
        for second, at in enumerate(zip(*seen.values(), strict=True))
    ]
    return replace(history, notes=(*history.notes, *notes))


def flat(tens: float) -> float:
    return 0.0


def leaking(tens: float) -> float:
    return 40 * tens


@pytest.mark.parametrize(
    ("promised", "grows", "outcome"),
    [
        (True, {"gateway": flat, "upstreams": flat}, "pass"),
        (True, {"gateway": leaking, "upstreams": flat}, "fail"),
        (False, {"gateway": leaking, "upstreams": leaking}, "unsupported"),
        (True, {"upstreams": flat}, "unsupported"),
    ],
)
def test_only_a_gateway_that_promised_to_stay_as_it_is_fails_by_growing(
    promised: bool, grows: dict[str, Callable[[float], float]], outcome: str
) -> None:
    history = soaked(promised, **grows)
    record = judge(history, Traffic().contract, ())
    assert (record["outcome"], record["doubts"]) == (outcome, [])
    told = [(one["process"], one["promised"]) for one in record["memory"]]
    assert told == [(name, promised and name == "gateway") for name in dict.fromkeys([*grows, "gateway"])]
    seen = {one["process"] for one in record["memory"] if not one["why"].startswith("not seen")}
    assert seen == set(grows)


def test_upstreams_and_generators_that_grow_are_a_shortcoming_of_the_load() -> None:
    history = soaked(True, **{"gateway": flat, "generator 0": leaking})
    (told,) = shortcomings(history)
    assert told.startswith("generator 0: grew by 40.")
    assert shortcomings(soaked(False, **{"generator 0": leaking})) == []
    assert memory_of(Traffic().history()) == []


def test_the_memory_of_a_process_is_that_of_all_below_it() -> None:
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        whole = resident({"both": parent.pid, "gone": 2**22 + 1, "us": os.getpid()})
        together = resident({"us": os.getpid()})
        alone = int(Path(f"/proc/{parent.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        parent.communicate(b"\n")
    assert set(whole) == {"both", "us"}
    assert whole["both"] > 1.5 * alone
    # What is told of by itself is not among it; other tests may have left children of ours.
    assert together["us"] - whole["us"] > 1.2 * alone


def test_cores_are_told_between_the_first_look_at_a_process_and_the_last() -> None:
    program = "x = sum(range(10**7)); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        cores = Cores()
        cores.look(100.0, {"us": os.getpid()})
        cores.look(101.0, {"us": os.getpid(), "busy": busy.pid})
        busy.stdout.readline()
        roots = {"us": os.getpid(), "busy": busy.pid}
        cores.look(103.0, roots)
        busy.communicate(b"\n")
    cores.look(200.0, {"busy": busy.pid})  # it has ended
    used = cores.used()
    assert set(used) == {"us", "busy"}
    assert 0 < used["busy"] < 5, "the CPU of two seconds, whatever came after"
    assert used["us"] < used["busy"] + 5
