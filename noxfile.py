"""What CI runs, and what is too long for it: ``nox`` runs the default sessions, ``nox -l`` lists all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")

SWARM_MUTANTS = (
    "bills_failed_calls",
    "bills_every_attempt",
    "rounds_down",
    "pays_twice",
    "admits_one_too_many",
    "tells_remaining_before_admission",
    "tries_the_chain_backwards",
    "splices_a_second_answer",
    "passes_the_customers_key_on",
    "drops_fields_it_does_not_know",
    "frees_the_slot_while_the_upstream_runs",
    "pings_only_once",
    "always_tells_a_closed_circuit",
)
"""Those that the swarm must find unaided."""

nox.needs_version = ">=2025.2"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_venv = "yes"
nox.options.stop_on_first_error = True


def _install(session: nox.Session, *groups: str) -> None:
    session.install("-e", ".", *(name for group in groups for name in nox.project.dependency_groups(PYPROJECT, group)))


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and the import arrows of the architecture."""
    _install(session, "lint", "test")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """The suite in sim, ten seeds of its core, its power over every mutant, and then every test, sockets too."""
    _install(session, "test")
    session.run("harness", "run", "--out", "runs/nox-sim", "-q")
    session.run("harness", "run", "core", "--seeds", "1..10", "--out", "runs/nox-seeds", "-q")
    session.run("harness", "power", "--clean", "runs/nox-seeds", "--out", "runs/nox-power", "-q")
    session.run("pytest", "-q", *session.posargs)


@nox.session
def seeds(session: nox.Session) -> None:
    """A hundred seeds of the core without one false alarm."""
    _install(session)
    session.run("harness", "run", "core", "--seeds", "0..99", "--out", "runs/nox-100-seeds", "-q")


@nox.session
def thousand(session: nox.Session) -> None:
    """A thousand seeds of the core, some of the other parts, without one false alarm: half an hour on two cores."""
    _install(session)
    blocks = [f"runs/nox-thousand/{number}" for number in range(10)]
    for number, folder in enumerate(blocks):
        seeds = f"{100 * number}..{100 * number + 99}"
        session.run("harness", "run", "core", "--seeds", seeds, "--out", folder, "-q")
    session.run("harness", "run", "ceilings", "--seeds", "0..2", "--out", "runs/nox-thousand/ceilings", "-q")
    session.run("harness", "run", "chaos", "--seeds", "0..19", "--out", "runs/nox-thousand/chaos", "-q")
    session.run("harness", "power", *(f"--clean={folder}" for folder in blocks), "--out", "runs/nox-power", "-q")


@nox.session
def hour(session: nox.Session) -> None:
    """A virtual hour at the ceiling of text, 900,000 calls, and one at that of images, every check on, in one run each.

    Prints how much faster than the clock that was, what it took of CPU and memory, and how long the history is (4 GB).
    """
    _install(session)
    for shape in ("ceiling-text", "ceiling-image"):
        session.run(
            "harness", "load", shape, "--mode", "sim", "--minutes", "60", "--out", f"runs/nox-hour-{shape}", "-q"
        )


@nox.session
def power(session: nox.Session) -> None:
    """Every mutant is caught by the requirement that it breaks."""
    _install(session)
    session.run("harness", "power", "--out", "runs/nox-power", "-q", *session.posargs)


@nox.session
def power_full(session: nox.Session) -> None:
    """Every mutant through the whole core: the kill matrix, which then goes into the README."""
    _install(session)
    session.run("harness", "power", "--full", "--out", "runs/nox-power-full", "-q", *session.posargs)
    _into_readme(Path("runs/nox-power-full/power.md").read_text("utf-8"))


@nox.session
def power_load(session: nox.Session) -> None:
    """The mutants that no scenario can catch are caught by none, and each by its load: ten minutes on two cores."""
    _install(session)
    found = session.run("harness", "list", "mutants", silent=True)
    names = [line.split()[0] for line in found.splitlines() if "(under load: " in line]
    unseen = ("harness", "power", *names, "--full", "--out", "runs/nox-power-unseen", "-q")
    session.run(*unseen, success_codes=[1])
    counts = json.loads(Path("runs/nox-power-unseen/power.json").read_text("utf-8"))["counts"]
    if counts["survived"] != len(names):
        session.error(f"scenarios caught some of the {len(names)}: {counts}")
    session.run("harness", "power", "--load", "--out", "runs/nox-power-load", "-q", *session.posargs)


