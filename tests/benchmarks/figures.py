"""Prints the figures of load, each beside its bound, measured one after the other in one run on this machine.

python tests/benchmarks/figures.py [--out DIR] [STEP ...]

A step is one command of the harness, printed with what it came to, so that each can be repeated alone. The last line
and the exit code say whether all was reached: 0, 1 if a figure missed its bound, 2 if one could not be told (a busy
machine). DIR gets ``figures.json``, ``figures.md`` and each step's own run folder.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import orjson

from harness.bench.machine import describe
from harness.checkers.load_memory import ALLOWED_MB

LATENESS_MS, CORES = 5.0, 0.6
TIMES_THE_CLOCK, MEMORY_MB = 10.0, 1_000
TRIPLE = "text.requests = 45_000\ntext.tokens = 120_000_000\n"
PASS, FAIL, UNTOLD = "reached", "missed", "not told"
HELD, BROKEN, INCONCLUSIVE, USAGE = 0, 1, 2, 64


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure as it was seen, beside its bound; ``outcome`` is PASS, FAIL or UNTOLD."""

    what: str
    seen: str
    bound: str
    outcome: str


Read = Callable[[Path, int], Iterator[Figure]]


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the harness, and what is read from its run folder and its exit code."""

    name: str
    command: tuple[str, ...]
    read: Read


def verdict(wanted: str, expected: int) -> Read:
    """Return what reads the verdict alone: the exit code that was to come."""

    def read(folder: Path, code: int) -> Iterator[Figure]:
        yield _verdict(folder, code, wanted, expected)

    return read


def load(wanted: str, *, bounded: bool = False, flat: bool = False) -> Read:
    """Return what reads a load: its verdict, what was sent, how late its generator was, and the cores of everything.

    A generator that was too late makes the verdict inconclusive. ``bounded``: it and the cores have bounds to keep;
    ``flat``: the memory of every process has.
    """

    def read(folder: Path, code: int) -> Iterator[Figure]:
        yield _verdict(folder, code, wanted, HELD)
        told = _json(folder / "load.json")
        if not told or not told["late"]:
            return
        counts = f"{told['sent']:,} sent, {told['ok']:,} answered, {told['refused']:,} refused"
        yield Figure("calls", f"{counts}, {told['tokens']:,} tokens served", "stated", PASS)
        for what, seen, bound in (
            ("lateness p99, ms", told["late"][2], LATENESS_MS),
            ("cores in all", told["cores"], CORES),
        ):
            if seen is not None:
                yield _at_most(what, seen, bound) if bounded else Figure(what, f"{seen:g}", "stated", PASS)
        yield from (_memory(one) for one in told["memory"] if flat)

    return read


def stairs(folder: Path, code: int) -> Iterator[Figure]:
    """Read a staircase: its verdict, and the highest step of which every call was answered in its time."""
    yield _verdict(folder, code, "money right up to ten times the rate", HELD)
    told = _json(folder / "load.json").get("steps", ())
    held = [step for step in told if not step["not ok"] and step["answered a second"] >= 0.99 * step["asked a second"]]
    best = max((f"{step['asked a second']:g}" for step in held), key=float, default="none")
    yield Figure("highest step held, calls a second", best, "stated", PASS)


def hour(folder: Path, code: int) -> Iterator[Figure]:
    """Read a simulated hour: its verdict, how much faster than the clock it was, what it took of memory and disk."""
    yield _verdict(folder, code, "a virtual hour at 15,000 a minute, every check on, none refused", HELD)
    cost = _json(folder / "verdict.json").get("run", {}).get("load", {}).get("cost")
    if not cost:
        return
    times = cost["virtual_s"] / cost["wall_s"]
    outcome = PASS if times >= TIMES_THE_CLOCK else FAIL
    yield Figure("times as fast as the clock", f"{times:.1f}", f"at least {TIMES_THE_CLOCK:g}", outcome)
    memory = cost["simulation_peak_bytes"] + cost["judgement_peak_bytes"]
    yield _at_most("memory of simulation and judgement, MB", round(memory / 1e6), MEMORY_MB)
    size = sum(file.stat().st_size for file in folder.glob("load.*/history.jsonl"))
    yield Figure("history, GB", f"{size / 1e9:.2f}", "stated", PASS)


def power(folder: Path, code: int) -> Iterator[Figure]:
    """Read how many of the mutants that load alone shows were caught."""
    counts = _json(folder / "power.json").get("counts", {})
    caught, asked = counts.get("killed", 0), counts.get("mutants", 0)
    missed = f"{caught} of {asked}, exit {code}"
    outcome = PASS if code == HELD else UNTOLD if code == INCONCLUSIVE else FAIL
    yield Figure("mutants that load alone shows, caught", missed, "all, exit 0", outcome)


def bench(folder: Path, _: int) -> Iterator[Figure]:
    """Read the goals of a bench; on a busy machine none of them is told."""
    record = _json(folder / "bench.json")
    for goal in record.get("goals", ()):
        found = goal["ratio"]
        seen = f"{found['value']:.3g} ({found['low']:.3g} to {found['high']:.3g})" if found else "not measured"
        outcome = {"pass": PASS, "fail": FAIL, "inconclusive": UNTOLD}[goal["outcome"]]
        yield Figure(f"{goal['of']}: {goal['goal']}", seen, goal["bound"], outcome)
    for doubt in record.get("doubts", ["nothing was measured"]):
        yield Figure("a quiet machine", doubt, "no doubt", UNTOLD)


def _verdict(folder: Path, code: int, wanted: str, expected: int) -> Figure:
    outcome = PASS if code == expected else UNTOLD if code == INCONCLUSIVE else FAIL
    why = "; ".join(_json(folder / "verdict.json").get("why", ()))
    return Figure(wanted, f"exit {code}{': ' + why if why and code != expected else ''}", f"exit {expected}", outcome)


def _memory(one: Mapping[str, Any]) -> Figure:
    """Return how a process's memory grew with the calls, as the load judged it."""
    grown = "too few calls" if one["slope"] is None else "{slope:g} ({low:g} to {high:g})".format(**one)
    seen = f"{grown}; {one['at_start']} at the start, {one['most']} at most"
    outcome = {"pass": PASS, "fail": FAIL}.get(one["outcome"], UNTOLD)
    return Figure(f"memory of {one['process']}, MB per 10,000 calls", seen, f"at most {ALLOWED_MB:g}", outcome)


