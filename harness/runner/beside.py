"""Judges the chapters of a run while it goes on, in a process of its own; what it reads is the run's history alone."""

from __future__ import annotations

import os
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
from harness.history import chapters
from harness.runner.jobs import judge_chapters
from harness.runner.pool import end_with_parent


class JudgeLostError(Exception):
    """The process that judged a run is gone; the run's history is not."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The record of a run, and what its judgement took of CPU and, at most, of memory."""

    record: dict[str, Any]
    cpu_s: float
    peak_bytes: int


class JudgeBeside:
    """Reads a history as it grows and judges it chapter by chapter; to be left before the history is moved."""

    def __init__(self, folder: Path, checks: Mapping[str, Checker]) -> None:
        # Forking is safe here: no loop and no thread runs yet.
        context = get_context("fork") if os.name == "posix" else get_context("spawn")
        self._line, self._theirs = context.Pipe()
        self._process = context.Process(target=_judge, args=(folder, checks, self._theirs), daemon=True)

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

    def written(self, size: int) -> None:
        """Tell that the first ``size`` bytes of the history are final."""
        with suppress(ConnectionError):  # it died: who asks for its record hears of that
            self._line.send(size)

    def judged(self) -> Judged:
        """Return the judgement of what was written. Raises JudgeLostError if the process died, or what it raised."""
        self.written(0)
        try:
            found = self._line.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise JudgeLostError(f"the process that judged the run ended with {self._process.exitcode}") from None
        if isinstance(found, BaseException):
            raise found
        assert isinstance(found, Judged)
        return found


def _judge(folder: Path, checks: Mapping[str, Checker], line: Connection) -> None:
    end_with_parent()
    path = folder / "history.jsonl"
    try:
        record = judge_chapters(chapters(_lines(path, line), str(path), {}, trusted=True), checks, folder.name)
    except Exception as error:
        line.send(error)
    else:
        used = resource.getrusage(resource.RUSAGE_SELF)
        line.send(Judged(record, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024))


def _lines(path: Path, line: Connection) -> Iterator[bytes]:
    """Yield the lines of the file at ``path`` as they become final, until told that there is no more."""
    final = line.recv()
    with path.open("rb") as file:
        read = 0
        while final:
            while read < final:
                text = file.readline()
                read += len(text)
                yield text
            final = line.recv()
