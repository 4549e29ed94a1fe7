"""Writes ``history.jsonl``, a JSON object per line: the plan, then spans by (end, sequence); it judges nothing."""

from __future__ import annotations

import array
import hashlib
import io
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import orjson

from harness.history.reader import parsed
from harness.history.whole import History

_LINES_AT_ONCE = 256
BODY_CAP = 1 << 20
"""Bytes of one body kept under ``bodies/``; a longer one is cut there and its span says how long it was."""
ATTEMPT = b'{"span":"attempt",'
"""What the line of an attempt begins with."""
_STAMP = re.compile(rb'"(?:end|at)":(-?[0-9]+)')


def stamp_of(line: bytes) -> int:
    """Return the instant that orders a span's line: an attempt's end, an entry's, row's, fault's or note's ``at``.

    The line is not parsed, which would cost more than all else that is done with it. A quote inside of a string is
    written with a backslash, so what is found is a member, and no object with such a member comes before the span's
    own. Raises ValueError if there is none.
    """
    found = _STAMP.search(line)
    if found is None:
        raise ValueError(f"no end and no instant in {line[:200]!r}")
    return int(found[1])


def span_line(kind: str, value: Mapping[str, Any]) -> bytes:
    """Return the line of a span of ``kind`` (plan, planned, call, ...). Raises TypeError for what JSON cannot hold."""
    return orjson.dumps({"span": kind, **value}, option=orjson.OPT_APPEND_NEWLINE)


class Recording(ABC):
    """What spans are added to while a run goes on, each of them a line in the end; their values are plain JSON data."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    @abstractmethod
    def line(self, end: int, line: bytes) -> None:
        """Add a span that ended at ``end`` µs and is a line already, its newline included."""

    def stamped(self, line: bytes) -> None:
        """Add a span that is a line already, by the instant that stands in it."""
        self.line(stamp_of(line), line)

    def page(self, lines: bytes) -> None:
        """Add spans that are whole lines already, each as ``stamped``."""
        for line in lines.splitlines(keepends=True):
            self.stamped(line)

    def span(self, kind: str, end: int, value: Mapping[str, Any]) -> bytes:
        """Add a span (call, attempt, ledger, usage, fault or note) that ended at ``end`` µs, and return its line."""
        line = span_line(kind, value)
        self.line(end, line)
        return line

    def note(self, kind: str, at: int, **detail: Any) -> None:
        """Add a note of the runner's."""
        self.span("note", at, {"kind": kind, "at": at, "detail": detail})

    def body(self, content: bytes) -> str:
        """Keep ``content`` (cut at BODY_CAP) under its sha256 and return that."""
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self.bodies:
            self.bodies[digest] = content[:BODY_CAP]
        return digest


class Recorder(Recording):
    """Collects spans as bytes while a run goes on, spooled to disk, and writes them ordered by (end, sequence)."""

    def __init__(self, spool_bytes: int = 64 << 20) -> None:
        super().__init__()
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=spool_bytes)  # noqa: SIM115 - lives as long as self
        self._unwritten: list[bytes] = []
        self._ends = array.array("q")
        self._offsets = array.array("q")
        self._size = 0
        self._plan = b"{}\n"

    def plan(self, plan: Mapping[str, Any]) -> None:
        """Set the first line."""
        self._plan = span_line("plan", plan)

    def line(self, end: int, line: bytes) -> None:
        self._ends.append(end)
        self._offsets.append(self._size)
        self._size += len(line)
        self._unwritten.append(line)
        if len(self._unwritten) >= _LINES_AT_ONCE:
            self._write_out()

    def _write_out(self) -> None:
        self._spool.write(b"".join(self._unwritten))
        self._unwritten.clear()

    def lines(self) -> Iterator[bytes]:
        """Yield the plan's line, then every span's by (end, order of arrival)."""
        yield self._plan
        yield from self.spans()

    def spans(self) -> Iterator[bytes]:
        """Yield every span's line by (end, order of arrival)."""
        self._write_out()
        for index in sorted(range(len(self._ends)), key=self._ends.__getitem__):
            self._spool.seek(self._offsets[index])
            yield self._spool.readline()
        self._spool.seek(0, io.SEEK_END)

    def digest(self) -> str:
        """Return the sha256 of ``history.jsonl`` as it would be written now."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line)
        return digest.hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``history.jsonl`` and ``bodies/`` into ``folder``, which is made if need be. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "history.jsonl").open("wb") as file:
            file.writelines(self.lines())
        if self.bodies:
            (folder / "bodies").mkdir(exist_ok=True)
            for digest, content in self.bodies.items():
                (folder / "bodies" / digest).write_bytes(content)

    def history(self) -> History:
        """Return what was recorded so far as a history, without going through the disk."""
        return parsed(enumerate(self.lines(), 1), "the recorder", self.bodies, trusted=True)

    def close(self) -> None:
        """Drop the spool."""
        self._spool.close()
