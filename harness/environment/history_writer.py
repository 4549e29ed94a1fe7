"""Makes the history of a simulated load from its drafts, chapter by chapter; it runs and judges nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from harness.clients.exchange import Exchange
from harness.clients.request import credentials_of
from harness.contract import Contract
from harness.environment.caller import read_answer
from harness.environment.draft import items_of
from harness.environment.load import LoadRun, scenario_of_load
from harness.environment.plan import planned
from harness.environment.probes import with_probe_account
from harness.environment.scanner import Scanner
from harness.environment.sim import secrets_in_sim
from harness.history import CHAPTER, Recording, span_line
from harness.load.shape import Load
from harness.scenario import Call


class _InMemory(Recording):
    """Collects the lines of one chapter, which takes several times as much when it is judged."""

    def __init__(self) -> None:
        super().__init__()
        self._ends: list[int] = []
        self._lines: list[bytes] = []

    def line(self, end: int, line: bytes) -> None:
        self._ends.append(end)
        self._lines.append(line)

    def in_order(self) -> Iterator[bytes]:
        """Return every line by (end, order of arrival)."""
        return map(self._lines.__getitem__, sorted(range(len(self._ends)), key=self._ends.__getitem__))


class HistoryWriter:
    """Writes ``history.jsonl`` of a load; its calls, which are the same each time, are drawn here once more."""

    def __init__(self, run: LoadRun, load: Load, contract: Contract) -> None:
        self.path = run.folder / "history.jsonl"
        self._world = with_probe_account(load.world)
        self._secrets = secrets_in_sim(scenario_of_load(run, load), run.asked.seed)
        self._calls = load.calls(contract)
        self._chapters = 0

    def chapter(self, draft: Path, count: int) -> deque[bytes]:
        """Write the chapter of ``draft``, in which ``count`` calls were planned, and remove that.

        Returns the lines that the history has now got. Raises OSError.
        """
        items = items_of(draft)
        lines: deque[bytes] = deque()
        if not self._chapters:
            plan = next(items)
            assert isinstance(plan, bytes)
            lines.append(plan)
        calls = {call.id: call for call in islice(self._calls, count)}
        lines.extend(span_line("planned", planned(call, self._world)) for call in calls.values())
        recording = _InMemory()
        scanner = Scanner(self._secrets, recording)
        for item in items:
            if isinstance(item, bytes):
                recording.page(item)
            else:
                self._record(item, calls, recording, scanner)
        lines.extend(recording.in_order())
        with self.path.open("ab" if self._chapters else "wb") as file:
            file.writelines(lines)
        self._chapters += 1
        draft.unlink()
        return lines

    def resume(self, told: list[tuple[Path, int]]) -> None:
        """Write of the chapters ``told`` those that another writer was stopped before or within. Raises OSError."""
        if not any(draft.exists() for draft, _ in told):
            return
        for draft, count in told:
            if draft.exists():
                if self._chapters:
                    self._cut()
                self.chapter(draft, count)
            else:
                self._chapters += 1
                for _ in islice(self._calls, count):
                    pass

    def _cut(self) -> None:
        """Cut the history behind the chapters that are whole."""
        size, left = 0, self._chapters
        with self.path.open("r+b") as file:
            for line in file:
                size += len(line)
                left -= line.startswith(CHAPTER)
                if not left:
                    break
            file.truncate(size)

    def _record(self, facts: tuple[Any, ...], calls: dict[str, Call], recording: Recording, scanner: Scanner) -> None:
        call_id, key, request_bytes, at_us, seen = facts
        call = calls[call_id]
        other = self._secrets[call.other_key] if call.other_key else ""
        credentials = credentials_of(call, self._secrets[key], other)
        exchange = Exchange.of(call, seen)
        span, line, _ = read_answer(exchange, recording, scanner, key, request_bytes, credentials, at_us)
        recording.line(span["end"], line)
