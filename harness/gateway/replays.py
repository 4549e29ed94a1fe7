"""Answers kept by the clients' own keys, so that a retry is answered again and not run again; it bills nothing.

Kept in memory, for the contract's time and up to a bound: after a restart, or when later ones pushed it out, a key is
new.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from harness.contract import Contract
from harness.gateway.asgi import Headers, Tape
from harness.gateway.call import Call
from harness.gateway.clock import Clock
from harness.gateway.errors import Refusal

if TYPE_CHECKING:
    pass

KEPT_BYTES = 256 << 20
KEY_BYTES = 255
REPLAYED = (b"idempotent-replayed", b"true")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a call ended with."""

    status: int
    headers: Headers
    body: bytes
    outcome: str


@dataclass(slots=True)
class _Entry:
    digest: bytes
    kept: Kept | None = None
    """None while the first call is under way."""
    at_us: int = 0


class Replays:
    """One entry per account and key. What is not kept in the end leaves no trace, so that a retry runs."""

    def __init__(self, contract: Contract, clock: Clock, limit_bytes: int = KEPT_BYTES) -> None:
        self._header = contract.idempotency.header
        self._keep_us = contract.idempotency.keep_ms * 1000
        self._clock = clock
        self._limit = limit_bytes
        self._bytes = 0
        self._running: dict[tuple[str, str], _Entry] = {}
        self._kept: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        """By when they were kept, oldest first."""

    def enter(self, call: Call) -> Kept | None:
        """Return the answer to replay; None for a call that is to run, which then is the one of its key.

        Raises Refusal for a key that is in use, that came with another request, or that is too long.
        """
        word = call.client.header(self._header)
        if not word or not call.surface.charged:
            return None
        if len(word) > KEY_BYTES:
            raise Refusal("bad_request", f"{self._header} must not be longer than {KEY_BYTES} bytes")
        self._forget_old()
        key, digest = self.key(call, word), self.digest(call)
        entry = self._running.get(key) or self._kept.get(key)
        if entry is None:
            self._running[key] = _Entry(digest)
            call.replay_key = key
            call.client.tape = Tape()
            return None
        if entry.digest != digest:
            raise Refusal("key_reused", f"this {self._header} came with another request before")
        if entry.kept is None:
            raise Refusal("key_in_use", f"the first call with this {self._header} is still under way")
        return entry.kept

    def key(self, call: Call, word: str) -> tuple[str, str]:
        """Return what the call's answer is kept by: a key is its account's own."""
        return (call.account, word)

    def digest(self, call: Call) -> bytes:
        """Return what tells one request from another."""
        return sha256(call.endpoint.path.encode() + b"\0" + call.raw).digest()

    def leave(self, call: Call) -> None:
        """Keep what the call ended with, if it is to be kept; in any case its key is in use no more."""
        key, call.replay_key = call.replay_key, None
        if key is None:
            return
        entry, tape = self._running.pop(key), call.client.tape
        if tape is None or not tape.whole or not self.lasts(call):
            return
        body = b"".join(tape.pieces)
        entry.kept, entry.at_us = Kept(tape.status, tape.headers, body, call.outcome), self._clock.now_us()
        self._kept[key] = entry
        self._bytes += len(body)
        while self._bytes > self._limit:
            self._pop_oldest()

    def lasts(self, call: Call) -> bool:
        """Say whether the answer is a result: the call was let in, and what failed was not the gateway itself."""
        return call.hold is not None and call.refused_as != "internal"

    def _forget_old(self) -> None:
        since_us = self._clock.now_us() - self._keep_us
        while self._kept and next(iter(self._kept.values())).at_us <= since_us:
            self._pop_oldest()

    def _pop_oldest(self) -> None:
        _, entry = self._kept.popitem(last=False)
        assert entry.kept is not None
        self._bytes -= len(entry.kept.body)
