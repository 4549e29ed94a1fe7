"""What a gateway's log said, line by line; long ones leave the memory, none is looked into."""

from __future__ import annotations

from collections.abc import Iterator

from mock_upstreams.spool import Spool


class Log:
    """An append-only list of lines, of which a service under load writes one a call."""

    def __init__(self) -> None:
        self._spool = Spool()
        self._count = 0

    def append(self, line: str) -> None:
        """Add ``line``, which has no end."""
        self._spool.add(line.encode(errors="surrogatepass") + b"\n")
        self._count += 1

    def __iter__(self) -> Iterator[str]:
        for line in self._spool.lines():
            yield line[:-1].decode(errors="surrogatepass")

    def __len__(self) -> int:
        return self._count
