"""Progress on standard error: a live bar on a terminal, else a line per finished scenario (per seed when many)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from harness.cli.terminal import live, say, status

LINES = 200
"""Above this many jobs a line each would drown a log: every tenth part is told instead."""


class Progress:
    """Tells what ended, as it ends."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self._total = total
        self._quiet = quiet
        self._done = 0
        self._outcomes: Counter[str] = Counter()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if live() and self._total > 1:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            console = Console(stderr=True)
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("running", total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def finished(self, record: Mapping[str, Any]) -> None:
        """Tell of one ended job."""
        self.told(record["outcome"], _line(record), loud=record["outcome"] not in ("pass", "unsupported"))

    def told(self, outcome: str, line: str, *, loud: bool) -> None:
        """Tell of one thing that ended; ``loud``: by a line of its own, however many there are."""
        self._done += 1
        self._outcomes[outcome] += 1
        if self._bar is not None:
            told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self._outcomes.items()))
            self._bar.update(self._task, advance=1, description=f"{told:<40}")
            if loud:
                self._bar.console.print(line, highlight=False, markup=False)
        elif self._quiet:
            return
        elif self._total <= LINES or loud:
            say(line, err=True)
        elif self._done % max(1, self._total // 10) == 0:
            told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self._outcomes.items()))
            say(f"  {self._done} of {self._total}: {told}", err=True)


def _line(record: Mapping[str, Any]) -> str:
    broken = sorted(
        {check["requirement"] for check in record["checks"] if check["outcome"] in ("fail", "inconclusive")}
    )
    why = " ".join(broken) or "; ".join(record["doubts"][:1]) or (record["error"] or {}).get("message", "")
    seed = f" seed {record['seed']}" if record["seed"] else ""
    return (
        f"  {status(record['outcome'], err=True)} {record['scenario'] + seed:<52} {len(record['checks']):>3} checks "
        f"{record['cpu_s']:>6.2f} s  {why}"
    )
