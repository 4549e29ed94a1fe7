"""How long a call may run, kept by its own task: as ``asyncio.timeout_at`` does, at less than half the cost."""

from __future__ import annotations

import asyncio
from types import TracebackType


class TimeLimit:
    """Cancels the task that made it after ``within_s`` seconds, and makes TimeoutError of that on the way out.

    ``ends_s`` is when that is, in the loop's time.
    A cancellation by anybody else stays one. It may be moved while it is entered, as long as it has not expired.
    """

    __slots__ = ("_before", "_expired", "_loop", "_task", "_timer", "ends_s")

    def __init__(self, within_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._expired = False
        self.ends_s = self._loop.time() + within_s
        self._timer: asyncio.Handle = self._loop.call_at(self.ends_s, self._expire)

    def expired(self) -> bool:
        """Say whether the time ran out."""
        return self._expired

    def reschedule(self, when_s: float) -> None:
        """Let the time run out at ``when_s`` instead."""
        assert not self._expired
        self._timer.cancel()
        if when_s <= self._loop.time():
            self._timer = self._loop.call_soon(self._expire)
        else:
            self._timer = self._loop.call_at(when_s, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __enter__(self) -> TimeLimit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._expired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error
