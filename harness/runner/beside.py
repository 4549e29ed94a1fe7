"""Writes and judges the chapters of a run while it goes on, in a process of its own: what is judged is the history."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.checker import Checker
from harness.environment.history_writer import HistoryWriter
from harness.history import chapters
from harness.runner.jobs import judge_chapters
from harness.runner.pool import end_with_parent


class JudgeLostError(Exception):
    """The process that judged a run is gone; the run's history is there all the same."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The record of a run, and what its judgement took of CPU and, at most, of memory."""

    record: dict[str, Any]
    cpu_s: float
    peak_bytes: int


class JudgeBeside:
    """Writes a history and judges it, chapter by chapter; to be left before the history is moved.

    Whatever became of the process, the history has all chapters when this is left.
    """

    def __init__(self, writer: HistoryWriter, checks: Mapping[str, Checker]) -> None:
        context = get_context("fork")  # it is safe here: no loop and no thread runs yet
        self._writer = writer
        self._told: list[tuple[Path, int]] = []
        self._line, self._theirs = context.Pipe()
        self._process = context.Process(target=_judge, args=(writer, checks, self._theirs), daemon=True)

    def __enter__(self) -> JudgeBeside:
        # It is deaf to a terminal's Ctrl-C, from its first instant on: what there is then is to be judged.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, before or signal.SIG_DFL)
        self._theirs.close()  # so that its own end is the line's
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()
        self._line.close()
        self._writer.resume(self._told)

    def chapter(self, draft: Path, count: int) -> None:
        """Tell that the ``draft`` of a chapter is there, in which ``count`` calls were planned."""
        self._told.append((draft, count))
        self._send((draft, count))

    def judged(self) -> Judged:
        """Return the judgement of all chapters. Raises JudgeLostError if the process died, or what it raised."""
        self._send(None)
        try:
            found = self._line.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise JudgeLostError(f"the process that judged the run ended with {self._process.exitcode}") from None
        if isinstance(found, BaseException):
            raise found
        assert isinstance(found, Judged)
        return found

    def _send(self, told: tuple[Path, int] | None) -> None:
        with suppress(ConnectionError):  # it died: who asks for its record hears of that
            self._line.send(told)


def _judge(writer: HistoryWriter, checks: Mapping[str, Checker], line: Connection) -> None:
    end_with_parent()
    path = writer.path
    try:
        lines = chapters(_lines(writer, line), str(path), {}, trusted=True)
        record = judge_chapters(lines, checks, path.parent.name)
    except Exception as error:
        line.send(error)
    else:
        used = resource.getrusage(resource.RUSAGE_SELF)
        line.send(Judged(record, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024))


def _lines(writer: HistoryWriter, line: Connection) -> Iterator[bytes]:
    """Write each chapter that is told of and yield its lines, until told that there is no more."""
    while told := line.recv():
        lines = writer.chapter(*told)
        while lines:
            yield lines.popleft()  # and let go of it
