"""Answers kept by the clients' own keys, so that a retry is answered again and not run again; it bills nothing.

Kept for the contract's time, in memory up to a bound: when later ones pushed it out, a key is new. A charged answer is
in the store before its client has all of it, so that its key is known after a restart; a charge that a crash left
without its answer is given back by the next start, and its key is new.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from harness.contract import Contract
from harness.gateway.asgi import Headers, Tape
from harness.gateway.call import Call
from harness.gateway.clock import Clock
from harness.gateway.errors import Refusal
from harness.gateway.ledger import Ledger
from harness.gateway.store import Commit, Record, Store, StoreError

KEPT_BYTES = 256 << 20
ENTRY_BYTES = 1 << 10
"""What an entry takes beside its key, headers and body, about."""
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
    stored: Kept | None = None
    """What the store has, until the call is over."""

    def size(self, key: tuple[str, str]) -> int:
        """Return about how many bytes of memory the entry takes."""
        kept = self.kept
        assert kept is not None
        return ENTRY_BYTES + len(key[1]) + len(kept.body) + sum(len(name) + len(value) for name, value in kept.headers)


class Replays:
    """One entry per account and key. What is not kept in the end leaves no trace, so that a retry runs."""

    def __init__(self, contract: Contract, clock: Clock, store: Store, limit_bytes: int = KEPT_BYTES) -> None:
        self._header = contract.idempotency.header
        self._keep_us = contract.idempotency.keep_ms * 1000
        self._clock = clock
        self._store = store
        self._limit = limit_bytes
        self._bytes = 0
        self._running: dict[tuple[str, str], _Entry] = {}
        self._kept: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        """By when they were kept, oldest first."""

    async def open(self, ledger: Ledger) -> None:
        """Know the stored keys again, and give back charges whose answers a crash took, so that their retries may run.

        Ends when all that is committed. Raises StoreError.
        """
        since_us = self._clock.wall_us() - self._keep_us
        unanswered = set()
        for kind, record in self._store.load("keyed", "answer"):
            if kind == "keyed":
                unanswered.add(record["hold"])
                continue
            unanswered.discard(record["hold"])
            if record["at"] > since_us:
                self._remember((record["account"], record["key"]), _restored(record))
        await ledger.take_back(unanswered)

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

    def admitted(self, call: Call) -> None:
        """Note which hold is a keyed call's: before its charge can be. Raises StoreError."""
        if call.replay_key is not None and call.hold is not None:
            self._store.append("keyed", {"hold": call.hold.entry})

    async def keep(self, call: Call, headers: Headers, body: bytes) -> None:
        """Store the answer that a keyed call is about to be given; return when that is committed.

        A store that takes nothing keeps nobody from an answer that is paid for.
        """
        with suppress(StoreError):
            await self._store_answer(call, Kept(200, headers, body, "aborted" if call.client.gone else "ok"))

    def key(self, call: Call, word: str) -> tuple[str, str]:
        """Return what the call's answer is kept by: a key is its account's own."""
        return (call.account, word)

    def digest(self, call: Call) -> bytes:
        """Return what tells one request from another."""
        return sha256(call.endpoint.path.encode() + b"\0" + call.raw).digest()

    def leave(self, call: Call) -> None:
        """Keep what the call ended with, if it is to be kept; in any case its key is in use no more."""
        key = call.replay_key
        if key is None:
            return
        entry, tape = self._running[key], call.client.tape
        if tape is not None and tape.whole and self.lasts(call):
            entry.at_us = self._clock.wall_us()
            entry.kept = Kept(tape.status, tape.headers, b"".join(tape.pieces), call.outcome)
            if entry.kept != entry.stored:
                with suppress(StoreError):
                    self._store_answer(call, entry.kept)
            entry.stored = None
            self._remember(key, entry)
        del self._running[key]
        call.replay_key = None

    def lasts(self, call: Call) -> bool:
        """Say whether the answer is a result: the call was let in, and what failed was not the gateway itself."""
        return call.hold is not None and call.refused_as != "internal"

    def _store_answer(self, call: Call, kept: Kept) -> Commit:
        """Append an answer to the store. Raises StoreError."""
        assert call.replay_key is not None
        account, word = call.replay_key
        entry = self._running[call.replay_key]
        record = {
            "hold": call.hold.entry if call.hold is not None else 0,
            "account": account,
            "key": word,
            "digest": entry.digest.hex(),
            "status": kept.status,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in kept.headers],
            "body": kept.body.decode("latin-1"),
            "outcome": kept.outcome,
            "at": self._clock.wall_us(),
        }
        commit = self._store.append("answer", record)
        entry.stored = kept
        return commit

    def _remember(self, key: tuple[str, str], entry: _Entry) -> None:
        """Keep an entry as the newest, and no more than the bound."""
        if key in self._kept:
            self._pop(key)
        self._kept[key] = entry
        self._bytes += entry.size(key)
        while self._bytes > self._limit:
            self._pop(next(iter(self._kept)))

    def _forget_old(self) -> None:
        since_us = self._clock.wall_us() - self._keep_us
        while self._kept and next(iter(self._kept.values())).at_us <= since_us:
            self._pop(next(iter(self._kept)))

    def _pop(self, key: tuple[str, str]) -> None:
        self._bytes -= self._kept.pop(key).size(key)


def _restored(record: Record) -> _Entry:
    """Return a stored answer as it was."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in record["headers"]]
    kept = Kept(record["status"], headers, record["body"].encode("latin-1"), record["outcome"])
    return _Entry(bytes.fromhex(record["digest"]), kept, record["at"])
