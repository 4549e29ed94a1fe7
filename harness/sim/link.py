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
    more than ``buffer_bytes`` are unread. With ``chop``, bytes are split anywhere and merged with what follows: the
    last piece may be held back up to ``chop_hold_s``.
    """

    connect_s: float = 0.0
    latency_s: float = 0.0
    buffer_bytes: int = 65_536
    chop: bool = False
    chop_hold_s: float = 0.002

    @property
    def plain(self) -> bool:
        """Say whether what is sent arrives at once and as it is."""
        return not self.latency_s and not self.chop

    def wire(self, loop: asyncio.AbstractEventLoop, context: Context, key: str, arrive: Carry) -> Carry:
        """Return what to send into so that it arrives at ``arrive``; timers run in ``context``, draws have ``key``."""
        carry = arrive
        if self.latency_s:

            def carry(item: Item) -> None:
                loop.call_later(self.latency_s, arrive, item, context=context)

        return Chopper(loop, context, random.Random(key), self.chop_hold_s, carry).carry if self.chop else carry


class Chopper:
    """Splits and merges the bytes that pass, at random; their order and content stay, and all else waits for them."""

    __slots__ = ("_carry", "_context", "_held", "_hold_s", "_loop", "_rng", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: Context, rng: random.Random, hold_s: float, carry: Carry
    ) -> None:
        self._loop = loop
        self._context = context
        self._rng = rng
        self._hold_s = hold_s
        self._carry = carry
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None

    def carry(self, item: Item) -> None:
        """Pass ``item`` on, in pieces, together with what was held back."""
        if not isinstance(item, bytes):
            self._flush()
            self._carry(item)
            return
        rng = self._rng
        data = self._held + item
        self._held = b""
        cuts = sorted(rng.randrange(len(data)) for _ in range(rng.randrange(3)))
        for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
            piece = data[start:stop]
            if stop == len(data) and rng.random() < 0.5:
                self._hold(piece)
            elif piece:
                self._carry(piece)

    def _hold(self, piece: bytes) -> None:
        self._held = piece
        if self._timer is None:
            delay_s = self._rng.uniform(0, self._hold_s)
            self._timer = self._loop.call_later(delay_s, self._flush, context=self._context)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held = self._held, b""
        if held:
            self._carry(held)
