"""What a simulated load leaves to be written down: facts of calls and lines of everybody else, chapter by chapter.

A simulation runs on one core, and to put into words what callers saw takes a fifth of it. So facts are left here, and
a second process makes the history of them (``harness.environment.history_writer``). No secret that anybody showed gets
into a draft: such a call is put into words at once.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from harness.clients.exchange import Exchange
from harness.clients.request import Request
from harness.environment.scanner import may_hold_one
from harness.history import Recording

ITEMS_AT_ONCE = 512
_LENGTH_BYTES = 8
_value_of = itemgetter(1)


class Draft(Recording):
    """Collects lines and facts in the order in which they come, one file for each chapter in ``folder``.

    A file holds lists of items, each list behind its length: bytes are lines, a tuple is what ``facts`` was given.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._number = 0
        self._items: list[bytes | tuple[Any, ...]] = []
        self._file = self._path().open("wb")

    def line(self, end: int, line: bytes) -> None:
        self.stamped(line)

    def stamped(self, line: bytes) -> None:
        self._add(line)

    def page(self, lines: bytes) -> None:
        self._add(lines)

    def facts(self, exchange: Exchange, key: str, request: Request, at_us: int) -> None:
        """Add a call that has just ended, which holds no secret (``may_show_a_secret``)."""
        self._add((exchange.call.id, key, len(request.body), at_us, exchange.facts()))

    def end_chapter(self) -> Path:
        """Return the file of what was added since the last chapter; what is added next is the next one's."""
        self._write_out()
        self._file.close()
        ended = self._path()
        self._number += 1
        self._file = self._path().open("wb")
        return ended

    def close(self) -> None:
        """Drop what no chapter was made of."""
        self._file.close()
        self._path().unlink()

    def _add(self, item: bytes | tuple[Any, ...]) -> None:
        self._items.append(item)
        if len(self._items) >= ITEMS_AT_ONCE:
            self._write_out()

    def _path(self) -> Path:
        return self._folder / f"draft.{self._number}"

    def _write_out(self) -> None:
        # Both processes are one program; marshal takes a third of pickle's time, and reading it runs nothing.
        items = marshal.dumps(self._items, 2)
        self._items.clear()
        self._file.write(len(items).to_bytes(_LENGTH_BYTES, "little") + items)


def items_of(path: Path) -> Iterator[bytes | tuple[Any, ...]]:
    """Yield the items of a chapter's file."""
    with path.open("rb") as file:
        while length := file.read(_LENGTH_BYTES):
            items = file.read(int.from_bytes(length, "little"))
            yield from marshal.loads(items)  # noqa: S302 - this very run wrote them


def may_show_a_secret(exchange: Exchange, credentials: tuple[str, ...]) -> bool:
    """Say whether a secret may stand in what a caller got, as it is."""
    seen = b"\n".join([*exchange.raw, *map(_value_of, exchange.headers)])
    return may_hold_one(seen) or any(map(seen.__contains__, _unlike_secrets(credentials)))


@lru_cache(maxsize=1024)
def _unlike_secrets(credentials: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return those credentials that are no customer's whole secret, which is found by what it begins with."""
    given = [credential.encode() for credential in credentials]
    return tuple([credential for credential in given if not may_hold_one(credential)])
