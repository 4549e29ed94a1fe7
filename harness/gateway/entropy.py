"""Where the gateway's randomness comes from: keyed by a seed in simulation, the operating system's on sockets."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Protocol

_TOKENS = 64


class Entropy(Protocol):
    """Random ids and draws."""

    def token(self, purpose: str) -> str:
        """Return 32 hex digits, fresh on each call."""
        ...

    def uniform(self, *key: object) -> float:
        """Return a draw from [0, 1)."""
        ...


class KeyedEntropy:
    """Draws that depend on the seed and their key alone: one more draw elsewhere does not reshuffle the rest."""

    def __init__(self, seed: int | str) -> None:
        self._seed = seed
        self._tokens: dict[str, int] = {}
        self._blank = blake2b(digest_size=16)

    def token(self, purpose: str) -> str:
        """Return 32 hex digits: the seed's next token for ``purpose``."""
        n = self._tokens[purpose] = self._tokens.get(purpose, 0) + 1
        return self._digest("token", purpose, n).hex()

    def uniform(self, *key: object) -> float:
        """Return the seed's draw from [0, 1) for ``key``: the same for the same key."""
        return (int.from_bytes(self._digest("uniform", *key)[:8], "big") >> 11) / 2**53

    def _digest(self, *key: object) -> bytes:
        # repr keeps ("a", "b") and ("a/b",) apart.
        made = self._blank.copy()  # a fresh one costs more than all the rest
        made.update(repr((self._seed, *key)).encode())
        return made.digest()


class SystemEntropy:
    """The operating system's randomness, many tokens at a time: to ask for it lets other threads in."""

    def __init__(self) -> None:
        self._fresh = b""

    def token(self, purpose: str) -> str:
        """Return 32 hex digits, whatever the purpose."""
        if not self._fresh:
            self._fresh = os.urandom(16 * _TOKENS)  # noqa: TID251 - this component is where randomness enters
        token, self._fresh = self._fresh[:16], self._fresh[16:]
        return token.hex()

    def uniform(self, *key: object) -> float:
        """Return a draw from [0, 1), whatever the key."""
        return (int.from_bytes(os.urandom(8), "big") >> 11) / 2**53  # noqa: TID251 - as above
