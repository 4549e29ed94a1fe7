"""Who is calling: API keys known by the sha256 of their secret alone; no secret is kept, compared or logged here."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from harness.gateway.deployment import AccountSeed
from harness.gateway.errors import Refusal
from harness.gateway.store import Store

PREFIX = "ck_"
_INDEX_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose call it is: the account, and the id of the key that it came with."""

    account: str
    key: str


@dataclass(slots=True)
class _Key:
    identity: Identity
    digest: str
    state: str


class KeyRing:
    """All keys of all accounts, and which of them may call. Suspensions are kept in the store: a restart keeps them."""

    def __init__(self, accounts: Iterable[AccountSeed], store: Store) -> None:
        self._store = store
        self._keys = {
            seed.id: _Key(Identity(account.id, seed.id), seed.sha256, seed.state)
            for account in accounts
            for seed in account.keys
        }
        # The index is a part of the digest only: which key it is, a constant-time comparison of the whole decides.
        self._index: dict[str, list[_Key]] = {}
        for key in self._keys.values():
            self._index.setdefault(key.digest[:_INDEX_DIGITS], []).append(key)
        for _, record in store.load("key"):
            known = self._keys.get(record["key"])
            if known is not None and known.state == "active":
                known.state = record["state"]

    def identify(self, credentials: Sequence[str]) -> Identity:
        """Return whose credential was offered; all that a request carries are given, empty ones count as absent.

        Raises Refusal: invalid_key for none, for two that disagree, for one that is unknown or not active;
        suspended_key for a suspended one.
        """
        offered = {stripped for credential in credentials if (stripped := credential.strip())}
        if not offered:
            raise Refusal("invalid_key", "no API key was sent")
        if len(offered) > 1:
            raise Refusal("invalid_key", "the request carries two different API keys")
        key = self._find(offered.pop())
        if key is None or key.state not in ("active", "suspended"):
            # One answer for all of these: it must not tell which keys exist.
            raise Refusal("invalid_key", "the API key is not valid")
        if key.state == "suspended":
            raise Refusal("suspended_key", "the API key is suspended for misuse")
        return key.identity

    def suspend(self, key: str) -> None:
        """Suspend the key with this id for good; every later call with it is refused. KeyError if there is none."""
        known = self._keys[key]
        if known.state == "active":
            known.state = "suspended"
            self._store.append("key", {"key": key, "state": "suspended"})

    def _find(self, credential: str) -> _Key | None:
        if not credential.startswith(PREFIX):
            return None
        digest = sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()
        found = None
        for key in self._index.get(digest[:_INDEX_DIGITS], ()):
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found
