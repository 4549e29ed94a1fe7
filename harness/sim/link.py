"""What lies between two hosts: delays, a bounded buffer, and chunks that merge and split; it knows no HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from enum import Enum, auto


class Signal(Enum):
    """What a connection carries besides a head and bytes."""

    END = auto()  # the body is complete
    CUT = auto()  # FIN without the framing's end
    RESET = auto()  # RST
    LEFT = auto()  # the client closed the connection


Item = bytes | tuple[int, list[tuple[bytes, bytes]]] | Signal
Carry = Callable[[Item], None]


@dataclass(frozen=True, slots=True)
class Link:
    """How connections to a host behave; all delays in seconds.

    Connecting takes ``connect_s``; what is sent arrives ``latency_s`` later, each way, in order. A sender waits while
    more than ``buffer_bytes`` are unread. With ``chop``, bytes are split anywhere, and a rest may come up to
    ``chop_hold_s`` later, merged with what was sent meanwhile.
    """

    connect_s: float = 0.0
    latency_s: float = 0.0
    buffer_bytes: int = 65_536
    chop: bool = False
    chop_hold_s: float = 0.002

    def wire(self, loop: asyncio.AbstractEventLoop, context: Context, key: str, arrive: Carry) -> Carry:
        """Return what to send into so that it arrives at ``arrive``; timers run in ``context``, draws have ``key``."""
        carry = arrive
        if self.latency_s:

            def carry(item: Item) -> None:
                loop.call_later(self.latency_s, arrive, item, context=context)

        return Chopper(loop, context, random.Random(key), self.chop_hold_s, carry).carry if self.chop else carry


class Chopper:
    """Splits the bytes that pass anywhere, and keeps a rest back for a while, where it merges with what follows.

    Order and content stay; a signal waits for the bytes before it.
    """

    __slots__ = ("_behind", "_carry", "_context", "_held", "_hold_s", "_loop", "_rng", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: Context, rng: random.Random, hold_s: float, carry: Carry
    ) -> None:
        self._loop = loop
        self._context = context
        self._rng = rng
        self._hold_s = hold_s
        self._carry = carry
        self._held = b""
        self._behind: list[Item] = []
        self._timer: asyncio.TimerHandle | None = None

    def carry(self, item: Item) -> None:
        """Pass ``item`` on, some of it now."""
        if not isinstance(item, bytes):
            if self._timer is None:
                self._carry(item)
            else:
                self._behind.append(item)
            return
        self._held += item
        if self._timer is None:
            rng = self._rng
            size = len(self._held)
            self._release(size if rng.random() < 0.5 else rng.randrange(size + 1))
            if self._held:
                delay_s = rng.uniform(0, self._hold_s)
                self._timer = self._loop.call_later(delay_s, self._release_all, context=self._context)

    def _release(self, size: int) -> None:
        pieces, self._held = self._held[:size], self._held[size:]
        cut = self._rng.randrange(size + 1)
        for piece in (pieces[:cut], pieces[cut:]):
            if piece:
                self._carry(piece)

    def _release_all(self) -> None:
        self._timer = None
        self._release(len(self._held))
        behind, self._behind = self._behind, []
        for item in behind:
            self._carry(item)
