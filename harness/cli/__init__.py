"""The command line, and the composition root: the one place that knows scenarios, mutants, targets and reports."""

from harness.cli.main import main

__all__ = ["main"]
