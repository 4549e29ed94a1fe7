"""Lines in the order in which they were added, those that are many in a temporary file; it does not look into them."""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from tempfile import SpooledTemporaryFile

MEMORY_BYTES = 2 << 20
"""How much of it all stays in memory."""
BLOCK_BYTES = 1 << 18
"""How much is written, and read, at a time."""


class Spool:
    """An append-only list of lines that never takes much memory."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - it lives as long as the spool
        self._ends = [0]
        """Where the file's blocks end, the nothing before the first one included. Each is whole lines."""
        self._counts = [0]
        """How many lines there are until there."""
        self._last: list[bytes] = []
        self._size = 0
        weakref.finalize(self, self._file.close)

    def add(self, line: bytes) -> None:
        """Put ``line``, which ends with its only newline, behind the others."""
        self._last.append(line)
        self._size += len(line)
        if self._size >= BLOCK_BYTES:
            self._file.seek(self._ends[-1])
            self._file.write(b"".join(self._last))
            self._ends.append(self._ends[-1] + self._size)
            self._counts.append(self._counts[-1] + len(self._last))
            self._last, self._size = [], 0

    def lines(self, after: int = 0) -> Iterator[bytes]:
        """Return the lines of this instant behind the first ``after``, in order; none that is added meanwhile."""
        first = bisect_right(self._counts, after) - 1
        return islice(self._lines(first, len(self._counts) - 1, self._last[:]), after - self._counts[first], None)

    def _lines(self, first: int, blocks: int, last: list[bytes]) -> Iterator[bytes]:
        for block in range(first, blocks):
            start, end = self._ends[block : block + 2]
            self._file.seek(start)
            yield from BytesIO(self._file.read(end - start))
        yield from last
