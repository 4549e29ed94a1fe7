"""Runs scenarios, judges their histories and builds the record; it prints nothing and renders nothing."""

from harness.runner.jobs import Job, Suite, build, rejudge, run_job, run_jobs
from harness.runner.judge import judge
from harness.runner.record import (
    EXIT_FAIL,
    EXIT_HARNESS,
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_STALE,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    build_verdict,
    replay_command,
)

__all__ = [
    "EXIT_FAIL",
    "EXIT_HARNESS",
    "EXIT_INCONCLUSIVE",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_STALE",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "Job",
    "Suite",
    "build",
    "build_verdict",
    "judge",
    "rejudge",
    "replay_command",
    "run_job",
    "run_jobs",
]
