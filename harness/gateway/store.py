"""Where records are kept for good: the promise that every store keeps; no record is kept or read here.

A store is an append-only log. The change of a book and its ``append`` happen with no await in between, so the order
of appends is the order of changes; appends commit in that order, and what was committed outlives a crash. It is read
page by page, so that nobody has to hold all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol

PAGE = 500
"""Of how many records a page is made, those included that nobody asked for."""

Record = Mapping[str, Any]
Pages = AsyncGenerator[Sequence[Record], None]
"""Records in order, some at a time; to be closed by whoever leaves it before its end."""


class StoreError(Exception):
    """A store that cannot be opened, or can keep nothing (more); the message says what and why."""


class Commit:
    """An append under way: awaiting it ends with the commit, and raises StoreError if that fails.

    Nobody has to await it: then no future is made. A waiter that is cancelled leaves it alone. ``loop`` is where it is
    awaited and ends; ``on_wait`` is called when somebody begins to wait.
    """

    __slots__ = ("_on_wait", "_problem", "loop", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_wait: Callable[[], None] | None = None) -> None:
        self.loop = loop
        self.waiters: list[asyncio.Future[None]] = []
        self._on_wait = on_wait
        self._problem: str | None = None
        """Why it failed, empty if it did not; None while it is under way."""

    def done(self) -> bool:
        """Say whether it has ended, well or not."""
        return self._problem is not None

    def end(self, problem: str = "") -> None:
        """Let whoever waits go on, with StoreError if there is a problem."""
        self._problem = problem
        for waiter in self.waiters:
            if waiter.done():
                continue  # cancelled: nobody is to miss an error
            if problem:
                waiter.set_exception(StoreError(problem))
            else:
                waiter.set_result(None)

    def __await__(self) -> Generator[Any, None, None]:
        waiter: asyncio.Future[None] = self.loop.create_future()
        self.waiters.append(waiter)
        if self._problem is not None:
            self.end(self._problem)
        elif self._on_wait is not None:
            self._on_wait()
        return waiter.__await__()


class Store(Protocol):
    """An append-only log of records (plain JSON data) of several kinds: entry, waiver, usage, key, keyed, answer."""

    @property
    def committed(self) -> int:
        """How many records would outlive a crash at this instant: the number of the last one, of whatever kind."""
        ...

    def append(self, kind: str, record: Record) -> Commit:
        """Start to write ``record``, which never changes after, and return its commit.

        Raises StoreError if the store takes nothing: then nothing was written. Once a commit failed the store takes
        nothing more, so that no record can be missing among later ones.
        """
        ...

    def load(self, *kinds: str) -> Iterator[tuple[str, Record]]:
        """Return the committed records in order, of some kinds or of all; they are read as they are asked for.

        Blocks: for a start alone. Raises StoreError for unreadable ones.
        """
        ...

    def read(self, kind: str, after: int = 0, upto: int | None = None) -> Pages:
        """Yield the committed records of a kind in order, as fresh JSON data, without blocking.

        Records are numbered from 1, all kinds together: those behind number ``after`` are read, up to number ``upto``
        or to what is committed when the reading begins. Raises StoreError for unreadable ones.
        """
        ...

    async def close(self) -> None:
        """Commit what was appended, and take nothing more."""
        ...
