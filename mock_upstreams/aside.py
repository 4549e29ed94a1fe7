"""Drives a coroutine beside a reply: what a task does of that, without the name, context and registration of one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Aside:
    """A coroutine that starts at once, has no result, and goes on whenever the future that it awaits is done.

    It has no task of its own: what it awaits must not ask for the current one. What it raises goes to the loop's
    exception handler.
    """

    __slots__ = ("_awaited", "_coroutine", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, None, None]) -> None:
        self._loop = loop
        self._coroutine: Coroutine[Any, None, None] | None = coroutine
        self._awaited: asyncio.Future[Any] | None = None
        self._step()

    def close(self) -> None:
        """Leave the rest undone, wherever it is."""
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is None:
            return
        if self._awaited is not None:
            self._awaited.remove_done_callback(self._step)
            self._awaited = None
        coroutine.close()

    def _step(self, _awaited: object = None) -> None:
        coroutine = self._coroutine
        if coroutine is None:  # closed after this step was called for
            return
        try:
            awaited = coroutine.send(None)  # the future gives its result or error itself
        except (StopIteration, asyncio.CancelledError):
            self._end()
        except Exception as error:
            self._end()
            what = {"message": "A coroutine that was driven beside a reply failed", "exception": error}
            self._loop.call_exception_handler(what)
        else:
            self._awaited = awaited
            if awaited is None:  # asyncio.sleep(0)
                self._loop.call_soon(self._step)
            else:
                awaited._asyncio_future_blocking = False  # as a task does: the await was understood
                awaited.add_done_callback(self._step)

    def _end(self) -> None:
        self._coroutine = self._awaited = None
