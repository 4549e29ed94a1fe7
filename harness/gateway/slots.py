"""One model's concurrency slots and the short, fair queue for them; it knows no rate and no money.

A slot is handed from the call that leaves to the next waiter in turn without being free in between, so no newcomer
can slip past the queue. Accounts are served in turn, calls of one account in order of arrival.
"""

from __future__ import annotations

import asyncio
from collections import deque

from harness.contract import Limits
from harness.gateway.errors import Refusal
from harness.gateway.windows import retry_after_s


class Waiter:
    """A call in the queue. Its future ends with None (a slot was handed over) or with the refusal to raise."""

    __slots__ = ("account", "future", "tokens")

    def __init__(self, account: str, tokens: int, future: asyncio.Future[Refusal | None]) -> None:
        self.account = account
        self.tokens = tokens
        self.future = future


class Line:
    """The waiters of one account, oldest first, and the sum of their tokens."""

    __slots__ = ("tokens", "waiters")

    def __init__(self) -> None:
        self.waiters: deque[Waiter] = deque()
        self.tokens = 0


class Slots:
    """``limits.concurrency`` slots, and a queue bounded in length, in estimated tokens and in time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken = 0
        self._lines: dict[str, Line] = {}
        """Lines by account, the next to be served first; there is none without a waiter."""
        self._length = 0
        self._tokens = 0

    @property
    def limit(self) -> int:
        """Slots there are."""
        return self._limits.concurrency

    @property
    def remaining(self) -> int:
        """Slots that nobody holds."""
        return self._limits.concurrency - self._taken

    def try_take(self) -> bool:
        """Take a slot if one is free, which none is while anybody waits."""
        if self._taken >= self._limits.concurrency:
            return False
        self._taken += 1
        return True

    async def wait(self, account: str, tokens: int) -> None:
        """Wait for a slot; the caller has it on return. Raises Refusal queue_full past any bound of the queue.

        A cancelled wait leaves no trace: a slot handed over in that very instant goes to the next in turn.
        """
        loop = asyncio.get_running_loop()
        waiter = Waiter(account, tokens, loop.create_future())
        self._join(waiter)
        timer = loop.call_later(self._limits.queue_wait_ms / 1000, self._put_out, waiter, "no slot came free in time")
        try:
            refusal = await waiter.future
        except asyncio.CancelledError:
            if waiter.future.cancelled():
                self._leave(waiter)
            elif waiter.future.result() is None:
                self.give_back()
            raise
        finally:
            timer.cancel()
        if refusal is not None:
            raise refusal

    def give_back(self) -> None:
        """Hand a slot to the next waiter in turn, or set it free."""
        while self._lines:
            waiter = self._next()
            self._leave(waiter)
            if waiter.future.done():
                continue  # cancelled in this very instant, and not awake yet
            self._end_turn(waiter.account)
            waiter.future.set_result(None)
            return
        self._taken -= 1

    def _next(self) -> Waiter:
        """Return the waiter whose turn it is; there must be one."""
        return next(iter(self._lines.values())).waiters[0]

    def _end_turn(self, account: str) -> None:
        """Let every other account be served before ``account`` is again."""
        if account in self._lines:
            self._lines[account] = self._lines.pop(account)

    def _join(self, waiter: Waiter) -> None:
        if not self._fits(waiter) and not self._make_room(waiter):
            raise self._queue_full("the queue is full")
        line = self._lines.setdefault(waiter.account, Line())
        line.waiters.append(waiter)
        line.tokens += waiter.tokens
        self._length += 1
        self._tokens += waiter.tokens

    def _leave(self, waiter: Waiter) -> None:
        """Take ``waiter`` out of the queue, if it is still there."""
        line = self._lines.get(waiter.account)
        if line is None or waiter not in line.waiters:
            return
        line.waiters.remove(waiter)
        line.tokens -= waiter.tokens
        self._length -= 1
        self._tokens -= waiter.tokens
        if not line.waiters:
            del self._lines[waiter.account]

    def _put_out(self, waiter: Waiter, why: str) -> None:
        self._leave(waiter)
        if not waiter.future.done():
            waiter.future.set_result(self._queue_full(why))

    def _fits(self, waiter: Waiter) -> bool:
        limits = self._limits
        return self._length < limits.queue_length and self._tokens + waiter.tokens <= limits.queue_tokens

    def _make_room(self, waiter: Waiter) -> bool:
        """Put out the newest waiters of accounts that hold more than their share, if that lets ``waiter`` in.

        An account's share is an equal part of the queue among those who want in. A newcomer that stays within its
        account's share always finds room: if nobody held more than a share, it would fit.
        """
        limits = self._limits
        accounts = len(self._lines.keys() | {waiter.account})
        places, tokens = limits.queue_length // accounts, limits.queue_tokens // accounts
        mine = self._lines.get(waiter.account) or Line()
        if len(mine.waiters) + 1 > places or mine.tokens + waiter.tokens > tokens:
            return False
        while not self._fits(waiter):
            self._put_out(
                self._greediest().waiters[-1], "its place went to an account that held less than its share of the queue"
            )
        return True

    def _greediest(self) -> Line:
        """Return the line that holds most of what the queue has run out of: places, or else tokens."""
        full = self._length >= self._limits.queue_length
        return max(self._lines.values(), key=lambda line: len(line.waiters) if full else line.tokens)

    def _queue_full(self, why: str) -> Refusal:
        # By then every call that waits now was served or refused.
        seconds = retry_after_s(self._limits.queue_wait_ms * 1000, self._limits)
        return Refusal("queue_full", f"the model is busy: {why}", headers={"retry-after": str(seconds)})
