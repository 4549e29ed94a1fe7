"""What CI runs, and what is too long for it: ``nox`` runs the default sessions, ``nox -l`` lists all."""

from __future__ import annotations

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")

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
    """The suite on the reference gateway in sim, ten seeds of its core, and then every test, those on sockets too."""
    _install(session, "test")
    session.run("harness", "run", "--out", "runs/nox-sim", "-q")
    session.run("harness", "run", "core", "--seeds", "1..10", "--out", "runs/nox-seeds", "-q")
    session.run("pytest", "-q", *session.posargs)


@nox.session
def seeds(session: nox.Session) -> None:
    """A hundred seeds of the core without one false alarm."""
    _install(session)
    session.run("harness", "run", "core", "--seeds", "0..99", "--out", "runs/nox-100-seeds", "-q")


@nox.session
def local(session: nox.Session) -> None:
    """The whole core on loopback sockets, with child processes: three minutes on two cores."""
    _install(session)
    session.run("harness", "run", "core", "--mode", "local", "--out", "runs/nox-local", "-q")


@nox.session
def benchmark(session: nox.Session) -> None:
    """Print the cost of simulated calls and streams, as ratios to stock httpx in the same run."""
    _install(session)
    session.run("python", "tests/benchmarks/simulation.py")