def _into_readme(power: str) -> None:
    """Put the kill matrix of a ``power.md`` into the README, between the marks that both have."""
    start, end = "<!-- kill matrix -->", "<!-- /kill matrix -->"
    readme = Path("README.md")
    before, _, rest = readme.read_text("utf-8").partition(start)
    matrix = power.partition(start)[2].partition(end)[0]
    readme.write_text(f"{before}{start}{matrix}{end}{rest.partition(end)[2]}", "utf-8")


@nox.session
def local(session: nox.Session) -> None:
    """The whole core on loopback sockets, with child processes: three minutes on two cores."""
    _install(session)
    session.run("harness", "run", "core", "--mode", "local", "--out", "runs/nox-local", "-q")


@nox.session
def swarm(session: nox.Session) -> None:
    """Ten minutes of random scenarios without one false alarm, and mutants of every area found unaided."""
    _install(session)
    session.run("harness", "swarm", "--seconds", "600", "--out", "runs/nox-swarm", "-q")
    for mutant in SWARM_MUTANTS:
        command = ("harness", "swarm", "--mutant", mutant, "--seed", "1", "--seconds", "120", "-q")
        session.run(*command, "--out", f"runs/nox-swarm-{mutant}", success_codes=[1])


@nox.session
def durability(session: nox.Session) -> None:
    """Over 200 kills of the gateway without a fault; gateways that commit too late, or forget, are caught by kills."""
    _install(session)
    folder = "runs/nox-durability"
    run = ("harness", "run", "--mode", "local", "-q")
    session.run(*run, "durability", "--seeds", "0..13", "--out", folder)
    found = json.loads(Path(folder, "verdict.json").read_text("utf-8"))["branches"]
    for name in ("killed", "killed_inside_a_stream", "killed_inside_a_settlement", "killed_inside_a_commit"):
        session.log(f"{name}: {found[name]['count']} kills in {found[name]['runs']} runs")
    settling = (*run, "durability.killed_while_settling")
    for late, seeds in (
        ("writes_its_ledger_behind_the_answers", "0..0"),
        ("answers_before_the_charge_is_kept", "0..9"),
        ("forgets_payouts_that_a_crash_came_before", "0..1"),
    ):
        session.run(*settling, "--mutant", late, "--seeds", seeds, "--out", f"{folder}-{late}", success_codes=[1])


@nox.session
def benchmark(session: nox.Session) -> None:
    """Print the cost of simulated calls and streams, and of durable commits, as ratios to the plain way."""
    _install(session)
    session.run("python", "tests/benchmarks/simulation.py", *session.posargs)
    session.run("python", "tests/benchmarks/ledger.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the gateway beside nginx, and beside those of its peers that HARNESS_LITELLM and the like name."""
    _install(session)
    peers = [name for name in ("litellm", "portkey", "aimock") if f"HARNESS_{name.upper()}" in os.environ]
    targets = [f"--target={name}" for name in ("reference", "stub", "nginx", *peers)]
    session.run("harness", "bench", *(targets if peers else []), "--out", "runs/nox-bench", *session.posargs)


@nox.session
def figures(session: nox.Session) -> None:
    """Print the figures of load beside their bounds, an hour; posargs: the steps wanted.

    Peers of the bench are those that HARNESS_LITELLM and the like name.
    """
    _install(session)
    session.run("python", "tests/benchmarks/figures.py", "--out", "runs/nox-figures", *session.posargs)


@nox.session
def benchmark_audit(session: nox.Session) -> None:
    """Print what an audit of five million calls costs, as a ratio to a plain join in the same run; posargs: CALLS."""
    _install(session)
    session.run("python", "tests/benchmarks/audit.py", *session.posargs)


@nox.session
def prices(session: nox.Session) -> None:
    """Price a million usages in the audit's SQL, as the checkers do and as the gateway does: half a minute."""
    _install(session, "test")
    session.run(
        "pytest", "-q", "--timeout=1800", "tests/audit/test_audit_prices.py", env={"HARNESS_PRICED_USAGES": "1000000"}
    )