def _at_most(what: str, seen: float, bound: float) -> Figure:
    return Figure(what, f"{seen:g}", f"at most {bound:g}", PASS if seen <= bound else FAIL)


def _json(path: Path) -> Mapping[str, Any]:
    return orjson.loads(path.read_bytes()) if path.is_file() else {}


def steps(folder: Path) -> Iterator[Step]:
    """Yield every step; what they need on the disk is written into ``folder``."""
    triple = folder / "triple.toml"
    triple.write_text(TRIPLE, encoding="utf-8")
    for shape, wanted in (
        ("ceiling-text", "15,000 calls and 40,000,000 tokens in a window, none refused"),
        ("probe-rpm", "the call after 15,000 is refused"),
        ("probe-tpm", "the call after 40,000,000 tokens is refused"),
        ("ceiling-image", "250 images and 8,000,000 tokens in a window, none refused"),
        ("probe-image", "the image after 250 is refused"),
        ("storm", "three times the limit, and an innocent served"),
        ("slow-answers", "the queue and its refusals when calls hold slots too long"),
        ("burst", "a window's calls at once, the next refused"),
        ("agents", "agents' sessions, every charge right"),
    ):
        yield Step(shape, ("load", shape), load(wanted, bounded=shape == "ceiling-text"))
    yield Step(
        "triple", ("load", "ceiling-text", "--overlay", str(triple)), load("45,000 calls in a window, none refused")
    )
    yield Step("staircase", ("load", "staircase"), stairs)
    starved = ("load", "probe-rpm", "--overlay", "brisk", "--starve", "300")
    yield Step("starved", starved, verdict("a starved generator proves nothing", INCONCLUSIVE))
    # What has a bound: latencies have none, and a doubt of theirs would be one of all.
    yield Step("bench", ("bench", *_peers(), "--measure", "calls", "--measure", "chunks"), bench)
    yield Step("soak", ("load", "soak"), load("half the rate for ten minutes, no refusal, memory flat", flat=True))
    yield Step("hour", ("load", "ceiling-text", "--mode", "sim", "--minutes", "60"), hour)
    yield Step("power", ("power", "--load"), power)


def _peers() -> Iterator[str]:
    """Yield the targets of the bench: those that come with it, and peers that the environment names."""
    peers = [name for name in ("litellm", "portkey", "aimock") if f"HARNESS_{name.upper()}" in os.environ]
    for name in ("reference", "stub", "nginx", *peers):
        yield f"--target={name}"


def measured(made: Iterable[Step], folder: Path) -> Iterator[dict[str, Any]]:
    """Run the steps, print what each came to, and yield it."""
    for step in made:
        out = folder / step.name
        command = ("harness", *step.command, "--out", str(out), "-q")
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "harness.cli", *command[1:]], stdout=subprocess.DEVNULL)
        took_s = time.monotonic() - started
        figures = list(step.read(out, done.returncode))
        print(f"\n{shlex.join(command)}   # {took_s:.0f} s, exit {done.returncode}")
        for figure in figures:
            print(f"  {figure.outcome:9} {figure.what}: {figure.seen}; {figure.bound}", flush=True)
        yield {
            "step": step.name,
            "command": shlex.join(command),
            "seconds": round(took_s, 1),
            "exit": done.returncode,
            "figures": [asdict(figure) for figure in figures],
        }


def written(found: list[dict[str, Any]], folder: Path) -> int:
    """Write the record and its table, and return the exit code."""
    machine = describe()
    (folder / "figures.json").write_bytes(
        orjson.dumps({"machine": machine, "steps": found}, option=orjson.OPT_INDENT_2)
    )
    lines = [
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        "",
        "| step | figure | seen | bound | |",
        "|---|---|---|---|---|",
    ]
    figures = [(step["step"], figure) for step in found for figure in step["figures"]]
    lines += [
        f"| {name} | {one['what']} | {one['seen']} | {one['bound']} | {one['outcome']} |" for name, one in figures
    ]
    (folder / "figures.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    counts = {outcome: sum(one["outcome"] == outcome for _, one in figures) for outcome in (PASS, FAIL, UNTOLD)}
    print(f"\n{', '.join(f'{count} {outcome}' for outcome, count in counts.items())}; {folder / 'figures.md'}")
    return BROKEN if counts[FAIL] else INCONCLUSIVE if counts[UNTOLD] else HELD


class _Parser(argparse.ArgumentParser):
    """Ends with the harness's own exit code for bad usage: argparse's 2 says here that a figure could not be told."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.format_usage()}{message}\n")


def main() -> int:
    """Measure all steps or those that are named, and say what was reached."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    folder = (given.out or Path(tempfile.mkdtemp(prefix="figures-"))).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot write to {folder}: {error.strerror}")
    made = {step.name: step for step in steps(folder)}
    if unknown := [name for name in given.steps if name not in made]:
        parser.error(f"no step {unknown[0]!r}; there are {', '.join(made)}")
    return written(list(measured([made[name] for name in given.steps or made], folder)), folder)


if __name__ == "__main__":
    sys.exit(main())
